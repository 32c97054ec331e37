//! Commands of modules on a server that has them, over RESP2 and RESP3, by two tenants.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::future::Future;
use std::sync::OnceLock;

use redis_actix::{Protocol, Redis, RedisConfig};
use redis_actix_test::{RedisServer, find_modules_server};

mod bloom;
mod input;
mod json;
mod search;
mod time_series;
mod vectors;

/// Two services of one server. Glob characters in a prefix must have no meaning.
struct Tenants {
    ours: Redis,
    theirs: Redis,
    server: RedisServer,
}

fn connect(server: &RedisServer, prefix: &str, protocol: Protocol) -> Redis {
    let config = RedisConfig::builder().host("127.0.0.1").port(server.port()).key_prefix(prefix).protocol(protocol);
    Redis::builder(config.build().expect("valid")).start().expect("started")
}

/// A server with modules. Without one the test is skipped, but not on CI.
fn modules_server() -> Option<RedisServer> {
    static SAID: OnceLock<()> = OnceLock::new();
    let Some(program) = find_modules_server() else {
        assert!(std::env::var_os("CI").is_none(), "no server with modules: run `cargo xtask modules`");
        SAID.get_or_init(|| eprintln!("skipped: no server with modules; `cargo xtask modules` installs one"));
        return None;
    };
    Some(RedisServer::builder().program(program).start().unwrap_or_else(|error| panic!("{error}")))
}

/// Runs the test once for each protocol on an empty server. Every key of the server must have the prefix of a tenant
/// at the end.
async fn for_each_protocol<F: Future<Output = Tenants>>(test: impl Fn(Tenants) -> F) {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let Some(server) = modules_server() else { return };
        let tenants = Tenants {
            ours: connect(&server, "our?s[1]:", protocol),
            theirs: connect(&server, "theirs:", protocol),
            server,
        };
        let Tenants { server, .. } = test(tenants).await;
        let keys = server.command(["KEYS", "*"]).expect("asked");
        let redis_actix_test::Reply::Array(keys) = keys else { panic!("{keys:?}") };
        assert!(!keys.is_empty());
        for key in keys {
            let key = key.text().expect("text");
            assert!(key.starts_with("our?s[1]:") || key.starts_with("theirs:"), "{key}");
        }
    }
}
