//! Gauges and totals of a connection for the `metrics` facade.

use super::Stats;

impl Stats {
    /// Records these gauges and totals with the `metrics` facade: call `redis.stats().record_metrics("main")` before each
    /// scrape, or every few seconds. Durations of commands are recorded as they end.
    ///
    /// `pool` is the label `db.client.connection.pool.name`: one fixed name for each connection of the process, such as
    /// `"main"`. `docs/operations/metrics.md` lists the metrics.
    pub fn record_metrics(&self, pool: &'static str) {
        const POOL: &str = "db.client.connection.pool.name";
        let stats = self;
        let state = |wanted: bool| if wanted { 1.0 } else { 0.0 };
        let is_ready = stats.state == crate::events::ConnectionState::Ready;
        metrics::gauge!("redis.client.connected", POOL => pool).set(state(is_ready));
        let used = usize::from(is_ready) + stats.links.len();
        metrics::gauge!("db.client.connection.count", POOL => pool, "db.client.connection.state" => "used")
            .set(used as f64);
        metrics::gauge!("db.client.connection.pending_requests", POOL => pool)
            .set((stats.queued + stats.waiting_for_room) as f64);
        metrics::gauge!("redis.client.in_flight", POOL => pool).set(stats.in_flight as f64);
        metrics::gauge!("redis.client.queue.bytes", POOL => pool).set(stats.bytes as f64);
        metrics::counter!("redis.client.replays", POOL => pool).absolute(stats.replays);
        metrics::counter!("redis.client.restarts", POOL => pool).absolute(stats.restarts);
        for (outcome, count) in [
            ("answered", stats.answered),
            ("not_sent", stats.not_sent),
            ("unknown", stats.unknown),
            ("abandoned", stats.abandoned),
        ] {
            metrics::counter!("redis.client.commands", POOL => pool, "outcome" => outcome).absolute(count);
        }
        for (kind, count) in &stats.disconnects {
            metrics::counter!("redis.client.connection.closed", POOL => pool, "reason" => kind.as_str())
                .absolute(*count);
        }
    }
}
