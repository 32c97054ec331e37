//! MOVED, ASK and other refusals: which commands are sent again, where, and which are not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use redis_actix::Fate;
use redis_actix::prelude::*;
use redis_actix_test::{Answer, Connection, FakeServer, RedisCluster, RedisServer, Reply};

use crate::cluster_support::{aside, cluster, joined, slot_of, slot_of_name};
use crate::scripted::{Asked, Scripted, error, int, okay};
use crate::support::{self, TIME_LIMIT, eventually, ms};

/// Everything that a node says of slots, and everything that a server that is not ready says, from a script that ran.
const CODES: [&str; 12] = [
    "MOVED 3999 127.0.0.1:6381",
    "ASK 3999 127.0.0.1:6381",
    "MOVED the account to another bank",
    "ASK another node",
    "TRYAGAIN later",
    "CLUSTERDOWN is what the script calls it",
    "MASTERDOWN is what the script calls it",
    "LOADING the truck",
    "BUSY the lock is taken",
    "NOSCRIPT for this scene",
    "READONLY account is frozen",
    "NOAUTH for this account",
];

static RUN: Script<i64> = Script::new("redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])");

/// Ablation: judging by the code alone fails with "MOVED ran 17 times"; without the comparison of slots the first two codes fail
/// with Timeout and NotSent.
#[actix::test]
async fn a_command_that_ran_and_answers_like_a_node_runs_once() {
    let cluster = aside(|| cluster(RedisCluster::builder())).await;
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    for (nth, code) in CODES.iter().enumerate() {
        let run = |key: String| RUN.invoke().key(key).arg(*code);
        let count = |name: &str| format!("{name}{nth}");
        let alone = redis.send(run(count("alone"))).await.expect_err("its own error");
        let piped =
            Pipeline::new((run(count("{p}piped")), Incr::new(count("{p}beside")), Incr::new(count("elsewhere"))));
        let piped = redis.send(piped.try_each()).await.expect("each in its place");
        let error = piped.0.expect_err("its own error");
        assert_eq!((piped.1.expect("ran"), piped.2.expect("ran")), (1, 1), "{code}");
        let unit = Transaction::new((run(count("{p}unit")), Incr::new(count("{p}inside"))));
        let united = redis.send(unit).await.expect_err("its own error");
        for (name, error) in [("alone", &alone), ("{p}piped", &error), ("{p}unit", &united)] {
            let ran = redis.send(Get::<i64>::new(count(name))).await.expect("read");
            assert_eq!((ran, error.fate()), (Some(1), Fate::Unknown), "{code}: {name}: {error}");
            assert_eq!(error.code(), code.split(' ').next(), "{error}");
        }
    }
}

/// The texts that servers use, word for word, written by a script.
const FORGED: [&str; 6] = [
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "CLUSTERDOWN The cluster is down",
    "NOSCRIPT No matching script. Please use EVAL.",
];

/// Alone and in a pipeline, in a cluster and on one server. Nothing in the reply distinguishes these texts from the server's own;
/// the reply to a PING, to an empty script with the same keys, or to SCRIPT EXISTS does.
///
/// Ablations: without SCRIPT EXISTS a script that answers NOSCRIPT runs twice, without `check_refusal` the script runs until its deadline in the cluster, without `Evidence::Unconfirmed` everywhere.
#[actix::test]
async fn a_script_that_writes_the_text_of_a_server_runs_once() {
    let (cluster, server) = aside(|| (cluster(RedisCluster::builder()), support::server())).await;
    let single = support::hasty(support::config(server.port())).start().expect("started");
    let redis = joined(&cluster).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    for redis in [redis, single] {
        for (nth, code) in FORGED.iter().enumerate() {
            let run = |key: &str| RUN.invoke().key(key).arg(*code);
            let key = format!("{{k}}{nth}");
            let error = redis.send(run(&key)).await.expect_err("its own error");
            assert_eq!((error.code(), error.fate()), (code.split(' ').next(), Fate::Unknown), "{error}");
            let runs = redis.send(Get::<i64>::new(&key)).await.expect("others go on").expect("it has run");
            assert_eq!(runs, 1, "{code}");
            let (piped, beside) = (format!("{key}:piped"), format!("{key}:beside"));
            let piped_run = Pipeline::new((run(&piped), Incr::new(&beside))).try_each();
            let (error, count) = redis.send(piped_run).await.expect("each in its place");
            let (error, runs) = (error.expect_err("its own error"), redis.send(Get::<i64>::new(&piped)).await);
            assert_eq!((error.code(), count.ok()), (code.split(' ').next(), Some(1)), "{error}");
            assert_eq!(runs.expect("others go on"), Some(1), "{code} in a pipeline");
        }
    }
}

/// The script with which a node is asked whether it refuses scripts with these keys.
const QUESTION: &[u8] = b"return 0";

fn is_question(asked: &Asked<'_>) -> bool {
    asked.word(1).as_bytes() == QUESTION
}

/// The cluster is down for a while, or the keys are at two nodes.
///
/// Ablation: a refused script that is not sent again fails with its error.
#[actix::test]
async fn a_script_that_was_refused_waits_and_runs_once() {
    for refusal in ["CLUSTERDOWN The cluster is down", "TRYAGAIN Multiple keys request during rehashing of slot"] {
        let questions = AtomicUsize::new(0);
        let nodes = Scripted::start(1, move |asked| match asked.name().as_str() {
            // The third of them is the last command that is refused.
            "EVAL" if is_question(asked) && questions.fetch_add(1, Ordering::SeqCst) < 3 => error(refusal),
            "EVAL" | "EVALSHA" | "INCR" if questions.load(Ordering::SeqCst) < 3 => error(refusal),
            "EVAL" | "EVALSHA" | "INCR" => int(1),
            _ => Answer::Default,
        });
        let redis = nodes.ready().await;
        let (ran, _) =
            tokio::join!(redis.send(RUN.invoke().key("{k}1").key("{k}2").arg("x")), redis.send(Incr::new("{k}1")),);
        assert_eq!(ran.expect("it ran"), 1, "{refusal}");
        let commands = nodes.nodes[0].received();
        let questions = commands.iter().filter(|argv| argv.get(1).is_some_and(|word| word == QUESTION)).count();
        let scripts = commands.iter().filter(|argv| argv[0].starts_with(b"EVAL")).count() - questions;
        assert!(scripts >= 2 && questions >= 3, "{scripts} times, {questions} questions");
    }
}

/// A command behind a refused script runs, and then the node confirms the refusal.
///
/// Ablation: `take_overtaken` that is always false fails with 7: the script runs behind the command that was sent after it.
#[actix::test]
async fn a_refused_script_that_was_overtaken_is_not_sent_again() {
    let scripts = Arc::new(AtomicUsize::new(0));
    let tries = scripts.clone();
    let nodes = Scripted::start(1, move |asked| match asked.name().as_str() {
        "EVAL" if is_question(asked) => error("CLUSTERDOWN The cluster is down"),
        "EVAL" | "EVALSHA" if tries.fetch_add(1, Ordering::SeqCst) == 0 => error("CLUSTERDOWN The cluster is down"),
        "EVAL" | "EVALSHA" => int(7),
        "INCR" => int(1),
        _ => Answer::Default,
    });
    let redis = nodes.ready().await;
    let (script, incr) = (redis.send(RUN.invoke().key("k").arg("x")), redis.send(Incr::new("k")));
    let (script, incr) = tokio::join!(script, incr);
    let error = script.expect_err("overtaken");
    assert_eq!((error.code(), error.fate(), incr.expect("ran")), (Some("CLUSTERDOWN"), Fate::Rejected, 1));
    assert_eq!(scripts.load(Ordering::SeqCst), 1);
}

/// A server that is busy with the script of another client.
///
/// Ablation: without `Admission::confirm` the script never gets back into the queue: one PING follows the other.
#[actix::test]
async fn a_script_waits_for_a_busy_server_and_runs_once() {
    let server = aside(|| RedisServer::builder().arg("--busy-reply-threshold", "20").start().expect("started")).await;
    let redis = support::hasty(support::config(server.port())).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let open = || Connection::open(server.addr(), None).expect("connected");
    let (mut other, mut third) = (open(), open());
    other.send(["EVAL", "while true do end", "0"]).expect("sent");
    eventually("the server busy", || {
        let answer = third.command(["PING"]).expect("answered");
        format!("{answer:?}").contains("BUSY").then_some(())
    })
    .await;
    let waiting = redis.send(RUN.invoke().key("busy").arg("DONE with it"));
    let ended = async {
        // Refused, it is in the queue again.
        eventually("a command in the queue", || (redis.stats().queued == 1).then_some(())).await;
        third.command(["SCRIPT", "KILL"]).expect("killed");
    };
    let (error, ()) = tokio::join!(waiting, ended);
    assert_eq!(error.expect_err("its own error").code(), Some("DONE"));
    assert_eq!(redis.send(Get::<i64>::new("busy")).await.expect("read"), Some(1));
}

/// Two nodes of which the first answers a script with a redirect of this kind, and the second with what `other` says.
fn scripts(first: &'static str, other: fn(&Asked<'_>) -> Answer) -> Scripted {
    Scripted::start(2, move |asked| match (asked.name().as_str(), asked.node) {
        ("EVAL" | "EVALSHA", 0) => error(&format!("{first} {} 127.0.0.1:{}", slot_of_name("test:k"), asked.ports[1])),
        ("EVAL" | "EVALSHA", _) => other(asked),
        ("ASKING", _) => okay(),
        _ => Answer::Default,
    })
}

/// How often the first node was sent a script.
fn runs(nodes: &Scripted) -> usize {
    nodes.count(0, "EVAL") + nodes.count(0, "EVALSHA")
}

/// The node that is named proves it: it runs the script, or it sends it back.
///
/// Ablation: without `redirected_by` the script runs three times, and its fate is unknown.
#[actix::test]
async fn a_script_that_writes_the_redirect_of_its_own_slot_runs_once() {
    for code in ["MOVED", "ASK"] {
        let nodes = scripts(code, |asked| asked.moved("test:k", 0));
        let error = nodes.ready().await.send(RUN.invoke().key("k").arg("")).await.expect_err("sent back");
        assert_eq!((runs(&nodes), error.fate()), (1, Fate::Unknown), "{code}: {error}");

        let nodes = scripts(code, |_| int(7));
        let answer = nodes.ready().await.send(RUN.invoke().key("k").arg("")).await;
        assert_eq!((answer.expect("run by the second"), runs(&nodes)), (7, 1), "{code}");
    }
    let nodes = Scripted::start(1, |asked| match asked.name().as_str() {
        "EVAL" | "EVALSHA" => asked.moved("test:k", 0),
        _ => Answer::Default,
    });
    let redis = nodes.ready().await;
    let error = redis.send(RUN.invoke().key("k").arg("")).await.expect_err("its own address");
    assert_eq!((runs(&nodes), error.fate()), (1, Fate::Unknown), "{error}");
}

/// A real migration: keys of a script are at two nodes for a while.
///
/// Ablation: `redirected_by` that TRYAGAIN does not clear fails with "two nodes redirect it to each other".
#[actix::test]
async fn a_script_follows_a_slot_that_moves() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    const TRY_AGAIN: &str = "TRYAGAIN Multiple keys request during rehashing of slot";
    let nodes = Scripted::start(2, |asked| match (asked.name().as_str(), asked.node) {
        ("EVAL" | "EVALSHA", 0) => error(&format!("ASK {} 127.0.0.1:{}", slot_of_name("test:k"), asked.ports[1])),
        ("EVAL", _) if is_question(asked) => error(TRY_AGAIN),
        ("EVAL" | "EVALSHA", _) if TRIES.fetch_add(1, Ordering::SeqCst) == 0 => error(TRY_AGAIN),
        ("EVAL" | "EVALSHA", _) => int(7),
        ("ASKING", _) => okay(),
        _ => Answer::Default,
    });
    let answer = nodes.ready().await.send(RUN.invoke().key("k").arg("")).await;
    // TRYAGAIN leads to the owner again.
    assert_eq!((answer.expect("run by the second"), runs(&nodes)), (7, 2));
}

/// A slot moves to a node that owns none. How long it is kept is tested with the clock as an argument, in
/// `cluster::router::nodes`.
#[actix::test]
async fn the_link_to_a_node_that_redirects_name_is_kept() {
    let nodes = Scripted::start(2, |asked| match (asked.name().as_str(), asked.node) {
        ("INCR", 0) => error(&format!("ASK 1 127.0.0.1:{}", asked.ports[1])),
        ("INCR", _) => int(1),
        ("ASKING", _) => okay(),
        _ => Answer::Default,
    });
    let redis = nodes.ready().await;
    for _ in 0..20 {
        redis.send(Incr::new("k")).await.expect("at the other node");
    }
    // Looks at the cluster have links of their own, which are closed again.
    assert_eq!(incrs_by_link(&nodes.nodes[1]), [nodes.count(1, "INCR")], "one link for all");
}

/// Two nodes disagree about a slot that is being moved: the second one answers ASK with a few MOVED.
///
/// Ablation: ASK behind the fourth redirect sent to the owner again fails with ASK.
#[actix::test]
async fn ask_behind_the_fourth_redirect_is_followed() {
    let tries = AtomicUsize::new(0);
    let nodes = Scripted::start(2, move |asked| match (asked.name().as_str(), asked.node) {
        ("INCR", 0) => error(&format!("ASK {} 127.0.0.1:{}", slot_of_name("test:k"), asked.ports[1])),
        ("INCR", _) if tries.fetch_add(1, Ordering::SeqCst) < 4 => asked.moved("test:k", 0),
        ("INCR", _) => int(7),
        ("ASKING", _) => okay(),
        _ => Answer::Default,
    });
    let redis = nodes.ready().await;
    assert_eq!(redis.send(Incr::new("k")).await.expect("at the second node"), 7);
    assert_eq!((nodes.count(0, "INCR"), nodes.count(1, "INCR"), nodes.count(1, "ASKING")), (5, 5, 5));
}

/// Nodes that never agree: it ends after as many redirects as a command may have.
#[actix::test]
async fn nodes_that_ask_for_each_other_end_with_their_answer() {
    let nodes = Scripted::start(2, |asked| match asked.name().as_str() {
        "INCR" => error(&format!("ASK {} 127.0.0.1:{}", slot_of_name("test:k"), asked.ports[1 - asked.node])),
        "ASKING" => okay(),
        _ => Answer::Default,
    });
    let redis = nodes.ready().await;
    let error = redis.send(Incr::new("k")).await.expect_err("no node has it");
    assert_eq!((error.code(), error.fate()), (Some("ASK"), Fate::Rejected), "{error}");
    assert_eq!(nodes.count(0, "INCR") + nodes.count(1, "INCR"), 17);
}

/// The keys of a command are at two nodes for longer than a command is redirected.
///
/// Ablation: redirects that TRYAGAIN does not forget fail with ASK, after 16 of them.
#[actix::test]
async fn a_command_waits_until_all_its_keys_have_moved() {
    let tries = AtomicUsize::new(0);
    let nodes = Scripted::start(2, move |asked| match (asked.name().as_str(), asked.node) {
        ("MGET", 0) => error(&format!("ASK {} 127.0.0.1:{}", slot_of_name("{t}"), asked.ports[1])),
        ("MGET", _) if tries.fetch_add(1, Ordering::SeqCst) < 20 => {
            error("TRYAGAIN Multiple keys request during rehashing of slot")
        }
        ("MGET", _) => Answer::raw("*2\r\n:1\r\n:2\r\n"),
        ("ASKING", _) => okay(),
        _ => Answer::Default,
    });
    let redis = support::hasty(nodes.config().command_timeout(TIME_LIMIT)).start().expect("started");
    let values = redis.send(redis_actix::MGet::<i64>::new(["{t}1", "{t}2"])).await.expect("at the second node");
    assert_eq!((values, nodes.count(1, "MGET")), (vec![Some(1), Some(2)], 21));
}

/// How many of the commands came by each connection that any came by.
fn incrs_by_link(node: &FakeServer) -> Vec<usize> {
    let count = |link| node.received_on(link).iter().filter(|argv| argv[0] == b"INCR").count();
    (0..node.connections()).map(count).filter(|count| *count > 0).collect()
}

/// The old process behind a name says that the slot is at its own address, which leads to another process by now.
///
/// Ablation: without `replace_link` all 17 attempts are made on the same connection, and the caller gets MOVED.
#[actix::test]
async fn a_node_that_redirects_to_itself_gets_a_new_link() {
    let links = Arc::new(AtomicUsize::new(0));
    let nodes = Scripted::start(1, {
        let links = links.clone();
        move |asked| match asked.name().as_str() {
            // The handler cannot see which of its connections this is: it recovers after this number.
            "INCR" if links.fetch_add(1, Ordering::SeqCst) < 3 => asked.moved("test:k", 0),
            "INCR" => int(1),
            _ => Answer::Default,
        }
    });
    let redis = nodes.ready().await;
    let (a, b) = tokio::join!(redis.send(Incr::new("k")), redis.send(Incr::new("k")));
    assert_eq!((a.expect("answered"), b.expect("answered")), (1, 1));
    // Two are refused together, then one alone, and both are run by the third.
    assert_eq!(incrs_by_link(&nodes.nodes[0]), [2, 1, 2]);
}

/// Ablation: `next_look` that returns a pause which nothing ends, as before, fails: the thread never answers.
#[actix::test]
async fn a_node_that_is_busy_may_lose_everything_that_waits_there() {
    let nodes = Scripted::start(3, |asked| match (asked.name().as_str(), asked.node) {
        ("INCR", 0) => error("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."),
        ("INCR", _) => int(1),
        _ => Answer::Default,
    });
    nodes.assign([(0, 16_382, 0), (16_383, 16_383, 2)]);
    let redis = nodes.ready().await;
    let watched = Watched::start(&redis);
    let waiting: Vec<_> = (0..5).map(|_| redis.send(Incr::new("k"))).collect();
    eventually("a refusal", || (nodes.count(0, "INCR") > 5).then_some(())).await;
    nodes.assign([(0, 16_382, 1), (16_383, 16_383, 2)]);
    // A link that is lost is a reason to look at the cluster.
    nodes.nodes[2].close_all();
    assert!(join_all(waiting).await.iter().all(Result::is_ok));
    watched.assert_alive().await;
}

/// The same on real servers: the replica takes over from a primary that is busy with a script.
#[actix::test]
async fn a_replica_takes_over_from_a_busy_primary() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1).arg("--lua-time-limit", "50")))).await;
    let redis =
        support::hasty(crate::cluster_support::config(&cluster).command_timeout(ms(20_000))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let slot = slot_of(&redis, "k");
    let busy = cluster.owner(slot).expect("an owner").port();
    let node = |port: u16| cluster.nodes().iter().find(|node| node.port() == port).expect("there");
    let replica = replica_of(&cluster, busy);
    let script = std::thread::spawn({
        let addr = node(busy).addr();
        move || {
            // Ends when the test kills it.
            let mut connection = Connection::open(&addr, None).expect("connected");
            connection.set_timeout(TIME_LIMIT);
            connection.command(["EVAL", "while true do end", "0"]).ok();
        }
    });
    eventually("a busy server", || {
        node(busy).command(["PING"]).ok()?.error().filter(|error| error.starts_with("BUSY")).map(drop)
    })
    .await;
    let watched = Watched::start(&redis);
    let waiting: Vec<_> = (0..5).map(|_| redis.send(Incr::new("k"))).collect();
    node(replica).command(["CLUSTER", "FAILOVER", "TAKEOVER"]).expect("asked").ok().expect("taken over");
    let answers = join_all(waiting).await;
    assert_eq!(answers.into_iter().collect::<Result<Vec<_>, _>>().expect("at the new primary"), [1, 2, 3, 4, 5]);
    watched.assert_alive().await;
    node(busy).command(["SCRIPT", "KILL"]).ok();
    aside(move || script.join().expect("no panic")).await;
}

fn replica_of(cluster: &RedisCluster, primary: u16) -> u16 {
    let slots = cluster.nodes()[0].command(["CLUSTER", "SLOTS"]).expect("asked");
    let port = |node: &Reply| node.array().expect("a node")[1].int().expect("a port");
    let ranges = slots.array().expect("ranges");
    let range =
        ranges.iter().map(|range| range.array().expect("a range")).find(|range| port(&range[2]) == i64::from(primary));
    u16::try_from(port(&range.expect("its range")[3])).expect("a port")
}

/// Whether the thread of the connection goes on with other things.
struct Watched {
    beats: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
}

impl Watched {
    /// The connection lives on the arbiter of the test, and so does this.
    fn start(_: &Redis) -> Self {
        let watched = Self { beats: Arc::default(), over: Arc::default() };
        let (beats, over) = (watched.beats.clone(), watched.over.clone());
        actix::spawn(async move {
            let mut beat = tokio::time::interval(ms(5));
            while !over.load(Ordering::SeqCst) {
                beat.tick().await;
                beats.fetch_add(1, Ordering::SeqCst);
            }
        });
        // A thread that never comes back to its runtime does not fail a test by itself.
        let (beats, over) = (watched.beats.clone(), watched.over.clone());
        std::thread::spawn(move || {
            let mut last = (0, std::time::Instant::now());
            while !over.load(Ordering::SeqCst) {
                std::thread::park_timeout(ms(50));
                let now = beats.load(Ordering::SeqCst);
                if now != last.0 {
                    last = (now, std::time::Instant::now());
                } else if last.1.elapsed() > TIME_LIMIT {
                    eprintln!("the thread of the connection stands still");
                    std::process::abort();
                }
            }
        });
        watched
    }

    async fn assert_alive(self) {
        let before = self.beats.load(Ordering::SeqCst);
        eventually("others of the thread going on", || (self.beats.load(Ordering::SeqCst) > before + 5).then_some(()))
            .await;
        self.over.store(true, Ordering::SeqCst);
    }
}
