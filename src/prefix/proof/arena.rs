//! A database with the same names inside and outside the prefix, in which the lines of the corpus are run.

use redis::Value;
use redis_actix_corpus::{Line, escape};
use redis_actix_test::RedisServer;

use super::PREFIX;
use super::checks::{Fault, Faults, Writer, add};
use super::connection::{Connection, connect, strings};
use crate::prefix::policy::{Policy, policy};
use crate::prefix::replies::{reply_keys, strip};

/// The user that runs a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    /// Limited by ACL to keys with the prefix.
    Limited,
    /// Unlimited: access outside the prefix is not stopped by the ACL, and shows in the footprint and in the reply.
    Unlimited,
}

/// Lines per round trip. Their setup, the lines themselves and the checks of their effects form one pipeline.
const TOGETHER: usize = 64;
const SECRET: &[u8] = b"decoy-secret";

type Argv = Vec<Vec<u8>>;

pub(super) struct Arena {
    connection: Connection,
    user: User,
    /// Lines that were run, and lines that succeeded.
    pub(super) ran: usize,
    pub(super) succeeded: usize,
}

/// Creates the user that may access keys with `prefix` only.
pub(super) fn admit_tenant(connection: &mut Connection, prefix: &[u8]) {
    let pattern = escape(prefix);
    let rules: [&[u8]; 10] = [
        b"ACL",
        b"SETUSER",
        b"tenant",
        b"reset",
        b"on",
        b">pw",
        b"+@all",
        &[b"~", pattern.as_slice(), b"*"].concat(),
        &[b"&", pattern.as_slice(), b"*"].concat(),
        &[b"&__keyspace@0__:", pattern.as_slice(), b"*"].concat(),
    ];
    assert_eq!(connection.ask(&rules), Value::Okay);
}

/// One line with its setup and its checks.
struct Run<'a> {
    line: &'a Line,
    decoys: Vec<Vec<u8>>,
    script: Vec<Argv>,
    /// The offsets in the script at which its parts begin.
    before: usize,
    itself: usize,
    after: usize,
}

impl Arena {
    /// Connects as a user with RESP `protocol`.
    pub(super) fn new(server: &RedisServer, user: User, protocol: u8) -> Self {
        let mut connection = connect(server);
        admit_tenant(&mut connection, PREFIX);
        let hello = connection.ask(&["HELLO", &protocol.to_string()]);
        assert!(!matches!(hello, Value::ServerError(_)), "{hello:?}");
        Self { connection, user, ran: 0, succeeded: 0 }
    }

    /// Proofs 2 and 3, and the replies. Runs the lines that the policy allows.
    pub(super) fn run(&mut self, lines: &[Line], writer: Writer, faults: &mut Faults) {
        let allowed = |line: &&Line| matches!(policy(&line.argv), Policy::Allowed | Policy::Blocking);
        let runs: Vec<(&Line, Argv)> =
            lines.iter().filter(allowed).filter_map(|line| Some((line, writer(&line.argv).ok()?))).collect();
        for together in runs.chunks(TOGETHER) {
            let again = self.exchange(together, self.user, faults);
            // SORT requires access to all keys before it evaluates patterns, so only its footprint and its reply can
            // be checked.
            self.exchange(&again, User::Unlimited, faults);
            self.ran += together.len();
        }
    }

    /// Runs lines in sequence. Returns those that the ACL refused for insufficient permissions.
    fn exchange<'a>(&mut self, lines: &[(&'a Line, Argv)], user: User, faults: &mut Faults) -> Vec<(&'a Line, Argv)> {
        let runs: Vec<Run<'_>> = lines.iter().map(|(line, written)| Run::new(line, written, user)).collect();
        let script: Vec<&Argv> = runs.iter().flat_map(|run| &run.script).collect();
        let mut replies = self.connection.ask_all(&script).into_iter();
        let mut again = Vec::new();
        for (run, (line, written)) in runs.iter().zip(lines) {
            let replies: Vec<Value> = replies.by_ref().take(run.script.len()).collect();
            for (asked, reply) in run.script.iter().zip(&replies).take(run.before) {
                assert!(!matches!(reply, Value::ServerError(_)), "{asked:?}: {reply:?}");
            }
            let reply = &replies[run.itself];
            if let Value::ServerError(error) = reply {
                let text = error.details().unwrap_or_default();
                if error.code() == "NOPERM" {
                    add(faults, Fault::NoPermission, line, text);
                }
                if text.contains("insufficient ACL permissions") {
                    again.push((*line, written.clone()));
                }
            } else {
                self.succeeded += 1;
            }
            run.check_footprint(&replies, faults);
            run.check_reply(reply.clone(), faults);
        }
        again
    }
}

impl<'a> Run<'a> {
    fn new(line: &'a Line, written: &Argv, user: User) -> Self {
        let words = |words: &[&[u8]]| -> Argv { words.iter().map(|word| word.to_vec()).collect() };
        let (decoys, mut script) = Self::seed(line);
        let before = script.len();
        let digest = |script: &mut Vec<Argv>| {
            for decoy in &decoys {
                script.push(words(&[b"DUMP", decoy]));
                script.push(words(&[b"PTTL", decoy]));
            }
        };
        digest(&mut script);
        if user == User::Limited {
            script.push(words(&[b"AUTH", b"tenant", b"pw"]));
        }
        let itself = script.len();
        script.push(written.clone());
        if user == User::Limited {
            script.push(words(&[b"AUTH", b"default", b"any"]));
        }
        let after = script.len();
        digest(&mut script);
        script.push(words(&[b"KEYS", b"*"]));
        Self { line, decoys, script, before, itself, after }
    }

    /// Creates the keys of the line inside and outside the prefix. Returns the names of those outside.
    fn seed(line: &Line) -> (Vec<Vec<u8>>, Vec<Argv>) {
        let mut names: Vec<Vec<u8>> = vec![b"outside".to_vec(), b"w_1".to_vec()];
        for (_, _, name) in line.named() {
            names.push(name.to_vec());
            names.push(String::from_utf8_lossy(name).replace('*', "1").into_bytes());
        }
        names.sort();
        names.dedup();

        let mut script: Vec<Argv> = vec![vec![b"FLUSHALL".to_vec()]];
        let command = line.argv[0].to_ascii_lowercase();
        for name in &names {
            script.push(fill(&command, &[PREFIX, name].concat(), b"own"));
            if !name.starts_with(PREFIX) {
                script.push(fill(&command, name, SECRET));
            }
        }
        names.retain(|name| !name.starts_with(PREFIX));
        (names, script)
    }

    fn check_footprint(&self, replies: &[Value], faults: &mut Faults) {
        let digests = 2 * self.decoys.len();
        if replies[self.before..self.before + digests] != replies[self.after..self.after + digests] {
            add(faults, Fault::Footprint, self.line, "a decoy changed");
        }
        let mut names = Vec::new();
        strings(&replies[self.after + digests], &mut names);
        for name in names {
            if !name.starts_with(PREFIX) && !self.decoys.iter().any(|decoy| decoy == name) {
                add(faults, Fault::Footprint, self.line, &name.escape_ascii().to_string());
            }
        }
    }

    fn check_reply(&self, reply: Value, faults: &mut Faults) {
        let line = self.line;
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
        // A caller's own name may contain the prefix again.
        let repeats = line.named().any(|(_, _, name)| name.starts_with(PREFIX));
        if !repeats && holds(PREFIX) {
            add(faults, Fault::ReplyNames, line, &format!("{reply:?}"));
        }
    }
}

/// Creates a key of the type that the command operates on.
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
