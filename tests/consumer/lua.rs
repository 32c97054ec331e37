//! Each of the consumer's scripts by itself, as the server runs it.

use redis_actix_test::{RedisServer, Reply};

/// Five entries `1-0` to `5-0`: the first three are pending for `us`, the fourth for `them`, the fifth not.
fn fixture() -> RedisServer {
    let server = RedisServer::start().unwrap();
    for n in 1..=5 {
        tell(&server, &["XADD", "s", &format!("{n}-0"), "n", &n.to_string()]);
    }
    tell(&server, &["XGROUP", "CREATE", "s", "g", "0"]);
    tell(&server, &["XREADGROUP", "GROUP", "g", "us", "COUNT", "3", "STREAMS", "s", ">"]);
    tell(&server, &["XREADGROUP", "GROUP", "g", "them", "COUNT", "1", "STREAMS", "s", ">"]);
    server
}

fn tell(server: &RedisServer, words: &[&str]) -> Reply {
    let reply = server.command(words).unwrap();
    assert!(!matches!(reply, Reply::Error(_)), "{words:?}: {reply:?}");
    reply
}

fn eval(server: &RedisServer, script: &str, keys: &[&str], args: &[&str]) -> Reply {
    let count = keys.len().to_string();
    let words = ["EVAL", script, &count].into_iter().chain(keys.iter().copied()).chain(args.iter().copied());
    tell(server, &words.collect::<Vec<_>>())
}

/// What a reply says, in one line.
fn shown(reply: &Reply) -> String {
    match reply.array() {
        Ok(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Err(_) => reply.text().unwrap_or_else(|_| reply.int().map_or("nil".to_owned(), |n| n.to_string())),
    }
}

/// Ids with owners and counts, and whether they are idle for a minute.
fn pending(server: &RedisServer) -> String {
    let reply = tell(server, &["XPENDING", "s", "g", "-", "+", "10"]);
    let line = |entry: &Reply| {
        let entry = entry.array().unwrap();
        let old = if entry[2].int().unwrap() >= 60_000 { " old" } else { "" };
        format!("{} {} {}{old}", shown(&entry[0]), shown(&entry[1]), shown(&entry[3]))
    };
    reply.array().unwrap().iter().map(line).collect::<Vec<_>>().join(", ")
}

#[test]
fn lease_renews_own_entries_and_reports_the_others() {
    let server = fixture();
    tell(&server, &["XDEL", "s", "2-0"]);
    let args = ["g", "us", "1-0", "90000", "0", "2-0", "0", "-1", "3-0", "90000", "-1", "4-0", "90000", "7"];
    let answer = eval(&server, include_str!("../../src/scripts/lease.lua"), &["s"], &args);
    assert_eq!(shown(&answer), "[[4-0] [] [2-0]]", "not ours, and not there");
    assert_eq!(pending(&server), "1-0 us 0 old, 3-0 us 1 old, 4-0 them 1");
}

#[test]
fn take_counts_once_however_often_it_is_repeated() {
    let server = fixture();
    tell(&server, &["XDEL", "s", "2-0"]);
    for _ in 0..2 {
        let args = ["g", "us", "1-0", "2", "4-0", "2", "9-9", "2"];
        let answer = eval(&server, include_str!("../../src/scripts/take.lua"), &["s"], &args);
        assert_eq!(shown(&answer), "[[1-0 2 [n 1]]]");
    }
    let answer = eval(&server, include_str!("../../src/scripts/take.lua"), &["s"], &["g", "us", "2-0", "2"]);
    assert_eq!(shown(&answer), "[[2-0 2]]", "without fields: it is gone");
    assert_eq!(pending(&server), "1-0 us 2, 3-0 us 1, 4-0 them 1");
}

#[test]
fn a_dead_letter_is_written_before_its_entry_is_acknowledged() {
    let server = fixture();
    let script = include_str!("../../src/scripts/dead_letter.lua");
    let dead_letter =
        |id| shown(&eval(&server, script, &["s", "s:dlq"], &["g", "us", id, "", "dead:reason", "rejected"]));
    assert_eq!(
        (dead_letter("1-0"), dead_letter("1-0"), dead_letter("4-0")),
        ("1".to_owned(), "0".to_owned(), "0".to_owned())
    );
    tell(&server, &["XDEL", "s", "2-0"]);
    assert_eq!(dead_letter("2-0"), "2", "removed from the stream");
    let dead = shown(&tell(&server, &["XRANGE", "s:dlq", "-", "+"]));
    assert!(dead.contains("[dead:meta 5 dead:deliveries 1 dead:first_seen 1 dead:last_seen "), "{dead}");
    assert!(dead.ends_with(" dead:reason rejected n 1]]]"), "{dead}");
    tell(&server, &["DEL", "s:dlq"]);
    tell(&server, &["SET", "s:dlq", "no stream"]);
    let words = ["EVAL", script, "2", "s", "s:dlq", "g", "us", "3-0", "", "dead:reason", "rejected"];
    assert!(matches!(server.command(words).unwrap(), Reply::Error(_)));
    assert_eq!(pending(&server), "3-0 us 1, 4-0 them 1", "it stays");
}

#[test]
fn sweep_claims_without_counting_and_not_by_a_clock_that_jumped() {
    let server = fixture();
    let script = include_str!("../../src/scripts/sweep.lua");
    let clock = tell(&server, &["TIME"]).array().unwrap()[0].text().unwrap().parse::<u64>().unwrap() * 1000;
    let sweep =
        |clock: u64| eval(&server, script, &["s"], &["g", "me", "0", "0-0", "10", &clock.to_string(), "60000", ""]);
    let jumped = sweep(clock + 3_600_000);
    assert_eq!(jumped.array().unwrap().len(), 2, "{jumped:?}");
    assert!(pending(&server).contains("1-0 us 1"), "nothing is claimed");
    let swept = sweep(clock);
    let swept = swept.array().unwrap();
    assert!(swept[0].int().unwrap().abs_diff(i64::try_from(clock).unwrap()) < 60_000);
    assert_eq!((shown(&swept[1]), shown(&swept[2])), ("[]".to_owned(), "0-0".to_owned()));
    assert_eq!(shown(&swept[3]), "[[1-0 1 0] [2-0 1 0] [3-0 1 0] [4-0 1 0]]");
    assert_eq!(pending(&server), "1-0 me 1, 2-0 me 1, 3-0 me 1, 4-0 me 1");
}

#[test]
fn a_name_has_one_holder_until_it_dies_or_gives_it_up() {
    let server = RedisServer::start().unwrap();
    let script = include_str!("../../src/scripts/name.lua");
    let ask = |who: &str, time: &str, dead: &str| shown(&eval(&server, script, &["name"], &[who, time, dead]));
    assert_eq!(ask("a", "9000", ""), "a");
    assert_eq!(ask("b", "9000", ""), "a", "held");
    assert_eq!(ask("b", "0", ""), "a", "nor given up by another");
    assert_eq!(ask("b", "9000", "a"), "b", "of a dead one");
    assert_eq!(ask("a", "9000", ""), "b");
    assert!(tell(&server, &["PTTL", "name"]).int().unwrap() > 0);
    assert_eq!(ask("b", "0", ""), "b");
    assert_eq!(ask("a", "9000", ""), "a");
}

#[test]
fn only_who_left_nothing_is_forgotten() {
    let server = fixture();
    tell(&server, &["XGROUP", "CREATECONSUMER", "s", "g", "empty"]);
    tell(&server, &["XGROUP", "CREATECONSUMER", "s", "g", "idle"]);
    let script = include_str!("../../src/scripts/forget.lua");
    let forget = |idle: &str, only: &str| shown(&eval(&server, script, &["s"], &["g", idle, only]));
    assert_eq!(forget("60000", ""), "[]", "seen a moment ago");
    assert_eq!(forget("0", "us"), "[]", "it has something pending");
    assert_eq!(forget("0", "idle"), "[idle]");
    assert_eq!(forget("0", ""), "[empty]");
    assert_eq!(pending(&server), "1-0 us 1, 2-0 us 1, 3-0 us 1, 4-0 them 1");
}
