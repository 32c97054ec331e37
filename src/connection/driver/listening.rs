//! Unsolicited messages of a link: published messages, in either protocol.

use redis::{PushKind, ServerError, Value};

use crate::cluster::slot::Slots;
use crate::config::Address;
use crate::events::ConnectionEvent;
use crate::frame::Frame;
use crate::prefix::KeyPrefix;
use crate::prefix::replies::strip_push;
use crate::pubsub::machine::{Kind, Name};

/// The maximum number of messages per poll, so that their receivers and the callers of the shared connection run in between.
pub(super) const MESSAGES_PER_TURN: usize = 32;

/// Receives the events and messages of a link.
pub(crate) trait Listener {
    /// Something happened to the link, which speaks this version of RESP with the server at `address`.
    fn on_event(&mut self, event: &ConnectionEvent, protocol: u8, address: Option<&Address>);

    /// Something was published.
    fn heard(&mut self, heard: PushMessage);
}

/// A message. All names are without the prefix.
pub(crate) enum PushMessage {
    Message {
        topic: Name,
        channel: Vec<u8>,
        payload: Vec<u8>,
    },
    /// An event of a key that is not ours, on a channel that all share.
    Foreign {
        topic: Name,
    },
    /// The server ended a subscription on its own account.
    Revoked {
        topic: Name,
    },
}

/// The kind of a received frame.
pub(super) enum ClassifiedFrame {
    /// The answer to the oldest question.
    Answer(Value),
    PushMessage(PushMessage),
    Nothing,
}

/// Distinguishes replies from messages. `oldest` is the command that is answered next, if it has a caller.
pub(super) fn sort(value: Value, prefix: &KeyPrefix, oldest: Option<&Frame>) -> ClassifiedFrame {
    let (kind, data) = match value {
        Value::Push { kind, data } => (kind, data),
        // RESP2 says it with an ordinary array, and a subscriber asks nothing that is answered with such a one.
        Value::Array(mut all) => match all.first().and_then(word) {
            Some(kind) => (kind, all.split_off(1)),
            None => return ClassifiedFrame::Answer(Value::Array(all)),
        },
        Value::ServerError(error) if is_late(&error, prefix, oldest) => return ClassifiedFrame::Nothing,
        answer => return ClassifiedFrame::Answer(answer),
    };
    let Some(family) = family(&kind) else { return ClassifiedFrame::Nothing };
    // The channels that all share have no prefix in their names.
    let is_shared = matches!(data.first(), Some(Value::BulkString(name)) if name.starts_with(b"__keyevent@"));
    let shared = if is_shared { topic_of(family, &data) } else { None };
    let (stripped, leaked) = strip_push(prefix.as_str().as_bytes(), Value::Push { kind, data });
    if leaked > 0 {
        tracing::warn!(
            event = "prefix.message_names_dropped",
            names = leaked,
            "dropped names without the key prefix from a published message"
        );
    }
    let Some(Value::Push { kind, mut data }) = stripped else {
        let foreign = shared.filter(|_| leaked == 0);
        return foreign
            .map_or(ClassifiedFrame::Nothing, |topic| ClassifiedFrame::PushMessage(PushMessage::Foreign { topic }));
    };
    let Some(topic) = topic_of(family, &data) else { return ClassifiedFrame::Nothing };
    match kind {
        PushKind::Message | PushKind::PMessage | PushKind::SMessage => match (data.pop(), data.pop()) {
            (Some(payload), Some(channel)) => match (bytes(payload), bytes(channel)) {
                (Some(payload), Some(channel)) => {
                    ClassifiedFrame::PushMessage(PushMessage::Message { topic, channel, payload })
                }
                _ => ClassifiedFrame::Nothing,
            },
            _ => ClassifiedFrame::Nothing,
        },
        kind if oldest.is_some_and(|frame| confirms(&kind, &topic, frame)) => ClassifiedFrame::Answer(Value::Okay),
        PushKind::Unsubscribe | PushKind::PUnsubscribe | PushKind::SUnsubscribe => {
            ClassifiedFrame::PushMessage(PushMessage::Revoked { topic })
        }
        _ => ClassifiedFrame::Nothing,
    }
}

/// Whether it answers an SUNSUBSCRIBE that seems to be answered. A node whose slot moves away ends the subscription in the
/// words of a confirmation; if it was asked to at that moment, it replies MOVED to that after it, or CLUSTERDOWN where no
/// node has the slot.
fn is_late(error: &ServerError, prefix: &KeyPrefix, oldest: Option<&Frame>) -> bool {
    if !matches!(error.code(), "MOVED" | "CLUSTERDOWN") {
        return false;
    }
    let slot: Option<u16> = error.details().and_then(|words| words.split(' ').next()?.parse().ok());
    let mut words = oldest.into_iter().flat_map(|frame| frame.args());
    let asked = words.next().filter(|verb| matches!(*verb, b"SSUBSCRIBE" | b"SUNSUBSCRIBE")).and_then(|_| words.next());
    let slots = || Slots::new(prefix.as_str().as_bytes());
    asked.is_none_or(|channel| slot.is_some_and(|slot| slots().of_channel(channel) != slot))
}

fn word(first: &Value) -> Option<PushKind> {
    let Value::BulkString(word) = first else { return None };
    Some(match word.as_slice() {
        b"message" => PushKind::Message,
        b"pmessage" => PushKind::PMessage,
        b"smessage" => PushKind::SMessage,
        b"subscribe" => PushKind::Subscribe,
        b"psubscribe" => PushKind::PSubscribe,
        b"ssubscribe" => PushKind::SSubscribe,
        b"unsubscribe" => PushKind::Unsubscribe,
        b"punsubscribe" => PushKind::PUnsubscribe,
        b"sunsubscribe" => PushKind::SUnsubscribe,
        _ => return None,
    })
}

fn family(kind: &PushKind) -> Option<Kind> {
    Some(match kind {
        PushKind::Message | PushKind::Subscribe | PushKind::Unsubscribe => Kind::Channel,
        PushKind::PMessage | PushKind::PSubscribe | PushKind::PUnsubscribe => Kind::Pattern,
        PushKind::SMessage | PushKind::SSubscribe | PushKind::SUnsubscribe => Kind::Shard,
        _ => return None,
    })
}

/// The subscribed channel or pattern is named first.
fn topic_of(kind: Kind, data: &[Value]) -> Option<Name> {
    match data.first() {
        Some(Value::BulkString(name)) => Some(Name { kind, bytes: name.as_slice().into() }),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// Whether this is what the server says to that question.
fn confirms(kind: &PushKind, topic: &Name, asked: &Frame) -> bool {
    let verb: &[u8] = match kind {
        PushKind::Subscribe => b"SUBSCRIBE",
        PushKind::PSubscribe => b"PSUBSCRIBE",
        PushKind::SSubscribe => b"SSUBSCRIBE",
        PushKind::Unsubscribe => b"UNSUBSCRIBE",
        PushKind::PUnsubscribe => b"PUNSUBSCRIBE",
        PushKind::SUnsubscribe => b"SUNSUBSCRIBE",
        _ => return false,
    };
    let mut words = asked.args();
    words.next() == Some(verb) && words.next() == Some(&*topic.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    fn prefix() -> KeyPrefix {
        KeyPrefix::new("p?:").expect("valid")
    }

    #[test]
    fn a_confirmation_answers_its_own_question_only() {
        let asked = Frame::known("SUBSCRIBE").channel("a");
        let said = |name: &[u8]| Value::Push { kind: PushKind::Subscribe, data: vec![bulk(name), Value::Int(1)] };
        assert!(matches!(sort(said(b"p?:a"), &prefix(), Some(&asked)), ClassifiedFrame::Answer(Value::Okay)));
        assert!(matches!(sort(said(b"p?:b"), &prefix(), Some(&asked)), ClassifiedFrame::Nothing));
        assert!(matches!(sort(said(b"p?:a"), &prefix(), None), ClassifiedFrame::Nothing));
    }

    #[test]
    fn both_protocols_say_the_same() {
        let words = [&b"pmessage"[..], b"p\\?:a*", b"p?:ab", b"\0\xff"].map(bulk).to_vec();
        let push = Value::Push { kind: PushKind::PMessage, data: words[1..].to_vec() };
        for said in [push, Value::Array(words)] {
            let ClassifiedFrame::PushMessage(PushMessage::Message { topic, channel, payload }) =
                sort(said, &prefix(), None)
            else {
                panic!("no message");
            };
            assert_eq!((topic.kind, &*topic.bytes), (Kind::Pattern, &b"a*"[..]));
            assert_eq!((channel.as_slice(), payload.as_slice()), (&b"ab"[..], &b"\0\xff"[..]));
        }
    }

    /// Ablation: taken for an answer it is one too many, and the link ends for it.
    #[test]
    fn moved_answers_a_question_about_its_slot_only() {
        let moved =
            |slot: u16| redis::parse_redis_value(format!("-MOVED {slot} h:1\r\n").as_bytes()).expect("an error");
        let slot = Slots::new(b"p?:").of(b"a");
        let asked = Frame::known("SSUBSCRIBE").channel("a");
        assert!(matches!(sort(moved(slot), &prefix(), Some(&asked)), ClassifiedFrame::Answer(_)));
        let (other, ping) = (Frame::known("SSUBSCRIBE").channel("b"), Frame::known("CONFIG GET").arg("x"));
        for oldest in [Some(&other), Some(&ping), None] {
            assert!(matches!(sort(moved(slot), &prefix(), oldest), ClassifiedFrame::Nothing));
        }
    }

    /// Ablation: taken for an answer it is one too many, and the link ends for it.
    #[test]
    fn clusterdown_answers_a_question_about_a_shard_channel_only() {
        let down = || redis::parse_redis_value(b"-CLUSTERDOWN Hash slot not served\r\n").expect("an error");
        let asked = Frame::known("SSUBSCRIBE").channel("a");
        assert!(matches!(sort(down(), &prefix(), Some(&asked)), ClassifiedFrame::Answer(_)));
        let other = Frame::known("SUBSCRIBE").channel("b");
        for oldest in [Some(&other), None] {
            assert!(matches!(sort(down(), &prefix(), oldest), ClassifiedFrame::Nothing));
        }
    }

    #[test]
    fn what_is_neither_is_left_alone() {
        for answer in [Value::Array(vec![bulk(b"pong"), bulk(b"")]), Value::Okay, Value::Array(Vec::new())] {
            assert!(matches!(sort(answer.clone(), &prefix(), None), ClassifiedFrame::Answer(same) if same == answer));
        }
    }

    #[test]
    fn events_of_foreign_keys_are_distinguished_from_leaks() {
        let said = |channel: &[u8], payload: &[u8]| Value::Push {
            kind: PushKind::Message,
            data: vec![bulk(channel), bulk(payload)],
        };
        let of = |value| sort(value, &prefix(), None);
        let theirs = of(said(b"__keyevent@0__:del", b"other:k"));
        assert!(
            matches!(theirs, ClassifiedFrame::PushMessage(PushMessage::Foreign { topic }) if &*topic.bytes == b"__keyevent@0__:del")
        );
        let ours = of(said(b"__keyevent@0__:del", b"p?:k"));
        assert!(matches!(ours, ClassifiedFrame::PushMessage(PushMessage::Message { payload, .. }) if payload == b"k"));
        assert!(matches!(of(said(b"elsewhere", b"x")), ClassifiedFrame::Nothing));
    }
}
