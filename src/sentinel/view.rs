//! Which server is the master, by what all sentinels have reported.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::config::{Address, HostPort};
use crate::connection::endpoint::{LinkToken, Master};

/// A report that is older than this says nothing about the present: sentinels are polled more often than that.
const REPORT_TTL: Duration = Duration::from_secs(20);
/// For how long an announcement counts more than other sentinels' reports where epochs are unknown: sentinels pass a
/// failover on to each other within two seconds.
const ANNOUNCEMENT_TTL: Duration = Duration::from_secs(3);
/// For how long an announcement spares a dial the question where the master is.
const SETTLED_BY_ANNOUNCEMENT: Duration = Duration::from_secs(1);
/// After this many failed dials in a row the elected server counts as lost. One may be an accident of the network.
const LOST_AFTER: u32 = 2;

/// A server as one sentinel names it, and the addresses behind that name: two sentinels may name one server differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: HostPort,
    pub(super) resolved: Vec<SocketAddr>,
}

impl Server {
    fn is(&self, other: &Self) -> bool {
        let same_name =
            self.address.port == other.address.port && self.address.host.eq_ignore_ascii_case(&other.address.host);
        same_name || self.resolved.iter().any(|address| other.resolved.contains(address))
    }
}

/// What one sentinel says.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) master: Server,
    /// The configuration epoch: it grows with each failover, and each failover has its own. Unknown where the user of
    /// the sentinel may not read it.
    pub(super) epoch: Option<u64>,
    /// It came with `+switch-master`.
    pub(super) announced: bool,
}

/// The latest report of each sentinel.
#[derive(Debug, Default)]
pub(super) struct View {
    reports: HashMap<HostPort, (Report, Instant)>,
    elected: Option<Server>,
    /// The highest configuration epoch with which it was named, if one is known.
    epoch: Option<u64>,
    /// The majority of the known sentinels has named it.
    confirmed: bool,
    /// How many dials to it have failed in a row while no link to it was up.
    failed_dials: u32,
    /// Each link to it that is up keeps a copy.
    links: LinkToken,
    version: u64,
}

impl View {
    /// Records what one of `known` sentinels said. Returns the master if it is another server than the last one.
    pub(super) fn record(&mut self, sentinel: &HostPort, report: Report, known: usize, now: Instant) -> Option<Master> {
        self.reports.insert(sentinel.clone(), (report, now));
        self.elect(known, now)
    }

    /// Removes a sentinel that is no longer asked.
    pub(super) fn forget(&mut self, sentinel: &HostPort) {
        self.reports.remove(sentinel);
    }

    /// Records the outcome of a dial. A server that refuses the login or is not trusted is there, so that is no failure. Nor is
    /// one beside a link that is up: that connection has a reason of its own.
    pub(super) fn dialled(&mut self, address: &Address, failed: bool) {
        if self.is_elected(address) {
            let is_up = Arc::strong_count(&self.links) > 1;
            self.failed_dials = if failed && !is_up { self.failed_dials.saturating_add(1) } else { 0 };
        }
    }

    /// What a link to the elected server keeps while it is up.
    pub(super) fn link_token(&self, address: &Address) -> Option<LinkToken> {
        self.is_elected(address).then(|| self.links.clone())
    }

    fn is_elected(&self, address: &Address) -> bool {
        self.elected.as_ref().is_some_and(|elected| Address::Tcp(elected.address.clone()) == *address)
    }

    /// The master, as far as it is known.
    pub(super) fn master(&self) -> Option<Master> {
        let server = self.elected.as_ref()?;
        Some(Master {
            version: self.version,
            address: Address::Tcp(server.address.clone()),
            resolved: server.resolved.clone(),
        })
    }

    /// Whether more than half of `known` sentinels have reported the elected master since `since`, or one has
    /// announced it just now.
    pub(super) fn is_settled(&self, known: usize, since: Instant, now: Instant) -> bool {
        let Some(elected) = &self.elected else { return false };
        let names_it = |report: &Report| report.master.is(elected);
        let recent = |at: Instant, ttl| now.saturating_duration_since(at) <= ttl;
        let mut reports = self.reports.values();
        if reports.any(|(report, at)| report.announced && names_it(report) && recent(*at, SETTLED_BY_ANNOUNCEMENT)) {
            return true;
        }
        let votes = self.reports.values().filter(|(report, at)| *at >= since && names_it(report)).count();
        votes * 2 > known
    }

    /// The highest configuration epoch wins: it is the latest failover that a majority of sentinels has agreed on. Where
    /// epochs are equal, or one of them is unknown, a fresh announcement does, then the number of sentinels, then the one
    /// that was elected before. [`may_lead`](Self::may_lead) says which servers take part.
    fn elect(&mut self, known: usize, now: Instant) -> Option<Master> {
        self.reports.retain(|_, (_, at)| now.saturating_duration_since(*at) <= REPORT_TTL);
        let candidates: Vec<CandidateVotes<'_>> =
            self.reports.values().map(|(report, _)| self.standing(&report.master, now)).collect();
        let with_epochs = candidates.iter().all(|candidate| candidate.epoch.is_some());
        let best = candidates
            .into_iter()
            .filter(|candidate| self.may_lead(candidate, known))
            .max_by_key(|candidate| candidate.rank(with_epochs))?;
        let (server, epoch, is_elected) = (best.server.clone(), best.epoch, best.is_elected);
        let is_confirmed = best.has_majority(known);
        if is_elected {
            self.epoch = self.epoch.max(epoch);
            self.confirmed |= is_confirmed;
            return None;
        }
        (self.elected, self.epoch, self.confirmed, self.failed_dials) = (Some(server), epoch, is_confirmed, 0);
        // Links to the former master are no evidence about this one.
        self.links = LinkToken::default();
        self.version += 1;
        self.master()
    }

    /// Whether a server may replace the elected one.
    ///
    /// A silent sentinel keeps its vote: the sentinels that reply may be the ones that are partitioned. So a server needs the
    /// majority of all `known` sentinels, as a failover does (the quorum only decides when a master is down), or a higher
    /// epoch or an announcement, which follow from a failover. Without these a minority is believed only if the elected
    /// server cannot be reached, since no better information exists, or if no majority ever named it. A known lower epoch is
    /// never believed: it is the server of an earlier failover, and a write to it would be lost.
    fn may_lead(&self, candidate: &CandidateVotes<'_>, known: usize) -> bool {
        if candidate.is_elected || candidate.has_majority(known) {
            return true;
        }
        match (candidate.epoch, self.epoch) {
            (Some(epoch), Some(elected)) if epoch != elected => epoch > elected,
            _ => candidate.announced.is_some() || !self.confirmed || self.failed_dials >= LOST_AFTER,
        }
    }

    /// What speaks for a server.
    fn standing<'a>(&self, server: &'a Server, now: Instant) -> CandidateVotes<'a> {
        let is_elected = self.elected.as_ref().is_some_and(|elected| elected.is(server));
        let mut standing = CandidateVotes { server, epoch: None, announced: None, votes: 0, is_elected, latest: None };
        for (report, at) in self.reports.values().filter(|(report, _)| report.master.is(server)) {
            standing.epoch = standing.epoch.max(report.epoch);
            standing.votes += 1;
            standing.latest = standing.latest.max(Some(*at));
            if report.announced && now.saturating_duration_since(*at) <= ANNOUNCEMENT_TTL {
                standing.announced = standing.announced.max(Some(*at));
            }
        }
        standing
    }
}

/// What the reports say of one server.
struct CandidateVotes<'a> {
    server: &'a Server,
    /// The highest configuration epoch, if one is known.
    epoch: Option<u64>,
    /// The last announcement, if it is fresh.
    announced: Option<Instant>,
    votes: usize,
    is_elected: bool,
    /// The last report.
    latest: Option<Instant>,
}

impl CandidateVotes<'_> {
    fn has_majority(&self, known: usize) -> bool {
        self.votes * 2 > known
    }

    fn rank(&self, with_epochs: bool) -> (Option<u64>, Option<Instant>, usize, bool, Option<Instant>) {
        (self.epoch.filter(|_| with_epochs), self.announced, self.votes, self.is_elected, self.latest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u16) -> HostPort {
        HostPort { host: format!("10.0.0.{n}"), port: 6379 }
    }

    fn report(master: u16, epoch: impl Into<Option<u64>>) -> Report {
        let address = host(master);
        let resolved = vec![SocketAddr::from(([10, 0, 0, master as u8], 6379))];
        Report { master: Server { address, resolved }, epoch: epoch.into(), announced: false }
    }

    fn elected(view: &View) -> String {
        view.master().expect("elected").address.to_string()
    }

    /// Ablation: with the last report believed the stale sentinel moves the master twice a round.
    #[test]
    fn one_stale_sentinel_never_moves_the_master() {
        let (mut view, start) = (View::default(), Instant::now());
        for round in 0..10 {
            let now = start + Duration::from_secs(5 * round);
            view.record(&host(101), report(2, 7), 3, now);
            view.record(&host(102), report(2, 7), 3, now);
            assert!(view.record(&host(103), report(1, 6), 3, now).is_none());
        }
        assert_eq!((elected(&view).as_str(), view.version), ("10.0.0.2:6379", 1));
    }

    #[test]
    fn a_higher_epoch_wins_over_a_stale_majority() {
        let (mut view, now) = (View::default(), Instant::now());
        view.record(&host(101), report(1, 6), 3, now);
        view.record(&host(102), report(1, 6), 3, now);
        assert!(!view.is_settled(3, now + Duration::from_millis(1), now), "reports of before");
        assert!(view.is_settled(3, now, now));
        let moved = view.record(&host(103), report(2, 7), 3, now).expect("moved");
        assert_eq!((moved.address.to_string().as_str(), moved.version), ("10.0.0.2:6379", 2));
        assert!(!view.is_settled(3, now, now), "one of three");
    }

    #[test]
    fn votes_decide_where_no_failover_was_and_where_epochs_are_unknown() {
        for epoch in [Some(0), None] {
            let (mut view, now) = (View::default(), Instant::now());
            view.record(&host(101), report(1, epoch), 3, now);
            view.record(&host(102), report(2, epoch), 3, now);
            assert_eq!(elected(&view), "10.0.0.1:6379", "as good as the first");
            view.record(&host(103), report(2, epoch), 3, now);
            assert_eq!(elected(&view), "10.0.0.2:6379");
        }
    }

    /// Ablation: without its precedence the announcement waits for the second sentinel.
    #[test]
    fn an_announcement_wins_while_epochs_are_unknown_and_expires() {
        let (mut view, start) = (View::default(), Instant::now());
        for n in [101, 102, 103] {
            view.record(&host(n), report(1, None), 3, start);
        }
        let announcement = Report { announced: true, ..report(2, None) };
        let now = start + Duration::from_secs(1);
        assert!(view.record(&host(101), announcement.clone(), 3, now).is_some());
        assert!(view.is_settled(3, now + Duration::from_secs(1), now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(5);
        view.record(&host(102), report(1, None), 3, later);
        view.record(&host(103), report(1, None), 3, later);
        assert_eq!(elected(&view), "10.0.0.1:6379", "the others never heard of it");
    }

    /// Ablation: compared by name, each of the two reports is a new master.
    #[test]
    fn one_server_under_two_names_is_one_server() {
        let (mut view, now) = (View::default(), Instant::now());
        let by_name = |name: &str| {
            let mut report = report(1, 3);
            report.master.address.host = name.to_owned();
            report
        };
        assert!(view.record(&host(101), report(1, 3), 3, now).is_some());
        assert!(view.record(&host(102), by_name("redis-1"), 3, now).is_none());
        assert!(view.record(&host(103), by_name("REDIS-1"), 3, now).is_none());
        assert!(view.record(&host(102), report(1, 3), 3, now).is_none());
        assert_eq!(view.version, 1);
    }

    /// Ablation: where [`View::may_lead`] lets every server take part, the third sentinel moves the master: the first `is_none()`
    /// fails.
    #[test]
    fn a_minority_of_an_earlier_failover_never_takes_over_from_silent_sentinels() {
        let (mut view, start) = (View::default(), Instant::now());
        view.record(&host(101), report(2, 7), 3, start);
        view.record(&host(102), report(2, 7), 3, start);
        let now = start + REPORT_TTL + Duration::from_secs(1);
        assert!(view.record(&host(103), report(1, 6), 3, now).is_none());
        assert_eq!(elected(&view), "10.0.0.2:6379");
        let later = now + REPORT_TTL + Duration::from_secs(1);
        assert!(view.record(&host(103), report(1, 6), 3, later).is_none(), "nor after a longer time");
        view.record(&host(102), report(1, 6), 3, later);
        assert_eq!(elected(&view), "10.0.0.1:6379", "two of three: the sentinels were replaced");
        assert!(view.record(&host(101), report(2, 7), 3, later).is_some(), "and the later failover is known again");
    }

    /// Ablation: where [`View::may_lead`] lets every server take part, the third sentinel moves the master in round 2.
    #[test]
    fn a_minority_never_takes_over_from_silent_sentinels_where_epochs_do_not_decide() {
        for epoch in [None, Some(0), Some(9)] {
            let (mut view, start) = (View::default(), Instant::now());
            view.record(&host(101), report(1, epoch), 3, start);
            view.record(&host(102), report(1, epoch), 3, start);
            for round in 1..=10 {
                let now = start + REPORT_TTL * round;
                assert!(view.record(&host(103), report(2, epoch), 3, now).is_none(), "round {round}, {epoch:?}");
            }
            let now = start + REPORT_TTL * 11;
            assert!(view.record(&host(102), report(2, epoch), 3, now).is_some(), "two of three, {epoch:?}");
        }
    }

    /// Ablation: without the count of failed dials the lost server is kept ("left: false, right: true"); where a success does
    /// not end the count, the master moves after "one failure".
    #[test]
    fn a_minority_is_believed_where_the_elected_server_is_lost() {
        let lost = |view: &mut View| view.dialled(&Address::Tcp(host(1)), true);
        for (epoch, moves) in [(None, true), (Some(9), true), (Some(8), false)] {
            let (mut view, start) = (View::default(), Instant::now());
            view.record(&host(101), report(1, epoch.map(|_| 9)), 3, start);
            view.record(&host(102), report(1, epoch.map(|_| 9)), 3, start);
            let now = start + REPORT_TTL + Duration::from_secs(1);
            lost(&mut view);
            view.dialled(&Address::Tcp(host(1)), false);
            lost(&mut view);
            view.dialled(&Address::Tcp(host(7)), true);
            assert!(view.record(&host(103), report(2, epoch), 3, now).is_none(), "one failure, {epoch:?}");
            lost(&mut view);
            assert_eq!(view.record(&host(103), report(2, epoch), 3, now).is_some(), moves, "{epoch:?}");
        }
    }

    /// Ablation: where every failed dial counts, the connections leave a server to which the shared link is up.
    #[test]
    fn failed_dials_beside_a_link_that_is_up_do_not_count() {
        let (mut view, start) = (View::default(), Instant::now());
        let address = Address::Tcp(host(1));
        view.record(&host(101), report(1, None), 3, start);
        view.record(&host(102), report(1, None), 3, start);
        let link = view.link_token(&address);
        assert!(link.is_some() && view.link_token(&Address::Tcp(host(2))).is_none());
        let now = start + REPORT_TTL + Duration::from_secs(1);
        for _ in 0..5 {
            view.dialled(&address, true);
        }
        assert!(view.record(&host(103), report(2, None), 3, now).is_none(), "the link is up");
        drop(link);
        for _ in 0..LOST_AFTER {
            view.dialled(&address, true);
        }
        assert!(view.record(&host(103), report(2, None), 3, now).is_some(), "no link is up");
    }

    /// Ablation: where the first report confirms the server, the stale sentinel that answered first is believed: "two of the
    /// three that answer" fails.
    #[test]
    fn a_server_that_no_majority_has_named_gives_way_to_more_votes() {
        let (mut view, now) = (View::default(), Instant::now());
        view.record(&host(101), report(1, None), 5, now);
        assert!(view.record(&host(102), report(2, None), 5, now).is_none());
        assert!(view.record(&host(103), report(2, None), 5, now).is_some(), "two of the three that answer");
    }

    #[test]
    fn a_forgotten_sentinel_has_no_vote() {
        let (mut view, now) = (View::default(), Instant::now());
        view.record(&host(102), report(2, 9), 1, now);
        assert!(view.is_settled(1, now, now));
        view.forget(&host(102));
        assert!(!view.is_settled(1, now, now));
    }

    /// Ablation: with an unknown epoch below every known one, the report of the sentinel that died with the master wins: the
    /// first `is_some()` fails.
    #[test]
    fn an_unknown_epoch_does_not_lose_against_an_old_report_with_one() {
        let (mut view, start) = (View::default(), Instant::now());
        for n in [101, 102, 103] {
            view.record(&host(n), report(1, 6), 3, start);
        }
        let announced = Report { announced: true, ..report(2, None) };
        let now = start + Duration::from_secs(1);
        assert!(view.record(&host(102), announced.clone(), 3, now).is_some());
        assert!(view.record(&host(103), announced, 3, now).is_none());
        let later = now + ANNOUNCEMENT_TTL + Duration::from_secs(1);
        assert!(view.record(&host(103), report(2, None), 3, later).is_none());
        assert_eq!(elected(&view), "10.0.0.2:6379", "two against the old report of the first");
    }
}
