//! Channel names, and the byte at which the prefix is inserted.
//!
//! An ordinary channel takes the prefix in front. A keyspace notification channel names a key after the colon, so the
//! prefix is inserted after the colon. In front of the channel name it would match no notification.

/// Where the prefix goes in a channel name or in a pattern for channel names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    /// At this byte.
    At(usize),
    /// Nowhere: all services share a keyevent channel. Its payload is a key.
    Keyevent,
    /// The name cannot be restricted to the prefix.
    Refused(&'static str),
}

/// Notification kinds whose channel name ends with the key. Those on subkeys exist since Redis 8.8.
const KEY_LAST: [&[u8]; 3] = [b"keyspace", b"subkeyspace", b"subkeyspaceitem"];

/// Why publishing on a keyevent channel is refused.
pub(crate) const ONLY_THE_SERVER: &str =
    "all services share this channel, and only the server publishes on it: publish on a channel of your own";

const SHARED: &str = "this channel carries the keys of other services in a form that cannot be filtered: subscribe to __keyspace@0__:, __subkeyspace@0__: or __keyevent@0__: channels instead";
const VAGUE: &str = "a pattern for notifications must begin with __keyspace@<database>__: or __keyevent@<database>__:, where the database is a number or *";

/// The rule for a channel of SUBSCRIBE or PUBLISH.
pub(crate) fn channel(name: &[u8]) -> Channel {
    let Some((kind, _, end)) = notification(name) else {
        return Channel::At(0);
    };
    by_kind(kind, end)
}

/// The rule for a pattern of channels.
pub(crate) fn channel_pattern(pattern: &[u8]) -> Channel {
    match notification(pattern) {
        Some((kind, _, end)) => by_kind(kind, end),
        // With the prefix in front the pattern would match nothing, and the caller would get no error.
        None if pattern.starts_with(b"__key") || pattern.starts_with(b"__subkey") => Channel::Refused(VAGUE),
        None => Channel::At(0),
    }
}

fn by_kind(kind: &[u8], end: usize) -> Channel {
    if KEY_LAST.contains(&kind) {
        Channel::At(end)
    } else if kind == b"keyevent" {
        Channel::Keyevent
    } else {
        Channel::Refused(SHARED)
    }
}

/// Parses `__<kind>@<database>__:` into the kind, the database and its length.
fn notification(name: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let rest = name.strip_prefix(b"__")?;
    let at = rest.iter().position(|b| *b == b'@')?;
    let (kind, rest) = rest.split_at_checked(at)?;
    let known = KEY_LAST.contains(&kind) || [&b"keyevent"[..], b"subkeyevent", b"subkeyspaceevent"].contains(&kind);
    if !known {
        return None;
    }
    let rest = rest.strip_prefix(b"@")?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let database = if rest.starts_with(b"*") { 1 } else { digits };
    let (database, rest) = rest.split_at_checked(database)?;
    let rest = rest.strip_prefix(b"__:").filter(|_| !database.is_empty())?;
    Some((kind, database, name.len() - rest.len()))
}

/// Which part of a received message holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The caller's part of the channel begins at this byte, and must begin with the prefix.
    Named(usize),
    /// The payload is a key.
    Keyevent,
}

/// The rule for the channel of a received message.
///
/// Stricter than [`channel`]: the database must be a number. A pattern `__keyspace@*__:app:*` also matches
/// `__keyspace@0__:other__:app:x`, which is a notification for a key outside the prefix.
pub(crate) fn source(name: &[u8]) -> Source {
    match notification(name) {
        Some((_, database, _)) if database == b"*" => Source::Named(0),
        Some((b"keyevent", _, _)) => Source::Keyevent,
        Some((kind, _, end)) if KEY_LAST.contains(&kind) => Source::Named(end),
        _ => Source::Named(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyspace_channels_take_the_prefix_after_the_colon() {
        assert_eq!(channel(b"news"), Channel::At(0));
        assert_eq!(channel(b"__keyspace@0__:k"), Channel::At(15));
        assert_eq!(channel(b"__keyspace@12__:"), Channel::At(16));
        assert_eq!(channel(b"__subkeyspace@0__:k"), Channel::At(18));
        assert_eq!(channel(b"__keyevent@0__:del"), Channel::Keyevent);
        assert!(matches!(channel(b"__subkeyevent@0__:hset"), Channel::Refused(_)));
        for ordinary in [&b"__keyspace@__:k"[..], b"__keyspace@x__:k", b"__keyspace@0_:k", b"__keyspace"] {
            assert_eq!(channel(ordinary), Channel::At(0));
        }
    }

    #[test]
    fn a_pattern_without_a_fixed_key_position_is_refused() {
        assert_eq!(channel_pattern(b"__keyspace@*__:k*"), Channel::At(15));
        assert_eq!(channel_pattern(b"__keyevent@*__:*"), Channel::Keyevent);
        assert_eq!(channel_pattern(b"*"), Channel::At(0));
        for vague in [&b"__key*__:*"[..], b"__keyspace@?__:*", b"__keyspace*", b"__keyspace@[01]__:k"] {
            assert!(matches!(channel_pattern(vague), Channel::Refused(_)));
        }
    }

    #[test]
    fn the_prefix_of_a_message_is_checked_after_the_first_colon() {
        assert_eq!(source(b"__keyspace@0__:other__:app:x"), Source::Named(15));
        assert_eq!(source(b"__keyspace@*__:app:x"), Source::Named(0));
        assert_eq!(source(b"__keyevent@3__:set"), Source::Keyevent);
    }
}
