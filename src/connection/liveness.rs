//! Whether a link is dead. Nothing is sent to find out while replies come in: only an idle link is pinged.
//!
//! What counts is progress of the oldest command, not bytes: a peer that sends one byte every half second, or pushes and no
//! replies, would keep a link alive on which every command times out.

use std::time::{Duration, Instant};

/// What a look at the link says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LivenessVerdict {
    /// Nothing to worry about before this moment.
    CheckAt(Instant),
    /// Idle for too long: check the peer with PING.
    Ping,
    /// Requests are out, and the oldest of them has made no progress for too long.
    Dead,
}

/// The number of bytes of an arriving reply that count as progress: a slow line takes minutes for a large one.
const PART_OF_REPLY: usize = 16 * 1024;

/// After this time without progress a reply is not arriving any more.
const RECEIVING: Duration = Duration::from_secs(2);

/// What a read of the socket has brought.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Received {
    pub(crate) bytes: usize,
    /// A reply to a request is complete.
    pub(crate) replied: bool,
    /// Something else is complete, such as a push.
    pub(crate) other: bool,
    /// Nothing is owed any more.
    pub(crate) idle: bool,
}

/// The evidence of one link.
#[derive(Debug)]
pub(crate) struct Liveness {
    time_limit: Duration,
    /// How long the link is idle before it is pinged.
    idle_limit: Duration,
    last_byte: Instant,
    /// Since when the oldest request has made no progress, if there is one.
    waiting_since: Option<Instant>,
    /// Until when the server may be silent by design, because a command asked it to block.
    held_until: Option<Instant>,
    /// No verdict before this, whatever the rest says.
    grace: Option<Instant>,
    written: u64,
    /// How much of an incomplete reply has come.
    partial: usize,
}

impl Liveness {
    pub(crate) fn new(time_limit: Duration, now: Instant) -> Self {
        let (waiting_since, held_until, grace) = (None, None, None);
        let idle_limit = time_limit;
        Self { time_limit, idle_limit, last_byte: now, waiting_since, held_until, grace, written: 0, partial: 0 }
    }

    /// Pings an idle link after this time instead of the time limit.
    pub(crate) fn ping_after(&mut self, idle_limit: Duration) {
        self.idle_limit = idle_limit;
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
    /// them: half a gigabyte on a slow line is answered long after the time limit for a reply.
    pub(crate) fn wrote(&mut self, written: u64, now: Instant) {
        if written > self.written {
            self.written = written;
            self.grace = None;
            self.waiting_since = self.waiting_since.map(|_| now);
        }
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, received: Received, now: Instant) {
        self.last_byte = now;
        if received.idle {
            (self.waiting_since, self.held_until, self.grace, self.partial) = (None, None, None, 0);
            return;
        }
        let is_complete = received.replied || received.other;
        let before = self.partial;
        self.partial = if is_complete { 0 } else { before + received.bytes };
        if received.replied || self.partial / PART_OF_REPLY > before / PART_OF_REPLY {
            (self.waiting_since, self.grace) = (Some(now), None);
        }
    }

    /// For how long the oldest request has made no progress, by design or not.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        self.waiting_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether a large reply is arriving: a part of it has come lately.
    pub(crate) fn is_receiving(&self, now: Instant) -> bool {
        self.partial >= PART_OF_REPLY && self.silent_for(now) < RECEIVING
    }

    /// Whether the server may still hold an answer back by design.
    pub(crate) fn is_held(&self, now: Instant) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// When [`check`](Self::check) may have something to say.
    pub(crate) fn next_check(&self) -> Instant {
        let (silent_since, limit) = match self.waiting_since {
            Some(since) => (since, self.time_limit),
            None => (self.last_byte, self.idle_limit),
        };
        let free_from = self.held_until.map_or(silent_since, |until| until.max(silent_since));
        self.grace.unwrap_or(free_from + limit)
    }

    pub(crate) fn check(&mut self, now: Instant) -> LivenessVerdict {
        let due = self.next_check();
        if now < due {
            return LivenessVerdict::CheckAt(due);
        }
        if self.waiting_since.is_none() {
            self.grace = Some(now + self.time_limit);
            return LivenessVerdict::Ping;
        }
        if now - due > self.time_limit / 4 {
            // We come late, so this thread was stalled, and the silence may be its own: read first what
            // arrived meanwhile, judge later.
            let again = now + self.time_limit / 8;
            self.grace = Some(again);
            return LivenessVerdict::CheckAt(again);
        }
        LivenessVerdict::Dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME_LIMIT: Duration = Duration::from_secs(10);
    const REPLY: Received = Received { bytes: 5, replied: true, other: false, idle: false };
    const LAST_REPLY: Received = Received { idle: true, ..REPLY };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn silence_counts_while_something_is_owed() {
        let start = Instant::now();
        let mut link = Liveness::new(TIME_LIMIT, start);
        assert_eq!(link.silent_for(start + seconds(9)), Duration::ZERO, "no command is in flight");
        link.sent(Duration::ZERO, start + seconds(1));
        link.sent(Duration::ZERO, start + seconds(2));
        assert_eq!(link.silent_for(start + seconds(3)), seconds(2), "since the first of them");
        link.received(REPLY, start + seconds(4));
        assert_eq!(link.silent_for(start + seconds(5)), seconds(1));
        link.received(LAST_REPLY, start + seconds(6));
        assert_eq!(link.silent_for(start + seconds(9)), Duration::ZERO);
    }

    #[test]
    fn an_idle_link_is_pinged_and_a_mute_one_is_dead() {
        let start = Instant::now();
        let mut link = Liveness::new(TIME_LIMIT, start);
        assert_eq!(link.check(start), LivenessVerdict::CheckAt(start + TIME_LIMIT));
        assert_eq!(link.check(start + TIME_LIMIT), LivenessVerdict::Ping);
        link.sent(Duration::ZERO, start + TIME_LIMIT);
        assert_eq!(link.next_check(), start + seconds(20));
        assert_eq!(link.check(start + seconds(19)), LivenessVerdict::CheckAt(start + seconds(20)));
        assert_eq!(link.check(start + seconds(20)), LivenessVerdict::Dead);
    }

    #[test]
    fn slow_is_not_dead_while_other_replies_arrive() {
        let start = Instant::now();
        let mut link = Liveness::new(TIME_LIMIT, start);
        link.sent(Duration::ZERO, start);
        for second in 1..100 {
            link.received(REPLY, start + seconds(second));
            assert!(matches!(link.check(start + seconds(second)), LivenessVerdict::CheckAt(_)));
        }
    }

    /// Ablation: with every byte as progress neither link is ever `Dead`.
    #[test]
    fn bytes_that_answer_nothing_are_no_progress() {
        let trickle = Received { bytes: 1, ..Received::default() };
        let pushes = Received { bytes: 60_000, other: true, ..Received::default() };
        for received in [trickle, pushes] {
            let start = Instant::now();
            let mut link = Liveness::new(TIME_LIMIT, start);
            link.sent(Duration::ZERO, start);
            for second in 1..10 {
                link.received(received, start + seconds(second));
                assert!(matches!(link.check(start + seconds(second)), LivenessVerdict::CheckAt(_)), "{received:?}");
            }
            assert_eq!(link.silent_for(start + seconds(9)), seconds(9));
            link.received(received, start + seconds(10));
            assert_eq!(link.check(start + seconds(10)), LivenessVerdict::Dead, "{received:?}");
        }
    }

    /// Ablation: without `PART_OF_REPLY` the link of a reply that takes a minute is given up.
    #[test]
    fn a_large_reply_on_a_slow_line_is_progress() {
        let start = Instant::now();
        let mut link = Liveness::new(TIME_LIMIT, start);
        link.sent(Duration::ZERO, start);
        for second in 1..100 {
            link.received(Received { bytes: 4_096, ..Received::default() }, start + seconds(second));
            assert!(matches!(link.check(start + seconds(second)), LivenessVerdict::CheckAt(_)));
        }
    }

    #[test]
    fn a_request_that_is_still_being_written_is_no_silence() {
        let start = Instant::now();
        let mut link = Liveness::new(TIME_LIMIT, start);
        link.sent(Duration::ZERO, start);
        for second in 1..100 {
            link.wrote(second, start + seconds(second));
            assert!(matches!(link.check(start + seconds(second)), LivenessVerdict::CheckAt(_)));
        }
        link.wrote(99, start + seconds(105));
        assert_eq!(link.check(start + seconds(109)), LivenessVerdict::Dead, "a full socket that takes nothing is");
    }

    #[test]
    fn a_blocking_command_excuses_the_silence_it_asked_for() {
        let start = Instant::now();
        let mut link = Liveness::new(TIME_LIMIT, start);
        link.sent(seconds(60), start);
        assert_eq!(link.check(start + seconds(60)), LivenessVerdict::CheckAt(start + seconds(70)));
        assert_eq!(link.check(start + seconds(70)), LivenessVerdict::Dead);
        link.received(LAST_REPLY, start + seconds(70));
        assert!(matches!(link.check(start + seconds(71)), LivenessVerdict::CheckAt(_)));
    }

    #[test]
    fn a_stalled_thread_reads_before_it_judges() {
        let start = Instant::now();
        let mut link = Liveness::new(TIME_LIMIT, start);
        link.sent(Duration::ZERO, start);
        let late = start + seconds(300);
        let LivenessVerdict::CheckAt(again) = link.check(late) else { panic!("judged at once") };
        assert_eq!(link.check(again), LivenessVerdict::Dead, "silence goes on after the stall");
    }
}
