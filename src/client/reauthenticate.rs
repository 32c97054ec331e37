//! New credentials for the connections that are there.

use std::time::{Duration, Instant};

use actix::Addr;
use tokio::time::timeout_at;

use super::{Redis, gone};
use crate::actors::connection::{LogIn, ReconnectNow, RedisActor};
use crate::connection::driver::login::LoginSent;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::Frame;

/// The purpose of the connection that all commands share.
const SHARED: &str = "shared";

/// What came of a login on one connection; see [`Reauthentication`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectionLogin {
    /// What the connection is for: `shared`, `subscriptions`, or the purpose that [`LinkInfo`](crate::LinkInfo) shows.
    pub purpose: String,
    /// Where it leads.
    pub address: String,
    /// Whether the server has accepted the credentials.
    pub result: Result<()>,
}

/// What [`Redis::reauthenticate`] has done.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Reauthentication {
    /// Every connection that has a link or tries for one: in a cluster those to all nodes and replicas, those of
    /// subscriptions, and those of stream consumers. Leased connections are not among them, because they are replaced
    /// instead.
    pub connections: Vec<ConnectionLogin>,
}

impl Reauthentication {
    /// Whether there are connections, and each of them has logged in with the new credentials. One that is not listed as
    /// logged in may have the old login still, or no link at all; call [`Redis::reauthenticate`] again then.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.connections.is_empty() && self.connections.iter().all(|connection| connection.result.is_ok())
    }
}

impl Redis {
    /// Logs in anew with the credentials of now, on every connection: those of the provider, the password file, or the
    /// configuration. On a link that is up it sends AUTH, and commands in flight go on; a link that is too busy for that is
    /// replaced as soon as its commands in flight are answered. Without a link the next attempt is made at once, also when
    /// the server has refused the last one. Connections for commands that wait and for
    /// [`watch`](Self::watch) end as soon as their present use allows: a command that waits goes on waiting on another
    /// one. A subscription in RESP2 cannot log in again, so its link is made anew, with a gap.
    ///
    /// Connections that are made later log in with the same credentials.
    ///
    /// # Errors
    /// When the credentials cannot be had, there are none, or no server accepts them: then a link that is up stays as it is,
    /// with its old login. [`ErrorKind::Disconnected`] when there was no link and none could be made within the connect
    /// timeout. Where some connections have succeeded, the [`Reauthentication`] tells of each.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the logins that were written.
    pub async fn reauthenticate(&self) -> Result<Reauthentication> {
        let within = self.config().connect_timeout();
        let login = self.shared.connect_params.login_of_now(within).await;
        let login = login.map_err(|cause| cause.error(Fate::NotSent))?.ok_or_else(|| {
            let words = "there are no credentials to log in with; set REDIS_PASSWORD or give a provider";
            Error::new(ErrorKind::Config, Fate::NotSent, words)
        })?;
        let auth = login.auth().timeout(within);
        let mut connections = self.log_in_on(self.connections(), &auth, within).await;
        let is_lost = |login: &ConnectionLogin| kind_of(login) == Some(ErrorKind::Disconnected);
        if connections.iter().filter(|login| login.purpose == SHARED).all(is_lost) {
            // There was no link, or it was lost meanwhile: the next one logs in by itself, and is then asked as well.
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

    /// Logs in on all links of these actors at the same time.
    async fn log_in_on(
        &self,
        actors: Vec<(String, Addr<RedisActor>)>,
        auth: &Frame,
        within: Duration,
    ) -> Vec<ConnectionLogin> {
        let mut sent = Vec::new();
        for (purpose, addr) in actors {
            // One that has ended meanwhile has nothing to log in.
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

    /// The actors of all connections but leased ones, each once.
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
    let words = format!(
        "AUTH was not answered within {within:?}: a command that blocks is in front of it, and it takes effect behind that"
    );
    Error::new(ErrorKind::Timeout, Fate::Unknown, words)
}

fn not_replaced(within: Duration) -> Error {
    let words = format!(
        "the link had no room for AUTH or was being made, and the next one was not ready within {within:?}: it logs in with \
         the new credentials once the commands in flight are answered"
    );
    Error::new(ErrorKind::Timeout, Fate::NotSent, words)
}

fn kind_of(login: &ConnectionLogin) -> Option<ErrorKind> {
    login.result.as_ref().err().map(Error::kind)
}
