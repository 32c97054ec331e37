//! The sentinels that are known, and what they have reported. A sentinel counts once, however many addresses it has.

use std::time::Instant;

use super::replies::Peer;
use super::view::{Report, View};
use crate::config::{Address, HostPort};
use crate::connection::endpoint::{LinkToken, Master};

/// Sentinels that are watched at most: sets have three to seven.
const MAX_SENTINELS: usize = 32;

/// See the module.
pub(super) struct SentinelState {
    view: View,
    known: Vec<Known>,
}

/// A sentinel.
struct Known {
    host: HostPort,
    /// Its own id, if it has reported it: it may have another address with its peers than in the configuration.
    id: Option<String>,
    configured: bool,
    /// It has answered.
    reached: bool,
}

impl SentinelState {
    pub(super) fn new(configured: Vec<HostPort>) -> Self {
        let known = |host| Known { host, id: None, configured: true, reached: false };
        Self { view: View::default(), known: configured.into_iter().map(known).collect() }
    }

    pub(super) fn hosts(&self) -> Vec<HostPort> {
        self.known.iter().map(|known| known.host.clone()).collect()
    }

    pub(super) fn is_known(&self, host: &HostPort) -> bool {
        self.known.iter().any(|known| known.host == *host)
    }

    /// The master, as far as it is known.
    pub(super) fn master(&self) -> Option<Master> {
        self.view.master()
    }

    /// Records a report, unless the sentinel was forgotten while it was asked. Returns the master if it is another server
    /// than the last one.
    pub(super) fn record(&mut self, sentinel: &HostPort, report: Report, now: Instant) -> Option<Master> {
        self.known.iter_mut().find(|known| known.host == *sentinel)?.reached = true;
        self.view.record(sentinel, report, self.voters(), now)
    }

    /// Whether enough sentinels have named the master since `since`.
    pub(super) fn is_settled(&self, since: Instant, now: Instant) -> bool {
        self.view.is_settled(self.voters(), since, now)
    }

    /// Records the outcome of a dial to a server.
    pub(super) fn dialled(&mut self, address: &Address, failed: bool) {
        self.view.dialled(address, failed);
    }

    /// What a link to a server keeps while it is up; see [`Locate::link_token`](crate::connection::endpoint::Locate::link_token).
    pub(super) fn link_token(&self, address: &Address) -> Option<LinkToken> {
        self.view.link_token(address)
    }

    /// Peers may announce addresses that cannot be reached from here: those never answer, and are not waited for.
    fn voters(&self) -> usize {
        self.known.iter().filter(|known| known.configured || known.reached).count()
    }

    /// Records the id of a sentinel, and the others that it knows. Returns whether there are new ones. Without ids, as
    /// before Redis 6.2, one sentinel under two addresses would count twice, so none is added.
    pub(super) fn discover(&mut self, host: &HostPort, id: Option<String>, peers: Vec<Peer>) -> bool {
        let Some(asked) = self.known.iter_mut().find(|known| known.host == *host) else { return false };
        asked.id.clone_from(&id);
        if asked.configured && id.is_some() {
            // Found through its peers before, by another address.
            let is_twin = |known: &Known| !known.configured && known.id == id;
            let twins: Vec<_> =
                self.known.iter().filter(|known| is_twin(known)).map(|known| known.host.clone()).collect();
            for twin in &twins {
                self.forget(twin);
            }
        }
        let before = self.known.len();
        for peer in peers.into_iter().filter(|_| id.is_some()) {
            let is_known = self.known.iter().any(|known| {
                known.host == peer.address || known.id.as_deref().is_some_and(|id| !id.is_empty() && id == peer.id)
            });
            if !is_known && self.known.len() < MAX_SENTINELS {
                self.known.push(Known { host: peer.address, id: Some(peer.id), configured: false, reached: false });
            }
        }
        self.known.len() > before
    }

    /// Forgets a sentinel that was discovered. Returns whether it was one.
    pub(super) fn forget(&mut self, host: &HostPort) -> bool {
        let before = self.known.len();
        self.known.retain(|known| known.configured || known.host != *host);
        let forgotten = self.known.len() < before;
        if forgotten {
            self.view.forget(host);
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::Server;
    use super::*;

    fn host(name: &str) -> HostPort {
        HostPort { host: name.to_owned(), port: 26379 }
    }

    fn names(master: &str) -> Report {
        Report { master: Server { address: host(master), resolved: Vec::new() }, epoch: Some(0), announced: false }
    }

    /// Ablation: with reports of unknown sentinels recorded, one sentinel under two addresses is the majority: "one of three"
    /// fails.
    #[test]
    fn a_sentinel_known_by_a_name_and_an_address_has_one_vote() {
        let now = Instant::now();
        let mut state = SentinelState::new(vec![host("s1"), host("s2"), host("s3")]);
        let peer = |n: u8| Peer { address: host(&format!("10.0.0.{n}")), id: format!("id{n}") };
        state.record(&host("s1"), names("stale"), now);
        assert!(state.discover(&host("s1"), Some("id1".into()), vec![peer(2), peer(3)]));
        assert_eq!(state.hosts().len(), 5);
        // The watcher of the twin asks, the sentinel reports its id on the other link, and the answer of the first comes late.
        state.discover(&host("s2"), Some("id2".into()), vec![peer(1), peer(3)]);
        assert!(!state.is_known(&host("10.0.0.2")), "watched by its name alone");
        state.discover(&host("s3"), Some("id3".into()), Vec::new());
        for sentinel in ["s2", "10.0.0.2", "10.0.0.3"] {
            state.record(&host(sentinel), names("m"), now);
        }
        assert!(!state.is_settled(now, now), "one of three");
        assert!(!state.discover(&host("10.0.0.2"), Some("id2".into()), vec![peer(4)]), "it is not asked any more");
        state.record(&host("s3"), names("m"), now);
        assert_eq!(state.master().expect("elected").address.to_string(), "m:26379");
        assert!(state.is_settled(now, now), "two of three");
        state.discover(&host("s1"), Some("id1".into()), vec![peer(2), peer(3)]);
        assert_eq!(state.hosts(), [host("s1"), host("s2"), host("s3")]);
    }
}
