//! Key names in replies: locates them and removes the prefix.
//!
//! A name without the prefix belongs to another service and must not reach the caller. It is dropped and counted.
//! Values are moved, never cloned.

use redis::{PushKind, ServerError, Value};

use super::channels::{Channel, Source, channel_pattern, source};
use super::glob::strip_escaped;
use super::table::lookup;

pub(crate) mod search;

/// The elements of a reply that are key names and lose the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReplyKeys {
    /// None.
    #[default]
    None,
    /// Element 0; the reply concerns that key alone (`BLPOP`, `LMPOP`).
    First,
    /// Every element (`KEYS`).
    Each,
    /// Every element of element 1, after the cursor (`SCAN`).
    ScanPage,
    /// Element 0 of each stream or time series; the keys of the map in RESP3 (`XREAD`, `TS.MGET`).
    Streams,
    /// Every element, a channel (`PUBSUB CHANNELS`).
    Channels,
    /// Every other element, a channel, followed by its count (`PUBSUB NUMSUB`).
    ChannelCounts,
    /// `sourceKey` and the keys of `rules` (`TS.INFO`).
    TimeSeries,
    /// The id of each document, which is followed by `width - 1` other elements in RESP2 (`FT.SEARCH`).
    Documents {
        /// The number of elements of each document.
        width: u8,
    },
    /// The field `__key` of each row (`FT.AGGREGATE`).
    Rows,
    /// The name of an index and its prefixes (`FT.INFO`).
    Index,
}

/// The rule for the reply to a command line.
pub(crate) fn reply_keys(argv: &[impl AsRef<[u8]>]) -> ReplyKeys {
    let Some(found) = lookup(argv) else {
        return ReplyKeys::None;
    };
    match (found.name.command, found.name.subcommand) {
        ("blpop" | "brpop" | "bzpopmin" | "bzpopmax" | "lmpop" | "blmpop" | "zmpop" | "bzmpop", None) => {
            ReplyKeys::First
        }
        ("xread" | "xreadgroup" | "ts.mget" | "ts.mrange" | "ts.mrevrange", None) => ReplyKeys::Streams,
        ("keys" | "ts.queryindex", None) => ReplyKeys::Each,
        ("scan", None) => ReplyKeys::ScanPage,
        ("pubsub", Some("channels" | "shardchannels")) => ReplyKeys::Channels,
        ("pubsub", Some("numsub" | "shardnumsub")) => ReplyKeys::ChannelCounts,
        ("ts.info", None) => ReplyKeys::TimeSeries,
        _ => ReplyKeys::None,
    }
}

/// Removes the prefix. Returns the reply and the number of dropped names.
pub(crate) fn strip(kind: ReplyKeys, prefix: &[u8], value: Value) -> (Value, usize) {
    let mut names = Names { prefix, leaked: 0 };
    let value = names.strip(kind, value);
    (value, names.leaked)
}

/// The replies of a transaction or a pipeline, each with the rule of its own command.
pub(crate) fn strip_each(kinds: impl IntoIterator<Item = ReplyKeys>, prefix: &[u8], value: Value) -> (Value, usize) {
    let mut names = Names { prefix, leaked: 0 };
    let value = match value {
        Value::Array(replies) => {
            let rules = kinds.into_iter().chain(std::iter::repeat(ReplyKeys::None));
            let stripped = replies.into_iter().zip(rules);
            Value::Array(stripped.map(|(reply, kind)| names.strip(kind, reply)).collect())
        }
        other => names.strip(ReplyKeys::None, other),
    };
    (value, names.leaked)
}

/// Removes the prefix from a published message, a confirmation or an invalidation. Returns `None` if it concerns no
/// key or channel with the prefix.
///
/// In RESP2 the kind is the first element of an array. A keyevent message about a key without the prefix is filtered
/// but not counted as a leak: all services share the channel.
pub(crate) fn strip_push(prefix: &[u8], value: Value) -> (Option<Value>, usize) {
    let mut names = Names { prefix, leaked: 0 };
    let value = match value {
        Value::Push { kind, mut data } => {
            let shape = Shape::of_push(&kind);
            let ours = shape.is_none_or(|shape| names.message(shape, &mut data));
            ours.then_some(Value::Push { kind, data })
        }
        Value::Array(mut all) if !all.is_empty() => {
            let mut data = all.split_off(1);
            let shape = all.first().and_then(Shape::of_word);
            let ours = shape.is_none_or(|shape| names.message(shape, &mut data));
            all.append(&mut data);
            ours.then_some(Value::Array(all))
        }
        other => Some(other),
    };
    (value, names.leaked)
}

/// The elements of a push message after its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Channel, payload.
    Message,
    /// Pattern, channel, payload.
    PatternMessage,
    /// Channel or nil, count.
    Channel,
    /// Pattern or nil, count.
    Pattern,
    /// A list of keys, or nil for all keys.
    Keys,
}

impl Shape {
    fn of_push(kind: &PushKind) -> Option<Self> {
        Some(match kind {
            PushKind::Message | PushKind::SMessage => Self::Message,
            PushKind::PMessage => Self::PatternMessage,
            PushKind::Subscribe | PushKind::SSubscribe | PushKind::Unsubscribe | PushKind::SUnsubscribe => {
                Self::Channel
            }
            PushKind::PSubscribe | PushKind::PUnsubscribe => Self::Pattern,
            PushKind::Invalidate => Self::Keys,
            _ => return None,
        })
    }

    fn of_word(word: &Value) -> Option<Self> {
        Some(match bytes(word)? {
            b"message" | b"smessage" => Self::Message,
            b"pmessage" => Self::PatternMessage,
            b"subscribe" | b"ssubscribe" | b"unsubscribe" | b"sunsubscribe" => Self::Channel,
            b"psubscribe" | b"punsubscribe" => Self::Pattern,
            b"invalidate" => Self::Keys,
            _ => return None,
        })
    }
}

struct Names<'a> {
    prefix: &'a [u8],
    leaked: usize,
}

impl Names<'_> {
    fn strip(&mut self, kind: ReplyKeys, value: Value) -> Value {
        match (kind, value) {
            (_, Value::ServerError(error)) => self.error(error),
            (_, Value::Attribute { data, attributes }) => {
                Value::Attribute { data: Box::new(self.strip(kind, *data)), attributes }
            }
            (ReplyKeys::First, Value::Array(mut reply)) => {
                let ours = reply.first_mut().is_none_or(|name| self.key(name));
                if ours { Value::Array(reply) } else { Value::Nil }
            }
            (ReplyKeys::Each, Value::Array(names)) => Value::Array(self.keys(names)),
            (ReplyKeys::Each, Value::Set(names)) => Value::Set(self.keys(names)),
            (ReplyKeys::ScanPage, Value::Array(mut page)) => {
                if let Some(names) = page.get_mut(1) {
                    let list = std::mem::take(names);
                    *names = self.strip(ReplyKeys::Each, list);
                }
                Value::Array(page)
            }
            (ReplyKeys::Streams, Value::Array(streams)) => {
                Value::Array(retain(streams, |stream| self.first_key(stream)))
            }
            (ReplyKeys::Streams, Value::Map(streams)) => Value::Map(retain(streams, |(name, _)| self.key(name))),
            (ReplyKeys::Channels, Value::Array(names)) => Value::Array(retain(names, |name| self.channel(name))),
            (ReplyKeys::Channels, Value::Set(names)) => Value::Set(retain(names, |name| self.channel(name))),
            (ReplyKeys::ChannelCounts, Value::Array(counts)) => {
                let counts = retain(pairs(counts), |(name, _)| self.channel(name));
                Value::Array(counts.into_iter().flat_map(|(a, b)| [a, b]).collect())
            }
            (ReplyKeys::ChannelCounts, Value::Map(counts)) => {
                Value::Map(retain(counts, |(name, _)| self.channel(name)))
            }
            (ReplyKeys::TimeSeries, Value::Array(fields)) => {
                let fields = pairs(fields).into_iter();
                Value::Array(
                    fields
                        .flat_map(|(name, value)| {
                            let value = self.field(&name, value);
                            [name, value]
                        })
                        .collect(),
                )
            }
            (ReplyKeys::TimeSeries, Value::Map(fields)) => Value::Map(
                fields
                    .into_iter()
                    .map(|(name, value)| {
                        let value = self.field(&name, value);
                        (name, value)
                    })
                    .collect(),
            ),
            (ReplyKeys::Documents { width }, value) => search::documents(self, usize::from(width.max(1)), value),
            (ReplyKeys::Rows, value) => search::rows(self, value),
            (ReplyKeys::Index, value) => search::index(self, value),
            (_, value) => value,
        }
    }

    fn keys(&mut self, names: Vec<Value>) -> Vec<Value> {
        retain(names, |name| self.key(name))
    }

    /// Removes the prefix from a name. Returns `false` if the name lacks it.
    fn key(&mut self, name: &mut Value) -> bool {
        let ours = cut(name, 0, self.prefix.len(), |text| text.starts_with(self.prefix));
        self.leaked += usize::from(!ours);
        ours
    }

    /// [`Names::key`] for the first element of an array.
    fn first_key(&mut self, list: &mut Value) -> bool {
        match list {
            Value::Array(items) => items.first_mut().is_none_or(|name| self.key(name)),
            _ => true,
        }
    }

    fn channel(&mut self, name: &mut Value) -> bool {
        let offset = match bytes(name).map(source) {
            // No part of a keyevent channel's name belongs to a service.
            Some(Source::Keyevent) => return true,
            Some(Source::Named(offset)) => offset,
            None => 0,
        };
        let ours = cut(name, offset, self.prefix.len(), |text| text.starts_with(self.prefix));
        self.leaked += usize::from(!ours);
        ours
    }

    fn pattern(&mut self, pattern: &mut Value) -> bool {
        let Some(text) = bytes(pattern) else {
            return false;
        };
        let offset = match channel_pattern(text) {
            Channel::Keyevent => return true,
            Channel::At(offset) => offset,
            Channel::Refused(_) => 0,
        };
        let own = text.get(offset..).unwrap_or_default();
        let Some(rest) = strip_escaped(own, self.prefix) else {
            self.leaked += 1;
            return false;
        };
        let escaped = own.len() - rest.len();
        cut(pattern, offset, escaped, |_| true)
    }

    fn message(&mut self, shape: Shape, data: &mut [Value]) -> bool {
        match (shape, data) {
            (Shape::Message, [channel, payload]) => self.payload(channel, payload),
            (Shape::PatternMessage, [pattern, channel, payload]) => {
                self.pattern(pattern) && self.payload(channel, payload)
            }
            (Shape::Channel, [Value::Nil, ..]) | (Shape::Pattern, [Value::Nil, ..]) => true,
            (Shape::Channel, [channel, ..]) => self.channel(channel),
            (Shape::Pattern, [pattern, ..]) => self.pattern(pattern),
            (Shape::Keys, [keys]) => {
                let list = std::mem::take(keys);
                *keys = self.strip(ReplyKeys::Each, list);
                // Nil stands for every key; an empty list means that no key had the prefix.
                !matches!(keys, Value::Array(names) if names.is_empty())
            }
            // An unknown shape is dropped, since any of its elements might be a name.
            _ => {
                self.leaked += 1;
                false
            }
        }
    }

    fn payload(&mut self, channel: &mut Value, payload: &mut Value) -> bool {
        if bytes(channel).map(source) == Some(Source::Keyevent) {
            let prefix = self.prefix;
            return cut(payload, 0, prefix.len(), |text| text.starts_with(prefix));
        }
        self.channel(channel)
    }

    fn field(&mut self, name: &Value, mut value: Value) -> Value {
        match (bytes(name), &mut value) {
            (Some(b"sourceKey" | b"keySelfName"), Value::BulkString(_) | Value::SimpleString(_)) => {
                if self.key(&mut value) { value } else { Value::Nil }
            }
            (Some(b"rules"), _) => self.strip(ReplyKeys::Streams, value),
            _ => value,
        }
    }

    /// Only NOGROUP quotes a key, and search quotes the names of indexes.
    fn error(&mut self, error: ServerError) -> Value {
        let text = match (error.code(), error.details()) {
            ("NOGROUP", Some(text)) => text,
            (code, Some(text)) => {
                let prefix = String::from_utf8_lossy(self.prefix);
                return match search::error(&prefix, code, text) {
                    Some((code, text)) => server_error(&format!("{code} {text}"), error),
                    None => Value::ServerError(error),
                };
            }
            _ => return Value::ServerError(error),
        };
        let text = match strip_quoted(self.prefix, text) {
            Quoted::None => return Value::ServerError(error),
            Quoted::Ours(text) => text,
            Quoted::Leak => {
                self.leaked += 1;
                "no such key or consumer group".to_owned()
            }
        };
        server_error(&format!("NOGROUP {text}"), error)
    }
}

/// An error with this text. `ServerError` has no constructor, so the server's line is parsed.
fn server_error(line: &str, error: ServerError) -> Value {
    match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
        Ok(value @ Value::ServerError(_)) => value,
        _ => Value::ServerError(error),
    }
}

/// The key that an error text quotes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Quoted {
    /// No key is quoted.
    None,
    /// The text without the prefix.
    Ours(String),
    /// The key lacks the prefix.
    Leak,
}

/// Removes the prefix from the key that a NOGROUP error quotes. Call it for this code only, because texts change.
///
/// `No such key 'k' or consumer group 'g' ...` quotes the key first, `No such consumer group 'g' for key name 'k'`
/// quotes it last. The group name is chosen by the caller and may contain either text.
pub(crate) fn strip_quoted(prefix: &[u8], text: &str) -> Quoted {
    const LAST: &str = "for key name '";
    const FIRST: &str = "No such key '";
    let at = match (text.starts_with(FIRST), text.rfind(LAST)) {
        (true, _) => FIRST.len(),
        (false, Some(at)) => at + LAST.len(),
        (false, None) => return Quoted::None,
    };
    let Some((before, quoted)) = text.split_at_checked(at) else {
        return Quoted::None;
    };
    // The text contains replacement characters where the key is not UTF-8, so the prefix is converted in the same
    // way.
    match quoted.strip_prefix(String::from_utf8_lossy(prefix).as_ref()) {
        Some(own) => Quoted::Ours(format!("{before}{own}")),
        None => Quoted::Leak,
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(text) => Some(text),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// Removes `length` bytes at `offset` in place if `ours` accepts the bytes from there on.
fn cut(name: &mut Value, offset: usize, length: usize, ours: impl Fn(&[u8]) -> bool) -> bool {
    if let Value::SimpleString(text) = name {
        *name = Value::BulkString(std::mem::take(text).into_bytes());
    }
    match name {
        Value::BulkString(text) if text.len() >= offset + length && text.get(offset..).is_some_and(ours) => {
            text.drain(offset..offset + length);
            true
        }
        _ => false,
    }
}

fn retain<T>(mut items: Vec<T>, keep: impl FnMut(&mut T) -> bool) -> Vec<T> {
    items.retain_mut(keep);
    items
}

fn pairs(flat: Vec<Value>) -> Vec<(Value, Value)> {
    let mut items = flat.into_iter();
    std::iter::from_fn(|| Some((items.next()?, items.next().unwrap_or_default()))).collect()
}

#[cfg(test)]
mod tests;
