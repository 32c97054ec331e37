//! A resumable RESP2 and RESP3 decoder into [`redis::Value`].
//!
//! The caller owns the read buffer and passes the unread part. [`Decoder::decode`] advances the position over the
//! bytes it used. It returns the same values as redis-rs' own parser, with these exceptions, each covered by a test:
//!
//! - Stricter: numbers have no blanks and a maximum of 19 digits; `_` is followed by a line end; a big number
//!   consists of digits;   -1 is the only negative length, and only for types with a nil in RESP2 (`$`, `*`, `~`); a
//!   push has at least its kind; an   error text is no longer than a line. Lengths beyond the [`Limits`] are refused
//!   as soon as they are announced.
//! - More lenient: a status that is not UTF-8 becomes a bulk string with all bytes, and an error that is not UTF-8
//!   gets   replacement characters. Redis quotes a caller's bytes in `ERR unknown command`, and one binary argument
//!   must not close   the shared link.
//! - Attributes (`|`) are decoded and dropped in every position; the value that follows is returned. Servers send
//!   them only   on request, and their names would need the removal of the key prefix.

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

/// The maximum reservation beyond the received bytes for an incomplete string. An announced length is only a claim:
/// reserving half a gigabyte for each `$536870912` would let a hostile peer exhaust memory with thirteen bytes.
const AHEAD: usize = 64 * 1024;

/// With at least this many missing bytes, reading from the socket directly into the value is cheaper: one more call,
/// no copy.
const DIRECT: usize = 4 * 1024;

/// Decodes bytes into values, and can be resumed at any byte.
///
/// No byte is scanned twice: an incomplete string is stored in its own vector, an aggregate on an explicit stack. So
/// both 64 MiB in small reads and an array of a million elements take time linear in their length, and nested replies
/// need no call stack.
#[derive(Debug)]
pub(crate) struct Decoder {
    limits: Limits,
    /// Incomplete aggregates, outermost first; limited by the depth limit.
    stack: Vec<Partial>,
    resume: Resume,
    /// The number of bytes of an incomplete line that were already searched for its end.
    scanned: usize,
    /// The number of elements that the current reply may still announce, over all levels.
    elements_left: usize,
    /// The number of text bytes that the current reply may still contain.
    bytes_left: usize,
    /// The longest string allowed now: the minimum of the string limit and `bytes_left`, so that one comparison
    /// checks both.
    longest: usize,
    /// The violation is in a push and not in a reply.
    failed_in_push: bool,
}

/// The meaning of the next input byte.
#[derive(Debug)]
enum Resume {
    /// The first byte of an element.
    Element,
    /// Inside a string of announced length, or its line end.
    Body(Body),
    /// The first byte of the value that follows attributes.
    Attributed,
    /// The peer violated the protocol, and the start of the next reply is unknown.
    Failed(ProtocolError),
}

/// An incomplete string of announced length.
#[derive(Debug)]
struct Body {
    kind: BodyKind,
    len: usize,
    bytes: Vec<u8>,
}

/// The result of decoding one element.
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

    /// Decodes the next value of `input` from `pos` on, or returns `None` if more bytes are needed.
    ///
    /// `pos` is advanced over the used bytes. After `None` the caller must pass the bytes from `pos` on again,
    /// followed by new ones, at the position that it passes then. The remaining bytes never exceed one line. An error
    /// is final, and every later call returns it: close the link.
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

    /// The spare capacity of a large incomplete string, for reading from the socket directly into it.
    ///
    /// Only valid if the last [`decode`](Self::decode) returned `None` and used all input, because the bytes are
    /// appended to everything that was decoded. Call `decode` afterwards as usual.
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

    /// Whether a reply is incomplete. Bytes that the caller still holds are not considered.
    pub(crate) fn is_incomplete(&self) -> bool {
        !self.stack.is_empty() || matches!(self.resume, Resume::Body(_) | Resume::Attributed)
    }

    /// The limit that the current reply exceeds, if decoding failed for that reason. Only its command fails then.
    pub(crate) fn oversized_reply(&self) -> Option<ProtocolError> {
        match self.resume {
            Resume::Failed(error) if error.is_limit() && !self.failed_in_push => Some(error),
            _ => None,
        }
    }

    /// Decodes the element at `pos`. Aggregates are only announced here: this is the hot path of `+OK`, `:1` and
    /// small strings, which must not touch the stack.
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
            // The stack is empty after the attributes of a whole reply.
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

    /// Decodes complete strings, integers and arrays in one loop, since most long replies consist of these. Other
    /// elements are left to the caller.
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

    /// Adds a value to its aggregate, or returns it as the reply.
    fn hand_up(&mut self, value: Value) -> Result<Option<Value>, ProtocolError> {
        let Some(parent) = self.stack.last_mut() else {
            return Ok(Some(value));
        };
        if parent.push(value) { self.close() } else { Ok(None) }
    }

    /// Completes the innermost aggregate, and every outer one of which it was the last element. Returns the reply if
    /// complete.
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

    /// Drops attributes. Inside an aggregate the next element is their value, so no more is needed.
    fn attributes_end(&mut self) {
        if self.stack.is_empty() {
            self.resume = Resume::Attributed;
            self.renew_budgets();
        }
    }

    /// Starts an aggregate of `len` elements (or pairs), or returns it immediately if it is empty.
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
        // Its elements would be one level deeper, and there is at least one.
        if self.stack.len() + 1 >= self.limits.depth {
            return Err(ProtocolError::Depth(self.limits.depth));
        }
        self.stack.push(partial);
        Ok(None)
    }

    /// Subtracts the size of `value` from the reply's budget: many strings of acceptable length could otherwise use
    /// unlimited memory.
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

    /// The line in `after`, without its end.
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
        // `from` counts text only, without a possible CR, so that the result does not depend on how the bytes are
        // split.
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

    /// Continues the incomplete string.
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

    /// Decodes the value after attributes.
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
    /// Reserves space for `more` bytes: twice the received length, at least [`AHEAD`] more, and never more than
    /// announced. Doubling makes the copying of a growing string linear in its length; a fixed step would copy 64 MiB
    /// a thousand times.
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
