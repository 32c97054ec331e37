//! Names in live replies and messages: they are returned with the names that the caller uses.

use redis::Value;

use super::PREFIX;
use super::connection::{Connection, connect, start, strings};
use crate::prefix::positions::positions;
use crate::prefix::replies::{reply_keys, strip, strip_push};
use crate::prefix::rewrite::{rewrite, write};

const NAMES: [&[u8]; 8] = [b"plain", b"", b"\0\xff", b"a\r\nb", b"g*?[x]\\", b"{t}k", PREFIX, b"STREAMS"];

fn run(connection: &mut Connection, line: &[&[u8]]) -> (Value, usize) {
    let written = rewrite(PREFIX, line).expect("the line is allowed");
    strip(reply_keys(line), PREFIX, connection.ask(&written))
}

/// Every command whose reply contains names, in both protocols: each name is the caller's and identifies the same
/// key.
#[test]
fn a_name_from_a_reply_hits_the_same_key() {
    let server = start();
    for protocol in ["2", "3"] {
        let mut connection = connect(&server);
        connection.ask(&["HELLO", protocol]);
        for name in NAMES {
            let lines: [&[&[u8]]; 14] = [
                &[b"BLPOP", name, b"0.1"],
                &[b"BRPOP", name, b"0.1"],
                &[b"LMPOP", b"1", name, b"LEFT"],
                &[b"BLMPOP", b"0.1", b"1", name, b"LEFT"],
                &[b"BZPOPMIN", name, b"0.1"],
                &[b"BZPOPMAX", name, b"0.1"],
                &[b"ZMPOP", b"1", name, b"MIN"],
                &[b"BZMPOP", b"0.1", b"1", name, b"MIN"],
                &[b"XREAD", b"STREAMS", name, b"0"],
                &[b"XREADGROUP", b"GROUP", b"STREAMS", b"c", b"STREAMS", name, b">"],
                &[b"KEYS", b"*"],
                &[b"SCAN", b"0"],
                &[b"SCAN", b"0", b"MATCH", b"x", b"MATCH", b"*"],
                &[b"XREADGROUP", b"GROUP", b"nosuch", b"c", b"STREAMS", name, b">"],
            ];
            for line in lines {
                connection.ask(&["FLUSHALL"]);
                connection.ask(&["SET", "outside", "x"]);
                let fill: &[&[u8]] = match line[0] {
                    b"BLPOP" | b"BRPOP" | b"LMPOP" | b"BLMPOP" => &[b"RPUSH", name, b"v"],
                    b"XREAD" | b"XREADGROUP" => &[b"XADD", name, b"1-1", b"f", b"v"],
                    b"KEYS" | b"SCAN" => &[b"SET", name, b"v"],
                    _ => &[b"ZADD", name, b"1", b"v"],
                };
                run(&mut connection, fill);
                run(&mut connection, &[b"XGROUP", b"CREATE", name, b"STREAMS", b"0"]);
                let (reply, leaked) = run(&mut connection, line);
                let mut names = Vec::new();
                strings(&reply, &mut names);
                let shown = format!("RESP{protocol} {line:?}: {reply:?}");
                assert_eq!(leaked, 0, "{shown}");
                match &reply {
                    // The error text is shown with replacement characters where a name is not text.
                    Value::ServerError(error) => {
                        let own = String::from_utf8_lossy(name).replace(['\r', '\n'], " ");
                        let quoted = format!("No such key '{own}' or");
                        let text = error.details().unwrap_or_default();
                        assert!(text.starts_with(&quoted) || name.contains(&0), "{shown}: {quoted}");
                    }
                    _ => assert!(names.contains(&name), "{shown}"),
                }
            }
        }
    }
}

#[test]
fn an_unprefixed_scan_returns_keys_outside_the_prefix() {
    let server = start();
    let mut connection = connect(&server);
    connection.ask(&["SET", "outside", "x"]);
    let line: [&[u8]; 2] = [b"SCAN", b"0"];
    let reply = connection.ask(&line);
    let (reply, leaked) = strip(reply_keys(&line), PREFIX, reply);
    assert_eq!(leaked, 1, "{reply:?}");
}

/// Messages and notifications, RESP2 and RESP3: those with the prefix are delivered without it, others are not
/// delivered.
#[test]
fn messages_from_outside_the_prefix_are_not_delivered() {
    let server = start();
    for protocol in ["2", "3"] {
        let mut publisher = connect(&server);
        publisher.ask(&["CONFIG", "SET", "notify-keyspace-events", "KEA"]);
        let mut subscriber = connect(&server);
        subscriber.ask(&["HELLO", protocol]);
        let subscriptions: [&[&[u8]]; 2] =
            [&[b"SUBSCRIBE", b"news", b"__keyevent@0__:set"], &[b"PSUBSCRIBE", b"n?ws", b"__keyspace@*__:k*"]];
        let mut received = Vec::new();
        for line in subscriptions {
            let found = positions(line).expect("the channels are plain");
            subscriber.send(&write(PREFIX, line, &found).expect("no `*` in the prefix"));
            received.extend(line.iter().skip(1).map(|_| subscriber.read()));
        }
        let line: [&[u8]; 3] = [b"PUBLISH", b"news", b"hello"];
        publisher.ask(&rewrite(PREFIX, &line).expect("the line is allowed"));
        publisher.ask(&["PUBLISH", "news", "of others"]);
        publisher.ask(&["SET", "outside", "x"]);
        // A key outside the prefix whose name matches the pattern for keys inside it.
        let trap = [b"__:", PREFIX, b"k"].concat();
        publisher.ask(&[&b"SET"[..], &trap, b"x"]);
        let line: [&[u8]; 3] = [b"SET", b"k1", b"x"];
        publisher.ask(&rewrite(PREFIX, &line).expect("the line is allowed"));
        // hello twice; `outside`, the trap and our key by keyevent; the trap and our key by keyspace.
        received.extend((0..7).map(|_| subscriber.read()));

        let mut shown = Vec::new();
        let mut leaks = 0;
        for message in received {
            let (message, leaked) = strip_push(PREFIX, message);
            leaks += leaked;
            let mut texts = Vec::new();
            strings(message.as_ref().unwrap_or(&Value::Nil), &mut texts);
            let texts: Vec<String> = texts.iter().map(|text| text.escape_ascii().to_string()).collect();
            shown.extend(message.is_some().then(|| texts.join(" ")));
        }
        shown.sort();
        assert_eq!(
            shown,
            [
                "message __keyevent@0__:set k1",
                "message news hello",
                "pmessage __keyspace@*__:k* __keyspace@0__:k1 set",
                "pmessage n?ws news hello",
                "psubscribe __keyspace@*__:k*",
                "psubscribe n?ws",
                "subscribe __keyevent@0__:set",
                "subscribe news",
            ],
            "RESP{protocol}"
        );
        assert_eq!(leaks, 1, "the trap by keyspace");
    }
}
