//! When a command was asked for, as exactly as its deadline needs it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Deadlines from here on may come early by one step of the system's coarse clock: 1 to 10 ms on Linux, 16 on Windows.
const COARSE: Duration = Duration::from_secs(1);

thread_local! {
    /// The step of the coarse clock that this thread saw last, and the time in it.
    static SEEN: Cell<Option<(u64, Instant)>> = const { Cell::new(None) };
}

/// Now, for a command that has to be answered within `limit`. Never later than now, and for long limits earlier by a step
/// at most: reading the exact clock for each of two million commands a second takes a twentieth of their time.
pub(crate) fn asked(limit: Duration) -> Instant {
    if limit < COARSE {
        return Instant::now();
    }
    let step = coarsetime::Instant::now_without_cache_update().as_ticks();
    match SEEN.get() {
        Some((seen, time)) if seen == step => time,
        _ => {
            let time = Instant::now();
            SEEN.set(Some((step, time)));
            time
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_limit_is_counted_from_the_step_that_it_is_asked_in() {
        let start = Instant::now();
        let first = asked(COARSE);
        assert!(first >= start || start - first < COARSE / 10);
        let mut last = first;
        while last == first {
            assert!(start.elapsed() < COARSE, "a clock that stands");
            last = asked(COARSE);
        }
        assert!(last > first && last <= Instant::now());
    }

    #[test]
    fn a_short_limit_is_counted_from_now() {
        let before = Instant::now();
        asked(COARSE);
        let asked = asked(COARSE - Duration::from_nanos(1));
        assert!(before <= asked && asked <= Instant::now());
    }
}
