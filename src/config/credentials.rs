//! Credentials that a provider in code supplies at every login.

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

/// Why a [`CredentialsProvider`] failed. The text appears in events, errors and logs.
pub type CredentialsError = Box<dyn std::error::Error + Send + Sync>;

/// A user and a password from a [`CredentialsProvider`].
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

/// Supplies the credentials for every login, such as a token that expires or a password that is rotated elsewhere.
///
/// It is called for every connection attempt and by [`Redis::reauthenticate`](crate::Redis::reauthenticate), on the
/// connection's thread, so it must not block. Its duration is limited by the connect timeout. Links of a handle that
/// connect at the same time share one request, which continues if one of the attempts is abandoned. If it fails,
/// times out or panics, the connection attempt fails and is repeated with exponential backoff.
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
    /// Returns the credentials for a login now.
    ///
    /// # Errors
    /// Any reason for which they are not available. The text must not contain a secret.
    fn credentials(&self) -> impl Future<Output = Result<Credentials, CredentialsError>> + Send;
}

type CredentialsFuture<'a> = Pin<Box<dyn Future<Output = Result<Credentials, CredentialsError>> + Send + 'a>>;

/// [`CredentialsProvider`] as a trait object.
trait Erased: Send + Sync {
    fn ask(&self) -> CredentialsFuture<'_>;
}

impl<P: CredentialsProvider> Erased for P {
    fn ask(&self) -> CredentialsFuture<'_> {
        Box::pin(self.credentials())
    }
}

/// The error is text, because one error value cannot be returned to several callers.
type Answer = Result<Credentials, Arc<str>>;

/// A user's provider. Its panics are returned as errors. All links of a handle share it, and one request runs at a
/// time.
#[derive(Clone)]
pub(crate) struct Provider {
    provider: Arc<dyn Erased>,
    requests: Arc<SingleFlight<Answer>>,
}

impl Provider {
    pub(crate) fn new(provider: impl CredentialsProvider) -> Self {
        Self { provider: Arc::new(provider), requests: Arc::default() }
    }

    /// Joins the running request, or starts one. The request ends after `limit`, even if all callers are gone.
    pub(crate) async fn credentials(&self, limit: Duration) -> Answer {
        self.requests.run(|| ask(self.provider.clone(), limit)).await.unwrap_or_else(interrupted)
    }

    /// Like [`credentials`](Self::credentials), with a new request: a running one may have begun before the
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
    let answer = timeout(limit, answer).await.map_err(|_| "it returned no answer within the connect timeout")?;
    answer.ok_or_else(panicked)?.map_err(|error| error.to_string().into())
}
