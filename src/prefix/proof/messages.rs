//! Proof 4: the marks of this crate's own messages, which are not checked at run time.

use bytes::BytesMut;
use redis::Value;

use super::arena::admit_tenant;
use super::connection::{connect, start, strings};
use crate::KeyPrefix;
use crate::frame::Frame;
use crate::messages::tests::{every_message, indices};

/// Commands whose marked names are not keys, and commands without keys.
const SILENT: [&str; 7] = ["KEYS", "PING", "PUBLISH", "SCAN", "SPUBLISH", "WAIT", "WAITAOF"];
/// Repeatable commands that the server does not flag as read-only, because the flag covers only commands on data.
const UNFLAGGED_READS: [&str; 1] = ["PING"];

fn shown(frame: &Frame) -> String {
    frame.args().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_message_marks_the_keys_that_the_server_finds() {
    let server = start();
    let mut connection = connect(&server);
    let mut compared = 0;
    for frame in every_message() {
        let argv: Vec<&[u8]> = frame.args().collect();
        let name = frame.name();
        if !SILENT.contains(&name.as_str()) {
            let question: Vec<&[u8]> = [&b"COMMAND"[..], b"GETKEYS"].into_iter().chain(argv.iter().copied()).collect();
            let answer = connection.ask(&question);
            let mut keys = Vec::new();
            strings(&answer, &mut keys);
            // A group may be called STREAMS, which COMMAND GETKEYS handles wrongly.
            let trips = argv.iter().filter(|word| word.eq_ignore_ascii_case(b"STREAMS")).count() > 1;
            let marked: Vec<&[u8]> = indices(&frame).into_iter().map(|at| argv[at]).collect();
            assert!(trips || keys == marked, "{}: {answer:?}", shown(&frame));
            compared += 1;
        }
        let info = connection.ask(&["COMMAND", "INFO", &name.replace(' ', "|")]);
        let Value::Array(found) = &info else { panic!("{name}: {info:?}") };
        // The server is older than the command.
        let Value::Array(fields) = &found[0] else {
            assert!(name == "WAITAOF" && server.version() < (7, 2, 0), "{name}: {info:?}");
            continue;
        };
        let mut flags = Vec::new();
        strings(&fields[2], &mut flags);
        let reads = flags.contains(&&b"readonly"[..]) || UNFLAGGED_READS.contains(&name.as_str());
        assert_eq!(frame.is_repeatable(), reads, "{}", shown(&frame));
    }
    println!("{compared} messages compared");
    assert!(compared >= 90, "{compared}");
}

#[test]
fn each_message_stays_inside_the_prefix() {
    let prefix = KeyPrefix::new("te?[^a-z]n\\é:").expect("valid");
    let server = start();
    let mut admin = connect(&server);
    admit_tenant(&mut admin, prefix.as_str().as_bytes());
    let mut tenant = connect(&server);
    assert_eq!(tenant.ask(&["AUTH", "tenant", "pw"]), Value::Okay);
    let mut run = |frame: &Frame| {
        let mut bytes = BytesMut::new();
        prefix.seal(frame).expect("usable").encode(&mut bytes);
        tenant.send_bytes(&bytes);
        tenant.read()
    };
    run(&Frame::known("XADD").key("x").arg("9-9").arg("f").arg("v"));
    let mut succeeded = 0;
    for frame in every_message() {
        let short = std::time::Duration::from_millis(1);
        let frame = if frame.waits() { frame.waiting(frame.wait().as_ref(), short, short) } else { frame };
        match run(&frame) {
            Value::ServerError(error) => assert_ne!(error.code(), "NOPERM", "{}", shown(&frame)),
            _ => succeeded += 1,
        }
    }
    // Shows that the check can fail: a message without its marks is refused.
    let unmarked = Frame::known("GET").arg("k");
    assert!(matches!(run(&unmarked), Value::ServerError(error) if error.code() == "NOPERM"));
    let keys = admin.ask(&["KEYS", "*"]);
    let mut names = Vec::new();
    strings(&keys, &mut names);
    assert!(!names.is_empty() && names.iter().all(|name| prefix.unprefix_key(*name).is_some()), "{names:?}");
    println!("{succeeded} of {} messages without an error", every_message().len());
    assert!(succeeded >= 60, "{succeeded}");
}
