//! Publishing; receiving is a subscription, not a message.

use redis::ToSingleRedisArg;

use crate::frame::Frame;

command! {
    /// `PUBLISH`: sends a payload to the subscribers of a channel; the reply is how many clients of this
    /// server got it. Nothing is kept for those who are not there.
    ///
    /// ```
    /// use redis_actix::{Command, Publish};
    ///
    /// assert_eq!(Publish::new("alerts", "hi").frame().args().nth(1), Some(&b"alerts"[..]));
    /// ```
    Publish => u64
}

impl Publish {
    /// Publishes `payload` in `channel`, which gets the prefix as a key does.
    pub fn new(channel: impl AsRef<[u8]>, payload: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::new("PUBLISH").channel(channel).arg(payload))
    }
}
