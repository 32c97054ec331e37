//! The connection of the process, made from the environment. The environment belongs to a process, so each test runs
//! in one of its own: this binary, started again.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::{env, process::Command, time::Duration};

use redis_actix::ErrorKind;
use redis_actix::prelude::*;

const CHILD: &str = "REDIS_ACTIX_TEST_CHILD";

/// Whether this is the process of its own. Else starts it with these variables, and passes its verdict on.
fn in_a_process_of_its_own(test: &str, variables: &[(&str, &str)]) -> bool {
    if env::var_os(CHILD).is_some() {
        return true;
    }
    let this = env::current_exe().expect("a path");
    let output = Command::new(this)
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .envs(variables.iter().copied())
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

#[test]
fn one_connection_is_shared_and_a_new_one_follows_a_closed_one() {
    let server = support::server();
    let port = server.port().to_string();
    let variables = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("APP_ENV", "production")];
    if !in_a_process_of_its_own("one_connection_is_shared_and_a_new_one_follows_a_closed_one", &variables) {
        let keys = server.command(["KEYS", "*"]).expect("listed");
        let name = keys.array().expect("names")[0].text().expect("text");
        assert_eq!(name, "whatsapp:production:hits");
        return;
    }
    drop(server);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    runtime.block_on(async {
        let first = get_redis().expect("configured");
        let same = get_redis().expect("configured");
        assert_eq!(first.addr(), same.addr());
        assert_eq!(first.send(Incr::new("hits")).await.expect("counted"), 1);
        close_redis(Duration::from_secs(5)).await.expect("a report");
        let closed = same.send(Incr::new("hits")).await.expect_err("closed for every holder");
        assert_eq!(closed.kind(), ErrorKind::Closed);
        let again = get_redis().expect("configured");
        assert_eq!(again.send(Incr::new("hits")).await.expect("counted"), 2);
        close_redis(Duration::from_secs(5)).await.expect("a report");
        get_redis().expect("configured").shutdown(Duration::from_secs(5)).await.expect("a report");
        assert_eq!(get_redis().expect("configured").send(Incr::new("hits")).await.expect("a new one"), 3);
        close_redis(Duration::from_secs(5)).await.expect("a report");
        assert_eq!(close_redis(Duration::ZERO).await.expect("nothing to close").completed, 0);
    });
}

#[test]
fn a_wrong_environment_names_every_variable_and_no_secret() {
    let variables =
        [("REDIS_PORT", "seventy"), ("REDIS_DB", "-1"), ("REDIS_TLS", "perhaps"), ("REDIS_PASSWORD", "hunter2")];
    if in_a_process_of_its_own("a_wrong_environment_names_every_variable_and_no_secret", &variables) {
        let error = get_redis().expect_err("three things are wrong");
        assert_eq!(error.kind(), ErrorKind::Config);
        let words = format!("{error} {error:?}");
        for variable in ["REDIS_PORT", "REDIS_DB", "REDIS_TLS"] {
            assert!(words.contains(variable), "{variable} in {words}");
        }
        assert!(!words.contains("hunter2"), "{words}");
    }
}
