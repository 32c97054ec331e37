//! What a consumer may do beyond reading one stream.

use std::time::Duration;

use super::builder::StreamConsumerBuilder;

#[derive(Debug)]
pub(crate) struct Extras {
    weight: u32,
    more: Vec<(String, u32)>,
    pub(crate) delete_acknowledged: bool,
    pub(crate) scheduled_every: Option<Duration>,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            weight: 1,
            more: Vec::new(),
            delete_acknowledged: false,
            scheduled_every: Some(Duration::from_millis(500)),
        }
    }
}

impl Extras {
    /// Every stream with its weight, the one that the consumer was named for first.
    pub(crate) fn streams(&self, first: String) -> Vec<(String, u32)> {
        let mut streams = vec![(first, self.weight)];
        for (stream, weight) in &self.more {
            match streams.iter_mut().find(|(known, _)| known == stream) {
                Some(known) => known.1 = *weight,
                None => streams.push((stream.clone(), *weight)),
            }
        }
        streams
    }
}

impl<L> StreamConsumerBuilder<L> {
    /// Reads another stream as well, through the same group name and for the same handler;
    /// [`Delivery::stream`](crate::Delivery::stream) tells which one an entry is of. Each stream has a connection of
    /// its own, a window of its own and its own dead letters; handlers are shared: while several streams have
    /// entries, each gets handlers in proportion to its weight, 1 to 1,000,000. The first stream has weight 1 unless
    /// [`weight`](Self::weight) says otherwise.
    pub fn stream(mut self, stream: impl Into<String>, weight: u32) -> Self {
        self.extras.more.push((stream.into(), weight.clamp(1, 1_000_000)));
        self
    }

    /// The weight of the first stream, 1 to 1,000,000; see [`stream`](Self::stream). Default 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.extras.weight = weight.clamp(1, 1_000_000);
        self
    }

    /// Removes entries from the stream when they are acknowledged, as soon as every group of the stream has
    /// acknowledged them: by `XACKDEL .. ACKED` where the server has it (Redis 8.2), else by a script that does the
    /// same. Off by default: entries stay until they are trimmed.
    pub fn delete_acknowledged(mut self) -> Self {
        self.extras.delete_acknowledged = true;
        self
    }

    /// How often, at least every 10 ms, to look for messages whose time has come; see
    /// [`Redis::schedule`](crate::Redis::schedule). One that is due sooner than the next look, and that this
    /// consumer knows of, is moved in time. Default 500 ms.
    pub fn scheduled_every(mut self, pause: Duration) -> Self {
        self.extras.scheduled_every = Some(pause.max(Duration::from_millis(10)));
        self
    }

    /// Leaves scheduled messages to other consumers.
    pub fn without_scheduled(mut self) -> Self {
        self.extras.scheduled_every = None;
        self
    }
}
