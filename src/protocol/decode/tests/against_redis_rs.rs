//! Compares this decoder with redis-rs' parser on the same bytes.

use proptest::prelude::*;
use redis::Value;

use super::super::{Decoder, Limits, ProtocolError};
use super::{alike, decode, in_pieces};

/// An encoded reply of any type in either protocol.
fn replies() -> impl Strategy<Value = Vec<u8>> {
    fn line(tag: char, text: impl std::fmt::Display) -> Vec<u8> {
        format!("{tag}{text}\r\n").into_bytes()
    }
    fn body(tag: char, bytes: &[u8]) -> Vec<u8> {
        [line(tag, bytes.len()).as_slice(), bytes, b"\r\n"].concat()
    }
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    let leaf = prop_oneof![
        "[^\r\n]{0,12}".prop_map(|text| line('+', text)),
        Just(b"+OK\r\n".to_vec()),
        "([A-Z]{2,9}|ERR|MOVED|LOADING|READONLY)( [^\r\n]{0,12})?".prop_map(|text| line('-', text)),
        any::<i64>().prop_map(|number| line(':', number)),
        bytes().prop_map(|bytes| body('$', &bytes)),
        bytes().prop_map(|bytes| body('$', &bytes)),
        bytes().prop_map(|bytes| body('!', &bytes)),
        ("(txt|mkd|xyz)", bytes()).prop_map(|(format, bytes)| body('=', &[format.as_bytes(), b":", &bytes].concat())),
        any::<f64>().prop_map(|number| line(',', number)),
        "-?[0-9]{1,40}".prop_map(|digits| line('(', digits)),
        prop_oneof![Just("$-1"), Just("*-1"), Just("~-1"), Just("_"), Just("#t"), Just("#f")]
            .prop_map(|constant| format!("{constant}\r\n").into_bytes()),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let kind = "(message|invalidate|psubscribe|new)";
        (
            prop_oneof![Just('*'), Just('%'), Just('~'), Just('|'), Just('>')],
            proptest::collection::vec((inner.clone(), inner.clone()), 0..5),
            kind,
            inner,
        )
            .prop_map(|(tag, pairs, kind, last)| {
                let flat = pairs.len() * 2;
                let mut bytes = match tag {
                    '%' => line(tag, pairs.len()),
                    '|' => line(tag, pairs.len()),
                    '>' => [line(tag, flat + 1), line('+', kind)].concat(),
                    _ => line(tag, flat),
                };
                for (left, right) in &pairs {
                    bytes.extend_from_slice(left);
                    bytes.extend_from_slice(right);
                }
                if tag == '|' {
                    bytes.extend_from_slice(&last);
                }
                bytes
            })
    })
}

/// Bytes similar to a reply: protocol fragments in any order.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let fragment = prop_oneof![
        proptest::sample::select(b"+-:$*%~|>_,#!=(;.?\r\n0123456789tfaOK -".as_slice()).prop_map(|byte| vec![byte]),
        proptest::sample::select(b"+-:$*%~|>_,#!=(".as_slice()).prop_map(|byte| vec![byte]),
        (0..4u8).prop_map(|number| format!("{number}\r\n").into_bytes()),
        Just(b"\r\n".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..3),
    ];
    proptest::collection::vec(fragment, 0..24).prop_map(|fragments| fragments.concat())
}

/// The value of redis-rs without attributes.
fn without_attributes(value: Value) -> Value {
    let all = |values: Vec<Value>| values.into_iter().map(without_attributes).collect();
    match value {
        Value::Attribute { data, .. } => without_attributes(*data),
        Value::Array(items) => Value::Array(all(items)),
        Value::Set(items) => Value::Set(all(items)),
        Value::Push { kind, data } => Value::Push { kind, data: all(data) },
        Value::Map(pairs) => {
            Value::Map(pairs.into_iter().map(|(k, v)| (without_attributes(k), without_attributes(v))).collect())
        }
        value => value,
    }
}

/// The result of redis-rs; `None` if it needs more bytes.
fn peer(bytes: &[u8]) -> Result<Option<Value>, ()> {
    match redis::parse_redis_value(bytes) {
        Ok(value) => Ok(Some(without_attributes(value))),
        Err(error) if error.is_io_error() => Ok(None),
        Err(_) => Err(()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_reply_is_decoded_like_redis_rs(
        bytes in replies(),
        cuts in proptest::collection::btree_set(0usize..1000, 0..12),
    ) {
        let expected = redis::parse_redis_value(&bytes).expect("the generator writes replies");
        let expected = Ok(Some(without_attributes(expected)));
        prop_assert!(alike(&in_pieces(&bytes, &[]), &expected));
        let cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut < bytes.len()).collect();
        prop_assert!(alike(&in_pieces(&bytes, &cuts), &expected), "cuts {cuts:?}");
        prop_assert!(alike(&decode(&bytes), &expected));
    }

    #[test]
    fn consecutive_replies_are_separated(row in proptest::collection::vec(replies(), 1..6)) {
        let bytes = row.concat();
        let mut decoder = Decoder::new(Limits::default());
        let mut pos = 0;
        for one in &row {
            let value = decoder.decode(&bytes, &mut pos);
            prop_assert!(alike(&value, &in_pieces(one, &[])));
        }
        prop_assert_eq!(pos, bytes.len());
        prop_assert_eq!(decoder.decode(&bytes, &mut pos), Ok(None));
    }

    #[test]
    fn noise_is_decoded_like_redis_rs(bytes in noise()) {
        // This also checks that no split panics, and that all splits agree.
        let ours = decode(&bytes);
        let theirs = peer(&bytes);
        match (&ours, &theirs) {
            (Ok(Some(ours)), Ok(Some(theirs))) => {
                prop_assert!(alike(ours, theirs), "{ours:?} {theirs:?}");
            }
            (Ok(None), Ok(None)) | (Err(_), Err(())) => {}
            // Refused here because a rule is already violated, while redis-rs waits for more bytes, perhaps forever.
            (Err(_), Ok(None)) => {}
            // The exceptions in which this decoder is stricter, see the module.
            (
                Err(
                    ProtocolError::Integer
                    | ProtocolError::Double
                    | ProtocolError::BigNumber
                    | ProtocolError::Null
                    | ProtocolError::NegativeLength
                    | ProtocolError::PushKind,
                ),
                Ok(Some(_)),
            ) => {}
            // More lenient: text that is not UTF-8, which redis-rs refuses immediately, and attributes before the
            // kind of a push.
            (Ok(_), Err(())) => {
                let attributed = bytes.contains(&b'|');
                prop_assert!(attributed || std::str::from_utf8(&bytes).is_err(), "{}", bytes.escape_ascii());
            }
            _ => prop_assert!(false, "{}: {ours:?} {theirs:?}", bytes.escape_ascii()),
        }
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode(&bytes);
    }
}
