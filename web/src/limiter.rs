//! Rate limits that hold over all processes of a service.

mod local;
mod middleware;

use std::sync::Arc;
use std::time::Duration;

use redis_actix::Result;
use redis_actix::prelude::*;

use crate::scripts::unique_id;
use local::LocalLimits;
pub use middleware::{RateLimit, RateLimitService};

/// One entry per admitted request, scored by its time in microseconds. An attempt is known by its id, so that a script that is
/// repeated after a lost link counts once. Returns whether it is admitted, the number of free places, and the microseconds
/// until the oldest entry leaves.
static SLIDING_WINDOW: Script<(bool, u64, u64)> = Script::new(
    "local time = redis.call('TIME')
     local now = time[1] * 1000000 + time[2]
     local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
     redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
     local used = redis.call('ZCARD', KEYS[1])
     local admitted = redis.call('ZSCORE', KEYS[1], ARGV[3]) and 1 or 0
     if admitted == 0 and used < limit then
       redis.call('ZADD', KEYS[1], now, ARGV[3])
       redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))
       used, admitted = used + 1, 1
     end
     local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
     local wait = oldest[2] and oldest[2] + window - now or 0
     return {admitted, limit - used, math.max(wait, 0)}",
);

/// The generic cell rate algorithm: the key holds the time in microseconds at which the bucket is full again. Returns whether
/// the request is admitted, the number of tokens left, and the microseconds until the next token, or until the bucket is full
/// if the request was admitted.
static TOKEN_BUCKET: Script<(bool, u64, u64)> = Script::new(
    "local time = redis.call('TIME')
     local now = time[1] * 1000000 + time[2]
     local capacity, interval = tonumber(ARGV[1]), tonumber(ARGV[2])
     local full = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
     local next = full + interval
     local free = now + capacity * interval - next
     if free < 0 then return {0, 0, -free} end
     redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000))
     return {1, math.floor(free / interval), next - now}",
);

/// How many requests are admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    algorithm: Algorithm,
    /// The number of requests that can be admitted at once.
    most: u64,
    /// Of a sliding window its length, of a bucket the time for one token.
    time: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    SlidingWindow,
    TokenBucket,
}

impl Limit {
    /// Admits `requests` within any time span of the length `window`. Exact: there is no moment at which twice as many pass.
    /// Redis keeps about 60 bytes for each admitted request until its window has passed, so this is for limits of up to some
    /// thousand requests; use [`token_bucket`](Self::token_bucket) for larger ones. Both are at least 1 request and 1
    /// millisecond.
    #[must_use]
    pub fn sliding_window(requests: u64, window: Duration) -> Self {
        let time = window.max(Duration::from_millis(1));
        Self { algorithm: Algorithm::SlidingWindow, most: requests.max(1), time }
    }

    /// Admits a burst of `capacity` requests, and after it one request each `interval`. Redis keeps one number for each key.
    /// Both are at least 1 request and 1 microsecond.
    #[must_use]
    pub fn token_bucket(capacity: u64, interval: Duration) -> Self {
        let time = interval.max(Duration::from_micros(1));
        Self { algorithm: Algorithm::TokenBucket, most: capacity.max(1), time }
    }

    /// The number of requests that can be admitted at once.
    #[must_use]
    pub fn most(&self) -> u64 {
        self.most
    }

    fn microseconds(&self) -> u64 {
        u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX).min(1 << 50)
    }
}

/// Whether a request is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether the request is within the limit.
    pub is_admitted: bool,
    /// The number of requests that can be admitted at once.
    pub limit: u64,
    /// The number of requests that would be admitted now.
    pub remaining: u64,
    /// The time until more are admitted: until the next place is free if none is, else until the oldest request leaves the
    /// window, or the bucket is full.
    pub reset: Duration,
}

/// What happens to requests while Redis cannot decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenUnavailable {
    /// Every request is admitted.
    #[default]
    Admit,
    /// No request is admitted: they are answered with 503.
    Refuse,
    /// Each process applies the limit as a token bucket to its own requests, so that at most the limit times the number of
    /// processes is admitted. It remembers up to 10,000 keys.
    Local,
}

/// Counts requests against a [`Limit`], for any key.
///
/// ```no_run
/// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
/// use redis_actix_web::limiter::{Limit, Limiter};
/// use std::time::Duration;
///
/// let mails = Limiter::new(redis, "mails", Limit::sliding_window(10, Duration::from_secs(3600)));
/// if !mails.check("user:1").await?.is_admitted {
///     // too many mails in this hour
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Limiter {
    redis: Redis,
    name: Arc<str>,
    limit: Limit,
    timeout: Duration,
    when_unavailable: WhenUnavailable,
    local: Arc<LocalLimits>,
}

impl Limiter {
    /// Creates a limiter. Limiters of one `name` in all processes of a service share their counts.
    #[must_use]
    pub fn new(redis: Redis, name: impl Into<Arc<str>>, limit: Limit) -> Self {
        Self {
            redis,
            name: name.into(),
            limit,
            timeout: Duration::from_millis(250),
            when_unavailable: WhenUnavailable::default(),
            local: Arc::default(),
        }
    }

    /// Sets how long Redis may take to decide, 250 milliseconds by default. After that it counts as unavailable.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets what happens while Redis cannot decide. Default: [`WhenUnavailable::Admit`].
    #[must_use]
    pub fn when_unavailable(mut self, policy: WhenUnavailable) -> Self {
        self.when_unavailable = policy;
        self
    }

    /// The limit.
    #[must_use]
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Counts a request of `key`, in one round trip, if it is within the limit.
    ///
    /// # Errors
    /// If Redis cannot decide and [`WhenUnavailable::Refuse`] was chosen.
    ///
    /// # Cancel safety
    /// The request may be counted if the future is dropped.
    pub async fn check(&self, key: impl AsRef<str>) -> Result<Decision> {
        let key = key.as_ref();
        let stored = format!("limit:{}:{key}", self.name);
        let limit = self.limit;
        let call = match limit.algorithm {
            Algorithm::SlidingWindow => {
                let call = SLIDING_WINDOW.invoke().key(stored).arg(limit.most).arg(limit.microseconds());
                call.arg(unique_id()).idempotent()
            }
            Algorithm::TokenBucket => TOKEN_BUCKET.invoke().key(stored).arg(limit.most).arg(limit.microseconds()),
        };
        let call = call.timeout(self.timeout).when_down(WhenDown::FailFast);
        match self.redis.send(call).await {
            Ok((is_admitted, remaining, reset)) => {
                Ok(Decision { is_admitted, limit: limit.most, remaining, reset: Duration::from_micros(reset) })
            }
            Err(error) => self.without_redis(key, error),
        }
    }

    fn without_redis(&self, key: &str, error: Error) -> Result<Decision> {
        tracing::debug!(%error, limiter = &*self.name, "redis cannot decide on a rate limit");
        let all =
            Decision { is_admitted: true, limit: self.limit.most, remaining: self.limit.most, reset: Duration::ZERO };
        match self.when_unavailable {
            WhenUnavailable::Admit => Ok(all),
            WhenUnavailable::Refuse => Err(error),
            WhenUnavailable::Local => {
                let (is_admitted, remaining, reset) = self.local.check(key, self.limit, std::time::Instant::now());
                Ok(Decision { is_admitted, remaining, reset, ..all })
            }
        }
    }
}
