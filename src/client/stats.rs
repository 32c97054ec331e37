//! Statistics of a connection, without a request to the server.

use std::time::{Duration, Instant};

use super::{LinkInfo, NodeInfo, Redis};
use crate::cache::stats::CacheStats;
use crate::events::{Cause, CauseKind, ConnectionState};

/// Statistics of a connection and of everything that belongs to its handle; see [`Redis::stats`]. Totals count from
/// the start of the connection, over all links, and never decrease.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// The state of the connection.
    pub state: ConnectionState,
    /// The time since the last change of the state.
    pub in_state: Duration,
    /// The reason for a missing connection.
    pub cause: Option<Cause>,
    /// The number of commands that were written and have no reply yet.
    pub in_flight: usize,
    /// The number of commands that wait for a link, or for room in the in-flight window.
    pub queued: usize,
    /// The number of callers that wait in [`Redis::send`] because the limits of the queue are reached.
    pub waiting_for_room: usize,
    /// The bytes of commands in flight and queued, counted as for
    /// [`max_in_flight_bytes`](crate::RedisConfigBuilder::max_in_flight_bytes). Commands that were sent through the
    /// actor's address are not included.
    pub bytes: u64,
    /// Total of commands with a reply of the server, which may be an error.
    pub answered: u64,
    /// Total of commands that failed and were certainly not sent ([`Fate::NotSent`](crate::Fate::NotSent)), including
    /// those that found no room.
    pub not_sent: u64,
    /// Total of in-flight commands whose link was lost and that may have run
    /// ([`Fate::Unknown`](crate::Fate::Unknown)).
    pub unknown: u64,
    /// Total of commands whose deadline passed, or whose callers were gone.
    pub abandoned: u64,
    /// Total of retries of in-flight commands after a lost link.
    pub replays: u64,
    /// Total of established links that were lost, by the kind of the cause; kinds that never occurred are omitted.
    /// Each loss is followed by a reconnect unless the connection ends. Includes links to nodes and replicas,
    /// auxiliary connections, and those of subscriptions and stream readers.
    pub disconnects: Vec<(CauseKind, u64)>,
    /// Total of restarts of the actor by its supervisor.
    pub restarts: u64,
    /// The known nodes of a cluster; with sentinels the replicas that are used for reads. Round trips are not
    /// measured.
    pub nodes: Vec<NodeInfo>,
    /// The state of the subscription connection, if there is one.
    pub subscriptions: Option<ConnectionState>,
    /// The auxiliary connections.
    pub links: Vec<LinkInfo>,
    /// The statistics of client-side caching, if it is configured.
    pub cache: Option<CacheStats>,
}

impl Redis {
    /// Returns the current statistics, for example for a metrics scrape. It waits for nothing and sends no request,
    /// so it works during an outage and after a shutdown. The counts of one call may differ by the changes of one
    /// poll of the actor.
    ///
    /// ```no_run
    /// # fn example(redis: redis_actix::Redis) {
    /// let stats = redis.stats();
    /// println!("redis_in_flight {}", stats.in_flight);
    /// for (kind, count) in &stats.disconnects {
    ///     println!("redis_disconnects_total{{cause=\"{kind}\"}} {count}");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let status = shared.status.borrow().clone();
        let threads = self.thread_totals();
        let ended = shared.gauges.ended() + threads.ended;
        Stats {
            state: status.state,
            in_state: Instant::now().saturating_duration_since(status.since),
            cause: status.cause,
            in_flight: shared.gauges.in_flight() + threads.in_flight,
            queued: shared.gauges.queued() + threads.queued,
            waiting_for_room: shared.in_flight_limit.waiting() + threads.waiting_for_room,
            bytes: shared.in_flight_limit.bytes_inside() + threads.bytes,
            answered: ended.completed,
            not_sent: ended.failed,
            unknown: ended.unknown,
            abandoned: ended.abandoned,
            replays: shared.connect_params.losses.replays(),
            disconnects: shared.connect_params.losses.by_kind(),
            restarts: status.restarts,
            nodes: self.nodes(),
            subscriptions: self.pubsub().ok().and_then(|pubsub| pubsub.status()).map(|status| status.state),
            links: self.link_infos(),
            cache: shared.cache.as_ref().map(|cache| cache.stats()),
        }
    }
}
