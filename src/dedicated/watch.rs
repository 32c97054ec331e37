//! Optimistic transactions: read, decide, and write only if no other client changed the watched keys.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::Message;
use redis::Value;
use tokio::time::sleep;

use crate::client::Redis;
use crate::dedicated::pool::{LeasedConnection, LinkRole, Purpose};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::ConnectionState;
use crate::frame::Frame;
use crate::messages::{Command, batch::Bundle, decode, transaction::Transaction};

/// The pause before another attempt grows up to this. It is drawn at random, so that clients that collided once do not
/// collide again.
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// The keys that an optimistic transaction depends on, and how often it may be tried; for
/// [`Redis::watch`].
///
/// ```
/// use redis_actix::Watch;
///
/// let watch = Watch::new(["stock:1", "stock:2"]).attempts(5);
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is watched until it is given to Redis::watch"]
pub struct Watch {
    keys: Frame,
    attempts: u32,
}

impl Watch {
    /// Watches `keys`, at least one.
    pub fn new<K: AsRef<[u8]>>(keys: impl IntoIterator<Item = K>) -> Self {
        let mut keys = keys.into_iter().peekable();
        let frame = Frame::known("WATCH");
        let frame = if keys.peek().is_some() { frame.keys(keys) } else { frame.invalid("needs at least one key") };
        Self { keys: frame, attempts: 32 }
    }

    /// Tries at most so often, at least once. Default 32.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }
}

impl<K: AsRef<[u8]>, const N: usize> From<[K; N]> for Watch {
    fn from(keys: [K; N]) -> Self {
        Self::new(keys)
    }
}

impl<K: AsRef<[u8]>> From<Vec<K>> for Watch {
    fn from(keys: Vec<K>) -> Self {
        Self::new(keys)
    }
}

impl<K: AsRef<[u8]>> From<&[K]> for Watch {
    fn from(keys: &[K]) -> Self {
        Self::new(keys)
    }
}

/// The connection on which the keys are watched, while one attempt lasts; see [`Redis::watch`].
#[derive(Clone)]
pub struct Watched {
    redis: Redis,
    /// The link that watches. Another one, made after this broke, would know nothing of the keys.
    generation: u64,
    /// Of a cluster: the node does not own the slot yet.
    asking: bool,
    over: Arc<AtomicBool>,
}

impl Watched {
    /// Sends a command that reads what the decision depends on.
    ///
    /// # Errors
    /// As [`Redis::send`]; [`ErrorKind::InvalidCommand`] for a transaction, for a command that waits, and
    /// when the attempt is over.
    pub async fn send<M: Command>(&self, message: M) -> Result<M::Reply> {
        let frame = message.into_frame();
        if self.over.load(Ordering::Acquire) {
            return Err(Error::invalid_command("this attempt of Redis::watch is over").of_command(frame.name()));
        }
        let name = frame.name();
        let unwatches = frame.unit().is_some_and(|unit| unit.is_atomic())
            || matches!(name.as_str(), "MULTI" | "EXEC" | "DISCARD" | "WATCH" | "UNWATCH");
        if unwatches || frame.waits() {
            let words = "cannot run while keys are watched: return the transaction, and wait elsewhere";
            return Err(Error::invalid_command(words).of_command(name));
        }
        self.redis.send_asking_on::<M>(self.generation, frame, self.asking).await
    }

    fn is_lost(&self) -> bool {
        let status = self.redis.status();
        let status = status.borrow();
        status.generation != self.generation || status.state != ConnectionState::Ready
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Redis {
    /// Reads, decides, and writes only if no other client has changed the watched keys meanwhile; else tries again.
    ///
    /// `attempt` gets the connection to read with, and returns the transaction to run, or `None` to leave
    /// everything as it is. It runs again after each conflict and after a lost link, so it must have no other
    /// effects. Reply is that of the transaction.
    ///
    /// It has a connection of its own for as long as it takes (see [`LinkLimit`](crate::LinkLimit)), so
    /// other callers neither wait for it nor see its state.
    ///
    /// ```
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::prelude::*;
    ///
    /// let sold = redis
    ///     .watch(["stock"], |tx| async move {
    ///         let left: Option<i64> = tx.send(Get::new("stock")).await?;
    ///         Ok(left.filter(|left| *left > 0).map(|left| Transaction::new((Set::new("stock", left - 1),))))
    ///     })
    ///     .await?;
    /// println!("{}", if sold.is_some() { "sold" } else { "out of stock" });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when every attempt met one; whatever `attempt` returns; and as
    /// [`send`](Self::send). Unless its fate is [`Fate::Unknown`], nothing was written.
    ///
    /// # Cancel safety
    /// Dropping the future leaves everything as it is, unless the transaction was on its way already.
    pub async fn watch<C, F, Fut>(&self, keys: impl Into<Watch>, mut attempt: F) -> Result<Option<C::Replies>>
    where
        C: Bundle,
        F: FnMut(Watched) -> Fut,
        Fut: Future<Output = Result<Option<Transaction<C>>>>,
    {
        let watch = keys.into();
        watch.keys.check()?;
        let time_limit = self.config().command_timeout();
        let mut last = Error::new(ErrorKind::Conflict, Fate::Rejected, "never tried");
        let mut session = Session::default();
        let mut asked = None;
        for nth in 0..watch.attempts {
            if nth > 0 {
                let longest = LONGEST_PAUSE.min(Duration::from_millis(1 << nth.min(10)));
                sleep(longest.mul_f64(fastrand::f64())).await;
            }
            if session.lease.is_none() {
                let links = self.links()?;
                let slot = links.slot_of(&watch.keys)?;
                session.asking = asked.is_some();
                let (role, command) = (LinkRole::Watch, "WATCH".to_owned());
                let purpose = Purpose { role, command, slot, asked: asked.take() };
                session.lease = Some(links.lease(self.address(), time_limit, purpose).await?);
            }
            match session.attempt(&watch.keys, &mut attempt).await {
                Round::Done(replies) => return Ok(replies),
                // The keys are at another node of the cluster now, and nothing was written.
                Round::Failed(error) if error.fate() != Fate::Unknown && self.is_redirect(&error) => {
                    if let Some(lease) = &session.lease {
                        asked = lease.asked(&error).await;
                    }
                    session = Session::default();
                    last = error;
                }
                Round::Failed(error) => return Err(error),
                Round::Again(error) => last = error,
            }
        }
        if last.kind() != ErrorKind::Conflict {
            return Err(last);
        }
        let words =
            format!("another client changed a watched key in each of {} attempts; nothing was done", watch.attempts);
        Err(Error::new(ErrorKind::Conflict, Fate::Rejected, words).of_command("EXEC"))
    }
}

enum Round<T> {
    Done(Option<T>),
    Again(Error),
    Failed(Error),
}

/// A lease that leaves no watched keys behind, at whichever point it is dropped.
#[derive(Default)]
struct Session {
    lease: Option<LeasedConnection>,
    /// Its node does not own the slot yet.
    asking: bool,
    watching: Option<Watched>,
}

impl Session {
    async fn attempt<C, F, Fut>(&mut self, keys: &Frame, attempt: &mut F) -> Round<C::Replies>
    where
        C: Bundle,
        F: FnMut(Watched) -> Fut,
        Fut: Future<Output = Result<Option<Transaction<C>>>>,
    {
        let Some(redis) = self.lease.as_ref().map(|lease| lease.redis().clone()) else {
            return Round::Failed(Error::invalid_command("the connection of this watch is gone"));
        };
        if let Err(error) = redis.ready(redis.config().command_timeout()).await {
            return Round::Failed(error);
        }
        let generation = redis.status().borrow().generation;
        let watched = Watched { redis, generation, asking: self.asking, over: Arc::default() };
        self.watching = Some(watched.clone());
        if let Err(error) = watched.redis.send_asking_on::<Unwatch>(generation, keys.clone(), self.asking).await {
            // Whatever became of WATCH, the transaction was not sent.
            return self.unsettled(&watched, error.with_fate(Fate::NotSent));
        }
        let decided = attempt(watched.clone()).await;
        watched.over.store(true, Ordering::Release);
        let transaction = match decided {
            Ok(Some(transaction)) => transaction,
            Ok(None) => return Round::Done(None),
            Err(error) => return self.unsettled(&watched, error),
        };
        match watched.redis.send_asking_on::<Transaction<C>>(generation, transaction.into_frame(), self.asking).await {
            Ok(replies) => {
                self.watching = None;
                Round::Done(Some(replies))
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.watching = None;
                Round::Again(error)
            }
            Err(error) if error.fate() == Fate::NotSent => self.unsettled(&watched, error),
            Err(error) => {
                self.discard_busy(&error);
                Round::Failed(error)
            }
        }
    }

    /// An attempt failed before its transaction ran: another one is made if the link was lost meanwhile.
    fn unsettled<T>(&mut self, watched: &Watched, error: Error) -> Round<T> {
        watched.over.store(true, Ordering::Release);
        if error.kind() == ErrorKind::Disconnected && watched.is_lost() {
            return Round::Again(error);
        }
        self.discard_busy(&error);
        Round::Failed(error)
    }

    /// The next user would wait for the answer that did not come in time.
    fn discard_busy(&mut self, error: &Error) {
        if error.kind() == ErrorKind::Timeout
            && let Some(lease) = self.lease.take()
        {
            lease.discard();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(watched) = self.watching.take() {
            watched.over.store(true, Ordering::Release);
            // Ahead of whatever the next owner of the link sends. If the link is lost, so are its keys.
            watched.redis.publish_on(watched.generation, Unwatch.into_frame());
        }
    }
}

/// `UNWATCH`; WATCH is answered alike.
struct Unwatch;

impl Message for Unwatch {
    type Result = Result<()>;
}

impl Command for Unwatch {
    type Reply = ();

    fn frame(&self) -> Frame {
        Frame::known("UNWATCH")
    }

    fn reply(value: Value) -> Result<()> {
        decode(value)
    }
}
