//! Locates the keys of commands that this version does not know, with the connected server's command table.

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

/// The maximum number of cached commands. A program with more unknown commands sends more requests.
const REMEMBERED: usize = 256;
/// Longer names are not cached, to save memory.
const LONGEST: usize = 64;

/// The key positions reported by servers, by `name`, or by `name|subcommand`.
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
    /// Converts a `redis::Cmd`. Its keys are located with the command table as in [`Raw::from_cmd`], or by the
    /// connected server if the command is unknown to this version, for example a module command. The server's key
    /// positions of a command are cached; if they depend on its arguments, each line needs a round trip.
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
    /// See [`Raw::from_cmd`]. Also if the command is unknown to the server, the server reports no keys or does not
    /// allow it for every user, or does not reply.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
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
