//! Parts of actix-web services that need Redis, on the shared handle of [`redis_actix`].
//!
//! | part | see |
//! |---|---|
//! | sessions | [`session::RedisSessionStore`], for `actix-session` |
//! | rate limits | [`limiter::RateLimit`] as middleware, [`limiter::Limiter`] in your own code |
//! | locks with fencing tokens | [`lock::Lock`] |
//! | cache-aside with single flight | [`cache::Cache`] |
//! | idempotency keys | [`idempotency::Idempotency`] |
//! | server-sent events from a stream | [`events::EventStream`] |
//! | probes of Kubernetes | [`health::Probes`] |
//! | graceful termination | [`service::Service`] |
//!
//! Each part works alone, and needs a [`Redis`](redis_actix::Redis) handle and nothing else. All keys get the prefix of the
//! handle. What each part does while Redis is down is a choice of the caller, with a documented default.
//!
//! Handlers can return [`redis_actix::Error`]: with the feature `actix-web` of `redis-actix`, which this crate enables, it is
//! an `actix_web::ResponseError`.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod cache;
pub mod events;
pub mod health;
pub mod idempotency;
pub mod limiter;
pub mod lock;
mod scripts;
pub mod service;
#[cfg(feature = "session")]
pub mod session;

/// Checks that the README's program compiles.
#[cfg(all(doctest, feature = "session"))]
#[doc = include_str!("../README.md")]
struct Readme;
