//! Credentials that are asked for at every login, from code.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::time::timeout;

use crate::config::Secret;
use crate::single_flight::SingleFlight;

/// Why a [`CredentialsProvider`] has none to give. Its text is shown in events, errors and logs.
pub type CredentialsError = Box<dyn std::error::Error + Send + Sync>;

/// A user and a password, as a [`CredentialsProvider`] gives them.
#[derive(Clone)]
pub struct Credentials {
    username: Option<String>,
    password: Secret,
}

impl Credentials {
    /// The password of the server's default user.
    pub fn password(password: impl Into<Secret>) -> Self {
        Self { username: None, password: password.into() }
    }

    /// An ACL user and its password.
    pub fn user(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self { username: Some(username.into()), password: password.into() }
    }

    pub(crate) fn username(&self) -> Option<&str> {
        self.username.as_deref()
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.password.expose()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Gives the credentials for every login: a token that expires, a password that is rotated elsewhere.
///
/// It is asked at every dial and by [`Redis::reauthenticate`](crate::Redis::reauthenticate), on the
/// connection's thread, so it must not block; what it does is bounded by the connect timeout. Links of a handle that
/// dial at the same time share one request, which goes on when a dial is given up. When it fails, takes too long or
/// panics, the dial counts as failed and is repeated with growing delays.
///
/// ```
/// use redis_actix::{Credentials, CredentialsError, CredentialsProvider};
///
/// struct Tokens;
///
/// impl CredentialsProvider for Tokens {
///     async fn credentials(&self) -> Result<Credentials, CredentialsError> {
///         let token = fetch_token().await?;
///         Ok(Credentials::user("billing", token))
///     }
/// }
/// # async fn fetch_token() -> Result<String, std::io::Error> { Ok("token".into()) }
/// ```
pub trait CredentialsProvider: Send + Sync + 'static {
    /// The credentials to log in with now.
    ///
    /// # Errors
    /// Whatever keeps them from being had; the text must not contain a secret.
    fn credentials(&self) -> impl Future<Output = Result<Credentials, CredentialsError>> + Send;
}

type Asked<'a> = Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + 'a>>;

/// [`CredentialsProvider`] behind one type.
trait Erased: Send + Sync {
    fn ask(&self) -> Asked<'_>;
}

impl<P: CredentialsProvider> Erased for P {
    fn ask(&self) -> Asked<'_> {
        Box::pin(self.credentials())
    }
}

/// The words for why there are no credentials; an error itself cannot be given to several.
type Answer = Result<Credentials, Arc<str>>;

/// Somebody's provider, whose panics are failures of its own and not of the connection. All links of a handle ask it
/// together: one request is under way at a time.
#[derive(Clone)]
pub(crate) struct Provider {
    provider: Arc<dyn Erased>,
    requests: Arc<SingleFlight<Answer>>,
}

impl Provider {
    pub(crate) fn new(provider: impl CredentialsProvider) -> Self {
        Self { provider: Arc::new(provider), requests: Arc::default() }
    }

    /// Joins the request under way, or makes one. It ends after `limit`, also when nobody waits for it any more.
    pub(crate) async fn credentials(&self, limit: Duration) -> Answer {
        self.requests.run(|| ask(self.provider.clone(), limit)).await.unwrap_or_else(interrupted)
    }

    /// As [`credentials`](Self::credentials), with a request of its own: one under way may have begun before the
    /// credentials changed.
    pub(crate) async fn credentials_of_now(&self, limit: Duration) -> Answer {
        self.requests.run_again(|| ask(self.provider.clone(), limit)).await.unwrap_or_else(interrupted)
    }
}

fn interrupted() -> Answer {
    Err("it was interrupted".into())
}

async fn ask(provider: Arc<dyn Erased>, limit: Duration) -> Answer {
    let panicked = || Arc::from("it panicked");
    let mut asked = catch_unwind(AssertUnwindSafe(|| provider.ask())).map_err(|_| panicked())?;
    // A future that panicked is not polled again.
    let answer = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => std::task::Poll::Ready(None),
    });
    let answer = timeout(limit, answer).await.map_err(|_| "it gave no answer within the connect timeout")?;
    answer.ok_or_else(panicked)?.map_err(|error| error.to_string().into())
}
