//! A supervised Redis layer for [actix] services.
//!
//! One supervised [`RedisActor`] owns the connection. Callers send it typed messages. Every key gets a prefix before
//! the command runs. [`Redis`] is the handle that services hold, [`get_redis`] the process-wide one.
//!
//! ```no_run
//! use redis_actix::prelude::*;
//! use std::time::Duration;
//!
//! #[actix::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let redis = Redis::builder(RedisConfig::from_env()?).start()?; // does not block, and the server may start later
//!     redis.send(Set::new("user:1", "ada").expire(Duration::from_secs(60))).await?;
//!     let name: Option<String> = redis.send(Get::new("user:1")).await?;
//!     println!("{name:?}");
//!     redis.shutdown(Duration::from_secs(5)).await?;
//!     Ok(())
//! }
//! ```
//!
//! # Overview
//!
//! | topic | see |
//! |---|---|
//! | configuration, from environment variables or in code | [`RedisConfig`] |
//! | commands by family | [`commands`], [`Raw`] for any other command, [`Command`] for your own messages |
//! | outcome of a failed command | [`Error::fate`], [`Error::kind`], [`Error::code`] |
//! | state of the connection | [`Redis::status`], [`ConnectionEvent`], [`Redis::health`] |
//! | replies from this process, without a request | [`caching`] |
//! | keys that commands can access | [`boundary`] |
//! | guide, from the first connection to operating it | [`guide`] |
//! | migration | [`coming_from`] redis-rs, ioredis, actix-redis |
//! | stream consumers | [`StreamConsumer`] |
//! | published messages and keyspace notifications | [`Redis::subscribe`], [`Topic`] |
//! | shutdown | [`Redis::shutdown`], [`close_redis`] |
//!
//! # Guarantees
//!
//! Every command completes by its deadline. No command runs twice unless you allow it: a command that cannot have run
//! is retried on the next link, as is a read-only one, and any other fails with [`Fate::Unknown`]. Commands keep
//! their order. All queues and buffers are bounded. Keys outside the prefix cannot be accessed, by messages or by
//! your own commands; see [`boundary`]. Events of connections and consumers are sent to subscribers and logged
//! through [`tracing`](https://docs.rs/tracing).
//!
//! # Features
//!
//! - `tls` (default): TLS with rustls.
//! - `metrics`: metrics through the [`metrics`](https://docs.rs/metrics) facade.
//! - `actix-web`: `actix_web::ResponseError` for [`Error`], so that handlers can return it.
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
#[doc = include_str!("../docs/prefix.md")]
pub mod boundary {}
#[cfg(feature = "__bench")]
#[doc(hidden)]
pub mod bench;
mod cache;
#[doc = include_str!("../docs/caching.md")]
pub mod caching {}
mod clock;
pub mod commands;
#[doc = include_str!("../docs/coming-from.md")]
pub mod coming_from {}
mod client;
mod cluster;
mod config;
mod connection;
mod dedicated;
mod error;
mod events;
mod frame;
pub mod guide;
mod histogram;
mod keyspace;
mod lua;
mod messages;
mod prefix;
pub mod prelude;
mod printable;
mod protocol;
mod pubsub;
mod replicas;
mod sentinel;
mod single_flight;
mod streams;
mod supervisor;
mod telemetry;
mod transport;

pub use actors::connection::RedisActor;
pub use actors::stream_consumer::DrainReport;
pub use cache::config::CacheConfig;
pub use cache::stats::CacheStats;
pub use client::builder::RedisBuilder;
pub use client::{
    ConnectionInfo, ConnectionLogin, Health, NodeInfo, Reauthentication, Redis, SendFuture, Stats, close_redis,
    get_redis,
};
pub use config::credentials::{Credentials, CredentialsError, CredentialsProvider};
pub use config::{
    Address, ConfigError, ConfigProblem, Connections, Description, HostPort, Mode, Protocol, RedisConfig,
    RedisConfigBuilder, Secret, TlsSettings, TlsVerify,
};
pub use connection::driver::ShutdownReport;
pub use connection::error_rate::ErrorRate;
pub use connection::retry::ReconnectPolicy;
pub use dedicated::pool::{LinkInfo, LinkLimit, LinkRole};
pub use dedicated::watch::{Watch, Watched};
pub use error::{Error, ErrorKind, Fate, Phase, Result};
pub use events::{Cause, CauseKind, ConnectionEvent, ConnectionState, Status};
pub use frame::{Frame, ReadFrom, ReplyKeys, WhenDown};
pub use keyspace::unprefixed::{RawKeyspace, Unprefixed};
pub use keyspace::{
    ClearFuture, ClearPrefix, ClearProgress, CountKeys, ScanHash, ScanKeys, ScanSet, ScanSortedSet, ScanStream,
};
pub use messages::{
    Command,
    batch::{Bundle, TryEach},
    blocking::{BLMPop, BLMove, BLPop, BRPop, BZMPop, BZPopMax, BZPopMin, ListEnd, Popped, ScoreEnd, Wait, WaitAof},
    decode,
    fields::to_fields,
    fields_search::from_fields,
    hashes::{HDel, HExists, HGet, HGetAll, HIncrBy, HLen, HMGet, HSet},
    keys::{Copy, Del, Exists, Expire, KeyType, PExpire, PTtl, Persist, Rename, TimeToLive, Ttl, Type, Unlink},
    lists::{LLen, LPop, LPopMany, LPush, LRange, RPop, RPopMany, RPush},
    pipeline::Pipeline,
    pubsub::{Publish, SPublish},
    raw::Raw,
    scan::Keys,
    script::{FCall, FunctionLoad, Invocation, Script},
    server::Ping,
    sets::{SAdd, SCard, SIsMember, SMembers, SRem},
    sorted_sets::{ZAdd, ZCard, ZIncrBy, ZRange, ZRem, ZScore},
    stream_id::{InvalidStreamId, StreamId},
    streams::{XAdd, XDel, XTrim},
    streams_groups::{
        XAck, XGroupCreate, XGroupCreateConsumer, XGroupDelConsumer, XGroupDestroy, XGroupSetId, XInfoConsumers,
        XInfoGroups, XInfoStream, XReadGroup,
    },
    streams_pending::{XAutoClaim, XClaim, XPending, XPendingEntries},
    streams_reads::{XLen, XRange, XRead, XRevRange},
    streams_replies::{
        AutoClaimed, ConsumerInfo, GroupInfo, PendingEntry, PendingSummary, StreamEntry, StreamInfo, StreamPage,
    },
    strings::{Append, Decr, DecrBy, Get, GetDel, Incr, IncrBy, MGet, MSet, Set, SetGet, StrLen},
    transaction::Transaction,
    values::{Json, Struct},
};
pub use prefix::{InvalidPrefix, KeyPrefix, glob::escape_glob, refusal::RefusalClass};
pub use pubsub::backlog::Overflow;
pub use pubsub::event::{ChannelMessage, KeyEvent, SubscriptionEvent};
pub use pubsub::subscription::{SubscribeFuture, Subscription, SubscriptionStats};
pub use pubsub::topic::{Topic, TopicKind};
pub use redis;
pub use redis::Value;
pub use streams::batch::Batch;
pub use streams::builder::{OrderedBy, Ordering, StreamConsumerBuilder, Unordered};
pub use streams::consumer::StreamConsumer;
pub use streams::dead_letters::{DeadLetter, DeadLetterFilter, DeadLetters};
pub use streams::deduplicate::{Claim, Claimed, Deduplicate};
pub use streams::delivery::{Delivery, FromEntry, RawFields};
pub use streams::effects::Effects;
pub use streams::events::{ConsumerName, DeadLetterReason, Missing, StreamEvent, StreamEventKind};
pub use streams::group::{ConsumerGroup, Removal};
pub use streams::inbox::{BatchInbox, Inbox};
pub use streams::known_features::StreamFeatures;
pub use streams::lease::Lease;
pub use streams::outcome::{BatchOutcome, IntoBatchOutcome, IntoOutcome, Outcome};
pub use streams::producer::{Appended, Entry, OnceBy, Producer};
pub use streams::scheduled::{ScheduleId, Scheduled};
pub use streams::stats::{ConsumerStats, LatencyHistogram, Rates};
pub use streams::trace::{InvalidTraceParent, TraceParent};
pub use supervisor::{RestartLimit, supervise};
#[cfg(feature = "metrics")]
pub use telemetry::metrics::DURATION_BUCKETS;
pub use telemetry::propagation::{TracePropagator, set_trace_propagator};

/// Checks that the README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
