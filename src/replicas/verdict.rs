//! Selects the replica for the next read, and decides whether a read goes to the primary.

use std::time::{Duration, Instant};

use redis::Value;

use crate::connection::verdict;
use crate::connection::verdict::{CommandFacts, ServerRefusal, not_run, unit_errors};
use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;

/// How long a replica that is not ready gets no reads.
const REST: Duration = Duration::from_millis(500);
/// A replica with reads in flight that sent no byte for this time gets no more reads: it may be frozen.
pub(crate) const SILENCE: Duration = Duration::from_millis(500);

/// The meaning of the outcome of a read at a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplicaVerdict {
    /// The caller gets it.
    Keep,
    /// The read is sent to the primary.
    Primary,
    /// The read is sent to the primary, and this replica gets no reads for a while, because it is not ready.
    Rest,
}

/// Classifies the outcome of a read. If a replica could not reply to one of several commands all are sent to the
/// primary, because they only read.
pub(crate) fn judge(outcome: &Result<Value>, frame: &Frame) -> ReplicaVerdict {
    match (outcome, frame.unit()) {
        (Ok(Value::Array(replies)), Some(unit)) => {
            let mut errors = unit_errors(unit, replies).map(|(reply, facts)| of_refusal(not_run(reply, facts)));
            errors.find(|verdict| *verdict != ReplicaVerdict::Keep).unwrap_or(ReplicaVerdict::Keep)
        }
        (Ok(_), _) => ReplicaVerdict::Keep,
        (Err(error), _) => of_error(error, frame),
    }
}

fn of_error(error: &Error, frame: &Frame) -> ReplicaVerdict {
    match error.kind() {
        ErrorKind::Server => {
            of_refusal(verdict::of_error(error, CommandFacts::of(frame)).and_then(verdict::ErrorVerdict::not_run))
        }
        // A failure of its link, its queue or its login, which another server does not share.
        ErrorKind::Disconnected
        | ErrorKind::Refused
        | ErrorKind::Protocol
        | ErrorKind::Closed
        | ErrorKind::Overloaded => ReplicaVerdict::Primary,
        _ => ReplicaVerdict::Keep,
    }
}

fn of_refusal(refusal: Option<ServerRefusal>) -> ReplicaVerdict {
    match refusal {
        // The slot, the primary or the role of the replica is not the expected one, or the command writes after all.
        Some(
            ServerRefusal::Moved
            | ServerRefusal::Ask
            | ServerRefusal::TryAgain
            | ServerRefusal::ReadOnly
            | ServerRefusal::NoAuth,
        ) => ReplicaVerdict::Primary,
        Some(ServerRefusal::Loading | ServerRefusal::Busy | ServerRefusal::MasterDown | ServerRefusal::ClusterDown) => {
            ReplicaVerdict::Rest
        }
        Some(ServerRefusal::NoScript) | None => ReplicaVerdict::Keep,
    }
}

/// Whether a replica may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReplicaHealth {
    rests_until: Option<Instant>,
}

impl ReplicaHealth {
    /// Records that it is not ready.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.rests_until = Some(now + REST);
    }

    /// Whether it may get the next read. `silent_for`: how long it has reads in flight without having sent a byte. It
    /// gets reads again after it sent one, so a frozen replica delays only the reads that it already had.
    pub(crate) fn is_available(&self, silent_for: Duration, now: Instant) -> bool {
        silent_for < SILENCE && self.rests_until.is_none_or(|until| until <= now)
    }
}

/// Round-robin selection.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RoundRobin(usize);

impl RoundRobin {
    /// Starts with this index, so that clients start with different replicas.
    pub(crate) fn beginning_at(nth: u16) -> Self {
        Self(nth.into())
    }

    /// The next of `of` indices for which `can` holds.
    pub(crate) fn next(&mut self, of: usize, mut can: impl FnMut(usize) -> bool) -> Option<usize> {
        let next = (0..of).map(|step| (self.0.wrapping_add(step)) % of).find(|at| can(*at))?;
        self.0 = next + 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Fate;
    use proptest::prelude::*;

    fn server(code: &'static str) -> Result<Value> {
        Err(Error::server(code, None))
    }

    fn read() -> Frame {
        Frame::known("GET").key("k").read_only()
    }

    fn judge_one(outcome: &Result<Value>) -> ReplicaVerdict {
        judge(outcome, &read())
    }

    #[test]
    fn reads_that_a_replica_cannot_reply_to_go_to_the_primary() {
        for code in ["MOVED", "ASK", "TRYAGAIN", "READONLY", "NOAUTH"] {
            assert_eq!(judge_one(&server(code)), ReplicaVerdict::Primary, "{code}");
        }
        for code in ["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"] {
            assert_eq!(judge_one(&server(code)), ReplicaVerdict::Rest, "{code}");
        }
        for code in ["WRONGTYPE", "NOPERM", "ERR", "OOM"] {
            assert_eq!(judge_one(&server(code)), ReplicaVerdict::Keep, "{code}");
        }
        let of = |kind, fate| judge_one(&Err(Error::new(kind, fate, "x")));
        for fate in [Fate::NotSent, Fate::Unknown] {
            assert_eq!(of(ErrorKind::Disconnected, fate), ReplicaVerdict::Primary);
        }
        assert_eq!(of(ErrorKind::Overloaded, Fate::NotSent), ReplicaVerdict::Primary);
        assert_eq!(of(ErrorKind::Timeout, Fate::Unknown), ReplicaVerdict::Keep, "no time is left to ask the primary");
        assert_eq!(of(ErrorKind::Decode, Fate::Unknown), ReplicaVerdict::Keep);
        assert_eq!(judge_one(&Ok(Value::Nil)), ReplicaVerdict::Keep, "stale, but not an error");
        let script = Frame::known("EVAL_RO").arg("x").arg(1).key("k").read_only();
        assert_eq!(judge(&server("BUSY"), &script), ReplicaVerdict::Keep, "an error raised by the script");
    }

    #[test]
    fn one_refusal_sends_the_pipeline_to_the_primary() {
        let error = |line: &str| redis::parse_redis_value(line.as_bytes()).expect("an error");
        let replies = |line| Ok(Value::Array(vec![Value::Nil, error(line)]));
        let pair = Frame::join([read(), read()]);
        assert_eq!(judge(&replies("-MOVED 1 h:1\r\n"), &pair), ReplicaVerdict::Primary);
        assert_eq!(judge(&replies("-LOADING x\r\n"), &pair), ReplicaVerdict::Rest);
        assert_eq!(judge(&replies("-WRONGTYPE x\r\n"), &pair), ReplicaVerdict::Keep);
        assert_eq!(judge(&replies("-MOVED 1 h:1\r\n"), &read()), ReplicaVerdict::Keep, "data of a caller");
    }

    #[test]
    fn a_replica_gets_no_reads_while_it_is_not_ready_or_silent() {
        let (mut standing, now) = (ReplicaHealth::default(), Instant::now());
        assert!(standing.is_available(Duration::ZERO, now));
        assert!(standing.is_available(SILENCE / 2, now) && !standing.is_available(SILENCE, now));
        standing.rest(now);
        assert!(!standing.is_available(Duration::ZERO, now + REST / 2));
        assert!(standing.is_available(Duration::ZERO, now + REST));
    }

    proptest! {
        /// Available indices are selected equally often, whichever others are unavailable.
        #[test]
        fn round_robin_is_fair(can in proptest::collection::vec(any::<bool>(), 0..6), rounds in 1..20_usize) {
            let (mut turns, mut asked) = (RoundRobin::default(), vec![0; can.len()]);
            let able = can.iter().filter(|can| **can).count();
            for _ in 0..able * rounds {
                let next = turns.next(can.len(), |at| can[at]).expect("one is available");
                asked[next] += 1;
            }
            for (can, asked) in can.iter().zip(asked) {
                prop_assert_eq!(asked, if *can { rounds } else { 0 });
            }
            if able == 0 {
                prop_assert_eq!(turns.next(can.len(), |at| can[at]), None);
            }
        }
    }
}
