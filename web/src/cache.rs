//! Values that are expensive to compute, kept in Redis.

mod flights;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use redis_actix::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::scripts::{DELETE_OWN, milliseconds, unique_id};
use flights::{Flight, Flights};

/// Returns the value, or takes the right to compute it: 1 if this caller has it, 0 if another one has.
static READ_OR_LEAD: Script<(Option<Vec<u8>>, bool)> = Script::new(
    "local value = redis.call('GET', KEYS[1])
     if value then return {value, 0} end
     if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {false, 1} end
     return {false, 0}",
);

/// Stores a value, and gives the right to compute it back.
static STORE: Script<()> = Script::new(
    "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
     if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
     return redis.status_reply('OK')",
);

/// Between two looks at a value that another process computes, with random variation.
const POLL: Duration = Duration::from_millis(25);
/// How far in advance values are computed again, relative to what they cost; see "Optimal Probabilistic Cache Stampede
/// Prevention" (Vattani, Chierichetti, Lowenstein, 2015), where it is called beta.
const EAGERNESS: f64 = 1.0;

/// Why a value could not be returned.
#[derive(Debug)]
#[non_exhaustive]
pub enum CacheError<E> {
    /// The computation failed. Nothing was stored.
    Compute(E),
    /// The value cannot be written as JSON.
    Json(serde_json::Error),
}

impl<E: fmt::Display> fmt::Display for CacheError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compute(error) => write!(f, "the value could not be computed: {error}"),
            Self::Json(error) => write!(f, "the value cannot be cached as JSON: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CacheError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Compute(error) => Some(error),
            Self::Json(error) => Some(error),
        }
    }
}

/// A value as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored<V> {
    /// The value; null for one that does not exist.
    v: V,
    /// When it expires, in milliseconds since 1970.
    e: u64,
    /// What it cost to compute, in milliseconds.
    c: u64,
}

/// Cache-aside: values are read from Redis, and computed once where they are missing.
///
/// - Of the callers in one process one computes, and the others wait for its value. Of several processes one computes, and the
///   others wait for its value for as long as [`lead_time`](Self::lead_time).
/// - Shortly before a value expires, one caller computes it again while the others go on using it. How early that is depends on
///   what the value costs and on chance, so that no two processes do it at the same moment.
/// - While Redis cannot be reached every process computes for itself, one computation a key at a time.
///
/// ```no_run
/// # #[derive(serde::Serialize, serde::Deserialize)] struct User { name: String }
/// # async fn load(_: u64) -> Result<User, std::io::Error> { Ok(User { name: String::new() }) }
/// # async fn example(redis: redis_actix::Redis) -> Result<(), Box<dyn std::error::Error>> {
/// use redis_actix_web::cache::Cache;
/// use std::time::Duration;
///
/// let cache = Cache::new(redis, "users");
/// let user: User = cache.get_or_insert_with("7", Duration::from_secs(60), || load(7)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Cache {
    redis: Redis,
    name: Arc<str>,
    lead_time: Duration,
    negative_ttl: Duration,
    flights: Flights,
}

/// A stored value.
enum Hit<V> {
    Value(V),
    /// There is one, and it is computed again: it will expire soon, or is of another version of the service.
    Outdated,
    Missing,
    /// Redis cannot be asked.
    Unknown,
}

/// What Redis has for a key whose value was missing.
enum Found<V> {
    Value(V),
    /// This caller computes it. `is_shared`: other processes wait for it.
    Lead {
        is_shared: bool,
    },
    /// Another process computes it.
    Wait,
}

impl Cache {
    /// Creates a cache. Keys are stored as `cache:{name}:{key}`.
    #[must_use]
    pub fn new(redis: Redis, name: impl Into<Arc<str>>) -> Self {
        Self {
            redis,
            name: name.into(),
            lead_time: Duration::from_secs(10),
            negative_ttl: Duration::from_secs(5),
            flights: Flights::default(),
        }
    }

    /// Sets how long a process may compute before others compute as well: 10 seconds by default. Set it longer than the slowest
    /// computation.
    #[must_use]
    pub fn lead_time(mut self, lead_time: Duration) -> Self {
        self.lead_time = lead_time.max(Duration::from_millis(1));
        self
    }

    /// Sets how long it is remembered that a value does not exist, for
    /// [`get_or_insert_option`](Self::get_or_insert_option): 5 seconds by default.
    #[must_use]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = ttl;
        self
    }

    /// Returns the value of `key`; computes and stores it for `ttl` if there is none.
    ///
    /// # Errors
    /// If the computation fails, or the value cannot be written as JSON. Errors of Redis are logged, and the value is computed.
    ///
    /// # Cancel safety
    /// If the future is dropped while it computes, another caller computes.
    pub async fn get_or_insert_with<T, E, F>(
        &self,
        key: impl AsRef<str>,
        ttl: Duration,
        compute: impl FnOnce() -> F,
    ) -> Result<T, CacheError<E>>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, E>>,
    {
        self.get_or_insert(key.as_ref(), |_| ttl, compute).await
    }

    /// The same for a value that may not exist. That it does not is remembered for [`negative_ttl`](Self::negative_ttl).
    ///
    /// # Errors
    /// As for [`get_or_insert_with`](Self::get_or_insert_with).
    ///
    /// # Cancel safety
    /// As for [`get_or_insert_with`](Self::get_or_insert_with).
    pub async fn get_or_insert_option<T, E, F>(
        &self,
        key: impl AsRef<str>,
        ttl: Duration,
        compute: impl FnOnce() -> F,
    ) -> Result<Option<T>, CacheError<E>>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<Option<T>, E>>,
    {
        let ttl_of = |value: &Option<T>| if value.is_some() { ttl } else { self.negative_ttl };
        self.get_or_insert(key.as_ref(), ttl_of, compute).await
    }

    async fn get_or_insert<V, E, F>(
        &self,
        key: &str,
        ttl_of: impl Fn(&V) -> Duration,
        compute: impl FnOnce() -> F,
    ) -> Result<V, CacheError<E>>
    where
        V: Serialize + DeserializeOwned,
        F: Future<Output = Result<V, E>>,
    {
        let keys = self.keys(key);
        // Before callers wait for each other: values that are there are read at the same time.
        let hit = self.read(&keys[0]).await;
        let is_missing = match hit {
            Hit::Value(value) => return Ok(value),
            Hit::Missing => true,
            Hit::Outdated | Hit::Unknown => false,
        };
        let owner = unique_id();
        let wait_until = Instant::now() + self.lead_time;
        let (flight, is_shared) = loop {
            let flight = match self.flights.join(&keys[0]).await {
                // Computed by another caller of this process while this one waited.
                Flight::Landed(stored) => match decode::<V>(&stored) {
                    Some(stored) => return Ok(stored.v),
                    // Another type under the same key.
                    None => continue,
                },
                Flight::Lead(flight) => flight,
            };
            if !is_missing {
                break (flight, false);
            }
            match self.find(&keys, &owner).await {
                Found::Value(value) => return Ok(value),
                Found::Lead { is_shared } => break (flight, is_shared),
                Found::Wait if Instant::now() >= wait_until => break (flight, false),
                Found::Wait => {
                    drop(flight);
                    tokio::time::sleep(POLL.mul_f64(0.5 + fastrand::f64())).await;
                }
            }
        };
        let begun = Instant::now();
        let value = match compute().await {
            Ok(value) => value,
            Err(error) => {
                if is_shared {
                    self.note(self.redis.send(DELETE_OWN.invoke().key(&keys[1]).arg(&owner)).await);
                }
                return Err(CacheError::Compute(error));
            }
        };
        let ttl = ttl_of(&value).max(Duration::from_millis(1));
        let stored = Stored { v: value, e: now().saturating_add(milliseconds(ttl)), c: milliseconds(begun.elapsed()) };
        let text = Bytes::from(serde_json::to_vec(&stored).map_err(CacheError::Json)?);
        let store = STORE.invoke().key(&keys[0]).key(&keys[1]).arg(&owner).arg(&text[..]);
        self.note(self.redis.send(store.arg(milliseconds(ttl)).idempotent()).await);
        flight.land(text);
        Ok(stored.v)
    }

    /// Removes a value.
    ///
    /// # Cancel safety
    /// The value may be removed if the future is dropped.
    pub async fn remove(&self, key: impl AsRef<str>) {
        let [key, _] = self.keys(key.as_ref());
        self.note(self.redis.send(Del::new([key]).idempotent()).await);
    }

    /// The keys of a value and of the right to compute it, in one slot of a cluster.
    fn keys(&self, key: &str) -> [String; 2] {
        let name = &self.name;
        [format!("cache:{{{name}:{key}}}"), format!("cache:{{{name}:{key}}}:lead")]
    }

    async fn read<V: DeserializeOwned>(&self, key: &str) -> Hit<V> {
        match self.redis.send(Get::<Vec<u8>>::new(key).when_down(WhenDown::FailFast)).await {
            Ok(Some(stored)) => hit_of(&stored),
            Ok(None) => Hit::Missing,
            Err(error) => {
                self.note::<()>(Err(error));
                Hit::Unknown
            }
        }
    }

    async fn find<V: DeserializeOwned>(&self, keys: &[String; 2], owner: &str) -> Found<V> {
        let read = READ_OR_LEAD.invoke().key(&keys[0]).key(&keys[1]).arg(owner).arg(milliseconds(self.lead_time));
        match self.redis.send(read.when_down(WhenDown::FailFast)).await {
            Ok((Some(stored), _)) => match hit_of(&stored) {
                Hit::Value(value) => Found::Value(value),
                _ => Found::Lead { is_shared: false },
            },
            Ok((None, true)) => Found::Lead { is_shared: true },
            Ok((None, false)) => Found::Wait,
            Err(error) => {
                self.note::<()>(Err(error));
                Found::Lead { is_shared: false }
            }
        }
    }

    fn note<T>(&self, outcome: redis_actix::Result<T>) {
        if let Err(error) = outcome {
            tracing::debug!(%error, cache = &*self.name, "a cache works without redis");
        }
    }
}

fn decode<V: DeserializeOwned>(stored: &[u8]) -> Option<Stored<V>> {
    serde_json::from_slice(stored).ok()
}

/// Whether a stored value is used. How early it is computed again depends on what it cost, and on chance.
fn hit_of<V: DeserializeOwned>(stored: &[u8]) -> Hit<V> {
    let Some(stored) = decode::<V>(stored) else { return Hit::Outdated };
    let early = stored.c as f64 * EAGERNESS * -fastrand::f64().max(f64::MIN_POSITIVE).ln();
    if now() as f64 + early >= stored.e as f64 { Hit::Outdated } else { Hit::Value(stored.v) }
}

/// In milliseconds since 1970.
fn now() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
