//! A resumable RESP2 and RESP3 decoder into [`redis::Value`].
//!
//! The caller owns the read buffer and hands over what is unread; [`Decoder::decode`] moves the position over what it
//! used. It gives the values that redis-rs' own parser gives, with these exceptions, each held by a test:
//!
//! - Stricter: numbers carry no blanks and at most 19 digits; `_` is followed by nothing; a big number is made of digits;
//!   -1 is the only negative length, and only where RESP2 knew a nil (`$`, `*`, `~`); a push has at least its kind; an
//!   error text is no longer than a line. Lengths beyond the [`Limits`] are refused as soon as they are announced.
//! - More lenient: a status that is not UTF-8 becomes a bulk string with every byte kept, and an error that is not UTF-8 is
//!   shown with replacement characters. Redis quotes a caller's bytes in `ERR unknown command`, and one binary
//!   argument must not cost everybody the link.
//! - Attributes (`|`) are read and dropped wherever they stand: what they belong to follows, and is a reply, an error or a
//!   push as if they were not there. No server sends them unasked, and their names would need the key prefix taken off.

use bytes::BufMut;
use bytes::buf::Limit;
use redis::Value;

mod limits;
mod partial;
mod scalar;
#[cfg(test)]
mod tests;

pub(crate) use limits::{Limits, ProtocolError};
use partial::{Kind, Partial};
use scalar::{BodyKind, number};

/// How far beyond the bytes that arrived room is made for a string still arriving. An announced length is a claim: half a
/// gigabyte reserved for each `$536870912` would let a hostile peer exhaust memory with thirteen bytes.
const AHEAD: usize = 64 * 1024;

/// From this many missing bytes on it pays to read from the socket into the value itself: one more call, no copy.
const DIRECT: usize = 4 * 1024;

/// Turns bytes into values, resumable wherever the bytes end.
///
/// Nothing is scanned twice: a string that is still arriving lives in its own vector, an aggregate on an explicit stack.
/// So neither 64 MiB in small reads nor an array of a million elements costs more than its length, and nested replies
/// need no call stack.
#[derive(Debug)]
pub(crate) struct Decoder {
    limits: Limits,
    /// Aggregates whose elements are still arriving, outermost first; never longer than the depth limit.
    stack: Vec<Partial>,
    resume: Resume,
    /// Bytes after the type byte of an unfinished line that were searched for its end already.
    scanned: usize,
    /// Elements that the reply under way may still announce, over all its levels.
    elements_left: usize,
    /// Bytes of text that the reply under way may still hold.
    bytes_left: usize,
    /// The longest string acceptable now: the smaller of the string limit and `bytes_left`, one comparison for both.
    longest: usize,
    /// What broke a rule is a push, and no reply.
    failed_in_push: bool,
}

/// What the next byte of the input is.
#[derive(Debug)]
enum Resume {
    /// The first byte of an element.
    Element,
    /// A byte inside a string of announced length, or of the line end behind it.
    Body(Body),
    /// The first byte of the value that the attributes before it belong to.
    Attributed,
    /// Nothing: the peer broke the protocol, and where the next reply starts is not known any more.
    Failed(ProtocolError),
}

/// A string of announced length that has not arrived completely.
#[derive(Debug)]
struct Body {
    kind: BodyKind,
    len: usize,
    bytes: Vec<u8>,
}

/// What one look at the input gave.
enum Element {
    Value(Value),
    Open(Kind, usize),
    Starved,
}

impl Decoder {
    /// A decoder at the start of a reply.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            stack: Vec::new(),
            resume: Resume::Element,
            scanned: 0,
            elements_left: limits.elements,
            bytes_left: limits.reply,
            longest: limits.bulk.min(limits.reply),
            failed_in_push: false,
            limits,
        }
    }

    /// The next value of `input` from `pos` on, or `None` when more bytes are needed.
    ///
    /// `pos` moves over everything that was used. After `None` the bytes from `pos` on must be there again, at the front of
    /// the next call's input or wherever its `pos` says, followed by new ones; there are never more of them than one line.
    /// An error is final, every later call repeats it: drop the link.
    #[inline]
    pub(crate) fn decode(&mut self, input: &[u8], pos: &mut usize) -> Result<Option<Value>, ProtocolError> {
        let decoded = match self.element(input, pos) {
            Ok(Element::Value(value)) if self.stack.is_empty() => return Ok(Some(value)),
            Ok(element) => self.nested(element, input, pos),
            Err(error) => Err(error),
        };
        if let Err(error) = decoded {
            self.fail(error);
        }
        decoded
    }

    /// Room in a large string that is still arriving, for reading from the socket straight into it.
    ///
    /// Only valid when the last [`decode`](Self::decode) returned `None` with its input used up: bytes put here come after
    /// everything that was decoded. Call `decode` afterwards as usual.
    pub(crate) fn direct(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        let Resume::Body(body) = &mut self.resume else {
            return None;
        };
        let missing = body.len - body.bytes.len();
        if missing < DIRECT {
            return None;
        }
        body.make_room(DIRECT);
        let spare = body.bytes.capacity() - body.bytes.len();
        Some((&mut body.bytes).limit(missing.min(spare)))
    }

    /// Whether a reply has begun to arrive and is not complete. Bytes that the caller still holds are not counted.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.stack.is_empty() || matches!(self.resume, Resume::Body(_) | Resume::Attributed)
    }

    /// The limit that the reply under way exceeds, if that is why decoding failed: the command that it answers is to blame.
    pub(crate) fn oversized_reply(&self) -> Option<ProtocolError> {
        match self.resume {
            Resume::Failed(error) if error.is_limit() && !self.failed_in_push => Some(error),
            _ => None,
        }
    }

    /// The element at `pos`. Aggregates are only announced here: this is the path of `+OK`, `:1` and small strings, which
    /// must not touch the stack.
    #[inline]
    fn element(&mut self, input: &[u8], pos: &mut usize) -> Result<Element, ProtocolError> {
        if !matches!(self.resume, Resume::Element) {
            return self.resumed(input, pos);
        }
        let rest = input.get(*pos..).unwrap_or_default();
        let Some((&tag, after)) = rest.split_first() else {
            return Ok(Element::Starved);
        };
        match tag {
            b'$' => {
                let Some((len, used)) = number(after)? else {
                    return Ok(Element::Starved);
                };
                let Some(len) = scalar::length(len)? else {
                    *pos += 1 + used;
                    return Ok(Element::Value(Value::Nil));
                };
                self.check_body(len)?;
                let body = after.get(used..).unwrap_or_default();
                if let Some((bytes, tail)) = body.split_at_checked(len)
                    && let [b'\r', b'\n', ..] = tail
                {
                    *pos += 1 + used + len + 2;
                    return Ok(Element::Value(Value::BulkString(bytes.to_vec())));
                }
                *pos += 1 + used;
                self.begin_body(BodyKind::Bulk, len, input, pos)
            }
            b':' => {
                let Some((value, used)) = number(after)? else {
                    return Ok(Element::Starved);
                };
                *pos += 1 + used;
                Ok(Element::Value(Value::Int(value)))
            }
            b'+' if after.starts_with(b"OK\r\n") => {
                self.scanned = 0;
                *pos += 5;
                Ok(Element::Value(Value::Okay))
            }
            _ => self.uncommon(tag, after, input, pos),
        }
    }

    /// The types that are not on the hot path.
    fn uncommon(&mut self, tag: u8, after: &[u8], input: &[u8], pos: &mut usize) -> Result<Element, ProtocolError> {
        match tag {
            b'+' | b'-' | b',' | b'(' => {
                let Some(line) = self.line(after)? else {
                    return Ok(Element::Starved);
                };
                *pos += 1 + line.len() + 2;
                scalar::text(tag, line).map(Element::Value)
            }
            b'_' | b'#' => {
                let Some((value, used)) = scalar::constant(tag, after)? else {
                    return Ok(Element::Starved);
                };
                *pos += 1 + used;
                Ok(Element::Value(value))
            }
            b'=' | b'!' => {
                let Some((len, used)) = number(after)? else {
                    return Ok(Element::Starved);
                };
                let len = scalar::count(len)?;
                let kind = if tag == b'=' { BodyKind::Verbatim } else { BodyKind::Error };
                if kind == BodyKind::Error && len > self.limits.line {
                    return Err(ProtocolError::LineLength(self.limits.line));
                }
                self.check_body(len)?;
                *pos += 1 + used;
                self.begin_body(kind, len, input, pos)
            }
            _ => {
                let kind = Kind::of(tag)?;
                let Some((len, used)) = number(after)? else {
                    return Ok(Element::Starved);
                };
                let len = match kind {
                    Kind::Array | Kind::Set => scalar::length(len)?,
                    Kind::Map | Kind::Attribute | Kind::Push => Some(scalar::count(len)?),
                };
                *pos += 1 + used;
                Ok(len.map_or(Element::Value(Value::Nil), |len| Element::Open(kind, len)))
            }
        }
    }

    /// Fills aggregates until the outermost one is complete or the input ends.
    fn nested(&mut self, first: Element, input: &[u8], pos: &mut usize) -> Result<Option<Value>, ProtocolError> {
        let mut element = first;
        let reply = loop {
            let value = match element {
                Element::Starved => return Ok(None),
                Element::Value(value) => {
                    self.charge(&value)?;
                    Some(value)
                }
                Element::Open(kind, len) => self.open(kind, len)?,
            };
            if let Some(value) = value
                && let Some(reply) = self.hand_up(value)?
            {
                break reply;
            }
            // Empty behind the attributes of a whole reply.
            if !self.stack.is_empty()
                && let Some(reply) = self.plain_elements(input, pos)?
            {
                break reply;
            }
            element = self.element(input, pos)?;
        };
        self.renew_budgets();
        Ok(Some(reply))
    }

    fn renew_budgets(&mut self) {
        self.elements_left = self.limits.elements;
        self.bytes_left = self.limits.reply;
        self.longest = self.limits.bulk.min(self.limits.reply);
    }

    /// Goes on with whole strings, integers and arrays, which most long replies are made of, without handing each from one
    /// function to the next. What is not as simple is left where it is.
    fn plain_elements(&mut self, input: &[u8], pos: &mut usize) -> Result<Option<Value>, ProtocolError> {
        let mut rest = input.get(*pos..).unwrap_or_default();
        let mut reply = None;
        while reply.is_none()
            && let [tag @ (b'$' | b':' | b'*'), after @ ..] = rest
            && let Some((number, used)) = number(after)?
        {
            let mut behind = after.get(used..).unwrap_or_default();
            let value = match tag {
                b':' => Value::Int(number),
                tag => match scalar::length(number)? {
                    None => Value::Nil,
                    Some(len) if *tag == b'*' => {
                        rest = behind;
                        if let Some(empty) = self.open(Kind::Array, len)? {
                            reply = self.hand_up(empty)?;
                            if self.stack.is_empty() {
                                break;
                            }
                        }
                        continue;
                    }
                    Some(len) if len > self.longest => break,
                    Some(len) => {
                        let Some((bytes, [b'\r', b'\n', next @ ..])) = behind.split_at_checked(len) else { break };
                        behind = next;
                        self.bytes_left -= len;
                        self.longest = self.limits.bulk.min(self.bytes_left);
                        Value::BulkString(bytes.to_vec())
                    }
                },
            };
            rest = behind;
            if self.stack.last_mut().is_some_and(|parent| parent.push(value)) {
                reply = self.close()?;
                if self.stack.is_empty() {
                    break;
                }
            }
        }
        *pos = input.len() - rest.len();
        Ok(reply)
    }

    /// Gives a value to the aggregate it belongs to. What belongs to none is the reply.
    fn hand_up(&mut self, value: Value) -> Result<Option<Value>, ProtocolError> {
        let Some(parent) = self.stack.last_mut() else {
            return Ok(Some(value));
        };
        if parent.push(value) { self.close() } else { Ok(None) }
    }

    /// Ends the innermost aggregate, and every one that it was the last element of. What is left at the end is the reply.
    fn close(&mut self) -> Result<Option<Value>, ProtocolError> {
        while let Some(complete) = self.stack.pop() {
            if complete.kind() == Kind::Attribute {
                self.attributes_end();
                break;
            }
            let value = complete.finish()?;
            let Some(parent) = self.stack.last_mut() else {
                return Ok(Some(value));
            };
            if !parent.push(value) {
                break;
            }
        }
        Ok(None)
    }

    /// Drops attributes. Between the elements of an aggregate nothing else is to be done: the next one is the value.
    fn attributes_end(&mut self) {
        if self.stack.is_empty() {
            self.resume = Resume::Attributed;
            self.renew_budgets();
        }
    }

    /// Starts an aggregate of `len` elements (pairs, where it has pairs), or gives it at once when it has none.
    fn open(&mut self, kind: Kind, len: usize) -> Result<Option<Value>, ProtocolError> {
        self.failed_in_push = kind == Kind::Push && self.stack.is_empty();
        let elements = kind
            .elements(len)
            .filter(|elements| *elements <= self.elements_left)
            .ok_or(ProtocolError::Elements(self.limits.elements))?;
        self.elements_left -= elements;
        let partial = Partial::new(kind, elements);
        if elements == 0 {
            if kind == Kind::Attribute {
                self.attributes_end();
                return Ok(None);
            }
            return partial.finish().map(Some);
        }
        // Its elements would be one level below it, and there is at least one.
        if self.stack.len() + 1 >= self.limits.depth {
            return Err(ProtocolError::Depth(self.limits.depth));
        }
        self.stack.push(partial);
        Ok(None)
    }

    /// Takes what `value` holds from the reply's budget: without it many strings of an acceptable length each would still
    /// add up to any amount of memory.
    fn charge(&mut self, value: &Value) -> Result<(), ProtocolError> {
        self.bytes_left =
            self.bytes_left.checked_sub(scalar::weight(value)).ok_or(ProtocolError::ReplySize(self.limits.reply))?;
        self.longest = self.limits.bulk.min(self.bytes_left);
        Ok(())
    }

    #[inline]
    fn check_body(&self, len: usize) -> Result<(), ProtocolError> {
        if len <= self.longest {
            Ok(())
        } else if len > self.limits.bulk {
            Err(ProtocolError::BulkLength(self.limits.bulk))
        } else {
            Err(ProtocolError::ReplySize(self.limits.reply))
        }
    }

    /// The line that starts `after`, without its end.
    fn line<'a>(&mut self, after: &'a [u8]) -> Result<Option<&'a [u8]>, ProtocolError> {
        let mut from = self.scanned;
        let end = loop {
            let unseen = after.get(from..).unwrap_or_default();
            let Some(at) = unseen.iter().position(|byte| *byte == b'\r') else {
                from = after.len();
                break None;
            };
            match unseen.get(at + 1) {
                Some(b'\n') => break Some(from + at),
                Some(_) => from += at + 1,
                None => {
                    from += at;
                    break None;
                }
            }
        };
        // `from` counts text only, never the first half of the line's end: the same bytes are refused on any split.
        if end.unwrap_or(from) > self.limits.line {
            return Err(ProtocolError::LineLength(self.limits.line));
        }
        self.scanned = if end.is_some() { 0 } else { from };
        Ok(end.and_then(|end| after.get(..end)))
    }

    fn begin_body(
        &mut self,
        kind: BodyKind,
        len: usize,
        input: &[u8],
        pos: &mut usize,
    ) -> Result<Element, ProtocolError> {
        self.resume = Resume::Body(Body { kind, len, bytes: Vec::new() });
        self.resumed(input, pos)
    }

    /// Goes on with the string under way.
    fn resumed(&mut self, input: &[u8], pos: &mut usize) -> Result<Element, ProtocolError> {
        let body = match &mut self.resume {
            Resume::Body(body) => body,
            Resume::Failed(error) => return Err(*error),
            Resume::Element => return Ok(Element::Starved),
            Resume::Attributed => return self.attributed(input, pos),
        };
        let rest = input.get(*pos..).unwrap_or_default();
        let (bytes, tail) = rest.split_at(rest.len().min(body.len - body.bytes.len()));
        body.make_room(bytes.len());
        body.bytes.extend_from_slice(bytes);
        *pos += bytes.len();
        if body.bytes.len() < body.len {
            return Ok(Element::Starved);
        }
        match tail {
            [b'\r', b'\n', ..] => {
                let (kind, bytes) = (body.kind, std::mem::take(&mut body.bytes));
                self.resume = Resume::Element;
                *pos += 2;
                scalar::body(kind, bytes).map(Element::Value)
            }
            [] | [b'\r'] => Ok(Element::Starved),
            _ => Err(ProtocolError::BodyEnd),
        }
    }

    /// The value behind attributes.
    #[cold]
    fn attributed(&mut self, input: &[u8], pos: &mut usize) -> Result<Element, ProtocolError> {
        self.resume = Resume::Element;
        let element = self.element(input, pos)?;
        if matches!((&element, &self.resume), (Element::Starved, Resume::Element)) {
            self.resume = Resume::Attributed;
        }
        Ok(element)
    }

    #[cold]
    fn fail(&mut self, error: ProtocolError) {
        self.failed_in_push = match self.stack.first() {
            Some(outermost) => outermost.kind() == Kind::Push,
            None => self.failed_in_push && matches!(error, ProtocolError::Elements(_)),
        };
        self.resume = Resume::Failed(error);
        self.stack = Vec::new();
    }
}

impl Body {
    /// Makes room for `more` bytes: twice what has arrived, at least [`AHEAD`] beyond it, never more than was announced.
    /// Doubling keeps the copying of a growing string in proportion to its length; a fixed step would copy 64 MiB a
    /// thousand times.
    fn make_room(&mut self, more: usize) {
        let have = self.bytes.len();
        if self.bytes.capacity() - have >= more {
            return;
        }
        let arrived = have + more;
        let capacity = self.len.min(arrived + arrived.max(AHEAD));
        self.bytes.reserve_exact(capacity - have);
    }
}
