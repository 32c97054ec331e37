//! Proof 4 for the messages of modules, on a server that has them.

use bytes::BytesMut;
use redis::Value;
use redis_actix_test::{RedisServer, find_modules_server};

use super::arena::admit_tenant;
use super::connection::{connect, strings};
use crate::KeyPrefix;
use crate::frame::Frame;
use crate::messages::module_tests::every_module_message;
use crate::messages::tests::indices;

/// Modules register one range of keys, also for commands with keys after a count, with two keys, or with keys before a
/// path: `COMMAND GETKEYS` returns the first key only, or also the path.
const REGISTERED_WRONGLY: [&str; 5] = ["CMS.MERGE", "TDIGEST.MERGE", "JSON.MGET", "TS.CREATERULE", "TS.DELETERULE"];
/// Flagged as reads, but they change an index, a dictionary or a cursor.
const UNFLAGGED_WRITES: [&str; 6] =
    ["FT.AGGREGATE", "FT.ALIASADD", "FT.ALIASDEL", "FT.ALIASUPDATE", "FT.DICTADD", "FT.DICTDEL"];
/// Flagged as a write, but it changes nothing.
const UNFLAGGED_READS: [&str; 1] = ["TOPK.COUNT"];

/// Without a server with modules the test is skipped, but not on CI.
fn start() -> Option<RedisServer> {
    let Some(program) = find_modules_server() else {
        assert!(std::env::var_os("CI").is_none(), "no server with modules: run `cargo xtask modules`");
        eprintln!("skipped: no server with modules; `cargo xtask modules` installs one");
        return None;
    };
    Some(RedisServer::builder().program(program).start().expect("started"))
}

fn shown(frame: &Frame) -> String {
    frame.args().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn each_module_message_marks_the_keys_that_the_server_finds() {
    let Some(server) = start() else { return };
    let mut connection = connect(&server);
    let (mut compared, mut newer) = (0, Vec::new());
    for frame in every_module_message() {
        let argv: Vec<&[u8]> = frame.args().collect();
        let name = frame.name();
        let info = connection.ask(&["COMMAND", "INFO", &name]);
        let Value::Array(found) = &info else { panic!("{name}: {info:?}") };
        let Value::Array(fields) = &found[0] else {
            newer.push(name);
            continue;
        };
        let mut flags = Vec::new();
        strings(&fields[2], &mut flags);
        let reads = flags.contains(&&b"readonly"[..]) || UNFLAGGED_READS.contains(&name.as_str());
        let reads = reads && !UNFLAGGED_WRITES.contains(&name.as_str());
        assert_eq!(frame.is_repeatable(), reads, "{}", shown(&frame));

        let question: Vec<&[u8]> = [&b"COMMAND"[..], b"GETKEYS"].into_iter().chain(argv.iter().copied()).collect();
        let answer = connection.ask(&question);
        let mut keys = Vec::new();
        if !matches!(answer, Value::ServerError(_)) {
            strings(&answer, &mut keys);
        }
        let marked: Vec<&[u8]> = indices(&frame).into_iter().map(|at| argv[at]).collect();
        // Names of search are no keys for the server, which registers at most the first one.
        let partly = REGISTERED_WRONGLY.contains(&name.as_str()) || name.starts_with("FT.") && keys.len() <= 1;
        let agrees = if partly { keys.iter().all(|key| marked.contains(key)) } else { keys == marked };
        assert!(agrees || marked.is_empty(), "{}: {answer:?}", shown(&frame));
        compared += 1;
    }
    println!("{compared} messages compared; not on this server: {newer:?}");
    assert!(compared >= 100, "{compared}");
}

#[test]
fn each_module_message_stays_inside_the_prefix() {
    let prefix = KeyPrefix::new("te?[^a-z]n\\é:").expect("valid");
    let Some(server) = start() else { return };
    let mut admin = connect(&server);
    admit_tenant(&mut admin, prefix.as_str().as_bytes());
    let mut tenant = connect(&server);
    assert_eq!(tenant.ask(&["AUTH", "tenant", "pw"]), Value::Okay);
    let mut run = |frame: &Frame| {
        let mut bytes = BytesMut::new();
        // The rows that show the order of options are invalid as a whole.
        let Ok(sealed) = prefix.seal(frame) else { return None };
        sealed.encode(&mut bytes);
        tenant.send_bytes(&bytes);
        Some(tenant.read())
    };
    let mut succeeded = 0;
    for frame in every_module_message() {
        match run(&frame) {
            Some(Value::ServerError(error)) => assert_ne!(error.code(), "NOPERM", "{}", shown(&frame)),
            Some(_) => succeeded += 1,
            None => {}
        }
    }
    let unmarked = Frame::known("JSON.GET").arg("k");
    assert!(matches!(run(&unmarked), Some(Value::ServerError(error)) if error.code() == "NOPERM"));
    let keys = admin.ask(&["KEYS", "*"]);
    let mut names = Vec::new();
    strings(&keys, &mut names);
    assert!(!names.is_empty() && names.iter().all(|name| prefix.unprefix_key(*name).is_some()), "{names:?}");
    println!("{succeeded} of {} messages without an error", every_module_message().len());
    assert!(succeeded >= 80, "{succeeded}");
}
