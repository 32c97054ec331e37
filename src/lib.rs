//! A supervised Redis layer for actix.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    test,
    allow(
        clippy::expect_used,
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test fails by panicking"
    )
)]

mod actors;
#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench;
mod builder;
mod config;
mod core;
mod error;
mod events;
mod frame;
mod gate;
mod gauges;
mod handle;
mod intake;
mod messages;
mod prefix;
pub mod prelude;
mod supervisor;
mod wire;

pub use actors::connection::RedisActor;
pub use actors::driver::ShutdownReport;
pub use builder::RedisBuilder;
pub use config::{
    Address, ConfigError, ConfigProblem, Description, HostPort, Mode, RedisConfig, RedisConfigBuilder, Secret,
    TlsSettings,
};
pub use core::retry::ReconnectPolicy;
pub use error::{Error, ErrorKind, Fate, Phase, Result};
pub use events::{Cause, CauseKind, ConnectionEvent, ConnectionState, Status};
pub use frame::{Frame, ReplyKeys, WhenDown};
pub use handle::{ConnectionInfo, Health, Redis, Sending, close_redis, get_redis};
pub use messages::server::Ping;
pub use messages::strings::*;
pub use messages::{Command, decode};
pub use prefix::{InvalidPrefix, KeyPrefix, escape_glob};
pub use redis::Value;
pub use supervisor::RestartLimit;
