//! When a command was asked for, as exactly as its deadline needs it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// The longest wait: ten years. Beyond it the clock overflows, and `Duration::MAX` is what people write for "never".
pub(crate) const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Deadlines from here on may come early by one step of the system's coarse clock: 1 to 10 ms on Linux, 16 on Windows.
const COARSE: Duration = Duration::from_secs(1);

thread_local! {
    /// The step of the coarse clock that this thread saw last, and the time in it. No time in the first one: a clock that
    /// stands, as in some sandbox, would have every command asked for at the start.
    static SEEN: Cell<Option<(u64, Option<Instant>)>> = const { Cell::new(None) };
}

/// Now, for a command that has to be answered within `limit`. Never later than now, and for long limits earlier by a step
/// at most: reading the exact clock for each of two million commands a second takes a twentieth of their time.
pub(crate) fn asked(limit: Duration) -> Instant {
    if limit < COARSE {
        return Instant::now();
    }
    let step = coarsetime::Instant::now_without_cache_update().as_ticks();
    let seen = SEEN.get();
    if let Some((seen, Some(time))) = seen
        && seen == step
    {
        return time;
    }
    let time = Instant::now();
    let moves = seen.is_some_and(|(seen, _)| seen != step);
    SEEN.set(Some((step, moves.then_some(time))));
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ablation: with the time kept whatever the step is, it stands; with the exact one always, no two are the same.
    #[test]
    fn a_long_limit_is_counted_from_the_step_that_it_is_asked_in() {
        let start = Instant::now();
        let (mut last, mut steps, mut same) = (asked(COARSE), 0, 0);
        while (steps < 3 || same == 0) && start.elapsed() < COARSE * 30 {
            let next = asked(COARSE);
            assert!(next >= last && next <= Instant::now());
            if next == last {
                same += 1;
            } else {
                steps += 1;
            }
            last = next;
        }
        assert!(steps >= 3 && same > 0, "{steps} steps, {same} in the same");
    }

    /// Ablation: without a look at the limit, it is the time of the step.
    #[test]
    fn a_short_limit_is_counted_from_now() {
        let start = Instant::now();
        // In the middle of a step that was seen to come.
        while asked(COARSE) != asked(COARSE) && start.elapsed() < COARSE * 30 {}
        let before = Instant::now();
        let asked = asked(COARSE - Duration::from_nanos(1));
        assert!(before <= asked && asked <= Instant::now());
    }
}
