//! A connection for each thread: made at its first command, ended with its arbiter or with the last handle.

use std::sync::{Arc, Mutex, mpsc};

use actix::Arbiter;
use redis_actix::prelude::*;
use redis_actix::{Connections, Credentials, CredentialsError, CredentialsProvider, ErrorKind, LinkRole};
use redis_actix_test::RedisServer;

use crate::support::{TIME_LIMIT, config, eventually, hasty, ms, server};

fn per_thread(server: &RedisServer, max: usize) -> redis_actix::RedisBuilder {
    hasty(config(server.port()).connections(Connections::PerThread(max.try_into().expect("at least one"))))
}

/// Runs a task on the arbiter, and waits for its outcome.
async fn on<T, F>(arbiter: &Arbiter, task: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let (done, outcome) = tokio::sync::oneshot::channel();
    arbiter.spawn_fn(move || {
        actix::spawn(async move {
            let _ = done.send(task().await);
        });
    });
    outcome.await.expect("the arbiter runs")
}

async fn incr(arbiter: &Arbiter, redis: &Redis, key: &'static str) -> redis_actix::Result<i64> {
    let redis = redis.clone();
    on(arbiter, move || async move { redis.send(Incr::new(key)).await }).await
}

/// The clients of the server, without the one that asks.
fn clients(server: &RedisServer) -> usize {
    server.clients().expect("listed").iter().filter(|client| !client.contains("cmd=client|list")).count()
}

async fn until_clients(server: &RedisServer, count: usize) {
    eventually(&format!("{count} clients"), || (clients(server) == count).then_some(())).await;
}

fn threads(redis: &Redis) -> usize {
    redis.stats().links.iter().filter(|link| link.role == LinkRole::Thread).count()
}

/// Ablation: without the registry all three threads use one connection, and the server has one client.
#[actix::test]
async fn each_thread_with_an_arbiter_has_its_own_connection() {
    let server = server();
    let redis = per_thread(&server, 8).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    assert_eq!((clients(&server), threads(&redis)), (1, 0), "none before the first command of another thread");
    let arbiters = [Arbiter::new(), Arbiter::new()];
    for round in 0..3 {
        for arbiter in &arbiters {
            incr(arbiter, &redis, "k").await.expect("counted");
        }
        redis.send(Incr::new("k")).await.expect("counted");
        assert_eq!((clients(&server), threads(&redis)), (3, 2), "round {round}");
    }
    assert_eq!(redis.send(Get::<i64>::new("k")).await.expect("read"), Some(9));
    // A thread without an arbiter has none.
    let shared = redis.clone();
    let plain = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("built");
        runtime.block_on(shared.send(Incr::new("k")))
    });
    let counted = tokio::task::spawn_blocking(move || plain.join()).await.expect("joined").expect("no panic");
    assert_eq!((counted.expect("counted"), clients(&server)), (10, 3));
    let stats = redis.stats();
    // HELLO and the like are not counted: nine INCR, GET, and INCR of the plain thread.
    assert_eq!((stats.answered, stats.in_flight, stats.queued), (11, 0, 0));
    assert_eq!(redis.error_rate().answered, 11);
}

/// Ablation: with `max` ignored the server has three clients.
#[actix::test]
async fn threads_beyond_the_maximum_use_the_shared_connection() {
    let server = server();
    let redis = per_thread(&server, 1).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let arbiters = [Arbiter::new(), Arbiter::new()];
    for arbiter in arbiters.iter().chain(&arbiters) {
        incr(arbiter, &redis, "k").await.expect("counted");
    }
    assert_eq!((clients(&server), threads(&redis)), (2, 1));
}

/// Ablation: without `forget_ended` the second arbiter uses the shared connection.
#[actix::test]
async fn a_connection_ends_with_its_arbiter_and_makes_room_for_another() {
    let server = server();
    let redis = per_thread(&server, 1).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let first = Arbiter::new();
    incr(&first, &redis, "k").await.expect("counted");
    assert_eq!(clients(&server), 2);
    first.stop();
    tokio::task::spawn_blocking(move || first.join()).await.expect("joined").expect("no panic");
    until_clients(&server, 1).await;
    let second = Arbiter::new();
    assert_eq!(incr(&second, &redis, "k").await.expect("counted"), 2);
    assert_eq!((clients(&server), threads(&redis), redis.stats().answered), (2, 1, 2));
}

/// Ablation: without `Drop` the connections stay until their threads end.
#[actix::test]
async fn connections_end_with_the_last_handle() {
    let server = server();
    let redis = per_thread(&server, 8).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let arbiters = [Arbiter::new(), Arbiter::new()];
    for arbiter in &arbiters {
        incr(arbiter, &redis, "k").await.expect("counted");
    }
    assert_eq!(clients(&server), 3);
    drop(redis);
    until_clients(&server, 0).await;
}

/// Ablation: without thread connections in `Links::close` their commands still run after the shutdown.
#[actix::test]
async fn a_shutdown_completes_and_closes_all_of_them() {
    let server = server();
    let redis = per_thread(&server, 8).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let arbiter = Arbiter::new();
    incr(&arbiter, &redis, "k").await.expect("counted");
    server.stop_process().expect("frozen");
    let (sent, is_sent) = tokio::sync::oneshot::channel();
    let (own, counted) = (redis.clone(), tokio::sync::oneshot::channel());
    arbiter.spawn(async move {
        let waits = own.send(Incr::new("k"));
        let _ = sent.send(());
        let _ = counted.0.send(waits.await);
    });
    is_sent.await.expect("sent");
    let stopping = redis.clone();
    let stopped = actix::spawn(async move { stopping.shutdown(TIME_LIMIT).await });
    tokio::task::yield_now().await;
    server.cont_process().expect("thawed");
    let report = stopped.await.expect("no panic").expect("a report");
    assert_eq!((report.completed, counted.1.await.expect("answered").expect("counted")), (1, 2), "{report:?}");
    assert_eq!(incr(&arbiter, &redis, "k").await.expect_err("closed").kind(), ErrorKind::Closed);
    assert_eq!(redis.send(Incr::new("k")).await.expect_err("closed").kind(), ErrorKind::Closed);
    let fresh = Arbiter::new();
    assert_eq!(incr(&fresh, &redis, "k").await.expect_err("closed").kind(), ErrorKind::Closed);
    until_clients(&server, 0).await;
}

/// Ablation: without `is_unbatched` the command of the handle may overtake those of the address.
#[actix::test]
async fn a_handle_whose_address_is_used_keeps_one_order() {
    let server = server();
    let redis = per_thread(&server, 8).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let arbiter = Arbiter::new();
    incr(&arbiter, &redis, "n").await.expect("counted");
    let own = redis.clone();
    let last = on(&arbiter, move || async move {
        for number in 0..200_i64 {
            own.addr().do_send(Set::new("k", number));
        }
        own.send(Get::<i64>::new("k")).await
    });
    assert_eq!(last.await.expect("read"), Some(199));
}

/// The login that the test changes.
struct Current(Arc<Mutex<&'static str>>);

impl CredentialsProvider for Current {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        Ok(Credentials::user("app", *self.0.lock().expect("never poisoned")))
    }
}

/// Ablation: without the role in `attended_actors` the thread keeps its old login, and fails when that user is gone.
#[actix::test]
async fn new_credentials_reach_the_connections_of_threads() {
    let server = server();
    server.command(["ACL", "SETUSER", "app", "on", ">old", "~*", "&*", "+@all"]).expect("made");
    let password = Arc::new(Mutex::new("old"));
    let provider = Current(password.clone());
    let redis = per_thread(&server, 8).credentials(provider).start().expect("started");
    redis.ready(TIME_LIMIT).await.expect("ready");
    let arbiter = Arbiter::new();
    incr(&arbiter, &redis, "k").await.expect("counted");
    server.command(["ACL", "SETUSER", "app", "resetpass", ">new"]).expect("changed");
    *password.lock().expect("never poisoned") = "new";
    let changed = redis.reauthenticate().await.expect("accepted");
    assert!(changed.is_complete(), "{changed:?}");
    assert_eq!(changed.connections.len(), 2, "{changed:?}");
    assert_eq!(incr(&arbiter, &redis, "k").await.expect("counted"), 2);
}

/// Each thread counts in a loop while the server is killed and restarted: nothing is lost, and nothing runs twice.
#[actix::test]
async fn threads_reconnect_by_themselves() {
    let server =
        RedisServer::builder().args(["--appendonly", "yes", "--appendfsync", "always"]).start().expect("started");
    let redis = per_thread(&server, 8).start().expect("started");
    let arbiters = [Arbiter::new(), Arbiter::new()];
    let (done, outcomes) = mpsc::channel();
    for arbiter in &arbiters {
        let (redis, done) = (redis.clone(), done.clone());
        arbiter.spawn(async move {
            let (mut counted, mut unknown) = (0_i64, 0_i64);
            while counted < 2_000 {
                match redis.send(Incr::new("k")).await {
                    Ok(_) => counted += 1,
                    Err(error) if error.fate() == Fate::Unknown => unknown += 1,
                    Err(_) => tokio::time::sleep(ms(1)).await,
                }
            }
            let _ = done.send((counted, unknown));
        });
    }
    eventually("some are counted", || {
        let reply = server.command(["GET", "test:k"]).ok()?;
        let count: i64 = std::str::from_utf8(reply.bytes()?).ok()?.parse().ok()?;
        (count > 200).then_some(())
    })
    .await;
    server.kill().expect("killed");
    server.restart().expect("restarted");
    let outcomes =
        tokio::task::spawn_blocking(move || [outcomes.recv_timeout(TIME_LIMIT), outcomes.recv_timeout(TIME_LIMIT)]);
    let (mut counted, mut unknown) = (0, 0);
    for outcome in outcomes.await.expect("no panic") {
        let outcome = outcome.expect("in time");
        (counted, unknown) = (counted + outcome.0, unknown + outcome.1);
    }
    let count = redis.send(Get::<i64>::new("k")).await.expect("read").expect("counted");
    assert!((counted..=counted + unknown).contains(&count), "{count} of {counted} and {unknown} unknown");
}
