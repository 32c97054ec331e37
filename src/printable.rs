//! Escapes text of a server for errors, events and logs.
//!
//! Clients of the server can choose parts of its texts, such as script errors or a name in `INFO`. A line feed would
//! forge a log line, an escape sequence would be interpreted by a terminal, and 64 KiB of text would flood a log.

use std::borrow::Cow;

/// The maximum length of the shown text in bytes.
const LONGEST: usize = 1024;
/// Reserved for the note about the omitted rest.
const ROOM: usize = 32;

/// Escapes all characters that are not printable, and limits the text to 1 KiB.
pub(crate) fn printable<'t>(text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
    let text = text.into();
    if text.len() <= LONGEST && !text.chars().any(must_be_escaped) { text } else { escaped(&text).into() }
}

#[cold]
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LONGEST));
    for (at, character) in text.char_indices() {
        let before = shown.len();
        if must_be_escaped(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        // A few remaining characters may need escapes longer than the reserved room.
        if shown.len() > LONGEST - ROOM {
            shown.truncate(before);
            shown.push_str(&format!(".. ({} bytes more)", text.len() - at));
            break;
        }
    }
    shown
}

/// Control characters, line and paragraph separators, and bidirectional formatting characters.
fn must_be_escaped(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_control_characters_are_escaped() {
        for (text, shown) in [
            ("WRONGTYPE Operation", "WRONGTYPE Operation"),
            ("größer \\r 漢字", "größer \\r 漢字"),
            ("a\r\nb\x1b[31m\0\x7f", "a\\r\\nb\\u{1b}[31m\\u{0}\\u{7f}"),
            ("\u{85}\u{2028}\u{202e}", "\\u{85}\\u{2028}\\u{202e}"),
        ] {
            assert_eq!(printable(text), shown);
        }
        let long = printable("x".repeat(65_000));
        assert!(long.len() <= LONGEST && long.ends_with(" bytes more)"), "{long}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_text_becomes_short_and_printable_and_escaping_is_idempotent(text in "(\\PC|\\pC|\n|[\0-\u{a0}]){0,1500}") {
            let shown = printable(text.as_str());
            prop_assert!(shown.len() <= LONGEST, "{}", shown.len());
            prop_assert!(!shown.chars().any(must_be_escaped));
            prop_assert_eq!(printable(shown.as_ref()), shown.as_ref());
        }
    }
}
