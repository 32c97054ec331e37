//! The machine against a server that lives in memory, driven by chance: whatever is lost, delayed and
//! answered, no entry is forgotten.

mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use world::{LeaseOwner, Pending, Test, World, no_group, terms};

#[derive(Debug, Clone)]
enum Step {
    Add,
    Serve { nth: usize, runs: bool, answers: bool },
    Answer(usize, u8),
    Wait(u64),
    Steal,
    Pause,
    Resume,
    Destroy,
    Crash,
    Fail { nth: usize, started: bool },
    Drain(u64),
    Jump(u64),
    Trim(usize),
    Seek,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Add),
        8 => any::<usize>().prop_map(|nth| Step::Serve { nth, runs: true, answers: true }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(nth, runs)| Step::Serve { nth, runs, answers: false }),
        5 => (any::<usize>(), any::<u8>()).prop_map(|(nth, outcome)| Step::Answer(nth, outcome)),
        3 => (0..200u64).prop_map(Step::Wait),
        1 => Just(Step::Steal),
        1 => Just(Step::Resume),
        1 => prop_oneof![3 => Just(Step::Resume), 1 => Just(Step::Pause)],
        1 => prop_oneof![6 => Just(Step::Resume), 1 => Just(Step::Destroy), 1 => Just(Step::Crash)],
        1 => prop_oneof![
            6 => (any::<usize>(), any::<bool>()).prop_map(|(nth, started)| Step::Fail { nth, started }),
            1 => (0..500u64).prop_map(Step::Drain),
            2 => (0..2000u64).prop_map(Step::Jump),
            2 => any::<usize>().prop_map(Step::Trim),
            1 => Just(Step::Seek),
        ],
    ];
    proptest::collection::vec(step, 0..400)
}

fn outcome(choice: u8) -> Outcome {
    match choice % 16 {
        0 | 1 => Outcome::Retry,
        2 => Outcome::Reject("no".to_owned()),
        3 => Outcome::Release,
        4 => Outcome::PauseFor(Duration::from_millis(u64::from(choice))),
        5 => Outcome::RetryAfter(Duration::from_millis(u64::from(choice) * 3)),
        _ => Outcome::Ack,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// After any history, once the world is kind again, every entry is acknowledged or among the dead
    /// letters, and nothing is left in hand. Only what a lost group had forgotten may be both.
    #[test]
    fn every_entry_ends_in_exactly_one_place(steps in steps(), keeps_up: bool, ordered: bool) {
        let terms = if keeps_up { roomy() } else { terms() };
        let mut test = Test::with(Terms { ordered, ..terms });
        let mut lost_groups = 0;
        for step in steps {
            match step {
                Step::Add => test.add(),
                Step::Serve { nth, runs, answers } => test.serve(nth, runs, answers),
                Step::Answer(nth, choice) => test.answer(nth, outcome(choice)),
                Step::Wait(ms) => test.now += Duration::from_millis(ms),
                Step::Steal => test.steal(),
                Step::Pause => test.machine.pause(test.now),
                Step::Resume => test.machine.resume(test.now),
                Step::Crash => test.crash(),
                Step::Fail { nth, started } => test.fail(nth, started),
                Step::Drain(ms) => test.machine.drain(test.now + Duration::from_millis(ms)),
                Step::Jump(ms) => test.jump(Duration::from_millis(ms)),
                Step::Trim(nth) => test.trim(nth),
                Step::Seek => {
                    lost_groups += 1;
                    test.seek();
                }
                Step::Destroy => {
                    lost_groups += 1;
                    test.destroy();
                }
            }
            test.look();
        }
        test.machine.resume(test.now);
        test.settle();
        let World { pending, fresh, acked, dead, trimmed, added, .. } = &test.world;
        prop_assert!(fresh.is_empty() && pending.is_empty(), "left: {} new, {pending:?}, {} with {:?}, asked {:?}", fresh.len(), test.machine.state(), test.machine.book(), test.asked);
        let ended: BTreeSet<_> = acked.union(dead).chain(trimmed).collect();
        prop_assert_eq!(ended.len(), *added as usize);
        prop_assert!(lost_groups > 0 || acked.is_disjoint(dead));
        prop_assert_eq!(test.machine.book().len(), 0);
    }

    /// An entry that takes the process down whenever it is handled ends among the dead letters after as many
    /// processes as it may be delivered, and alone: however often they were read or taken over with it, the budget
    /// of its neighbours is their own.
    #[test]
    fn a_poisonous_entry_takes_no_neighbour_with_it(
        entries in 1..30u64, poison in 1..30u64, order in proptest::collection::vec(any::<usize>(), 50),
    ) {
        let poison = StreamId::new(poison.min(entries), 0);
        let mut test = Test::new();
        (0..entries).for_each(|_| test.add());
        let (mut deaths, mut order) = (0, order.into_iter().cycle());
        for _ in 0..5_000 {
            test.look();
            if test.running.iter().any(|(id, _)| *id == poison) {
                deaths += 1;
                test.crash();
                continue;
            }
            if test.world.acked.len() + test.world.dead.len() == entries as usize {
                break;
            }
            let nth = order.next().unwrap_or_default();
            test.serve(nth, true, true);
            if nth % 3 == 0 {
                test.answer(nth, Outcome::Ack);
            }
            test.now += Duration::from_millis(1);
        }
        prop_assert_eq!(&test.world.dead, &BTreeSet::from([poison]));
        prop_assert_eq!(test.world.acked.len() as u64, entries - 1);
        // The start of a first attempt is not recorded: that would cost a command for each entry.
        let most = terms().max_deliveries;
        prop_assert!((most..=most + 1).contains(&deaths), "{deaths} deaths");
    }
}

#[test]
fn who_bears_a_name_that_is_taken_reads_nothing_and_settles_nothing() {
    let mut test = Test::new();
    (0..4).for_each(|_| test.add());
    for _ in 0..40 {
        test.look();
        test.serve(0, true, true);
        test.now += Duration::from_millis(1);
    }
    assert_eq!(test.running.len(), 3, "{:?}", test.asked);
    test.machine.named(Ok(Holder::Somebody("other".to_owned())), test.now);
    let (id, run) = test.running[0];
    test.machine.handled(id, run, Handled::Done(Outcome::Reject("no".to_owned())), test.now);
    let mut asked = Vec::new();
    let mut told = 0;
    while let Some(action) = test.machine.next(test.now) {
        match action {
            Action::PublishEvent(Notice::NameTaken { .. }) => told += 1,
            Action::PublishEvent(_) | Action::SignalLost { .. } | Action::Unblock { .. } => {}
            other => asked.push(other),
        }
    }
    assert_eq!(told, 1);
    assert!(asked.is_empty(), "{asked:?}");
    assert_eq!(test.machine.state(), "waiting for its name");
    assert_eq!(test.machine.book().len(), 2, "those with a handler");
}

#[test]
fn who_stood_still_asks_what_is_still_its_own() {
    let mut test = reading(terms());
    (0..2).for_each(|_| test.add());
    // The server answers, and nobody is there to hear it until somebody else has taken the first one over.
    test.now += Duration::from_secs(5);
    let (first, second) = (StreamId::new(1, 0), StreamId::new(2, 0));
    for id in [first, second] {
        test.world
            .pending
            .insert(id, Pending::new(if id == second { LeaseOwner::Us } else { LeaseOwner::Peer }, test.now, 1));
    }
    test.world.fresh.clear();
    test.look();
    let read = test.asked.iter().position(|action| matches!(action, Action::Read { .. })).expect("under way");
    test.asked.remove(read);
    test.page(vec![Test::arrival(first, false), Test::arrival(second, false)]);
    test.look();
    assert!(test.running.is_empty(), "nothing before the server was asked");
    for _ in 0..20 {
        test.serve(0, true, true);
        test.look();
    }
    assert_eq!(test.running.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [second]);
}

/// So many handlers that no page waits for one, and two are asked for at once.
fn roomy() -> Terms {
    Terms { max_in_flight: 8, batch: 2, backlog: 4, ..terms() }
}

/// How many entries the reads ask for that are under way, and whether they wait for some to come.
fn reads(test: &Test) -> Vec<(usize, bool)> {
    let reads = test.asked.iter().filter_map(|action| match action {
        Action::Read { count, blocks } => Some((*count, *blocks)),
        _ => None,
    });
    reads.collect()
}

/// A consumer that has looked through what was pending, and reads.
fn reading(terms: Terms) -> Test {
    let mut test = Test::with(terms);
    // It has handled entries before, and knows how large they are and how long they take.
    test.machine.assume(10, Duration::from_micros(1));
    for _ in 0..40 {
        test.look();
        if !reads(&test).is_empty() {
            return test;
        }
        test.serve(0, true, true);
        test.now += Duration::from_millis(1);
    }
    panic!("it never reads: {:?}", test.asked)
}

/// The read that is under way for longest is answered.
fn answer_read(test: &mut Test) {
    let nth = test.asked.iter().position(|action| matches!(action, Action::Read { .. })).expect("under way");
    test.serve(nth, true, true);
    test.look();
}

/// All that handlers have is done.
fn answer_all(test: &mut Test) {
    while !test.running.is_empty() {
        test.answer(0, Outcome::Ack);
    }
    test.look();
}

/// A consumer that has read so much that two reads are under way, with handlers that have done all.
fn reading_ahead(terms: Terms) -> Test {
    let mut test = reading(terms);
    (0..30).for_each(|_| test.add());
    for _ in 0..2 {
        answer_read(&mut test);
        answer_all(&mut test);
    }
    assert_eq!(reads(&test), [(2, false), (2, false)]);
    test
}

/// What it wants, without doing it.
fn wants(test: &mut Test) -> Vec<Action<StreamId>> {
    std::iter::from_fn(|| test.machine.next(test.now)).collect()
}

#[test]
fn two_reads_are_under_way_while_pages_are_full() {
    let mut test = reading(roomy());
    assert_eq!(reads(&test), [(2, true)], "one that waits, and nothing behind it");
    (0..9).for_each(|_| test.add());
    answer_read(&mut test);
    answer_all(&mut test);
    assert_eq!(reads(&test), [(2, true)], "a full page alone is no backlog");
    for _ in 0..3 {
        answer_read(&mut test);
        answer_all(&mut test);
        assert_eq!(reads(&test), [(2, false), (2, false)]);
    }
    answer_read(&mut test);
    assert_eq!(reads(&test), [(2, false)], "the last page was not full");
    answer_read(&mut test);
    assert_eq!(reads(&test), [(2, true)]);
}

/// Ablation: if whoever has nothing in line counts as keeping up, all do before the first page is decoded, and 9 are in
/// hand here.
#[test]
fn who_does_not_keep_up_or_keeps_an_order_reads_no_two_pages_ahead() {
    let slow = Terms { max_in_flight: 1, batch: 4, backlog: 8, ..terms() };
    for (terms, keeps_up) in [
        (slow, false),
        (Terms { max_in_flight: 4, ..roomy() }, false),
        (Terms { ordered: true, ..roomy() }, true),
        (Terms { max_bytes: 25, ..roomy() }, true),
    ] {
        let window = terms.max_in_flight + terms.batch;
        let mut test = reading(terms);
        (0..40).for_each(|_| test.add());
        for _ in 0..6 {
            if reads(&test).is_empty() {
                break;
            }
            answer_read(&mut test);
            if keeps_up {
                answer_all(&mut test);
            }
            assert!(reads(&test).len() < 2, "{:?}", reads(&test));
        }
        let held = test.machine.book().held();
        assert!(held <= window, "{held} of {window}, keeps up: {keeps_up}");
    }
}

/// Ablation: where room is taken for retries as if nothing was on its way, 14 are in hand.
#[test]
fn retries_leave_room_for_what_was_asked_for() {
    let mut test = reading_ahead(roomy());
    answer_read(&mut test);
    for _ in 0..2 {
        test.answer(0, Outcome::RetryAfter(Duration::from_millis(10)));
    }
    test.look();
    while test.running.len() < roomy().max_in_flight && !reads(&test).is_empty() {
        answer_read(&mut test);
    }
    for _ in 0..200 {
        test.now += Duration::from_millis(1);
        test.look();
        if !test.asked.is_empty() {
            // `look` holds what is in hand against the window.
            test.serve(0, true, true);
        }
    }
}

/// Ablation: with patience that begins when a read is sent the second one is severed a moment after MARGIN at the front.
#[test]
fn the_patience_with_the_second_read_begins_when_the_first_is_answered() {
    let mut test = reading_ahead(roomy());
    let time_limit = terms().block + MARGIN;
    for _ in 0..8 {
        test.now += (time_limit - Duration::from_millis(1)) / 8;
        test.look();
    }
    answer_read(&mut test);
    test.now += Duration::from_millis(2);
    test.look();
    test.now += MARGIN + Duration::from_millis(1);
    let wants = wants(&mut test);
    assert!(!wants.iter().any(|action| matches!(action, Action::Disconnect { .. })), "{wants:?}");
}

/// Ablation: a read that does not block is severed at the first look, with its answer in this process' socket.
#[test]
fn who_stood_still_takes_what_its_reads_have_brought_before_it_gives_the_link_up() {
    let mut test = reading_ahead(roomy());
    test.now += terms().block + MARGIN + Duration::from_millis(1);
    let first = wants(&mut test);
    assert!(!first.iter().any(|action| matches!(action, Action::Disconnect { .. })), "{first:?}");
    // And one that never answers is on a dead link.
    test.now += MARGIN;
    let then = wants(&mut test);
    assert!(then.iter().any(|action| matches!(action, Action::Disconnect { .. })), "{then:?}");
}

/// Ablation: doubt that is one flag for all pages is over with the first one.
#[test]
fn whoever_stood_still_asks_about_both_pages_that_it_had_asked_for() {
    let mut test = reading_ahead(roomy());
    // Both are answered, and while nobody looks somebody else takes over what they brought.
    test.now += Duration::from_millis(600);
    test.look();
    assert!(test.running.is_empty());
    for _ in 0..2 {
        answer_read(&mut test);
        assert!(test.running.is_empty(), "nothing before the server was asked");
        for pending in test.world.pending.values_mut() {
            pending.owner = LeaseOwner::Peer;
        }
        for _ in 0..10 {
            if let Some(nth) = test.asked.iter().position(|action| matches!(action, Action::Lease { .. })) {
                test.serve(nth, true, true);
            }
            test.look();
        }
        assert!(test.running.is_empty(), "what is others' is not handed out");
    }
}

/// Ablation: if one full page is a backlog, each entry costs a read that brings nothing.
#[test]
fn entries_that_come_one_by_one_cost_one_read_each() {
    let mut test = reading(Terms { max_in_flight: 8, batch: 1, backlog: 64, ..terms() });
    let mut count = 0;
    for _ in 0..60 {
        test.add();
        while !test.world.fresh.is_empty() {
            answer_read(&mut test);
            count += 1;
        }
        answer_all(&mut test);
        test.now += Duration::from_millis(10);
        test.look();
    }
    assert_eq!((count, reads(&test)), (60, vec![(1, true)]));
}

/// Ablation: when a group that is gone starts the pauses anew, as many reads as there are turns.
#[test]
fn a_server_that_contradicts_itself_is_not_asked_without_a_pause() {
    let mut test = Test::new();
    let (mut reads, mut setups) = (0, 0);
    for _ in 0..10_000 {
        test.look();
        match test.asked.pop() {
            // There is a group for whoever creates one, and none for whoever reads.
            Some(Action::Read { .. }) => {
                reads += 1;
                test.machine.read_failed(no_group(), test.now);
            }
            Some(other) => {
                setups += u32::from(matches!(other, Action::EnsureGroup { .. }));
                test.asked.push(other);
                let last = test.asked.len() - 1;
                test.serve(last, true, true);
            }
            None => {}
        }
        test.now += Duration::from_millis(1);
    }
    assert!((3..60).contains(&reads) && (3..60).contains(&setups), "{reads} reads, {setups} setups in 10 s");
}

/// Ablation: swept at once, the first one of those who stood still together takes over what the others still work on.
#[test]
fn who_stood_still_lets_others_renew_before_it_sweeps() {
    let mut test = Test::new();
    sweeping(&mut test);
    test.machine
        .swept(Ok(SweepReply { clock: 0, returned: Vec::new(), claims: Some(ClaimReply::default()) }), test.now);
    for _ in 0..2 {
        test.look();
        test.now += Duration::from_secs(5);
        let woke = test.now;
        sweeping(&mut test);
        assert!(test.now - woke >= terms().min_idle / 3, "{:?}", test.now - woke);
        // Who stands still all the time sweeps all the same.
        test.machine
            .swept(Ok(SweepReply { clock: 0, returned: Vec::new(), claims: Some(ClaimReply::default()) }), test.now);
    }
    test.look();
    test.now += Duration::from_secs(5);
    test.look();
    test.now += Duration::from_secs(5);
    let woke = test.now;
    sweeping(&mut test);
    assert_eq!(test.now, woke);
}

/// Ablation: if only a sweep that claims something is followed by reads, there are none.
#[test]
fn an_ordered_consumer_reads_even_if_the_clock_jumps_while_it_starts() {
    let mut test = Test::with(Terms { ordered: true, ..terms() });
    let sweep = sweeping(&mut test);
    // The reply is lost, and by the next one the clock has jumped.
    test.machine.swept(Ok(SweepReply { clock: 5, returned: Vec::new(), claims: None }), test.now);
    test.look();
    assert!(matches!(sweep, Action::Sweep { .. }) && !reads(&test).is_empty(), "{:?}", test.asked);
}

/// Ablation: with a page size that does not change, 4 entries are asked for.
#[test]
fn a_page_that_arrives_too_slowly_is_followed_by_smaller_ones() {
    let mut test = reading(Terms { max_in_flight: 8, batch: 4, ..terms() });
    let asked = |test: &Test| reads(test)[0].0;
    assert_eq!(asked(&test), 4);
    for wanted in [2, 1] {
        let page: Vec<_> = (0..asked(&test))
            .map(|_| {
                test.add();
                test.world.fresh.pop_back().expect("added")
            })
            .collect();
        test.asked.clear();
        // It arrives all the time: this thread is never late.
        for _ in 0..90 {
            test.now += Duration::from_millis(20);
            test.look();
        }
        for id in &page {
            test.world.pending.insert(*id, Pending::new(LeaseOwner::Us, test.now, 1));
        }
        test.asked.clear();
        test.page(page.into_iter().map(|id| Test::arrival(id, false)).collect());
        answer_all(&mut test);
        assert_eq!(asked(&test), wanted);
    }
}

/// Ablation: with what this consumer has not received taken for what somebody has handled, it is called attempt 2.
#[test]
fn an_own_entry_that_never_arrived_and_is_swept_is_at_its_first_attempt() {
    let mut test = reading(terms());
    let id = StreamId::new(1, 0);
    test.world.added = 1;
    test.world.pending.insert(id, Pending::new(LeaseOwner::Us, test.now, 1));
    let Action::Sweep { unread, .. } = sweeping(&mut test) else { panic!("no sweep") };
    assert!(unread.is_some_and(|from| from <= id), "{unread:?}");
    let claims =
        ClaimReply { entries: vec![ClaimedEntry { id, deliveries: 1, is_unread: true }], ..ClaimReply::default() };
    let clock = test.world.clock(test.began, test.now);
    test.machine.swept(Ok(SweepReply { clock, returned: Vec::new(), claims: Some(claims) }), test.now);
    test.look();
    let nth = test.asked.iter().position(|action| matches!(action, Action::Take { .. })).expect("it is taken");
    test.serve(nth, true, true);
    test.look();
    // `look` compares the number of the attempt with that of the handlers that were started.
    assert_eq!((test.running.len(), test.exact), (1, true), "{:?}", test.asked);
}

/// Answers what is asked until it is a sweep, and returns that.
fn sweeping(test: &mut Test) -> Action<StreamId> {
    for _ in 0..1_000 {
        test.look();
        if let Some(nth) = test.asked.iter().position(|action| matches!(action, Action::Sweep { .. })) {
            return test.asked.remove(nth);
        }
        if let Some(nth) = test.asked.iter().position(|action| !matches!(action, Action::Read { .. })) {
            test.serve(nth, true, true);
        } else {
            test.now += Duration::from_millis(1);
        }
    }
    panic!("no sweep: {:?}", test.asked)
}

/// What the report of a drain is made of. Ablations: counted when it is to be told, the first is 1 before the server has
/// heard of it; with every parting counted, the second is 2.
#[test]
fn handed_back_is_what_no_handler_had_and_the_server_has_heard_of() {
    let serve = |test: &mut Test| {
        for _ in 0..10 {
            test.look();
            test.serve(0, true, true);
        }
    };
    let mut test = reading(terms());
    (0..4).for_each(|_| test.add());
    answer_read(&mut test);
    assert_eq!(test.running.len(), 3, "one waits");
    let deadline = test.now + Duration::from_secs(1);
    test.machine.drain(deadline);
    test.look();
    assert_eq!(test.machine.tally().handed_back, 0, "the server is asked, and has not answered");
    serve(&mut test);
    assert_eq!(test.machine.tally().handed_back, 1);

    // The next process does not know which of those that were begun took this one down.
    test.crash();
    while test.running.is_empty() {
        test.look();
        test.serve(0, true, true);
    }
    test.machine.drain(deadline);
    test.running.clear();
    serve(&mut test);
    assert!(test.machine.tally().handed_back <= 1, "at most the one that was handed back before");
}

/// Ablation: with whatever the server was told taken for that, it counts as handed back, and nobody is told of it.
#[test]
fn a_renewal_on_its_way_hands_nothing_back() {
    let mut test = reading(terms());
    (0..4).for_each(|_| test.add());
    answer_read(&mut test);
    assert_eq!(test.running.len(), 3, "one waits");
    let lease = |test: &mut Test| {
        test.look();
        let nth = test.asked.iter().position(|action| matches!(action, Action::Lease { .. }))?;
        let Action::Lease { terms } = &test.asked[nth] else { return None };
        Some((nth, terms.iter().filter(|term| term.returned).count()))
    };
    let mut renewal = None;
    while renewal.is_none() {
        test.now += Duration::from_millis(10);
        renewal = lease(&mut test);
    }
    let (nth, released) = renewal.expect("a renewal");
    assert_eq!(released, 0);
    test.machine.drain(test.now + Duration::from_secs(1));
    test.serve(nth, true, true);
    assert_eq!(test.machine.tally().handed_back, 0, "the server knows nothing of it");
    let (nth, released) = lease(&mut test).expect("the word that others may have it");
    assert_eq!(released, 1);
    test.serve(nth, true, true);
    assert_eq!(test.machine.tally().handed_back, 1);
}
