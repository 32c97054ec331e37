//! The credentials of a login, requested for each login, and the meaning of a refused login.

use std::{io, time::Duration};

use tokio::time::timeout;

use crate::config::Secret;
use crate::config::credentials::Credentials;
use crate::connection::params::ConnectParams;
use crate::error::{Error, ErrorKind};
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::transport::dial::Target;

/// The user and the password of one login.
pub(crate) struct Login {
    username: Option<String>,
    password: Secret,
}

impl ConnectParams {
    /// The current credentials; `None` if there are none. Concurrent calls share one request.
    pub(crate) async fn login(&self, within: Duration) -> Result<Option<Login>, Cause> {
        self.login_with(within, false).await
    }

    /// Like [`login`](Self::login), with a request that starts after the call.
    pub(crate) async fn login_of_now(&self, within: Duration) -> Result<Option<Login>, Cause> {
        self.login_with(within, true).await
    }

    async fn login_with(&self, within: Duration, fresh: bool) -> Result<Option<Login>, Cause> {
        if let Some(provider) = &self.credentials {
            let limit = self.config.connect_timeout();
            let answer = async {
                if fresh { provider.credentials_of_now(limit).await } else { provider.credentials(limit).await }
            };
            let failed =
                |text: &str| Cause::new(CauseKind::NotReady, format!("the credentials provider failed: {text}"));
            let credentials = timeout(within, answer)
                .await
                .map_err(|_| failed("it returned no answer within the connect timeout"))?
                .map_err(|text| failed(&text))?;
            return Ok(Some(self.given(&credentials)));
        }
        let password = self.password(within, fresh).await?;
        let username = self.config.username().map(str::to_owned);
        // A user without a password must still be named, or the server logs in the default user.
        let password = password.or_else(|| username.as_ref().map(|_| Secret::from("")));
        Ok(password.map(|password| Login { username, password }))
    }

    /// The configured password. A file is read on another thread, because a slow disk must not block the actors of
    /// this thread.
    async fn password(&self, within: Duration, fresh: bool) -> Result<Option<Secret>, Cause> {
        if !self.config.has_password_file() {
            return Ok(self.config.password().ok().flatten());
        }
        let read = || {
            let config = self.config.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || config.password().map_err(|error| error.kind()));
                read.await.unwrap_or(Err(io::ErrorKind::Interrupted))
            }
        };
        let password = async {
            if fresh { self.password_reads.run_again(read).await } else { self.password_reads.run(read).await }
        };
        let password = timeout(within, password).await.map_err(|_| {
            let words = "reading the password file took longer than the connect timeout; check its disk";
            Cause::new(CauseKind::NotReady, words)
        })?;
        password.unwrap_or(Err(io::ErrorKind::Interrupted)).map_err(|error| {
            Cause::new(
                CauseKind::Refused,
                format!("the password file cannot be read: {error}; check the file that REDIS_PASSWORD_FILE names"),
            )
        })
    }

    /// The credentials for the sentinels; `None` if they need none.
    pub(crate) fn sentinel_login(&self) -> Option<Login> {
        let username = self.config.sentinel_username().map(str::to_owned);
        let password = self.config.sentinel_password().cloned().or_else(|| username.as_ref().map(|_| Secret::from("")));
        Some(Login { username, password: password? })
    }

    fn given(&self, credentials: &Credentials) -> Login {
        let username = credentials.username().or(self.config.username()).map(str::to_owned);
        Login { username, password: credentials.expose().into() }
    }
}

impl Login {
    /// Adds the credentials as arguments of HELLO.
    pub(crate) fn with_hello(&self, hello: Frame) -> Frame {
        hello.arg("AUTH").arg(self.username.as_deref().unwrap_or("default")).arg(self.password.expose())
    }

    pub(crate) fn auth(&self) -> Frame {
        let mut auth = Frame::known("AUTH");
        if let Some(username) = &self.username {
            auth = auth.arg(username.as_str());
        }
        auth.arg(self.password.expose())
    }

    pub(crate) fn has_username(&self) -> bool {
        self.username.is_some()
    }

    /// For servers with one password and no users.
    pub(crate) fn auth_without_user(&self) -> Frame {
        Frame::known("AUTH").arg(self.password.expose())
    }
}

/// Classified by code, because texts differ between servers. Old servers reply to a wrong password with `ERR`.
pub(crate) fn login_cause(error: &Error) -> Cause {
    let code = error.code().unwrap_or_default();
    let (kind, advice) = match code {
        "NOAUTH" => (CauseKind::Refused, "; the server requires a password, set REDIS_PASSWORD"),
        "WRONGPASS" => (CauseKind::Refused, "; check REDIS_USERNAME and REDIS_PASSWORD"),
        "NOPERM" => (CauseKind::Refused, "; the user lacks a permission, see ACL SETUSER"),
        "ERR" => (CauseKind::Refused, "; check REDIS_USERNAME and REDIS_PASSWORD"),
        _ => (CauseKind::NotReady, ""),
    };
    debug_assert_eq!(error.kind(), ErrorKind::Server);
    Cause::new(kind, format!("the server answered {code}: {}{advice}", error.message().trim_end_matches('.')))
}

/// The same for a sentinel, which has its own users and password.
pub(crate) fn sentinel_cause(error: &Error, sentinel: &Target) -> Cause {
    let code = error.code().unwrap_or_default();
    let (kind, advice) = match code {
        "NOAUTH" => (CauseKind::Refused, "; the sentinel itself requires a password, set REDIS_SENTINEL_PASSWORD"),
        "NOPERM" => (CauseKind::Refused, "; the user of the sentinel lacks a permission, see ACL SETUSER there"),
        "WRONGPASS" | "ERR" => (CauseKind::Refused, "; check REDIS_SENTINEL_USERNAME and REDIS_SENTINEL_PASSWORD"),
        _ => (CauseKind::NotReady, ""),
    };
    let words = error.message().trim_end_matches('.');
    Cause::new(kind, format!("the sentinel {} answered {code}: {words}{advice}", sentinel.address))
}

#[cfg(test)]
mod tests {
    use std::{future::Future, path::PathBuf, pin::pin, task::Poll};

    use super::*;
    use crate::config::{Address, HostPort, RedisConfig};

    fn connect_params(file: &std::path::Path) -> ConnectParams {
        let config = RedisConfig::builder().password_file(file).build().expect("valid");
        let address = Address::Tcp(HostPort { host: "h".to_owned(), port: 1 });
        ConnectParams::new(config, Target { address, tls: None, user_timeout: None })
    }

    /// Ablation: if the file is read on this thread, the password is available at the first poll, and a slow disk
    /// blocks all actors.
    #[tokio::test]
    async fn a_password_file_is_read_on_another_thread() {
        let file: PathBuf = std::env::temp_dir().join(format!("redis-actix-login-{}", std::process::id()));
        std::fs::write(&file, "one\n").expect("written");
        let connect_params = connect_params(&file);
        let limit = Duration::from_secs(20);
        let mut login = pin!(connect_params.login(limit));
        let first = std::future::poll_fn(|cx| Poll::Ready(login.as_mut().poll(cx).is_pending())).await;
        assert!(first, "read at once, on this thread");
        let password = |login: Result<Option<Login>, Cause>| login.expect("read").expect("a password").password;
        assert_eq!(password(login.await).expose(), b"one");
        std::fs::write(&file, "two\n").expect("written");
        assert_eq!(password(connect_params.login(limit).await).expose(), b"two", "read at each login");
        std::fs::remove_file(&file).expect("removed");
        let cause = connect_params.login(limit).await.err().expect("no file");
        assert!(cause.is_refusal() && cause.to_string().contains("REDIS_PASSWORD_FILE"), "{cause}");
    }
}
