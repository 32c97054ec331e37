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
mod builder;
mod config;
mod core;
mod error;
mod events;
mod frame;
mod gate;
mod gauges;
mod handle;
mod links;
mod messages;
mod prefix;
pub mod prelude;
mod supervisor;
mod watch;
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
pub use links::LinkLimit;
pub use messages::{
    Command,
    batch::{Batch, TryEach},
    decode,
    fields::to_fields,
    fields_de::from_fields,
    hashes::{HDel, HExists, HGet, HGetAll, HIncrBy, HLen, HMGet, HSet},
    keys::{Copy, Del, Exists, Expire, KeyType, PExpire, PTtl, Persist, Rename, TimeToLive, Ttl, Type, Unlink},
    lists::{LLen, LPop, LPopMany, LPush, LRange, RPop, RPopMany, RPush},
    pipeline::Pipeline,
    pubsub::Publish,
    raw::Raw,
    script::{FCall, FunctionLoad, Invocation, Script},
    server::Ping,
    sets::{SAdd, SCard, SIsMember, SMembers, SRem},
    sorted_sets::{ZAdd, ZCard, ZIncrBy, ZRange, ZRem, ZScore},
    stream_id::{InvalidStreamId, StreamId},
    streams::{XAdd, XDel, XLen, XRange, XRead, XRevRange, XTrim},
    streams_groups::{
        XAck, XGroupCreate, XGroupCreateConsumer, XGroupDelConsumer, XGroupDestroy, XGroupSetId, XInfoConsumers,
        XInfoGroups, XInfoStream, XReadGroup,
    },
    streams_pending::{XAutoClaim, XClaim, XPending, XPendingEntries},
    streams_replies::{
        AutoClaimed, ConsumerInfo, GroupInfo, PendingEntry, PendingSummary, StreamEntry, StreamInfo, StreamPage,
    },
    strings::{Append, Decr, DecrBy, Get, GetDel, Incr, IncrBy, MGet, MSet, Set, SetGet, StrLen},
    transaction::Transaction,
    values::{Json, Struct},
};
pub use prefix::{InvalidPrefix, KeyPrefix, glob::escape_glob};
pub use redis::Value;
pub use supervisor::RestartLimit;
pub use watch::{Watch, Watched};
