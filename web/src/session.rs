//! A session store for `actix-session`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_session::storage::{LoadError, SaveError, SessionKey, SessionStore, UpdateError};
use actix_web::cookie::time;
use anyhow::anyhow;
use rand::distr::{Alphanumeric, SampleString};
use redis_actix::prelude::*;

use crate::scripts::milliseconds;

type State = HashMap<String, String>;

/// The length of a session key in characters of 62 kinds: 381 bits.
const KEY_LENGTH: usize = 64;
/// The entry of a loaded state that holds its version. It is not stored, and `actix-session` shows it in `entries()`.
const VERSION: &str = "redis-actix.version";
/// Attempts to find an unused key. Two random keys are never equal, unless the random numbers are broken.
const KEY_ATTEMPTS: usize = 3;

/// Replaces a state if it still has the expected version. Returns 1, or 0 if the session is gone, or -1 if it was changed.
static REPLACE: Script<i64> = Script::new(
    "local stored = redis.call('GET', KEYS[1])
     if not stored then return 0 end
     local version = tonumber(string.match(stored, '^(%d+)\\n')) or 0
     if ARGV[1] ~= '' and version ~= tonumber(ARGV[1]) then return -1 end
     redis.call('SET', KEYS[1], string.format('%d\\n', version + 1) .. ARGV[2], 'PX', ARGV[3])
     return 1",
);

/// Stores sessions in Redis, as JSON under `session:{key}`, each with the time to live that `actix-session` asks for.
///
/// It works with single servers, sentinels and clusters. While Redis is down, `actix-session` answers requests that need their
/// session with 500.
///
/// Session keys are 64 random letters and digits. A key of any other form cannot be one of this store: it is treated as a
/// session that does not exist, and no command is sent.
///
/// ```no_run
/// use actix_session::SessionMiddleware;
/// use actix_web::{App, HttpServer, cookie::Key};
/// use redis_actix_web::session::RedisSessionStore;
///
/// # async fn example(redis: redis_actix::Redis) -> std::io::Result<()> {
/// let key = Key::generate(); // load it from a secret in production
/// HttpServer::new(move || {
///     App::new().wrap(SessionMiddleware::new(RedisSessionStore::new(redis.clone()), key.clone()))
/// })
/// .bind(("127.0.0.1", 8080))?
/// .run()
/// .await
/// # }
/// ```
#[derive(Clone)]
pub struct RedisSessionStore {
    redis: Redis,
    prefix: Arc<str>,
    detects_conflicts: bool,
}

impl RedisSessionStore {
    /// Stores sessions with this handle.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, prefix: "session:".into(), detects_conflicts: false }
    }

    /// Sets the first part of the keys of sessions, after the prefix of the handle. Default: `session:`.
    #[must_use]
    pub fn key_prefix(mut self, prefix: impl Into<Arc<str>>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Refuses an update of a session that another request has changed since it was loaded. The request fails with 500, and
    /// the change of the other request is kept. Without it the last request wins, and the other change is lost.
    ///
    /// The loaded state has the additional entry `redis-actix.version`. A session that was cleared is written unconditionally.
    #[must_use]
    pub fn detect_conflicts(mut self) -> Self {
        self.detects_conflicts = true;
        self
    }

    /// The key of a session, unless this store cannot have made it.
    fn key(&self, session_key: &SessionKey) -> Option<String> {
        let session_key = session_key.as_ref();
        let is_own = session_key.len() == KEY_LENGTH && session_key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_own.then(|| format!("{}{session_key}", self.prefix))
    }
}

impl fmt::Debug for RedisSessionStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redis: _, prefix, detects_conflicts } = self;
        f.debug_struct("RedisSessionStore")
            .field("prefix", prefix)
            .field("detects_conflicts", detects_conflicts)
            .finish_non_exhaustive()
    }
}

fn new_key() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), KEY_LENGTH)
}

/// At least a millisecond: the server refuses 0.
fn time_to_live(ttl: &time::Duration) -> Duration {
    Duration::try_from(*ttl).unwrap_or_default().max(Duration::from_millis(1))
}

/// The version and the JSON of a stored value. A value without version begins with a brace.
fn parts(stored: &str) -> (u64, &str) {
    match stored.split_once('\n') {
        Some((version, state)) if !stored.starts_with('{') => (version.parse().unwrap_or_default(), state),
        _ => (0, stored),
    }
}

impl SessionStore for RedisSessionStore {
    async fn load(&self, session_key: &SessionKey) -> Result<Option<State>, LoadError> {
        let Some(key) = self.key(session_key) else { return Ok(None) };
        let stored: Option<String> =
            self.redis.send(Get::new(key)).await.map_err(|error| LoadError::Other(error.into()))?;
        let Some(stored) = stored else { return Ok(None) };
        let (version, state) = parts(&stored);
        let mut state: State = serde_json::from_str(state).map_err(|error| LoadError::Deserialization(error.into()))?;
        if self.detects_conflicts {
            state.insert(VERSION.to_owned(), version.to_string());
        }
        Ok(Some(state))
    }

    async fn save(&self, mut state: State, ttl: &time::Duration) -> Result<SessionKey, SaveError> {
        state.remove(VERSION);
        let state = serde_json::to_string(&state).map_err(|error| SaveError::Serialization(error.into()))?;
        for _ in 0..KEY_ATTEMPTS {
            let session_key = new_key();
            let set = Set::new(format!("{}{session_key}", self.prefix), state.as_str());
            let set = set.expire(time_to_live(ttl)).if_absent();
            if self.redis.send(set).await.map_err(|error| SaveError::Other(error.into()))? {
                return SessionKey::try_from(session_key).map_err(|error| SaveError::Other(error.into()));
            }
        }
        Err(SaveError::Other(anyhow!("no unused session key was found; are the random numbers of this system broken?")))
    }

    async fn update(
        &self,
        session_key: SessionKey,
        mut state: State,
        ttl: &time::Duration,
    ) -> Result<SessionKey, UpdateError> {
        let version = state.remove(VERSION).unwrap_or_default();
        let text = serde_json::to_string(&state).map_err(|error| UpdateError::Serialization(error.into()))?;
        let replaced = match self.key(&session_key) {
            None => 0,
            Some(key) if self.detects_conflicts => {
                let replace = REPLACE.invoke().key(key).arg(version).arg(text);
                let replace = replace.arg(milliseconds(time_to_live(ttl)));
                self.redis.send(replace).await.map_err(|error| UpdateError::Other(error.into()))?
            }
            Some(key) => {
                let set = Set::new(key, text).expire(time_to_live(ttl)).if_present().idempotent();
                i64::from(self.redis.send(set).await.map_err(|error| UpdateError::Other(error.into()))?)
            }
        };
        match replaced {
            1 => Ok(session_key),
            // It has expired, or was deleted.
            0 => self.save(state, ttl).await.map_err(|error| match error {
                SaveError::Serialization(error) => UpdateError::Serialization(error),
                SaveError::Other(error) => UpdateError::Other(error),
            }),
            _ => Err(UpdateError::Other(anyhow!("the session was changed by another request; repeat the request"))),
        }
    }

    async fn update_ttl(&self, session_key: &SessionKey, ttl: &time::Duration) -> Result<(), anyhow::Error> {
        if let Some(key) = self.key(session_key) {
            self.redis.send(PExpire::new(key, time_to_live(ttl))).await?;
        }
        Ok(())
    }

    async fn delete(&self, session_key: &SessionKey) -> Result<(), anyhow::Error> {
        if let Some(key) = self.key(session_key) {
            self.redis.send(Del::new([key]).idempotent()).await?;
        }
        Ok(())
    }
}
