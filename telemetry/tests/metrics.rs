//! Metrics as Prometheus reads them. Nothing outside of the documented list appears, and dashboard and alerts use only that.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use actix::prelude::*;
use metrics_exporter_prometheus::PrometheusBuilder;
use redis_actix::prelude::*;
use redis_actix::{DURATION_BUCKETS, Delivery, Entry, Outcome, Producer, Raw, StreamConsumer};
use redis_actix_test::RedisServer;

const CANARY: &str = "canary-9f2c";
const DASHBOARD: &str = include_str!("../../docs/operations/dashboard.json");
const ALERTS: &str = include_str!("../../docs/operations/alerts.yml");

/// Names as Prometheus shows them, with their types and labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let rows = include_str!("../../docs/operations/metrics.md").lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split('`').skip(1).step_by(2).map(|label| label.replace('.', "_")).collect();
        let kind = cells[2].split(',').next().unwrap().to_owned();
        (cells[1].trim_matches('`').replace('.', "_"), (kind, labels))
    })
    .collect()
}

/// The series of a text of Prometheus: name, labels and value.
fn series(text: &str) -> Vec<(String, BTreeMap<String, String>, f64)> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (head, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = head.split_once('{').unwrap_or((head, ""));
            let pairs = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
            let pairs = pairs.map(|pair| pair.trim_end_matches('"').split_once("=\"").expect("a label"));
            let pairs = pairs.map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
            (name.to_owned(), pairs, value.parse().expect("a number"))
        })
        .collect()
}

/// The metric of a series: histograms have three.
fn base<'a>(name: &'a str, documented: &BTreeMap<String, (String, BTreeSet<String>)>) -> &'a str {
    let parts = ["_bucket", "_count", "_sum"].iter().filter_map(|part| name.strip_suffix(part));
    parts.into_iter().find(|base| documented.get(*base).is_some_and(|(kind, _)| kind == "histogram")).unwrap_or(name)
}

struct Billing;

impl Actor for Billing {
    type Context = Context<Self>;
}

impl Handler<Delivery<()>> for Billing {
    type Result = Outcome;

    fn handle(&mut self, _: Delivery<()>, _: &mut Context<Self>) -> Outcome {
        Outcome::Ack
    }
}

#[actix::test]
async fn what_prometheus_reads_is_documented_and_bounded() {
    let prometheus = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS).unwrap().install_recorder().unwrap();
    let server = RedisServer::builder().start().unwrap();
    let config = RedisConfig::builder().url(server.url()).key_prefix("shop:").build().unwrap();
    let redis = Redis::builder(config).start().unwrap();
    for _ in 0..10 {
        redis.send(Set::new(CANARY, CANARY)).await.unwrap();
    }
    redis.send(LLen::new(CANARY)).await.unwrap_err();
    // Names of commands that this version does not know must not become labels.
    for name in ["NEW.ONE", "NEW.TWO"] {
        redis.send(Raw::<i64>::new(name).key("k")).await.unwrap_err();
    }
    let consumer = StreamConsumer::builder("orders", "billing");
    let consumer = consumer.start::<()>(&redis, Billing.start().recipient()).unwrap();
    Producer::new(&redis, "orders").append(Entry::empty().field("f", CANARY)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while consumer.stats().await.unwrap().acked < 1 {
        assert!(Instant::now() < deadline);
        actix::clock::sleep(Duration::from_millis(5)).await;
    }
    server.kill().unwrap();
    server.restart().unwrap();
    redis.ready(Duration::from_secs(10)).await.unwrap();
    redis.send(Get::<String>::new("k")).await.unwrap();
    redis.stats().record_metrics("main");
    consumer.stats().await.unwrap().record_metrics("orders");

    let text = prometheus.render();
    let (documented, all) = (documented(), series(&text));
    let mut seen = BTreeSet::new();
    for (name, labels, _) in &all {
        let base = base(name, &documented);
        let (_, allowed) = documented.get(base).unwrap_or_else(|| panic!("{name} is not documented"));
        let unknown: Vec<_> = labels.keys().filter(|label| *label != "le" && !allowed.contains(*label)).collect();
        assert!(unknown.is_empty(), "{name} has labels that are not documented: {unknown:?}");
        seen.insert(base.to_owned());
    }
    let never: Vec<_> = documented.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(never.is_empty(), "documented and never recorded: {never:?}");
    assert!(!text.contains(CANARY) && !text.contains("NEW"), "a name of a caller became a label");
    let count = |operation: &str, error: Option<&str>| {
        let fits = |labels: &BTreeMap<String, String>| {
            labels.get("db_operation_name").is_some_and(|name| name == operation)
                && labels.get("error_type").map(String::as_str) == error
        };
        let mut found =
            all.iter().filter(|(name, labels, _)| name == "db_client_operation_duration_count" && fits(labels));
        found.next().map(|(_, _, value)| *value)
    };
    assert_eq!((count("SET", None), count("LLEN", Some("WRONGTYPE"))), (Some(10.0), Some(1.0)), "{text}");
    assert_eq!(count("_OTHER", Some("ERR")), Some(2.0), "{text}");
    let ends: BTreeSet<_> = all.iter().filter_map(|(_, labels, _)| labels.get("le").cloned()).collect();
    assert_eq!(ends.len(), DURATION_BUCKETS.len() + 1, "buckets that can be summed over processes: {ends:?}");
}

/// The names of metrics in a query: words that no function, label or keyword of the query language is.
fn metrics_in(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = |word: &&str| {
        let starts = ["redis_client_", "db_client_", "messaging_"].iter().any(|start| word.starts_with(start));
        starts && !["db_client_connection_pool_name", "db_client_connection_state"].contains(word)
    };
    words.filter(ours).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_use_metrics_that_exist() {
    let documented = documented();
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let mut queries: Vec<_> = targets.map(|target| target["expr"].as_str().expect("a query").to_owned()).collect();
    assert!(queries.len() > 20);
    queries
        .extend(ALERTS.lines().filter(|line| !line.contains("summary") && !line.contains("action")).map(str::to_owned));
    let used: BTreeSet<_> = queries.iter().flat_map(|query| metrics_in(query)).collect();
    assert!(used.len() > 20, "{used:?}");
    for name in &used {
        assert!(documented.contains_key(base(name, &documented)), "{name} is in no list of metrics");
    }
}
