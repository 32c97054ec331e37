//! Which server is the master, by what all sentinels have reported.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::config::HostPort;
use crate::wire::place::Master;

/// A report that is older than this says nothing about the present: sentinels are polled more often than that.
const REPORT_TTL: Duration = Duration::from_secs(20);
/// For how long an announcement counts more than other sentinels' reports where epochs are unknown: sentinels pass a
/// failover on to each other within two seconds.
const ANNOUNCEMENT_TTL: Duration = Duration::from_secs(3);
/// For how long an announcement spares a dial the question where the master is.
const SETTLED_BY_ANNOUNCEMENT: Duration = Duration::from_secs(1);

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
    version: u64,
}

impl View {
    /// Records what a sentinel said. Returns the master if it is another server than the last one.
    pub(super) fn record(&mut self, sentinel: &HostPort, report: Report, now: Instant) -> Option<Master> {
        self.reports.insert(sentinel.clone(), (report, now));
        self.elect(now)
    }

    /// Removes a sentinel that is no longer asked.
    pub(super) fn forget(&mut self, sentinel: &HostPort) {
        self.reports.remove(sentinel);
    }

    /// The master, as far as it is known.
    pub(super) fn master(&self) -> Option<Master> {
        let server = self.elected.as_ref()?;
        Some(Master {
            version: self.version,
            address: crate::config::Address::Tcp(server.address.clone()),
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
    /// epochs are equal or unknown, a fresh announcement does, then the number of sentinels, then the one that was
    /// elected before.
    fn elect(&mut self, now: Instant) -> Option<Master> {
        self.reports.retain(|_, (_, at)| now.saturating_duration_since(*at) <= REPORT_TTL);
        let rank = |candidate: &Server| {
            let (mut epoch, mut announced, mut votes, mut latest) = (None, None, 0_usize, None);
            for (report, at) in self.reports.values().filter(|(report, _)| report.master.is(candidate)) {
                epoch = epoch.max(report.epoch);
                votes += 1;
                latest = latest.max(Some(*at));
                if report.announced && now.saturating_duration_since(*at) <= ANNOUNCEMENT_TTL {
                    announced = announced.max(Some(*at));
                }
            }
            let is_elected = self.elected.as_ref().is_some_and(|elected| elected.is(candidate));
            (epoch, announced, votes, is_elected, latest)
        };
        let best = self.reports.values().map(|(report, _)| &report.master).max_by_key(|server| rank(server))?.clone();
        if self.elected.as_ref().is_some_and(|elected| elected.is(&best)) {
            return None;
        }
        self.elected = Some(best);
        self.version += 1;
        self.master()
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
            view.record(&host(101), report(2, 7), now);
            view.record(&host(102), report(2, 7), now);
            assert!(view.record(&host(103), report(1, 6), now).is_none());
        }
        assert_eq!((elected(&view).as_str(), view.version), ("10.0.0.2:6379", 1));
    }

    #[test]
    fn a_higher_epoch_wins_over_a_stale_majority() {
        let (mut view, now) = (View::default(), Instant::now());
        view.record(&host(101), report(1, 6), now);
        view.record(&host(102), report(1, 6), now);
        assert!(!view.is_settled(3, now + Duration::from_millis(1), now), "reports of before");
        assert!(view.is_settled(3, now, now));
        let moved = view.record(&host(103), report(2, 7), now).expect("moved");
        assert_eq!((moved.address.to_string().as_str(), moved.version), ("10.0.0.2:6379", 2));
        assert!(!view.is_settled(3, now, now), "one of three");
    }

    #[test]
    fn votes_decide_where_no_failover_was_and_where_epochs_are_unknown() {
        for epoch in [Some(0), None] {
            let (mut view, now) = (View::default(), Instant::now());
            view.record(&host(101), report(1, epoch), now);
            view.record(&host(102), report(2, epoch), now);
            assert_eq!(elected(&view), "10.0.0.1:6379", "as good as the first");
            view.record(&host(103), report(2, epoch), now);
            assert_eq!(elected(&view), "10.0.0.2:6379");
        }
    }

    /// Ablation: without its precedence the announcement waits for the second sentinel.
    #[test]
    fn an_announcement_wins_while_epochs_are_unknown_and_expires() {
        let (mut view, start) = (View::default(), Instant::now());
        for n in [101, 102, 103] {
            view.record(&host(n), report(1, None), start);
        }
        let announcement = Report { announced: true, ..report(2, None) };
        let now = start + Duration::from_secs(1);
        assert!(view.record(&host(101), announcement.clone(), now).is_some());
        assert!(view.is_settled(3, now + Duration::from_secs(1), now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(5);
        view.record(&host(102), report(1, None), later);
        view.record(&host(103), report(1, None), later);
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
        assert!(view.record(&host(101), report(1, 3), now).is_some());
        assert!(view.record(&host(102), by_name("redis-1"), now).is_none());
        assert!(view.record(&host(103), by_name("REDIS-1"), now).is_none());
        assert!(view.record(&host(102), report(1, 3), now).is_none());
        assert_eq!(view.version, 1);
    }

    #[test]
    fn sentinels_that_fall_silent_lose_their_vote() {
        let (mut view, start) = (View::default(), Instant::now());
        view.record(&host(101), report(1, 9), start);
        let now = start + REPORT_TTL + Duration::from_secs(1);
        assert!(view.record(&host(102), report(2, 8), now).is_some());
        assert_eq!(elected(&view), "10.0.0.2:6379");
        view.forget(&host(102));
        assert!(!view.is_settled(1, now, now));
    }
}
