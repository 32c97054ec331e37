//! How to put back the elements that a command took for a caller that is gone.

use redis::Value;

use crate::frame::Frame;

const MOVE_BACK: &str = include_str!("../scripts/move_back.lua");

/// What undoes a command.
#[derive(Debug)]
pub(crate) enum Compensation {
    /// It took nothing.
    Nothing,
    /// This command puts it back where it was.
    By {
        /// The command.
        frame: Frame,
        /// How many it puts back.
        elements: usize,
    },
    /// It cannot be put back.
    Never {
        /// How many there are, if that is known.
        elements: Option<usize>,
        /// Why.
        why: &'static str,
    },
}

/// Commands that take something. That a caller may call one of them idempotent changes nothing in that.
const TAKE: [&str; 10] =
    ["BLPOP", "BRPOP", "BLMPOP", "BLMOVE", "BLMOVEM", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX", "BZMPOP", "XREADGROUP"];

/// Whether a command takes nothing, whatever it answers: nothing can be lost with it.
pub(crate) fn takes_nothing(frame: &Frame) -> bool {
    let name = frame.name();
    let only_looks = || frame.is_repeatable() || matches!(name.as_str(), "WAIT" | "WAITAOF" | "XREAD" | "TS.READ");
    frame.is_unit() || !TAKE.contains(&name.as_str()) && only_looks()
}

/// How to undo what `frame` did, by what it was answered.
pub(crate) fn compensate(frame: &Frame, answer: &Value) -> Compensation {
    if takes_nothing(frame) || is_nothing(answer) {
        return Compensation::Nothing;
    }
    let argv = frame.argv();
    let word = |at: usize| argv.get(at).copied().unwrap_or_default();
    let is_left = |at: usize| word(at).eq_ignore_ascii_case(b"LEFT");
    let name = frame.name();
    let compensate = match name.as_str() {
        "BLPOP" => push("LPUSH", answer),
        "BRPOP" => push("RPUSH", answer),
        // seconds, count, keys, end
        "BLMPOP" => {
            let keys: usize = std::str::from_utf8(word(2)).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
            push(if is_left(keys.saturating_add(3)) { "LPUSH" } else { "RPUSH" }, answer)
        }
        "BLMOVE" => Some(move_back(word(1), word(2), is_left(3), is_left(4), answer)),
        "BRPOPLPUSH" => Some(move_back(word(1), word(2), false, true, answer)),
        "BZPOPMIN" | "BZPOPMAX" | "BZMPOP" => add(answer),
        "XREADGROUP" => return stream_entries(&argv, answer),
        "BLMOVEM" => {
            return Compensation::Never { elements: None, why: "what it moved stays in the destination" };
        }
        _ => None,
    };
    match compensate {
        Some((frame_back, elements)) => {
            let frame = if frame.is_unprefixed() { frame_back.unprefixed() } else { frame_back };
            Compensation::By { frame, elements }
        }
        None => Compensation::Never { elements: None, why: "this crate cannot put back what the command took" },
    }
}

/// Whether the wait ended with nothing.
pub(crate) fn is_nothing(answer: &Value) -> bool {
    match answer {
        Value::Nil => true,
        Value::Array(items) | Value::Set(items) => items.is_empty(),
        Value::Map(pairs) => pairs.is_empty(),
        Value::Attribute { data, .. } => is_nothing(data),
        _ => false,
    }
}

fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) | Value::Set(items) => Some(items),
        Value::Attribute { data, .. } => items(data),
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// `[key, value]`, or `[key, [value, ...]]` in the order in which they were taken: the last one goes back first.
fn push(name: &str, answer: &Value) -> Option<(Frame, usize)> {
    let [key, taken] = items(answer)? else { return None };
    let taken = items(taken).unwrap_or(std::slice::from_ref(taken));
    let frame = Frame::known(name).key(bytes(key)?);
    let frame = taken.iter().rev().try_fold(frame, |frame, value| Some(frame.arg(bytes(value)?)))?;
    Some((frame, taken.len()))
}

/// `[key, member, score]`, or `[key, [[member, score], ...]]`. A member that was added meanwhile is newer.
fn add(answer: &Value) -> Option<(Frame, usize)> {
    let parts = items(answer)?;
    let frame = |key: &Value| Some(Frame::known("ZADD").key(bytes(key)?).arg("NX"));
    let with = |frame: Frame, member: &Value, score: &Value| {
        let score = match score {
            Value::Double(score) => frame.arg(*score),
            score => frame.arg(bytes(score)?),
        };
        Some(score.arg(bytes(member)?))
    };
    match parts {
        [key, member, score] => Some((with(frame(key)?, member, score)?, 1)),
        [key, members] => {
            let members = items(members)?;
            let frame = members.iter().try_fold(frame(key)?, |frame, one| match items(one)? {
                [member, score] => with(frame, member, score),
                _ => None,
            })?;
            Some((frame, members.len()))
        }
        _ => None,
    }
}

fn move_back(source: &[u8], destination: &[u8], from_left: bool, to_left: bool, answer: &Value) -> (Frame, usize) {
    let frame = Frame::known("EVAL").arg(MOVE_BACK).arg(2).key(destination).key(source);
    let frame = frame.arg(bytes(answer).unwrap_or_default()).arg(if to_left { 1 } else { -1 });
    (frame.arg(if from_left { "LPUSH" } else { "RPUSH" }), 1)
}

fn stream_entries(argv: &[&[u8]], answer: &Value) -> Compensation {
    let of = |entries: &Value| items(entries).map_or(0, <[Value]>::len);
    let elements = match answer {
        Value::Map(streams) => streams.iter().map(|(_, entries)| of(entries)).sum(),
        other => {
            let streams = items(other).unwrap_or_default().iter();
            streams.filter_map(|stream| items(stream)?.get(1).map(of)).sum()
        }
    };
    let options = argv.iter().skip(4).take_while(|word| !word.eq_ignore_ascii_case(b"STREAMS"));
    let why = if options.into_iter().any(|word| word.eq_ignore_ascii_case(b"NOACK")) {
        "they were taken as acknowledged"
    } else {
        "they stay pending of their consumer"
    };
    Compensation::Never { elements: Some(elements), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    use proptest::prelude::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::Array(items.into_iter().collect())
    }

    fn frame(line: &str) -> Frame {
        let mut words = line.split(' ');
        words.clone().skip(1).fold(Frame::known(words.next().unwrap_or_default()), |frame, word| frame.arg(word))
    }

    fn compensated(line: &str, answer: &Value) -> String {
        match compensate(&frame(line), answer) {
            Compensation::Nothing => "nothing".to_owned(),
            Compensation::By { frame, elements } => {
                let words = frame.args().map(String::from_utf8_lossy).collect::<Vec<_>>();
                format!("{elements}: {}", words.join(" ").replace(MOVE_BACK, "MOVE_BACK"))
            }
            Compensation::Never { elements, why } => format!("{elements:?}: {why}"),
        }
    }

    #[test]
    fn each_goes_back_where_it_was() {
        let one = list([text("a"), text("x")]);
        let three = list([text("a"), list(["x", "y", "z"].map(text))]);
        let scored = list([text("a"), text("x"), Value::Double(1.5)]);
        let resp2 = list([text("a"), list([list([text("x"), text("1.5")]), list([text("y"), text("inf")])])]);
        let entries = list([list([text("s"), list([text("1-0"), text("2-0")])])]);
        for (line, answer, back) in [
            ("BLPOP a b 1", &one, "1: LPUSH a x"),
            ("brpop a 1", &one, "1: RPUSH a x"),
            ("BLMPOP 1 2 a LEFT LEFT COUNT 3", &three, "3: LPUSH a z y x"),
            ("BLMPOP 1 1 a right COUNT 3", &three, "3: RPUSH a z y x"),
            ("BLMOVE a b LEFT RIGHT 1", &text("x"), "1: EVAL MOVE_BACK 2 b a x -1 LPUSH"),
            ("BLMOVE a b right left 1", &text("x"), "1: EVAL MOVE_BACK 2 b a x 1 RPUSH"),
            ("BRPOPLPUSH a b 1", &text("x"), "1: EVAL MOVE_BACK 2 b a x 1 RPUSH"),
            ("BZPOPMIN a 1", &scored, "1: ZADD a NX 1.5 x"),
            ("BZMPOP 1 1 a MIN COUNT 2", &resp2, "2: ZADD a NX 1.5 x inf y"),
            ("XREADGROUP GROUP g c BLOCK 1 STREAMS s >", &entries, "Some(2): they stay pending of their consumer"),
            ("XREADGROUP GROUP g c NOACK BLOCK 1 STREAMS s >", &entries, "Some(2): they were taken as acknowledged"),
            ("XREAD BLOCK 1 STREAMS s 0", &entries, "nothing"),
            ("WAIT 1 1", &Value::Int(1), "nothing"),
            ("BLPOP a 1", &Value::Nil, "nothing"),
            ("MY.POP a 1", &text("x"), "None: this crate cannot put back what the command took"),
            ("BLPOP a 1", &Value::Int(3), "None: this crate cannot put back what the command took"),
        ] {
            assert_eq!(compensated(line, answer), back, "{line}");
        }
    }

    proptest! {
        /// Taking some and putting them back leaves the list as it was.
        #[test]
        fn order_is_kept(length in 1..9_usize, count in 1..9_usize, left in any::<bool>()) {
            let before: VecDeque<String> = (0..length).map(|n| format!("e{n}")).collect();
            let mut after = before.clone();
            let taken: Vec<_> = (0..count)
                .map_while(|_| if left { after.pop_front() } else { after.pop_back() })
                .map(|one| text(&one))
                .collect();
            let end = if left { "LEFT" } else { "RIGHT" };
            let answer = list([text("a"), list(taken)]);
            let Compensation::By { frame, .. } = compensate(&frame(&format!("BLMPOP 1 1 a {end} COUNT {count}")), &answer) else {
                panic!("it can be undone")
            };
            prop_assert_eq!(frame.name(), if left { "LPUSH" } else { "RPUSH" });
            for one in frame.args().skip(2) {
                let one = String::from_utf8_lossy(one).into_owned();
                if left { after.push_front(one) } else { after.push_back(one) }
            }
            prop_assert_eq!(after, before);
        }
    }
}
