//! The faults, each with a new server per client.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use redis_actix_test::{Direction, Proxy, RedisServer};

use crate::clients::{Client, Kind};

type Row = fn(Kind) -> Pin<Box<dyn Future<Output = String>>>;

pub(crate) const ROWS: [(&str, Row); 8] = [
    ("3 half-open link, one command every 50 ms for 3 s: new links dialled", |kind| Box::pin(half_open(kind))),
    ("4 link cut at every tenth of 100 increments, its reply lost", |kind| Box::pin(lost_replies(kind))),
    ("6 accept and close for 2 s: dials", |kind| Box::pin(accept_and_close(kind))),
    ("7 password rotated away and back: healthy again without a restart", |kind| Box::pin(rotated(kind))),
    ("9 READONLY after a failover behind the same address: writes succeed again after", |kind| {
        Box::pin(failover(kind))
    }),
    ("14 BLPOP of 5 s, 100 GETs beside it: the slowest GET", |kind| Box::pin(beside_a_wait(kind))),
    ("14 BLPOP dropped by its caller, 10 elements pushed afterwards: still in the list", |kind| {
        Box::pin(given_up(kind))
    }),
    ("22 OOM: times the command was sent", |kind| Box::pin(rejected(kind))),
];

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn server() -> RedisServer {
    RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
}

/// Repeats a command until it succeeds; returns the time and the number of errors before.
async fn well_again(client: &mut Client, words: &[&str]) -> String {
    let (start, mut errors) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(8) {
        match client.ask(words).await {
            Ok(_) => return format!("{} ms, {errors} errors", start.elapsed().as_millis()),
            Err(_) => errors += 1,
        }
        tokio::time::sleep(ms(50)).await;
    }
    format!("never (8 s, {errors} errors)")
}

async fn half_open(kind: Kind) -> String {
    let server = server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let mut client = Client::connect(kind, proxy.port(), None).await;
    proxy.hold();
    let before = proxy.connections();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let _ = client.ask(&["GET", "k"]).await;
        tokio::time::sleep(ms(50)).await;
    }
    let dials = proxy.connections() - before;
    proxy.pass();
    dials.to_string()
}

async fn lost_replies(kind: Kind) -> String {
    let server = server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let mut client = Client::connect(kind, proxy.port(), None).await;
    let mut answered = 0;
    for nth in 0..100 {
        if nth % 10 == 0 {
            proxy.cut_after(Direction::ToClient, 0);
        }
        answered += i32::from(client.ask(&["INCR", "k"]).await.is_ok());
        tokio::time::sleep(ms(20)).await;
    }
    proxy.pass();
    let run = server.command(["GET", "k"]).expect("asked").text().unwrap_or_else(|_| "0".to_owned());
    format!("{run} run, {answered} answered")
}

async fn accept_and_close(kind: Kind) -> String {
    let server = server();
    let proxy = Proxy::start(server.addr()).expect("a proxy");
    let mut client = Client::connect(kind, proxy.port(), None).await;
    let before = proxy.connections();
    proxy.accept_and_close();
    proxy.reset_all();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let _ = client.ask(&["GET", "k"]).await;
        tokio::time::sleep(ms(10)).await;
    }
    let dials = proxy.connections() - before;
    proxy.pass();
    format!("{dials}, then healthy after {}", well_again(&mut client, &["GET", "k"]).await)
}

async fn rotated(kind: Kind) -> String {
    let server = RedisServer::builder().requirepass("one").start().unwrap_or_else(|error| panic!("{error}"));
    let mut client = Client::connect(kind, server.port(), Some("one")).await;
    client.ask(&["GET", "k"]).await.map_err(|failed| failed.0).expect("answered");
    server.set_password(Some("two")).expect("rotated");
    server.command(["CLIENT", "KILL", "TYPE", "normal"]).expect("killed");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        let _ = client.ask(&["GET", "k"]).await;
        tokio::time::sleep(ms(50)).await;
    }
    server.set_password(Some("one")).expect("back");
    well_again(&mut client, &["GET", "k"]).await
}

async fn failover(kind: Kind) -> String {
    let (old, new) = (server(), server());
    let proxy = Proxy::start(old.addr()).expect("a proxy");
    let mut client = Client::connect(kind, proxy.port(), None).await;
    client.ask(&["INCR", "k"]).await.map_err(|failed| failed.0).expect("answered");
    old.command(["REPLICAOF", "127.0.0.1", &new.port().to_string()]).expect("asked").ok().expect("demoted");
    proxy.set_upstream(new.addr());
    well_again(&mut client, &["INCR", "k"]).await
}

/// Starts a task that waits for an element of `queue`; returns when the server lists it as blocked.
async fn wait_for_an_element(client: &Client, server: &RedisServer) -> actix_rt::task::JoinHandle<()> {
    let mut own = client.clone();
    let waiting = actix_rt::spawn(async move {
        let _ = own.ask(&["BLPOP", "queue", "5"]).await;
    });
    let start = Instant::now();
    while !server.clients().expect("listed").iter().any(|client| client.contains(" flags=b")) {
        assert!(start.elapsed() < Duration::from_secs(8), "no client is blocked");
        tokio::time::sleep(ms(5)).await;
    }
    waiting
}

async fn beside_a_wait(kind: Kind) -> String {
    let server = server();
    let mut client = Client::connect(kind, server.port(), None).await;
    let waiting = wait_for_an_element(&client, &server).await;
    let (mut slowest, mut errors) = (Duration::ZERO, 0);
    for _ in 0..100 {
        let start = Instant::now();
        errors += i32::from(client.ask(&["GET", "k"]).await.is_err());
        slowest = slowest.max(start.elapsed());
    }
    waiting.abort();
    format!("{:.1} ms, {errors} errors", slowest.as_secs_f64() * 1000.0)
}

async fn given_up(kind: Kind) -> String {
    let server = server();
    let client = Client::connect(kind, server.port(), None).await;
    for _ in 0..10 {
        let waiting = wait_for_an_element(&client, &server).await;
        waiting.abort();
        let _ = waiting.await;
        // By then the client has reacted.
        tokio::time::sleep(ms(100)).await;
        server.command(["RPUSH", "queue", "x"]).expect("asked").ok().expect("pushed");
        let left = server.command(["RENAME", "queue", "kept"]).is_ok_and(|answer| answer.error().is_none());
        if left {
            server.command(["INCR", "count"]).expect("asked").ok().expect("counted");
        }
    }
    server.command(["GET", "count"]).expect("asked").text().unwrap_or_else(|_| "0".to_owned())
}

async fn rejected(kind: Kind) -> String {
    let server = server();
    let mut client = Client::connect(kind, server.port(), None).await;
    server.command(["CONFIG", "SET", "maxmemory", "1"]).expect("asked").ok().expect("set");
    let said = match client.ask(&["SET", "k", "v"]).await {
        Ok(_) => "answered".to_owned(),
        Err(failed) if failed.0.contains("OOM") || failed.0.contains("used memory") => {
            "the error has the server's text".to_owned()
        }
        Err(failed) => failed.0,
    };
    let stats = server.command(["INFO", "commandstats"]).expect("asked").text().expect("text");
    let line = stats.lines().find(|line| line.starts_with("cmdstat_set:")).unwrap_or_default().to_owned();
    let sent = line.split_once("rejected_calls=").map_or("0", |(_, rest)| rest.split(',').next().unwrap_or_default());
    format!("{sent}; {said}")
}
