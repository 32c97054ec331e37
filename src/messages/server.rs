//! The server itself.

use crate::frame::Frame;

command! {
    /// `PING`: answered when the connection works and the server is willing to serve.
    ///
    /// ```
    /// use redis_actix::{Command, Ping};
    ///
    /// assert_eq!(Ping::new().frame().name(), "PING");
    /// ```
    Ping => ()
}

impl Ping {
    /// A ping without a payload.
    #[expect(clippy::new_without_default, reason = "messages are made by new; a default one says nothing")]
    pub fn new() -> Self {
        Self::of(Frame::known("PING").read_only())
    }
}
