//! Publishing. To receive messages use a subscription.

use redis::ToSingleRedisArg;

use crate::frame::{Frame, ReplyKeys};
use crate::prefix::channels::{Channel, ONLY_THE_SERVER, channel as rule};

command! {
    /// `PUBLISH`: sends a payload to the subscribers of a channel. The reply is the number of clients of this server
    /// that received it. It is not stored for later subscribers.
    ///
    /// ```
    /// use redis_actix::{Command, Publish};
    ///
    /// assert_eq!(Publish::new("alerts", "hi").frame().args().nth(1), Some(&b"alerts"[..]));
    /// ```
    Publish => u64
}

impl Publish {
    /// Publishes `payload` on `channel`, which gets the prefix like a key. Publishing on `__keyevent@n__:` channels,
    /// which all services share, is refused.
    pub fn new(channel: impl AsRef<[u8]>, payload: impl ToSingleRedisArg) -> Self {
        let channel = channel.as_ref();
        let frame = Frame::known("PUBLISH").channel(channel).arg(payload);
        Self::of(if rule(channel) == Channel::Keyevent { frame.invalid(ONLY_THE_SERVER) } else { frame })
    }
}

command! {
    /// `SPUBLISH`: sends a payload to the subscribers of a shard channel. The reply is the number of clients of this
    /// server that received it. Needs Redis 7.0.
    ///
    /// ```
    /// use redis_actix::{Command, SPublish};
    ///
    /// assert_eq!(SPublish::new("orders", "hi").frame().name(), "SPUBLISH");
    /// ```
    SPublish => u64
}

impl SPublish {
    /// Publishes `payload` on the shard channel `channel`, which gets the prefix like a key.
    pub fn new(channel: impl AsRef<[u8]>, payload: impl ToSingleRedisArg) -> Self {
        Self::of(Frame::known("SPUBLISH").channel(channel).arg(payload))
    }
}

command! {
    /// `PUBSUB CHANNELS`: the channels with subscribers that match a glob pattern.
    PubSubChannels => Vec<Vec<u8>>
}

impl PubSubChannels {
    /// Channels that match `pattern`. The prefix is matched literally.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("PUBSUB CHANNELS").channel_pattern(pattern).reply_keys(ReplyKeys::Channels))
    }
}

command! {
    /// `PUBSUB SHARDCHANNELS`: the shard channels with subscribers that match a glob pattern. Needs Redis 7.0.
    PubSubShardChannels => Vec<Vec<u8>>
}

impl PubSubShardChannels {
    /// Shard channels that match `pattern`. The prefix is matched literally.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("PUBSUB SHARDCHANNELS").channel_pattern(pattern).reply_keys(ReplyKeys::Channels))
    }
}

command! {
    /// `PUBSUB NUMSUB`: the number of subscribers of channels, without those of patterns.
    PubSubNumSub => Vec<(Vec<u8>, u64)>
}

impl PubSubNumSub {
    /// Counts the subscribers of `channels`.
    pub fn new<C: AsRef<[u8]>>(channels: impl IntoIterator<Item = C>) -> Self {
        let frame = Frame::known("PUBSUB NUMSUB").reply_keys(ReplyKeys::ChannelCounts);
        Self::of(channels.into_iter().fold(frame, Frame::channel))
    }
}

command! {
    /// `PUBSUB SHARDNUMSUB`: the number of subscribers of shard channels. Needs Redis 7.0.
    PubSubShardNumSub => Vec<(Vec<u8>, u64)>
}

impl PubSubShardNumSub {
    /// Counts the subscribers of `channels`.
    pub fn new<C: AsRef<[u8]>>(channels: impl IntoIterator<Item = C>) -> Self {
        let frame = Frame::known("PUBSUB SHARDNUMSUB").reply_keys(ReplyKeys::ChannelCounts);
        Self::of(channels.into_iter().fold(frame, Frame::channel))
    }
}
