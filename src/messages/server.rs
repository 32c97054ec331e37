//! The server itself.

use crate::frame::Frame;

command! {
    /// `PING`: whether the server answers.
    Ping => ()
}

impl Ping {
    /// Asks.
    pub fn new() -> Self {
        Self::of(Frame::new("PING").read_only())
    }
}

impl Default for Ping {
    fn default() -> Self {
        Self::new()
    }
}
