//! Effects outside of Redis that should not happen twice.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use crate::client::Redis;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::lua::SETTLE_CLAIM;
use crate::messages::decode;
use crate::messages::internal::Internal;

/// What says that an effect is there. No token looks like it.
const DONE: &str = "done";

/// Remembers which effects have happened, for handlers whose effects are outside of Redis: a mail, a payment.
///
/// A message may be delivered twice; its effect should not happen twice. Whoever is about to cause it claims its id
/// first, and says so when it has happened. A claim whose owner died ends after a while: between its effect and its
/// mark nothing but the other system can tell, so the effect is then possible once more. For effects inside Redis see
/// [`Delivery::ack_with`](crate::Delivery::ack_with), which has no such gap.
///
/// ```no_run
/// # use redis_actix::{Deduplicate, Delivery, Outcome, Redis, Result};
/// # async fn send_mail() {}
/// # async fn handle(redis: Redis, order: Delivery<String>) -> Result<Outcome> {
/// use redis_actix::Claim;
///
/// let mails = Deduplicate::new(&redis, "mails");
/// match mails.claim(order.id().to_string()).await? {
///     Claim::Ours(claim) => {
///         send_mail().await;
///         claim.done().await?;
///         Ok(Outcome::Ack)
///     }
///     Claim::Done => Ok(Outcome::Ack),
///     Claim::Taken => Ok(Outcome::Retry),
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Deduplicate {
    redis: Redis,
    name: Arc<str>,
    remember: Duration,
    claim_for: Duration,
}

impl Deduplicate {
    /// Effects of one kind. Their marks are keys with this name, a colon and the id; they get the key prefix.
    #[must_use]
    pub fn new(redis: &Redis, name: impl Into<Arc<str>>) -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self { redis: redis.at_primary(), name: name.into(), remember: day, claim_for: Duration::from_secs(60) }
    }

    /// How long it is remembered that an effect has happened, at least 1 ms. Default a day. It should be longer than
    /// a message can come again, and than a producer may send it again.
    #[must_use]
    pub fn remember(mut self, lasts: Duration) -> Self {
        self.remember = lasts.max(Duration::from_millis(1));
        self
    }

    /// After how long a claim ends whose owner says nothing, at least 1 ms. Default 60 s. It should be longer than
    /// the effect takes.
    #[must_use]
    pub fn claim_for(mut self, lasts: Duration) -> Self {
        self.claim_for = lasts.max(Duration::from_millis(1));
        self
    }

    fn key(&self, id: &[u8]) -> Vec<u8> {
        [self.name.as_bytes(), b":", id].concat()
    }

    /// Claims the effect with this id. Needs Redis 7.0.
    ///
    /// # Errors
    /// Those of the command. With [`Fate::Unknown`](crate::Fate::Unknown) it may be claimed, for nobody, until
    /// [`claim_for`](Self::claim_for) has passed.
    pub async fn claim(&self, id: impl AsRef<[u8]>) -> Result<Claim> {
        let key = self.key(id.as_ref());
        let token = format!("{:032x}", fastrand::u128(..));
        let claim =
            Frame::known("SET").key(&key).arg(&token).arg("NX").arg("PX").arg(millis(self.claim_for)).arg("GET");
        let before = self.redis.send(Internal(claim)).await?;
        Ok(match decode::<Option<Vec<u8>>>(before)? {
            None => Claim::Ours(Claimed { deduplicate: self.clone(), key, token }),
            Some(mark) if mark == DONE.as_bytes() => Claim::Done,
            Some(_) => Claim::Taken,
        })
    }

    /// Causes the effect with this id, unless it is there: claims it, runs `effect`, marks it as done if that
    /// returned `Ok`, and lets go of it otherwise.
    ///
    /// # Errors
    /// Those of the commands and those of `effect`; and [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) when
    /// somebody else is at it, or when the claim had ended before `effect` did, with
    /// [`Fate::Unknown`](crate::Fate::Unknown): the effect is there, and others may have caused it too. Then give
    /// [`claim_for`](Self::claim_for) more time.
    pub async fn once<V>(&self, id: impl AsRef<[u8]>, effect: impl Future<Output = Result<V>>) -> Result<Option<V>> {
        match self.claim(id).await? {
            Claim::Done => Ok(None),
            Claim::Taken => Err(Error::new(
                crate::error::ErrorKind::Conflict,
                crate::error::Fate::Rejected,
                "somebody else is about to cause this effect; ask again when that has ended",
            )),
            Claim::Ours(claim) => match effect.await {
                Ok(value) => {
                    if !claim.done().await? {
                        return Err(Error::new(
                            crate::error::ErrorKind::Conflict,
                            crate::error::Fate::Unknown,
                            "the effect was caused, but its claim had ended before: others may have caused it too; give \
                             claim_for(..) longer than the effect takes",
                        ));
                    }
                    Ok(Some(value))
                }
                Err(error) => {
                    claim.release().await?;
                    Err(error)
                }
            },
        }
    }
}

impl fmt::Debug for Deduplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deduplicate").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whether an effect may be caused; made by [`Deduplicate::claim`].
#[derive(Debug)]
#[must_use = "an effect that is claimed waits for its claim to end"]
pub enum Claim {
    /// It may, by the caller and nobody else.
    Ours(Claimed),
    /// It is there.
    Done,
    /// Somebody else is at it, or died at it a short while ago.
    Taken,
}

/// The claim on an effect. Dropped, it ends after [`claim_for`](Deduplicate::claim_for).
#[must_use = "say what became of the effect"]
pub struct Claimed {
    deduplicate: Deduplicate,
    key: Vec<u8>,
    token: String,
}

impl Claimed {
    /// The effect is there. False when the claim had ended before: somebody else may have caused it too.
    ///
    /// # Errors
    /// Those of the script.
    pub async fn done(self) -> Result<bool> {
        let remember = millis(self.deduplicate.remember);
        // Twice is harmless, but the second answer would be no: the token is gone.
        let args = |call: Frame| call.arg(&self.token).arg(DONE).arg(remember);
        decode(SETTLE_CLAIM.run(&self.deduplicate.redis, &[&self.key], args).await?)
    }

    /// The effect is not there: others may cause it at once. False when the claim had ended before.
    ///
    /// # Errors
    /// Those of the script.
    pub async fn release(self) -> Result<bool> {
        decode(SETTLE_CLAIM.run(&self.deduplicate.redis, &[&self.key], |call| call.arg(&self.token)).await?)
    }
}

impl fmt::Debug for Claimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claimed").finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, 1 << 53)
}
