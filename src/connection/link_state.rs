//! The state machine of a connection: states, events and actions.

use std::time::{Duration, Instant};

use crate::connection::retry::{ReconnectPolicy, Retry};
use crate::events::{Cause, CauseKind, ConnectionState};

/// A link that lived as long and was then closed while idle has done its duty.
const SERVED: Duration = Duration::from_millis(500);

/// What the connection is doing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LinkPhase {
    Idle,
    Connecting { generation: u64, attempt: u32 },
    Ready { generation: u64, since: Instant, proven: bool },
    Backoff { attempt: u32, until: Instant, cause: Cause },
    Parked { until: Instant, cause: Cause },
    Closed { cause: Cause },
}

/// What happened. Events of a connection carry its generation: one that was given up may still report.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A command was admitted, or a connection was requested.
    Demand,
    /// The handshake is done and PING was answered.
    Established { generation: u64 },
    /// The dial or the handshake failed.
    Failed { generation: u64, cause: Cause },
    /// An established link is unusable.
    Lost { generation: u64, cause: Cause },
    /// The moment of [`LinkState::wake_at`] has come.
    Tick,
    /// Admit nothing more, and finish the admitted commands until the deadline.
    Shutdown { deadline: Instant },
    /// Nothing is queued or in flight any more.
    Drained,
    /// The cause may be fixed: a delayed attempt is made now.
    ReconnectNow,
    /// The server to dial is another one than that of the dial under way.
    Redirected,
    /// The supervisor gave up.
    Abort { cause: Cause },
}

/// What to do about it, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Start a dial of this generation; an older one is to be dropped.
    Dial { generation: u64, attempt: u32 },
    /// The link is up: tell, and release the queue in order.
    Release { generation: u64, attempts: u32 },
    /// Drop the socket and settle the commands in flight by the delivery contract.
    Settle { generation: u64, cause: Cause },
    /// Tell that another attempt follows.
    Retry { attempt: u32, delay: Duration, cause: Cause },
    /// Report that the server refuses the connection, and fail the commands that wait for it.
    Park { delay: Duration, cause: Cause },
    /// Tell that nothing more is admitted.
    Drain,
    /// It is over: drop everything and answer everybody.
    Finish { cause: Cause },
}

/// The machine of one connection.
pub(crate) struct LinkState {
    phase: LinkPhase,
    draining: Option<Instant>,
    generation: u64,
    attempt: u32,
    /// A dial has ended, with a link or without.
    has_dialled: bool,
    retry: Retry,
}

impl LinkState {
    pub(crate) fn new(policy: ReconnectPolicy, chance: fastrand::Rng) -> Self {
        let retry = Retry::new(policy, chance);
        Self { phase: LinkPhase::Idle, draining: None, generation: 0, attempt: 0, has_dialled: false, retry }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, LinkPhase::Ready { .. })
    }

    /// Whether the first dial is under way. One that was redirected is the same dial.
    pub(crate) fn is_first_dial(&self) -> bool {
        !self.has_dialled && matches!(self.phase, LinkPhase::Connecting { .. })
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// The state that users see.
    pub(crate) fn state(&self) -> ConnectionState {
        match (&self.phase, self.draining) {
            (LinkPhase::Closed { .. }, _) => ConnectionState::Closed,
            (_, Some(_)) => ConnectionState::Draining,
            (LinkPhase::Idle, None) => ConnectionState::Idle,
            (LinkPhase::Connecting { .. }, None) => ConnectionState::Connecting,
            (LinkPhase::Ready { .. }, None) => ConnectionState::Ready,
            (LinkPhase::Backoff { .. }, None) => ConnectionState::Backoff,
            (LinkPhase::Parked { .. }, None) => ConnectionState::Parked,
        }
    }

    /// Why there is no connection, if there is none and it is known.
    pub(crate) fn cause(&self) -> Option<&Cause> {
        match &self.phase {
            LinkPhase::Backoff { cause, .. } | LinkPhase::Parked { cause, .. } | LinkPhase::Closed { cause } => {
                Some(cause)
            }
            LinkPhase::Idle | LinkPhase::Connecting { .. } | LinkPhase::Ready { .. } => None,
        }
    }

    /// When [`Event::Tick`] is due.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let own = match self.phase {
            LinkPhase::Backoff { until, .. } | LinkPhase::Parked { until, .. } => Some(until),
            LinkPhase::Ready { since, proven: false, .. } => Some(since + self.retry.policy().healthy_after()),
            LinkPhase::Closed { .. } => return None,
            _ => None,
        };
        own.into_iter().chain(self.draining).min()
    }

    /// Moves on. Events of another generation, and everything in `Closed`, change nothing.
    pub(crate) fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        if matches!(self.phase, LinkPhase::Closed { .. }) {
            return Vec::new();
        }
        match (event, &self.phase) {
            (Event::Demand | Event::ReconnectNow, LinkPhase::Idle) => self.dial(),
            (Event::ReconnectNow, LinkPhase::Backoff { .. } | LinkPhase::Parked { .. }) => self.dial(),
            (Event::Redirected, LinkPhase::Connecting { attempt, .. }) => {
                let attempt = *attempt;
                self.dial_as(attempt)
            }
            (Event::Established { generation }, LinkPhase::Connecting { generation: current, .. })
                if generation == *current =>
            {
                self.phase = LinkPhase::Ready { generation, since: now, proven: false };
                self.has_dialled = true;
                vec![Action::Release { generation, attempts: self.attempt }]
            }
            (Event::Failed { generation, cause }, LinkPhase::Connecting { generation: current, .. })
                if generation == *current =>
            {
                self.has_dialled = true;
                self.back_off(cause, now)
            }
            (Event::Lost { generation, cause }, LinkPhase::Ready { generation: current, since, .. })
                if generation == *current =>
            {
                // A tick that was due but not delivered must not cost a stable link its fresh start.
                let lived = now.saturating_duration_since(*since);
                if lived >= self.retry.policy().healthy_after() {
                    self.fresh_start();
                } else if cause.kind() == CauseKind::IdleClosed && lived >= SERVED {
                    // A server that closes idle links does so again and again, and is well: the delays must not
                    // grow until there is no link for half a minute. They restart at most once in `SERVED`.
                    self.fresh_start();
                }
                let mut actions = vec![Action::Settle { generation, cause: cause.clone() }];
                actions.extend(self.back_off(cause, now));
                actions
            }
            (Event::Tick, _) => self.tick(now),
            (Event::Shutdown { deadline }, _) => {
                let first = self.draining.is_none();
                self.draining = Some(self.draining.map_or(deadline, |earlier| earlier.min(deadline)));
                if first { vec![Action::Drain] } else { Vec::new() }
            }
            (Event::Drained, _) if self.draining.is_some() => self.close(Cause::new(CauseKind::Shutdown, "shut down")),
            (Event::Abort { cause }, _) => self.close(cause),
            _ => Vec::new(),
        }
    }

    fn dial(&mut self) -> Vec<Action> {
        self.attempt += 1;
        self.dial_as(self.attempt)
    }

    fn dial_as(&mut self, attempt: u32) -> Vec<Action> {
        self.generation += 1;
        self.phase = LinkPhase::Connecting { generation: self.generation, attempt };
        vec![Action::Dial { generation: self.generation, attempt }]
    }

    fn back_off(&mut self, cause: Cause, now: Instant) -> Vec<Action> {
        if cause.is_refusal() {
            let delay = self.retry.longest_delay();
            self.phase = LinkPhase::Parked { until: now + delay, cause: cause.clone() };
            return vec![Action::Park { delay, cause }];
        }
        let Some(delay) = self.retry.next_delay() else {
            return self.close(cause);
        };
        self.phase = LinkPhase::Backoff { attempt: self.attempt, until: now + delay, cause: cause.clone() };
        vec![Action::Retry { attempt: self.attempt, delay, cause }]
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.draining.is_some_and(|deadline| deadline <= now) {
            return self.close(Cause::new(CauseKind::Shutdown, "the deadline of the shutdown passed"));
        }
        match &mut self.phase {
            LinkPhase::Backoff { until, .. } | LinkPhase::Parked { until, .. } if *until <= now => self.dial(),
            LinkPhase::Ready { since, proven, .. }
                if !*proven && now.saturating_duration_since(*since) >= self.retry.policy().healthy_after() =>
            {
                *proven = true;
                self.fresh_start();
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// The only reset of the delays: never on connect, or a server that accepts and closes is hammered.
    fn fresh_start(&mut self) {
        self.retry.reset();
        self.attempt = 0;
    }

    fn close(&mut self, cause: Cause) -> Vec<Action> {
        let mut actions = Vec::new();
        if let LinkPhase::Ready { generation, .. } = self.phase {
            actions.push(Action::Settle { generation, cause: cause.clone() });
        }
        self.phase = LinkPhase::Closed { cause: cause.clone() };
        actions.push(Action::Finish { cause });
        actions
    }
}

#[cfg(test)]
mod tests;
