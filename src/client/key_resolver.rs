//! Commands that this version does not know, by what the connected server says of them.

use std::{
    borrow::Borrow,
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use redis::Value;

use crate::client::Redis;
use crate::error::Result;
use crate::frame::line;
use crate::messages::raw::Raw;
use crate::prefix::by_hand::of_unknown_container;
use crate::prefix::resolve::{CommandKeys, command_keys, named};
use crate::prefix::table::lookup;

/// So many commands are remembered. A program that uses more unknown commands than that asks again.
const REMEMBERED: usize = 256;
/// A longer name is not worth the memory.
const LONGEST: usize = 64;

/// What servers have said, by `name`, or by `name|subcommand`.
#[derive(Debug, Default)]
pub(crate) struct Resolver(Mutex<HashMap<Vec<u8>, CommandKeys>>);

impl Resolver {
    fn recall(&self, name: &[u8], subcommand: &[u8]) -> Option<CommandKeys> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).or_else(|| known.get(subcommand)).copied()
    }

    fn remember(&self, name: Vec<u8>, command_keys: CommandKeys) {
        if name.len() > LONGEST {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(name, command_keys);
    }
}

impl Redis {
    /// A command of the `redis` crate, its keys found by the table as in [`Raw::from_cmd`], or by the connected
    /// server where this version does not know the command, as that of a module. What the server says of a command
    /// is remembered; where its keys depend on its arguments, each line costs a round trip.
    ///
    /// ```no_run
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// let add = redis.resolve::<i64>(redis::cmd("MYMODULE.ADD").arg("counter").arg(1)).await?;
    /// let sum = redis.send(add).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Raw::from_cmd`]; also when the server does not know the command either, says that it has no keys or
    /// that it is not for everybody, or does not answer.
    ///
    /// # Cancel safety
    /// Nothing is changed by asking.
    pub async fn resolve<T>(&self, cmd: impl Borrow<redis::Cmd>) -> Result<Raw<T>> {
        let argv = line(cmd.borrow());
        drop(cmd);
        if lookup(&argv).is_some() {
            return Raw::of_line(&argv);
        }
        let name = argv.first().map(|name| String::from_utf8_lossy(name).to_ascii_uppercase());
        self.ask(&argv).await.map_err(|error| error.of_command(name.unwrap_or_default()))
    }

    async fn ask<T>(&self, argv: &[Vec<u8>]) -> Result<Raw<T>> {
        let name = of_unknown_container(argv)?;
        let resolver = &self.shared.resolver;
        let subcommand = argv.get(1).map_or_else(Vec::new, |sub| [name.as_slice(), b"|", sub].concat());
        let subcommand = subcommand.to_ascii_lowercase();
        let command_keys = match resolver.recall(&name, &subcommand) {
            Some(command_keys) => command_keys,
            None => {
                let question = Raw::<Value>::question("COMMAND INFO", argv.get(..1).unwrap_or_default());
                let (command_keys, of_subcommand) = command_keys(self.send(question).await?, argv)?;
                resolver.remember(if of_subcommand { subcommand } else { name }, command_keys);
                command_keys
            }
        };
        let positions = match command_keys.positions(argv)? {
            Some(positions) => positions,
            None => named(self.send(Raw::<Value>::question("COMMAND GETKEYS", argv)).await?, argv)?,
        };
        Ok(Raw::marked(argv, &positions, command_keys.only_reads))
    }
}
