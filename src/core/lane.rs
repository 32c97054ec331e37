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
    /// By the common timeout: never earlier than that of an entry which came before.
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

struct Slot<T> {
    deadline: Deadline,
    item: T,
}

/// First in, first out, with deadlines.
pub(crate) struct Lane<T> {
    slots: VecDeque<Slot<T>>,
    /// The number of the front slot. Numbers only identify slots for the heap; slots put back in front
    /// count downwards.
    front: i64,
    /// The number of the first slot that the common deadline has not been checked for.
    cursor: i64,
    own: BinaryHeap<Reverse<(Instant, i64)>>,
}

impl<T> Lane<T> {
    pub(crate) fn new() -> Self {
        Self { slots: VecDeque::new(), front: 0, cursor: 0, own: BinaryHeap::new() }
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
        self.slots.push_back(Slot { deadline, item });
    }

    pub(crate) fn push_front(&mut self, item: T, deadline: Deadline) {
        self.front -= 1;
        self.cursor = self.front;
        if let Deadline::Own(at) = deadline {
            self.own.push(Reverse((at, self.front)));
        }
        self.slots.push_front(Slot { deadline, item });
    }

    pub(crate) fn pop_front(&mut self) -> Option<(T, Deadline)> {
        let slot = self.slots.pop_front()?;
        self.front += 1;
        if self.slots.is_empty() {
            self.own.clear();
        }
        Some((slot.item, slot.deadline))
    }

    /// Shows every entry whose deadline has come to `expired`, at least once; it stays in its place.
    pub(crate) fn expire(&mut self, now: Instant, mut expired: impl FnMut(&mut T)) {
        self.cursor = self.cursor.max(self.front);
        while let Some(slot) = self.at(self.cursor) {
            match slot.deadline {
                Deadline::Common(at) if at > now => break,
                Deadline::Common(_) => expired(&mut slot.item),
                Deadline::Own(_) => {}
            }
            self.cursor += 1;
        }
        while let Some(&Reverse((at, number))) = self.own.peek() {
            if at > now {
                break;
            }
            self.own.pop();
            // A number may stand for an entry that went, or that was put back under the same number.
            if let Some(slot) = self.at(number)
                && slot.deadline == Deadline::Own(at)
            {
                expired(&mut slot.item);
            }
        }
    }

    /// When [`expire`](Self::expire) may find something next.
    pub(crate) fn next_deadline(&mut self) -> Option<Instant> {
        self.cursor = self.cursor.max(self.front);
        while let Some(slot) = self.at(self.cursor)
            && matches!(slot.deadline, Deadline::Own(_))
        {
            self.cursor += 1;
        }
        let common = self.at(self.cursor).map(|slot| slot.deadline.at());
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
                for slot in &lane.slots {
                    prop_assert!(slot.item || next.is_some_and(|next| next <= slot.deadline.at()));
                }
                lane.expire(now, |seen| *seen = true);
                for slot in &lane.slots {
                    prop_assert_eq!(slot.item, slot.deadline.at() <= now, "{:?} at {:?}", slot.deadline, now - start);
                }
            }
        }
    }
}
