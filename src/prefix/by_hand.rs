//! Checks commands whose keys were marked by the caller.
//!
//! For a command that the table knows, the marks must be exactly the keys of the table. The server cannot detect a
//! wrong mark: a value that gets the prefix is stored as another value, without an error.

use std::time::Duration;

use super::marks::{Form, Mark, Positions};
use super::policy::{Policy, of_container, policy};
use super::positions::{Refusal, positions};
use super::refusal::RefusalClass;
use super::table::{Found, lookup};
use super::waits::wait;
use crate::error::{Error, Result};

const BLOCKING: &str = "it can block, and its maximum wait is not known: set it with `hold()`, and the command gets a dedicated connection";
const NO_TIME: &str = "it can block, and its timeout is not a number of zero or more: correct the timeout argument";
const NO_MATCH: &str =
    "without MATCH it scans the keys of every service: add `.arg(\"MATCH\").pattern(\"*\")`, or use `ScanKeys` instead";
const UNKNOWN: &str = "its keys are unknown to this version: mark them with `key()`, resolve them with `Redis::resolve`, or declare that it has none with `without_keys()`";
const UNKNOWN_SUBCOMMAND: &str = "this subcommand is unknown to this version, and other subcommands of the command affect other callers or services: use `redis.unprefixed()` instead if you operate the server";

/// A command line and the marks that its caller set.
pub(crate) struct Line<'a> {
    pub(crate) argv: &'a [&'a [u8]],
    /// The arguments that the caller marked.
    pub(crate) marked: Positions,
    /// The caller declared that the command has no keys.
    pub(crate) without_keys: bool,
    /// The declared maximum wait.
    pub(crate) hold: Duration,
}

/// Checks whether a command built by hand may be sent on a prefixed connection.
pub(crate) fn judge(line: &Line<'_>) -> Result<()> {
    let argv = line.argv;
    let Some(found) = lookup(argv) else {
        return unknown(line);
    };
    let class = policy(argv);
    if let (Some(words), Some(refusal)) = (class.refusal(), RefusalClass::of(class)) {
        return Err(Error::refused(refusal, words));
    }
    if class == Policy::Blocking {
        check_maximum_wait(line)?;
    }
    let wanted = positions(argv)?;
    if wanted.lacks_match {
        return Err(Error::refused(RefusalClass::Unmarked, NO_MATCH));
    }
    compare(found, &wanted, &line.marked)
}

fn unknown(line: &Line<'_>) -> Result<()> {
    of_unknown_container(line.argv)?;
    if line.without_keys || !line.marked.marks.is_empty() {
        return Ok(());
    }
    Err(Error::refused(RefusalClass::Unknown, UNKNOWN))
}

/// The lower-case name of a command that the table does not know, used as a cache key.
///
/// # Errors
/// If it is an unknown subcommand of a known container: a new `CLIENT` subcommand must not pass as a module command.
pub(crate) fn of_unknown_container(argv: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
    let Some(name) = argv.first() else {
        return Err(Error::refused(RefusalClass::Unknown, "a command needs a name"));
    };
    let known = of_container(argv);
    if known.as_ref().is_some_and(|classes| classes.iter().any(|class| *class != Policy::Allowed)) {
        return Err(Error::refused(RefusalClass::Unknown, UNKNOWN_SUBCOMMAND));
    }
    Ok(name.as_ref().to_ascii_lowercase())
}

fn compare(found: Found, wanted: &Positions, given: &Positions) -> Result<()> {
    for mark in &wanted.marks {
        let form = if mark.form == Form::Pattern { Form::Pattern } else { Form::Key };
        if !given.marks.contains(&Mark { form, ..*mark }) {
            return Err(Error::refused(RefusalClass::Unmarked, unmarked(found, *mark)));
        }
    }
    let is_known = |given: &Mark| wanted.marks.iter().any(|mark| mark.index == given.index);
    match given.marks.iter().find(|mark| !is_known(mark)) {
        Some(mark) => Err(Error::refused(RefusalClass::Arguments, overmarked(found, *mark))),
        None => Ok(()),
    }
}

/// Positions are computed with the marks as given. If an option word or a count is marked, the other positions
/// change, and the marked option word or count is the one that is rejected.
fn overmarked(found: Found, mark: Mark) -> String {
    let what = match (mark.form, found.entry.pubsub()) {
        (Form::Pattern, _) => "a pattern",
        (_, true) => "a channel",
        _ => "a key",
    };
    format!("argument {} of {} is not {what}: use arg()", mark.index, found.name)
}

fn unmarked(found: Found, mark: Mark) -> String {
    let (what, how) = match (mark.form, found.entry.pubsub()) {
        (Form::Pattern, true) => ("a pattern for channels", "channel_pattern()"),
        (_, true) => ("a channel", "channel()"),
        (Form::Pattern, false) => ("a pattern for keys", "pattern()"),
        (Form::Key, false) => ("a key", "key()"),
        (Form::Template, false) => ("a SORT pattern for keys", "key()"),
    };
    format!("argument {} is {what} but is not marked: add it with `{how}`", mark.index)
}

/// Checks whether an operator's command may be sent on the shared connection.
pub(crate) fn judge_unprefixed(line: &Line<'_>) -> Result<()> {
    let argv = line.argv;
    let class = policy(argv);
    let steals = |class| matches!(class, Policy::ConnectionState | Policy::Transaction | Policy::Subscribe);
    if let (true, Some(words), Some(refusal)) = (steals(class), class.refusal(), RefusalClass::of(class)) {
        return Err(Error::refused(refusal, words));
    }
    let unknown = || of_container(argv).is_some_and(|classes| classes.into_iter().any(steals));
    if argv.is_empty() || class == Policy::Unknown && unknown() {
        let words = "it is unknown to this version, and other subcommands of the command change the shared connection for every caller: use a connection of your own instead";
        return Err(Error::refused(RefusalClass::ConnectionState, words));
    }
    if class == Policy::Blocking { check_maximum_wait(line) } else { Ok(()) }
}

fn check_maximum_wait(line: &Line<'_>) -> Result<()> {
    match wait(line.argv) {
        Err(_) => Err(Error::refused(RefusalClass::Arguments, NO_TIME)),
        Ok(None) if line.hold.is_zero() => Err(Error::refused(RefusalClass::Blocking, BLOCKING)),
        Ok(_) => Ok(()),
    }
}

/// Omits the command's name, since an [`Error`] adds it.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let class = refusal.class();
        match refusal {
            Refusal::Unknown { command } => Self::refused(class, UNKNOWN).of_command(command),
            Refusal::Arguments { command, reason } | Refusal::Policy { command, reason, .. } => {
                Self::refused(class, reason).of_command(command.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests;
