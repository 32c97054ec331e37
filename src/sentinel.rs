//! Where the master is, by the word of all sentinels.
//!
//! Each sentinel is watched on a link of its own: it reports the master and the configuration epoch, announces a failover,
//! and names the other sentinels, which are watched as well. [`view`] decides what the reports add up to; connections
//! learn of a new master through a channel ([`Locate::master`]).

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::Value;
use tokio::{
    net::lookup_host,
    sync::{Notify, watch},
    time::{sleep, timeout, timeout_at},
};

use crate::config::{Address, HostPort};
use crate::connection::endpoint::{AddressLookup, Endpoint, LinkToken, Locate, Master, ReplicaLookup};
use crate::connection::params::ConnectParams;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::protocol::auxiliary::Auxiliary;
use state::SentinelState;
use view::{Report, Server};

mod replies;
mod state;
mod view;
mod watching;

pub(crate) use watching::Watchers;

/// The next sentinel is asked for replicas when the one before has not answered for so long.
const STAGGER: Duration = Duration::from_millis(150);
/// How long one of them may take, if the connect timeout does not say less.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// After the first answer, for how long a dial waits for the others, where those that answered are no majority.
const GRACE: Duration = Duration::from_secs(1);
/// How long the name of a master may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);
/// See the module.
pub(crate) struct Sentinels {
    master: String,
    /// How to connect to them: with users of their own, and without databases.
    connect_params: ConnectParams,
    state: Mutex<SentinelState>,
    /// The elected master.
    changes: watch::Sender<Option<Master>>,
    /// There is a sentinel that is not watched yet.
    discovered: Notify,
}

impl Sentinels {
    pub(crate) fn new(hosts: Vec<HostPort>, master: String, connect_params: ConnectParams) -> Arc<Self> {
        // What sentinels and servers do about a handshake are two matters.
        let connect_params = ConnectParams { place: Endpoint::Sentinel, optional: Arc::default(), ..connect_params };
        let state = Mutex::new(SentinelState::new(hosts));
        Arc::new(Self { master, connect_params, state, changes: watch::Sender::new(None), discovered: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, SentinelState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hosts(&self) -> Vec<HostPort> {
        self.state().hosts()
    }

    fn connect_params_of(&self, host: &HostPort) -> Arc<ConnectParams> {
        let connect_params = self.connect_params.for_server(Address::Tcp(host.clone()));
        Arc::new(ConnectParams { place: Endpoint::Sentinel, ..connect_params })
    }

    fn answer_timeout(&self) -> Duration {
        self.connect_params.config.connect_timeout().min(ANSWER_TIMEOUT)
    }

    fn question(&self, subcommand: &'static str) -> Frame {
        Frame::known("SENTINEL").arg(subcommand).arg(self.master.as_str())
    }

    /// Records a report, and notifies the connections if the master is another server now.
    fn record(&self, sentinel: &HostPort, report: Report) {
        let mut state = self.state();
        if let Some(master) = state.record(sentinel, report, Instant::now()) {
            tracing::debug!(%sentinel, address = %master.address, version = master.version, "the sentinels name another master");
            // Under the lock, so that the last published master is the last one elected.
            self.changes.send_replace(Some(master));
        }
    }

    /// Whether enough sentinels have named the master since `since`.
    fn is_settled(&self, since: Instant) -> bool {
        self.state().is_settled(since, Instant::now())
    }

    /// Asks on this link where the master is, and records the answer.
    async fn ask_master(&self, link: Auxiliary, host: &HostPort, announced: bool) -> Result<Auxiliary, Cause> {
        let limit = self.answer_timeout();
        // SENTINEL MASTER names the old one until a failover has ended, this the new one as soon as it is promoted.
        let question = self.question("GET-MASTER-ADDR-BY-NAME");
        let (link, answer) = link.ask(&question, limit).await?;
        let answer = answer.map_err(|error| link.refusal("SENTINEL GET-MASTER-ADDR-BY-NAME", &error))?;
        if answer == Value::Nil {
            let words = format!(
                "the sentinel {host} does not know a master of the name that was configured; check REDIS_SENTINEL_MASTER"
            );
            return Err(Cause::new(CauseKind::NotReady, words));
        }
        let address = replies::address(answer).ok_or_else(|| {
            Cause::new(CauseKind::Protocol, format!("the sentinel {host} did not say where the master is"))
        })?;
        let (link, answer) = link.ask(&self.question("MASTER"), limit).await?;
        let epoch = answer.ok().and_then(replies::epoch);
        let master = self.server(address).await;
        self.record(host, Report { master, epoch, announced });
        Ok(link)
    }

    async fn ask_one(&self, host: HostPort) -> Result<(), Cause> {
        let link = Auxiliary::connect(&self.connect_params_of(&host), self.answer_timeout()).await?;
        self.ask_master(link, &host, false).await.map(drop)
    }

    /// Asks all sentinels at once, until most of them agree.
    async fn ask_all(&self) -> Result<Address, Cause> {
        let asked = Instant::now();
        let mut answers: FuturesUnordered<_> = self.hosts().into_iter().map(|host| self.ask_one(host)).collect();
        let mut until: Option<tokio::time::Instant> = None;
        let mut why: Option<Cause> = None;
        loop {
            let answer = match until {
                Some(until) => timeout_at(until, answers.next()).await.unwrap_or(None),
                None => answers.next().await,
            };
            match answer {
                Some(Ok(())) => {
                    until = until.or(Some(tokio::time::Instant::now() + GRACE));
                    if self.is_settled(asked) {
                        break;
                    }
                }
                // One that is well but has other credentials is worth more than one that is gone.
                Some(Err(cause)) if cause.is_refusal() => why = Some(cause),
                Some(Err(cause)) => why = why.filter(Cause::is_refusal).or(Some(cause)),
                None => break,
            }
        }
        let master = self.state().master().filter(|_| until.is_some());
        let unknown = || why.unwrap_or_else(|| Cause::new(CauseKind::Unreachable, "there is no sentinel to ask"));
        master.map(|master| master.address).ok_or_else(unknown)
    }

    /// The first answer that is one, of sentinels that are asked one after the other, a moment apart.
    async fn ask_first<T, F: Future<Output = Result<T, Cause>>>(
        &self,
        ask: impl Fn(HostPort) -> F,
    ) -> Result<T, Cause> {
        let mut hosts = self.hosts();
        fastrand::shuffle(&mut hosts);
        let ask = &ask;
        let mut answers: FuturesUnordered<_> = hosts
            .into_iter()
            .zip(0..)
            .map(|(host, nth)| async move {
                sleep(STAGGER * nth).await;
                ask(host).await
            })
            .collect();
        let mut why: Option<Cause> = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(found) => return Ok(found),
                Err(cause) if cause.is_refusal() => why = Some(cause),
                Err(cause) => why = why.filter(Cause::is_refusal).or(Some(cause)),
            }
        }
        Err(why.unwrap_or_else(|| Cause::new(CauseKind::Unreachable, "there is no sentinel to ask")))
    }

    /// The replicas that follow the master, as one sentinel sees them.
    async fn ask_for_replicas(&self, host: HostPort) -> Result<Vec<HostPort>, Cause> {
        let limit = self.answer_timeout();
        let link = Auxiliary::connect(&self.connect_params_of(&host), limit).await?;
        let (mut link, mut answer) = link.ask(&self.question("REPLICAS"), limit).await?;
        // Sentinels before 5.0, and services that implement a part of their commands, know the former name alone.
        if answer.as_ref().is_err_and(|error| error.code() == Some("ERR")) {
            (link, answer) = link.ask(&self.question("SLAVES"), limit).await?;
        }
        let answer = answer.map_err(|error| link.refusal("SENTINEL REPLICAS", &error))?;
        let announced = replies::replicas(answer).ok_or_else(|| {
            Cause::new(CauseKind::Protocol, format!("the sentinel {host} did not say where the replicas are"))
        })?;
        Ok(announced.into_iter().map(|replica| self.connect_params.config.map_address(replica)).collect())
    }

    /// A server that announces this address: where it can be reached, and the addresses behind the name.
    async fn server(&self, announced: HostPort) -> Server {
        let address = self.connect_params.config.map_address(announced);
        let found = timeout(RESOLVE_TIMEOUT, lookup_host((address.host.as_str(), address.port))).await;
        let canonical = |found: SocketAddr| SocketAddr::new(found.ip().to_canonical(), found.port());
        let resolved = found.map(|found| found.map(|all| all.map(canonical).collect()).unwrap_or_default());
        Server { address, resolved: resolved.unwrap_or_default() }
    }

    /// Records the id of a sentinel, and the others that it knows.
    fn discover(&self, host: &HostPort, id: Option<String>, peers: Vec<replies::Peer>) {
        let reachable = |peer: replies::Peer| replies::Peer {
            address: self.connect_params.config.map_address(peer.address),
            ..peer
        };
        // User code, so not under the lock.
        let peers: Vec<_> = peers.into_iter().map(reachable).collect();
        if self.state().discover(host, id, peers) {
            self.discovered.notify_one();
        }
    }

    fn is_known(&self, host: &HostPort) -> bool {
        self.state().is_known(host)
    }

    /// Forgets a sentinel that was discovered. Returns whether it was one.
    fn forget(&self, host: &HostPort) -> bool {
        self.state().forget(host)
    }
}

impl Locate for Sentinels {
    fn locate(&self) -> AddressLookup<'_> {
        Box::pin(async move {
            // One of them has announced it a moment ago, and the others may not know yet.
            if self.is_settled(Instant::now())
                && let Some(master) = self.state().master()
            {
                return Ok(master.address);
            }
            self.ask_all().await
        })
    }

    fn is_master(&self) -> bool {
        true
    }

    fn dialled(&self, address: &Address, failed: bool) {
        self.state().dialled(address, failed);
    }

    fn link_token(&self, address: &Address) -> Option<LinkToken> {
        self.state().link_token(address)
    }

    fn master(&self) -> Option<watch::Receiver<Option<Master>>> {
        Some(self.changes.subscribe())
    }

    fn replicas(&self) -> ReplicaLookup<'_> {
        Box::pin(self.ask_first(|host| self.ask_for_replicas(host)))
    }
}
