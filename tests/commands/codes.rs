//! Every command of the table is executed by a scripted server that then answers an error code on which this crate acts.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use redis_actix::prelude::*;
use redis_actix::{Fate, Frame, Raw, ReconnectPolicy, Value};
use redis_actix_test::{Answer, FakeServer};
use serde_json::Value as Json;

use crate::support::{Own, TIME_LIMIT, config, hasty, ms};

const CODES: [&str; 16] = [
    "BUSY",
    "LOADING",
    "MASTERDOWN",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
    "READONLY",
    "NOSCRIPT",
    "NOAUTH",
    "NOPERM",
    "UNBLOCKED",
    "OOM",
    "EXECABORT",
    "NOREPLICAS",
    "MISCONF",
];

/// Of these the server itself says that it did not execute a command of its own.
const ONLY_BEFORE: [&str; 6] = ["NOPERM", "UNBLOCKED", "OOM", "EXECABORT", "NOREPLICAS", "MISCONF"];

type Argv = Vec<Vec<u8>>;

/// What every source in `data/commands` says of a command, by its name in upper case.
struct Table {
    reads: BTreeSet<String>,
    blocking: BTreeSet<String>,
}

impl Table {
    fn read() -> Self {
        let (mut flags_of, mut blocking) = (BTreeMap::<String, bool>::new(), BTreeSet::new());
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/data/commands");
        for file in std::fs::read_dir(directory).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let Json::Object(commands) = serde_json::from_str(&text).unwrap() else { panic!("no object") };
            for (name, command) in commands {
                let name = name.to_uppercase();
                let has = |flag: &str| {
                    command["flags"]
                        .as_array()
                        .is_some_and(|flags| flags.iter().any(|said| said.as_str() == Some(flag)))
                };
                if has("blocking") {
                    blocking.insert(name.clone());
                }
                // The published table has no flags of module commands.
                if command["flags"].is_null() {
                    continue;
                }
                let reads = flags_of.entry(name).or_insert(true);
                *reads &= has("readonly");
            }
        }
        let mut reads: BTreeSet<_> = flags_of.into_iter().filter(|(_, reads)| *reads).map(|(name, _)| name).collect();
        reads.extend(["ECHO", "LASTSAVE", "PING", "ROLE", "TIME"].map(str::to_owned));
        Self { reads, blocking }
    }
}

/// One line of each command that may be sent, by its name.
fn lines(table: &Table) -> BTreeMap<String, Argv> {
    let mut lines = BTreeMap::new();
    for line in redis_actix_corpus::lines(b"test:") {
        let mut cmd = redis::Cmd::new();
        for arg in &line.argv {
            cmd.arg(arg.as_slice());
        }
        let Ok(raw) = Raw::<Value>::from_cmd(&cmd) else { continue };
        let name = raw.frame().name();
        if !table.blocking.contains(&name) {
            lines.entry(name).or_insert(line.argv);
        }
    }
    lines
}

fn is_user_code(name: &str) -> bool {
    name.starts_with("EVAL") || name.starts_with("FCALL") || name.contains('.') || name.starts_with('V')
}

/// How often each line came, and the code that is answered to the first of them.
#[derive(Default)]
struct Runs {
    code: String,
    count: HashMap<Argv, usize>,
    port: u16,
}

impl Runs {
    fn answer(&mut self, argv: &[Vec<u8>]) -> Answer {
        let is = |at: usize, word: &str| argv.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()));
        if self.port > 0 && is(0, "CLUSTER") && is(1, "SLOTS") {
            let slots = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{}\r\n", self.port);
            return Answer::raw(slots);
        }
        // The topology query asks for the epoch as well.
        if self.port > 0 && is(0, "CLUSTER") && is(1, "INFO") {
            return Answer::raw("$43\r\ncluster_state:ok\r\ncluster_current_epoch:1\r\n\r\n".to_owned());
        }
        if is(0, "ASKING") {
            return Answer::raw("+OK\r\n");
        }
        let runs = self.count.entry(argv.to_vec()).or_default();
        *runs += 1;
        // Words of a script or a module; a reply that came again would be right.
        if *runs == 1 { Answer::raw(format!("-{} the lock is taken\r\n", self.code)) } else { Answer::raw(":1\r\n") }
    }
}

struct Scripted {
    server: FakeServer,
    runs: Arc<Mutex<Runs>>,
    redis: Redis,
}

fn scripted(cluster: bool) -> Scripted {
    let runs = Arc::new(Mutex::new(Runs::default()));
    let answering = runs.clone();
    let server = FakeServer::builder().on(move |argv| answering.lock().unwrap().answer(argv)).start().unwrap();
    let config = config(server.port()).command_timeout(TIME_LIMIT);
    let redis = if cluster {
        runs.lock().unwrap().port = server.port();
        let hosts =
            RedisConfig::builder().cluster_hosts([server.addr()]).key_prefix("test:").command_timeout(TIME_LIMIT);
        let policy = ReconnectPolicy::exponential(ms(1)..=ms(5));
        Redis::builder(hosts.build().unwrap()).reconnect(policy).start().unwrap()
    } else {
        hasty(config).reconnect(ReconnectPolicy::exponential(ms(1)..=ms(5))).start().unwrap()
    };
    Scripted { server, runs, redis }
}

async fn nothing_runs_twice(cluster: bool) {
    let table = Table::read();
    let lines = lines(&table);
    let Scripted { server, runs, redis } = scripted(cluster);
    redis.ready(TIME_LIMIT).await.unwrap();
    let mut faults = Vec::new();
    let (mut writes, mut reads) = (0, 0);
    for code in CODES {
        {
            let mut runs = runs.lock().unwrap();
            (runs.code, runs.count) = (code.to_owned(), HashMap::new());
        }
        let sent = lines.values().map(|argv| {
            let mut cmd = redis::Cmd::new();
            for arg in argv {
                cmd.arg(arg.as_slice());
            }
            redis.send(Raw::<Value>::from_cmd(cmd).unwrap())
        });
        let outcomes = join_all(sent.collect::<Vec<_>>()).await;
        let runs = runs.lock().unwrap();
        for (argv, count) in &runs.count {
            let name = Own(argv
                .iter()
                .skip(1)
                .fold(Frame::new(&String::from_utf8_lossy(&argv[0])), |frame, arg| frame.arg(arg.as_slice())));
            let name = name.frame().name();
            if *count > 1 && !table.reads.contains(&name) {
                faults.push(format!("{code}: {name} ran {count} times"));
            }
        }
        for (name, outcome) in lines.keys().zip(outcomes) {
            if table.reads.contains(name) {
                reads += 1;
                continue;
            }
            let Err(error) = outcome else { continue };
            writes += 1;
            let is_before = ONLY_BEFORE.contains(&code) && !is_user_code(name);
            if error.code() == Some(code) && error.fate() != Fate::Unknown && !is_before {
                faults.push(format!("{code}: {name} ran and is {:?}: {error}", error.fate()));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults, as\n{}", faults.len(), faults[..faults.len().min(40)].join("\n"));
    assert!(writes > 1500 && reads > 1500, "{writes} {reads} of {} commands", lines.len());
    assert!(server.connections() < 4000, "{}", server.connections());
}

/// Ablation: with a verdict by the code alone scripts, functions and module commands run twice.
#[actix::test]
async fn no_command_runs_twice_whatever_code_it_answers() {
    nothing_runs_twice(false).await;
}

/// Ablation: as above.
#[actix::test]
async fn no_command_runs_twice_in_a_cluster_whatever_code_it_answers() {
    nothing_runs_twice(true).await;
}
