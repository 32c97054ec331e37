//! Messages for operators with replies of several fields: server, clients, slow commands, latency, cluster.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use redis::Value;

use super::operators::{Facts, facts, operator, operator_with};
use super::{decode, millis, shape};
use crate::error::{Error, Result};
use crate::frame::Frame;

/// `name:value` lines, as in `INFO`.
fn lines(value: Value) -> Result<BTreeMap<String, String>> {
    let text: String = decode(value)?;
    let pair = |line: &str| line.trim().split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(text.lines().filter_map(pair).collect())
}

/// `name=value` words, one client a line, as in `CLIENT LIST`.
fn clients(value: Value) -> Result<Vec<BTreeMap<String, String>>> {
    let text: String = decode(value)?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(words).collect())
}

fn words(line: &str) -> BTreeMap<String, String> {
    let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    line.split_whitespace().filter_map(pair).collect()
}

fn client(value: Value) -> Result<BTreeMap<String, String>> {
    let text: String = decode(value)?;
    Ok(words(&text))
}

command! {
    /// `INFO`: the facts of the server by name, such as `used_memory`.
    Info => BTreeMap<String, String>, by lines
}

impl Info {
    /// The sections that the server returns by default.
    #[expect(clippy::new_without_default, reason = "messages are made by new; a default one would be unclear")]
    pub fn new() -> Self {
        Self::of(Frame::new("INFO"))
    }

    /// Adds a section, such as `memory`; `everything` is all of them.
    pub fn section(self, name: &str) -> Self {
        self.opt(name)
    }
}

operator! {
    /// `CLIENT LIST`: the connections of all services, as fields by name.
    ClientList, "CLIENT LIST" => Vec<BTreeMap<String, String>>, by clients;
    /// `CLIENT INFO`: the connection that replies, as fields by name.
    ClientInfo, "CLIENT INFO" => BTreeMap<String, String>, by client;
    /// `CLIENT ID`: the number of the connection that replies.
    ClientId, "CLIENT ID" => u64;
    /// `CLIENT GETNAME`: the name of the connection that replies.
    ClientGetName, "CLIENT GETNAME" => Option<String>;
    /// `ROLE`: the role of the server.
    Role, "ROLE" => ServerRole, by role;
    /// `SLOWLOG LEN`: the number of slow commands in the log.
    SlowLogLen, "SLOWLOG LEN" => u64;
    /// `SLOWLOG RESET`: deletes the log.
    SlowLogReset, "SLOWLOG RESET" => ();
    /// `LATENCY LATEST`: the latest slow operation of each event.
    LatencyLatest, "LATENCY LATEST" => Vec<LatencyEvent>, by events;
    /// `LATENCY RESET`: deletes the slow operations of all events. The reply is the number of events.
    LatencyReset, "LATENCY RESET" => u64;
    /// `LATENCY HISTOGRAM`: the distribution of the time of each command. Needs Redis 7.0.
    LatencyHistogram, "LATENCY HISTOGRAM" => Facts, by facts;
    /// `CLUSTER INFO`: the state of the cluster, as fields by name.
    ClusterInfo, "CLUSTER INFO" => BTreeMap<String, String>, by lines;
    /// `CLUSTER MYID`: the id of the node that replies.
    ClusterMyId, "CLUSTER MYID" => String;
    /// `CLUSTER MYSHARDID`: the id of the shard that replies. Needs Redis 7.2.
    ClusterMyShardId, "CLUSTER MYSHARDID" => String;
    /// `CLUSTER NODES`: the nodes as the server describes them, one a line.
    ClusterNodes, "CLUSTER NODES" => String;
    /// `CLUSTER SLOTS`: the slots with their nodes, as the server returns them.
    ClusterSlots, "CLUSTER SLOTS" => Vec<Value>;
    /// `CLUSTER SHARDS`: the shards with their slots and nodes. Needs Redis 7.0.
    ClusterShards, "CLUSTER SHARDS" => Vec<Facts>, by many_facts;
    /// `CLUSTER LINKS`: the connections between nodes. Needs Redis 7.0.
    ClusterLinks, "CLUSTER LINKS" => Vec<Facts>, by many_facts;
    /// `CLUSTER GETSLOTMIGRATIONS`: the migrations of slots that run or have ended. Needs Valkey 9.0.
    ClusterGetSlotMigrations, "CLUSTER GETSLOTMIGRATIONS" => Vec<Facts>, by many_facts;
    /// `CLUSTER CANCELSLOTMIGRATIONS`: ends the migrations of slots. Needs Valkey 9.0.
    ClusterCancelSlotMigrations, "CLUSTER CANCELSLOTMIGRATIONS" => ();
}

operator_with! {
    /// `CLIENT PAUSE`: delays the commands of all clients (whole milliseconds, at least 1).
    ClientPause, "CLIENT PAUSE", time: ClientPauseTime => ();
    /// `CLIENT KILL ID`: closes a connection. The reply is the number of closed connections.
    ClientKill, "CLIENT KILL ID", id: u64 => u64;
    /// `CLIENT UNBLOCK`: ends the wait of a blocking command of a connection. The reply is whether it waited.
    ClientUnblock, "CLIENT UNBLOCK", id: u64 => bool;
    /// `SLOWLOG GET`: the latest slow commands, newest first.
    SlowLogGet, "SLOWLOG GET", count: u64 => Vec<SlowCommand>, by slow_commands;
    /// `LATENCY HISTORY`: the slow operations of an event.
    LatencyHistory, "LATENCY HISTORY", event: &str => Vec<(SystemTime, Duration)>, by history;
    /// `CLUSTER KEYSLOT`: the slot of a key, without the prefix.
    ClusterKeySlot, "CLUSTER KEYSLOT", key: &str => u16;
    /// `CLUSTER COUNTKEYSINSLOT`: the number of keys in a slot.
    ClusterCountKeysInSlot, "CLUSTER COUNTKEYSINSLOT", slot: u16 => u64;
    /// `CLUSTER GETKEYSINSLOT`: keys of a slot; the argument is the slot and the maximum number of keys.
    ClusterGetKeysInSlot, "CLUSTER GETKEYSINSLOT", slot_and_count: (u16, u64) => Vec<Vec<u8>>;
    /// `CLUSTER REPLICAS`: the replicas of a node, as the server describes them.
    ClusterReplicas, "CLUSTER REPLICAS", node: &str => Vec<String>;
    /// `CLUSTER COUNT-FAILURE-REPORTS`: the number of nodes that report a node as failed.
    ClusterCountFailureReports, "CLUSTER COUNT-FAILURE-REPORTS", node: &str => u64;
    /// `CLUSTER SLOT-STATS ORDERBY`: the slots with the most of a metric, such as `key-count`, and their number. Needs Redis
    /// 8.2 or Valkey 8.0.
    ClusterSlotStats, "CLUSTER SLOT-STATS ORDERBY", metric_and_limit: (&str, &str, u16) => Vec<(u16, Value)>;
    /// `COMMANDLOG GET`: the latest commands of a log of Valkey 8.1: `slow`, `large-request` or `large-reply`.
    CommandLogGet, "COMMANDLOG GET", count_and_log: (u64, &str) => Vec<SlowCommand>, by slow_commands;
    /// `COMMANDLOG LEN`: the number of commands in a log of Valkey 8.1.
    CommandLogLen, "COMMANDLOG LEN", log: &str => u64;
    /// `COMMANDLOG RESET`: deletes a log of Valkey 8.1.
    CommandLogReset, "COMMANDLOG RESET", log: &str => ();
}

fn many_facts(value: Value) -> Result<Vec<Facts>> {
    shape::items(value)?.into_iter().map(facts).collect()
}

/// The time of a [`ClientPause`] and the commands that it delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientPauseTime {
    time: Duration,
    writes_only: bool,
}

impl ClientPauseTime {
    /// Delays all commands.
    #[must_use]
    pub fn all(time: Duration) -> Self {
        Self { time, writes_only: false }
    }

    /// Delays writes only.
    #[must_use]
    pub fn writes(time: Duration) -> Self {
        Self { time, writes_only: true }
    }
}

impl redis::ToRedisArgs for ClientPauseTime {
    fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
        millis(self.time).write_redis_args(out);
        out.write_arg(if self.writes_only { b"WRITE" } else { b"ALL" });
    }
}

/// The role of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerRole {
    /// A primary, with the address and the replication offset of each replica.
    Primary {
        /// The replication offset of the primary.
        offset: i64,
        /// Host, port and offset of each replica.
        replicas: Vec<(String, u16, i64)>,
    },
    /// A replica.
    Replica {
        /// Host and port of the primary.
        primary: (String, u16),
        /// The state of the replication, such as `connected`.
        state: String,
        /// The replication offset.
        offset: i64,
    },
    /// A sentinel, with the names of the primaries that it watches.
    Sentinel(Vec<String>),
}

fn role(value: Value) -> Result<ServerRole> {
    let mut parts = shape::items(value)?.into_iter();
    let mut next = || shape::next(&mut parts);
    match shape::bytes(next()?)?.as_slice() {
        b"master" => {
            let offset = decode(next()?)?;
            let replicas = shape::items(next()?)?.into_iter().map(replica).collect::<Result<_>>()?;
            Ok(ServerRole::Primary { offset, replicas })
        }
        b"slave" => Ok(ServerRole::Replica {
            primary: (decode(next()?)?, decode(next()?)?),
            state: decode(next()?)?,
            offset: decode(next()?)?,
        }),
        b"sentinel" => Ok(ServerRole::Sentinel(decode(next()?)?)),
        _ => Err(shape::unexpected()),
    }
}

/// Port and offset are texts here.
fn replica(value: Value) -> Result<(String, u16, i64)> {
    decode(value)
}

/// A command in the slow log of a server.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowCommand {
    /// Its number in the log.
    pub id: u64,
    /// When it ran, in whole seconds.
    pub at: SystemTime,
    /// How long it ran, or its bytes in the logs of large requests and replies.
    pub took: Duration,
    /// Its arguments, truncated by the server, with the prefix.
    pub arguments: Vec<Vec<u8>>,
    /// The address of the client.
    pub client: Option<String>,
    /// The name of the client.
    pub client_name: Option<String>,
}

/// Arguments are data of services.
impl std::fmt::Debug for SlowCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlowCommand")
            .field("id", &self.id)
            .field("took", &self.took)
            .field("arguments", &self.arguments.len())
            .finish_non_exhaustive()
    }
}

fn slow_commands(value: Value) -> Result<Vec<SlowCommand>> {
    shape::items(value)?.into_iter().map(slow_command).collect()
}

fn slow_command(value: Value) -> Result<SlowCommand> {
    let mut parts = shape::items(value)?.into_iter();
    Ok(SlowCommand {
        id: decode(shape::next(&mut parts)?)?,
        at: second(decode(shape::next(&mut parts)?)?)?,
        took: Duration::from_micros(decode(shape::next(&mut parts)?)?),
        arguments: shape::items(shape::next(&mut parts)?)?.into_iter().map(shape::bytes).collect::<Result<_>>()?,
        client: parts.next().map(decode).transpose()?,
        client_name: parts.next().map(decode).transpose()?,
    })
}

fn second(since: u64) -> Result<SystemTime> {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_secs(since))
        .ok_or_else(|| Error::decode("the server's time is too far in the future"))
}

/// The latest slow operation of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencyEvent {
    /// The event, such as `command`.
    pub name: String,
    /// When it happened, in whole seconds.
    pub at: SystemTime,
    /// How long it took, in whole milliseconds.
    pub latest: Duration,
    /// The longest time of this event.
    pub longest: Duration,
}

fn events(value: Value) -> Result<Vec<LatencyEvent>> {
    let one = |value| {
        let mut parts = shape::items(value)?.into_iter();
        Ok(LatencyEvent {
            name: decode(shape::next(&mut parts)?)?,
            at: second(decode(shape::next(&mut parts)?)?)?,
            latest: Duration::from_millis(decode(shape::next(&mut parts)?)?),
            longest: Duration::from_millis(decode(shape::next(&mut parts)?)?),
        })
    };
    shape::items(value)?.into_iter().map(one).collect()
}

fn history(value: Value) -> Result<Vec<(SystemTime, Duration)>> {
    let one = |value| {
        let (at, took): (u64, u64) = decode(value)?;
        Ok((second(at)?, Duration::from_millis(took)))
    };
    shape::items(value)?.into_iter().map(one).collect()
}
