//! What a cluster as a whole is doing, out of what its nodes do.

use std::time::{Duration, Instant};

use super::Router;
use crate::events::{Cause, CauseKind, ConnectionEvent, ConnectionState};

/// How long the first dials to the other nodes may take when commands flow to one. A node that swallows packets takes the
/// whole connect timeout, and must not delay the others.
const GRACE: Duration = Duration::from_millis(500);

/// The state that was published last.
pub(super) struct PublishedStatus {
    pub(super) state: ConnectionState,
    generation: u64,
    attempt: u32,
    lost_at: Option<Instant>,
    /// The first node is ready: when the cluster is said to be, whatever the others do.
    ready_at: Option<Instant>,
    /// The last refresh failed, and that was not published.
    news: Option<Cause>,
}

impl Default for PublishedStatus {
    fn default() -> Self {
        Self { state: ConnectionState::Idle, generation: 0, attempt: 0, lost_at: None, ready_at: None, news: None }
    }
}

impl PublishedStatus {
    /// When the state may change for no other reason than the time.
    pub(super) fn due(&self) -> Option<Instant> {
        // A time that nothing consumes would be a timer that fires in every poll.
        self.ready_at.filter(|_| self.state == ConnectionState::Connecting)
    }

    /// A refresh failed.
    pub(super) fn failed(&mut self, cause: &Cause) {
        self.news = Some(cause.clone());
        self.attempt = self.attempt.saturating_add(1);
    }
}

impl Router {
    /// Ready means that commands flow to some node at least, and that the others had the time for a first dial.
    fn state(&mut self, now: Instant) -> ConnectionState {
        let was_ready = self.present.state == ConnectionState::Ready;
        if self.closed.is_some() {
            return ConnectionState::Closed;
        }
        if self.draining.is_some() {
            return ConnectionState::Draining;
        }
        if !self.demanded {
            return ConnectionState::Idle;
        }
        if self.map.is_empty() {
            return match &self.trouble {
                None => ConnectionState::Connecting,
                Some(cause) if cause.is_refusal() => ConnectionState::Parked,
                Some(_) => ConnectionState::Backoff,
            };
        }
        let (mut ready, mut untried, mut parked, mut all) = (0, 0, 0, 0);
        for node in self.nodes.primaries() {
            all += 1;
            match node.driver.state() {
                ConnectionState::Ready => ready += 1,
                ConnectionState::Parked => parked += 1,
                _ if node.driver.is_untried() => untried += 1,
                _ => {}
            }
        }
        if ready == 0 {
            self.present.ready_at = None;
        }
        match (ready, untried) {
            (1.., 0) => ConnectionState::Ready,
            (1.., _) if was_ready => ConnectionState::Ready,
            (1.., _) if *self.present.ready_at.get_or_insert(now + GRACE) <= now => ConnectionState::Ready,
            (_, 1..) => ConnectionState::Connecting,
            _ if all > 0 && parked == all => ConnectionState::Parked,
            _ => ConnectionState::Backoff,
        }
    }

    /// Why it is not ready.
    fn cause(&self) -> Option<Cause> {
        let node = || self.nodes.primaries().find_map(|node| node.driver.cause().cloned());
        self.closed.clone().or_else(|| self.trouble.clone().filter(|_| self.map.is_empty())).or_else(node)
    }

    /// Publishes the changes of the state.
    pub(super) fn present(&mut self) {
        let now = Instant::now();
        let (before, state) = (self.present.state, self.state(now));
        let news = self.present.news.take();
        if before == state && (news.is_none() || state == ConnectionState::Ready) {
            return;
        }
        self.present.state = state;
        let cause = self.cause();
        let why = || cause.clone().unwrap_or_else(|| Cause::new(CauseKind::Broken, "no node of the cluster answers"));
        let generation = self.present.generation;
        let retry_in = self.refresh.due().map_or_else(Default::default, |due| due.saturating_duration_since(now));
        let mut events = Vec::new();
        if before == ConnectionState::Ready && state != ConnectionState::Draining {
            self.present.lost_at = Some(now);
            let (replayed, failed, unknown) = (0, 0, 0);
            events.push(ConnectionEvent::Disconnected { generation, cause: why(), replayed, failed, unknown });
            self.fanout.update(|status| status.disconnects += 1);
        }
        match state {
            ConnectionState::Connecting => {
                self.present.generation += 1;
                let (generation, attempt) = (self.present.generation, self.present.attempt + 1);
                events.push(ConnectionEvent::Connecting { generation, attempt });
            }
            ConnectionState::Ready => {
                let outage = self.present.lost_at.take().map(|lost| now.saturating_duration_since(lost));
                let attempts = std::mem::take(&mut self.present.attempt) + 1;
                events.push(ConnectionEvent::Connected { generation, attempts, outage });
            }
            ConnectionState::Backoff => {
                let attempt = self.present.attempt;
                events.push(ConnectionEvent::Retrying { attempt, delay: retry_in, cause: why() });
            }
            ConnectionState::Parked => events.push(ConnectionEvent::Refused { cause: why(), retry_in }),
            ConnectionState::Draining => events.push(ConnectionEvent::Draining),
            ConnectionState::Closed => events.push(ConnectionEvent::Closed { cause: why() }),
            ConnectionState::Idle => {}
        }
        let (generation, attempt) = (self.present.generation, self.present.attempt);
        self.fanout.update(|status| {
            if status.state != state {
                status.since = now;
            }
            (status.state, status.generation, status.attempt) = (state, generation, attempt);
            status.cause = if state == ConnectionState::Ready { None } else { cause.clone() };
        });
        for event in events {
            self.emit(event);
        }
    }

    pub(crate) fn emit(&mut self, event: ConnectionEvent) {
        event.log("shared");
        self.fanout.publish(&event);
    }

    /// Publishes the events of the nodes. A node whose link is lost may have been replaced.
    pub(super) fn publish_now(&mut self) {
        while let Ok(event) = self.node_events.try_recv() {
            if let ConnectionEvent::Node { event, .. } = &event
                && matches!(
                    **event,
                    ConnectionEvent::Disconnected { .. }
                        | ConnectionEvent::Retrying { .. }
                        | ConnectionEvent::Refused { .. }
                )
            {
                self.refresh.wanted(Instant::now());
            }
            self.fanout.publish(&event);
        }
    }
}
