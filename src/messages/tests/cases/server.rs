//! Messages for operators.

use std::time::Duration;

use super::{Case, case, documented};
use crate::commands::scripting::*;
use crate::commands::server::*;

pub(super) fn cases() -> Vec<Case> {
    [databases(), settings(), users(), clients(), reports(), logs(), commands(), cluster(), functions()].concat()
}

const EMPTY: &str = "DEL k";
const DONE: &str = "+OK\r\n";

fn databases() -> Vec<Case> {
    let started = "+Background saving started\r\n";
    vec![
        case(DbSize::new(), "DBSIZE", &[], "SET k v", "1"),
        case(RandomKey::new(), "RANDOMKEY", &[], "SET k v", "Some([107])"),
        case(FlushDb::new(), "FLUSHDB", &[], EMPTY, "()"),
        case(FlushAll::new(), "FLUSHALL", &[], EMPTY, "()"),
        case(SwapDb::new((1, 2)), "SWAPDB 1 2", &[], EMPTY, "()"),
        documented(Save::new(), "SAVE", &[], DONE, "()"),
        documented(BgSave::new(), "BGSAVE", &[], started, "()"),
        documented(BgRewriteAof::new(), "BGREWRITEAOF", &[], started, "()"),
        case(Time::new(), "TIME", &[], EMPTY, ""),
        case(LastSave::new(), "LASTSAVE", &[], EMPTY, ""),
        case(Role::new(), "ROLE", &[], EMPTY, "Primary { offset: 0, replicas: [] }"),
        documented(
            Role::new(),
            "ROLE",
            &[],
            "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:42\r\n",
            "Replica { primary: (\"127.0.0.1\", 6379), state: \"connected\", offset: 42 }",
        ),
        case(LolWut::new(), "LOLWUT", &[], EMPTY, ""),
    ]
}

fn settings() -> Vec<Case> {
    vec![
        case(
            ConfigGet::new("maxmemory-pol*"),
            "CONFIG GET maxmemory-pol*",
            &[],
            EMPTY,
            "{\"maxmemory-policy\": \"noeviction\"}",
        ),
        case(ConfigSet::new("maxmemory-samples", 5), "CONFIG SET maxmemory-samples 5", &[], EMPTY, "()"),
        documented(ConfigRewrite::new(), "CONFIG REWRITE", &[], DONE, "()"),
        case(ConfigResetStat::new(), "CONFIG RESETSTAT", &[], EMPTY, "()"),
        case(ModuleList::new(), "MODULE LIST", &[], EMPTY, ""),
        documented(ModuleLoad::new("/m.so"), "MODULE LOAD /m.so", &[], DONE, "()"),
        documented(ModuleUnload::new("m"), "MODULE UNLOAD m", &[], DONE, "()"),
        case(Info::new().section("server"), "INFO server", &[], EMPTY, ""),
    ]
}

fn users() -> Vec<Case> {
    vec![
        case(AclWhoAmI::new(), "ACL WHOAMI", &[], EMPTY, "\"default\""),
        case(AclList::new(), "ACL LIST", &[], EMPTY, ""),
        case(AclUsers::new(), "ACL USERS", &[], "ACL DELUSER ada", "[\"default\"]"),
        case(AclCat::new(), "ACL CAT", &[], EMPTY, ""),
        case(AclGenPass::new(), "ACL GENPASS", &[], EMPTY, ""),
        documented(AclLoad::new(), "ACL LOAD", &[], DONE, "()"),
        documented(AclSave::new(), "ACL SAVE", &[], DONE, "()"),
        case(AclLog::new(), "ACL LOG", &[], EMPTY, "[]"),
        case(AclLogReset::new(), "ACL LOG RESET", &[], EMPTY, "()"),
        case(AclGetUser::new("nobody"), "ACL GETUSER nobody", &[], EMPTY, "None"),
        case(AclGetUser::new("default"), "ACL GETUSER default", &[], EMPTY, ""),
        case(AclDelUser::new("nobody"), "ACL DELUSER nobody", &[], EMPTY, "0"),
        case(AclSetUser::new("ada", ["on", "+@read"]), "ACL SETUSER ada on +@read", &[], EMPTY, "()"),
        case(AclDryRun::new("default", &["GET", "k"]), "ACL DRYRUN default GET k", &[], EMPTY, "\"OK\""),
    ]
}

fn clients() -> Vec<Case> {
    let pause = ClientPauseTime::writes(Duration::from_millis(1));
    vec![
        case(ClientList::new(), "CLIENT LIST", &[], EMPTY, ""),
        case(ClientInfo::new(), "CLIENT INFO", &[], EMPTY, ""),
        case(ClientId::new(), "CLIENT ID", &[], EMPTY, ""),
        case(ClientGetName::new(), "CLIENT GETNAME", &[], EMPTY, "None"),
        case(ClientKill::new(9_999_999), "CLIENT KILL ID 9999999", &[], EMPTY, "0"),
        case(ClientUnblock::new(0), "CLIENT UNBLOCK 0", &[], EMPTY, "false"),
        case(ClientPause::new(pause), "CLIENT PAUSE 1 WRITE", &[], EMPTY, "()"),
        case(ClientUnpause::new(), "CLIENT UNPAUSE", &[], EMPTY, "()"),
        case(PubSubNumPat::new(), "PUBSUB NUMPAT", &[], EMPTY, "0"),
    ]
}

fn reports() -> Vec<Case> {
    vec![
        case(LatencyLatest::new(), "LATENCY LATEST", &[], EMPTY, "[]"),
        documented(
            LatencyLatest::new(),
            "LATENCY LATEST",
            &[],
            "*1\r\n*4\r\n$7\r\ncommand\r\n:9\r\n:250\r\n:1000\r\n",
            "[LatencyEvent { name: \"command\", at: SystemTime { tv_sec: 9, tv_nsec: 0 }, latest: 250ms, longest: 1s }]",
        ),
        case(LatencyReset::new(), "LATENCY RESET", &[], EMPTY, "0"),
        case(LatencyHistory::new("command"), "LATENCY HISTORY command", &[], EMPTY, "[]"),
        documented(LatencyGraph::new("command"), "LATENCY GRAPH command", &[], "$1\r\nx\r\n", "\"x\""),
        case(LatencyDoctor::new(), "LATENCY DOCTOR", &[], EMPTY, ""),
        case(LatencyHistogram::new(), "LATENCY HISTOGRAM", &[], "SET k v", ""),
        case(MemoryDoctor::new(), "MEMORY DOCTOR", &[], EMPTY, ""),
        case(MemoryMallocStats::new(), "MEMORY MALLOC-STATS", &[], EMPTY, ""),
        case(MemoryPurge::new(), "MEMORY PURGE", &[], EMPTY, "()"),
        case(MemoryStats::new(), "MEMORY STATS", &[], EMPTY, ""),
    ]
}

fn logs() -> Vec<Case> {
    const SLOW: &str = "CONFIG SET slowlog-log-slower-than 0;GET k;CONFIG SET slowlog-log-slower-than 10000";
    vec![
        case(SlowLogLen::new(), "SLOWLOG LEN", &[], EMPTY, ""),
        case(SlowLogGet::new(2), "SLOWLOG GET 2", &[], SLOW, ""),
        case(SlowLogReset::new(), "SLOWLOG RESET", &[], EMPTY, "()"),
        case(CommandLogGet::new((2, "slow")), "COMMANDLOG GET 2 slow", &[], EMPTY, ""),
        case(CommandLogLen::new("large-reply"), "COMMANDLOG LEN large-reply", &[], EMPTY, ""),
        case(CommandLogReset::new("slow"), "COMMANDLOG RESET slow", &[], EMPTY, "()"),
        documented(HotKeysStart::new(5), "HOTKEYS START METRICS 2 CPU NET COUNT 5", &[], DONE, "()"),
        documented(HotKeysGet::new(), "HOTKEYS GET", &[], "$-1\r\n", "nil"),
        documented(HotKeysStop::new(), "HOTKEYS STOP", &[], DONE, "()"),
        documented(HotKeysReset::new(), "HOTKEYS RESET", &[], DONE, "()"),
    ]
}

fn commands() -> Vec<Case> {
    vec![
        case(CommandCount::new(), "COMMAND COUNT", &[], EMPTY, ""),
        case(CommandList::new(), "COMMAND LIST", &[], EMPTY, ""),
        case(CommandTable::new(), "COMMAND", &[], EMPTY, ""),
        case(CommandDocs::new(), "COMMAND DOCS", &[], EMPTY, ""),
        case(CommandInfo::new("get"), "COMMAND INFO get", &[], EMPTY, ""),
        case(CommandGetKeys::new(&["GET", "k"]), "COMMAND GETKEYS GET k", &[], EMPTY, "[[107]]"),
        case(
            CommandGetKeysAndFlags::new(&["GET", "k"]),
            "COMMAND GETKEYSANDFLAGS GET k",
            &[],
            EMPTY,
            "[([107], [\"RO\", \"access\"])]",
        ),
    ]
}

fn cluster() -> Vec<Case> {
    vec![
        documented(
            ClusterInfo::new(),
            "CLUSTER INFO",
            &[],
            "$16\r\ncluster_state:ok\r\n",
            "{\"cluster_state\": \"ok\"}",
        ),
        documented(ClusterMyId::new(), "CLUSTER MYID", &[], "$2\r\nab\r\n", "\"ab\""),
        documented(ClusterMyShardId::new(), "CLUSTER MYSHARDID", &[], "$2\r\nab\r\n", "\"ab\""),
        documented(ClusterNodes::new(), "CLUSTER NODES", &[], "$2\r\nab\r\n", "\"ab\""),
        documented(ClusterSlots::new(), "CLUSTER SLOTS", &[], "*0\r\n", "[]"),
        documented(
            ClusterShards::new(),
            "CLUSTER SHARDS",
            &[],
            "*1\r\n*2\r\n$5\r\nslots\r\n:1\r\n",
            "[{\"slots\": int(1)}]",
        ),
        documented(
            ClusterLinks::new(),
            "CLUSTER LINKS",
            &[],
            "*1\r\n%1\r\n$4\r\nnode\r\n:1\r\n",
            "[{\"node\": int(1)}]",
        ),
        documented(ClusterGetSlotMigrations::new(), "CLUSTER GETSLOTMIGRATIONS", &[], "*0\r\n", "[]"),
        documented(ClusterCancelSlotMigrations::new(), "CLUSTER CANCELSLOTMIGRATIONS", &[], DONE, "()"),
        documented(ClusterKeySlot::new("k"), "CLUSTER KEYSLOT k", &[], ":7629\r\n", "7629"),
        documented(ClusterCountKeysInSlot::new(7), "CLUSTER COUNTKEYSINSLOT 7", &[], ":2\r\n", "2"),
        documented(ClusterGetKeysInSlot::new((7, 2)), "CLUSTER GETKEYSINSLOT 7 2", &[], "*1\r\n$1\r\nk\r\n", "[[107]]"),
        documented(ClusterReplicas::new("ab"), "CLUSTER REPLICAS ab", &[], "*0\r\n", "[]"),
        documented(ClusterCountFailureReports::new("a"), "CLUSTER COUNT-FAILURE-REPORTS a", &[], ":0\r\n", "0"),
        documented(
            ClusterSlotStats::new(("key-count", "LIMIT", 2)),
            "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 2",
            &[],
            "*1\r\n*2\r\n:7\r\n:3\r\n",
            "[(7, int(3))]",
        ),
    ]
}

fn functions() -> Vec<Case> {
    vec![
        case(ScriptFlush::new(), "SCRIPT FLUSH", &[], EMPTY, "()"),
        documented(ScriptKill::new(), "SCRIPT KILL", &[], DONE, "()"),
        documented(ScriptShow::new("ab"), "SCRIPT SHOW ab", &[], "$8\r\nreturn 1\r\n", "\"return 1\""),
        case(FunctionDump::new(), "FUNCTION DUMP", &[], EMPTY, ""),
        case(FunctionFlush::new(), "FUNCTION FLUSH", &[], EMPTY, "()"),
        documented(FunctionKill::new(), "FUNCTION KILL", &[], DONE, "()"),
        case(FunctionStats::new(), "FUNCTION STATS", &[], EMPTY, ""),
        case(FunctionList::new(), "FUNCTION LIST", &[], "FUNCTION FLUSH", "[]"),
        documented(FunctionDelete::new("lib"), "FUNCTION DELETE lib", &[], DONE, "()"),
        documented(
            FunctionRestore::new("dump", RestorePolicy::Replace),
            "FUNCTION RESTORE dump REPLACE",
            &[],
            DONE,
            "()",
        ),
    ]
}
