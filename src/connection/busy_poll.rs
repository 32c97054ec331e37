//! Whether to poll the socket once more instead of sleeping until it wakes the thread.
//!
//! A server on the same machine replies within less time than a sleep and a wake-up take. A remote server does not, and then
//! polling is wasted: after each miss more waits are slept through, one, two, four, seven, up to [`MOST_SLEPT`], until one
//! poll succeeds again.

use std::time::{Duration, Instant};

/// The maximum number of waits in a row that are slept through. A server that is never as fast costs one poll in that number of commands.
const MOST_SLEPT: u32 = 1023;

/// The state of the current wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    None,
    PollingSince(Instant),
    Asleep,
}

/// The decision for one link.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    /// The longest wait that is polled.
    longest: Duration,
    wait: Wait,
    /// The number of waits that will be slept through.
    to_sleep: u32,
    /// The last such row.
    row: u32,
}

impl BusyPoll {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, wait: Wait::None, to_sleep: 0, row: 0 }
    }

    /// Replies are owed and none has come. Returns whether to poll again at once. `now` is called only where it matters.
    pub(crate) fn nothing_yet(&mut self, now: impl FnOnce() -> Instant) -> bool {
        match self.wait {
            Wait::None if self.to_sleep > 0 => {
                self.to_sleep -= 1;
                self.wait = Wait::Asleep;
            }
            // Not since the last byte: this thread may have been busy for longer than the server takes.
            Wait::None => self.wait = Wait::PollingSince(now()),
            Wait::PollingSince(since) if now().saturating_duration_since(since) >= self.longest => {
                self.row = (self.row + self.row / 2 + 1).min(MOST_SLEPT);
                self.to_sleep = self.row;
                self.wait = Wait::Asleep;
            }
            Wait::PollingSince(_) | Wait::Asleep => {}
        }
        self.wait != Wait::Asleep
    }

    /// Sleeps through the rest of this wait, for a reason that is not the server's.
    pub(crate) fn give_up(&mut self) {
        self.wait = Wait::Asleep;
    }

    /// Something came. A poll that was interrupted counts as little as a miss.
    pub(crate) fn came(&mut self, now: Instant) {
        if let Wait::PollingSince(since) = self.wait
            && now.saturating_duration_since(since) < self.longest
        {
            self.row = 0;
        }
        self.wait = Wait::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_micros(100);
    const SOON: Duration = Duration::from_micros(20);

    /// One wait of a client that is polled in steps of 10 microseconds. Returns the number of polls.
    fn wait(busy: &mut BusyPoll, answer: Duration) -> u32 {
        let mut polls = 0;
        let mut now = Instant::now();
        let answered = now + answer;
        while now < answered && busy.nothing_yet(|| now) {
            polls += 1;
            now += Duration::from_micros(10);
        }
        busy.came(answered);
        polls
    }

    #[test]
    fn a_fast_server_is_polled_each_time() {
        let mut busy = BusyPoll::new(LONGEST);
        assert!((0..1000).all(|_| wait(&mut busy, SOON) == 2));
    }

    /// Ablation: without rows that grow each of 10,000 waits is polled for nothing.
    #[test]
    fn a_slow_server_costs_less_and_less() {
        let mut busy = BusyPoll::new(LONGEST);
        let polls: Vec<u32> = (0..10_000).map(|_| wait(&mut busy, Duration::from_millis(1))).collect();
        let polled: Vec<usize> = (0..polls.len()).filter(|nth| polls[*nth] > 0).collect();
        assert_eq!(polled[..5], [0, 2, 5, 10, 18]);
        assert!(polled.windows(2).all(|pair| pair[1] - pair[0] <= MOST_SLEPT as usize + 1));
        assert_eq!(polled.len(), 15 + 8);
        assert!(polls.iter().all(|polls| *polls <= 10), "never longer than {LONGEST:?}");
    }

    /// Ablation: with the row kept, a server that was slow for a minute is slept through long after.
    #[test]
    fn one_successful_poll_is_enough() {
        let mut busy = BusyPoll::new(LONGEST);
        for _ in 0..5_000 {
            wait(&mut busy, Duration::from_millis(1));
        }
        let asleep = (0..).take_while(|_| wait(&mut busy, SOON) == 0).count();
        assert!(asleep <= MOST_SLEPT as usize);
        assert!((0..100).all(|_| wait(&mut busy, SOON) == 2));
        assert_eq!(
            (wait(&mut busy, Duration::from_millis(1)), wait(&mut busy, SOON), wait(&mut busy, SOON)),
            (10, 0, 2)
        );
    }

    /// Ablation: with each interrupted poll counted as a success, a slow server is busy-polled every other time.
    #[test]
    fn an_interrupted_poll_is_no_success() {
        let mut busy = BusyPoll::new(LONGEST);
        assert_eq!([0; 3].map(|_| wait(&mut busy, Duration::from_millis(1))), [10, 0, 10]);
        assert_eq!([0; 2].map(|_| wait(&mut busy, Duration::from_millis(1))), [0, 0]);
        let now = Instant::now();
        assert!(busy.nothing_yet(|| now));
        busy.came(now + Duration::from_millis(1));
        let row = busy.row;
        wait(&mut busy, Duration::from_millis(1));
        assert!(busy.row > row && row > 0, "the row goes on");
    }

    /// Ablation: with the poll left open, a reply that woke the thread counts as one that was polled.
    #[test]
    fn a_poll_that_is_given_up_is_neither_a_hit_nor_a_miss() {
        let mut busy = BusyPoll::new(LONGEST);
        assert_eq!([0; 2].map(|_| wait(&mut busy, Duration::from_millis(1))), [10, 0]);
        let (row, now) = (busy.row, Instant::now());
        assert!(busy.nothing_yet(|| now));
        busy.give_up();
        assert!(!busy.nothing_yet(|| now + SOON));
        busy.came(now + SOON);
        assert_eq!((busy.row, busy.to_sleep), (row, 0));
    }

    #[test]
    fn a_wait_that_is_slept_through_stays_so() {
        let mut busy = BusyPoll::new(LONGEST);
        let now = Instant::now();
        assert!(busy.nothing_yet(|| now) && !busy.nothing_yet(|| now + LONGEST));
        assert!((0..10).all(|_| !busy.nothing_yet(|| now)), "polled again within it");
    }
}
