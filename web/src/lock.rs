//! Locks over all processes of a service, with fencing tokens.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis_actix::Result;
use redis_actix::prelude::*;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::scripts::{DELETE_OWN, milliseconds, unique_id};

/// Takes the lock if it is free, or is held by this owner already (a repeated call whose reply was lost). Returns the fencing
/// token, or 0 while another owner has the lock.
static ACQUIRE: Script<u64> = Script::new(
    "local owner = redis.call('GET', KEYS[1])
     if owner and owner ~= ARGV[1] then return 0 end
     redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
     if owner then return tonumber(redis.call('GET', KEYS[2])) end
     return redis.call('INCR', KEYS[2])",
);

/// Extends the lease of its owner. Returns whether this is the owner.
static RENEW: Script<bool> = Script::new(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
);

/// The shortest lease. A shorter one would lapse in the pauses of an ordinary machine.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);
/// Between two attempts to take a lock, with random variation.
const RETRY: Duration = Duration::from_millis(50);

/// A lock with a name, which one owner in all processes has at a time.
///
/// ```no_run
/// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
/// use redis_actix_web::lock::Lock;
/// use std::time::Duration;
///
/// let lock = Lock::new(redis, "invoices").lease(Duration::from_secs(10));
/// if let Some(guard) = lock.acquire(Duration::from_secs(2)).await? {
///     tokio::select! {
///         () = write_invoices(guard.fencing_token()) => {}
///         () = guard.lost() => {} // stop: another owner may work now
///     }
///     guard.release().await?;
/// }
/// # async fn write_invoices(_: u64) {}
/// # Ok(())
/// # }
/// ```
///
/// # Limits
///
/// A lock of one Redis server is an optimization, not a proof of mutual exclusion. Two owners can work at the same time
///
/// - when a master fails before it has replicated the lock to the replica that replaces it;
/// - when the process of the owner stops for longer than the lease and then goes on before it learns of the loss.
///
/// Where that must do no harm, pass [`fencing_token`](LockGuard::fencing_token) to the resource and let it refuse a token that is
/// lower than one it has seen. The tokens of a name grow, unless a failover loses the counter as well.
#[derive(Debug, Clone)]
pub struct Lock {
    redis: Redis,
    name: Arc<str>,
    lease: Duration,
}

impl Lock {
    /// Creates a lock. Locks of one `name` exclude each other. Its keys are `lock:{name}` and `lock:{name}:token`; in a cluster
    /// they are in one slot.
    #[must_use]
    pub fn new(redis: Redis, name: impl Into<Arc<str>>) -> Self {
        Self { redis, name: name.into(), lease: Duration::from_secs(10) }
    }

    /// Sets how long the lock stays with an owner that does not renew it, because its process has ended or Redis cannot be
    /// reached: 10 seconds by default, at least 100 milliseconds. While a guard exists the lease is renewed every third of it.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(SHORTEST_LEASE);
        self
    }

    fn keys(&self) -> [String; 2] {
        let name = &self.name;
        [format!("lock:{{{name}}}"), format!("lock:{{{name}}}:token")]
    }

    /// Takes the lock, and waits for it up to `within`. `None` if another owner had it for the whole time. Waiting callers are
    /// not served in order.
    ///
    /// # Errors
    /// If Redis cannot be reached at the last attempt.
    ///
    /// # Cancel safety
    /// If the future is dropped while it takes the lock, the lock stays taken until its lease ends.
    pub async fn acquire(&self, within: Duration) -> Result<Option<LockGuard>> {
        let until = Instant::now() + within;
        let owner: Arc<str> = unique_id().into();
        let lease = milliseconds(self.lease);
        let [key, token] = self.keys();
        loop {
            let asked = Instant::now();
            let acquire = ACQUIRE.invoke().key(&key).key(&token).arg(&*owner).arg(lease).idempotent();
            let outcome = self.redis.send(acquire).await;
            match outcome {
                Ok(0) => {}
                Ok(token) => return Ok(Some(LockGuard::new(self.clone(), owner, token, asked + self.lease))),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(error) => tracing::debug!(%error, lock = &*self.name, "taking a lock failed, and is tried again"),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            tokio::time::sleep(RETRY.mul_f64(0.5 + fastrand::f64()).min(left)).await;
        }
    }
}

/// A lock that is held. It is renewed until it is dropped or released.
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard {
    lock: Lock,
    owner: Arc<str>,
    token: u64,
    is_lost: watch::Receiver<bool>,
    renewal: AbortHandle,
    is_released: bool,
}

impl LockGuard {
    fn new(lock: Lock, owner: Arc<str>, token: u64, expires: Instant) -> Self {
        let (lost, is_lost) = watch::channel(false);
        let renewal = actix_rt::spawn(renew(lock.clone(), owner.clone(), expires, lost)).abort_handle();
        Self { lock, owner, token, is_lost, renewal, is_released: false }
    }

    /// A number that is greater than that of every earlier owner of the lock. See [`Lock`].
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.token
    }

    /// Whether another owner may have the lock.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.is_lost.borrow()
    }

    /// Waits until another owner may have the lock: the lease has passed without a renewal, or the lock was taken away.
    ///
    /// # Cancel safety
    /// It can be dropped and called again.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut is_lost = self.is_lost.clone();
        async move {
            // The task that renews ends only after it has reported the loss, or with the guard.
            if is_lost.wait_for(|is_lost| *is_lost).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Releases the lock. Returns whether it was still held.
    ///
    /// # Errors
    /// If Redis cannot be reached. The lock is free when its lease ends.
    ///
    /// # Cancel safety
    /// If the future is dropped the lock is released all the same, if Redis can be reached.
    pub async fn release(mut self) -> Result<bool> {
        self.renewal.abort();
        let release = self.release_command();
        let released = self.lock.redis.send(release).await;
        self.is_released = released.is_ok();
        released
    }

    fn release_command(&self) -> redis_actix::Invocation<bool> {
        let [key, _] = self.lock.keys();
        DELETE_OWN.invoke().key(key).arg(&*self.owner)
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("name", &self.lock.name)
            .field("token", &self.token)
            .field("is_lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.renewal.abort();
        if !self.is_released {
            self.lock.redis.addr().do_send(self.release_command());
        }
    }
}

/// Extends the lease every third of it, until it has lapsed or belongs to another owner.
async fn renew(lock: Lock, owner: Arc<str>, mut expires: Instant, lost: watch::Sender<bool>) {
    let [key, _] = lock.keys();
    let pause = lock.lease / 3;
    loop {
        tokio::time::sleep(pause.min(expires.saturating_duration_since(Instant::now()))).await;
        let asked = Instant::now();
        let left = expires.saturating_duration_since(asked);
        if left.is_zero() {
            break;
        }
        let renew = RENEW.invoke().key(&key).arg(&*owner).arg(milliseconds(lock.lease));
        match lock.redis.send(renew.idempotent().timeout(left)).await {
            // Counted from before the command was sent: the server's lease ends later.
            Ok(true) => expires = asked + lock.lease,
            Ok(false) => break,
            Err(error) => tracing::debug!(%error, lock = &*lock.name, "a lock could not be renewed"),
        }
    }
    tracing::warn!(event = "lock.lost", lock = &*lock.name, "a lock was lost before it was released");
    let _ = lost.send(true);
    std::future::pending().await
}
