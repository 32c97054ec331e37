#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod against_redis_rs;

use bytes::BufMut;
use redis::{PushKind, Value, VerbatimFormat};

use super::{AHEAD, Decoder, Limits, ProtocolError, Resume};

/// Decodes `bytes` in the pieces that `cuts` make. Unused bytes stay in the buffer, as in a connection.
fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Result<Option<Value>, ProtocolError> {
    let mut decoder = Decoder::new(Limits::default());
    let (mut from, mut pos) = (0, 0);
    let ends = cuts.iter().copied().chain([bytes.len()]);
    for end in ends {
        // The buffer is compacted between reads: used bytes must not be needed again.
        let buffer = &bytes[from..end];
        let mut at = pos - from;
        let decoded = decoder.decode(buffer, &mut at);
        assert!(at <= buffer.len(), "position behind the buffer");
        pos = from + at;
        from = pos;
        match decoded {
            Ok(None) => {}
            Ok(Some(value)) => {
                assert!(!decoder.is_incomplete(), "incomplete after a whole reply");
                return Ok(Some(value));
            }
            Err(error) => {
                let again = decoder.decode(b"+OK\r\n", &mut 0);
                assert_eq!(again, Err(error), "an error is final");
                return Err(error);
            }
        }
    }
    Ok(None)
}

/// Decodes at once and with every split in two. All results must agree.
fn decode(bytes: &[u8]) -> Result<Option<Value>, ProtocolError> {
    let whole = in_pieces(bytes, &[]);
    for cut in 0..bytes.len().min(200) {
        assert!(alike(&in_pieces(bytes, &[cut]), &whole), "split at {cut} of {}", bytes.escape_ascii());
    }
    let single: Vec<_> = (0..bytes.len()).collect();
    assert!(alike(&in_pieces(bytes, &single), &whole), "byte by byte");
    whole
}

/// Equality in which NaN equals itself.
fn alike<T: PartialEq + std::fmt::Debug>(left: &T, right: &T) -> bool {
    left == right || format!("{left:?}") == format!("{right:?}")
}

fn bulk(text: &str) -> Value {
    Value::BulkString(text.into())
}

#[test]
fn every_type_is_decoded() {
    let cases: Vec<(&[u8], Value)> = vec![
        (b"+OK\r\n", Value::Okay),
        (b"+OKAY\r\n", Value::SimpleString("OKAY".into())),
        (b"+\r\n", Value::SimpleString(String::new())),
        (b"+a\rb\nc\r\r\n", Value::SimpleString("a\rb\nc\r".into())),
        (b"+\xff\r\n", Value::BulkString(vec![0xff])),
        (b":0\r\n", Value::Int(0)),
        (b":+7\r\n", Value::Int(7)),
        (b":-0007\r\n", Value::Int(-7)),
        (b":9223372036854775807\r\n", Value::Int(i64::MAX)),
        (b":-9223372036854775808\r\n", Value::Int(i64::MIN)),
        (b"$0\r\n\r\n", bulk("")),
        (b"$3\r\nabc\r\n", bulk("abc")),
        (b"$4\r\n\r\n\r\n\r\n", bulk("\r\n\r\n")),
        (b"$-1\r\n", Value::Nil),
        (b"*-1\r\n", Value::Nil),
        (b"~-1\r\n", Value::Nil),
        (b"_\r\n", Value::Nil),
        (b"#t\r\n", Value::Boolean(true)),
        (b"#f\r\n", Value::Boolean(false)),
        (b",1.5\r\n", Value::Double(1.5)),
        (b",-2.67923E+8\r\n", Value::Double(-267_923_000.0)),
        (b",inf\r\n", Value::Double(f64::INFINITY)),
        (b",-inf\r\n", Value::Double(f64::NEG_INFINITY)),
        (b",nan\r\n", Value::Double(f64::NAN)),
        (b"(-12345678901234567890123\r\n", Value::BigNumber(b"-12345678901234567890123".to_vec())),
        (b"*0\r\n", Value::Array(vec![])),
        (b"%0\r\n", Value::Map(vec![])),
        (b"~0\r\n", Value::Set(vec![])),
        (
            b"*3\r\n:1\r\n*1\r\n$1\r\na\r\n*0\r\n",
            Value::Array(vec![Value::Int(1), Value::Array(vec![bulk("a")]), Value::Array(vec![])]),
        ),
        (
            b"%2\r\n+a\r\n:1\r\n%1\r\n_\r\n#t\r\n~1\r\n+b\r\n",
            Value::Map(vec![
                (Value::SimpleString("a".into()), Value::Int(1)),
                (
                    Value::Map(vec![(Value::Nil, Value::Boolean(true))]),
                    Value::Set(vec![Value::SimpleString("b".into())]),
                ),
            ]),
        ),
        (b"|1\r\n+ttl\r\n:9\r\n*1\r\n:2\r\n", Value::Array(vec![Value::Int(2)])),
        (b"|0\r\n+OK\r\n", Value::Okay),
        (b"|1\r\n+a\r\n*1\r\n*0\r\n|1\r\n+b\r\n$1\r\nc\r\n$3\r\nabc\r\n", bulk("abc")),
        (
            b">2\r\n|1\r\n+ttl\r\n:9\r\n+message\r\n|0\r\n:1\r\n",
            Value::Push { kind: PushKind::Message, data: vec![Value::Int(1)] },
        ),
        (
            b"|1\r\n+ttl\r\n:9\r\n>2\r\n+message\r\n:1\r\n",
            Value::Push { kind: PushKind::Message, data: vec![Value::Int(1)] },
        ),
        (
            b"%1\r\n|1\r\n+x\r\n+y\r\n+k\r\n|1\r\n+x\r\n%1\r\n+y\r\n|1\r\n:1\r\n:2\r\n:3\r\n*1\r\n|0\r\n:4\r\n",
            Value::Map(vec![(Value::SimpleString("k".into()), Value::Array(vec![Value::Int(4)]))]),
        ),
        (b"=9\r\ntxt:a:b\r\n\r\n", Value::VerbatimString { format: VerbatimFormat::Text, text: "a:b\r\n".into() }),
        (
            b">3\r\n+message\r\n$1\r\nc\r\n$1\r\nm\r\n",
            Value::Push { kind: PushKind::Message, data: vec![bulk("c"), bulk("m")] },
        ),
        (b">1\r\n$5\r\nother\r\n", Value::Push { kind: PushKind::Other("other".into()), data: vec![] }),
    ];
    for (bytes, expected) in cases {
        let decoded = decode(bytes).unwrap();
        assert!(alike(&decoded, &Some(expected)), "{}: {decoded:?}", bytes.escape_ascii());
    }
}

#[test]
fn errors_keep_code_and_text() {
    let cases: [(&[u8], &str, Option<&str>); 6] = [
        (b"-ERR unknown command\r\n", "ERR", Some("unknown command")),
        (b"-WRONGTYPE not a list\r\n", "WRONGTYPE", Some("not a list")),
        (b"-MOVED 3999 h:6381\r\n", "MOVED", Some("3999 h:6381")),
        (b"-NOAUTH\r\n", "NOAUTH", None),
        (b"-ERR bad \xff\r\n", "ERR", Some("bad \u{fffd}")),
        (b"!11\r\nSYNTAX a\r\nb\r\n", "SYNTAX", Some("a\r\nb")),
    ];
    for (bytes, code, details) in cases {
        match decode(bytes) {
            Ok(Some(Value::ServerError(error))) => {
                assert_eq!((error.code(), error.details()), (code, details));
            }
            other => panic!("{}: {other:?}", bytes.escape_ascii()),
        }
    }
}

#[test]
fn every_violation_is_reported() {
    let limits = Limits::default();
    let mut long_line = vec![b'+'];
    long_line.resize(limits.line + 2, b'a');
    let cases: Vec<(&[u8], ProtocolError)> = vec![
        (b":\r\n", ProtocolError::Integer),
        (b":-\r\n", ProtocolError::Integer),
        (b":1 \r\n", ProtocolError::Integer),
        (b":1\rx", ProtocolError::Integer),
        (b":9223372036854775808\r\n", ProtocolError::Integer),
        (b":00000000000000000000", ProtocolError::Integer),
        (b"$a", ProtocolError::Integer),
        (b"$-2\r\n", ProtocolError::NegativeLength),
        (b"*-2\r\n", ProtocolError::NegativeLength),
        (b"%-1\r\n", ProtocolError::NegativeLength),
        (b"|-1\r\n", ProtocolError::NegativeLength),
        (b">-1\r\n", ProtocolError::NegativeLength),
        (b"=-1\r\n", ProtocolError::NegativeLength),
        (b"!-1\r\n", ProtocolError::NegativeLength),
        (b"$1\r\nab", ProtocolError::BodyEnd),
        (b"$1\r\na\rb", ProtocolError::BodyEnd),
        (b"$536870913\r\n", ProtocolError::BulkLength(limits.bulk)),
        (b"$2147483647\r\n", ProtocolError::BulkLength(limits.bulk)),
        (b"=536870913\r\n", ProtocolError::BulkLength(limits.bulk)),
        (b"!65537\r\n", ProtocolError::LineLength(limits.line)),
        (b"*2147483647\r\n", ProtocolError::Elements(limits.elements)),
        (b"%8388609\r\n", ProtocolError::Elements(limits.elements)),
        (b"%9223372036854775807\r\n", ProtocolError::Elements(limits.elements)),
        (b"*2\r\n*16777215\r\n", ProtocolError::Elements(limits.elements)),
        (b",1,5\r\n", ProtocolError::Double),
        (b",\r\n", ProtocolError::Double),
        (b"(\r\n", ProtocolError::BigNumber),
        (b"(1a\r\n", ProtocolError::BigNumber),
        (b"#x", ProtocolError::Boolean),
        (b"#tt", ProtocolError::Boolean),
        (b"_x", ProtocolError::Null),
        (b"=3\r\ntxt\r\n", ProtocolError::Verbatim),
        (b">0\r\n", ProtocolError::PushKind),
        (b">1\r\n:1\r\n", ProtocolError::PushKind),
        (b">1\r\n$1\r\n\xff\r\n", ProtocolError::PushKind),
        (b"$?\r\n", ProtocolError::Streamed),
        (b"*?\r\n", ProtocolError::Streamed),
        (b".\r\n", ProtocolError::Streamed),
        (b"HTTP/1.1 400", ProtocolError::UnknownType(b'H')),
        (b"\x15\x03\x01", ProtocolError::UnknownType(0x15)),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode(bytes), Err(expected), "{}", bytes.escape_ascii());
    }
    assert_eq!(in_pieces(&long_line, &[]), Err(ProtocolError::LineLength(limits.line)));
    for (error, start) in [
        (ProtocolError::Depth(3), "a reply is larger than this client accepts: "),
        (ProtocolError::UnknownType(b'\r'), "the server broke the protocol: "),
    ] {
        let words = error.to_string();
        assert!(words.starts_with(start), "{words}");
        assert!(!words.contains('\r'), "{words}");
    }
}

#[test]
fn a_limit_is_exceeded_by_a_reply_or_by_a_push() {
    let oversized = |bytes: &[u8]| {
        let mut decoder = Decoder::new(Limits { elements: 4, bulk: 8, ..Limits::default() });
        decoder.decode(bytes, &mut 0).expect_err("too large");
        decoder.oversized_reply()
    };
    assert_eq!(oversized(b"*5\r\n"), Some(ProtocolError::Elements(4)));
    assert_eq!(oversized(b"|1\r\n:1\r\n:2\r\n*5\r\n"), Some(ProtocolError::Elements(4)));
    assert_eq!(oversized(b"*1\r\n$9\r\n"), Some(ProtocolError::BulkLength(8)));
    assert_eq!(oversized(b"$9\r\n"), Some(ProtocolError::BulkLength(8)));
    assert_eq!(oversized(b">5\r\n"), None);
    assert_eq!(oversized(b">2\r\n+message\r\n*5\r\n"), None);
    assert_eq!(oversized(b">1\r\n$9\r\n"), None);
    assert_eq!(oversized(b"HTTP"), None);
}

#[test]
fn a_value_after_attributes_is_incomplete_until_its_last_byte() {
    let mut decoder = Decoder::new(Limits::default());
    assert_eq!(decoder.decode(b"|1\r\n+a\r\n+b\r\n", &mut 0), Ok(None));
    assert!(decoder.is_incomplete());
    assert_eq!(decoder.decode(b"+OK\r\n", &mut 0), Ok(Some(Value::Okay)));
    assert!(!decoder.is_incomplete());
}

#[test]
fn the_longest_line_is_accepted_with_any_split() {
    let limit = Limits::default().line;
    let mut bytes = vec![b'+'];
    bytes.resize(limit + 1, b'a');
    bytes.extend_from_slice(b"\r\n");
    for cuts in [vec![], vec![limit], vec![limit + 1], vec![limit + 2]] {
        match in_pieces(&bytes, &cuts) {
            Ok(Some(Value::SimpleString(text))) => assert_eq!(text.len(), limit),
            other => panic!("{cuts:?}: {:?}", other.map(|_| ())),
        }
    }
}

#[test]
fn depth_is_bounded_as_in_redis_rs() {
    let limit = Limits::default().depth;
    for levels in [limit - 1, limit, limit + 1, 10_000] {
        for (open, close) in [("*1\r\n", "*0\r\n"), ("%1\r\n+a\r\n", "%0\r\n")] {
            let mut bytes = open.repeat(levels - 1);
            bytes.push_str(close);
            let decoded = in_pieces(bytes.as_bytes(), &[]);
            if levels <= limit {
                let ours = decoded.unwrap().unwrap();
                assert_eq!(ours, redis::parse_redis_value(bytes.as_bytes()).unwrap());
            } else {
                assert_eq!(decoded, Err(ProtocolError::Depth(limit)));
            }
        }
    }
}

#[test]
fn the_text_of_one_reply_is_bounded() {
    let limits = Limits { reply: 10, bulk: 8, ..Limits::default() };
    let reply_size = Err(ProtocolError::ReplySize(10));
    let cases: [(&[u8], _); 5] = [
        (b"$9\r\n", Err(ProtocolError::BulkLength(8))),
        (b"*2\r\n$8\r\n12345678\r\n$3\r\n", reply_size),
        (b"*2\r\n$8\r\n12345678\r\n+123\r\n", reply_size),
        (b"*1\r\n*2\r\n$8\r\n12345678\r\n-ERR\r\n", reply_size),
        (b"*2\r\n$8\r\n12345678\r\n$2\r\nab\r\n*1\r\n$8\r\n12345678\r\n", Ok(2)),
    ];
    for (bytes, expected) in cases {
        let mut decoder = Decoder::new(limits);
        let (mut pos, mut replies) = (0, 0);
        let decoded = loop {
            match decoder.decode(bytes, &mut pos) {
                Ok(Some(_)) => replies += 1,
                Ok(None) => break Ok(replies),
                Err(error) => break Err(error),
            }
        };
        assert_eq!(decoded.map(|_| replies), expected, "{}", bytes.escape_ascii());
    }
}

/// The memory held by the decoder.
fn held(decoder: &Decoder) -> usize {
    let body = match &decoder.resume {
        Resume::Body(body) => body.bytes.capacity(),
        _ => 0,
    };
    body + decoder.stack.iter().map(|level| level.capacity()).sum::<usize>()
}

#[test]
fn announced_lengths_do_not_reserve_memory() {
    let mut decoder = Decoder::new(Limits::default());
    let mut pos = 0;
    assert_eq!(decoder.decode(b"$536870912\r\nabc", &mut pos), Ok(None));
    assert!(held(&decoder) <= AHEAD + 6, "{}", held(&decoder));

    for (open, levels) in [("*160000\r\n", 98), ("%80000\r\n+a\r\n", 98), ("*1\r\n", 98)] {
        let mut decoder = Decoder::new(Limits::default());
        let bytes = open.repeat(levels);
        assert_eq!(decoder.decode(bytes.as_bytes(), &mut 0), Ok(None));
        assert!(held(&decoder) < 3 * 1024 * 1024, "{open}: {}", held(&decoder));
    }
}

#[test]
fn a_large_string_arrives_in_small_reads() {
    const LEN: usize = 64 * 1024 * 1024;
    let mut decoder = Decoder::new(Limits::default());
    let header = format!("*2\r\n${LEN}\r\n");
    assert_eq!(decoder.decode(header.as_bytes(), &mut 0), Ok(None));
    let read = vec![7; 16 * 1024];
    for arrived in 1..=LEN / read.len() {
        let mut pos = 0;
        assert_eq!(decoder.decode(&read, &mut pos), Ok(None));
        assert_eq!(pos, read.len(), "nothing of it stays in the read buffer");
        let arrived = arrived * read.len();
        assert!(held(&decoder) <= (2 * arrived).max(arrived + AHEAD) + 4096);
    }
    assert!(held(&decoder) < LEN + 4096, "no room beyond the announced length");
    let last = decoder.decode(b"\r\n:1\r\n", &mut 0).unwrap().unwrap();
    match last {
        Value::Array(items) => assert_eq!(items[0], Value::BulkString(vec![7; LEN])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_large_string_is_read_directly_into_its_value() {
    const LEN: usize = 1024 * 1024;
    let mut decoder = Decoder::new(Limits::default());
    assert!(decoder.direct().is_none(), "nothing under way");
    let mut pos = 0;
    let header = format!("${LEN}\r\nab");
    assert_eq!(decoder.decode(header.as_bytes(), &mut pos), Ok(None));
    let mut arrived = 2;
    while let Some(mut room) = decoder.direct() {
        let read = room.remaining_mut().min(100_000);
        assert!(read > 0);
        room.put_bytes(7, read);
        arrived += read;
        assert!(arrived <= LEN);
        assert!(held(&decoder) <= (2 * arrived).max(arrived + AHEAD).min(LEN));
    }
    assert!(decoder.is_incomplete());
    let mut rest = vec![7; LEN - arrived];
    rest.extend_from_slice(b"\r\n");
    match decoder.decode(&rest, &mut 0) {
        Ok(Some(Value::BulkString(bytes))) => {
            assert_eq!(&bytes[..2], b"ab");
            assert_eq!(bytes[2..], vec![7; LEN - 2]);
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[test]
fn only_a_long_rest_is_read_directly_into_the_value() {
    for (missing, is_direct) in [(super::DIRECT - 1, false), (super::DIRECT, true)] {
        let mut decoder = Decoder::new(Limits::default());
        assert_eq!(decoder.decode(format!("${}\r\nab", missing + 2).as_bytes(), &mut 0), Ok(None));
        assert_eq!(decoder.direct().is_some(), is_direct, "{missing} missing");
    }
}

#[test]
fn a_million_elements_arrive_in_pieces() {
    let mut bytes = b"*1000000\r\n".to_vec();
    for number in 0..1_000_000 {
        bytes.extend_from_slice(format!(":{number}\r\n").as_bytes());
    }
    let cuts: Vec<_> = (0..bytes.len()).step_by(1021).collect();
    match in_pieces(&bytes, &cuts) {
        Ok(Some(Value::Array(items))) => {
            assert_eq!(items.len(), 1_000_000);
            assert_eq!(items[999_999], Value::Int(999_999));
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
}
