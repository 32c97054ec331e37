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

mod config;
mod error;
mod frame;
mod messages;
mod prefix;

pub use config::{
    Address, ConfigError, ConfigProblem, Description, HostPort, Mode, RedisConfig, RedisConfigBuilder, Secret,
    TlsSettings,
};
pub use error::{Error, ErrorKind, Fate, Phase, Result};
pub use frame::{Frame, ReplyKeys, WhenDown};
pub use messages::strings::*;
pub use messages::{Command, decode};
pub use prefix::{InvalidPrefix, KeyPrefix, escape_glob};
pub use redis::Value;
