//! The invariants of one line, and the faults that are recorded when they are violated.

use std::collections::BTreeMap;

use redis::Value;

use redis_actix_corpus::{Line, expected};

use super::PREFIX;
use super::connection::{Connection, strings};
use crate::prefix::positions::{Refusal, positions};
use crate::prefix::rewrite::write;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The written line differs from the syntax tree.
    Positions,
    /// The server finds other keys in the written line than those with the prefix.
    ServerKeys,
    /// A user limited to the prefix was refused.
    NoPermission,
    /// A key outside the prefix was changed or created.
    Footprint,
    /// A reply contained the content of a key outside the prefix.
    Contents,
    /// A reply contained the prefix, or a name that lacks it.
    ReplyNames,
}

pub(super) type Faults = BTreeMap<Fault, Vec<String>>;

pub(super) fn add(faults: &mut Faults, fault: Fault, line: &Line, detail: &str) {
    let what = format!("{} -> {detail}", line.show());
    faults.entry(fault).or_default().push(what);
}

/// Rewrites a line: the function under test, or one that changes nothing.
pub(super) type Writer = fn(&[Vec<u8>]) -> Result<Vec<Vec<u8>>, Refusal>;

/// Positions and rewriting without the policy, so that the refused classes are tested as well.
pub(super) fn prefixing(argv: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Refusal> {
    positions(argv).map(|positions| write(PREFIX, argv, &positions).expect("no `*` in the prefix"))
}

/// Rewriting switched off.
pub(super) fn nothing(argv: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Refusal> {
    positions(argv).map(|_| argv.to_vec())
}

/// Proof 1, checked against the syntax tree: marked arguments carry the prefix, all others are byte-identical.
pub(super) fn check_positions(line: &Line, writer: Writer, faults: &mut Faults) -> bool {
    match writer(&line.argv) {
        Ok(written) if written == expected(line, PREFIX) => return true,
        Ok(written) => {
            let written = Line { roles: Vec::new(), argv: written };
            add(faults, Fault::Positions, line, &written.show());
        }
        Err(refusal) => add(faults, Fault::Positions, line, &refusal.to_string()),
    }
    false
}

/// The keys that COMMAND GETKEYS finds in the lines; `None` where it has no answer.
pub(super) fn server_keys(connection: &mut Connection, lines: &[&[Vec<u8>]]) -> Vec<Option<Vec<Vec<u8>>>> {
    let questions: Vec<Vec<&[u8]>> = lines
        .iter()
        .map(|argv| {
            let question = [&b"COMMAND"[..], b"GETKEYS"].into_iter();
            question.chain(argv.iter().map(Vec::as_slice)).collect()
        })
        .collect();
    let answers = connection.ask_all(&questions).into_iter();
    answers
        .map(|answer| match answer {
            Value::ServerError(error) => {
                error.details().is_some_and(|text| text.contains("no key arguments")).then(Vec::new)
            }
            value => {
                let mut keys = Vec::new();
                strings(&value, &mut keys);
                Some(keys.into_iter().map(<[u8]>::to_vec).collect())
            }
        })
        .collect()
}
