//! Any command line: no panic, and no change except the prefix in some arguments.
//!
//! `cargo +nightly fuzz run rewrite -- -dict=fuzz/dict/commands.dict`; arguments are separated by the byte 1.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use redis_actix::{KeyPrefix, escape_glob};

static PREFIX: LazyLock<KeyPrefix> = LazyLock::new(|| KeyPrefix::new("te?[^a-z]n\\é:").expect("valid"));

/// `after` is `before` with `text` in one place.
fn inserted(before: &[u8], after: &[u8], text: &[u8]) -> bool {
    after.len() == before.len() + text.len()
        && (0..=before.len()).any(|at| {
            after[..at] == before[..at] && after[at..].starts_with(text) && after[at + text.len()..] == before[at..]
        })
}

fuzz_target!(|data: &[u8]| {
    let argv: Vec<&[u8]> = data.split(|byte| *byte == 1).collect();
    let Ok(written) = PREFIX.rewrite(&argv) else {
        assert!(PREFIX.rewrite(&argv).is_err_and(|error| error.refusal().is_some() && !error.to_string().is_empty()));
        return;
    };
    let plain = PREFIX.as_str().as_bytes();
    let escaped = escape_glob(plain);
    let added = written.len() - argv.len();
    let lacks_match = argv[0].eq_ignore_ascii_case(b"SCAN") && added == 2;
    assert!(added == 0 || lacks_match, "{argv:?}");
    if lacks_match {
        assert_eq!(written[argv.len()..], [b"MATCH".to_vec(), [escaped.as_slice(), b"*"].concat()]);
    }
    assert_eq!(written[0], argv[0], "a name is no key");
    for (before, after) in argv.iter().zip(&written) {
        let kept = before == after || inserted(before, after, plain) || inserted(before, after, &escaped);
        assert!(kept, "{argv:?} -> {written:?}");
    }
    // Without a prefix every line stays as it is.
    let unprefixed = KeyPrefix::none().rewrite(&argv).expect("allowed with a prefix");
    assert!(unprefixed.iter().zip(&argv).all(|(after, before)| after == before));
    // A reply of any shape that echoes the written line shows no prefix where the names are.
    let echo = written.into_iter().map(redis::Value::BulkString).collect();
    let _ = PREFIX.strip(&argv, redis::Value::Array(echo));
});
