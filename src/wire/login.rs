//! What to log in with, asked for anew by every login, and what a refusal of it means.

use std::time::Duration;

use tokio::time::timeout;

use super::dial::Target;
use super::recipe::Recipe;
use crate::config::Secret;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind};
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;

/// The user and the password of one login.
pub(crate) struct Login {
    username: Option<String>,
    password: Secret,
}

impl Recipe {
    /// The credentials as they are now; `None` when there are none.
    pub(crate) async fn login(&self, within: Duration) -> Result<Option<Login>, Cause> {
        if let Some(provider) = &self.credentials {
            let answer = timeout(within, provider.credentials()).await;
            let failed =
                |text: String| Cause::new(CauseKind::NotReady, format!("the credentials provider failed: {text}"));
            let credentials = answer
                .map_err(|_| failed("it gave no answer within the connect timeout".to_owned()))?
                .map_err(|error| failed(error.to_string()))?;
            return Ok(Some(self.given(&credentials)));
        }
        let password = self.config.password().map_err(|error| {
            Cause::new(
                CauseKind::Refused,
                format!("the password file cannot be read: {}; mend REDIS_PASSWORD_FILE", error.kind()),
            )
        })?;
        let username = self.config.username().map(str::to_owned);
        // A user without a password still has to be named, or the server takes us for the default one.
        let password = password.or_else(|| username.as_ref().map(|_| Secret::from("")));
        Ok(password.map(|password| Login { username, password }))
    }

    /// What the sentinels themselves want; `None` when they want nothing.
    pub(super) fn sentinel_login(&self) -> Option<Login> {
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
    /// The words that HELLO takes.
    pub(super) fn with_hello(&self, hello: Frame) -> Frame {
        hello.arg("AUTH").arg(self.username.as_deref().unwrap_or("default")).arg(self.password.expose())
    }

    pub(crate) fn auth(&self) -> Frame {
        let mut auth = Frame::known("AUTH");
        if let Some(username) = &self.username {
            auth = auth.arg(username.as_str());
        }
        auth.arg(self.password.expose())
    }

    pub(super) fn has_username(&self) -> bool {
        self.username.is_some()
    }

    /// For servers that know one password and no users.
    pub(super) fn auth_without_user(&self) -> Frame {
        Frame::known("AUTH").arg(self.password.expose())
    }
}

/// Codes decide: texts differ between servers. `ERR` is what an old one says to a wrong password.
pub(super) fn login_cause(error: &Error) -> Cause {
    let code = error.code().unwrap_or_default();
    let (kind, advice) = match code {
        "NOAUTH" => (CauseKind::Refused, "; the server wants a password, set REDIS_PASSWORD"),
        "WRONGPASS" => (CauseKind::Refused, "; check REDIS_USERNAME and REDIS_PASSWORD"),
        "NOPERM" => (CauseKind::Refused, "; the user lacks a permission, see ACL SETUSER"),
        "ERR" => (CauseKind::Refused, "; check REDIS_USERNAME and REDIS_PASSWORD"),
        _ => (CauseKind::NotReady, ""),
    };
    debug_assert_eq!(error.kind(), ErrorKind::Server);
    Cause::new(kind, format!("the server answered {code}: {}{advice}", error.message().trim_end_matches('.')))
}

/// The same of a sentinel, which has users and a password of its own.
pub(super) fn sentinel_cause(error: &Error, sentinel: &Target) -> Cause {
    let code = error.code().unwrap_or_default();
    let (kind, advice) = match code {
        "NOAUTH" => (CauseKind::Refused, "; the sentinel itself wants a password, set REDIS_SENTINEL_PASSWORD"),
        "NOPERM" => (CauseKind::Refused, "; the user of the sentinel lacks a permission, see ACL SETUSER there"),
        "WRONGPASS" | "ERR" => (CauseKind::Refused, "; check REDIS_SENTINEL_USERNAME and REDIS_SENTINEL_PASSWORD"),
        _ => (CauseKind::NotReady, ""),
    };
    let words = error.message().trim_end_matches('.');
    Cause::new(kind, format!("the sentinel {} answered {code}: {words}{advice}", sentinel.address))
}
