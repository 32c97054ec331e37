//! Commands that wait, on connections of their own.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::support::{Diary, TIME_LIMIT, config, eventually, hasty, ms};
use actix::Recipient;
use redis_actix::prelude::*;
use redis_actix::{ConnectionState, LinkLimit, LinkRole, RefusalClass, Value};
use redis_actix_test::RedisServer;

const LONG: Duration = Duration::from_secs(15);

/// What a list or a sorted set holds, by the server's own word.
fn held(server: &RedisServer, key: &str) -> Vec<String> {
    let range = |command: &str| server.command([command, key, "0", "-1"]).expect("asked");
    let answer = Some(range("LRANGE")).filter(|answer| answer.error().is_none()).unwrap_or_else(|| range("ZRANGE"));
    answer.array().expect("a list").iter().map(|one| one.text().expect("text")).collect()
}

/// Waits until `count` clients wait at the server.
async fn waiting(server: &RedisServer, count: usize) {
    let is_waiting = |client: &String| client.contains(" flags=b");
    eventually("clients that wait", || {
        (server.clients().ok()?.iter().filter(|client| is_waiting(client)).count() == count).then_some(())
    })
    .await;
}

fn calls(server: &RedisServer, command: &str) -> usize {
    let stats = server.command(["INFO", "commandstats"]).expect("answered").text().expect("text");
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().expect("a count").parse().expect("a number"))
}

#[actix::test]
async fn each_message_waits_for_its_own_and_names_lose_the_prefix() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let far = |line: &'static [&'static str]| server.command(line).expect("asked").ok().expect("done");

    let pop = redis.send(BLPop::new(["none", "l"], LONG));
    waiting(&server, 1).await;
    far(&["RPUSH", "test:l", "a", "b", "c", "d"]);
    let popped = pop.await.expect("answered").expect("popped");
    assert_eq!((popped.key.as_slice(), popped.value.as_slice()), (&b"l"[..], &b"a"[..]));
    let popped = redis.send(BRPop::new(["l"], LONG).typed::<String>()).await.expect("answered").expect("popped");
    assert_eq!((popped.key, popped.value.as_str()), (b"l".to_vec(), "d"));
    let moved = BLMove::new("l", "m", ListEnd::Left, ListEnd::Right, LONG).typed::<String>();
    assert_eq!(redis.send(moved).await.expect("moved").as_deref(), Some("b"));
    let many = BLMPop::new(["l", "m"], ListEnd::Right, LONG).count(9).typed::<String>();
    assert_eq!(redis.send(many).await.expect("answered").expect("popped").value, ["c"]);

    far(&["ZADD", "test:z", "1", "a", "2.5", "b", "3", "c", "4", "d"]);
    let popped = redis.send(BZPopMin::new(["z"], LONG).typed::<String>()).await.expect("answered").expect("popped");
    assert_eq!((popped.key, popped.value), (b"z".to_vec(), ("a".to_owned(), 1.0)));
    let popped = redis.send(BZPopMax::new(["z"], LONG).typed::<String>()).await.expect("answered").expect("popped");
    assert_eq!(popped.value, ("d".to_owned(), 4.0));
    let popped = redis.send(BZMPop::new(["z"], ScoreEnd::Min, LONG).count(9).typed::<String>()).await;
    let popped = popped.expect("answered").expect("popped");
    assert_eq!((popped.key, popped.value), (b"z".to_vec(), vec![("b".to_owned(), 2.5), ("c".to_owned(), 3.0)]));

    redis.send(XGroupCreate::new("s", "g").mkstream()).await.expect("made");
    let read = redis.send(XRead::new([("s", StreamId::MIN)]).block(LONG));
    let group = redis.send(XReadGroup::new("g", "c", ["s"]).block(LONG));
    waiting(&server, 2).await;
    let id = redis.send(XAdd::new("s").field("f", 1)).await.expect("added");
    for page in [read.await.expect("read"), group.await.expect("read")] {
        assert_eq!((page[0].stream.as_slice(), page[0].entries[0].id), (&b"s"[..], id));
    }
    assert_eq!(redis.send(BLPop::new(["none"], ms(20))).await.expect("answered"), None);
    assert_eq!(redis.status().borrow().disconnects, 0);
}

#[actix::test]
async fn handles_addresses_recipients_and_raw_commands_go_the_same_way() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let addr = redis.addr().clone();
    let recipient: Recipient<BLPop> = addr.clone().recipient();
    let by_addr = actix::spawn(addr.send(BLPop::new(["a"], LONG)));
    let by_recipient = actix::spawn(recipient.send(BLPop::new(["b"], LONG)));
    let by_hand = redis.send(Raw::<(String, String)>::new("blpop").key("c").arg(15));
    let of_crate = Raw::<(String, String)>::from_cmd(redis::cmd("BRPOP").arg("d").arg(0)).expect("known");
    let of_crate = redis.send(of_crate);
    let read = redis::cmd("XREAD").arg("BLOCK").arg(0).arg("STREAMS").arg("e").arg("$").to_owned();
    let read = redis.send(Raw::<HashMap<String, Value>>::from_cmd(read).expect("known"));
    let operators = redis.unprefixed().send(Raw::<(String, String)>::new("BLPOP").arg("f").arg(15));
    waiting(&server, 6).await;
    // None of them delays another.
    redis.send(Pipeline::new((Incr::new("n"), Get::<i64>::new("n")))).await.expect("served");
    for key in ["test:a", "test:b", "test:c", "test:d", "f"] {
        server.command(["RPUSH", key, key]).expect("pushed");
    }
    server.command(["XADD", "test:e", "*", "f", "v"]).expect("added");
    assert_eq!(by_addr.await.expect("spawned").expect("alive").expect("answered").expect("popped").value, b"test:a");
    let popped = by_recipient.await.expect("spawned").expect("alive").expect("answered").expect("popped");
    assert_eq!((popped.key, popped.value), (b"b".to_vec(), b"test:b".to_vec()));
    assert_eq!(by_hand.await.expect("answered"), ("c".to_owned(), "test:c".to_owned()));
    assert_eq!(of_crate.await.expect("answered"), ("d".to_owned(), "test:d".to_owned()));
    assert!(read.await.expect("answered").contains_key("e"), "without the prefix");
    assert_eq!(operators.await.expect("answered"), ("f".to_owned(), "f".to_owned()));
    // One that was dropped lets the server forget it, by whichever way it came.
    let dropped = actix::spawn(recipient.send(BLPop::new(["b"], LONG)));
    let also = actix::spawn(addr.send(BLPop::new(["b"], LONG)));
    waiting(&server, 2).await;
    dropped.abort();
    also.abort();
    waiting(&server, 0).await;
    assert_eq!(redis.status().borrow().disconnects, 0);
}

/// Zero is a millisecond in a message, and without end where a raw command says so; nothing is longer than 49 days. The
/// server is asked for it piece by piece. Ablation: undivided, no second piece is ever seen.
#[actix::test]
async fn zero_and_huge_waits_are_bounded_and_asked_for_in_pieces() {
    let server = crate::support::server();
    let redis = hasty(config(server.port()).command_timeout(ms(500)).liveness(ms(100))).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!(redis.send(BLPop::new(["a"], Duration::ZERO)).await.expect("at once"), None);
    let huge = [
        redis.send(Raw::<(String, i64)>::new("BLPOP").key("a").arg(0)),
        redis.send(Raw::<(String, i64)>::new("BLPOP").key("a").arg("1e300")),
        redis.send(Raw::<(String, i64)>::new("BLPOP").key("a").arg("inf")),
    ];
    let typed = redis.send(BLPop::new(["a"], Duration::MAX).typed::<i64>());
    let last = redis::cmd("XREAD").arg("BLOCK").arg(0).arg("STREAMS").arg("s").arg("$").to_owned();
    let last = redis.send(Raw::<Value>::from_cmd(last).expect("known"));
    eventually("several pieces", || (calls(&server, "blpop") > 12).then_some(())).await;
    server.command(["XADD", "test:s", "*", "f", "v"]).expect("added");
    assert_ne!(last.await.expect("read"), Value::Nil);
    assert_eq!(calls(&server, "xrevrange"), 1, "`$` is another entry each time it is asked for");
    server.command(["RPUSH", "test:a", "1", "2", "3", "4"]).expect("pushed");
    let mut sum = typed.await.expect("answered").expect("popped").value;
    for pop in huge {
        sum += pop.await.expect("answered").1;
    }
    assert_eq!(sum, 10);
    for (line, words) in [("BLPOP soon", "not a number of zero or more"), ("BLPOP -1", "not a number of zero or more")]
    {
        let (name, time) = line.split_once(' ').expect("two words");
        let error = redis.send(Raw::<Value>::new(name).key("a").arg(time)).await.expect_err("refused");
        assert_eq!((error.refusal(), error.fate()), (Some(RefusalClass::Arguments), Fate::NotSent));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[actix::test]
async fn with_all_connections_busy_it_waits_for_one_and_fails_at_its_deadline() {
    let server = crate::support::server();
    let builder = hasty(config(server.port()).command_timeout(ms(300))).links(LinkLimit::new(1));
    let redis = builder.start().expect("started");
    let first = redis.send(BLPop::new(["a"], LONG));
    waiting(&server, 1).await;
    let error = redis.send(BLPop::new(["b"], LONG)).await.expect_err("no room");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Overloaded, Fate::NotSent));
    assert!(error.to_string().contains("Redis::builder().links(..)"), "{error}");
    let begun = Instant::now();
    let error = redis.send(BLPop::new(["b"], LONG).timeout(ms(50))).await.expect_err("no room");
    assert_eq!(error.fate(), Fate::NotSent, "{error}");
    assert!(begun.elapsed() < ms(250), "its own deadline");
    let waiting = redis.send(BLPop::new(["b"], LONG).timeout(LONG));
    server.command(["RPUSH", "test:b", "x"]).expect("pushed");
    drop(first);
    assert_eq!(waiting.await.expect("its turn").expect("popped").value, b"x");
}

/// They leave when it is too late to call it off. Ablation: without the word that the reply was seen, nothing goes back.
#[actix::test]
async fn what_was_taken_for_a_caller_who_left_goes_back_where_it_was() {
    let server = crate::support::server();
    let (builder, diary) = Diary::of(hasty(config(server.port())));
    let redis = builder.start().expect("started");
    let put_back = |diary: &Diary| diary.count(|event| matches!(event, ConnectionEvent::PutBack { .. }));
    server.command(["RPUSH", "test:l", "a", "b", "c", "d"]).expect("pushed");
    server.command(["ZADD", "test:z", "1", "a", "2", "b", "3", "c"]).expect("added");
    async fn unread<M: Command>(redis: &Redis, server: &RedisServer, message: M, taken: impl Fn() -> bool) {
        let sending = redis.send(message);
        eventually("it taken", || taken().then_some(())).await;
        // Time for the reply to arrive unread: a command sent after it is answered after it.
        redis.health().await.expect("alive");
        assert!(server.is_running());
        drop(sending);
    }
    let full = (vec!["a", "b", "c", "d"], vec!["a", "b", "c"]);
    let is_less = |key: &'static str, than: usize| {
        let server = &server;
        move || held(server, key).len() < than
    };
    unread(&redis, &server, BLPop::new(["l"], LONG), is_less("test:l", 4)).await;
    eventually("it back", || (put_back(&diary) == 1).then_some(())).await;
    unread(&redis, &server, BRPop::new(["l"], LONG), is_less("test:l", 4)).await;
    eventually("it back", || (put_back(&diary) == 2).then_some(())).await;
    for (nth, end) in [(3, ListEnd::Left), (4, ListEnd::Right)] {
        unread(&redis, &server, BLMPop::new(["l"], end, LONG).count(3), is_less("test:l", 4)).await;
        let event = ConnectionEvent::PutBack { command: "BLMPOP".to_owned(), elements: 3 };
        eventually("them back", || (put_back(&diary) == nth).then_some(())).await;
        assert!(diary.events().iter().any(|seen| format!("{seen:?}") == format!("{event:?}")));
        assert_eq!(held(&server, "test:l"), full.0);
    }
    for (nth, from, to) in [(5, ListEnd::Left, ListEnd::Right), (6, ListEnd::Right, ListEnd::Left)] {
        unread(&redis, &server, BLMove::new("l", "m", from, to, LONG), is_less("test:l", 4)).await;
        eventually("it back", || (put_back(&diary) == nth).then_some(())).await;
    }
    unread(&redis, &server, BZPopMin::new(["z"], LONG), is_less("test:z", 3)).await;
    eventually("it back", || (put_back(&diary) == 7).then_some(())).await;
    unread(&redis, &server, BZMPop::new(["z"], ScoreEnd::Max, LONG).count(2), is_less("test:z", 3)).await;
    eventually("them back", || (put_back(&diary) == 8).then_some(())).await;
    unread(&redis, &server, Raw::<Value>::new("BRPOPLPUSH").key("l").key("m").arg(9), is_less("test:l", 4)).await;
    eventually("it back", || (put_back(&diary) == 9).then_some(())).await;
    assert_eq!((held(&server, "test:l"), held(&server, "test:z")), (strings(full.0), strings(full.1)));
    assert_eq!(held(&server, "test:m"), Vec::<String>::new());

    // An entry that a group has delivered cannot be taken back, and is reported.
    redis.send(XGroupCreate::new("s", "g").mkstream()).await.expect("made");
    redis.send(XAdd::new("s").field("f", 1)).await.expect("added");
    let pending = || {
        server
            .command(["XPENDING", "test:s", "g"])
            .is_ok_and(|reply| reply.array().is_ok_and(|items| items[0].int().is_ok_and(|count| count == 1)))
    };
    unread(&redis, &server, XReadGroup::new("g", "c", ["s"]).block(LONG), pending).await;
    let event = diary.entry("the report", |event| matches!(event, ConnectionEvent::MayBeLost { .. })).await;
    let ConnectionEvent::MayBeLost { command, elements, reason } = event else { panic!("{event:?}") };
    assert_eq!((command.as_str(), elements), ("XREADGROUP", Some(1)));
    assert!(reason.contains("pending"), "{reason}");
    // Elements that a caller has received are not put back.
    assert!(redis.send(BLPop::new(["l"], LONG)).await.expect("answered").is_some());
    assert_eq!(held(&server, "test:l").len(), 3);
}

fn strings(all: Vec<&str>) -> Vec<String> {
    all.into_iter().map(str::to_owned).collect()
}

/// Ablation: without CLIENT UNBLOCK each one costs a connection.
#[actix::test]
async fn a_dropped_wait_is_called_off_at_the_server_and_its_connection_is_used_again() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).links(LinkLimit::new(1)).start().expect("started");
    for _ in 0..20 {
        let sending = redis.send(BLPop::new(["a"], LONG));
        waiting(&server, 1).await;
        drop(sending);
        let begun = Instant::now();
        assert_eq!(redis.send(BLPop::new(["b"], ms(1))).await.expect("its turn"), None);
        assert!(begun.elapsed() < LONG / 3);
    }
    server.command(["RPUSH", "test:a", "x"]).expect("pushed");
    assert_eq!(held(&server, "test:a"), ["x"], "no caller waits for it");
    assert_eq!(server.clients().expect("listed").len(), 2, "the same connection each time");
    // An operator may end a wait as well.
    let ended = redis.send(BLPop::new(["c"], Duration::MAX));
    waiting(&server, 1).await;
    let clients = server.clients().expect("listed");
    let client = clients.iter().find(|client| client.contains(" flags=b")).expect("it waits");
    let id = client.split([' ', '=']).nth(1).expect("an id");
    assert_eq!(server.command(["CLIENT", "UNBLOCK", id]).expect("asked").int().expect("received"), 1);
    assert_eq!(ended.await.expect("answered"), None);
    // The deadline of a command calls it off too, and says that nothing was taken.
    let error = redis.send(BLPop::new(["c"], LONG).timeout(ms(100))).await.expect_err("late");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Timeout, Fate::Rejected), "{error}");
    waiting(&server, 0).await;
}

#[actix::test]
async fn without_the_right_to_unblock_the_link_is_closed_and_the_doubt_reported() {
    let server = crate::support::server();
    server.command(["ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-client|unblock"]).expect("asked");
    let (builder, diary) = Diary::of(hasty(config(server.port()).username("app").password("pw")));
    let redis = builder.start().expect("started");
    let sending = redis.send(BLPop::new(["a"], LONG));
    waiting(&server, 1).await;
    drop(sending);
    let event = diary.entry("the report", |event| matches!(event, ConnectionEvent::MayBeLost { .. })).await;
    let ConnectionEvent::MayBeLost { command, elements, reason } = event else { panic!("{event:?}") };
    assert_eq!((command.as_str(), elements), ("BLPOP", None));
    assert!(reason.contains("CLIENT UNBLOCK") && reason.contains("NOPERM"), "{reason}");
    waiting(&server, 0).await;
    eventually("the link closed", || (server.clients().ok()?.len() == 1).then_some(())).await;
    // A read takes nothing, so there is nothing to report.
    let read = redis.send(XRead::new([("s", StreamId::MIN)]).block(LONG));
    waiting(&server, 1).await;
    drop(read);
    waiting(&server, 0).await;
    redis.health().await.expect("alive");
    assert_eq!(diary.count(|event| matches!(event, ConnectionEvent::MayBeLost { .. })), 1);
}

#[actix::test]
async fn writes_and_the_wait_for_replicas_go_together() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let (_, none) = redis.send(Pipeline::new((Set::new("k", 1), Wait::new(1, ms(20))))).await.expect("answered");
    assert_eq!(none, 0);
    let port = server.port().to_string();
    let replica = RedisServer::builder().args(["--replicaof", "127.0.0.1", &port]).start().expect("a replica");
    let in_step = || server.command(["INFO", "replication"]).ok()?.text().ok()?.contains("state=online").then_some(());
    eventually("the replica", in_step).await;
    let order = (Set::new("k", 2), Wait::new(1, LONG), Get::<i64>::new("k"));
    let sending = redis.send(Pipeline::new(order));
    let (_, replicas, k) = sending.await.expect("answered");
    assert_eq!((replicas, k), (1, Some(2)));
    assert_eq!(replica.command(["GET", "test:k"]).expect("asked").text().expect("text"), "2");
    // By itself it would speak of nothing; in a transaction it does not wait.
    for error in [
        redis.send(Wait::new(1, ms(1))).await.map(drop).expect_err("refused"),
        redis.send(Raw::<u64>::new("WAIT").arg(1).arg(0)).await.map(drop).expect_err("refused"),
        redis.send(Pipeline::new((Incr::new("n"), BLPop::new(["a"], LONG)))).await.map(drop).expect_err("refused"),
    ] {
        assert_eq!((error.refusal(), error.fate()), (Some(RefusalClass::Blocking), Fate::NotSent), "{error}");
    }
    let together = (BLPop::new(["a"], LONG), Incr::new("n"), BRPop::new(["a"], LONG).typed::<String>());
    let begun = Instant::now();
    assert_eq!(redis.send(Transaction::new(together)).await.expect("ran"), (None, 1, None));
    assert!(begun.elapsed() < LONG / 2);
    let shared = redis.connection_info().links;
    assert!(shared.len() <= 2, "{shared:?}");
    let watched = redis.watch(["k"], |tx| async move {
        let error = tx.send(BLPop::new(["a"], LONG)).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidCommand);
        Ok(None::<Transaction<(Incr,)>>)
    });
    watched.await.expect("decided");
}

#[actix::test]
async fn every_connection_is_seen_and_new_credentials_reach_all() {
    let server = RedisServer::builder().requirepass("one").start().expect("a server");
    let directory = std::env::temp_dir().join(format!("redis-actix-{}", std::process::id()));
    std::fs::write(&directory, "one").expect("written");
    let config = config(server.port()).password_file(&directory).liveness(ms(300));
    let redis = hasty(config).start().expect("started");
    let pop = redis.send(BLPop::new(["a"], Duration::MAX));
    redis.send(BLPop::new(["b"], ms(1))).await.expect("answered");
    waiting(&server, 1).await;
    let info = redis.connection_info().links;
    let roles: Vec<_> = info.iter().map(|link| (link.role, link.purpose.as_deref(), link.state)).collect();
    assert!(roles.contains(&(LinkRole::Blocking, Some("BLPOP"), ConnectionState::Ready)), "{roles:?}");
    assert!(roles.contains(&(LinkRole::Idle, None, ConnectionState::Ready)), "{roles:?}");
    assert!(info.iter().all(|link| link.age >= link.since && link.age < TIME_LIMIT), "{info:?}");
    let seen = redis.watch(["k"], |_| {
        let links = redis.connection_info().links;
        async move {
            assert!(links.iter().any(|link| link.role == LinkRole::Watch), "{links:?}");
            Ok(None::<Transaction<(Incr,)>>)
        }
    });
    seen.await.expect("decided");
    assert_eq!(redis.health().await.expect("alive").links.len(), 2);

    let id = |client: &String| client.split(' ').next().unwrap_or_default().to_owned();
    let main = redis.status().borrow().generation;
    server.set_password(Some("two")).expect("rotated");
    std::fs::write(&directory, "two").expect("written");
    let before: Vec<String> = server.clients().expect("listed").iter().map(id).collect();
    redis.reauthenticate().await.expect("logged in");
    // The shared one stays, all others are replaced, the waiting one between two pieces.
    let renewed = || {
        let after: Vec<String> = server.clients().ok()?.iter().map(id).collect();
        (after.len() == 2 && after.iter().filter(|one| before.contains(one)).count() == 1).then_some(())
    };
    eventually("the links replaced", renewed).await;
    waiting(&server, 1).await;
    server.command(["RPUSH", "test:a", "x"]).expect("pushed");
    assert!(pop.await.expect("answered").is_some());
    assert_eq!(redis.status().borrow().generation, main);
    std::fs::remove_file(&directory).expect("removed");
}

/// Ablation: without calling them off, the shutdown takes all the time it has.
#[actix::test]
async fn a_shutdown_calls_off_what_waits_and_counts_it() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let waits: Vec<_> = (0..3).map(|_| redis.send(BLPop::new(["a"], LONG))).collect();
    waiting(&server, 3).await;
    let begun = Instant::now();
    let report = redis.shutdown(LONG).await.expect("a report");
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    assert_eq!((report.called_off, report.unknown, report.failed), (3, 0, 0), "{report:?}");
    for wait in waits {
        let error = wait.await.expect_err("called off");
        assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::Rejected), "{error}");
    }
    eventually("no client left", || server.clients().ok()?.is_empty().then_some(())).await;
    let error = redis.send(BLPop::new(["a"], LONG)).await.expect_err("closed");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Closed, Fate::NotSent));
}

/// Ablation: a shutdown that looks at once for what waits finds nothing yet, and its report knows nothing of it.
#[actix::test]
async fn what_was_sent_just_before_a_shutdown_is_counted_too() {
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let waits: Vec<_> = (0..3).map(|_| redis.send(BLPop::new(["a"], LONG))).collect();
    let report = redis.shutdown(LONG).await.expect("a report");
    assert_eq!((report.called_off, report.unknown, report.failed), (3, 0, 0), "{report:?}");
    for wait in waits {
        let error = wait.await.expect_err("called off");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert_ne!(error.fate(), Fate::Unknown, "{error}");
    }
}

/// Each command is in one count, also when the server says nothing to the calling off.
///
/// Ablation: with what the links of those that wait report besides, five commands are counted as eight, and so they are with
/// the crate's own questions counted.
#[actix::test]
async fn a_shutdown_of_a_silent_server_counts_each_command_once() {
    let server = crate::support::server();
    let redis = hasty(config(server.port()).command_timeout(LONG).liveness(None)).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let waits: Vec<_> = (0..3).map(|_| redis.send(BLPop::new(["a"], LONG))).collect();
    waiting(&server, 3).await;
    server.stop_process().expect("stopped");
    let counts: Vec<_> = (0..2).map(|_| redis.send(Incr::new("n"))).collect();
    let report = redis.shutdown(ms(300)).await.expect("a report");
    let all = report.completed + report.failed + report.unknown + report.abandoned + report.called_off;
    assert_eq!((report.unknown, all), (5, 5), "{report:?}");
    for wait in waits {
        assert_eq!(wait.await.expect_err("unknown").fate(), Fate::Unknown);
    }
    for count in counts {
        assert_eq!(count.await.expect_err("unknown").fate(), Fate::Unknown);
    }
    server.cont_process().expect("continued");
}
