//! Encodes a frame into the write buffer, and inserts the prefix.

use bytes::{BufMut, BytesMut};

use super::{Encoding, Extra, Frame, Source};
use crate::error::Result;
use crate::prefix::KeyPrefix;

/// A frame together with the prefix of its connection: the only type that can be written to a connection.
pub(crate) struct Sealed<'a> {
    frame: &'a Frame,
    prefix: &'a KeyPrefix,
}

impl<'a> Sealed<'a> {
    pub(crate) fn new(frame: &'a Frame, prefix: &'a KeyPrefix) -> Self {
        Self { frame, prefix }
    }

    /// Present for everything but a plain command.
    pub(crate) fn extra(&self) -> Option<&Extra> {
        self.frame.extra()
    }

    /// Joined commands, which are encoded in pieces; `None` for a single command.
    pub(crate) fn pieces(&self) -> Option<Encoding> {
        Encoding::of(self.frame, self.prefix)
    }

    /// Encodes a single command.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        self.encode_behind(&[], 0, out);
    }

    /// Encodes a command with the source of its script.
    pub(crate) fn encode_with(&self, source: &Source, out: &mut BytesMut) {
        self.encode_behind(source.long(), source.short_len() as u32, out);
    }

    /// Encodes a single command up to its last key, and returns the rest. The value of a SET may be megabytes, which
    /// are not copied.
    pub(crate) fn encode_front(&self, out: &mut BytesMut) -> &[u8] {
        self.front_behind(&[], 0, 0, out)
    }

    /// The size of its arguments in bytes, without the prefix.
    pub(crate) fn size(&self) -> usize {
        self.frame.encoded.len()
    }

    /// Encodes a command with `head` in place of its first `instead_of` bytes.
    #[inline]
    fn encode_behind(&self, head: &[u8], instead_of: u32, out: &mut BytesMut) {
        let rest = self.front_behind(head, instead_of, self.frame.encoded.len(), out);
        out.extend_from_slice(rest);
    }

    /// Encodes everything up to the last key, and reserves `more` bytes.
    #[inline]
    fn front_behind(&self, head: &[u8], instead_of: u32, more: usize, out: &mut BytesMut) -> &[u8] {
        // Dereferenced once, because the loop below would do it for each key.
        let (encoded, heads) = (&*self.frame.encoded, self.prefix.heads());
        let (plain, glob) = (self.prefix.as_str().as_bytes(), self.prefix.as_glob());
        let marks = if plain.is_empty() { &[] } else { &*self.frame.marks };
        out.reserve(head.len() + more + marks.len() * (glob.len() + 4) + 80);
        put_line(out, b'*', self.frame.arguments as usize);
        out.extend_from_slice(head);
        let mut from = instead_of;
        for mark in marks {
            // The `$` of the header is copied with the bytes before it.
            put_part(out, encoded, from, mark.header() + 1);
            from = mark.insert();
            if mark.is_plain()
                && let Some(ready) = heads.get(mark.len() as usize)
            {
                ready.write(out);
                continue;
            }
            let prefix = if mark.is_glob() { glob } else { plain };
            out.extend_from_slice(itoa::Buffer::new().format(mark.len() as usize + prefix.len()).as_bytes());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(part(encoded, mark.body(), mark.insert()));
            out.extend_from_slice(prefix);
        }
        encoded.get(from as usize..).unwrap_or_default()
    }
}

impl KeyPrefix {
    /// Encodes a frame without checks, for benchmarks.
    #[doc(hidden)]
    pub fn encode_frame(&self, frame: &Frame, out: &mut bytes::BytesMut) {
        Sealed::new(frame, self).encode(out);
    }

    /// The only way to create what a connection accepts, so an unprefixed path does not compile.
    ///
    /// # Errors
    /// If the frame was built from invalid arguments.
    pub(crate) fn seal<'a>(&'a self, frame: &'a Frame) -> Result<Sealed<'a>> {
        frame.check()?;
        Ok(Sealed::new(frame, self))
    }
}

/// Writes `$12\r\n` or `*3\r\n`. Most numbers have one or two digits, for which no call is needed.
#[inline]
pub(super) fn put_line(out: &mut impl BufMut, kind: u8, number: usize) {
    match number {
        0..10 => out.put_slice(&[kind, b'0' + number as u8, b'\r', b'\n']),
        10..100 => out.put_slice(&[kind, b'0' + (number / 10) as u8, b'0' + (number % 10) as u8, b'\r', b'\n']),
        _ => {
            out.put_u8(kind);
            out.put_slice(itoa::Buffer::new().format(number).as_bytes());
            out.put_slice(b"\r\n");
        }
    }
}

/// Appends a part of `bytes`. Most parts are short. A copy of fixed size needs no call, and the excess is truncated.
#[inline]
fn put_part(out: &mut BytesMut, bytes: &[u8], from: u32, to: u32) {
    const SHORT: usize = 64;
    let len = to.saturating_sub(from) as usize;
    match bytes.get(from as usize..).and_then(|rest| rest.first_chunk::<SHORT>()) {
        Some(chunk) if len <= SHORT => {
            let end = out.len() + len;
            out.extend_from_slice(chunk);
            out.truncate(end);
        }
        _ => out.extend_from_slice(part(bytes, from, to)),
    }
}

fn part(bytes: &[u8], from: u32, to: u32) -> &[u8] {
    bytes.get(from as usize..to as usize).unwrap_or_default()
}
