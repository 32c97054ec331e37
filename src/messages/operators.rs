//! Messages for operators: they show or change the server for every service.
//!
//! With the prefix they are refused before they are sent. Send them with
//! [`Redis::unprefixed`](crate::Redis::unprefixed).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use redis::Value;

use super::{decode, shape};
use crate::error::{Error, Result};
use crate::frame::Frame;

/// A message without arguments.
macro_rules! operator {
    ($($(#[$meta:meta])* $name:ident, $words:literal => $reply:ty $(, by $decode:path)?;)+) => {
        $(
            command! {
                $(#[$meta])*
                $name => $reply $(, by $decode)?
            }

            impl $name {
                /// Creates the message. Send it with [`Redis::unprefixed`](crate::Redis::unprefixed).
                #[expect(clippy::new_without_default, reason = "messages are made by new; a default one would be unclear")]
                pub fn new() -> Self {
                    Self::of(Frame::new($words))
                }
            }
        )+
    };
}
pub(super) use operator;

/// A message with one argument.
macro_rules! operator_with {
    ($($(#[$meta:meta])* $name:ident, $words:literal, $argument:ident: $kind:ty => $reply:ty $(, by $decode:path)?;)+) => {
        $(
            command! {
                $(#[$meta])*
                $name => $reply $(, by $decode)?
            }

            impl $name {
                /// Creates the message. Send it with [`Redis::unprefixed`](crate::Redis::unprefixed).
                pub fn new($argument: $kind) -> Self {
                    Self::of(Frame::new($words).arg($argument))
                }
            }
        )+
    };
}
pub(super) use operator_with;

/// The fields of a reply of the server, by name, undecoded.
pub type Facts = BTreeMap<String, Value>;

fn pairs_of_text(value: Value) -> Result<BTreeMap<String, String>> {
    shape::pairs(value)?.into_iter().map(|(name, text)| Ok((decode(name)?, decode(text)?))).collect()
}

pub(super) fn facts(value: Value) -> Result<Facts> {
    shape::pairs(value)?.into_iter().map(|(name, fact)| Ok((decode(name)?, fact))).collect()
}

fn list_of_facts(value: Value) -> Result<Vec<Facts>> {
    shape::items(value)?.into_iter().map(facts).collect()
}

/// Any status text counts: servers reply with `Background saving started` and the like.
fn done(value: Value) -> Result<()> {
    shape::bytes(value).map(drop)
}

fn time(value: Value) -> Result<SystemTime> {
    let (seconds, micros): (u64, u32) = decode(value)?;
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::new(seconds, micros.saturating_mul(1000)))
        .ok_or_else(|| Error::decode("the server's time is too far in the future"))
}

fn since_epoch(value: Value) -> Result<SystemTime> {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(decode(value)?))
        .ok_or_else(|| Error::decode("the server's time is too far in the future"))
}

operator! {
    /// `DBSIZE`: the number of keys in the database. [`CountKeys`](crate::CountKeys) counts those of the prefix.
    DbSize, "DBSIZE" => u64;
    /// `RANDOMKEY`: a random key of the database, or `None` if it is empty.
    RandomKey, "RANDOMKEY" => Option<Vec<u8>>;
    /// `FLUSHDB`: deletes all keys of the database. [`ClearPrefix`](crate::ClearPrefix) deletes those of the prefix.
    FlushDb, "FLUSHDB" => ();
    /// `FLUSHALL`: deletes all keys of all databases.
    FlushAll, "FLUSHALL" => ();
    /// `CONFIG REWRITE`: writes the current settings to the configuration file.
    ConfigRewrite, "CONFIG REWRITE" => ();
    /// `CONFIG RESETSTAT`: resets the statistics of `INFO`.
    ConfigResetStat, "CONFIG RESETSTAT" => ();
    /// `SAVE`: writes a snapshot, and blocks the server meanwhile.
    Save, "SAVE" => ();
    /// `BGSAVE`: starts a snapshot in the background.
    BgSave, "BGSAVE" => (), by done;
    /// `BGREWRITEAOF`: starts a rewrite of the append-only file in the background.
    BgRewriteAof, "BGREWRITEAOF" => (), by done;
    /// `MODULE LIST`: the loaded modules.
    ModuleList, "MODULE LIST" => Vec<Facts>, by list_of_facts;
    /// `MEMORY DOCTOR`: a report about the memory of the server.
    MemoryDoctor, "MEMORY DOCTOR" => String;
    /// `MEMORY MALLOC-STATS`: a report of the allocator.
    MemoryMallocStats, "MEMORY MALLOC-STATS" => String;
    /// `MEMORY PURGE`: asks the allocator to release memory.
    MemoryPurge, "MEMORY PURGE" => ();
    /// `MEMORY STATS`: the memory of the server by use, in bytes where nothing else is in the name.
    MemoryStats, "MEMORY STATS" => Facts, by facts;
    /// `LATENCY DOCTOR`: a report about slow operations.
    LatencyDoctor, "LATENCY DOCTOR" => String;
    /// `ACL WHOAMI`: the user of the connection.
    AclWhoAmI, "ACL WHOAMI" => String;
    /// `ACL LIST`: the rules of all users, as in a configuration file.
    AclList, "ACL LIST" => Vec<String>;
    /// `ACL USERS`: the names of all users.
    AclUsers, "ACL USERS" => Vec<String>;
    /// `ACL CAT`: the categories of commands.
    AclCat, "ACL CAT" => Vec<String>;
    /// `ACL GENPASS`: a random password of 64 hexadecimal digits.
    AclGenPass, "ACL GENPASS" => String;
    /// `ACL LOAD`: reads the users from the file of the configuration.
    AclLoad, "ACL LOAD" => ();
    /// `ACL SAVE`: writes the users to the file of the configuration.
    AclSave, "ACL SAVE" => ();
    /// `ACL LOG`: denied commands and failed logins.
    AclLog, "ACL LOG" => Vec<Facts>, by list_of_facts;
    /// `ACL LOG RESET`: deletes the log.
    AclLogReset, "ACL LOG RESET" => ();
    /// `PUBSUB NUMPAT`: the number of patterns with subscribers, of all services.
    PubSubNumPat, "PUBSUB NUMPAT" => u64;
    /// `CLIENT UNPAUSE`: ends a pause.
    ClientUnpause, "CLIENT UNPAUSE" => ();
    /// `TIME`: the server's clock.
    Time, "TIME" => SystemTime, by time;
    /// `LASTSAVE`: the time of the last snapshot.
    LastSave, "LASTSAVE" => SystemTime, by since_epoch;
    /// `LOLWUT`: a drawing, and the version of the server.
    LolWut, "LOLWUT" => String;
    /// `HOTKEYS GET`: the keys with the most use since `HOTKEYS START`. Needs Redis 8.6.
    HotKeysGet, "HOTKEYS GET" => Value;
    /// `HOTKEYS STOP`: ends a measurement. Needs Redis 8.6.
    HotKeysStop, "HOTKEYS STOP" => ();
    /// `HOTKEYS RESET`: deletes the results of a measurement. Needs Redis 8.6.
    HotKeysReset, "HOTKEYS RESET" => ();
    /// `COMMAND COUNT`: the number of commands of the server.
    CommandCount, "COMMAND COUNT" => u64;
    /// `COMMAND LIST`: the names of the commands of the server. Needs Redis 7.0.
    CommandList, "COMMAND LIST" => Vec<String>;
    /// `COMMAND`: arity, flags and key positions of all commands, as the server returns them.
    CommandTable, "COMMAND" => Value;
    /// `COMMAND DOCS`: the documentation of all commands. Needs Redis 7.0.
    CommandDocs, "COMMAND DOCS" => Facts, by facts;
}

operator_with! {
    /// `SWAPDB`: exchanges two databases.
    SwapDb, "SWAPDB", databases: (u32, u32) => ();
    /// `CONFIG GET`: the settings that match a glob pattern.
    ConfigGet, "CONFIG GET", pattern: &str => BTreeMap<String, String>, by pairs_of_text;
    /// `LATENCY GRAPH`: a drawing of the latency of an event.
    LatencyGraph, "LATENCY GRAPH", event: &str => String;
    /// `ACL DELUSER`: deletes a user. The reply is the number of deleted users.
    AclDelUser, "ACL DELUSER", user: &str => u64;
    /// `ACL GETUSER`: the rules of a user.
    AclGetUser, "ACL GETUSER", user: &str => Option<Facts>, by maybe_facts;
    /// `COMMAND INFO`: arity, flags and key positions of a command, as the server returns them.
    CommandInfo, "COMMAND INFO", command: &str => Vec<Value>;
    /// `COMMAND GETKEYS`: the keys of a command line, without the prefix.
    CommandGetKeys, "COMMAND GETKEYS", line: &[&str] => Vec<Vec<u8>>;
    /// `COMMAND GETKEYSANDFLAGS`: the keys of a command line, without the prefix, and how the command uses them. Needs Redis
    /// 7.0.
    CommandGetKeysAndFlags, "COMMAND GETKEYSANDFLAGS", line: &[&str] => Vec<(Vec<u8>, Vec<String>)>;
    /// `MODULE UNLOAD`: removes a module.
    ModuleUnload, "MODULE UNLOAD", name: &str => ();
    /// `MODULE LOAD`: loads a module, by its file on the server.
    ModuleLoad, "MODULE LOAD", path: &str => ();
}

fn maybe_facts(value: Value) -> Result<Option<Facts>> {
    shape::optional(value, facts)
}

command! {
    /// `CONFIG SET`: changes a setting until the server restarts.
    ConfigSet => ()
}

impl ConfigSet {
    /// Sets `name` to `value`.
    pub fn new(name: &str, value: impl redis::ToSingleRedisArg) -> Self {
        Self::of(Frame::new("CONFIG SET").arg(name).arg(value))
    }
}

command! {
    /// `ACL SETUSER`: creates a user, or changes its rules.
    AclSetUser => ()
}

impl AclSetUser {
    /// Applies `rules`, such as `["on", "~shop:*", "+@read"]`, to `user`.
    pub fn new<'a>(user: &str, rules: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of(rules.into_iter().fold(Frame::new("ACL SETUSER").arg(user), Frame::arg))
    }
}

command! {
    /// `ACL DRYRUN`: `OK` if a user may run a command, else the reason. Needs Redis 7.0.
    AclDryRun => String
}

impl AclDryRun {
    /// Checks whether `user` may run `line`, without the prefix.
    pub fn new(user: &str, line: &[&str]) -> Self {
        Self::of(Frame::new("ACL DRYRUN").arg(user).arg(line))
    }
}

command! {
    /// `HOTKEYS START`: measures which keys have the most use. Needs Redis 8.6.
    HotKeysStart => ()
}

impl HotKeysStart {
    /// Measures the time of the processor and the network for up to `keys` keys.
    pub fn new(keys: u64) -> Self {
        Self::of(Frame::new("HOTKEYS START").arg(("METRICS", 2, "CPU", "NET", "COUNT", keys)))
    }
}
