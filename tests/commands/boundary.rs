//! The prefix is a boundary: nothing that a caller can send reaches beyond it, or takes the connection from others.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::support::{TIME_LIMIT, config, eventually, hasty};
use actix::Message;
use redis_actix::prelude::*;
use redis_actix::{ErrorKind, Fate, Frame, RefusalClass, Result, Value, decode};
use redis_actix_test::{RedisServer, Reply};

/// A command line of a caller's own, without a single mark.
#[derive(Message)]
#[rtype(result = "Result<Value>")]
struct ByHand(Frame);

impl Command for ByHand {
    type Reply = Value;

    fn frame(&self) -> Frame {
        self.0.clone()
    }

    fn reply(value: Value) -> Result<Value> {
        Ok(value)
    }
}

fn cmd(line: &str) -> redis::Cmd {
    let mut words = line.split(' ');
    let mut cmd = redis::cmd(words.next().unwrap_or_default());
    words.for_each(|word| {
        cmd.arg(word);
    });
    cmd
}

fn by_hand(line: &str) -> Frame {
    let mut words = line.split(' ');
    words.by_ref().take(1).map(Frame::new).next().map(|frame| words.fold(frame, Frame::arg)).expect("a name")
}

fn raw(line: &str) -> Raw {
    let mut words = line.split(' ');
    words.by_ref().take(1).map(Raw::new).next().map(|raw| words.fold(raw, Raw::arg)).expect("a name")
}

fn names(server: &RedisServer) -> BTreeSet<String> {
    let reply = server.command(["KEYS", "*"]).expect("listed");
    reply.array().expect("names").iter().filter_map(|name| name.text().ok()).collect()
}

/// Commands that change or steal what other callers of the connection get.
const STATE: &[&str] = &[
    "AUTH wrong",
    "HELLO 2",
    "SELECT 1",
    "RESET",
    "QUIT",
    "ASKING",
    "READONLY",
    "READWRITE",
    "MONITOR",
    "SYNC",
    "PSYNC ? -1",
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "client reply skip",
    "CLIENT TRACKING ON",
    "CLIENT CACHING YES",
    "CLIENT SETNAME stolen",
    "CLIENT SETINFO LIB-NAME stolen",
    "CLIENT NO-EVICT ON",
    "CLIENT NO-TOUCH ON",
    "CLIENT CAPA redirect",
    "CLIENT FUTURE x",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH k",
    "UNWATCH",
    "SUBSCRIBE c",
    "PSUBSCRIBE c*",
    "SSUBSCRIBE c",
    "UNSUBSCRIBE",
    "SCRIPT DEBUG YES",
];

#[actix::test]
async fn state_of_the_connection_cannot_be_changed_under_eight_readers() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(Set::new("k", "v")).await.expect("written");
    let stop = Arc::new(AtomicBool::new(false));
    let rounds: Arc<Vec<AtomicU64>> = Arc::new((0..8).map(|_| AtomicU64::new(0)).collect());
    let readers: Vec<_> = (0..8)
        .map(|number| {
            let (redis, stop, rounds) = (redis.clone(), stop.clone(), rounds.clone());
            actix::spawn(async move {
                let mine = format!("reader:{number}");
                redis.send(Set::new(&mine, number)).await.expect("written");
                while !stop.load(Ordering::SeqCst) {
                    // The caller's own reply, from database 0, with the caller's own user.
                    let own: Option<usize> = redis.send(Get::new(&mine)).await.expect("read");
                    assert_eq!(own, Some(number));
                    rounds[number].fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let all_read = || {
        let seen: Vec<u64> = rounds.iter().map(|rounds| rounds.load(Ordering::SeqCst)).collect();
        let rounds = &rounds;
        eventually("every reader reading on", move || {
            rounds.iter().zip(&seen).all(|(now, then)| now.load(Ordering::SeqCst) > *then).then_some(())
        })
    };
    all_read().await;
    let commands_before = calls(&server);
    for line in STATE {
        let refused = [
            redis.send(raw(line)).await.expect_err(line),
            redis.send(ByHand(by_hand(line))).await.expect_err(line),
            redis.send(ByHand(Frame::new(line))).await.expect_err(line),
            redis.send(ByHand(Frame::join([Frame::new("PING"), by_hand(line)]))).await.expect_err(line),
            redis.addr().send(raw(line)).await.expect("alive").expect_err(line),
            redis.unprefixed().send(raw(line)).await.expect_err(line),
        ];
        for error in refused {
            assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent), "{line}: {error}");
            assert!(error.refusal().is_some(), "{line}: {error}");
            assert!(!error.to_string().contains("wrong"), "{error}");
        }
        assert!(Raw::<Value>::from_cmd(cmd(line)).is_err(), "{line}");
    }
    all_read().await;
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("undisturbed");
    }
    // Not one of them has reached the server.
    assert_eq!(calls(&server), commands_before);
    assert_eq!(redis.status().borrow().disconnects, 0);
}

/// The commands that the server has run, but for those of readers and of this look.
fn calls(server: &RedisServer) -> BTreeSet<String> {
    let stats = server.command(["INFO", "commandstats"]).expect("answered").text().expect("text");
    let names = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next().map(str::to_owned));
    names.filter(|name| !matches!(name.as_str(), "get" | "set" | "info")).collect()
}

#[actix::test]
async fn commands_of_the_redis_crate_are_marked_by_the_table() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    server.command(["SET", "outside", "secret"]).expect("written");
    let send = async |line: &str| redis.send(Raw::<Value>::from_cmd(cmd(line)).expect(line)).await.expect(line);
    send("MSET a 3 b 1 w_1 9 w_3 8").await;
    send("RPUSH list 3 1").await;
    send("SORT list BY w_* GET # STORE sorted").await;
    send("PFADD seen x").await;
    let count: i64 =
        redis.send(Raw::from_cmd(redis::cmd("PFCOUNT").arg("seen")).expect("known")).await.expect("counted");
    assert_eq!(count, 1);
    let own: BTreeSet<String> =
        ["a", "b", "w_1", "w_3", "list", "sorted", "seen"].map(|name| format!("test:{name}")).into();
    let all: BTreeSet<String> = own.iter().cloned().chain(["outside".to_owned()]).collect();
    assert_eq!(names(&server), all);
    // Names come back as they were given, and those of others do not.
    let mut scan = redis::cmd("SCAN");
    scan.cursor_arg(0).arg("COUNT").arg(1000);
    let (cursor, mut keys): (u64, Vec<String>) =
        redis.send(Raw::from_cmd(&scan).expect("known")).await.expect("scanned");
    keys.sort();
    assert_eq!(
        (cursor, keys),
        (0, vec!["a", "b", "list", "seen", "sorted", "w_1", "w_3"].into_iter().map(Into::into).collect())
    );
    let popped: (String, Vec<String>) =
        redis.send(Raw::from_cmd(cmd("LMPOP 1 list LEFT")).expect("known")).await.expect("popped");
    assert_eq!(popped, ("list".to_owned(), vec!["3".to_owned()]));
    // Added behind the table's back: judged again.
    let more = Raw::<Value>::from_cmd(cmd("SORT list STORE d")).expect("known").arg("STORE").arg("outside");
    let error = redis.send(more).await.expect_err("a key without its mark");
    assert_eq!(error.refusal(), Some(RefusalClass::Unmarked));
    assert!(error.to_string().starts_with("SORT: argument 5 is a key"), "{error}");
    assert_eq!(server.command(["GET", "outside"]).expect("read").text().expect("text"), "secret");
    let error = Raw::<Value>::from_cmd(cmd("NOSUCH k")).expect_err("unknown");
    assert_eq!((error.kind(), error.refusal()), (ErrorKind::InvalidCommand, Some(RefusalClass::Unknown)));
}

#[actix::test]
async fn a_server_is_asked_about_commands_that_the_table_lacks() {
    let renamed =
        ["GETSET", "MY.SET", "ZUNION", "MY.UNION", "FLUSHALL", "MY.FLUSH", "BLPOP", "MY.POP", "TIME", "MY.TIME"];
    let options = renamed.chunks(2).flat_map(|pair| ["--rename-command", pair[0], pair[1]]);
    let server = RedisServer::builder().args(options).start().unwrap_or_else(|error| panic!("{error}"));
    let redis = hasty(config(server.port())).start().expect("started");
    let error = Raw::<Value>::from_cmd(cmd("MY.SET k v")).expect_err("unknown to the table");
    assert_eq!(error.refusal(), Some(RefusalClass::Unknown));
    for value in ["one", "two"] {
        let set = redis.resolve::<Option<String>>(cmd("my.set").arg("k").arg(value)).await.expect("received");
        redis.send(set).await.expect("set");
    }
    assert_eq!(server.command(["GET", "test:k"]).expect("read").text().expect("text"), "two");
    redis.send(ZAdd::new("a", [(1, "x")])).await.expect("added");
    redis.send(ZAdd::new("b", [(2, "y")])).await.expect("added");
    let union = redis.resolve::<Vec<String>>(cmd("MY.UNION 2 a b")).await.expect("received");
    assert_eq!(redis.send(union).await.expect("read"), ["x", "y"]);
    for (line, class) in [
        ("MY.FLUSH", RefusalClass::Wide),
        ("MY.POP k 0", RefusalClass::Blocking),
        ("MY.TIME", RefusalClass::Unknown),
        ("NOBODYS k", RefusalClass::Unknown),
        ("CLIENT FUTURE", RefusalClass::Unknown),
        ("MY.SET k", RefusalClass::Arguments),
        ("MY.UNION 2 a 2", RefusalClass::Arguments),
        ("FLUSHDB", RefusalClass::Wide),
    ] {
        let error = redis.resolve::<Value>(cmd(line)).await.expect_err(line);
        assert_eq!((error.refusal(), error.fate()), (Some(class), Fate::NotSent), "{line}: {error}");
        assert!(error.command().is_some(), "{line}");
    }
    // A caller who knows better says so.
    redis.send(Raw::<Value>::new("MY.TIME").without_keys()).await.expect("received");
    assert_eq!(names(&server), ["test:a", "test:b", "test:k"].map(str::to_owned).into());
    let asked = server.command(["INFO", "commandstats"]).expect("answered").text().expect("text");
    let info = asked.lines().find(|line| line.starts_with("cmdstat_command|info")).expect("asked");
    // Twice for commands that exist and are unchanged, once for each that was refused: cached for my.set.
    assert!(info.contains("calls=6,"), "{info}");
}

#[actix::test]
async fn operators_have_a_way_out() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let operator = redis.unprefixed();
    operator.send(Raw::<()>::new("SET").key("outside").arg(1)).await.expect("written");
    redis.send(Incr::new("inside")).await.expect("written");
    let mut keys: Vec<String> = operator.send(Raw::new("KEYS").pattern("*")).await.expect("listed");
    keys.sort();
    assert_eq!(keys, ["outside", "test:inside"]);
    assert_eq!(operator.send(Raw::<u64>::new("DBSIZE")).await.expect("counted"), 2);
    let config: Vec<String> = operator.send(Raw::new("CONFIG GET").arg("databases")).await.map(flat).expect("received");
    assert_eq!(config, ["databases", "16"]);
    let clients: String = operator.send(Raw::new("CLIENT LIST")).await.expect("received");
    assert!(clients.contains("id="), "{clients}");
    let error = operator.send(Raw::<Value>::new("XREADGROUP").arg(("GROUP", "g", "c", "STREAMS", "x", ">"))).await;
    assert!(error.expect_err("no group").to_string().contains("'x'"), "nothing is stripped");
    operator.send(Raw::<()>::new("FLUSHALL")).await.expect("flushed");
    assert_eq!(names(&server), BTreeSet::new());
}

fn flat(value: Value) -> Vec<String> {
    match value {
        Value::Map(pairs) => {
            pairs.into_iter().flat_map(|(name, value)| [name, value]).map(|text| decode(text).expect("text")).collect()
        }
        other => decode(other).expect("a list"),
    }
}

#[actix::test]
async fn wide_operations_stay_inside() {
    let server = crate::support::server();
    let redis = hasty(config(server.port()).key_prefix("te?t*[".replace('*', "") + ":")).start().expect("started");
    let decoys = ["outside", "text[:k1", "te?t[", "te?u[:k1"];
    for decoy in decoys {
        server.command(["SET", decoy, "x"]).expect("written");
    }
    let keys: Vec<String> = (0..3000).map(|n| format!("k{n}")).collect();
    redis.send(MSet::new(keys.iter().map(|key| (key, 1)))).await.expect("written");
    redis.send(HSet::new("h?sh").fields((0..2000).map(|n| (format!("f{n}"), n)))).await.expect("written");
    redis.send(SAdd::new("set", 0..2000)).await.expect("written");
    redis.send(ZAdd::new("sorted", (0..2000).map(|n| (n, n)))).await.expect("written");

    let mut seen = BTreeSet::new();
    let mut walk = redis.scan_keys(ScanKeys::new("k*").count(100));
    while let Some(key) = walk.next().await {
        seen.insert(String::from_utf8(key.expect("received")).expect("text"));
    }
    assert_eq!(seen, keys.iter().cloned().collect());
    let hashes = redis.scan_keys(ScanKeys::new("*").of_type(KeyType::Hash)).next().await;
    assert_eq!(hashes.expect("one").expect("received"), b"h?sh");
    assert_eq!(redis.count_keys(CountKeys::new("*")).await.expect("counted"), 3003);
    assert_eq!(redis.count_keys(CountKeys::new("k299?")).await.expect("counted"), 10);
    let mut listed: Vec<Vec<u8>> = redis.send(Keys::new("[hs]*")).await.expect("listed");
    listed.sort();
    assert_eq!(listed, [b"h?sh".to_vec(), b"set".to_vec(), b"sorted".to_vec()]);

    let mut sum = 0;
    let mut fields = redis.scan_hash::<String, u64>(ScanHash::new("h?sh").matching("f1*").count(50));
    while let Some(field) = fields.next().await {
        let (name, value) = field.expect("received");
        assert_eq!(name, format!("f{value}"));
        sum += 1;
    }
    assert_eq!(sum, 1111);
    let mut members = BTreeSet::new();
    let mut walk = redis.scan_set::<u64>(ScanSet::new("set"));
    while let Some(member) = walk.next().await {
        members.insert(member.expect("a number"));
    }
    assert_eq!(members.len(), 2000);
    let mut walk = redis.scan_sorted_set::<u64>(ScanSortedSet::new("sorted"));
    while let Some(member) = walk.next().await {
        let (member, score) = member.expect("a number");
        assert!((score - member as f64).abs() < 1e-9);
        members.remove(&member);
    }
    assert!(members.is_empty());

    let mut clearing = redis.clear_prefix(ClearPrefix::matching("k*").batch(100)).expect("there is a prefix");
    let mut last = 0;
    while let Some(progress) = clearing.next().await {
        let progress = progress.expect("removed");
        assert!(progress.removed >= last);
        last = progress.removed;
    }
    assert_eq!(last, 3000);
    assert_eq!(redis.clear_prefix(ClearPrefix::everything()).expect("a prefix").run().await.expect("removed"), 3);
    assert_eq!(names(&server), decoys.map(str::to_owned).into());
}

#[actix::test]
async fn a_clearing_goes_on_where_it_broke() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    redis.send(MSet::new((0..1000).map(|n| (format!("k{n}"), n)))).await.expect("written");
    let mut clearing = redis.clear_prefix(ClearPrefix::everything().batch(10)).expect("a prefix");
    // The user may not unlink: the first batch fails, and nothing is lost or repeated without end.
    server.command(["ACL", "SETUSER", "default", "-unlink"]).expect("changed").ok().expect("changed");
    let error = clearing.next().await.expect("an outcome").expect_err("forbidden");
    assert_eq!((error.code(), error.command()), (Some("NOPERM"), Some("UNLINK")));
    assert!(clearing.next().await.is_none(), "an error ends it");
    server.command(["ACL", "SETUSER", "default", "+unlink"]).expect("changed").ok().expect("changed");
    clearing.resume();
    assert_eq!(clearing.run().await.expect("removed"), 1000);
    assert_eq!(names(&server), BTreeSet::new());
}

#[actix::test]
async fn everybodys_keys_are_not_cleared() {
    let server = crate::support::server();
    server.command(["SET", "foreign", "x"]).expect("written");
    let everybody = RedisConfig::builder().host("127.0.0.1").port(server.port()).without_key_prefix();
    let redis = hasty(everybody).start().expect("started");
    let error = redis.clear_prefix(ClearPrefix::everything()).expect_err("no prefix");
    assert_eq!((error.refusal(), error.fate()), (Some(RefusalClass::Wide), Fate::NotSent));
    assert_eq!(redis.count_keys(CountKeys::new("*")).await.expect("counted"), 1);
}

#[actix::test]
async fn names_that_look_like_something_else_stay_inside() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    for (outside, value) in [("__keyspace@0__:k", "secret"), ("w_1", "secret"), ("STORE", "secret"), ("k", "secret")] {
        server.command(["SET", outside, value]).expect("written");
    }
    redis.send(Set::new("__keyspace@0__:k", "own")).await.expect("written");
    // A pattern for keys, whatever it looks like: `__keyspace@0__:` means something in channels only.
    let found: Vec<String> = redis.send(Raw::new("KEYS").pattern("__keyspace@0__:*")).await.expect("listed");
    assert_eq!(found, ["__keyspace@0__:k"]);
    let found: Vec<Vec<u8>> = redis.send(Keys::new("__keyspace@0__:*")).await.expect("listed");
    assert_eq!(found, [b"__keyspace@0__:k"]);
    let found: Vec<String> =
        redis.send(Raw::from_cmd(cmd("KEYS __keyspace@0__:*")).expect("known")).await.expect("listed");
    assert_eq!(found, ["__keyspace@0__:k"]);

    redis.send(RPush::new("list", ["1"])).await.expect("written");
    redis.send(Set::new("w_1", "own")).await.expect("written");
    let sort = Raw::<Vec<String>>::from_cmd(cmd("SORT list BY w_* GET w_* ALPHA")).expect("known");
    assert_eq!(redis.send(sort).await.expect("sorted"), ["own"]);
    let sort = Raw::<Vec<String>>::new("SORT").key("list").arg("BY").key("w_*").arg("GET").key("w_*").arg("ALPHA");
    assert_eq!(redis.send(sort).await.expect("sorted"), ["own"]);
    let sort = Raw::<Vec<String>>::new("SORT").key("list").arg("BY").arg("w_*").arg("GET").arg("w_*");
    assert_eq!(redis.send(sort).await.expect_err("not marked").refusal(), Some(RefusalClass::Unmarked));

    for count in ["2.0", " 2", "+2", "99999999999999999999", "-1", "02", "2 ", "", "0x2"] {
        let mut cmd = redis::cmd("SINTERCARD");
        cmd.arg(count).arg("k").arg("STORE");
        let error = Raw::<Value>::from_cmd(&cmd).expect_err(count);
        assert_eq!(error.refusal(), Some(RefusalClass::Arguments), "{count}");
        let raw = Raw::<Value>::new("SINTERCARD").arg(count).key("k").key("STORE");
        assert_eq!(redis.send(raw).await.expect_err(count).refusal(), Some(RefusalClass::Arguments), "{count}");
        let eval = Raw::<Value>::new("EVAL").arg("return redis.call('GET', KEYS[1])").arg(count).key("k").key("x");
        assert_eq!(redis.send(eval).await.expect_err(count).refusal(), Some(RefusalClass::Arguments), "{count}");
    }
    for (outside, value) in [("__keyspace@0__:k", "secret"), ("w_1", "secret"), ("STORE", "secret"), ("k", "secret")] {
        assert_eq!(server.command(["GET", outside]).expect("read"), Reply::Bulk(Some(value.into())));
    }
    redis.ready(TIME_LIMIT).await.expect("undisturbed");
}
