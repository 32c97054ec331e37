//! Real Redis servers, a fault-injecting proxy and a scripted fake server, for tests of anything that talks to Redis.
//!
//! * [`RedisServer`] starts a real `redis-server` or `valkey-server` on a free loopback port, in a temporary directory. Dropping
//!   it ends the server, also when the test panics. It can be killed, restarted and frozen.
//! * [`Proxy`] sits between client and server and breaks the link in exact ways: it holds it, resets it, cuts it after n bytes,
//!   corrupts a reply.
//! * [`FakeServer`] answers exact bytes that no real server sends: hostile replies, silence, old servers.
//! * [`RedisCluster`] and [`SentinelSet`] start several real servers; proxies can isolate one of them.
//!
//! All of them are synchronous and work in a plain `#[test]`. Each blocking wait has an `async` counterpart, so that an async test
//! does not block the client under test. Proxy and fake server run on their own threads, so a blocked test does not stop them.
//!
//! The server program is `REDIS_SERVER` if set, else `redis-server` or `valkey-server` on `PATH`. Unix only, like the server.
//!
//! ```no_run
//! use redis_actix_test::{Direction, Proxy, RedisServer};
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! let server = RedisServer::builder().appendonly(true).fsync_always().start()?;
//! let proxy = Proxy::start(server.addr())?;
//!
//! // ... let the client under test connect to `proxy.url()` ...
//! proxy.wait_for_connections(1, Duration::from_secs(5))?;
//!
//! // The next command reaches the server; its reply is lost with the link.
//! proxy.cut_after(Direction::ToClient, 0);
//! // ... let the client send INCR ...
//! assert_eq!(server.command(["GET", "counter"])?.int()?, 1);
//!
//! server.kill()?;
//! server.restart()?;
//! assert_eq!(server.command(["GET", "counter"])?.int()?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Without a server program, `start` returns one line with the remedy, see [`MissingServer`].

mod background;
mod binary;
mod builder;
mod cluster;
mod connection;
mod dir;
mod fake;
mod network;
mod process;
mod proxy;
mod reply;
mod sentinel;
mod server;
mod tally;

pub use binary::{MissingServer, find_server};
pub use builder::RedisServerBuilder;
pub use cluster::{RedisCluster, RedisClusterBuilder, cluster_options, form};
pub use connection::Connection;
pub use dir::free_port;
pub use fake::{Answer, FakeServer, FakeServerBuilder, Step};
pub use proxy::{Direction, Proxy};
pub use reply::Reply;
pub use sentinel::{SentinelSet, SentinelSetBuilder};
pub use server::RedisServer;
