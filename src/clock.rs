//! The start time of a command, with the precision that its deadline needs.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// The longest wait: ten years. Longer times overflow the clock, and `Duration::MAX` is the common form of "never".
pub(crate) const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A deadline of at least this may expire one step of the system's coarse clock early: 1 to 10 ms on Linux, 16 on
/// Windows.
const COARSE: Duration = Duration::from_secs(1);

thread_local! {
    /// The step of the coarse clock that this thread read last, and the exact time in it. `None` for the first step:
    /// with a stopped clock, as in some sandboxes, every command would otherwise start at that time.
    static SEEN: Cell<Option<(u64, Option<Instant>)>> = const { Cell::new(None) };
}

/// The start time of a command with a time limit of `limit`. It is never in the future. For long limits it is up to
/// one step early, because reading the exact clock for each of two million commands a second takes 5 % of their time.
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

    /// Ablation: if the stored time is kept across steps, it never changes; if the exact clock is always read, no two
    /// are equal.
    #[test]
    fn a_long_limit_starts_at_the_current_step() {
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

    /// Ablation: without the check of the limit, it starts at the step.
    #[test]
    fn a_short_limit_starts_now() {
        let start = Instant::now();
        // Starts in the middle of an observed step.
        while asked(COARSE) != asked(COARSE) && start.elapsed() < COARSE * 30 {}
        let before = Instant::now();
        let asked = asked(COARSE - Duration::from_nanos(1));
        assert!(before <= asked && asked <= Instant::now());
    }
}
