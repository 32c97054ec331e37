//! The expected result of a line, and the commands for which `COMMAND GETKEYS` is wrong.

use crate::{Line, Role};

/// The one kind of notification channel in the lines: the key comes behind the colon.
const KEYSPACE: &[u8] = b"__keyspace@0__:";

/// `text` as a glob pattern that matches nothing else.
#[must_use]
pub fn escape(text: &[u8]) -> Vec<u8> {
    let special = |byte: &u8| b"*?[\\".contains(byte);
    text.iter().flat_map(|byte| special(byte).then_some(b'\\').into_iter().chain([*byte])).collect()
}

/// The line with the prefix written in, by the roles of its tree.
#[must_use]
pub fn expected(line: &Line, prefix: &[u8]) -> Vec<Vec<u8>> {
    let mut wanted = line.argv.clone();
    let mut has_match = false;
    for (at, role, name) in line.named() {
        has_match |= role == Role::Glob;
        let behind = if name.starts_with(KEYSPACE) { KEYSPACE.len() } else { 0 };
        let (offset, prefix) = match role {
            Role::Template if !name.contains(&b'*') => continue,
            // The server reads a C string.
            Role::Template if name.starts_with(b"\0") => continue,
            Role::Key | Role::Template | Role::Plain => (0, prefix.to_vec()),
            Role::Glob => (0, escape(prefix)),
            Role::Channel => (behind, prefix.to_vec()),
            Role::ChannelPattern => (behind, escape(prefix)),
        };
        wanted[at].splice(offset..offset, prefix);
    }
    if line.argv[0].eq_ignore_ascii_case(b"SCAN") && !has_match {
        wanted.push(b"MATCH".to_vec());
        wanted.push([escape(prefix), b"*".to_vec()].concat());
    }
    wanted
}

/// Whether the server's `COMMAND GETKEYS` is missing or wrong for the line, by the design's own list.
#[must_use]
pub fn server_is_wrong(line: &Line) -> bool {
    let name = line.argv[0].to_ascii_lowercase();
    match name.as_slice() {
        // Patterns are not reported; of several STORE options only the last.
        b"sort" | b"sort_ro" => line.roles.contains(&Role::Template) || line.argv.len() > 3,
        b"georadius" | b"georadiusbymember" => true,
        b"xread" | b"xreadgroup" => {
            let words = line.argv.iter().zip(&line.roles);
            words.filter(|(arg, _)| arg.eq_ignore_ascii_case(b"STREAMS")).count() > 1
        }
        b"migrate" => true,
        b"pfmerge" => line.argv.len() == 2,
        b"cluster" => true,
        // Shard channels are reported as keys.
        b"spublish" | b"ssubscribe" | b"sunsubscribe" => true,
        _ => false,
    }
}
