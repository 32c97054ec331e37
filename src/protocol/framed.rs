//! An established link: its socket, its buffers, and the count of written bytes, which proves which commands were sent.

use std::{
    collections::HashSet,
    io::{self, IoSlice},
    ops::Range,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BytesMut};
use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::decode::{Decoder, Limits, ProtocolError};
use crate::frame::{Encoding, Extra, Sealed};
use crate::transport::socket::Transport;

/// The space for one read from the socket.
const READ: usize = 64 * 1024;
/// With more unsent output than this, commands stay in the queue, where they can still expire.
const HIGH_WATER: usize = 256 * 1024;
/// The maximum number of bytes of a pipeline written per poll, so that other tasks of the thread can run.
const WRITE_PER_TURN: usize = 1024 * 1024;

/// A command of at least this size is written from its own buffer: copying it costs more than one extra system call.
const LARGE: usize = 64 * 1024;

/// An output buffer that held more than this is released after it is written, since a single large command fills it.
const KEEP: usize = 2 * HIGH_WATER;

/// The maximum number of remembered scripts. Services have few, and one that generates scripts must not exhaust
/// memory.
const SCRIPTS: usize = 1024;

/// A socket with encoders for commands and a decoder for replies.
pub(crate) struct Wire {
    transport: Transport,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    /// The unencoded rest of a pipeline that exceeds the output limit.
    unfinished: Option<Encoding>,
    /// The scripts whose source was sent on this link.
    scripts: HashSet<[u8; 20]>,
    encoded: u64,
    written: u64,
    needs_flush: bool,
    /// The output held more than it may keep.
    oversized_output: bool,
}

impl Wire {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            decoder: Decoder::new(Limits::default()),
            input: BytesMut::with_capacity(READ),
            output: BytesMut::with_capacity(READ),
            unfinished: None,
            scripts: HashSet::new(),
            encoded: 0,
            written: 0,
            needs_flush: false,
            oversized_output: false,
        }
    }

    /// Whether another command should be encoded now.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < HIGH_WATER && self.unfinished.is_none()
    }

    /// Whether to write now: without room the following commands would wait in the queue.
    pub(crate) fn is_half_full(&self) -> bool {
        self.output.len() >= HIGH_WATER / 2
    }

    /// The number of bytes of this link's stream that the socket accepted.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Encodes a command, and returns its range in the stream.
    pub(crate) fn encode(&mut self, command: &Sealed<'_>) -> Range<u64> {
        let start = self.encoded;
        if let Some(pieces) = command.pieces() {
            self.encoded += pieces.len();
            self.unfinished = Some(pieces);
            self.refill();
        } else {
            let before = self.output.len();
            match command.extra() {
                Some(Extra::Script(script)) if self.is_new(script.digest()) => {
                    command.encode_with(script, &mut self.output);
                }
                None if command.size() >= LARGE && self.transport.is_write_vectored() => {
                    let rest = command.encode_front(&mut self.output);
                    self.encoded += (self.output.len() - before + rest.len()) as u64;
                    self.write_past(rest);
                    return start..self.encoded;
                }
                _ => command.encode(&mut self.output),
            }
            self.encoded += (self.output.len() - before) as u64;
        }
        start..self.encoded
    }

    /// Encodes ASKING, which applies to the next command.
    pub(crate) fn encode_asking(&mut self) {
        const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
        self.output.extend_from_slice(ASKING);
        self.encoded += ASKING.len() as u64;
    }

    /// Encodes CLIENT CACHING YES: the server tracks the keys of the next command.
    pub(crate) fn encode_caching(&mut self) {
        const CACHING: &[u8] = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n";
        self.output.extend_from_slice(CACHING);
        self.encoded += CACHING.len() as u64;
    }

    /// Writes the encoded bytes and then `rest` to the socket, and buffers the remainder. An error is returned by the
    /// next [`poll_flush`](Self::poll_flush).
    fn write_past(&mut self, rest: &[u8]) {
        let pieces = [IoSlice::new(&self.output), IoSlice::new(rest)];
        let mut cx = Context::from_waker(Waker::noop());
        let taken = match Pin::new(&mut self.transport).poll_write_vectored(&mut cx, &pieces) {
            Poll::Ready(Ok(taken)) => taken,
            _ => 0,
        };
        self.written += taken as u64;
        self.needs_flush |= taken > 0;
        let ahead = taken.min(self.output.len());
        self.output.advance(ahead);
        self.output.extend_from_slice(rest.get(taken - ahead..).unwrap_or_default());
    }

    /// Whether the server may not know a script. It may also have removed one, and then replies with NOSCRIPT.
    fn is_new(&mut self, digest: &[u8; 20]) -> bool {
        if self.scripts.len() >= SCRIPTS && !self.scripts.contains(digest) {
            self.scripts.clear();
        }
        self.scripts.insert(*digest)
    }

    /// Encodes more of a large pipeline after most of the encoded part was written.
    fn refill(&mut self) {
        if !self.is_half_full()
            && let Some(pieces) = &mut self.unfinished
            && pieces.fill(&mut self.output, HIGH_WATER)
        {
            self.unfinished = None;
        }
    }

    /// Whether all output was written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.output.is_empty() && self.unfinished.is_none() && !self.needs_flush
    }

    /// Writes until the socket is full or all output was written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut budget = WRITE_PER_TURN;
        // The capacity is no indication: written bytes are not part of it, but still held.
        self.oversized_output |= self.output.len() > KEEP;
        while !self.output.is_empty() {
            match Pin::new(&mut self.transport).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(taken)) => {
                    self.output.advance(taken);
                    self.written += taken as u64;
                    self.needs_flush = true;
                    if self.unfinished.is_some() {
                        self.refill();
                        budget = budget.saturating_sub(taken);
                        if budget == 0 {
                            cx.waker().wake_by_ref();
                            return Poll::Pending;
                        }
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if std::mem::take(&mut self.oversized_output) {
            self.output = BytesMut::with_capacity(READ);
        }
        // A TLS session may hold back accepted bytes.
        if self.needs_flush {
            match Pin::new(&mut self.transport).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the socket accepts now. An error or a full socket is handled by the next
    /// [`poll_flush`](Self::poll_flush), since this attempt registers no waker.
    pub(crate) fn flush_now(&mut self) {
        let _ = self.poll_flush(&mut Context::from_waker(Waker::noop()));
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.is_empty()
            && let Some(mut body) = self.decoder.direct()
        {
            return pin!(self.transport.read_buf(&mut body)).poll(cx);
        }
        self.input.reserve(READ);
        pin!(self.transport.read_buf(&mut self.input)).poll(cx)
    }

    /// Whether there are read bytes that were not decoded.
    pub(crate) fn has_unread(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether a reply is incomplete.
    pub(crate) fn is_within_reply(&self) -> bool {
        self.has_unread() || self.decoder.is_incomplete()
    }

    /// The limit that a reply exceeded, if [`next_reply`](Self::next_reply) failed for that reason.
    pub(crate) fn oversized_reply(&self) -> Option<ProtocolError> {
        self.decoder.oversized_reply()
    }

    /// Decodes the next reply from the read bytes.
    pub(crate) fn next_reply(&mut self) -> Result<Option<Value>, ProtocolError> {
        let mut used = 0;
        let reply = self.decoder.decode(&self.input, &mut used);
        self.input.advance(used);
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::prefix::KeyPrefix;
    use std::future::poll_fn;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    /// Ablation: if the rest that the socket does not accept is dropped, fewer bytes are written than were encoded.
    #[tokio::test]
    async fn a_large_value_is_written_from_its_own_buffer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (mut far, _) = listener.accept().await.expect("accepted");
        let mut wire = Wire::new(Transport::Tcp(near));
        let prefix = KeyPrefix::new("p:").expect("valid");
        // The last frames meet a full socket.
        let frames = [1, LARGE, 10, 1 << 20, LARGE - 1, 8 << 20, 3, LARGE, 1 << 20]
            .map(|len| Frame::new("SET").key("k").arg(vec![len as u8; len]));
        let mut expected = BytesMut::new();
        for frame in &frames {
            let sealed = prefix.seal(frame).expect("valid");
            let span = wire.encode(&sealed);
            assert_eq!(span.start, expected.len() as u64);
            sealed.encode(&mut expected);
            assert_eq!(span.end, expected.len() as u64);
        }
        assert!(wire.written() > 0, "the socket was offered them at once");
        let len = expected.len();
        let reader = tokio::spawn(async move {
            let mut read = vec![0; len];
            far.read_exact(&mut read).await.expect("read");
            read
        });
        poll_fn(|cx| wire.poll_flush(cx)).await.expect("written");
        assert_eq!(wire.written(), len as u64);
        assert!(reader.await.expect("no panic") == expected, "in order and nothing left out");
    }

    #[tokio::test]
    async fn a_reply_is_incomplete_until_its_last_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (mut far, _) = listener.accept().await.expect("accepted");
        let mut wire = Wire::new(Transport::Tcp(near));
        assert!(!wire.is_within_reply());
        // In the line of a length, in a string, between the elements of an array.
        let parts: [(&[u8], bool); 5] =
            [(b"$", true), (b"5\r\nhel", true), (b"lo\r\n", false), (b"*2\r\n:1\r\n", true), (b":2\r\n", false)];
        for (part, is_within) in parts {
            far.write_all(part).await.expect("sent");
            assert!(poll_fn(|cx| wire.poll_fill(cx)).await.expect("read") > 0);
            let whole = wire.next_reply().expect("valid");
            assert_eq!((wire.is_within_reply(), whole.is_none()), (is_within, is_within), "{}", part.escape_ascii());
        }
    }

    /// Ablation: if a unit is encoded as a whole, like a single command, the output grows to 20 MB.
    #[tokio::test]
    async fn a_large_pipeline_is_never_copied_whole_and_pauses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        let (mut far, _) = listener.accept().await.expect("accepted");
        let mut wire = Wire::new(Transport::Tcp(near));
        let unit = Frame::join((0..20_000).map(|n| Frame::new("SET").key(format!("key:{n}")).arg(vec![b'v'; 1000])));
        let prefix = KeyPrefix::new("p:").expect("valid");
        let span = wire.encode(&prefix.seal(&unit).expect("valid"));
        assert!(!wire.has_room(), "the next command must not get in between");
        let reader = tokio::spawn(async move {
            let mut read = 0;
            let mut buffer = vec![0; 1 << 16];
            while read < span.end {
                read += far.read(&mut buffer).await.expect("read") as u64;
            }
            read
        });
        let (mut largest, mut most, mut turns) = (0, 0, 0);
        poll_fn(|cx| {
            let before = wire.written();
            let done = wire.poll_flush(cx);
            turns += 1;
            largest = largest.max(wire.output.capacity());
            most = most.max(wire.written() - before);
            done
        })
        .await
        .expect("written");
        assert_eq!(reader.await.expect("no panic"), span.end);
        assert!(largest <= 4 * HIGH_WATER, "an output of {largest} bytes");
        assert!(most <= (WRITE_PER_TURN + HIGH_WATER) as u64, "{most} bytes in one of {turns} turns");
        assert!(wire.has_room());
    }
}
