//! What a consumer does and has done, in numbers.

use std::{fmt, sync::Arc, time::Duration};

use crate::histogram::Histogram;

/// What a consumer does, and has done since it was started; see [`StreamConsumer::stats`](crate::StreamConsumer::stats).
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// The stream, without the prefix; of several the first one.
    pub stream: Arc<str>,
    /// What it is doing, in lower case: `connecting`, `waiting for its name`, `ensuring the group`, `recovering`, `live`,
    /// `paused`, `draining`, `closed`.
    pub state: &'static str,
    /// Entries with a handler.
    pub in_flight: usize,
    /// Entries in hand that wait for a handler.
    pub waiting: usize,
    /// Entries that wait for another attempt.
    pub delayed: usize,
    /// Acknowledgements that the server has not confirmed yet.
    pub unacknowledged: usize,
    /// How long ago the oldest entry in hand was added to the stream, by the server's clock then and this machine's
    /// now; `None` when nothing is in hand.
    pub oldest: Option<Duration>,
    /// What happens in a second.
    pub rates: Rates,
    /// From handing an entry out to its handler's answer.
    pub handler_latency: LatencyHistogram,
    /// From sending an acknowledgement to the server's answer.
    pub ack_latency: LatencyHistogram,
    /// Entries read for the first time.
    pub read: u64,
    /// Entries of this consumer that were delivered again after a start or a lost link.
    pub recovered: u64,
    /// Entries taken over from other consumers, or from an earlier attempt of this one.
    pub claimed: u64,
    /// Entries handed to handlers.
    pub delivered: u64,
    /// Entries acknowledged.
    pub acked: u64,
    /// Answers that asked for another attempt.
    pub retried: u64,
    /// Answers that gave an entry to somebody else.
    pub released: u64,
    /// Entries moved to the dead letters.
    pub dead_lettered: u64,
    /// Handlers that did not answer within their deadline.
    pub timed_out: u64,
    /// Entries that somebody else took over while they were in hand.
    pub lease_lost: u64,
    /// Entries that were removed from the stream before they were handled.
    pub trimmed: u64,
    /// Links lost by the reader.
    pub disconnects: u64,
    /// Entries that the group has not read yet, where the server knows; as of the last look: a second ago at most, 15 s where
    /// nothing is in hand and nothing comes. It
    /// may be too many, see [`GroupInfo::lag`](crate::GroupInfo::lag).
    pub lag: Option<u64>,
    /// Entries that are pending in the whole group, likewise.
    pub pending: Option<u64>,
}

impl ConsumerStats {
    /// What several streams of one consumer do together.
    pub(crate) fn sum(streams: Vec<Self>) -> Self {
        let mut streams = streams.into_iter();
        let mut all = streams.next().unwrap_or_default();
        for one in streams {
            all.in_flight += one.in_flight;
            all.waiting += one.waiting;
            all.delayed += one.delayed;
            all.unacknowledged += one.unacknowledged;
            all.oldest = all.oldest.max(one.oldest);
            all.rates.read += one.rates.read;
            all.rates.delivered += one.rates.delivered;
            all.rates.acked += one.rates.acked;
            all.handler_latency.0.add(&one.handler_latency.0);
            all.ack_latency.0.add(&one.ack_latency.0);
            all.read += one.read;
            all.recovered += one.recovered;
            all.claimed += one.claimed;
            all.delivered += one.delivered;
            all.acked += one.acked;
            all.retried += one.retried;
            all.released += one.released;
            all.dead_lettered += one.dead_lettered;
            all.timed_out += one.timed_out;
            all.lease_lost += one.lease_lost;
            all.trimmed += one.trimmed;
            all.disconnects += one.disconnects;
            all.lag = all.lag.zip(one.lag).map(|(all, one)| all + one);
            all.pending = all.pending.zip(one.pending).map(|(all, one)| all + one);
        }
        all
    }
}

/// Entries in a second, over about the last ten of them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Rates {
    /// Read for the first time.
    pub read: f64,
    /// Handed to handlers.
    pub delivered: f64,
    /// Acknowledged.
    pub acked: f64,
}

/// How long something took, over the life of a consumer. Values are off by an eighth at most; what took more than 19
/// hours counts as that.
#[derive(Clone)]
pub struct LatencyHistogram(Histogram);

impl LatencyHistogram {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        Self(histogram.clone())
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// Their mean, 0 when there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        self.0.mean()
    }

    /// The longest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.0.longest()
    }

    /// What that share (0.0 to 1.0) of all values does not exceed: `quantile(0.99)`. 0 when there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        self.0.quantile(share)
    }
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self(Histogram::new())
    }
}

impl fmt::Debug for LatencyHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatencyHistogram")
            .field("count", &self.count())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}
