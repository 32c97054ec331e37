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

/// A deadline in eight bytes, which a million waiting commands have one each of: nanoseconds from the queue's origin, above
/// a bit that says whether it is the entry's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp(i64);

impl Stamp {
    /// In a queue whose origin is `origin`. Centuries away it is off by as much as does not fit.
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
    /// `None`: the entry has left from the middle.
    item: Option<T>,
}

/// Slots that a queue keeps room for when it has become smaller.
const KEPT: usize = 1024;

/// First in, first out, with deadlines. The front slot is never vacant.
pub(crate) struct DeadlineQueue<T> {
    slots: VecDeque<Slot<T>>,
    /// How many slots have no entry any more.
    vacant: usize,
    /// What the stamps count from: the first deadline that was seen.
    origin: Option<Instant>,
    /// The number of the front slot. Numbers only identify slots for the heap; slots put back in front
    /// count downwards.
    front: i64,
    /// The number of the first slot that the common deadline has not been checked for.
    cursor: i64,
    own: BinaryHeap<Reverse<(Instant, i64)>>,
}

impl<T> DeadlineQueue<T> {
    pub(crate) fn new() -> Self {
        Self { slots: VecDeque::new(), vacant: 0, origin: None, front: 0, cursor: 0, own: BinaryHeap::new() }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.vacant
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.slots.front()?.item.as_ref()
    }

    /// The entry at `index` from the front, where none has left from the middle.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.slots.get(index)?.item.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.slots.get_mut(index)?.item.as_mut()
    }

    pub(crate) fn push_back(&mut self, item: T, deadline: Deadline) {
        if let Deadline::Own(at) = deadline {
            self.own.push(Reverse((at, self.front + self.slots.len() as i64)));
        }
        let stamp = self.stamp(deadline);
        self.slots.push_back(Slot { stamp, item: Some(item) });
        self.forget();
    }

    pub(crate) fn push_front(&mut self, item: T, deadline: Deadline) {
        self.front -= 1;
        self.cursor = self.front;
        if let Deadline::Own(at) = deadline {
            self.own.push(Reverse((at, self.front)));
        }
        let stamp = self.stamp(deadline);
        self.slots.push_front(Slot { stamp, item: Some(item) });
        self.forget();
    }

    /// A queue that is never empty would keep the deadlines of all that left it until they pass.
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
        let stamp = Stamp::of(Deadline::Own(own), origin);
        self.at(number).is_some_and(|slot| slot.item.is_some() && slot.stamp == stamp)
    }

    fn stamp(&mut self, deadline: Deadline) -> Stamp {
        Stamp::of(deadline, *self.origin.get_or_insert(deadline.at()))
    }

    pub(crate) fn pop_front(&mut self) -> Option<(T, Deadline)> {
        let (item, stamp) = self.pop_stamped()?;
        Some((item, self.deadline(stamp)?))
    }

    /// As [`pop_front`](Self::pop_front), for callers that rarely need the deadline: see [`deadline`](Self::deadline).
    #[inline]
    pub(crate) fn pop_stamped(&mut self) -> Option<(T, Stamp)> {
        let slot = self.slots.pop_front()?;
        self.front += 1;
        if self.vacant > 0 {
            self.trim();
        }
        if self.slots.is_empty() {
            self.own.clear();
        }
        Some((slot.item?, slot.stamp))
    }

    /// What the stamp of an entry of this queue stands for.
    pub(crate) fn deadline(&self, stamp: Stamp) -> Option<Deadline> {
        Some(stamp.deadline(self.origin?))
    }

    /// Shows every entry whose deadline has come to `expired`, at least once; it stays in its place.
    pub(crate) fn expire_in_place(&mut self, now: Instant, mut expired: impl FnMut(&mut T)) {
        self.each_due(now, |slot| {
            if let Some(item) = &mut slot.item {
                expired(item);
            }
        });
    }

    /// Takes every entry out whose deadline has come.
    pub(crate) fn expire(&mut self, now: Instant, mut expired: impl FnMut(T)) {
        let mut leaving = Leaving { queue: self, entries: 0 };
        let Leaving { queue, entries } = &mut leaving;
        queue.each_due(now, |slot| {
            if let Some(item) = slot.item.take() {
                *entries += 1;
                expired(item);
            }
        });
    }

    /// Takes every entry out that `leaves`, in order.
    pub(crate) fn extract(&mut self, leaves: impl Fn(&T) -> bool) -> Vec<T> {
        let slots = self.slots.iter_mut();
        let out: Vec<T> = slots.filter_map(|slot| slot.item.take_if(|item| leaves(item))).collect();
        self.left(out.len());
        out
    }

    fn each_due(&mut self, now: Instant, mut due: impl FnMut(&mut Slot<T>)) {
        let Some(origin) = self.origin else { return };
        let nanos = Stamp::nanos(now, origin);
        self.cursor = self.cursor.max(self.front);
        while let Some(slot) = self.at(self.cursor) {
            if !slot.stamp.is_own() {
                if !slot.stamp.is_due(nanos) {
                    break;
                }
                due(slot);
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
                due(slot);
            }
        }
    }

    /// Counts entries that have left, from any position. Their memory is freed: after an outage, a queue of a
    /// million slots would keep tens of megabytes.
    fn left(&mut self, entries: usize) {
        if entries == 0 {
            return;
        }
        self.vacant += entries;
        self.trim();
        if self.vacant > KEPT.max(self.len()) {
            self.compact();
        }
        let enough = KEPT.max(2 * self.slots.len());
        if self.slots.capacity() > 2 * enough {
            self.slots.shrink_to(enough);
            self.own.shrink_to(enough);
        }
    }

    /// Removes the vacant slots at the front.
    #[cold]
    fn trim(&mut self) {
        while self.slots.front().is_some_and(|slot| slot.item.is_none()) {
            self.slots.pop_front();
            self.front += 1;
            self.vacant -= 1;
        }
        if self.slots.is_empty() {
            self.own.clear();
        }
    }

    /// Removes the vacant slots everywhere. The others get new numbers.
    fn compact(&mut self) {
        self.slots.retain(|slot| slot.item.is_some());
        self.vacant = 0;
        self.cursor = self.front;
        let Some(origin) = self.origin else { return };
        let numbered = (self.front..).zip(&self.slots);
        self.own = numbered
            .filter(|(_, slot)| slot.stamp.is_own())
            .map(|(number, slot)| Reverse((slot.stamp.deadline(origin).at(), number)))
            .collect();
    }

    /// When [`expire`](Self::expire) may find something next.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        self.cursor = self.cursor.max(self.front);
        while let Some(slot) = self.at(self.cursor)
            && (slot.stamp.is_own() || slot.item.is_none())
        {
            self.cursor += 1;
        }
        let stamp = self.at(self.cursor).map(|slot| slot.stamp);
        let common = stamp.zip(self.origin).map(|(stamp, origin)| stamp.deadline(origin).at());
        // Entries that left would cause a useless reading of the clock.
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

/// Counts the entries that leave, also when the visitor panics.
struct Leaving<'a, T> {
    queue: &'a mut DeadlineQueue<T>,
    entries: usize,
}

impl<T> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        self.queue.left(self.entries);
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
    fn a_queue_that_is_never_empty_forgets_the_deadlines_of_those_who_left() {
        let start = Instant::now();
        let mut deadline_queue = DeadlineQueue::new();
        deadline_queue.push_back(0, Deadline::Own(start));
        for nth in 1..10_000 {
            let deadline = Deadline::Own(start + Duration::from_secs(nth));
            deadline_queue.push_back(nth, deadline);
            deadline_queue.pop_front();
            assert_eq!(deadline_queue.next_deadline(), Some(deadline.at()));
        }
        for nth in 1..10_000 {
            deadline_queue.push_back(nth, Deadline::Own(start));
            deadline_queue.pop_front();
        }
        assert!(deadline_queue.own.len() < 100, "{}", deadline_queue.own.len());
    }

    proptest! {
        /// Whatever order entries come, go and come back in: after a look, nothing that is due is
        /// unnoticed, nothing that is not due was touched, and the next look is never too late.
        #[test]
        fn nothing_due_is_missed(steps in steps()) {
            let start = Instant::now();
            let mut now = start;
            let common = Duration::from_millis(100);
            let mut deadline_queue: DeadlineQueue<bool> = DeadlineQueue::new();
            let mut taken = None;
            for step in steps {
                match step {
                    Step::Push { own: Some(after) } => {
                        deadline_queue.push_back(false, Deadline::Own(now + Duration::from_millis(after.into())));
                    }
                    Step::Push { own: None } => deadline_queue.push_back(false, Deadline::Common(now + common)),
                    Step::PopFront => taken = deadline_queue.pop_front(),
                    Step::PutBack => if let Some((item, deadline)) = taken.take() { deadline_queue.push_front(item, deadline) },
                    Step::Advance(by) => now += Duration::from_millis(by.into()),
                }
                let next = deadline_queue.next_deadline();
                let deadline = |slot: &Slot<bool>| slot.stamp.deadline(deadline_queue.origin.expect("something was pushed"));
                for slot in &deadline_queue.slots {
                    prop_assert!(slot.item == Some(true) || next.is_some_and(|next| next <= deadline(slot).at()));
                }
                let deadlines: Vec<_> = deadline_queue.slots.iter().map(deadline).collect();
                deadline_queue.expire_in_place(now, |seen| *seen = true);
                for (slot, deadline) in deadline_queue.slots.iter().zip(deadlines) {
                    prop_assert_eq!(slot.item, Some(deadline.at() <= now), "{:?} at {:?}", deadline, now - start);
                }
            }
        }

        /// Whatever order entries come and go in: those that are due leave at once and in the order in which they are
        /// found by their deadlines, the others stay in order, and no room is kept for those that left.
        ///
        /// Ablation: without `compact` the last assertion finds the slots of all that left from the middle.
        #[test]
        fn expired_entries_leave(steps in steps()) {
            let mut now = Instant::now();
            let (mut queue, mut model) = (DeadlineQueue::new(), Vec::new());
            let mut taken = None;
            for (nth, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push { own } => {
                        let own = own.map(|after| Deadline::Own(now + Duration::from_millis(after.into())));
                        let deadline = own.unwrap_or(Deadline::Common(now + Duration::from_millis(100)));
                        queue.push_back(nth, deadline);
                        model.push((nth, deadline));
                    }
                    Step::PopFront => {
                        taken = queue.pop_front();
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(taken, expected);
                    }
                    Step::PutBack => if let Some((item, deadline)) = taken.take() {
                        queue.push_front(item, deadline);
                        model.insert(0, (item, deadline));
                    },
                    Step::Advance(by) => now += Duration::from_millis(by.into()),
                }
                let mut out = Vec::new();
                queue.expire(now, |item| out.push(item));
                let due: Vec<_> = model.extract_if(.., |(_, deadline)| deadline.at() <= now).map(|(item, _)| item).collect();
                out.sort_unstable();
                let mut due = due;
                due.sort_unstable();
                prop_assert_eq!(out, due);
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                prop_assert_eq!(queue.front(), model.first().map(|(item, _)| item));
                prop_assert_eq!(queue.next_deadline(), model.iter().map(|(_, deadline)| deadline.at()).min());
            }
        }
    }

    /// Ablation: counted after the loop, the queue says `(4, None)` instead of `(3, Some(1))`.
    #[test]
    fn entries_that_expire_during_a_panic_are_counted() {
        let start = Instant::now();
        let mut queue = DeadlineQueue::new();
        for nth in 0..4 {
            queue.push_back(nth, Deadline::Common(start + Duration::from_secs(nth / 2)));
        }
        let panics = || queue.expire(start, |_| panic!("injected"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!((queue.len(), queue.front()), (3, Some(&1)));
        let mut out = Vec::new();
        queue.expire(start + Duration::from_secs(1), |item| out.push(item));
        assert_eq!((out, queue.len()), (vec![1, 2, 3], 0));
    }

    #[test]
    fn room_is_given_back() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut queue = DeadlineQueue::new();
        queue.push_back(0, Deadline::Own(start + 9 * second));
        for nth in 1..200_000 {
            queue.push_back(nth, if nth % 2 == 0 { Deadline::Own(start) } else { Deadline::Common(start) });
        }
        queue.push_back(1, Deadline::Own(start + 9 * second));
        queue.expire(start + second, |_| {});
        assert_eq!((queue.len(), queue.slots.len(), queue.own.len()), (2, 2, 2));
        assert!(queue.slots.capacity() <= 4 * KEPT && queue.own.capacity() <= 4 * KEPT);
        queue.expire(start + 9 * second, |_| {});
        assert!(queue.is_empty() && queue.own.is_empty());
    }
}
