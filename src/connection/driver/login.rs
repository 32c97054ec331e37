//! A new login on a link that is up.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Driver;
use crate::connection::link_state::Event;
use crate::connection::request::Waiter;
use crate::error::{Fate, Result};
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

/// A login with other credentials that was begun on one connection.
pub(crate) struct LoginSent {
    /// Where the link leads.
    pub(crate) address: String,
    /// The link is replaced, and its successor logs in. Otherwise AUTH was sent on it.
    pub(crate) is_replaced: bool,
    pub(crate) answer: oneshot::Receiver<Result<()>>,
}

impl Driver {
    /// Logs in with these credentials. A link that is up is sent AUTH if there is room; otherwise it is replaced, as is a dial
    /// under way, and the next link asks for the credentials of now by itself. `None`: there is no link and none is wanted.
    pub(crate) fn log_in(&mut self, auth: &Frame) -> Option<LoginSent> {
        let (reply, answer) = oneshot::channel();
        let address = self.located.as_ref().map(ToString::to_string).unwrap_or_default();
        let subscribes = self.listener.is_some() && self.server_info.protocol < 3;
        if self.link.state() == ConnectionState::Ready && !subscribes && self.has_room_for(auth) {
            let ticket = Box::new(Waiter::<Auth, _>::new(auth.clone().pinned().own(), reply));
            self.submit_on(self.link.generation(), ticket, Some(Instant::now()));
            return Some(LoginSent { address, is_replaced: false, answer });
        }
        self.logins.retain(|login| !login.is_closed());
        match self.link.state() {
            ConnectionState::Connecting => {
                self.logins.push(reply);
                self.feed(Event::Redirected);
            }
            ConnectionState::Backoff | ConnectionState::Parked => {
                self.logins.push(reply);
                self.reconnect_now();
            }
            ConnectionState::Ready if subscribes => {
                self.logins.push(reply);
                let words = "the credentials have changed, and a link that has subscribed in RESP2 cannot log in";
                self.lose(Cause::new(CauseKind::Broken, words));
            }
            ConnectionState::Ready => {
                self.logins.push(reply);
                self.replace_link(Cause::new(CauseKind::Broken, "the credentials have changed"));
            }
            ConnectionState::Idle | ConnectionState::Draining | ConnectionState::Closed => return None,
        }
        Some(LoginSent { address, is_replaced: true, answer })
    }

    /// A dial has ended: its link has logged in with the credentials of now, or there is none.
    pub(super) fn answer_logins(&mut self, outcome: &Result<(), Cause>) {
        for login in self.logins.drain(..) {
            // One that is not waited for any more.
            let _ = login.send(outcome.clone().map_err(|cause| cause.error(Fate::NotSent)));
        }
    }
}
