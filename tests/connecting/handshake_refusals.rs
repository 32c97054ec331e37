//! Servers and proxies that refuse parts of the handshake, or hang up on them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use redis_actix::prelude::*;
use redis_actix::{CauseKind, ConnectionState, ErrorKind, Protocol};
use redis_actix_test::{Answer, FakeServer};

use crate::support::{TIME_LIMIT, config, eventually, hasty, ms, until, until_state};

/// A server that gives `special` answers and else those of one without HELLO.
fn server(special: impl Fn(&str, &[Vec<u8>]) -> Option<Answer> + Send + 'static) -> FakeServer {
    FakeServer::builder()
        .own_handshake()
        .on(move |argv| {
            let name = String::from_utf8_lossy(&argv[0]).into_owned();
            special(&name, argv).unwrap_or_else(|| match name.as_str() {
                "HELLO" => Answer::raw("-ERR unknown command 'HELLO'\r\n"),
                "PING" => Answer::raw("+PONG\r\n"),
                "INCR" => Answer::raw(":7\r\n"),
                _ => Answer::raw("+OK\r\n"),
            })
        })
        .start()
        .expect("started")
}

fn said(server: &FakeServer) -> Vec<String> {
    let words =
        |argv: &Vec<Vec<u8>>| argv.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
    server.received().iter().map(words).collect()
}

fn count(server: &FakeServer, name: &str) -> usize {
    said(server).iter().filter(|line| line.starts_with(name)).count()
}

/// Ablation: where only ERR and NOPROTO lead to AUTH, the first of them parks.
#[actix::test]
async fn every_refusal_of_hello_is_followed_by_auth() {
    for refusal in [
        "-NOAUTH HELLO must be called with the client already authenticated\r\n",
        "-NOPERM this user has no permissions to run the 'hello' command\r\n",
        "-ERR unsupported command 'HELLO'\r\n",
        "-ERR invalid request\r\n",
        "-unsupported command 'HELLO'\r\n",
        "-invalid request\r\n",
        "-NOPROTO unsupported protocol version\r\n",
        // Taken for something else, by a proxy that passes nothing on.
        "+OK\r\n",
    ] {
        let server = server(move |name, _| (name == "HELLO").then(|| Answer::raw(refusal)));
        let redis = hasty(config(server.port()).username("svc").password("secret")).start().expect("started");
        assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 7, "{refusal}");
        assert_eq!(redis.health().await.expect("healthy").protocol, 2, "{refusal}");
        let said = said(&server);
        assert!(refusal.starts_with('+') || said.contains(&"AUTH svc secret".to_owned()), "{refusal} {said:?}");
    }
}

/// Ablation: without the second form of AUTH the server is parked with "wrong number of arguments".
#[actix::test]
async fn a_server_that_knows_no_users_gets_the_password_alone() {
    let server = server(|name, argv| {
        (name == "AUTH" && argv.len() == 3)
            .then(|| Answer::raw("-ERR wrong number of arguments for 'auth' command\r\n"))
    });
    let redis = hasty(config(server.port()).username("svc").password("secret")).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 7);
    assert!(said(&server).contains(&"AUTH secret".to_owned()));
}

/// Ablation: where an error in answer to PING counts as one to the login, the connection is parked.
#[actix::test]
async fn only_an_answer_to_the_login_parks() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let proxy = server(move |name, _| {
        (name == "PING" && down.load(Ordering::SeqCst)).then(|| Answer::raw("-ERR Connection refused\r\n"))
    });
    let redis = hasty(config(proxy.port()).password("secret")).start().expect("started");
    let waits = redis.send(Incr::new("k"));
    let status = until(&redis, "the cause", |status| status.cause.is_some()).await;
    let cause = status.cause.expect("a cause");
    assert_eq!((status.state, cause.kind()), (ConnectionState::Backoff, CauseKind::NotReady), "{cause}");
    assert!(cause.to_string().contains("PING") && cause.to_string().contains("Connection refused"), "{cause}");
    is_down.store(false, Ordering::SeqCst);
    assert_eq!(waits.await.expect("served when the server is back"), 7);

    let locked =
        server(|name, _| (name == "AUTH").then(|| Answer::raw("-WRONGPASS invalid username-password pair\r\n")));
    let redis = hasty(config(locked.port()).password("secret")).start().expect("started");
    assert_eq!(redis.ready(TIME_LIMIT).await.expect_err("wrong").kind(), ErrorKind::Refused);
    until_state(&redis, ConnectionState::Parked).await;
}

/// Ablation: where a hang-up is not remembered, no dial ever ends in a connection.
#[actix::test]
async fn a_step_that_the_server_hangs_up_on_is_left_out_on_later_dials() {
    for (step, both) in [("HELLO", false), ("CLIENT", false), ("HELLO", true)] {
        let server = server(move |name, _| (name == step || (both && name == "CLIENT")).then_some(Answer::Close));
        let redis = hasty(config(server.port()).password("secret").client_name("x")).start().expect("started");
        assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 7, "{step}");
        let hung_up = count(&server, step);
        for nth in 1..=3 {
            let generation = redis.status().borrow().generation;
            server.close_all();
            until(&redis, "another link", |status| {
                status.generation > generation && status.state == ConnectionState::Ready
            })
            .await;
            assert_eq!(count(&server, step), hung_up, "{step} again, at dial {nth}");
        }
        assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 7, "{step}");
    }
}

/// Ablation: with the step left out on later dials after a hang-up alone, whatever comes next, RESP2 is spoken here.
#[actix::test]
async fn a_server_that_hung_up_on_everything_for_a_while_is_spoken_to_in_resp3() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let server = FakeServer::builder()
        .own_handshake()
        .on(move |_| if down.load(Ordering::SeqCst) { Answer::Close } else { Answer::Default })
        .start()
        .expect("started");
    let redis = hasty(config(server.port())).start().expect("started");
    let ready = redis.ready(TIME_LIMIT);
    let outage = eventually("many dials", || (server.connections() > 12).then_some(()));
    let (ready, ()) = futures_util::future::join(ready, async {
        outage.await;
        is_down.store(false, Ordering::SeqCst);
    })
    .await;
    ready.expect("ready");
    assert_eq!(redis.health().await.expect("healthy").protocol, 3);
}

/// Ablation: without the settings both are sent.
#[actix::test]
async fn resp2_and_no_client_commands_can_be_configured() {
    let server = server(|_, _| None);
    let config = config(server.port()).password("secret").client_name("x");
    let redis = hasty(config.protocol(Protocol::Resp2).client_commands(false)).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 7);
    assert_eq!(said(&server), ["AUTH secret", "PING", "INCR test:k"]);
    let real = crate::support::server();
    let config = crate::support::config(real.port()).protocol(Protocol::Resp2).client_commands(false);
    let redis = hasty(config).start().expect("started");
    redis.send(RPush::new("list", ["a"])).await.expect("pushed");
    let popped = redis.send(BLPop::new(["list"], ms(5_000))).await.expect("popped");
    assert_eq!(popped.expect("an element").value, b"a");
}

/// Ablation: with the id that HELLO reports kept, CLIENT UNBLOCK and CLIENT KILL are sent on the shared link: "left: 218".
#[actix::test]
async fn without_client_commands_a_wait_that_is_given_up_sends_none() {
    let server = server(|name, _| match name {
        "HELLO" => Some(Answer::raw("%2\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:7\r\n")),
        "BLPOP" => Some(Answer::Silence),
        // Without it the waiting client would be left alone for another reason.
        "INFO" => Some(Answer::raw("$12\r\nrun_id:abcde\r\n")),
        _ => None,
    });
    let redis = hasty(config(server.port()).client_commands(false)).start().expect("started");
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 7);
    let waiting = {
        let redis = redis.clone();
        actix::spawn(async move { redis.send(BLPop::new(["list"], ms(60_000))).await })
    };
    server.command_named("BLPOP", TIME_LIMIT).await.expect("waits");
    waiting.abort();
    eventually("the end of its link", || (server.live_connections() == 1).then_some(())).await;
    assert_eq!(redis.send(Incr::new("k")).await.expect("counted"), 7);
    assert_eq!(count(&server, "CLIENT"), 0, "{:?}", said(&server));
}
