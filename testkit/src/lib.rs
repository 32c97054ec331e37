//! Real Redis servers, a fault-injecting proxy and a scripted fake server, for tests of anything that talks to Redis.
//!
//! * [`RedisServer`] starts a real `redis-server` or `valkey-server` of its own on a free loopback port, in a directory of
//!   its own, and ends it when it goes out of scope, also when the test panics. It can be killed, restarted and frozen.
//! * [`Proxy`] stands between the client and the server and breaks the link in exact ways: holds it, resets it, cuts it
//!   after n bytes, corrupts a reply.
//! * [`FakeServer`] answers exact bytes where no real server would: hostile replies, silence, old servers.
//!
//! All three are synchronous: they may be used from a plain `#[test]` as well as from inside an async runtime, where
//! each waiting method has an `async` counterpart, so that a test never blocks the client it is waiting for. Proxy and fake
//! server run on threads of their own, so a blocked test does not stop them.
//!
//! The server's program is `REDIS_SERVER` where that is set, else `redis-server` or `valkey-server` on `PATH`. Unix only, as
//! the server itself.
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
//! // The next command reaches the server, its reply is lost with the link.
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
//! Servers without the program report one line that says what to do, see [`MissingServer`].

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
