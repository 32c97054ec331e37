//! What an error reply proves about the command that it answers. Every decision that depends on an error code is made here.
//!
//! A server replies with BUSY, MOVED and the like before it executes a command. A script, a function or a module command may
//! reply with the same codes after it has run, as in `return redis.error_reply('BUSY the lock is taken')`. So a code alone
//! proves nothing, unless the command only reads: the text has to be one that servers use.

use redis::{ServerError, Value};

use crate::error::{Error, ErrorKind, Fate};
use crate::frame::{Frame, Unit};
use crate::prefix::table;

/// A reason for which a server does not execute a command, and that this crate acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerRefusal {
    Loading,
    Busy,
    MasterDown,
    TryAgain,
    ClusterDown,
    Moved,
    Ask,
    NoScript,
    ReadOnly,
    NoAuth,
}

/// What an error reply proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorVerdict {
    /// The command was not executed, whatever it is: it may be sent again.
    NotRun(ServerRefusal),
    /// The command changed nothing, and would be refused again.
    Rejected,
    /// The command may have run, or a part of it.
    MayHaveRun,
}

impl ErrorVerdict {
    /// The fate of a command that was answered so on the first link it was sent on.
    pub(crate) fn fate(self) -> Fate {
        match self {
            Self::NotRun(_) | Self::Rejected => Fate::Rejected,
            Self::MayHaveRun => Fate::Unknown,
        }
    }

    /// As [`fate`](Self::fate), where this reply is all that will be known. A script that ran can have written the text of a
    /// server that is not ready. Of a script that the server does not have, callers rely on the reply.
    pub(crate) fn final_fate(self, command: CommandFacts<'_>) -> Fate {
        let may_be_written = |refusal: ServerRefusal| match refusal {
            ServerRefusal::NoScript => !command.is_by_digest(),
            refusal => refusal.is_not_now(),
        };
        match self {
            Self::NotRun(refusal) if command.may_forge() && may_be_written(refusal) => Fate::Unknown,
            verdict => verdict.fate(),
        }
    }

    pub(crate) fn not_run(self) -> Option<ServerRefusal> {
        match self {
            Self::NotRun(refusal) => Some(refusal),
            Self::Rejected | Self::MayHaveRun => None,
        }
    }
}

/// What has to be known of a command to judge an error reply to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommandFacts<'a> {
    name: &'a [u8],
    /// It runs code of users or modules: EVAL, FCALL, module commands, and every command that is not known here.
    user_code: bool,
    /// It changes nothing, so that it may run as often as it likes.
    reads: bool,
    /// The slot of its keys in a cluster. A redirect of another slot does not come from the node itself.
    slot: Option<u16>,
}

impl<'a> CommandFacts<'a> {
    /// A command whose error replies come from the server itself: MULTI, EXEC, and commands while they are queued.
    pub(crate) const SERVER: Self = Self::named(b"", false, true);

    /// A command of which nothing is known any more.
    pub(crate) const UNKNOWN: Self = Self::named(b"", true, false);

    /// Of a single command; of several see [`of_part`](Self::of_part).
    pub(crate) fn of(frame: &'a Frame) -> Self {
        let name = frame.args().next().unwrap_or_default();
        Self::named(name, runs_user_code(name), frame.is_read())
    }

    /// Of the command at `index` of a pipeline or a transaction.
    pub(crate) fn of_part(unit: &'a Unit, index: usize) -> Self {
        let name = unit.view(index).and_then(|part| part.words().next()).unwrap_or_default();
        let reads = table::lookup(&[name]).is_some_and(|found| found.entry.pure_read());
        Self::named(name, runs_user_code(name), reads)
    }

    const fn named(name: &'a [u8], user_code: bool, reads: bool) -> Self {
        Self { name, user_code, reads, slot: None }
    }

    /// With the slot of all its keys, where that is known.
    pub(crate) fn in_slot(self, slot: Option<u16>) -> Self {
        Self { slot, ..self }
    }

    /// Whether it runs code of users or modules, which can write any error reply.
    pub(crate) fn is_user_code(self) -> bool {
        self.user_code
    }

    /// Whether it names a script that the server may not have.
    fn is_by_digest(self) -> bool {
        self.name.eq_ignore_ascii_case(b"EVALSHA") || self.name.eq_ignore_ascii_case(b"EVALSHA_RO")
    }

    /// Whether it must not run a second time, and its own code could have written any error reply to it.
    pub(crate) fn may_forge(self) -> bool {
        self.user_code && !self.reads
    }
}

fn runs_user_code(name: &[u8]) -> bool {
    let Some(found) = table::lookup(&[name]) else { return true };
    let name = found.name.command;
    matches!(name, "eval" | "evalsha" | "eval_ro" | "evalsha_ro" | "fcall" | "fcall_ro")
        // Modules name their commands so; vector sets are a module of Redis 8.
        || name.contains('.')
        || name.starts_with('v')
}

/// The error of a command as its caller gets it. Nothing that a later link says of a command proves that it did not run on an
/// earlier one.
pub(crate) fn final_error(frame: &Frame, error: Error) -> Error {
    let is_answer = error.kind() == ErrorKind::Server && frame.is_read();
    if frame.may_have_run() && !is_answer { error.with_fate(Fate::Unknown) } else { error }
}

/// The error of one command of a pipeline or a transaction that was executed, as its caller gets it.
pub(crate) fn part_error(frame: &Frame, unit: &Unit, index: usize, error: &ServerError) -> Error {
    let facts = CommandFacts::of_part(unit, index);
    let fate = verdict(error.code(), error.details().unwrap_or_default(), facts).final_fate(facts);
    let fate = if frame.may_have_run() && !facts.reads { Fate::Unknown } else { fate };
    Error::server(error.code(), error.details()).with_fate(fate)
}

/// Judges an error reply: its code, and the text behind it.
pub(crate) fn verdict(code: &str, text: &str, command: CommandFacts<'_>) -> ErrorVerdict {
    let may_have_run = if command.reads { ErrorVerdict::Rejected } else { ErrorVerdict::MayHaveRun };
    match ServerRefusal::of_code(code) {
        // A script may have written this text as well. Which slot its keys are in, it hardly writes by chance.
        Some(ServerRefusal::Moved | ServerRefusal::Ask)
            if command.may_forge() && (command.slot.is_none() || slot_in(text) != command.slot) =>
        {
            may_have_run
        }
        Some(refusal) if refusal.is_text_of_servers(text) => ErrorVerdict::NotRun(refusal),
        // From a script it is the reply to a command in it, and an earlier command may have published a message.
        Some(ServerRefusal::ReadOnly) if !command.user_code && READ_ONLY.contains(&text) => {
            ErrorVerdict::NotRun(ServerRefusal::ReadOnly)
        }
        Some(refusal) if command.reads && !command.user_code => ErrorVerdict::NotRun(refusal),
        Some(_) => may_have_run,
        None if command.user_code && !is_before_execution(code, text, command.name) => may_have_run,
        // MIGRATE: the other server did not answer.
        None if code == "IOERR" => may_have_run,
        None => ErrorVerdict::Rejected,
    }
}

/// As [`verdict`], for a reply. `None`: it is no error.
pub(crate) fn of_reply(reply: &Value, command: CommandFacts<'_>) -> Option<ErrorVerdict> {
    match reply {
        Value::ServerError(error) => Some(verdict(error.code(), error.details().unwrap_or_default(), command)),
        _ => None,
    }
}

/// As [`verdict`], for an error that was made from a reply. `None`: it was not.
pub(crate) fn of_error(error: &Error, command: CommandFacts<'_>) -> Option<ErrorVerdict> {
    Some(verdict(error.code()?, error.message(), command))
}

/// Why the server did not execute the command that it answered so.
pub(crate) fn not_run(reply: &Value, command: CommandFacts<'_>) -> Option<ServerRefusal> {
    of_reply(reply, command)?.not_run()
}

/// Why this link is of no use to any other command, if the reply says so: the server is a replica now, does not know the login
/// any more, or has given the slot away.
///
/// A script that writes has this from the command that it called, so the text may be followed by the place in the script.
pub(crate) fn leaves_link(reply: &Value, command: CommandFacts<'_>) -> Option<ServerRefusal> {
    let Value::ServerError(error) = reply else { return None };
    let text = error.details().unwrap_or_default();
    // Up to Redis 6.2: `ERR Error running script (call to f_...): @user_script:1: -READONLY You can't write against ...`.
    if command.user_code && error.code() == "ERR" && text.starts_with("Error running script (call to f_") {
        let inner = text.split_once(": -READONLY ").map(|(_, inner)| inner.trim_end());
        return inner.filter(|inner| READ_ONLY.contains(inner)).map(|_| ServerRefusal::ReadOnly);
    }
    let refusal = ServerRefusal::of_code(error.code())?;
    let is_meant = matches!(refusal, ServerRefusal::ReadOnly | ServerRefusal::NoAuth | ServerRefusal::Moved);
    let is_inner = refusal == ServerRefusal::ReadOnly && READ_ONLY.iter().any(|known| text.starts_with(known));
    let is_proven = || verdict(error.code(), text, command).not_run() == Some(refusal);
    (is_meant && (!command.user_code || is_inner || is_proven())).then_some(refusal)
}

/// The error replies to a pipeline or a transaction, each with what it is a reply to.
pub(crate) fn unit_errors<'a>(
    unit: &'a Unit,
    replies: &'a [Value],
) -> impl Iterator<Item = (&'a Value, CommandFacts<'a>)> {
    unit_errors_in(unit, replies, |_| None)
}

/// As [`unit_errors`], where the slot of the command at an index is known.
pub(crate) fn unit_errors_in<'a>(
    unit: &'a Unit,
    replies: &'a [Value],
    slot_of: impl Fn(usize) -> Option<u16>,
) -> impl Iterator<Item = (&'a Value, CommandFacts<'a>)> {
    // Of a transaction, the replies to MULTI and EXEC stand around those to the commands, which are queued meanwhile. Without
    // MULTI the server executes them one by one.
    let is_queued = unit.is_atomic() && !replies.first().is_some_and(is_error);
    let (first, last) = if unit.is_atomic() { (1, replies.len().saturating_sub(1)) } else { (0, replies.len()) };
    replies.iter().enumerate().filter(|(_, reply)| is_error(reply)).map(move |(at, reply)| {
        let facts = if is_queued || at < first || at >= last {
            CommandFacts::SERVER
        } else {
            let facts = CommandFacts::of_part(unit, at - first);
            if facts.may_forge() { facts.in_slot(slot_of(at - first)) } else { facts }
        };
        (reply, facts)
    })
}

pub(crate) fn is_error(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(_))
}

const READ_ONLY: [&str; 2] =
    ["You can't write against a read only replica.", "You can't write against a read only slave."];

impl ServerRefusal {
    pub(crate) fn of_code(code: &str) -> Option<Self> {
        Some(match code {
            "LOADING" => Self::Loading,
            "BUSY" => Self::Busy,
            "MASTERDOWN" => Self::MasterDown,
            "TRYAGAIN" => Self::TryAgain,
            "CLUSTERDOWN" => Self::ClusterDown,
            "MOVED" => Self::Moved,
            "ASK" => Self::Ask,
            "NOSCRIPT" => Self::NoScript,
            "READONLY" => Self::ReadOnly,
            "NOAUTH" => Self::NoAuth,
            _ => return None,
        })
    }

    /// The server will execute commands later.
    pub(crate) fn is_not_now(self) -> bool {
        matches!(self, Self::Loading | Self::Busy | Self::MasterDown | Self::TryAgain | Self::ClusterDown)
    }

    /// The command belongs to another node of the cluster, or the cluster has none for it at the moment.
    pub(crate) fn is_redirect(self) -> bool {
        matches!(self, Self::Moved | Self::Ask | Self::TryAgain | Self::ClusterDown | Self::MasterDown)
    }

    /// Whether servers reply so before they execute a command. From Redis 2.8 on, Valkey and the forks, whose own name stands
    /// where Redis has `Redis`.
    fn is_text_of_servers(self, text: &str) -> bool {
        match self {
            Self::Loading => behind_name(text) == Some("is loading the dataset in memory"),
            Self::Busy => behind_name(text).is_some_and(|text| {
                let calls = text.strip_prefix("is busy running a script. You can only call ");
                text == "is busy running a module command."
                    || matches!(calls, Some("SCRIPT KILL or SHUTDOWN NOSAVE." | "FUNCTION KILL or SHUTDOWN NOSAVE."))
            }),
            Self::MasterDown => {
                let known = text.strip_prefix("Link with MASTER is down");
                known.is_some_and(|rest| [" and ", ", "].iter().any(|joint| rest.starts_with(joint)))
                    && (text.ends_with("-serve-stale-data is set to 'no'.")
                        || text.ends_with("flag is not set on the script."))
            }
            Self::TryAgain => {
                matches!(text, "Multiple keys request during rehashing of slot" | "Slot is being trimmed")
            }
            Self::ClusterDown => matches!(
                text,
                "The cluster is down"
                    | "The cluster is down. Use CLUSTER INFO for more information"
                    | "The cluster is down and only accepts read commands"
                    | "Hash slot not served"
                    | "Hash slot is unbound"
            ),
            Self::Moved | Self::Ask => is_slot_and_address(text),
            Self::NoScript => matches!(text, "No matching script. Please use EVAL." | "No matching script."),
            Self::ReadOnly => text == "Can not run script with write flag on readonly replica",
            Self::NoAuth => text == "Authentication required.",
        }
    }
}

/// The slot that a redirect names.
fn slot_in(text: &str) -> Option<u16> {
    text.split(' ').next()?.parse().ok()
}

/// What follows the one word that names the server.
fn behind_name(text: &str) -> Option<&str> {
    text.split_once(' ').map(|(_, rest)| rest)
}

/// `3999 127.0.0.1:6381` and nothing else.
fn is_slot_and_address(text: &str) -> bool {
    let mut words = text.split(' ');
    let slot = words.next().is_some_and(|slot| slot.parse::<u16>().is_ok());
    let port = words.next().and_then(|address| address.rsplit_once(':')?.1.parse::<u16>().ok());
    slot && port.is_some_and(|port| port != 0) && words.next().is_none()
}

/// Whether a server says so of a script, a function or a module command that it has not started. What such a command may pass
/// on from a command that it has called, after others that it has called, is not among these.
fn is_before_execution(code: &str, text: &str, name: &[u8]) -> bool {
    let begins = |with: &[&str]| with.iter().any(|known| text.starts_with(known));
    match code {
        "NOPERM" => begins(&["this user has no permissions to", "User "]),
        "OOM" => begins(&["allow-oom flag is not set on the script"]),
        "MISCONF" => text.contains("Writable scripts are blocked"),
        "CROSSSLOT" => text == "Keys in request don't hash to the same slot",
        "ERR" => {
            begins(&["Error compiling script", "Number of keys can't be", "Can not run script on cluster"])
                || matches!(text, "Function not found" | "Bad number of keys provided")
                || begins(&["unknown command", "wrong number of arguments for"]) && quotes(text, name)
        }
        _ => false,
    }
}

/// Whether the first quoted word is the name of the command: what a script calls has another one.
fn quotes(text: &str, name: &[u8]) -> bool {
    let mut parts = text.split(['\'', '`']);
    parts.nth(1).is_some_and(|quoted| quoted.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
