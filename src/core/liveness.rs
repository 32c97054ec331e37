//! Whether a silent link is dead. Nothing is sent to find out while replies come in: only an idle link is
//! pinged.

use std::time::{Duration, Instant};

/// What a look at the link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to worry about before this moment.
    Look(Instant),
    /// Idle for long: ask whether somebody is there.
    Ping,
    /// Requests are out and not one byte came back for too long.
    Dead,
}

/// The evidence of one link.
#[derive(Debug)]
pub(crate) struct Liveness {
    patience: Duration,
    last_byte: Instant,
    /// Since when something has been unanswered without interruption, if anything is.
    waiting_since: Option<Instant>,
    /// Until when the server may be silent by design, because somebody asked it to block.
    held_until: Option<Instant>,
    /// When the next look was due. A look that comes much later means that this thread was stalled, and
    /// then the silence may be its own.
    due: Instant,
}

impl Liveness {
    pub(crate) fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, last_byte: now, waiting_since: None, held_until: None, due: now + patience }
    }

    /// A request was sent; the server may hold its answer back for `hold`.
    pub(crate) fn sent(&mut self, hold: Duration, now: Instant) {
        self.waiting_since.get_or_insert(now);
        if !hold.is_zero() {
            let until = now + hold;
            self.held_until = Some(self.held_until.map_or(until, |earlier| earlier.max(until)));
        }
    }

    /// Bytes came; `idle` says that nothing is owed any more.
    pub(crate) fn received(&mut self, idle: bool, now: Instant) {
        self.last_byte = now;
        if idle {
            self.waiting_since = None;
            self.held_until = None;
        } else {
            self.waiting_since = Some(now);
        }
    }

    pub(crate) fn look(&mut self, now: Instant) -> Verdict {
        let silent_since = self.waiting_since.map_or(self.last_byte, |since| since.max(self.last_byte));
        let free_from = self.held_until.map_or(silent_since, |until| until.max(silent_since));
        let verdict_at = free_from + self.patience;
        if now < verdict_at {
            self.due = verdict_at;
            return Verdict::Look(verdict_at);
        }
        if self.waiting_since.is_none() {
            return Verdict::Ping;
        }
        let late = now.saturating_duration_since(self.due.max(verdict_at));
        if late > self.patience / 4 {
            // Whatever arrived while we were stalled has not been read yet: read first, judge later.
            self.due = now + self.patience / 8;
            return Verdict::Look(self.due);
        }
        Verdict::Dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_idle_link_is_pinged_and_a_mute_one_is_dead() {
        let start = Instant::now();
        let mut link = Liveness::new(PATIENCE, start);
        assert_eq!(link.look(start), Verdict::Look(start + PATIENCE));
        assert_eq!(link.look(start + PATIENCE), Verdict::Ping);
        link.sent(Duration::ZERO, start + PATIENCE);
        assert_eq!(link.look(start + seconds(19)), Verdict::Look(start + seconds(20)));
        assert_eq!(link.look(start + seconds(20)), Verdict::Dead);
    }

    #[test]
    fn slow_is_not_dead_while_other_bytes_arrive() {
        let start = Instant::now();
        let mut link = Liveness::new(PATIENCE, start);
        link.sent(Duration::ZERO, start);
        for second in 1..100 {
            link.received(false, start + seconds(second));
            assert!(matches!(link.look(start + seconds(second)), Verdict::Look(_)));
        }
    }

    #[test]
    fn a_blocking_command_excuses_the_silence_it_asked_for() {
        let start = Instant::now();
        let mut link = Liveness::new(PATIENCE, start);
        link.sent(seconds(60), start);
        assert_eq!(link.look(start + seconds(60)), Verdict::Look(start + seconds(70)));
        assert_eq!(link.look(start + seconds(70)), Verdict::Dead);
        link.received(true, start + seconds(70));
        assert!(matches!(link.look(start + seconds(71)), Verdict::Look(_)));
    }

    #[test]
    fn a_stalled_thread_reads_before_it_judges() {
        let start = Instant::now();
        let mut link = Liveness::new(PATIENCE, start);
        link.sent(Duration::ZERO, start);
        let late = start + seconds(300);
        let Verdict::Look(again) = link.look(late) else { panic!("judged at once") };
        assert_eq!(link.look(again), Verdict::Dead, "silence goes on after the stall");
    }
}
