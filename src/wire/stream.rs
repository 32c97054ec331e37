//! One established link: its socket, its two buffers, and the count of bytes that proves what left.

use std::{
    io,
    ops::Range,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, BytesMut};
use redis::Value;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::decode::{Decoder, Limits, ProtocolError};
use super::transport::Transport;
use crate::frame::Sealed;

/// Room for one read from the socket.
const READ: usize = 64 * 1024;
/// Beyond this much unsent output commands stay in the queue, where their deadline can still drop them.
const HIGH_WATER: usize = 256 * 1024;

/// A socket with commands encoded for it and replies decoded from it.
pub(crate) struct Wire {
    transport: Transport,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    encoded: u64,
    written: u64,
    needs_flush: bool,
}

impl Wire {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            transport,
            decoder: Decoder::new(Limits::default()),
            input: BytesMut::with_capacity(READ),
            output: BytesMut::with_capacity(READ),
            encoded: 0,
            written: 0,
            needs_flush: false,
        }
    }

    /// Whether another command should be encoded now.
    pub(crate) fn has_room(&self) -> bool {
        self.output.len() < HIGH_WATER
    }

    /// How many bytes of this link's stream its socket has accepted.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Encodes a command and returns its place in the stream.
    pub(crate) fn encode(&mut self, command: &Sealed<'_>) -> Range<u64> {
        let before = self.output.len();
        command.encode(&mut self.output);
        let start = self.encoded;
        self.encoded += (self.output.len() - before) as u64;
        start..self.encoded
    }

    /// Writes until the socket takes no more or nothing is left.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.transport).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(taken)) => {
                    self.output.advance(taken);
                    self.written += taken as u64;
                    self.needs_flush = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // A TLS session may hold back what it has accepted.
        if self.needs_flush {
            match Pin::new(&mut self.transport).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the socket takes at once. An error is left for the next [`poll_flush`](Self::poll_flush)
    /// to meet, and so is a full socket: nobody is woken for this attempt.
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

    /// The next reply among the bytes that were read.
    pub(crate) fn next_reply(&mut self) -> Result<Option<Value>, ProtocolError> {
        let mut used = 0;
        let reply = self.decoder.decode(&self.input, &mut used);
        self.input.advance(used);
        reply
    }
}
