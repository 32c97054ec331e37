//! A queue whose entries have deadlines, without a timer per entry.
//!
//! Entries with the connection's common timeout expire in the order in which they came, so one cursor
//! finds them. Entries with a timeout of their own are few; a heap finds those.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

/// When an entry has to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// By the common timeout: not much earlier than that of an entry which came before, or this one is noticed late by so
    /// much.
    Common(Instant),
    /// By a timeout of its own.
    Own(Instant),
}

impl Deadline {
    pub(crate) fn at(self) -> Instant {
        match self {
            Self::Common(at) | Self::Own(at) => at,
        }
    }

    pub(crate) fn later(self, milliseconds: u32) -> Self {
        let by = Duration::from_millis(milliseconds.into());
        match self {
            Self::Common(at) => Self::Common(at + by),
            Self::Own(at) => Self::Own(at + by),
        }
    }

    pub(crate) fn earlier(self, milliseconds: u32) -> Self {
        let by = Duration::from_millis(milliseconds.into());
        match self {
            Self::Common(at) => Self::Common(at.checked_sub(by).unwrap_or(at)),
            Self::Own(at) => Self::Own(at.checked_sub(by).unwrap_or(at)),
        }
    }
}

/// A deadline in eight bytes, which a million waiting commands have one each of: nanoseconds from the lane's origin, above
/// a bit that says whether it is the entry's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(i64);

impl Stamp {
    /// In a lane whose origin is `origin`. Centuries away it is off by as much as does not fit.
    fn of(deadline: Deadline, origin: Instant) -> Self {
        let nanos = Self::nanos(deadline.at(), origin);
        Self(nanos << 1 | i64::from(matches!(deadline, Deadline::Own(_))))
    }

    fn nanos(at: Instant, origin: Instant) -> i64 {
        const MOST: i64 = i64::MAX >> 1;
        let nanos = |time: Duration| {
            let nanos = time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into());
            nanos.min(MOST as u64) as i64
        };
        match at.checked_duration_since(origin) {
            Some(after) => nanos(after),
            None => -nanos(origin - at),
        }
    }

    fn is_own(self) -> bool {
        self.0 & 1 == 1
    }

    fn is_due(self, now: i64) -> bool {
        self.0 >> 1 <= now
    }

    fn deadline(self, origin: Instant) -> Deadline {
        let by = Duration::from_nanos((self.0 >> 1).unsigned_abs());
        let at = if self.0 < 0 { origin.checked_sub(by) } else { origin.checked_add(by) };
        let at = at.unwrap_or(origin);
        if self.is_own() { Deadline::Own(at) } else { Deadline::Common(at) }
    }
}

struct Slot<T> {
    stamp: Stamp,
    item: T,
}

/// First in, first out, with deadlines.
pub(crate) struct Lane<T> {
    slots: VecDeque<Slot<T>>,
    /// What the stamps count from: the first deadline that was seen.
    origin: Option<Instant>,
    /// The number of the front slot. Numbers only identify slots for the heap; slots put back in front
    /// count downwards.
    front: i64,
    /// The number of the first slot that the common deadline has not been checked for.
    cursor: i64,
    own: BinaryHeap<Reverse<(Instant, i64)>>,
}

impl<T> Lane<T> {
    pub(crate) fn new() -> Self {
        Self { slots: VecDeque::new(), origin: None, front: 0, cursor: 0, own: BinaryHeap::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.slots.front().map(|slot| &slot.item)
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.slots.front_mut().map(|slot| &mut slot.item)
    }

    pub(crate) fn push_back(&mut self, item: T, deadline: Deadline) {
        if let Deadline::Own(at) = deadline {
            self.own.push(Reverse((at, self.front + self.slots.len() as i64)));
        }
        let stamp = self.stamp(deadline);
        self.slots.push_back(Slot { stamp, item });
        self.forget();
    }

    pub(crate) fn push_front(&mut self, item: T, deadline: Deadline) {
        self.front -= 1;
        self.cursor = self.front;
        if let Deadline::Own(at) = deadline {
            self.own.push(Reverse((at, self.front)));
        }
        let stamp = self.stamp(deadline);
        self.slots.push_front(Slot { stamp, item });
        self.forget();
    }

    /// A lane that is never empty would keep the deadlines of all that left it until they pass.
    fn forget(&mut self) {
        if self.own.len() <= 64 + 2 * self.slots.len() {
            return;
        }
        let mut own = std::mem::take(&mut self.own);
        own.retain(|&Reverse((at, number))| self.is_held(number, at));
        self.own = own;
    }

    /// A number may stand for an entry that went, or that was put back under the same number.
    fn is_held(&mut self, number: i64, own: Instant) -> bool {
        let Some(origin) = self.origin else { return false };
        self.at(number).is_some_and(|slot| slot.stamp == Stamp::of(Deadline::Own(own), origin))
    }

    fn stamp(&mut self, deadline: Deadline) -> Stamp {
        Stamp::of(deadline, *self.origin.get_or_insert(deadline.at()))
    }

    pub(crate) fn pop_front(&mut self) -> Option<(T, Deadline)> {
        let (item, stamp) = self.pop_stamped()?;
        Some((item, self.deadline(stamp)?))
    }

    /// As [`pop_front`](Self::pop_front), for those who will hardly ask for the deadline: see [`deadline`](Self::deadline).
    pub(crate) fn pop_stamped(&mut self) -> Option<(T, Stamp)> {
        let slot = self.slots.pop_front()?;
        self.front += 1;
        if self.slots.is_empty() {
            self.own.clear();
        }
        Some((slot.item, slot.stamp))
    }

    /// What the stamp of an entry of this lane stands for.
    pub(crate) fn deadline(&self, stamp: Stamp) -> Option<Deadline> {
        Some(stamp.deadline(self.origin?))
    }

    /// Shows every entry whose deadline has come to `expired`, at least once; it stays in its place.
    pub(crate) fn expire(&mut self, now: Instant, mut expired: impl FnMut(&mut T)) {
        let Some(origin) = self.origin else { return };
        let nanos = Stamp::nanos(now, origin);
        self.cursor = self.cursor.max(self.front);
        while let Some(slot) = self.at(self.cursor) {
            if !slot.stamp.is_own() {
                if !slot.stamp.is_due(nanos) {
                    break;
                }
                expired(&mut slot.item);
            }
            self.cursor += 1;
        }
        while let Some(&Reverse((at, number))) = self.own.peek() {
            if at > now {
                break;
            }
            self.own.pop();
            if self.is_held(number, at)
                && let Some(slot) = self.at(number)
            {
                expired(&mut slot.item);
            }
        }
    }

    /// When [`expire`](Self::expire) may find something next.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        self.cursor = self.cursor.max(self.front);
        while let Some(slot) = self.at(self.cursor)
            && slot.stamp.is_own()
        {
            self.cursor += 1;
        }
        let stamp = self.at(self.cursor).map(|slot| slot.stamp);
        let common = stamp.zip(self.origin).map(|(stamp, origin)| stamp.deadline(origin).at());
        // Those that left would have somebody look at the clock for nothing.
        while let Some(&Reverse((at, number))) = self.own.peek()
            && !self.is_held(number, at)
        {
            self.own.pop();
        }
        let own = self.own.peek().map(|&Reverse((at, _))| at);
        common.into_iter().chain(own).min()
    }

    fn at(&mut self, number: i64) -> Option<&mut Slot<T>> {
        self.slots.get_mut(usize::try_from(number - self.front).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push { own: Option<u8> },
        PopFront,
        PutBack,
        Advance(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => proptest::option::of(any::<u8>()).prop_map(|own| Step::Push { own }),
            1 => Just(Step::PopFront),
            1 => Just(Step::PutBack),
            2 => any::<u8>().prop_map(Step::Advance),
        ];
        proptest::collection::vec(step, 0..200)
    }

    #[test]
    fn a_deadline_keeps_its_nanoseconds_and_its_kind() {
        let origin = Instant::now() + Duration::from_secs(1_000);
        for nanos in [0, 1, 999_999_999, 1_000_000_000, 86_400_000_000_001] {
            let by = Duration::from_nanos(nanos);
            for at in [origin + by, origin.checked_sub(by).unwrap_or(origin)] {
                for deadline in [Deadline::Common(at), Deadline::Own(at)] {
                    assert_eq!(Stamp::of(deadline, origin).deadline(origin), deadline);
                }
            }
        }
        let far = Deadline::Own(origin + Duration::from_secs(u64::MAX >> 2));
        let kept = Stamp::of(far, origin).deadline(origin);
        assert!(kept.at() > origin + Duration::from_secs(100 * 365 * 86_400), "{kept:?}");
    }

    /// Ablations: without a look at whether they are there still, the clock is looked at for the first of them; without
    /// forgetting, all 10,000 are kept.
    #[test]
    fn a_lane_that_is_never_empty_forgets_the_deadlines_of_those_who_left() {
        let start = Instant::now();
        let mut lane = Lane::new();
        lane.push_back(0, Deadline::Own(start));
        for nth in 1..10_000 {
            let deadline = Deadline::Own(start + Duration::from_secs(nth));
            lane.push_back(nth, deadline);
            lane.pop_front();
            assert_eq!(lane.next_deadline(), Some(deadline.at()));
        }
        for nth in 1..10_000 {
            lane.push_back(nth, Deadline::Own(start));
            lane.pop_front();
        }
        assert!(lane.own.len() < 100, "{}", lane.own.len());
    }

    proptest! {
        /// Whatever order entries come, go and come back in: after a look, nothing that is due is
        /// unnoticed, nothing that is not due was touched, and the next look is never too late.
        #[test]
        fn nothing_due_is_missed(steps in steps()) {
            let start = Instant::now();
            let mut now = start;
            let common = Duration::from_millis(100);
            let mut lane: Lane<bool> = Lane::new();
            let mut taken = None;
            for step in steps {
                match step {
                    Step::Push { own: Some(after) } => {
                        lane.push_back(false, Deadline::Own(now + Duration::from_millis(after.into())));
                    }
                    Step::Push { own: None } => lane.push_back(false, Deadline::Common(now + common)),
                    Step::PopFront => taken = lane.pop_front(),
                    Step::PutBack => if let Some((item, deadline)) = taken.take() { lane.push_front(item, deadline) },
                    Step::Advance(by) => now += Duration::from_millis(by.into()),
                }
                let next = lane.next_deadline();
                let deadline = |slot: &Slot<bool>| slot.stamp.deadline(lane.origin.expect("something was pushed"));
                for slot in &lane.slots {
                    prop_assert!(slot.item || next.is_some_and(|next| next <= deadline(slot).at()));
                }
                let deadlines: Vec<_> = lane.slots.iter().map(deadline).collect();
                lane.expire(now, |seen| *seen = true);
                for (slot, deadline) in lane.slots.iter().zip(deadlines) {
                    prop_assert_eq!(slot.item, deadline.at() <= now, "{:?} at {:?}", deadline, now - start);
                }
            }
        }
    }
}
