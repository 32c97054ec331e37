//! The bounded queue of one subscriber's events.

use std::collections::VecDeque;

use crate::events::Cause;

/// The maximum number of messages that a subscriber handles at once. More would only wait in its mailbox, where no
/// overflow policy applies. With fewer, an asynchronous handler would count as slow, because spawning it and its
/// reply take several iterations of the thread, and each brings messages.
const WINDOW: usize = 128;

/// The maximum number of queued events other than messages. There is one per refused topic, and a few per link.
const STATUS_EVENTS: usize = 1024;

/// What happens to messages for which a subscriber is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The oldest queued message is dropped. The default, because the newest messages are most relevant.
    #[default]
    DropOldest,
    /// The new message is dropped.
    DropNewest,
    /// The subscription ends.
    Disconnect,
}

/// The limits of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) overflow: Overflow,
}

/// The next item for a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<T> {
    Item {
        item: T,
        size: usize,
    },
    /// This number of messages was dropped here.
    Dropped(u64),
    /// The link was lost here, this number of times.
    Gap {
        losses: u32,
        cause: Cause,
    },
}

/// The markers between two messages. They are merged, so that their number is limited by that of the messages.
#[derive(Default)]
struct Marks {
    dropped: u64,
    gap: Option<(u32, Cause)>,
}

impl Marks {
    fn merge(&mut self, earlier: Self) {
        self.dropped += earlier.dropped;
        self.gap = match (earlier.gap, self.gap.take()) {
            (Some((before, _)), Some((after, cause))) => Some((before.saturating_add(after), cause)),
            (one, other) => other.or(one),
        };
    }

    fn next<T>(&mut self) -> Option<Piece<T>> {
        match std::mem::take(&mut self.dropped) {
            0 => self.gap.take().map(|(losses, cause)| Piece::Gap { losses, cause }),
            dropped => Some(Piece::Dropped(dropped)),
        }
    }
}

struct QueuedMessage<T> {
    /// The markers before it.
    marks: Marks,
    item: T,
    /// `None` for an event about the subscription, which does not count against the limits.
    size: Option<usize>,
}

/// The subscriber is too slow, and its policy is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooSlow;

/// See the module documentation.
pub(crate) struct Backlog<T> {
    bounds: Bounds,
    waiting: VecDeque<QueuedMessage<T>>,
    /// The number of queued events other than messages.
    status_events: usize,
    /// The markers after all queued messages.
    tail: Marks,
    bytes: usize,
    /// The number of items in delivery.
    in_delivery: usize,
    handed_bytes: usize,
    held: bool,
    dropped: u64,
}

impl<T> Backlog<T> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let bounds = Bounds { messages: bounds.messages.max(1), ..bounds };
        Self {
            bounds,
            waiting: VecDeque::new(),
            status_events: 0,
            tail: Marks::default(),
            bytes: 0,
            in_delivery: 0,
            handed_bytes: 0,
            held: false,
            dropped: 0,
        }
    }

    /// The number of messages that are queued or in delivery.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() - self.status_events + self.in_delivery
    }

    /// Their size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.handed_bytes
    }

    /// The number of messages dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Half of a small limit, so that dropping the oldest is possible.
    fn window(&self) -> usize {
        WINDOW.min(self.bounds.messages.div_ceil(2))
    }

    fn fits(&self, size: usize) -> bool {
        self.len() < self.bounds.messages && self.bytes().saturating_add(size) <= self.bounds.bytes
    }

    /// Queues a message.
    pub(crate) fn push(&mut self, item: T, size: usize) -> Result<(), TooSlow> {
        if !self.fits(size) {
            match self.bounds.overflow {
                Overflow::Disconnect => return Err(TooSlow),
                Overflow::DropNewest => return self.drop_newest(),
                // Dropping all queued messages would not make enough room.
                Overflow::DropOldest if self.handed_bytes.saturating_add(size) > self.bounds.bytes => {
                    return self.drop_newest();
                }
                Overflow::DropOldest => {
                    while !self.fits(size) {
                        if !self.drop_oldest() {
                            return self.drop_newest();
                        }
                    }
                }
            }
        }
        self.bytes += size;
        self.waiting.push_back(QueuedMessage { marks: std::mem::take(&mut self.tail), item, size: Some(size) });
        Ok(())
    }

    /// Queues an event that is not a message; no overflow policy applies.
    pub(crate) fn push_status(&mut self, word: T) {
        if self.status_events < STATUS_EVENTS {
            self.status_events += 1;
            self.waiting.push_back(QueuedMessage { marks: std::mem::take(&mut self.tail), item: word, size: None });
        }
    }

    fn drop_newest(&mut self) -> Result<(), TooSlow> {
        self.dropped += 1;
        self.tail.dropped += 1;
        Ok(())
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.waiting.iter().position(|waiting| waiting.size.is_some()) else { return false };
        let Some(QueuedMessage { mut marks, size, .. }) = self.waiting.remove(oldest) else { return false };
        self.bytes -= size.unwrap_or_default();
        self.dropped += 1;
        marks.dropped += 1;
        self.waiting.get_mut(oldest).map_or(&mut self.tail, |next| &mut next.marks).merge(marks);
        true
    }

    /// Marks a gap: messages may be missing between earlier and later ones.
    pub(crate) fn gap(&mut self, cause: Cause) {
        self.tail.merge(Marks { dropped: 0, gap: Some((1, cause.clone())) });
        if let Some((_, last)) = &mut self.tail.gap {
            *last = cause;
        }
    }

    /// Holds back everything after the next gap until [`release`](Self::release), because the events after a gap are
    /// delivered after every topic has recovered.
    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    /// Whether anything is held back at a gap. Its type does not matter: a status event before messages is held back
    /// by the same gap, and holds them back.
    pub(crate) fn is_held_back(&self) -> bool {
        self.held && self.waiting.front().is_some_and(|next| next.marks.gap.is_some())
    }

    pub(crate) fn release(&mut self) {
        self.held = false;
    }

    /// Whether the subscriber may get another item.
    fn has_next(&self) -> bool {
        let marks = self.waiting.front().map_or(&self.tail, |next| &next.marks);
        let is_blocked = self.held && marks.gap.is_some() && marks.dropped == 0;
        self.in_delivery < self.window() && !is_blocked
    }

    /// The next item, if the subscriber may get one. Call [`handled`](Self::handled) afterwards.
    pub(crate) fn next(&mut self) -> Option<Piece<T>> {
        if !self.has_next() {
            return None;
        }
        let marks = self.waiting.front_mut().map_or(&mut self.tail, |next| &mut next.marks);
        let piece = match marks.next() {
            Some(piece) => piece,
            None => {
                let QueuedMessage { item, size, .. } = self.waiting.pop_front()?;
                self.status_events -= usize::from(size.is_none());
                let size = size.unwrap_or_default();
                self.bytes -= size;
                self.handed_bytes += size;
                Piece::Item { item, size }
            }
        };
        self.in_delivery += 1;
        Some(piece)
    }

    /// Records that an item was handled; `size` is 0 for events other than messages.
    pub(crate) fn handled(&mut self, size: usize) {
        self.in_delivery -= 1;
        self.handed_bytes -= size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::CauseKind;
    use proptest::prelude::*;

    fn cause() -> Cause {
        Cause::new(CauseKind::Broken, "test")
    }

    fn bounds(messages: usize, bytes: usize, overflow: Overflow) -> Bounds {
        Bounds { messages, bytes, overflow }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        Say,
        Gap,
        Release,
        Take,
        Handled,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..60_usize).prop_map(Step::Push),
            1 => Just(Step::Say),
            1 => Just(Step::Gap),
            2 => Just(Step::Release),
            6 => Just(Step::Take),
            4 => Just(Step::Handled),
        ];
        prop::collection::vec(step, 0..300)
    }

    fn overflow() -> impl Strategy<Value = Overflow> {
        prop_oneof![Just(Overflow::DropOldest), Just(Overflow::DropNewest), Just(Overflow::Disconnect)]
    }

    /// A subscriber: the items it is handling, and the losses reported to it.
    #[derive(Default)]
    struct Subscriber {
        in_hand: VecDeque<usize>,
        last: Option<u64>,
        items: u64,
        status_events: u64,
        reported_drops: u64,
        reported_losses: u32,
    }

    impl Subscriber {
        /// `None` instead of a number: a status event.
        fn take(&mut self, backlog: &mut Backlog<(Option<u64>, u32)>) -> bool {
            let Some(piece) = backlog.next() else { return false };
            self.in_hand.push_back(0);
            match piece {
                Piece::Item { item: (nth, losses), size } => {
                    assert_eq!(losses, self.reported_losses, "each gap is delivered before the first event after it");
                    match nth {
                        Some(_) => {
                            assert!(self.last < nth, "in order");
                            (self.last, self.items) = (nth, self.items + 1);
                        }
                        None => self.status_events += 1,
                    }
                    *self.in_hand.back_mut().expect("pushed") = size;
                }
                Piece::Dropped(count) => self.reported_drops += count,
                Piece::Gap { losses, .. } => self.reported_losses += losses,
            }
            true
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Ablation: if only queued messages count, those in delivery exceed the limits.
        /// Ablation: a gap that is held back only before a message fails with `an idle subscriber gets nothing`.
        #[test]
        fn the_backlog_is_bounded_and_ordered_and_reports_every_drop_and_gap(
            steps in steps(), messages in 1..12_usize, bytes in 1..200_usize, overflow in overflow()
        ) {
            let mut backlog = Backlog::new(bounds(messages, bytes, overflow));
            let mut subscriber = Subscriber::default();
            let (mut pushed, mut said, mut losses) = (0_u64, 0_u64, 0_u32);
            for step in steps {
                match step {
                    Step::Push(size) => match backlog.push((Some(pushed), losses), size) {
                        Ok(()) => pushed += 1,
                        Err(TooSlow) => prop_assert_eq!(overflow, Overflow::Disconnect),
                    },
                    Step::Say => {
                        backlog.push_status((None, losses));
                        said += 1;
                    }
                    Step::Gap => {
                        backlog.hold();
                        backlog.gap(cause());
                        losses += 1;
                    }
                    Step::Release => backlog.release(),
                    Step::Take => {
                        subscriber.take(&mut backlog);
                    }
                    Step::Handled => {
                        if let Some(size) = subscriber.in_hand.pop_front() {
                            backlog.handled(size);
                        }
                    }
                }
                let markers = subscriber.in_hand.len();
                let waiting: usize = backlog.waiting.iter().filter_map(|waiting| waiting.size).sum();
                let in_hand: usize = subscriber.in_hand.iter().sum();
                prop_assert_eq!(backlog.bytes(), waiting + in_hand);
                prop_assert!(backlog.waiting.len() - backlog.status_events <= messages && backlog.bytes() <= bytes);
                prop_assert!(backlog.len() <= messages + markers);
                // Held back events are released eventually, so every queued event must be deliverable or held back.
                let is_free = backlog.in_delivery < backlog.window() && !backlog.waiting.is_empty();
                prop_assert!(
                    !is_free || backlog.is_held_back() || backlog.has_next(),
                    "an idle subscriber gets nothing"
                );
            }
            backlog.release();
            loop {
                while let Some(size) = subscriber.in_hand.pop_front() {
                    backlog.handled(size);
                }
                if !subscriber.take(&mut backlog) {
                    break;
                }
            }
            prop_assert_eq!(subscriber.items + subscriber.reported_drops, pushed);
            prop_assert_eq!(subscriber.reported_drops, backlog.dropped());
            prop_assert_eq!((subscriber.reported_losses, subscriber.status_events), (losses, said));
            prop_assert_eq!((backlog.len(), backlog.bytes()), (0, 0));
        }
    }

    #[test]
    fn each_policy_keeps_the_right_messages() {
        let kept = |overflow| {
            let mut backlog = Backlog::new(bounds(3, 1000, overflow));
            let refused = (0..5).filter(|n| backlog.push(*n, 1).is_err()).count();
            let mut kept = Vec::new();
            while let Some(piece) = backlog.next() {
                match piece {
                    Piece::Item { item, size } => {
                        kept.push(item);
                        backlog.handled(size);
                    }
                    Piece::Dropped(count) => {
                        kept.push(-i32::try_from(count).expect("small"));
                        backlog.handled(0);
                    }
                    Piece::Gap { .. } => {}
                }
            }
            (kept, refused)
        };
        assert_eq!(kept(Overflow::DropOldest), (vec![-2, 2, 3, 4], 0));
        assert_eq!(kept(Overflow::DropNewest), (vec![0, 1, 2, -2], 0));
        assert_eq!(kept(Overflow::Disconnect), (vec![0, 1, 2], 2));
    }

    #[test]
    fn a_message_larger_than_the_limit_drops_no_other() {
        let mut backlog = Backlog::new(bounds(10, 100, Overflow::DropOldest));
        backlog.push('a', 50).expect("fits");
        backlog.push('b', 101).expect("dropped");
        assert_eq!(backlog.next(), Some(Piece::Item { item: 'a', size: 50 }));
        assert_eq!(backlog.next(), Some(Piece::Dropped(1)));
    }
}
