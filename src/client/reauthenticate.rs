//! New credentials for existing connections.

use std::time::{Duration, Instant};

use actix::Addr;
use tokio::time::timeout_at;

use super::{Redis, gone};
use crate::actors::connection::{LogIn, ReconnectNow, RedisActor};
use crate::cache::stats::Flush;
use crate::connection::driver::login::LoginSent;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::Frame;

/// The purpose of the shared connection.
const SHARED: &str = "shared";

/// The result of a login on one connection; see [`Reauthentication`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionLogin {
    /// The purpose of the connection: `shared`, `subscriptions`, or the purpose in [`LinkInfo`](crate::LinkInfo).
    pub purpose: String,
    /// The address of its server.
    pub address: String,
    /// Whether the server accepted the credentials.
    pub result: Result<()>,
}

/// The result of [`Redis::reauthenticate`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Reauthentication {
    /// Every connection that has a link or is connecting: in a cluster those to all nodes and replicas, those of
    /// subscriptions, and those of stream consumers. Leased connections are not listed, because they are replaced.
    pub connections: Vec<ConnectionLogin>,
}

impl Reauthentication {
    /// Whether there are connections, and all of them have logged in with the new credentials. A connection without a
    /// successful login may still use the old one, or have no link; call [`Redis::reauthenticate`] again then.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.connections.is_empty() && self.connections.iter().all(|connection| connection.result.is_ok())
    }
}

impl Redis {
    /// Logs in with the current credentials on every connection: those of the provider, the password file, or the
    /// configuration. On an established link it sends AUTH, and in-flight commands continue. A link that is too busy
    /// for this is replaced after its in-flight commands completed. Without a link the next attempt is made
    /// immediately, even if the server refused the last one. Connections for blocking commands and for
    /// [`watch`](Self::watch) are closed as soon as their present use allows: a blocking command continues to wait on
    /// another one. A subscription with RESP2 cannot log in again, so its link is replaced, with a gap.
    ///
    /// Later connections log in with the same credentials.
    ///
    /// # Errors
    /// If the credentials are not available, there are none, or no server accepts them: an established link then
    /// stays connected with its old login. [`ErrorKind::Disconnected`] if there was no link and none could be
    /// established within the connect timeout. If some connections succeeded, the [`Reauthentication`] contains the
    /// result of each.
    ///
    /// # Cancel safety
    /// Dropping the future does not undo logins that were sent.
    pub async fn reauthenticate(&self) -> Result<Reauthentication> {
        let within = self.config().connect_timeout();
        let login = self.shared.connect_params.login_of_now(within).await;
        let login = login.map_err(|cause| cause.error(Fate::NotSent))?.ok_or_else(|| {
            let words = "there are no credentials to log in with; set REDIS_PASSWORD, or set a credentials provider";
            Error::new(ErrorKind::Config, Fate::NotSent, words)
        })?;
        let auth = login.auth().timeout(within);
        // The new user may have other rights: entries of before, and of reads until AUTH has run, are not for it.
        let flush = || self.shared.cache.as_ref().into_iter().for_each(|cache| cache.flush(Flush::Login));
        flush();
        let mut connections = self.log_in_on(self.connections(), &auth, within).await;
        let is_lost = |login: &ConnectionLogin| kind_of(login) == Some(ErrorKind::Disconnected);
        if connections.iter().filter(|login| login.purpose == SHARED).all(is_lost) {
            // There was no link, or it was lost meanwhile. The next one logs in by itself, and is then included.
            self.addr.send(ReconnectNow).await.map_err(|_| gone())?;
            match self.ready(within).await {
                Ok(()) => {
                    connections.retain(|login| login.purpose != SHARED);
                    let shared = vec![(SHARED.to_owned(), self.addr.clone())];
                    connections.extend(self.log_in_on(shared, &auth, within).await);
                }
                Err(error) if connections.iter().all(|login| login.result.is_err()) => return Err(error),
                Err(error) if connections.iter().all(|login| login.purpose != SHARED) => {
                    let (purpose, address) = (SHARED.to_owned(), String::new());
                    connections.push(ConnectionLogin { purpose, address, result: Err(error) });
                }
                Err(_) => {}
            }
        }
        flush();
        let mut results = connections.iter().map(|connection| &connection.result);
        if let Some(Err(error)) = results.next()
            && results.all(|result| result.is_err())
        {
            return Err(error.clone());
        }
        if let Ok(links) = self.links() {
            links.outdate();
        }
        Ok(Reauthentication { connections })
    }

    /// Logs in on all links of these actors concurrently.
    async fn log_in_on(
        &self,
        actors: Vec<(String, Addr<RedisActor>)>,
        auth: &Frame,
        within: Duration,
    ) -> Vec<ConnectionLogin> {
        let mut sent = Vec::new();
        for (purpose, addr) in actors {
            // An actor that has ended needs no login.
            for login in addr.send(LogIn(auth.clone())).await.unwrap_or_default() {
                sent.push((purpose.clone(), login));
            }
        }
        let until = Instant::now() + within;
        let mut done = Vec::with_capacity(sent.len());
        for (purpose, LoginSent { address, is_replaced, answer }) in sent {
            let result = match timeout_at(until.into(), answer).await {
                Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
                Err(_) if is_replaced => Err(not_replaced(within)),
                Err(_) => Err(late(within)),
            };
            done.push(ConnectionLogin { purpose, address, result });
        }
        done
    }

    /// The actors of all connections except leased ones, each once.
    fn connections(&self) -> Vec<(String, Addr<RedisActor>)> {
        let mut all = vec![(SHARED.to_owned(), self.addr.clone())];
        if let Ok(pubsub) = self.pubsub() {
            all.extend(pubsub.link().map(|link| ("subscriptions".to_owned(), link)));
        }
        if let Ok(links) = self.links() {
            all.extend(links.attended_actors());
        }
        let mut once: Vec<(String, Addr<RedisActor>)> = Vec::with_capacity(all.len());
        for (name, addr) in all {
            if once.iter().all(|(_, known)| *known != addr) {
                once.push((name, addr));
            }
        }
        once
    }
}

fn late(within: Duration) -> Error {
    let words =
        format!("AUTH was not answered within {within:?}: a blocking command is before it; it takes effect after that");
    Error::new(ErrorKind::Timeout, Fate::Unknown, words)
}

fn not_replaced(within: Duration) -> Error {
    let words = format!(
        "the link had no room for AUTH or was connecting, and the next one was not ready within {within:?}: it logs in with \
         the new credentials after the commands in flight completed"
    );
    Error::new(ErrorKind::Timeout, Fate::NotSent, words)
}

fn kind_of(login: &ConnectionLogin) -> Option<ErrorKind> {
    login.result.as_ref().err().map(Error::kind)
}
