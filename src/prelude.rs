//! The types that most programs need, for `use redis_actix::prelude::*`.
//!
//! It does not export names that would hide those of std: [`Copy`](crate::Copy) and [`Result`](crate::Result). Messages for operators and
//! of modules are in [`commands`](crate::commands) only.

pub use crate::keyspace::{ClearPrefix, CountKeys, ScanHash, ScanKeys, ScanSet, ScanSortedSet};
pub use crate::messages::bitmaps::*;
pub use crate::messages::blocking::*;
pub use crate::messages::geo::*;
pub use crate::messages::hashes::*;
pub use crate::messages::hashes_expiry::*;
pub use crate::messages::hashes_fields::*;
pub use crate::messages::hyperloglog::*;
pub use crate::messages::keys::{
    Del, Exists, Expire, KeyType, PExpire, PTtl, Persist, Rename, TimeToLive, Ttl, Type, Unlink,
};
pub use crate::messages::keys_expiry::*;
pub use crate::messages::keys_values::*;
pub use crate::messages::lists::*;
pub use crate::messages::lists_elements::*;
pub use crate::messages::pipeline::*;
pub use crate::messages::pubsub::*;
pub use crate::messages::raw::*;
pub use crate::messages::scan::Keys;
pub use crate::messages::script::{FCall, FunctionLoad, Invocation, Script};
pub use crate::messages::server::*;
pub use crate::messages::sets::*;
pub use crate::messages::sets_algebra::*;
pub use crate::messages::sorted_sets::*;
pub use crate::messages::sorted_sets_algebra::*;
pub use crate::messages::sorted_sets_ranges::*;
pub use crate::messages::stream_id::StreamId;
pub use crate::messages::streams::*;
pub use crate::messages::streams_deletion::*;
pub use crate::messages::streams_groups::*;
pub use crate::messages::streams_pending::*;
pub use crate::messages::streams_reads::*;
pub use crate::messages::streams_replies::*;
pub use crate::messages::strings::*;
pub use crate::messages::strings_conditions::*;
pub use crate::messages::strings_ranges::*;
pub use crate::messages::transaction::*;
pub use crate::messages::values::*;
pub use crate::{
    Batch, BatchOutcome, Command, ConnectionEvent, DeadLetters, Delivery, Error, ErrorKind, Fate, Frame, KeyPrefix,
    Outcome, Overflow, ReadFrom, ReconnectPolicy, Redis, RedisActor, RedisConfig, StreamConsumer, StreamEvent,
    StreamEventKind, Subscription, SubscriptionEvent, Topic, Watch, Watched, WhenDown, close_redis, get_redis,
};
