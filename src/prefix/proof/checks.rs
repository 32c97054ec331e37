//! What must hold for one line, and the faults that are found when it does not.

use std::collections::BTreeMap;

use redis::Value;

use super::PREFIX;
use super::corpus::{Line, Role};
use super::server::{Connection, Server, strings};
use crate::prefix::channels::{Channel, channel, channel_pattern};
use crate::prefix::glob::escape_glob;
use crate::prefix::policy::{Policy, policy};
use crate::prefix::positions::{Refusal, positions};
use crate::prefix::replies::{reply_keys, strip};
use crate::prefix::rewrite::write;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The written line is not what the tree says.
    Positions,
    /// The server finds other keys in the written line than the prefixed ones.
    ServerKeys,
    /// A user limited to the prefix was refused.
    NoPermission,
    /// A key outside the prefix was changed or made.
    Footprint,
    /// A reply showed what a key outside the prefix holds.
    Contents,
    /// A reply showed the prefix, or a name without it.
    ReplyNames,
}

pub(super) type Faults = BTreeMap<Fault, Vec<String>>;

pub(super) fn add(faults: &mut Faults, fault: Fault, line: &Line, detail: &str) {
    let what = format!("{} -> {detail}", line.show());
    faults.entry(fault).or_default().push(what);
}

/// How a line is written: the function under test, or one that does nothing.
pub(super) type Writer = fn(&[Vec<u8>]) -> Result<Vec<Vec<u8>>, Refusal>;

/// Positions and writing without the policy, which would leave the refused classes untried.
pub(super) fn prefixing(argv: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Refusal> {
    positions(argv).map(|positions| write(PREFIX, argv, &positions).expect("no `*` in the prefix"))
}

/// Prefixing switched off.
pub(super) fn nothing(argv: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Refusal> {
    positions(argv).map(|_| argv.to_vec())
}

/// The written line by the roles of its tree; `None` when it must be refused.
fn expected(line: &Line) -> Option<Vec<Vec<u8>>> {
    let mut wanted = line.argv.clone();
    let mut has_match = false;
    for (at, role, name) in line.named() {
        has_match |= role == Role::Glob;
        let (offset, prefix) = match role {
            Role::Template if !name.contains(&b'*') => continue,
            // The server reads a C string.
            Role::Template if name.starts_with(b"\0") => continue,
            Role::Key | Role::Template | Role::Plain => (0, PREFIX.to_vec()),
            Role::Glob => (0, escape_glob(PREFIX)),
            Role::Channel => match channel(name) {
                Channel::At(offset) => (offset, PREFIX.to_vec()),
                Channel::Keyevent => continue,
                Channel::Refused(_) => return None,
            },
            Role::ChannelPattern => match channel_pattern(name) {
                Channel::At(offset) => (offset, escape_glob(PREFIX)),
                Channel::Keyevent => continue,
                Channel::Refused(_) => return None,
            },
        };
        wanted[at].splice(offset..offset, prefix);
    }
    if line.argv[0].eq_ignore_ascii_case(b"SCAN") && !has_match {
        wanted.push(b"MATCH".to_vec());
        wanted.push([escape_glob(PREFIX), b"*".to_vec()].concat());
    }
    Some(wanted)
}

/// Proof 1, the tree's half: marked arguments carry the prefix, all others are byte-identical.
pub(super) fn check_positions(line: &Line, writer: Writer, faults: &mut Faults) -> bool {
    match (writer(&line.argv), expected(line)) {
        (Ok(written), Some(wanted)) if written == wanted => return true,
        (Ok(written), _) => {
            let written = Line { roles: Vec::new(), argv: written };
            add(faults, Fault::Positions, line, &written.show());
        }
        (Err(_), None) => {}
        (Err(refusal), Some(_)) => add(faults, Fault::Positions, line, &refusal.to_string()),
    }
    false
}

/// What the server's own COMMAND GETKEYS says of the lines; `None` where it has no answer.
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

/// Where the server's answer is missing or wrong, by the document's own list.
pub(super) fn server_is_wrong(line: &Line) -> bool {
    let name = line.argv[0].to_ascii_lowercase();
    match name.as_slice() {
        // Patterns are not told; of several STORE the last.
        b"sort" | b"sort_ro" => line.roles.contains(&Role::Template) || line.argv.len() > 3,
        b"georadius" | b"georadiusbymember" => true,
        b"xread" | b"xreadgroup" => {
            let words = line.argv.iter().zip(&line.roles);
            words.filter(|(arg, _)| arg.eq_ignore_ascii_case(b"STREAMS")).count() > 1
        }
        b"migrate" => true,
        b"pfmerge" => line.argv.len() == 2,
        b"cluster" => true,
        // Shard channels are told as if they were keys.
        b"spublish" | b"ssubscribe" | b"sunsubscribe" => true,
        _ => false,
    }
}

/// Who runs a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// May reach the prefix only.
    Limited,
    /// May do anything: what the ACL would have stopped shows in the footprint and in the reply.
    Unlimited,
}

/// A database with the same names inside and outside the prefix.
pub(super) struct Arena {
    admin: Connection,
    tenant: Connection,
    /// Lines that were run, and those that were run without an error.
    pub(super) ran: usize,
    pub(super) succeeded: usize,
}

const SECRET: &[u8] = b"decoy-secret";

impl Arena {
    /// With a user who speaks RESP `protocol`.
    pub(super) fn new(server: &Server, user: User, protocol: u8) -> Self {
        let mut admin = server.connect();
        let pattern = escape_glob(PREFIX);
        let rules: Vec<Vec<u8>> = vec![
            b"ACL".to_vec(),
            b"SETUSER".to_vec(),
            b"tenant".to_vec(),
            b"reset".to_vec(),
            b"on".to_vec(),
            b">pw".to_vec(),
            b"+@all".to_vec(),
            [b"~", pattern.as_slice(), b"*"].concat(),
            [b"&", pattern.as_slice(), b"*"].concat(),
            [b"&__keyspace@0__:", pattern.as_slice(), b"*"].concat(),
        ];
        assert_eq!(admin.ask(&rules), Value::Okay);
        let mut tenant = server.connect();
        let protocol = protocol.to_string();
        let hello = match user {
            User::Limited => tenant.ask(&["HELLO", &protocol, "AUTH", "tenant", "pw"]),
            User::Unlimited => tenant.ask(&["HELLO", &protocol]),
        };
        assert!(!matches!(hello, Value::ServerError(_)), "{hello:?}");
        Self { admin, tenant, ran: 0, succeeded: 0 }
    }

    /// Proofs 2 and 3, and the reply. Runs what the policy lets through.
    pub(super) fn run(&mut self, line: &Line, writer: Writer, faults: &mut Faults) {
        if !matches!(policy(&line.argv), Policy::Allowed | Policy::Blocking) {
            return;
        }
        let Ok(written) = writer(&line.argv) else {
            return;
        };
        let decoys = self.seed(line);
        let before = self.digest(&decoys);

        let mut reply = self.tenant.ask(&written);
        if let Value::ServerError(error) = &reply {
            let text = error.details().unwrap_or_default();
            if error.code() == "NOPERM" {
                add(faults, Fault::NoPermission, line, text);
            }
            // SORT asks for all keys before it looks at patterns; its footprint and its reply remain to be seen.
            if text.contains("insufficient ACL permissions") {
                reply = self.admin.ask(&written);
            }
        }

        self.ran += 1;
        self.succeeded += usize::from(!matches!(reply, Value::ServerError(_)));

        if self.digest(&decoys) != before {
            add(faults, Fault::Footprint, line, "a decoy changed");
        }
        let keys = self.admin.ask(&["KEYS", "*"]);
        let mut names = Vec::new();
        strings(&keys, &mut names);
        for name in names {
            if !name.starts_with(PREFIX) && !decoys.iter().any(|decoy| decoy == name) {
                add(faults, Fault::Footprint, line, &name.escape_ascii().to_string());
            }
        }
        Self::check_reply(line, reply, faults);
    }

    fn check_reply(line: &Line, reply: Value, faults: &mut Faults) {
        let (reply, leaked) = strip(reply_keys(&line.argv), PREFIX, reply);
        if leaked > 0 {
            add(faults, Fault::ReplyNames, line, "a name without the prefix");
        }
        let mut texts = Vec::new();
        strings(&reply, &mut texts);
        let holds = |needle: &[u8]| texts.iter().any(|text| text.windows(needle.len()).any(|part| part == needle));
        if holds(SECRET) {
            add(faults, Fault::Contents, line, "the contents of a decoy");
        }
        // A caller's own name may repeat the prefix.
        let repeats = line.named().any(|(_, _, name)| name.starts_with(PREFIX));
        if !repeats && holds(PREFIX) {
            add(faults, Fault::ReplyNames, line, &format!("{reply:?}"));
        }
    }

    /// Makes the line's keys, inside the prefix and outside; the names of those outside.
    fn seed(&mut self, line: &Line) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = vec![b"outside".to_vec(), b"w_1".to_vec()];
        for (_, _, name) in line.named() {
            names.push(name.to_vec());
            names.push(String::from_utf8_lossy(name).replace('*', "1").into_bytes());
        }
        names.sort();
        names.dedup();

        let mut lines: Vec<Vec<Vec<u8>>> = vec![vec![b"FLUSHALL".to_vec()]];
        let command = line.argv[0].to_ascii_lowercase();
        for name in &names {
            lines.push(fill(&command, &[PREFIX, name].concat(), b"own"));
            if !name.starts_with(PREFIX) {
                lines.push(fill(&command, name, SECRET));
            }
        }
        for reply in self.admin.ask_all(&lines) {
            assert!(!matches!(reply, Value::ServerError(_)), "{reply:?}");
        }
        names.retain(|name| !name.starts_with(PREFIX));
        names
    }

    fn digest(&mut self, decoys: &[Vec<u8>]) -> Vec<Value> {
        let mut lines: Vec<Vec<&[u8]>> = Vec::new();
        for decoy in decoys {
            lines.push(vec![b"DUMP", decoy]);
            lines.push(vec![b"PTTL", decoy]);
        }
        self.admin.ask_all(&lines)
    }
}

/// A key of the type that the command works on.
fn fill(command: &[u8], name: &[u8], content: &[u8]) -> Vec<Vec<u8>> {
    let name_of = String::from_utf8_lossy(command).into_owned();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name_of.starts_with(prefix));
    let words: Vec<&[u8]> = if starts(&["geo"]) {
        vec![b"GEOADD", name, b"1", b"1", content]
    } else if starts(&["pf"]) {
        vec![b"PFADD", name, content]
    } else if starts(&["z", "bz"]) {
        vec![b"ZADD", name, b"1", content]
    } else if starts(&["x"]) {
        vec![b"XADD", name, b"1-1", b"f", content]
    } else if starts(&["h"]) {
        vec![b"HSET", name, content, content]
    } else if starts(&["sort"]) && name.ends_with(b"1") {
        vec![b"SET", name, content]
    } else if starts(&["sort"]) {
        vec![b"RPUSH", name, b"1"]
    } else if starts(&["sa", "sc", "sd", "si", "sm", "sp", "sr", "su"]) {
        vec![b"SADD", name, content]
    } else if starts(&["l", "bl", "br", "rp"]) {
        vec![b"RPUSH", name, content, content, content]
    } else {
        vec![b"SET", name, content]
    };
    words.into_iter().map(<[u8]>::to_vec).collect()
}
