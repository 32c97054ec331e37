//! Rotation of credentials while everything runs.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use redis_actix::prelude::*;
use redis_actix::{ConnectionState, Credentials, CredentialsError, CredentialsProvider, StreamEventKind};
use redis_actix_test::{Proxy, RedisCluster, RedisServer};

use crate::cluster_support::{aside, cluster, joined};
use crate::pubsub_support::Notes;
use crate::stream_support::{self, Events, Job, Recorder, add, quick};
use crate::support::{TIME_LIMIT, ask_the_frozen, config, eventually, hasty, ms};
use crate::waiting;

/// Gives the user of now.
#[derive(Clone)]
struct Rotating(Arc<Mutex<&'static str>>);

impl Rotating {
    fn old() -> Self {
        Self(Arc::new(Mutex::new("old")))
    }

    fn rotate(&self) {
        *self.0.lock().expect("whole") = "new";
    }
}

impl CredentialsProvider for Rotating {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        Ok(Credentials::user(*self.0.lock().expect("whole"), "pw"))
    }
}

fn with_users(server: &RedisServer) {
    for user in ["old", "new"] {
        let rights = ["ACL", "SETUSER", user, "on", ">pw", "~*", "&*", "+@all"];
        server.command(rights).expect("asked").ok().expect("done");
    }
}

fn clients_of(server: &RedisServer, user: &str) -> Vec<String> {
    let clients = server.clients().expect("listed");
    clients.into_iter().filter(|client| client.contains(&format!(" user={user} "))).collect()
}

/// Issue 17, row 8.
///
/// Ablation: AUTH on the shared connection alone fails with 5 of 7 clients of the old user left.
#[actix::test]
async fn every_link_of_a_cluster_changes_its_user() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder().replicas(1)))).await;
    cluster.nodes().iter().for_each(with_users);
    let rotating = Rotating::old();
    let redis = joined(&cluster).credentials(rotating.clone()).start().expect("started");
    let (inbox, _notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::channel("c")], inbox.recipient()).await.expect("confirmed");
    let keys: Vec<_> = (0..30).map(|nth| format!("key{nth}")).collect();
    for key in &keys {
        redis.send(Set::new(key, 1)).await.expect("written");
    }
    eventually("links to replicas", || {
        let nodes = redis.connection_info().nodes;
        for key in &keys {
            drop(redis.send(Get::<i64>::new(key).read_from(ReadFrom::Replica)));
        }
        (nodes.len() == 6 && nodes.iter().all(|node| node.state == Some(ConnectionState::Ready))).then_some(())
    })
    .await;
    // The looks at the cluster have links of their own, which come and go.
    eventually("seven links of the old user", || {
        (cluster.nodes().iter().map(|node| clients_of(node, "old").len()).sum::<usize>() == 7).then_some(())
    })
    .await;
    rotating.rotate();
    let done = redis.reauthenticate().await.expect("logged in");
    assert!(done.is_complete() && done.connections.len() == 7, "{done:?}");
    let left = || cluster.nodes().iter().flat_map(|node| clients_of(node, "old")).collect::<Vec<_>>();
    eventually("no client of the old user", || left().is_empty().then_some(())).await;
    for node in cluster.nodes() {
        node.command(["ACL", "DELUSER", "old"]).expect("asked");
    }
    for nth in 0..300 {
        redis.send(Set::new(format!("later{nth}"), nth)).await.expect("written");
    }
    assert_eq!(redis.status().borrow().disconnects, 0);
}

/// Issue 17, row 8, on one server: subscription, reader, a wait under way, and connections made later.
///
/// Ablation: without the connections beside the shared one it fails with clients of the old user left.
#[actix::test]
async fn subscriptions_readers_and_waits_change_their_user() {
    let server = crate::support::server();
    with_users(&server);
    let rotating = Rotating::old();
    let redis = hasty(config(server.port())).credentials(rotating.clone()).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::channel("c")], inbox.recipient()).await.expect("confirmed");
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let events = Events::watch();
    let consumer = quick("orders", "billing").block(Duration::from_millis(200)).on_event(events.recipient());
    let _consumer = consumer.start::<Job>(&redis, handler.recipient()).expect("started");
    events.saw("connected", |kind| matches!(kind, StreamEventKind::Connected { .. })).await;
    let pop = redis.send(BLPop::new(["l"], TIME_LIMIT * 2).typed::<String>());
    eventually("four links of the old user", || (clients_of(&server, "old").len() >= 4).then_some(())).await;
    waiting(&server, 2).await;
    rotating.rotate();
    let done = redis.reauthenticate().await.expect("logged in");
    assert!(done.is_complete() && done.connections.len() >= 3, "{done:?}");
    eventually("no client of the old user", || clients_of(&server, "old").is_empty().then_some(())).await;
    server.command(["ACL", "DELUSER", "old"]).expect("asked");
    eventually("the wait", || clients_of(&server, "new").iter().any(|it| it.contains("cmd=blpop")).then_some(())).await;
    redis.send(RPush::new("l", ["x"])).await.expect("pushed");
    assert_eq!(pop.await.expect("waits on").expect("an element").value, "x");
    redis.send(Publish::new("c", "still")).await.expect("published");
    notes.payload("still").await;
    add(&redis, 0..3).await;
    stream_support::eventually("delivered", async || handler.distinct() == 3).await;
    assert_eq!((notes.gaps(), redis.status().borrow().disconnects), (0, 0));
    let done = redis.reauthenticate().await.expect("again");
    assert!(done.is_complete(), "{done:?}");
}

/// A server that does not accept the credentials is reported by its name; the others are logged in.
#[actix::test]
async fn a_node_that_refuses_the_new_user_is_reported_and_keeps_the_old_one() {
    let cluster = aside(|| Arc::new(cluster(RedisCluster::builder()))).await;
    cluster.nodes().iter().for_each(with_users);
    let rotating = Rotating::old();
    let redis = joined(&cluster).credentials(rotating.clone()).start().expect("started");
    for nth in 0..30 {
        redis.send(Set::new(format!("key{nth}"), nth)).await.expect("written");
    }
    let odd = &cluster.nodes()[0];
    odd.command(["ACL", "DELUSER", "new"]).expect("asked");
    rotating.rotate();
    let done = redis.reauthenticate().await.expect("some are logged in");
    let refused: Vec<_> = done.connections.iter().filter(|connection| connection.result.is_err()).collect();
    assert_eq!((done.connections.len(), refused.len()), (3, 1), "{done:?}");
    assert!(refused[0].address.ends_with(&odd.port().to_string()), "{done:?}");
    redis.send(Set::new("key0", 1)).await.expect("written");
}

/// Ablation: with AUTH refused for want of room, as by a lost link, it fails with `Disconnected`.
#[actix::test]
async fn a_link_without_room_for_auth_is_replaced_by_one_with_the_new_login() {
    let server = crate::support::server();
    with_users(&server);
    let rotating = Rotating::old();
    let redis = hasty(config(server.port()).max_in_flight(2)).credentials(rotating.clone()).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let counts = ask_the_frozen(&redis, &server, 10).await;
    rotating.rotate();
    let login = actix::spawn({
        let redis = redis.clone();
        async move { redis.reauthenticate().await }
    });
    // It is all on this thread: the login has reached the link, whose window stays full.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    server.cont_process().expect("goes on");
    let done = login.await.expect("run").expect("logged in");
    assert!(done.is_complete() && done.connections.len() == 1, "{done:?}");
    eventually("no client of the old user", || clients_of(&server, "old").is_empty().then_some(())).await;
    for (nth, count) in (1..).zip(counts) {
        assert_eq!(count.await.expect("counted"), nth);
    }
}

/// Ablation: with logins only while the shared link is ready it fails with the error of the shared link as the whole result.
#[actix::test]
async fn subscriptions_change_their_user_whatever_the_shared_link_does() {
    let server = crate::support::server();
    with_users(&server);
    let proxy = Proxy::start(server.addr()).expect("started");
    let rotating = Rotating::old();
    let config = config(proxy.port()).connect_timeout(ms(1000));
    let redis = hasty(config).credentials(rotating.clone()).start().expect("started");
    let (inbox, notes) = Notes::inbox();
    let _subscription = redis.subscribe([Topic::channel("c")], inbox.recipient()).await.expect("confirmed");
    assert_eq!(redis.status().borrow().state, ConnectionState::Idle);
    rotating.rotate();
    proxy.refuse();
    let done = redis.reauthenticate().await.expect("the subscriptions are logged in");
    let results: Vec<_> = done.connections.iter().map(|it| (it.purpose.as_str(), it.result.is_ok())).collect();
    assert!(!done.is_complete() && results.contains(&("subscriptions", true)), "{done:?}");
    assert!(results.contains(&("shared", false)), "{done:?}");
    assert!(clients_of(&server, "old").is_empty());
    proxy.pass();
    let done = redis.reauthenticate().await.expect("logged in");
    assert!(done.is_complete() && done.connections.len() == 2, "{done:?}");
    server.command(["PUBLISH", "test:c", "still"]).expect("published");
    notes.payload("still").await;
    assert_eq!(notes.gaps(), 0);
}
