//! Whether to look for an answer once more instead of sleeping until the socket wakes the thread.
//!
//! A server on the same machine answers within less time than it takes to fall asleep and be woken, and a sleeping thread has
//! the server pay for the waking as well. One that is further away does not, and then looking is for nothing: after each
//! miss more waits are slept through, one, two, four, seven, up to [`MOST_SLEPT`], until one look pays again.

use std::time::{Duration, Instant};

/// The longest wait that is busy-polled. A local server answers within 30 microseconds while it is awake. One that has
/// fallen asleep takes twice as long, and is never awake again where that counts as a miss.
const LONGEST: Duration = Duration::from_micros(100);

/// The maximum number of waits in a row that are slept through. A server that is never as fast costs one poll in that number of commands.
const MOST_SLEPT: u32 = 1023;

/// Where the present wait stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// It has not begun.
    None,
    LookingSince(Instant),
    Asleep,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct BusyPoll {
    wait: Wait,
    /// The number of waits that will be slept through.
    to_sleep: u32,
    /// The last such row.
    row: u32,
}

impl BusyPoll {
    pub(crate) fn new() -> Self {
        Self { wait: Wait::None, to_sleep: 0, row: 0 }
    }

    /// Answers are owed and none is here. Returns whether to look again at once. `now` is asked for only where it matters.
    pub(crate) fn nothing_yet(&mut self, now: impl FnOnce() -> Instant) -> bool {
        match self.wait {
            Wait::None if self.to_sleep > 0 => {
                self.to_sleep -= 1;
                self.wait = Wait::Asleep;
            }
            // Not since the last byte: this thread may have been busy for longer than the server takes.
            Wait::None => self.wait = Wait::LookingSince(now()),
            Wait::LookingSince(since) if now().saturating_duration_since(since) >= LONGEST => {
                self.row = (self.row + self.row / 2 + 1).min(MOST_SLEPT);
                self.to_sleep = self.row;
                self.wait = Wait::Asleep;
            }
            Wait::LookingSince(_) | Wait::Asleep => {}
        }
        self.wait != Wait::Asleep
    }

    /// The rest of this wait is slept through for a reason that says nothing of the server.
    pub(crate) fn give_up(&mut self) {
        self.wait = Wait::Asleep;
    }

    /// Something came. A look that was broken off pays as little as one in vain.
    pub(crate) fn came(&mut self, now: Instant) {
        if let Wait::LookingSince(since) = self.wait
            && now.saturating_duration_since(since) < LONGEST
        {
            self.row = 0;
        }
        self.wait = Wait::None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_micros(20);

    /// One wait of a client that is asked in steps of 10 microseconds. Returns how often it looked.
    fn wait(busy: &mut BusyPoll, answer: Duration) -> u32 {
        let mut looks = 0;
        let mut now = Instant::now();
        let answered = now + answer;
        while now < answered && busy.nothing_yet(|| now) {
            looks += 1;
            now += Duration::from_micros(10);
        }
        busy.came(answered);
        looks
    }

    #[test]
    fn a_fast_server_is_looked_for_each_time() {
        let mut busy = BusyPoll::new();
        assert!((0..1000).all(|_| wait(&mut busy, SOON) == 2));
    }

    /// Ablation: without rows that grow each of 10,000 waits is looked through for nothing.
    #[test]
    fn a_slow_server_costs_less_and_less() {
        let mut busy = BusyPoll::new();
        let looks: Vec<u32> = (0..10_000).map(|_| wait(&mut busy, Duration::from_millis(1))).collect();
        let looked: Vec<usize> = (0..looks.len()).filter(|nth| looks[*nth] > 0).collect();
        assert_eq!(looked[..5], [0, 2, 5, 10, 18]);
        assert!(looked.windows(2).all(|pair| pair[1] - pair[0] <= MOST_SLEPT as usize + 1));
        assert_eq!(looked.len(), 15 + 8);
        assert!(looks.iter().all(|looks| *looks <= 10), "never longer than {LONGEST:?}");
    }

    /// Ablation: with the row kept, a server that was slow for a minute is slept through long after.
    #[test]
    fn one_look_that_pays_is_enough() {
        let mut busy = BusyPoll::new();
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
    fn a_look_that_is_broken_off_does_not_pay() {
        let mut busy = BusyPoll::new();
        assert_eq!([0; 3].map(|_| wait(&mut busy, Duration::from_millis(1))), [10, 0, 10]);
        assert_eq!([0; 2].map(|_| wait(&mut busy, Duration::from_millis(1))), [0, 0]);
        let now = Instant::now();
        assert!(busy.nothing_yet(|| now));
        busy.came(now + Duration::from_millis(1));
        let row = busy.row;
        wait(&mut busy, Duration::from_millis(1));
        assert!(busy.row > row && row > 0, "the row goes on");
    }

    /// Ablation: with the look left open, an answer that woke the thread counts as one that was seen while it looked.
    #[test]
    fn a_look_given_up_for_others_is_neither_a_hit_nor_a_miss() {
        let mut busy = BusyPoll::new();
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
        let mut busy = BusyPoll::new();
        let now = Instant::now();
        assert!(busy.nothing_yet(|| now) && !busy.nothing_yet(|| now + LONGEST));
        assert!((0..10).all(|_| !busy.nothing_yet(|| now)), "polled again within it");
    }
}
