//! Watching the sentinels, and passing on what they say to connections.

use std::{
    collections::HashSet,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::WeakAddr;
use futures_util::{
    future::{Either, select},
    stream::{FuturesUnordered, StreamExt},
};
use tokio::{sync::watch, time::sleep};

use super::Sentinels;
use super::replies::{self, switched};
use super::view::Report;
use crate::actors::connection::{RedisActor, Retarget};
use crate::config::HostPort;
use crate::connection::endpoint::Master;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::protocol::auxiliary::Auxiliary;

/// How often they are asked without a reason, for those whose announcements do not arrive. Up to a quarter more, so
/// that many clients do not ask at once.
const POLL: Duration = Duration::from_secs(5);
/// Before the next attempt to watch a sentinel.
const AGAIN: Duration = Duration::from_secs(1);
/// The same, when it refused the login: it will until the configuration changes.
const AGAIN_REFUSED: Duration = Duration::from_secs(15);
/// A sentinel that others named and that cannot be reached for so long is forgotten, until they name it again.
const FORGET_AFTER: Duration = Duration::from_secs(60);
const SWITCH: &str = "+switch-master";

impl Sentinels {
    /// Watches all sentinels until the result is dropped.
    pub(crate) fn watch(self: &Arc<Self>) -> Watchers {
        let sentinels = self.clone();
        Watchers(actix::spawn(async move { sentinels.watch_all().await }))
    }

    async fn watch_all(&self) {
        let mut watched = HashSet::new();
        let mut watchers = FuturesUnordered::new();
        loop {
            for host in self.hosts() {
                if watched.insert(host.clone()) {
                    watchers.push(self.watch_one(host));
                }
            }
            let discovered = pin!(self.discovered.notified());
            if let Either::Left((Some(ended), _)) = select(watchers.next(), discovered).await {
                watched.remove(&ended);
            }
        }
    }

    /// Watches one sentinel, and returns it when it is forgotten.
    async fn watch_one(&self, host: HostPort) -> HostPort {
        let mut last_seen = Instant::now();
        loop {
            let Err(cause) = self.watch_link(&host, &mut last_seen).await;
            if !self.is_known(&host) || (last_seen.elapsed() > FORGET_AFTER && self.forget(&host)) {
                return host;
            }
            tracing::debug!(sentinel = %host, %cause, "cannot watch the sentinel");
            sleep(if cause.is_refusal() { AGAIN_REFUSED } else { AGAIN }).await;
        }
    }

    /// Watches one sentinel over one link.
    async fn watch_link(&self, host: &HostPort, last_seen: &mut Instant) -> Result<std::convert::Infallible, Cause> {
        let mut link = self.connect_and_ask(host).await?;
        link.subscribe(SWITCH)?;
        *last_seen = Instant::now();
        loop {
            if !self.is_known(host) {
                return Err(Cause::new(CauseKind::Broken, "the sentinel is watched by another address"));
            }
            let waited = {
                let poll = pin!(sleep(POLL.mul_f64(1.0 + fastrand::f64() / 4.0)));
                match select(pin!(link.next_message()), poll).await {
                    Either::Left((message, _)) => Some(message?),
                    Either::Right(((), _)) => None,
                }
            };
            link = match waited.map(|text| switched(&text, &self.master)) {
                Some(None) => link,
                Some(Some(to)) => self.announced(link, host, to).await?,
                None if link.may_ask() => self.ask_everything(link, host).await?,
                None => {
                    self.connect_and_ask(host).await?;
                    link
                }
            };
            *last_seen = Instant::now();
        }
    }

    async fn connect_and_ask(&self, host: &HostPort) -> Result<Auxiliary, Cause> {
        let link = Auxiliary::connect(&self.connect_params_of(host), self.answer_timeout()).await?;
        self.ask_everything(link, host).await
    }

    /// The sentinel has switched to another master. It is asked, because its answer has the epoch, which a message that was
    /// long under way has not; where it does not answer, the message counts.
    async fn announced(&self, link: Auxiliary, host: &HostPort, to: HostPort) -> Result<Auxiliary, Cause> {
        if !link.may_ask() {
            // In RESP2 a link that has subscribed cannot ask.
            if self.ask_beside(host).await.is_err() {
                self.record_message(host, to).await;
            }
            return Ok(link);
        }
        let asked = self.ask_master(link, host, true).await;
        if asked.is_err() {
            self.record_message(host, to).await;
        }
        asked
    }

    /// Asks a sentinel that has announced a switch on a link of its own.
    async fn ask_beside(&self, host: &HostPort) -> Result<(), Cause> {
        let link = Auxiliary::connect(&self.connect_params_of(host), self.answer_timeout()).await?;
        self.ask_master(link, host, true).await.map(drop)
    }

    async fn record_message(&self, host: &HostPort, to: HostPort) {
        self.record(host, Report { master: self.server(to).await, epoch: None, announced: true });
    }

    /// Asks for the master, and for the other sentinels.
    async fn ask_everything(&self, link: Auxiliary, host: &HostPort) -> Result<Auxiliary, Cause> {
        let limit = self.answer_timeout();
        let link = self.ask_master(link, host, false).await?;
        // Sentinels before 6.2 do not know their id, and some users may not ask for it.
        let (link, answer) = link.ask(&Frame::known("SENTINEL").arg("MYID"), limit).await?;
        let id = answer.ok().and_then(|id| redis::from_redis_value::<String>(id).ok()).filter(|id| !id.is_empty());
        let (link, answer) = link.ask(&self.question("SENTINELS"), limit).await?;
        let peers = answer.ok().and_then(replies::peers).unwrap_or_default();
        self.discover(host, id, peers);
        Ok(link)
    }
}

/// The task that watches sentinels, or passes on what they say; it ends with it.
pub(crate) struct Watchers(tokio::task::JoinHandle<()>);

impl Watchers {
    /// Notifies a connection of every new master.
    pub(crate) fn follow(mut master: watch::Receiver<Option<Master>>, connection: WeakAddr<RedisActor>) -> Self {
        Self(actix::spawn(async move {
            while master.changed().await.is_ok() {
                let Some(connection) = connection.upgrade() else { return };
                if let Some(master) = master.borrow_and_update().clone() {
                    connection.do_send(Retarget(master));
                }
            }
        }))
    }
}

impl Drop for Watchers {
    fn drop(&mut self) {
        self.0.abort();
    }
}
