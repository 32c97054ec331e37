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
    /// No verdict before this, whatever the rest says.
    grace: Option<Instant>,
    written: u64,
}

impl Liveness {
    pub(crate) fn new(patience: Duration, now: Instant) -> Self {
        Self { patience, last_byte: now, waiting_since: None, held_until: None, grace: None, written: 0 }
    }

    /// A request was sent; the server may hold its answer back for `hold`.
    pub(crate) fn sent(&mut self, hold: Duration, now: Instant) {
        self.waiting_since.get_or_insert(now);
        if !hold.is_zero() {
            let until = now + hold;
            self.held_until = Some(self.held_until.map_or(until, |earlier| earlier.max(until)));
        }
    }

    /// The socket is full, after `written` bytes in all. One that takes more than before has a peer that takes
    /// them: half a gigabyte on a slow line is answered long after the patience for an answer.
    pub(crate) fn wrote(&mut self, written: u64, now: Instant) {
        if written > self.written {
            self.written = written;
            self.grace = None;
            self.waiting_since = self.waiting_since.map(|_| now);
        }
    }

    /// Bytes came; `idle` says that nothing is owed any more.
    pub(crate) fn received(&mut self, idle: bool, now: Instant) {
        self.last_byte = now;
        self.grace = None;
        if idle {
            self.waiting_since = None;
            self.held_until = None;
        } else {
            self.waiting_since = Some(now);
        }
    }

    /// For how long something has been owed and not one byte came, by design or not.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        let since = self.waiting_since.map(|since| since.max(self.last_byte));
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// When [`look`](Self::look) may have something to say.
    pub(crate) fn next_look(&self) -> Instant {
        let silent_since = self.waiting_since.map_or(self.last_byte, |since| since.max(self.last_byte));
        let free_from = self.held_until.map_or(silent_since, |until| until.max(silent_since));
        self.grace.unwrap_or(free_from + self.patience)
    }

    pub(crate) fn look(&mut self, now: Instant) -> Verdict {
        let due = self.next_look();
        if now < due {
            return Verdict::Look(due);
        }
        if self.waiting_since.is_none() {
            self.grace = Some(now + self.patience);
            return Verdict::Ping;
        }
        if now - due > self.patience / 4 {
            // We come late, so this thread was stalled, and the silence may be its own: read first what
            // arrived meanwhile, judge later.
            let again = now + self.patience / 8;
            self.grace = Some(again);
            return Verdict::Look(again);
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
    fn silence_counts_while_something_is_owed() {
        let start = Instant::now();
        let mut link = Liveness::new(PATIENCE, start);
        assert_eq!(link.silent_for(start + seconds(9)), Duration::ZERO, "nobody has asked");
        link.sent(Duration::ZERO, start + seconds(1));
        link.sent(Duration::ZERO, start + seconds(2));
        assert_eq!(link.silent_for(start + seconds(3)), seconds(2), "since the first of them");
        link.received(false, start + seconds(4));
        assert_eq!(link.silent_for(start + seconds(5)), seconds(1));
        link.received(true, start + seconds(6));
        assert_eq!(link.silent_for(start + seconds(9)), Duration::ZERO);
    }

    #[test]
    fn an_idle_link_is_pinged_and_a_mute_one_is_dead() {
        let start = Instant::now();
        let mut link = Liveness::new(PATIENCE, start);
        assert_eq!(link.look(start), Verdict::Look(start + PATIENCE));
        assert_eq!(link.look(start + PATIENCE), Verdict::Ping);
        link.sent(Duration::ZERO, start + PATIENCE);
        assert_eq!(link.next_look(), start + seconds(20));
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
    fn a_request_that_is_still_being_written_is_no_silence() {
        let start = Instant::now();
        let mut link = Liveness::new(PATIENCE, start);
        link.sent(Duration::ZERO, start);
        for second in 1..100 {
            link.wrote(second, start + seconds(second));
            assert!(matches!(link.look(start + seconds(second)), Verdict::Look(_)));
        }
        link.wrote(99, start + seconds(105));
        assert_eq!(link.look(start + seconds(109)), Verdict::Dead, "a full socket that takes nothing is");
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
