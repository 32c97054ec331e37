use proptest::prelude::*;

use super::*;
use crate::error::{ErrorKind, Fate};

fn name(n: u8) -> Name {
    let kind = [Kind::Channel, Kind::Pattern, Kind::Shard][usize::from(n % 3)];
    Name { kind, bytes: Arc::from(&[n / 3][..]) }
}

fn error() -> Error {
    Error::new(ErrorKind::Server, Fate::Rejected, "no")
}

/// A server: the subscriptions on the current link, and the requests on their way to it.
#[derive(Default)]
struct Server {
    generation: u64,
    up: bool,
    subscribed: BTreeSet<Name>,
    asked: VecDeque<Ask>,
}

impl Server {
    fn answer(&mut self, machine: &mut Subscriptions, answer: Answer) {
        let Some(ask) = self.asked.pop_front() else { return };
        if self.up && ask.generation == self.generation && matches!(answer, Answer::Done) {
            if ask.wanted {
                assert!(self.subscribed.insert(ask.name.clone()), "subscribed twice: {ask:?}");
            } else {
                assert!(self.subscribed.remove(&ask.name), "unsubscribed without a subscription: {ask:?}");
            }
        }
        machine.answered(&ask, answer);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Join(u64, u8),
    Leave(u64, u8),
    End(u64),
    Ask,
    Done,
    Refused,
    NotSent,
    Elsewhere,
    Retry,
    Lost,
    Linked,
    Revoked(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (id, topic) = (0..4_u64, 0..6_u8);
    let step = prop_oneof![
        8 => (id.clone(), topic.clone()).prop_map(|(id, topic)| Step::Join(id, topic)),
        6 => (id.clone(), topic.clone()).prop_map(|(id, topic)| Step::Leave(id, topic)),
        1 => id.prop_map(Step::End),
        8 => Just(Step::Ask),
        6 => Just(Step::Done),
        1 => Just(Step::Refused),
        1 => Just(Step::NotSent),
        1 => Just(Step::Elsewhere),
        1 => Just(Step::Retry),
        1 => Just(Step::Lost),
        3 => Just(Step::Linked),
        1 => topic.prop_map(Step::Revoked),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// After all answers the server has exactly the wanted topics, once, and every subscriber that lost a confirmed
    /// topic was notified that it is confirmed again, or refused.
    ///
    /// Ablation: if a topic is requested again while a request is in progress, the server receives it twice.
    #[test]
    fn the_server_finally_has_exactly_the_wanted_topics(steps in steps()) {
        let mut machine = Subscriptions::default();
        let mut server = Server::default();
        let mut wanted: BTreeSet<(Name, u64)> = BTreeSet::new();
        let mut confirmed: BTreeSet<(Name, u64)> = BTreeSet::new();
        let mut recovering: BTreeSet<u64> = BTreeSet::new();
        let mut hurt = Vec::new();
        for step in steps {
            match step {
                Step::Join(id, topic) => {
                    machine.join(id, &name(topic));
                    wanted.insert((name(topic), id));
                }
                Step::Leave(id, topic) => {
                    machine.leave(id, &name(topic));
                    wanted.remove(&(name(topic), id));
                }
                Step::End(id) => {
                    machine.end(id);
                    wanted.retain(|(_, holder)| *holder != id);
                    recovering.remove(&id);
                }
                Step::Ask => server.asked.extend(machine.next()),
                Step::Done => server.answer(&mut machine, Answer::Done),
                // UNSUBSCRIBE is never refused.
                Step::Refused if server.asked.front().is_some_and(|ask| !ask.wanted) => {
                    server.answer(&mut machine, Answer::Done);
                }
                Step::Refused => server.answer(&mut machine, Answer::Refused(error())),
                Step::NotSent => server.answer(&mut machine, Answer::NotSent),
                // Unsubscribing from a node without the topic is complete.
                Step::Elsewhere if server.asked.front().is_some_and(|ask| !ask.wanted) => {
                    server.answer(&mut machine, Answer::Done);
                }
                Step::Elsewhere => server.answer(&mut machine, Answer::Elsewhere),
                Step::Retry => machine.retry(),
                Step::Lost if server.up => {
                    server.up = false;
                    server.subscribed.clear();
                    hurt = machine.lost();
                }
                Step::Linked if !server.up => {
                    server.generation += 1;
                    server.up = true;
                    machine.linked(server.generation);
                }
                Step::Revoked(topic) => {
                    let under_way = server.asked.iter().any(|ask| ask.name == name(topic));
                    if !under_way && server.subscribed.remove(&name(topic)) {
                        hurt = machine.revoked(&name(topic), true);
                    }
                }
                Step::Lost | Step::Linked => {}
            }
            recovering.extend(hurt.drain(..));
            while let Some(news) = machine.news() {
                match news {
                    News::Confirmed { id, name } => {
                        prop_assert!(server.subscribed.contains(&name) || !server.up);
                        confirmed.insert((name, id));
                    }
                    News::Refused { .. } => {}
                    News::Recovered { id } => {
                        recovering.remove(&id);
                    }
                }
            }
            let now = server.generation;
            let in_flight: Vec<_> = server.asked.iter().filter(|ask| server.up && ask.generation == now).collect();
            let distinct: BTreeSet<_> = in_flight.iter().map(|ask| &ask.name).collect();
            prop_assert_eq!(distinct.len(), in_flight.len(), "two requests for one topic");
            prop_assert_eq!(machine.in_flight, in_flight.len());
            prop_assert_eq!(machine.is_recovering(), !recovering.is_empty());
            for member in machine.members.values() {
                let open = member.topics.iter().filter(|name| !machine.topics[*name].stage.is_settled()).count();
                prop_assert_eq!(member.open, open);
            }
            prop_assert!(machine.todo.len() <= machine.topics.len(), "bounded by what there is");
        }
        if !server.up {
            server.generation += 1;
            server.up = true;
            machine.linked(server.generation);
        }
        while machine.has_deferred() {
            machine.retry();
        }
        // Refused topics are still wanted, and are requested again for a new subscriber.
        for (name, id) in &wanted {
            machine.join(*id, name);
        }
        for _ in 0..1_000 {
            server.asked.extend(machine.next());
            server.answer(&mut machine, Answer::Done);
        }
        let expected: BTreeSet<Name> = wanted.iter().map(|(name, _)| name.clone()).collect();
        prop_assert_eq!(&server.subscribed, &expected);
        prop_assert_eq!(machine.topics.len(), expected.len(), "no unwanted topics are stored");
        prop_assert!(!machine.is_recovering());
        for name in &expected {
            prop_assert!(machine.is_confirmed(name));
        }
    }
}

#[test]
fn a_loss_affects_only_subscribers_with_confirmed_topics() {
    let mut machine = Subscriptions::default();
    machine.linked(1);
    machine.join(1, &name(0));
    machine.join(2, &name(1));
    let ask = machine.next().expect("the first");
    machine.answered(&ask, Answer::Done);
    let late = machine.next().expect("the second");
    assert_eq!(machine.lost(), [1]);
    machine.linked(2);
    machine.answered(&late, Answer::Done);
    assert!(!machine.is_confirmed(&name(1)), "an answer of the previous link");
    let asks: Vec<_> = std::iter::from_fn(|| machine.next()).collect();
    assert_eq!(asks.len(), 2);
    for ask in &asks {
        machine.answered(ask, Answer::Done);
    }
    let news: Vec<_> = std::iter::from_fn(|| machine.news()).collect();
    assert_eq!(news.iter().filter(|news| matches!(news, News::Recovered { id: 1 })).count(), 1, "{news:?}");
    assert_eq!(news.iter().filter(|news| matches!(news, News::Recovered { .. })).count(), 1, "{news:?}");
}

#[test]
fn concurrent_requests_are_limited() {
    let mut machine = Subscriptions::default();
    for n in 0..10_000_u32 {
        machine.join(1, &Name { kind: Kind::Channel, bytes: Arc::from(&n.to_le_bytes()[..]) });
    }
    machine.linked(1);
    let asks: Vec<_> = std::iter::from_fn(|| machine.next()).collect();
    assert_eq!(asks.len(), IN_FLIGHT);
    machine.answered(&asks[0], Answer::Done);
    assert!(machine.next().is_some() && machine.next().is_none());
}

/// Ablation: if all topics are retried after each answer, 500,500 requests are made.
#[test]
fn a_narrow_window_causes_few_retries() {
    const TOPICS: u32 = 1_000;
    let mut machine = Subscriptions::default();
    for n in 0..TOPICS {
        machine.join(1, &Name { kind: Kind::Channel, bytes: Arc::from(&n.to_le_bytes()[..]) });
    }
    machine.linked(1);
    let (mut window, mut asked, mut confirmed) = (None, 0, 0);
    while confirmed < TOPICS {
        while let Some(ask) = machine.next() {
            asked += 1;
            if window.is_none() {
                window = Some(ask);
            } else {
                machine.answered(&ask, Answer::NotSent);
            }
        }
        machine.answered(&window.take().expect("a request in progress"), Answer::Done);
        confirmed += 1;
        machine.retry();
    }
    assert!(asked <= TOPICS * 3, "{asked}");
}

/// Ablation: if topics of removed subscribers count as requested, 4,999 retries are needed, 20 ms each.
#[test]
fn topics_of_removed_subscribers_delay_no_others() {
    let name = |n: u32| Name { kind: Kind::Channel, bytes: Arc::from(&n.to_le_bytes()[..]) };
    let mut machine = Subscriptions::default();
    (0..10_000).for_each(|n| machine.join(1, &name(n)));
    machine.join(2, &name(0));
    machine.linked(1);
    let under_way = machine.next().expect("the first");
    let refuse_all = |machine: &mut Subscriptions| {
        while let Some(ask) = machine.next() {
            machine.answered(&ask, Answer::NotSent);
        }
    };
    refuse_all(&mut machine);
    machine.end(1);
    machine.join(2, &name(10_000));
    refuse_all(&mut machine);
    machine.answered(&under_way, Answer::Done);
    machine.retry();
    let asks: Vec<_> = std::iter::from_fn(|| machine.next()).collect();
    assert!(asks.iter().any(|ask| ask.name == name(10_000)), "{asks:?}");
}
