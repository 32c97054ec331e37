//! Numbers of a connection, without asking the server.

use std::time::{Duration, Instant};

use super::{LinkInfo, NodeInfo, Redis};
use crate::events::{Cause, CauseKind, ConnectionState};

/// Numbers of a connection and of all that belong to its handle; see [`Redis::stats`]. Totals count from the start of the
/// connection, over all links, and never decrease.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// What the connection is doing.
    pub state: ConnectionState,
    /// For how long it has been doing that.
    pub in_state: Duration,
    /// Why there is no connection, if there is none.
    pub cause: Option<Cause>,
    /// Commands written to a link and not answered yet.
    pub in_flight: usize,
    /// Commands that wait for a link, or for room in flight.
    pub queued: usize,
    /// Callers that wait in [`Redis::send`], because the bounds of the queue are reached.
    pub waiting_for_room: usize,
    /// Bytes of the commands in flight and queued, counted as for
    /// [`max_in_flight_bytes`](crate::RedisConfigBuilder::max_in_flight_bytes). Commands sent through the address of the actor
    /// are not counted.
    pub bytes: u64,
    /// Total of commands that the server answered, with a value or with an error of its own.
    pub answered: u64,
    /// Total of commands that failed and were certainly not sent ([`Fate::NotSent`](crate::Fate::NotSent)), those that found
    /// no room included.
    pub not_sent: u64,
    /// Total of commands in flight whose link was lost and that may have run ([`Fate::Unknown`](crate::Fate::Unknown)).
    pub unknown: u64,
    /// Total of commands whose deadline passed, or whose callers went away.
    pub abandoned: u64,
    /// Total of times that a command in flight was put back into the queue because its link was lost.
    pub replays: u64,
    /// Total of established links that were lost, by the kind of the cause; kinds that never occurred are left out. Each is
    /// followed by a reconnect unless the connection ends. Links to nodes and replicas, further connections and those of
    /// subscriptions and stream readers are counted as well.
    pub disconnects: Vec<(CauseKind, u64)>,
    /// Total of restarts of the actor by its supervisor.
    pub restarts: u64,
    /// The nodes of a cluster as far as they are known; with sentinels the replicas that are read from. Round trips are not
    /// measured.
    pub nodes: Vec<NodeInfo>,
    /// What the connection of the subscriptions is doing, if there is one.
    pub subscriptions: Option<ConnectionState>,
    /// The connections beside the shared one.
    pub links: Vec<LinkInfo>,
}

impl Redis {
    /// The numbers of now, for a scrape: nothing is awaited and no server is asked, so it works during an outage and after a
    /// shutdown. The counts of one moment may be apart by what one turn of the actor changes.
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
        let ended = shared.gauges.ended();
        Stats {
            state: status.state,
            in_state: Instant::now().saturating_duration_since(status.since),
            cause: status.cause,
            in_flight: shared.gauges.in_flight(),
            queued: shared.gauges.queued(),
            waiting_for_room: shared.in_flight_limit.waiting(),
            bytes: shared.in_flight_limit.bytes_inside(),
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
        }
    }
}
