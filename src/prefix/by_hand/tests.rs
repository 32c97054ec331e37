use std::time::Duration;

use super::*;
use crate::error::{ErrorKind, Fate};
use crate::frame::Frame;
use crate::frame::ReplyKeys;
use crate::messages::tests::every_message;
use crate::prefix::table::COMMANDS;
use crate::{Command as _, KeyPrefix, Raw, Value};

fn refused(frame: &Frame) -> Option<RefusalClass> {
    let outcome = KeyPrefix::new("p:").unwrap().seal(frame).map(drop);
    outcome.err().map(|error| {
        assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
        error.refusal().expect("a refusal")
    })
}

fn words(frame: &Frame) -> String {
    frame.check().expect_err("refused").to_string()
}

fn plain(line: &str) -> Frame {
    line.split(' ').skip(1).fold(Frame::new(line.split(' ').next().unwrap_or_default()), |frame, word| frame.arg(word))
}

#[test]
fn commands_unfit_for_a_shared_connection_are_refused_by_class() {
    for (class, lines) in [
        (RefusalClass::ConnectionState, "SELECT 1|client reply off|AUTH p|QUIT|MONITOR|RESET|CLIENT TRACKING ON"),
        (RefusalClass::Transaction, "MULTI|EXEC|WATCH k|DISCARD"),
        (RefusalClass::Subscribe, "SUBSCRIBE c|PSUBSCRIBE p|UNSUBSCRIBE"),
        (RefusalClass::Wide, "FLUSHALL|DBSIZE|RANDOMKEY|FT.SEARCH i q|COPY a b DB 1"),
        (RefusalClass::Observing, "CLIENT LIST|INFO|SLOWLOG GET"),
        (RefusalClass::Administration, "CONFIG GET x|SHUTDOWN|ACL SETUSER x|DEBUG JMAP"),
        (RefusalClass::Unknown, "NOSUCH k|CLIENT NOSUCH|CONFIG NOSUCH|OBJECT NOSUCH k"),
        (
            RefusalClass::Arguments,
            "GET|SINTERCARD 2.0 a b|EVAL s +1 k|SORT k STOER d|XREAD STREAMS a b 0|BLPOP k soon|WAIT 1 -1",
        ),
        (
            RefusalClass::Unmarked,
            "GET k|BLPOP k 1|XREAD BLOCK 1 STREAMS k 0|SCAN 0|KEYS *|SORT k|PUBLISH c m|MSET a 1 b 2|PUBSUB NUMSUB c",
        ),
    ] {
        for line in lines.split('|') {
            assert_eq!(refused(&plain(line)), Some(class), "{line}");
            // The same class inside a pipeline, and with the name as one word.
            assert_eq!(refused(&Frame::join([plain("PING"), plain(line)])), Some(class), "{line}");
            assert_eq!(refused(&Frame::new(line)), Some(class), "{line}");
        }
    }
}

#[test]
fn marks_do_not_allow_commands_that_change_connection_state() {
    for class in [Policy::ConnectionState, Policy::Transaction, Policy::Subscribe] {
        let mut tried = 0;
        for entry in COMMANDS {
            let names = std::iter::once(None).chain(entry.subcommands().iter().map(|sub| Some(sub.name)));
            for sub in names {
                let argv: Vec<&str> = std::iter::once(entry.name).chain(sub).collect();
                if policy(&argv) != class {
                    continue;
                }
                let frame = sub.into_iter().fold(Frame::new(entry.name), Frame::arg).arg("x").key("y");
                assert!(refused(&frame.clone().without_keys().hold(Duration::from_secs(1))).is_some(), "{argv:?}");
                assert!(frame.unprefixed().check().is_err(), "{argv:?}");
                tried += 1;
            }
        }
        assert!(tried >= 5, "{class:?}: {tried}");
    }
}

#[test]
fn an_unmarked_key_is_refused_with_its_index_and_the_method_to_use() {
    let rows = [
        (
            Frame::new("MSET").key("a").arg(1).arg("b").arg(2),
            "MSET: argument 3 is a key but is not marked: add it with `key()`",
        ),
        (
            Frame::new("KEYS").key("a*"),
            "KEYS: argument 1 is a pattern for keys but is not marked: add it with `pattern()`",
        ),
        (Frame::new("GET").pattern("a"), "GET: argument 1 is a key but is not marked: add it with `key()`"),
        (
            Frame::new("SORT").key("a").arg("BY").pattern("w_*"),
            "SORT: argument 3 is a SORT pattern for keys but is not marked: add it with `key()`",
        ),
        (
            Frame::new("PUBSUB CHANNELS").pattern("__keyspace@0__:a*"),
            "PUBSUB CHANNELS: argument 2 is a pattern for channels but is not marked: add it with `channel_pattern()`",
        ),
        (
            Frame::new("PUBLISH").key("__keyspace@0__:a").arg(1),
            "PUBLISH: argument 1 is a channel but is not marked: add it with `channel()`",
        ),
        (
            Frame::new("SINTERCARD").key("1").arg("a"),
            "SINTERCARD: argument 2 is a key but is not marked: add it with `key()`",
        ),
    ];
    for (frame, text) in rows {
        assert_eq!(words(&frame), text);
    }
    for frame in [
        Frame::new("MSET").key("a").arg(1).key("b").arg(2),
        Frame::new("keys").pattern("a*"),
        Frame::new("SCAN").arg(0).arg("match").pattern("a*"),
        Frame::new("SORT").key("a").arg("BY").key("w_*").arg("GET").arg("#").arg("STORE").key("d"),
        Frame::new("PUBSUB CHANNELS").channel_pattern("__keyspace@0__:a*"),
        Frame::new("PUBSUB CHANNELS").pattern("a*"),
        Frame::new("PUBLISH").channel("__keyspace@0__:a").arg(1),
        Frame::new("XREAD").arg("STREAMS").key("a").arg(0),
        Frame::new("BLPOP").key("a").arg(1).hold(Duration::from_secs(1)),
        Frame::new("BLPOP").key("a").arg(1),
        Frame::new("WAIT").arg(1).arg(0),
        Frame::new("PING"),
    ] {
        assert_eq!(refused(&frame), None, "{frame:?}");
    }
}

/// Ablation: without the check of marks that the table does not have, `SET` stores the prefix in its value.
#[test]
fn a_mark_on_an_argument_that_is_not_a_key_is_refused() {
    let rows = [
        (Frame::new("ZREVRANK").key("z").key("m"), "ZREVRANK: argument 2 of ZREVRANK is not a key: use arg()"),
        (Frame::new("SET").key("a").key("b"), "SET: argument 2 of SET is not a key: use arg()"),
        (Frame::new("SET").key("a").pattern("b"), "SET: argument 2 of SET is not a pattern: use arg()"),
        (Frame::new("SET").key("a").channel("b"), "SET: argument 2 of SET is not a key: use arg()"),
        (Frame::new("PUBLISH").channel("c").channel("m"), "PUBLISH: argument 2 of PUBLISH is not a channel: use arg()"),
        (Frame::new("SORT").key("a").arg("BY").key("nosort"), "SORT: argument 3 of SORT is not a key: use arg()"),
        (Frame::new("EVAL").arg("return 1").arg(0).key("a"), "EVAL: argument 3 of EVAL is not a key: use arg()"),
        (
            Frame::new("OBJECT").key("ENCODING").key("a"),
            "OBJECT ENCODING: argument 1 of OBJECT ENCODING is not a key: use arg()",
        ),
        // Option words and counts: with the prefix they would no longer be option words and counts.
        (
            Frame::new("SORT").key("a").key("LIMIT").arg("STORE").arg("d"),
            "SORT: argument 2 of SORT is not a key: use arg()",
        ),
        (
            Frame::new("XREAD").key("COUNT").arg("STREAMS").arg("STREAMS").key("b").arg(0),
            "XREAD: argument 1 of XREAD is not a key: use arg()",
        ),
        (Frame::new("SINTERCARD").key("1").key("a"), "SINTERCARD: argument 1 of SINTERCARD is not a key: use arg()"),
    ];
    for (frame, text) in rows {
        assert_eq!(words(&frame), text);
        assert_eq!(refused(&frame), Some(RefusalClass::Arguments), "{frame:?}");
    }
}

#[test]
fn an_unknown_command_must_mark_keys_or_declare_none() {
    assert_eq!(refused(&Frame::new("MY.ADD").key("a").arg(1)), None);
    assert_eq!(refused(&Frame::new("MY.TIME").without_keys()), None);
    assert_eq!(refused(&Frame::new("MY.TIME").arg("a")), Some(RefusalClass::Unknown));
    assert_eq!(refused(&Frame::new("GET").arg("a").without_keys()), Some(RefusalClass::Unmarked));
    assert_eq!(refused(&Frame::new("CLIENT NEW").key("a").without_keys()), Some(RefusalClass::Unknown));
    assert_eq!(refused(&Frame::default()), Some(RefusalClass::Unknown));
    assert!(words(&plain("MY.ADD secret")).starts_with("MY.ADD: its keys are unknown to this version"));
}

#[test]
fn a_frame_of_this_crate_is_checked_after_callers_add_arguments() {
    for frame in every_message() {
        assert_eq!(refused(&frame), None, "{frame:?}");
        let held = frame.clone().hold(Duration::from_secs(1));
        assert_eq!(judge(&held.line(&held.argv())).map_err(|e| e.to_string()), Ok(()), "{frame:?}");
    }
    let del = crate::Del::key("a").frame();
    assert_eq!(refused(&del.clone().arg("foreign")), Some(RefusalClass::Unmarked));
    assert_eq!(refused(&del.clone().key("b")), None);
    let joined = Frame::join([del]).arg("FLUSHALL");
    assert!(words(&joined).contains("joined commands take no more arguments"));
}

#[test]
fn reply_keys_of_known_commands_come_from_the_table() {
    let keys = |frame: Frame| frame.keys_in_reply();
    assert_eq!(keys(Frame::new("keys").pattern("*")), ReplyKeys::Each);
    assert_eq!(keys(Frame::new("LMPOP").arg(1).key("a").arg("LEFT")), ReplyKeys::First);
    assert_eq!(keys(Frame::new("MY.KEYS").key("a")), ReplyKeys::None);
    assert_eq!(keys(Frame::new("MY.KEYS").key("a").reply_keys(ReplyKeys::Each)), ReplyKeys::Each);
    assert_eq!(keys(Raw::<Value>::new("XREAD").arg("STREAMS").key("a").arg(0).frame()), ReplyKeys::Streams);
}

#[test]
fn blocking_commands_use_a_dedicated_connection() {
    let second = Duration::from_secs(1);
    assert!(Frame::new("BLPOP").key("a").arg(1).waits());
    assert!(!Frame::new("GET").key("a").waits());
    assert!(Frame::known("XREAD").hold(second).waits());
    assert!(Frame::new("MY.WAIT").key("a").hold(second).waits());
    assert!(Frame::new("BLPOP").arg("a").arg(1).unprefixed().waits());
    assert_eq!(refused(&Frame::new("MY.WAIT").key("a")), None, "without hold() it is not known to block");
}

/// The checks for commands built by hand would refuse some internal commands, which callers may not send.
#[test]
fn no_frame_of_this_crate_is_built_by_hand() {
    let mut directories = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut found = Vec::new();
    let mut read = 0;
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                directories.extend(Some(path).filter(|path| !path.ends_with("tests")));
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                let by_hand = code.filter(|line| line.contains("Frame::new(")).count();
                found.extend((by_hand > 0).then(|| name.to_owned()));
                read += 1;
            }
        }
    }
    assert!(read > 50, "{read}");
    found.sort();
    // Messages for operators are refused with the prefix by the same checks.
    assert_eq!(found, ["functions.rs", "operators.rs", "raw.rs", "server_replies.rs"], "use `Frame::known`");
}
