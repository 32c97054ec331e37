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

mod core;
mod error;
mod events;
mod frame;
mod messages;
mod prefix;
mod wire;

pub use error::{Error, ErrorKind, Fate, Phase, Result};
pub use frame::{Frame, ReplyKeys, WhenDown};
pub use messages::strings::*;
pub use messages::{Command, decode};
pub use prefix::{InvalidPrefix, KeyPrefix, escape_glob};
pub use redis::Value;
