//! The proofs, each over the whole corpus.

use std::collections::BTreeMap;

use redis::Value;
use redis_actix_corpus::{Line, Role, server_is_wrong};
use redis_actix_test::RedisServer;

use super::arena::{Arena, User};
use super::checks::{Fault, Faults, Writer, add, check_positions, nothing, prefixing, server_keys};
use super::connection::{connect, start, strings};
use super::{LINES, PREFIX};
use crate::prefix::policy::policy;
use crate::prefix::positions::positions;
use crate::prefix::table::{COMMANDS, Found, lookup};

fn assert_none(faults: &Faults) {
    for (fault, found) in faults {
        let shown: Vec<&str> = found.iter().take(12).map(String::as_str).collect();
        eprintln!("{fault:?}: {} lines\n  {}", found.len(), shown.join("\n  "));
    }
    assert!(faults.is_empty());
}

fn count(faults: &Faults, fault: Fault) -> usize {
    faults.get(&fault).map_or(0, Vec::len)
}

/// Proof 1 against the live server, for the caller's line and for the written line.
fn check_server_keys(server: &RedisServer, lines: &[Line], writer: Writer, faults: &mut Faults) -> usize {
    let mut connection = connect(server);
    let accepted: Vec<(&Line, Vec<Vec<u8>>)> =
        lines.iter().filter_map(|line| Some((line, writer(&line.argv).ok()?))).collect();
    let asked: Vec<&[Vec<u8>]> = accepted.iter().map(|(line, _)| line.argv.as_slice()).collect();
    let written: Vec<&[Vec<u8>]> = accepted.iter().map(|(_, line)| line.as_slice()).collect();
    let asked = server_keys(&mut connection, &asked);
    let written = server_keys(&mut connection, &written);

    let mut answered = 0;
    for (((line, _), asked), written) in accepted.iter().zip(asked).zip(written) {
        let (Some(asked), Some(written)) = (asked, written) else {
            continue;
        };
        answered += 1;
        if server_is_wrong(line) {
            // All keys that the server reports must have the prefix, except for the empty name that stands for a
            // list.
            let outside = |key: &Vec<u8>| !key.starts_with(PREFIX) && !key.is_empty();
            let channel = line.named().all(|(_, role, _)| role == Role::Channel);
            if !channel && written.iter().any(outside) {
                add(faults, Fault::ServerKeys, line, "a key outside");
            }
            continue;
        }
        let prefixed: Vec<Vec<u8>> = asked.iter().map(|key| [PREFIX, key].concat()).collect();
        let mut reported: Vec<&[u8]> =
            line.named().filter(|(_, role, _)| *role == Role::Key).map(|(_, _, name)| name).collect();
        let mut keys: Vec<&[u8]> = asked.iter().map(Vec::as_slice).collect();
        reported.sort_unstable();
        keys.sort_unstable();
        if prefixed != written || reported != keys {
            let detail = format!("{} of {} keys", written.len(), asked.len());
            add(faults, Fault::ServerKeys, line, &detail);
        }
    }
    answered
}

#[test]
fn the_corpus_has_its_minimum_size() {
    let lines = &*LINES;
    let commands: std::collections::BTreeSet<&[u8]> = lines.iter().map(|line| line.argv[0].as_slice()).collect();
    println!("{} lines of {} commands", lines.len(), commands.len());
    assert!(lines.len() >= 2_500);
}

#[test]
fn written_lines_match_the_trees_and_the_server() {
    let (server, lines) = (start(), &*LINES);
    let mut faults = Faults::new();
    for line in lines {
        check_positions(line, prefixing, &mut faults);
    }
    let answered = check_server_keys(&server, lines, prefixing, &mut faults);
    println!("{} lines, the server has an answer for {answered}", lines.len());
    assert_none(&faults);
    assert!(answered > 2_500, "{answered}");
}

#[test]
fn lines_access_only_keys_with_the_prefix() {
    let (server, lines) = (start(), &*LINES);
    let mut faults = Faults::new();
    for (user, protocol) in [(User::Limited, 2), (User::Limited, 3), (User::Unlimited, 2)] {
        let mut arena = Arena::new(&server, user, protocol);
        arena.run(lines, prefixing, &mut faults);
        let Arena { ran, succeeded, .. } = arena;
        println!("{user:?}, RESP{protocol}: {ran} lines ran, {succeeded} without an error");
    }
    assert_none(&faults);
}

/// Shows that each check can fail: with rewriting off, all of them do.
#[test]
fn without_prefixing_every_check_fails() {
    let (server, lines) = (start(), &*LINES);
    let mut faults = Faults::new();
    for line in lines {
        check_positions(line, nothing, &mut faults);
    }
    check_server_keys(&server, lines, nothing, &mut faults);
    for user in [User::Limited, User::Unlimited] {
        let mut arena = Arena::new(&server, user, 2);
        arena.run(lines, nothing, &mut faults);
    }
    for (fault, at_least) in [
        (Fault::Positions, 2_500),
        (Fault::ServerKeys, 2_000),
        (Fault::NoPermission, 2_000),
        (Fault::Footprint, 1_000),
        (Fault::Contents, 500),
        (Fault::ReplyNames, 50),
    ] {
        let found = count(&faults, fault);
        println!("{fault:?}: {found}");
        assert!(found >= at_least, "{fault:?}: {found}");
    }
}

/// Proof 6: a command of the connected server that the table lacks fails the test by name.
#[test]
fn the_table_knows_every_command_of_the_server() {
    let server = start();
    let mut unknown = Vec::new();
    let mut known = 0;
    let Value::Array(commands) = connect(&server).ask(&["COMMAND"]) else {
        panic!("COMMAND has no list");
    };
    let mut queue: Vec<&Value> = commands.iter().collect();
    while let Some(Value::Array(fields)) = queue.pop() {
        let (Some(Value::BulkString(name)), Some(Value::Int(arity))) = (fields.first(), fields.get(1)) else {
            panic!("{fields:?}");
        };
        if let Some(Value::Array(subcommands)) = fields.get(9) {
            queue.extend(subcommands);
        }
        let words: Vec<&[u8]> = name.split(|b| *b == b'|').collect();
        let needed = usize::try_from(arity.unsigned_abs()).unwrap();
        match lookup(&words) {
            Some(Found { entry, .. }) if entry.accepts(needed) => known += 1,
            _ => unknown.push(String::from_utf8_lossy(name).into_owned()),
        }
        // Flags that decide whether a command is retried or routed.
        let mut flags = Vec::new();
        strings(&fields[2], &mut flags);
        if let Some(Found { entry, name }) = lookup(&words) {
            let says = |flag: &[u8]| flags.contains(&flag);
            assert!(!entry.pure_read() || !says(b"write"), "{name}");
            assert!(!says(b"blocking") || entry.blocks(), "{name}");
            assert!(!says(b"admin") || entry.admin(), "{name}");
        }
    }
    println!("{known} commands of the server are known");
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

/// The list of commands with keys for which the server has no answer or a wrong one is complete.
#[test]
fn commands_without_a_server_answer_are_known() {
    let (server, lines) = (start(), &*LINES);
    let mut connection = connect(&server);
    let known: Vec<&Line> =
        lines.iter().filter(|line| positions(&line.argv).is_ok_and(|found| !found.marks.is_empty())).collect();
    let asked: Vec<&[Vec<u8>]> = known.iter().map(|line| line.argv.as_slice()).collect();
    let mut silent: BTreeMap<String, usize> = BTreeMap::new();
    let exists: BTreeMap<String, bool> = COMMANDS
        .iter()
        .map(|entry| {
            let info = connection.ask(&["COMMAND", "INFO", entry.name]);
            let known = matches!(info, Value::Array(found) if found.iter().any(|f| *f != Value::Nil));
            (entry.name.to_owned(), known)
        })
        .collect();
    for (line, keys) in known.iter().zip(server_keys(&mut connection, &asked)) {
        let name = String::from_utf8_lossy(&line.argv[0]).to_ascii_lowercase();
        if keys.is_none() && exists[&name] {
            *silent.entry(name).or_default() += 1;
        }
    }
    println!("silent: {silent:?}");
    // ZRANK has an option since 7.2, so an older server refuses the count.
    let expected = ["migrate", "pfmerge", "zrank", "zrevrank"];
    assert!(silent.keys().all(|name| expected.contains(&name.as_str())));
}

/// Prints statistics; asserts nothing.
#[test]
fn print_statistics() {
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    let lines = &*LINES;
    for line in lines {
        let class = match (policy(&line.argv).refusal(), positions(&line.argv)) {
            (None, Ok(found)) if found.marks.is_empty() => "without keys".to_owned(),
            (None, Ok(_)) => "rewritten".to_owned(),
            (None, Err(_)) => "refused: arguments".to_owned(),
            (Some(_), _) => format!("refused: {:?}", policy(&line.argv)),
        };
        *classes.entry(class).or_default() += 1;
    }
    let subcommands: usize = COMMANDS.iter().map(|c| c.subcommands().len()).sum();
    println!("table: {} commands, {subcommands} subcommands", COMMANDS.len());
    println!("{} lines: {classes:#?}", lines.len());
}
