//! Proof 6: every message against a server, in RESP2 and RESP3: its keys, its reply, and no key outside the prefix.

use bytes::BytesMut;
use redis::Value;

use super::arena::admit_tenant;
use super::connection::{Connection, connect, start, strings};
use crate::KeyPrefix;
use crate::frame::Frame;
use crate::messages::tests::cases::{Case, Given, every_case, every_operator_case};
use crate::messages::tests::indices;

/// Commands whose marked names are no keys for `COMMAND GETKEYS`, or that have none.
const SILENT: [&str; 9] =
    ["PUBSUB", "SCRIPT", "SORT_RO", "SORT", "FCALL_RO", "LMOVEM", "SUNIONCARD", "SDIFFCARD", "INCREX"];

fn is_unknown(reply: &Value) -> bool {
    match reply {
        Value::ServerError(error) => {
            let text = error.details().unwrap_or_default();
            ["unknown command", "Unknown subcommand", "unknown subcommand", "Invalid command"]
                .iter()
                .any(|words| text.contains(words))
        }
        _ => false,
    }
}

/// An option that this version of the server does not have.
fn is_unknown_option(reply: &Value) -> bool {
    let words = ["syntax error", "wrong number of arguments", "Invalid number of arguments"];
    matches!(reply, Value::ServerError(error)
        if error.details().is_some_and(|text| words.iter().any(|words| text.contains(words))))
}

fn sealed(prefix: &KeyPrefix, frame: &Frame) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    prefix.seal(frame).expect("usable").encode(&mut bytes);
    bytes.to_vec()
}

/// Runs the preparation and the message, and returns the reply without the prefix.
fn run(tenant: &mut Connection, prefix: &KeyPrefix, case: &Case, before: &str) -> Value {
    for line in before.split(';') {
        let words: Vec<&str> = line.split(' ').collect();
        let frame = crate::Raw::<Value>::of_line(&words.iter().map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>());
        let frame = crate::Command::into_frame(frame.unwrap_or_else(|e| panic!("{line}: {e}")));
        tenant.send_bytes(&sealed(prefix, &frame));
        tenant.read();
    }
    tenant.send_bytes(&sealed(prefix, &case.frame));
    let reply = tenant.read();
    prefix.strip_reply(case.frame.keys_in_reply(), reply)
}

#[test]
fn each_case_decodes_and_stays_inside_the_prefix_in_both_protocols() {
    let prefix = KeyPrefix::new("te?[^a-z]n\\é:").expect("valid");
    let server = start();
    let mut admin = connect(&server);
    let (mut ran, mut skipped, mut failures) = (0, Vec::new(), Vec::new());
    for protocol in ["2", "3"] {
        admit_tenant(&mut admin, prefix.as_str().as_bytes());
        let mut tenant = connect(&server);
        tenant.ask(&["HELLO", protocol, "AUTH", "tenant", "pw"]);
        let mut free = connect(&server);
        free.ask(&["HELLO", protocol]);
        for case in every_case() {
            let Given::Server(before) = case.given else { continue };
            admin.ask(&["FLUSHALL"]);
            admin.ask(&["SET", "outside", "x"]);
            // The server allows patterns of SORT to users that may read every key.
            let is_sort = case.words.starts_with("SORT");
            let reply = run(if is_sort { &mut free } else { &mut tenant }, &prefix, &case, before);
            if is_unknown(&reply) || is_unknown_option(&reply) {
                skipped.push(case.words);
                continue;
            }
            let shown = match &reply {
                Value::ServerError(error) => format!("{error:?}"),
                _ => case.decode(reply.clone()).unwrap_or_else(|e| format!("{e}: {reply:?}")),
            };
            if !(shown == case.reply || case.reply.is_empty() && !matches!(reply, Value::ServerError(_))) {
                failures.push(format!("RESP{protocol} {}: {shown}, not {}", case.words, case.reply));
            }
            let keys = admin.ask(&["KEYS", "*"]);
            let mut names = Vec::new();
            strings(&keys, &mut names);
            names.retain(|name| *name != b"outside");
            assert!(names.iter().all(|name| prefix.unprefix_key(*name).is_some()), "{}: {names:?}", case.words);
            assert_eq!(admin.ask(&["GET", "outside"]), Value::BulkString(b"x".to_vec()), "{}", case.words);
            ran += 1;
        }
    }
    skipped.sort_unstable();
    skipped.dedup();
    println!("{ran} runs; {} messages that this server lacks: {skipped:?}", skipped.len());
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(ran >= 200, "{ran}");
}

#[test]
fn each_case_marks_the_keys_that_the_server_finds() {
    let server = start();
    let mut connection = connect(&server);
    let mut compared = 0;
    for case in every_case() {
        let argv: Vec<&[u8]> = case.frame.args().collect();
        if SILENT.iter().any(|name| argv[0] == name.as_bytes()) {
            continue;
        }
        let question: Vec<&[u8]> = [&b"COMMAND"[..], b"GETKEYS"].into_iter().chain(argv.iter().copied()).collect();
        let answer = connection.ask(&question);
        if is_unknown(&answer) || is_unknown_option(&answer) {
            continue;
        }
        let mut keys = Vec::new();
        strings(&answer, &mut keys);
        let marked: Vec<&[u8]> = indices(&case.frame).into_iter().map(|at| argv[at]).collect();
        assert_eq!(keys, marked, "{}: {answer:?}", case.words);
        compared += 1;
    }
    println!("{compared} messages compared");
    assert!(compared >= 100, "{compared}");
}

#[test]
fn each_operator_case_decodes_in_both_protocols() {
    let server = start();
    let (mut ran, mut failures) = (0, Vec::new());
    for protocol in ["2", "3"] {
        for case in every_operator_case() {
            let Given::Server(before) = case.given else { continue };
            let mut operator = connect(&server);
            operator.ask(&["HELLO", protocol]);
            operator.ask(&["FLUSHALL"]);
            for line in before.split(';') {
                operator.ask(&line.split(' ').collect::<Vec<_>>());
            }
            let mut bytes = BytesMut::new();
            let frame = case.frame.clone().unprefixed();
            KeyPrefix::none().seal(&frame).expect("usable").encode(&mut bytes);
            operator.send_bytes(&bytes);
            let reply = operator.read();
            if is_unknown(&reply) {
                continue;
            }
            let shown = match &reply {
                Value::ServerError(error) => format!("{error:?}"),
                _ => case.decode(reply.clone()).unwrap_or_else(|e| format!("{e}: {reply:?}")),
            };
            let is_error = matches!(reply, Value::ServerError(_)) || case.decode(reply.clone()).is_err();
            if is_error || !(case.reply.is_empty() || shown == case.reply) {
                failures.push(format!("RESP{protocol} {}: {shown}, not {}", case.words, case.reply));
            }
            ran += 1;
        }
    }
    println!("{ran} runs");
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(ran >= 90, "{ran}");
}
