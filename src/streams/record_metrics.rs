//! Gauges and totals of a consumer for the `metrics` facade.

use super::stats::ConsumerStats;

impl ConsumerStats {
    /// Records these gauges and totals with the `metrics` facade: call `consumer.stats().await?.record_metrics("orders")`
    /// before each scrape, or every few seconds.
    ///
    /// `consumer` is the label `redis.consumer`: one fixed name for each consumer of the process, such as `"orders"`. The names
    /// of streams and groups become no labels. `docs/operations/metrics.md` lists the metrics.
    pub fn record_metrics(&self, consumer: &'static str) {
        const CONSUMER: &str = "redis.consumer";
        let stats = self;
        let oldest = stats.oldest.unwrap_or_default().as_secs_f64();
        for (name, value) in [
            ("redis.client.stream.in_flight", stats.in_flight as f64),
            ("redis.client.stream.waiting", stats.waiting as f64),
            ("redis.client.stream.delayed", stats.delayed as f64),
            ("redis.client.stream.oldest_age", oldest),
        ] {
            metrics::gauge!(name, CONSUMER => consumer).set(value);
        }
        // Unknown is not zero: a server without XINFO must not look like an empty group.
        for (name, value) in
            [("redis.client.stream.group_lag", stats.lag), ("redis.client.stream.group_pending", stats.pending)]
        {
            if let Some(value) = value {
                metrics::gauge!(name, CONSUMER => consumer).set(value as f64);
            }
        }
        for (name, total) in [
            ("messaging.client.consumed.messages", stats.delivered),
            ("redis.client.stream.acknowledged", stats.acked),
            ("redis.client.stream.retried", stats.retried),
            ("redis.client.stream.claimed", stats.claimed),
            ("redis.client.stream.redelivered", stats.recovered),
            ("redis.client.stream.dead_lettered", stats.dead_lettered),
            ("redis.client.stream.timed_out", stats.timed_out),
            ("redis.client.stream.lease_lost", stats.lease_lost),
            ("redis.client.stream.trimmed", stats.trimmed),
            ("redis.client.stream.disconnects", stats.disconnects),
        ] {
            metrics::counter!(name, CONSUMER => consumer).absolute(total);
        }
    }
}
