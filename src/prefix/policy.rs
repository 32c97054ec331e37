//! Which commands a caller may send on the shared, prefixed connection.

use super::rules::{is_word, stream_options};
use super::table::{Found, lookup};

/// The class of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Policy {
    /// Sent on the shared connection.
    Allowed,
    /// Belongs to a transaction.
    Transaction,
    /// May block: sent on a dedicated connection.
    Blocking,
    /// Changes the subscriptions of the connection.
    Subscribe,
    /// Changes the replies to other callers of the connection, or consumes them.
    ConnectionState,
    /// Reaches keys outside the prefix.
    Wide,
    /// Uses an index, which covers the keys of every service unless its own prefixes are limited.
    Search,
    /// Computes with the time series of every service before it replies.
    Grouped,
    /// Lists labels of every service's time series, which have no prefix.
    Labels,
    /// Shows activity of other services.
    Observing,
    /// Changes the server for every service.
    Administration,
    /// Not in the table.
    Unknown,
}

impl Policy {
    /// Why the prefixed handle refuses the class, and the alternative. `None` if the class is allowed.
    pub(crate) fn refusal(self) -> Option<&'static str> {
        Some(match self {
            Self::Allowed | Self::Blocking => return None,
            Self::Transaction => {
                "on a shared connection the commands of other callers would become part of the transaction: send one `Transaction`, or use `Redis::watch`, instead"
            }
            Self::Subscribe => "it changes the subscriptions of the shared connection: use Redis::subscribe instead",
            Self::ConnectionState => {
                "it changes the shared connection for every other caller: set user, database and names in the configuration, and close the connection with `Redis::shutdown`, instead"
            }
            Self::Wide => "it reaches keys of other services: use `ScanKeys`, `CountKeys` or `ClearPrefix` instead",
            Self::Search => {
                "an index can cover the keys of every service: use the messages of `redis_actix::commands::search`, which stay inside the prefix, instead"
            }
            Self::Grouped => {
                "GROUPBY and REDUCE also count the time series of other services: read the series with WITHLABELS and combine them in your program instead"
            }
            Self::Labels => {
                "it shows the labels of other services' time series: use TS.MGET with WITHLABELS, whose reply is limited to the prefix, instead"
            }
            Self::Observing => {
                "it shows the activity of other services: use `redis.unprefixed()` instead if you operate the server"
            }
            Self::Administration => {
                "it changes the server for every service: use `redis.unprefixed()` instead if you operate the server"
            }
            Self::Unknown => "its keys are not known: mark them with `key()` instead",
        })
    }
}

/// The class of a command line.
pub(crate) fn policy(argv: &[impl AsRef<[u8]>]) -> Policy {
    match lookup(argv) {
        None => Policy::Unknown,
        Some(found) => by_name(found, argv),
    }
}

/// The classes of all known subcommands of a container, for a line with an unknown subcommand.
pub(crate) fn of_container(argv: &[impl AsRef<[u8]>]) -> Option<Vec<Policy>> {
    let found = lookup(argv.get(..1)?)?;
    let subcommands = found.entry.subcommands().iter();
    Some(subcommands.map(|sub| policy(&[found.name.command, sub.name])).collect())
}

fn by_name(found: Found, argv: &[impl AsRef<[u8]>]) -> Policy {
    let Found { entry, name } = found;
    let sub = name.subcommand.unwrap_or_default();
    match name.command {
        _ if sub == "help" => Policy::Allowed,

        "auth" | "hello" | "select" | "reset" | "quit" | "asking" | "readonly" | "readwrite" | "monitor" | "sync"
        | "psync" | "replconf" => Policy::ConnectionState,
        // Field sets are state of the connection: one caller would overwrite the set of another with the same name.
        "himport" => Policy::ConnectionState,
        "client" => match sub {
            "" | "id" | "getname" | "info" => Policy::Allowed,
            "list" | "kill" | "unblock" => Policy::Observing,
            "pause" | "unpause" => Policy::Administration,
            _ => Policy::ConnectionState,
        },

        "multi" | "exec" | "discard" | "watch" | "unwatch" => Policy::Transaction,
        "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ssubscribe" | "sunsubscribe" => {
            Policy::Subscribe
        }

        "randomkey" | "dbsize" | "flushdb" | "flushall" | "swapdb" | "move" | "trimslots" | "clusterscan" => {
            Policy::Wide
        }
        "ts.querylabels" => Policy::Labels,
        "ts.mrange" | "ts.mrevrange" if has_word(argv, "GROUPBY") => Policy::Grouped,
        command if ["ft.", "_ft."].iter().any(|p| command.starts_with(p)) => Policy::Search,
        "copy" if names_database(argv) => Policy::Wide,
        "cluster" => match sub {
            "getkeysinslot" | "countkeysinslot" => Policy::Wide,
            "slot-stats" => Policy::Observing,
            "" | "info" | "keyslot" | "links" | "myid" | "myshardid" | "nodes" | "replicas" | "shards" | "slaves"
            | "slots" => Policy::Allowed,
            _ => Policy::Administration,
        },

        "info" => Policy::Observing,
        "slowlog" | "commandlog" | "latency" | "hotkeys" => match sub {
            "reset" | "start" | "stop" => Policy::Administration,
            _ => Policy::Observing,
        },
        "memory" => match sub {
            "" | "usage" => Policy::Allowed,
            "purge" => Policy::Administration,
            _ => Policy::Observing,
        },
        "acl" if sub == "log" => Policy::Observing,
        "pubsub" if sub == "numpat" => Policy::Observing,
        // Libraries belong to the server and not to a prefix: LOAD replaces and FLUSH removes those of other
        // services.
        "function" => match sub {
            "list" | "dump" | "stats" => Policy::Observing,
            _ => Policy::Administration,
        },
        "script" => match sub {
            "debug" => Policy::ConnectionState,
            "flush" | "kill" => Policy::Administration,
            _ => Policy::Allowed,
        },

        "acl"
        | "backup"
        | "config"
        | "migrate"
        | "module"
        | "restore-asking"
        | "search.clusterinfo"
        | "search.clusterrefresh"
        | "search.clusterset" => Policy::Administration,
        command if command.starts_with("timeseries.") => Policy::Administration,
        _ if entry.admin() => Policy::Administration,

        "xread" | "xreadgroup" => match stream_options(argv) {
            Some(streams) if streams.block.is_some() => Policy::Blocking,
            _ => Policy::Allowed,
        },
        "wait" | "waitaof" => Policy::Blocking,
        "ts.read" if argv.iter().skip(3).any(|arg| is_word(arg.as_ref(), "BLOCK")) => Policy::Blocking,
        _ if entry.blocks() => Policy::Blocking,
        _ => Policy::Allowed,
    }
}

fn has_word(argv: &[impl AsRef<[u8]>], word: &str) -> bool {
    argv.iter().any(|arg| is_word(arg.as_ref(), word))
}

/// `COPY source destination [DB n] [REPLACE]`
fn names_database(argv: &[impl AsRef<[u8]>]) -> bool {
    argv.iter().skip(3).any(|arg| is_word(arg.as_ref(), "DB"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::table::COMMANDS;

    fn of(line: &str) -> Policy {
        policy(&line.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn commands_have_their_class() {
        let classes = [
            (
                Policy::ConnectionState,
                "AUTH p|HELLO 3|SELECT 1|RESET|QUIT|ASKING|READONLY|READWRITE|CLIENT REPLY SKIP|CLIENT TRACKING ON|CLIENT CACHING YES|CLIENT SETNAME x|CLIENT SETINFO LIB-NAME x|CLIENT NO-EVICT ON|CLIENT NO-TOUCH ON|CLIENT CAPA redirect|MONITOR|SYNC|PSYNC ? -1|HIMPORT PREPARE u f",
            ),
            (Policy::Transaction, "MULTI|EXEC|DISCARD|WATCH k|UNWATCH"),
            (
                Policy::Blocking,
                "BLPOP k 1|BRPOP k 1|BLMOVE a b LEFT RIGHT 1|BLMPOP 1 1 k LEFT|BZPOPMIN k 1|BZPOPMAX k 1|BZMPOP 1 1 k MIN|BRPOPLPUSH a b 1|WAIT 1 1|WAITAOF 1 1 1|XREAD BLOCK 1 STREAMS k 0|xreadgroup group g c block 1 streams k >",
            ),
            (Policy::Subscribe, "SUBSCRIBE c|UNSUBSCRIBE|PSUBSCRIBE p|PUNSUBSCRIBE|SSUBSCRIBE c|SUNSUBSCRIBE"),
            (
                Policy::Wide,
                "RANDOMKEY|CLUSTERSCAN 0|DBSIZE|FLUSHDB|FLUSHALL|SWAPDB 0 1|MOVE k 1|COPY a b DB 1|copy a b replace db 1|CLUSTER GETKEYSINSLOT 1 1|CLUSTER COUNTKEYSINSLOT 1",
            ),
            (Policy::Search, "FT.SEARCH i q|_FT.DEBUG x|FT._LIST|FT.CREATE i SCHEMA f TEXT"),
            (
                Policy::Grouped,
                "TS.MRANGE - + FILTER a=b GROUPBY a REDUCE sum|ts.mrevrange - + filter a=b groupby a reduce sum",
            ),
            (Policy::Labels, "TS.QUERYLABELS *"),
            (Policy::Observing, "SLOWLOG GET|CLIENT LIST|CLIENT KILL a|CLIENT UNBLOCK 1|ACL LOG|INFO|MEMORY STATS"),
            (
                Policy::Administration,
                "CONFIG GET x|ACL SETUSER x|DEBUG JMAP|SHUTDOWN|REPLICAOF no one|FAILOVER|MODULE LIST|TIMESERIES.HELLO|MIGRATE h 1 k 0 1|SAVE|BGSAVE|SLAVEOF no one|CLUSTER MEET a 1|FUNCTION FLUSH|SCRIPT FLUSH",
            ),
            (
                Policy::Allowed,
                "GET k|XREAD STREAMS k 0|XREAD COUNT 1 STREAMS BLOCK 0|COPY a DB|COPY a b REPLACE|EVAL s 0|FCALL f 0|PUBLISH c m|JSON.SET k . 1|BF.ADD k v|TS.ADD k 1 1|TS.MGET FILTER a=b|TS.MRANGE - + FILTER a=b|TS.QUERYINDEX a=b|MEMORY USAGE k|CLUSTER KEYSLOT k|SCRIPT LOAD s|KEYS *|SCAN 0",
            ),
            (Policy::Unknown, "NOSUCH k|CLIENT NOSUCH|get\0 k"),
        ];
        for (class, lines) in classes {
            for line in lines.split('|') {
                let line = if line == "_FT.DEBUG x" { "_FT.DEBUG" } else { line };
                assert_eq!(of(line), class, "{line}");
            }
        }
    }

    #[test]
    fn each_refusal_names_an_alternative() {
        let classes: std::collections::HashSet<Policy> = COMMANDS.iter().map(|entry| policy(&[entry.name])).collect();
        for class in classes {
            assert!(class.refusal().is_none_or(|words| words.contains("instead")), "{class:?}");
        }
    }
}
