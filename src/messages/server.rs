//! Commands about the server.

use crate::frame::Frame;

command! {
    /// `PING`: checks that the connection works and the server accepts commands.
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
    #[expect(clippy::new_without_default, reason = "messages are made by new; a default one would be unclear")]
    pub fn new() -> Self {
        Self::of(Frame::known("PING").read_only())
    }
}
