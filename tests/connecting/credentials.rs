//! Credentials that take their time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis_actix::prelude::*;
use redis_actix::{Credentials, CredentialsError, CredentialsProvider, RedisConfig};
use redis_actix_test::RedisCluster;

use crate::support::{aside, hasty, ms};

/// Answers after a while, as a vault behind a slow line.
#[derive(Clone)]
struct Slow {
    takes: Duration,
    asked: Arc<AtomicUsize>,
}

impl CredentialsProvider for Slow {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        Ok(Credentials::user("app", "secret"))
    }
}

/// Ablation: where each topology query requests new credentials within its own time, no query ever ends, and the
/// command times out.
#[actix::test]
async fn a_provider_slower_than_a_look_at_the_cluster_works_and_is_asked_once_for_all() {
    let cluster = aside(|| {
        let cluster = RedisCluster::start().unwrap_or_else(|error| panic!("{error}"));
        for node in cluster.nodes() {
            let user = ["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"];
            node.command(user).expect("asked").ok().expect("set");
        }
        cluster
    })
    .await;
    let slow = Slow { takes: ms(3_500), asked: Arc::default() };
    let config = RedisConfig::builder().cluster_hosts(cluster.hosts()).key_prefix("test:").command_timeout(ms(30_000));
    let redis = hasty(config).credentials(slow.clone()).start().expect("started");
    let keys: Vec<String> = (0..30).map(|n| format!("k{n}")).collect();
    let writes: Vec<_> = keys.iter().map(|key| redis.send(Set::new(key, "v"))).collect();
    for write in writes {
        write.await.expect("written");
    }
    // One for the first look, one for the links to all primaries.
    let asked = slow.asked.load(Ordering::SeqCst);
    assert!((1..=4).contains(&asked), "asked {asked} times");
}
