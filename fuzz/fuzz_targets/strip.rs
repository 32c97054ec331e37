//! Any reply to any command: no panic, nothing is added, and without a prefix nothing changes.
//!
//! The command stands before the first line end, its arguments separated by the byte 1; the reply follows as RESP.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use redis::Value;
use redis_actix::KeyPrefix;

static PREFIX: LazyLock<KeyPrefix> = LazyLock::new(|| KeyPrefix::new("p:").expect("valid"));

/// Strings in it, and their bytes.
fn size(value: &Value) -> (usize, usize) {
    let sum = |items: &mut dyn Iterator<Item = &Value>| {
        items.map(size).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    };
    match value {
        Value::BulkString(text) => (1, text.len()),
        Value::SimpleString(text) => (1, text.len()),
        Value::Array(items) | Value::Set(items) => sum(&mut items.iter()),
        Value::Push { data, .. } => sum(&mut data.iter()),
        Value::Map(pairs) => sum(&mut pairs.iter().flat_map(|(name, value)| [name, value])),
        Value::Attribute { data, .. } => size(data),
        _ => (0, 0),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let argv: Vec<&[u8]> = data[..end].split(|byte| *byte == 1).collect();
    let Ok(reply) = redis::parse_redis_value(&data[end + 1..]) else { return };
    // As text: a NaN is not equal to itself.
    assert_eq!(format!("{:?}", KeyPrefix::none().strip(&argv, reply.clone())), format!("{reply:?}"));
    let before = size(&reply);
    let stripped = PREFIX.strip(&argv, reply);
    let after = size(&stripped);
    assert!(after.0 <= before.0 && after.1 <= before.1, "{argv:?}: {stripped:?}");
});
