//! What newer servers can do, against a scripted server that answers as documented: none of the servers of the tests
//! has these commands. That older ones get the same by scripts is shown in the other tests of this family.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::stream_support::*;
use redis_actix::prelude::*;
use redis_actix::{Entry, OnceBy, Outcome, Producer, StreamId};
use redis_actix_test::{Answer, FakeServer};

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// What COMMAND INFO says of a command that there is.
fn command(name: &str) -> String {
    format!("*6\r\n{}:-5\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n", bulk(name))
}

fn word(argv: &[Vec<u8>], at: usize) -> String {
    argv.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
}

fn line(argv: &[Vec<u8>]) -> String {
    argv.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
}

/// Everything that came with this name.
fn came(server: &FakeServer, name: &str) -> Vec<String> {
    server.received().iter().map(|argv| line(argv)).filter(|line| line.starts_with(name)).collect()
}

/// A stream with one entry, 5-1, that goes to the first reader. Scripts are known by what their first line says.
fn newest() -> FakeServer {
    let reads = AtomicUsize::new(0);
    let entry = format!("*2\r\n{}*2\r\n{}{}", bulk("5-1"), bulk("n"), bulk("7"));
    let answer = move |argv: &[Vec<u8>]| match (word(argv, 0).to_uppercase().as_str(), word(argv, 1).as_str()) {
        ("COMMAND", _) => {
            Answer::raw(format!("*3\r\n{}{}{}", command("xackdel"), command("xcfgset"), command("xnack")))
        }
        ("XADD", _) => Answer::raw(bulk("9-1")),
        ("XCFGSET", _) => Answer::raw("+OK\r\n"),
        ("XACKDEL", _) => Answer::raw("*1\r\n:1\r\n"),
        ("XGROUP", _) => Answer::raw("-BUSYGROUP Consumer Group name already exists\r\n"),
        ("XINFO", "GROUPS") => {
            let group = [bulk("name"), bulk("billing"), bulk("last-delivered-id"), bulk("4-1")].concat();
            Answer::raw(format!("*1\r\n*4\r\n{group}"))
        }
        ("XINFO", _) => Answer::raw(format!("*2\r\n{}{}", bulk("last-generated-id"), bulk("5-1"))),
        ("XPENDING", _) if argv.len() == 3 => Answer::raw("*4\r\n:0\r\n$-1\r\n$-1\r\n*-1\r\n"),
        ("XPENDING", _) => Answer::raw("*0\r\n"),
        ("XREADGROUP", _) if word(argv, 6) == "CLAIM" => Answer::raw(format!(
            "*1\r\n*2\r\n{}*2\r\n*4\r\n{}*2\r\n{}{}:60000\r\n:3\r\n*4\r\n{}*2\r\n{}{}:0\r\n:0\r\n",
            bulk("t:orders"),
            bulk("4-1"),
            bulk("n"),
            bulk("6"),
            bulk("5-1"),
            bulk("n"),
            bulk("7")
        )),
        ("XREADGROUP", _) if reads.fetch_add(1, Ordering::Relaxed) == 0 => {
            Answer::raw(format!("*1\r\n*2\r\n{}*1\r\n{entry}", bulk("t:orders")))
        }
        ("XREADGROUP", _) => Answer::Silence,
        // Each call comes with its source, which says what it is.
        ("EVALSHA", _) => Answer::raw("-NOSCRIPT No matching script\r\n"),
        ("EVAL", text) if text.contains("Sets the idle time") => Answer::raw("*3\r\n*0\r\n*0\r\n*0\r\n"),
        // The caller holds the name.
        ("EVAL", text) if text.contains("Holds a consumer's name") => Answer::raw(bulk(&word(argv, 4))),
        ("EVAL", text) if text.contains("Claims entries") => Answer::raw("*2\r\n:1\r\n*0\r\n"),
        ("EVAL", text) if text.contains("Moves messages") => Answer::raw("*4\r\n:0\r\n:-1\r\n:0\r\n$0\r\n\r\n"),
        ("EVAL", _) => Answer::raw("*0\r\n"),
        _ => Answer::Default,
    };
    FakeServer::builder().on(answer).start().unwrap()
}

#[actix::test]
async fn a_message_with_an_id_is_added_by_idmp_and_the_server_is_asked_once() {
    let server = newest();
    let redis = connect(server.port());
    let producer = Producer::new(&redis, "orders").name("billing").max_len(100);
    for n in 0..3 {
        let appended = producer.append(Entry::new(&Job { n }).unwrap().once("order-17")).await.unwrap();
        assert_eq!((appended.id, appended.by), (StreamId::new(9, 1), Some(OnceBy::Server)));
    }
    assert_eq!(came(&server, "XADD")[0], "XADD t:orders IDMP billing order-17 MAXLEN ~ 100 * n 0");
    assert_eq!(came(&server, "COMMAND"), ["COMMAND INFO xackdel xcfgset xnack"], "once for a connection");
    assert!(came(&server, "EVALSHA").is_empty());
    let wide = producer.remember(Duration::from_secs(1_000), 5_000);
    assert!(wide.configure_server().await.unwrap());
    assert_eq!(came(&server, "XCFGSET"), ["XCFGSET t:orders IDMP-DURATION 1000 IDMP-MAXSIZE 5000"]);
    server.close_all();
    eventually("asked again on the next link", async || {
        let _ = redis.stream_features().await;
        came(&server, "COMMAND").len() == 2
    })
    .await;
}

#[actix::test]
async fn acknowledging_deletes_by_xackdel() {
    let server = newest();
    let redis = connect(server.port());
    let handler = Recorder::start_with(|_| Outcome::Ack);
    let consumer = quick("orders", "billing").delete_acknowledged().start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("acknowledged", async || consumer.stats().await.unwrap().acked == 1).await;
    assert_eq!(came(&server, "XACKDEL"), ["XACKDEL t:orders billing ACKED IDS 1 5-1"]);
    assert!(came(&server, "XACK ").is_empty());
}

/// The script that looks at the owner and calls XNACK is run by no server here: this shows that it is asked to.
#[actix::test]
async fn what_is_released_goes_back_by_xnack() {
    let server = newest();
    let redis = connect(server.port());
    let handler = Recorder::start_with(|_| Outcome::Release);
    let consumer = quick("orders", "billing").start::<Job>(&redis, handler.recipient()).unwrap();
    eventually("released", async || consumer.stats().await.unwrap().released == 1).await;
    let leases = async || {
        let calls = came(&server, "EVAL ");
        calls.into_iter().filter(|call| call.contains("Sets the idle time")).collect::<Vec<_>>()
    };
    eventually("reported", async || !leases().await.is_empty()).await;
    // On a server without XNACK it is `5-1 300 0`: idle for as long as others wait, and not counted.
    assert!(leases().await[0].ends_with(" 1 t:orders billing c1 5-1 -1 0"), "{:?}", leases().await);
}

#[actix::test]
async fn what_others_left_comes_with_what_is_new() {
    let server = newest();
    let redis = connect(server.port());
    let read = XReadGroup::new("billing", "c1", ["orders"]).count(10).claim(Duration::from_secs(30));
    let pages = redis.send(read).await.unwrap();
    let ids: Vec<_> = pages[0].entries.iter().map(|entry| (entry.id, entry.decode::<Job>().unwrap().n)).collect();
    assert_eq!(ids, [(StreamId::new(4, 1), 6), (StreamId::new(5, 1), 7)]);
    let sent = came(&server, "XREADGROUP");
    assert_eq!(sent, ["XREADGROUP GROUP billing c1 COUNT 10 CLAIM 30000 STREAMS t:orders >"]);
}

#[actix::test]
async fn a_server_that_does_not_tell_is_taken_for_an_older_one() {
    let server = FakeServer::builder()
        .on(|argv| match word(argv, 0).to_uppercase().as_str() {
            "COMMAND" => Answer::raw("-NOPERM this user has no permissions to run the 'command|info' command\r\n"),
            _ => Answer::Default,
        })
        .start()
        .unwrap();
    let redis = connect(server.port());
    assert_eq!(redis.stream_features().await.unwrap(), Default::default());
}
