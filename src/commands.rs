//! The typed messages by command family.
//!
//! Each submodule has the messages of one family. A message is named like its command: `HSet` is `HSET`, `XGroupCreate` is
//! `XGROUP CREATE`. Send it with [`Redis::send`](crate::Redis::send):
//!
//! ```
//! # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
//! use redis_actix::commands::{hashes::HGet, strings::Set};
//!
//! redis.send(Set::new("greeting", "hello")).await?;
//! let email: Option<String> = redis.send(HGet::new("user:1", "email")).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # The type of the reply
//!
//! A command that returns your data has a type parameter: [`Get<T>`](strings::Get). The compiler infers it from the
//! variable that receives the reply, or you write `Get::<String>::new("k")`. A command that returns facts of the server,
//! such as a length, has a fixed type.
#![doc = include_str!("../docs/commands.md")]

pub use crate::messages::arguments::{Element, IntoKeys, IntoScored, IntoValues, Many, One, Score};

/// Bits of strings.
pub mod bitmaps {
    pub use crate::messages::bitmaps::*;
}
/// Bloom and cuckoo filters, count-min sketches, top-k lists and t-digests.
pub mod bloom {
    pub use crate::messages::bloom::*;
}
/// Positions on the earth.
pub mod geo {
    pub use crate::messages::geo::*;
}
/// Hashes.
pub mod hashes {
    pub use crate::messages::hashes::*;
    pub use crate::messages::hashes_expiry::*;
    pub use crate::messages::hashes_fields::*;
    pub use crate::messages::keys::TimeToLive;
    pub use crate::messages::keys_expiry::ExpiresAt;
}
/// Approximate counts of distinct elements.
pub mod hyperloglog {
    pub use crate::messages::hyperloglog::*;
}
/// JSON documents.
pub mod json {
    pub use crate::messages::json::*;
}
/// Keys of any type: existence, expiry, names.
pub mod keys {
    pub use crate::messages::keys::*;
    pub use crate::messages::keys_expiry::*;
    pub use crate::messages::keys_values::*;
    pub use crate::messages::scan::Keys;
}
/// Lists.
pub mod lists {
    pub use crate::messages::blocking::{BLMPop, BLMove, BLPop, BRPop, ListEnd, Popped};
    pub use crate::messages::lists::*;
    pub use crate::messages::lists_elements::*;
}
/// Publishing messages, and the state of subscriptions.
pub mod pubsub {
    pub use crate::messages::pubsub::*;
}
/// Scripts and functions that run on the server.
pub mod scripting {
    pub use crate::messages::functions::*;
    pub use crate::messages::script::{FCall, FunctionLoad, Invocation, Script};
}
/// Full-text and vector search.
pub mod search {
    pub use crate::messages::search::*;
}
/// The server and its connections.
pub mod server {
    pub use crate::messages::blocking::{Wait, WaitAof};
    pub use crate::messages::operators::*;
    pub use crate::messages::server::*;
    pub use crate::messages::server_replies::*;
}
/// Sets.
pub mod sets {
    pub use crate::messages::sets::*;
    pub use crate::messages::sets_algebra::*;
}
/// Sorted sets.
pub mod sorted_sets {
    pub use crate::messages::blocking::{BZMPop, BZPopMax, BZPopMin, Popped, ScoreEnd};
    pub use crate::messages::sorted_sets::*;
    pub use crate::messages::sorted_sets_algebra::*;
    pub use crate::messages::sorted_sets_ranges::*;
}
/// Streams and consumer groups.
pub mod streams {
    pub use crate::messages::stream_id::{InvalidStreamId, StreamId};
    pub use crate::messages::streams::*;
    pub use crate::messages::streams_deletion::*;
    pub use crate::messages::streams_groups::*;
    pub use crate::messages::streams_pending::*;
    pub use crate::messages::streams_reads::*;
    pub use crate::messages::streams_replies::*;
}
/// Strings and counters.
pub mod strings {
    pub use crate::messages::strings::*;
    pub use crate::messages::strings_conditions::*;
    pub use crate::messages::strings_ranges::*;
}
/// Time series.
pub mod time_series {
    pub use crate::messages::time_series::*;
}
/// Vector sets.
pub mod vectors {
    pub use crate::messages::vectors::*;
}
