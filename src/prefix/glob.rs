//! Glob patterns, with the server's syntax.

/// Escapes `text` so that a pattern matches it literally.
///
/// Only `*`, `?`, `[` and `\` are special in the server's `stringmatchlen`. `]`, `^` and `-` are special only inside
/// brackets, and an escaped `[` opens no brackets.
///
/// ```
/// assert_eq!(redis_actix::escape_glob("what?"), b"what\\?");
/// ```
#[must_use]
pub fn escape_glob(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let mut escaped = Vec::with_capacity(text.len() + 8);
    push_escaped(text, &mut escaped);
    escaped
}

/// [`escape_glob`] into an existing buffer.
pub(crate) fn push_escaped(text: &[u8], to: &mut Vec<u8>) {
    for &byte in text {
        if is_special(byte) {
            to.push(b'\\');
        }
        to.push(byte);
    }
}

/// The rest of `pattern` after the escaped form of `text`, if it begins with it.
pub(crate) fn strip_escaped<'a>(mut pattern: &'a [u8], text: &[u8]) -> Option<&'a [u8]> {
    for &byte in text {
        if is_special(byte) {
            pattern = pattern.strip_prefix(b"\\")?;
        }
        pattern = pattern.strip_prefix(&[byte])?;
    }
    Some(pattern)
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escape_glob(b"a*b?c[d]e\\f^g-h\0\xff"), b"a\\*b\\?c\\[d]e\\\\f^g-h\0\xff");
    }

    #[test]
    fn strip_escaped_reverses_escape_glob() {
        for text in [&b""[..], b"app:", b"a*[b]\\:", b"\\"] {
            let mut pattern = escape_glob(text);
            pattern.extend_from_slice(b"rest*");
            assert_eq!(strip_escaped(&pattern, text), Some(&b"rest*"[..]));
        }
        assert_eq!(strip_escaped(b"app", b"app:"), None);
        assert_eq!(strip_escaped(b"a*:x", b"a*:"), None);
    }
}
