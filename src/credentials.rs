//! Credentials that are asked for at every login, from code.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
};

use crate::config::Secret;

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
/// connection's thread, so it must not block; what it does is bounded by the connect timeout. When it fails,
/// takes too long or panics, the dial counts as failed and is repeated with growing delays.
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

/// Somebody's provider, whose panics are failures of its own and not of the connection.
#[derive(Clone)]
pub(crate) struct Provider(Arc<dyn Erased>);

impl Provider {
    pub(crate) fn new(provider: impl CredentialsProvider) -> Self {
        Self(Arc::new(provider))
    }

    pub(crate) async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        let panicked = || CredentialsError::from("it panicked");
        let mut asked = catch_unwind(AssertUnwindSafe(|| self.0.ask())).map_err(|_| panicked())?;
        // A future that panicked is not polled again.
        let answer = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Some),
            Err(_) => std::task::Poll::Ready(None),
        });
        answer.await.ok_or_else(panicked)?
    }
}
