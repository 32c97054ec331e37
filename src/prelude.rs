//! What a service needs: `use redis_actix::prelude::*;`.
pub use crate::{Command, Get, Incr, Ping, Pipeline, Redis, RedisConfig, Set, get_redis};
