//! A new login on a link that is up.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Driver;
use crate::actors::ticket::Waiter;
use crate::core::link::Event;
use crate::error::Result;
use crate::events::{Cause, CauseKind, ConnectionState};
use crate::frame::Frame;
use crate::messages::Command;

/// AUTH on the connection's own behalf.
struct Auth;

impl actix::Message for Auth {
    type Result = Result<()>;
}

impl Command for Auth {
    type Reply = ();

    fn frame(&self) -> Frame {
        Frame::default()
    }

    fn reply(_: redis::Value) -> Result<()> {
        Ok(())
    }
}

/// AUTH that was sent on one link.
pub(crate) struct LoginSent {
    /// Where the link leads.
    pub(crate) address: String,
    pub(crate) answer: oneshot::Receiver<Result<()>>,
}

impl Driver {
    /// Logs in with these credentials on the link that is up. A link that is being made, or waits for its next attempt, is made
    /// anew and asks for the credentials of now by itself.
    pub(crate) fn log_in(&mut self, auth: &Frame) -> Option<LoginSent> {
        match self.link.state() {
            ConnectionState::Connecting => self.feed(Event::Redirected),
            ConnectionState::Backoff | ConnectionState::Parked => self.hurry(),
            ConnectionState::Ready if self.listener.is_some() && self.greeting.protocol < 3 => {
                let words = "the credentials have changed, and a link that has subscribed in RESP2 cannot log in";
                self.lose(Cause::new(CauseKind::Broken, words));
                self.hurry();
            }
            ConnectionState::Ready => {
                let (reply, answer) = oneshot::channel();
                let ticket = Box::new(Waiter::<Auth, _>::new(auth.clone().pinned().own(), reply));
                self.submit_on(self.link.generation(), ticket, Some(Instant::now()));
                let address = self.located.as_ref().map(ToString::to_string).unwrap_or_default();
                return Some(LoginSent { address, answer });
            }
            ConnectionState::Idle | ConnectionState::Draining | ConnectionState::Closed => {}
        }
        None
    }
}
