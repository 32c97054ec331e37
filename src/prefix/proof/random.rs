//! Proof 5: no arguments cause a panic or change the number of arguments.

use super::PREFIX;
use crate::prefix::glob::escape_glob;
use crate::prefix::marks::Form;
use crate::prefix::policy::policy;
use crate::prefix::positions::positions;
use crate::prefix::replies::{reply_keys, strip};
use crate::prefix::rewrite::{rewrite, write};
use crate::prefix::table::COMMANDS;

const WORDS: [&[u8]; 40] = [
    b"STORE",
    b"storedist",
    b"BY",
    b"GET",
    b"LIMIT",
    b"STREAMS",
    b"GROUP",
    b"COUNT",
    b"BLOCK",
    b"MATCH",
    b"TYPE",
    b"KEYS",
    b"AUTH",
    b"AUTH2",
    b"DB",
    b"CLAIM",
    b"NOACK",
    b"0",
    b"1",
    b"2",
    b"3",
    b"-1",
    b"+2",
    b" 2",
    b"2.0",
    b"99999999999999999999",
    b"",
    b"\0",
    b"\xff",
    b"a\r\nb",
    b"*",
    b"{",
    b"MATCH\0",
    b"__keyspace@0__:k",
    b"__keyspace@*__:*",
    b"__keyevent@0__:del",
    b"__key",
    b"k",
    b"#",
    b"__subkeyevent@0__:x",
];

#[test]
fn random_lines_never_panic_and_keep_their_length() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut accepted = 0_u32;
    for round in 0..150_000_u32 {
        let entry = &COMMANDS[random.usize(..COMMANDS.len())];
        let mut argv: Vec<Vec<u8>> = vec![entry.name.as_bytes().to_vec()];
        if !entry.subcommands().is_empty() {
            let sub = &entry.subcommands()[random.usize(..entry.subcommands().len())];
            argv.push(sub.name.as_bytes().to_vec());
        }
        for _ in 0..random.usize(..9) {
            argv.push(WORDS[random.usize(..WORDS.len())].to_vec());
        }
        if round % 7 == 0 {
            let at = random.usize(..argv.len());
            argv[at] = (0..random.usize(..5)).map(|_| random.u8(..)).collect();
        }
        let _ = policy(&argv);
        let _ = reply_keys(&argv);
        let _ = rewrite(PREFIX, &argv);
        let Ok(found) = positions(&argv) else {
            continue;
        };
        accepted += 1;
        let written = write(PREFIX, &argv, &found).expect("no `*` in the prefix");
        let added = if found.lacks_match { 2 } else { 0 };
        assert_eq!(written.len(), argv.len() + added, "{argv:?}");
        assert!(added == 0 || argv[0].eq_ignore_ascii_case(b"scan"));
        for (at, (before, after)) in argv.iter().zip(&written).enumerate() {
            let mark = found.marks.iter().find(|mark| mark.index == at);
            let longer = mark.map_or(0, |mark| match mark.form {
                Form::Pattern => escape_glob(PREFIX).len(),
                Form::Key | Form::Template => PREFIX.len(),
            });
            assert_eq!(after.len(), before.len() + longer, "{argv:?}");
            assert!(mark.is_some() || before == after, "{argv:?}");
        }
        // Without a prefix nothing changes.
        assert_eq!(write(b"", &argv, &found).as_ref(), Some(&argv));
    }
    assert!(accepted > 25_000, "{accepted}");
}

#[test]
fn any_reply_can_be_stripped_by_any_rule() {
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..50_000 {
        let entry = &COMMANDS[random.usize(..COMMANDS.len())];
        let reply = value(&mut random, 4);
        let _ = strip(reply_keys(&[entry.name, "k", "v"]), PREFIX, reply.clone());
        let _ = crate::prefix::replies::strip_push(PREFIX, reply);
    }
}

fn value(random: &mut fastrand::Rng, depth: u8) -> redis::Value {
    use redis::{PushKind, Value};
    let text = |random: &mut fastrand::Rng| {
        let word = WORDS[random.usize(..WORDS.len())];
        let prefix = if random.bool() { PREFIX } else { b"" };
        Value::BulkString([prefix, word].concat())
    };
    let list = |random: &mut fastrand::Rng| -> Vec<Value> {
        let length = random.usize(..4);
        (0..length).map(|_| value(random, depth - 1)).collect()
    };
    match random.u8(..if depth == 0 { 5 } else { 9 }) {
        0 => Value::Nil,
        1 => Value::Int(random.i64(..)),
        2 => Value::SimpleString("message".to_owned()),
        3 | 4 => text(random),
        5 | 6 => Value::Array(list(random)),
        7 => Value::Map(list(random).into_iter().map(|v| (text(random), v)).collect()),
        _ => Value::Push {
            kind: [PushKind::Message, PushKind::PMessage, PushKind::Invalidate][random.usize(..3)].clone(),
            data: list(random),
        },
    }
}
