//! Adds the prefix to a whole command line, for tests, tooling and commands that are not typed messages.

use super::glob::push_escaped;
use super::marks::{Form, Positions};
use super::policy::policy;
use super::positions::{Refusal, positions};
use super::table::lookup;

const STAR: &str = "the server replaces the first `*` of a SORT pattern, and the configured prefix contains one: choose a prefix without it";

/// Properties of a line that may be sent.
pub(crate) struct Judged {
    pub(crate) positions: Positions,
    /// Running it twice has the effect of running it once.
    pub(crate) only_reads: bool,
}

/// Locates the keys of a line, or returns the reason why it is not sent.
pub(crate) fn allowed(argv: &[impl AsRef<[u8]>]) -> Result<Judged, Refusal> {
    let found = lookup(argv).ok_or_else(|| Refusal::unknown(argv))?;
    let class = policy(argv);
    if let Some(reason) = class.refusal() {
        return Err(Refusal::Policy { command: found.name, class, reason });
    }
    Ok(Judged { positions: positions(argv)?, only_reads: found.entry.pure_read() })
}

/// The line as it is sent, or the reason why it is not sent.
pub(crate) fn rewrite(prefix: &[u8], argv: &[impl AsRef<[u8]>]) -> Result<Vec<Vec<u8>>, Refusal> {
    let Judged { positions, .. } = allowed(argv)?;
    write(prefix, argv, &positions).ok_or_else(|| match lookup(argv) {
        Some(found) => Refusal::Arguments { command: found.name, reason: STAR },
        None => Refusal::unknown(argv),
    })
}

/// Inserts the prefix at `positions`. Returns `None` if a `SORT` pattern would get a `*` from the prefix.
pub(crate) fn write(prefix: &[u8], argv: &[impl AsRef<[u8]>], positions: &Positions) -> Option<Vec<Vec<u8>>> {
    let mut line: Vec<Vec<u8>> = argv.iter().map(|arg| arg.as_ref().to_vec()).collect();
    if prefix.is_empty() {
        return Some(line);
    }
    for mark in &positions.marks {
        let arg = line.get_mut(mark.index)?;
        let (before, after) = arg.split_at_checked(mark.offset)?;
        let mut written = Vec::with_capacity(arg.len() + prefix.len());
        written.extend_from_slice(before);
        match mark.form {
            Form::Pattern => push_escaped(prefix, &mut written),
            Form::Template if prefix.contains(&b'*') => return None,
            Form::Key | Form::Template => written.extend_from_slice(prefix),
        }
        written.extend_from_slice(after);
        *arg = written;
    }
    if positions.lacks_match {
        let mut everything = Vec::with_capacity(prefix.len() + 1);
        push_escaped(prefix, &mut everything);
        everything.push(b'*');
        line.push(b"MATCH".to_vec());
        line.push(everything);
    }
    Some(line)
}
