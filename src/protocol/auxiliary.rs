//! Links of the crate's own beside those of callers: questions to a sentinel, and what it publishes.

use std::{collections::VecDeque, future::poll_fn, io, time::Duration};

use redis::Value;
use tokio::time::Instant;

use super::framed::Wire;
use super::handshake::{Handshake, published};
use super::optional_steps::Omitted;
use crate::connection::endpoint::Endpoint;
use crate::connection::params::ConnectParams;
use crate::connection::session::establish_within;
use crate::error::Error;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::prefix::KeyPrefix;
use crate::transport::dial::Target;

/// A link for queries and published messages.
pub(crate) struct Auxiliary {
    wire: Wire,
    target: Target,
    is_sentinel: bool,
    protocol: u8,
    subscribed: bool,
    /// Messages that were published while a reply was awaited.
    messages: VecDeque<String>,
}

impl Auxiliary {
    /// Connects within `limit`, plus the time that the credentials take.
    pub(crate) async fn connect(connect_params: &ConnectParams, limit: Duration) -> Result<Self, Cause> {
        let session = establish_within(connect_params, limit, |_| {}).await?;
        Ok(Self {
            wire: session.wire,
            target: Target { address: session.address, ..connect_params.target.clone() },
            is_sentinel: matches!(connect_params.place, Endpoint::Sentinel),
            protocol: session.server_info.protocol,
            subscribed: false,
            messages: VecDeque::new(),
        })
    }

    /// Sends a query, and waits up to `limit` for the reply.
    ///
    /// # Errors
    /// If the link broke or the reply did not arrive in time. The link is unusable then.
    pub(crate) async fn ask(self, question: &Frame, limit: Duration) -> Result<(Self, Result<Value, Error>), Cause> {
        let Self { wire, target, is_sentinel, protocol, subscribed, mut messages } = self;
        let mut handshake = Handshake::new(wire, &target, is_sentinel, Omitted::ALL, Instant::now() + limit);
        let answer = handshake.ask(question).await?;
        let Handshake { wire, messages: heard, .. } = handshake;
        messages.extend(heard);
        Ok((Self { wire, target, is_sentinel, protocol, subscribed, messages }, answer))
    }

    /// Whether queries can be sent: not in RESP2 after a subscription.
    pub(crate) fn may_ask(&self) -> bool {
        self.protocol >= 3 || !self.subscribed
    }

    /// Subscribes to `channel`.
    pub(crate) fn subscribe(&mut self, channel: &str) -> Result<(), Cause> {
        let subscribe = Frame::known("SUBSCRIBE").arg(channel);
        let no_prefix = KeyPrefix::none();
        let sealed = no_prefix.seal(&subscribe).map_err(|error| Cause::new(CauseKind::Refused, error.to_string()))?;
        self.wire.encode(&sealed);
        self.subscribed = true;
        Ok(())
    }

    /// The next message.
    ///
    /// # Errors
    /// If the link broke, or the server refused the subscription.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub(crate) async fn next_message(&mut self) -> Result<String, Cause> {
        let broken =
            |error: io::Error| Cause::new(CauseKind::Broken, format!("the connection to the sentinel broke: {error}"));
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(message);
            }
            poll_fn(|cx| self.wire.poll_flush(cx)).await.map_err(broken)?;
            let malformed = |error: super::decode::ProtocolError| Cause::new(CauseKind::Protocol, error.to_string());
            while let Some(value) = self.wire.next_reply().map_err(malformed)? {
                if let Value::ServerError(error) = value {
                    return Err(self.refusal("SUBSCRIBE", &Error::server(error.code(), error.details())));
                }
                self.messages.extend(published(value));
            }
            if self.messages.is_empty() && poll_fn(|cx| self.wire.poll_fill(cx)).await.map_err(broken)? == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// The cause for an error reply to `question`.
    pub(crate) fn refusal(&self, question: &str, error: &Error) -> Cause {
        let code = error.code().unwrap_or_default();
        let kind = if code == "NOPERM" { CauseKind::Refused } else { CauseKind::NotReady };
        let whose = if self.is_sentinel { "sentinel" } else { "server" };
        let address = &self.target.address;
        Cause::new(kind, format!("the {whose} {address} answered {question} with {code}: {}", error.message()))
    }
}
