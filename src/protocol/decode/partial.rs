//! Incomplete aggregates.

use redis::{PushKind, Value};

use super::limits::ProtocolError;

/// The capacity that is reserved initially. Each level of a hostile reply may announce millions of elements: a
/// hundred levels of this capacity use less than three megabytes, and longer replies grow as their elements arrive.
const AHEAD: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Array,
    Set,
    Push,
    Map,
    Attribute,
}

impl Kind {
    pub(super) fn of(tag: u8) -> Result<Self, ProtocolError> {
        match tag {
            b'*' => Ok(Self::Array),
            b'~' => Ok(Self::Set),
            b'>' => Ok(Self::Push),
            b'%' => Ok(Self::Map),
            b'|' => Ok(Self::Attribute),
            b';' | b'.' => Err(ProtocolError::Streamed),
            other => Err(ProtocolError::UnknownType(other)),
        }
    }

    /// The number of elements for an announced length; `None` on overflow.
    pub(super) fn elements(self, len: usize) -> Option<usize> {
        match self {
            Self::Array | Self::Set | Self::Push => Some(len),
            // The value of attributes follows as a separate element.
            Self::Map | Self::Attribute => len.checked_mul(2),
        }
    }
}

/// An aggregate with its received elements.
#[derive(Debug)]
pub(super) struct Partial {
    kind: Kind,
    /// The number of missing elements.
    missing: usize,
    items: Vec<Value>,
    pairs: Vec<(Value, Value)>,
    /// A key without its value.
    key: Option<Value>,
}

impl Partial {
    pub(super) fn new(kind: Kind, elements: usize) -> Self {
        let ahead = elements.min(AHEAD);
        let (items, pairs) = match kind {
            Kind::Array | Kind::Set | Kind::Push => (ahead, 0),
            Kind::Map => (0, ahead / 2),
            Kind::Attribute => (0, 0),
        };
        Self { kind, missing: elements, items: Vec::with_capacity(items), pairs: Vec::with_capacity(pairs), key: None }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Adds an element. Returns whether it was the last.
    #[inline]
    pub(super) fn push(&mut self, value: Value) -> bool {
        match self.kind {
            Kind::Array | Kind::Set | Kind::Push => self.items.push(value),
            Kind::Map => match self.key.take() {
                None => self.key = Some(value),
                Some(key) => self.pairs.push((key, value)),
            },
            // Attributes are dropped.
            Kind::Attribute => {}
        }
        self.missing -= 1;
        self.missing == 0
    }

    pub(super) fn finish(self) -> Result<Value, ProtocolError> {
        Ok(match self.kind {
            Kind::Array => Value::Array(self.items),
            Kind::Set => Value::Set(self.items),
            Kind::Map => Value::Map(self.pairs),
            // The decoder drops it.
            Kind::Attribute => Value::Nil,
            Kind::Push => {
                let mut items = self.items.into_iter();
                let kind = match items.next() {
                    Some(Value::SimpleString(kind)) => push_kind(kind),
                    Some(Value::BulkString(kind)) => {
                        push_kind(String::from_utf8(kind).map_err(|_| ProtocolError::PushKind)?)
                    }
                    _ => return Err(ProtocolError::PushKind),
                };
                Value::Push { kind, data: items.collect() }
            }
        })
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.items.capacity() * size_of::<Value>() + self.pairs.capacity() * size_of::<(Value, Value)>()
    }
}

fn push_kind(kind: String) -> PushKind {
    match kind.as_str() {
        "invalidate" => PushKind::Invalidate,
        "message" => PushKind::Message,
        "pmessage" => PushKind::PMessage,
        "smessage" => PushKind::SMessage,
        "unsubscribe" => PushKind::Unsubscribe,
        "punsubscribe" => PushKind::PUnsubscribe,
        "sunsubscribe" => PushKind::SUnsubscribe,
        "subscribe" => PushKind::Subscribe,
        "psubscribe" => PushKind::PSubscribe,
        "ssubscribe" => PushKind::SSubscribe,
        _ => PushKind::Other(kind),
    }
}
