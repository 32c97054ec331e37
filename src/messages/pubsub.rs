//! Publishing; receiving is a subscription, not a message.

use redis::ToSingleRedisArg;

use crate::frame::Frame;
use crate::prefix::channels::{Channel, ONLY_THE_SERVER, channel as rule};

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
    /// Publishes `payload` in `channel`, which gets the prefix as a key does. On the `__keyevent@n__:` channels,
    /// which every service listens to, only the server may speak.
    pub fn new(channel: impl AsRef<[u8]>, payload: impl ToSingleRedisArg) -> Self {
        let channel = channel.as_ref();
        let frame = Frame::known("PUBLISH").channel(channel).arg(payload);
        Self::of(if rule(channel) == Channel::Keyevent { frame.invalid(ONLY_THE_SERVER) } else { frame })
    }
}

command! {
    /// `SPUBLISH`: sends a payload to the subscribers of a shard channel; the reply is how many clients of this server
    /// got it. For servers from 7.0 on.
    ///
    /// ```
    /// use redis_actix::{Command, SPublish};
    ///
    /// assert_eq!(SPublish::new("orders", "hi").frame().name(), "SPUBLISH");
    /// ```
    SPublish => u64
}

impl SPublish {
    /// Publishes `payload` in the shard channel `channel`, which gets the prefix as a key does.
    pub fn new(channel: impl AsRef<[u8]>, payload: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("SPUBLISH").channel(channel).arg(payload))
    }
}
