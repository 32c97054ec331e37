use super::*;
use proptest::prelude::*;

fn cause(refusal: bool) -> Cause {
    Cause::new(if refusal { CauseKind::Refused } else { CauseKind::Broken }, "test")
}

fn policy() -> ReconnectPolicy {
    ReconnectPolicy::exponential(Duration::from_millis(100)..=Duration::from_secs(1))
        .stable_after(Duration::from_secs(5))
}

fn link(seed: u64) -> LinkState {
    LinkState::new(policy(), fastrand::Rng::with_seed(seed))
}

#[derive(Debug, Clone)]
enum Step {
    Demand,
    Established { stale: bool },
    Failed { stale: bool, refusal: bool },
    Lost { stale: bool, refusal: bool },
    Tick,
    TickAtWake,
    Wait(u16),
    Shutdown(u16),
    Drained,
    Abort,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Demand),
        6 => prop::bool::weighted(0.2).prop_map(|stale| Step::Established { stale }),
        4 => (prop::bool::weighted(0.2), prop::bool::weighted(0.3))
            .prop_map(|(stale, refusal)| Step::Failed { stale, refusal }),
        4 => (prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(stale, refusal)| Step::Lost { stale, refusal }),
        2 => Just(Step::Tick),
        6 => Just(Step::TickAtWake),
        2 => any::<u16>().prop_map(Step::Wait),
        1 => any::<u16>().prop_map(Step::Shutdown),
        1 => Just(Step::Drained),
        1 => prop::bool::weighted(0.1).prop_map(|abort| if abort { Step::Abort } else { Step::Tick }),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The invariants of the machine, under every order of events that could be thought of.
    #[test]
    fn invariants_hold(steps in steps(), seed in any::<u64>()) {
        let mut now = Instant::now();
        let mut link = link(seed);
        let (mut connected, mut dialled, mut closed, mut drains) = (false, 0, false, 0);
        for step in steps {
            let generation = link.generation();
            let of = |stale: bool| if stale { generation.wrapping_sub(1) } else { generation };
            let event = match step {
                Step::Demand => Event::Demand,
                Step::Established { stale } => Event::Established { generation: of(stale) },
                Step::Failed { stale, refusal } => Event::Failed { generation: of(stale), cause: cause(refusal) },
                Step::Lost { stale, refusal } => Event::Lost { generation: of(stale), cause: cause(refusal) },
                Step::Tick => Event::Tick,
                Step::TickAtWake => {
                    now = link.wake_at().unwrap_or(now).max(now);
                    Event::Tick
                }
                Step::Wait(ms) => {
                    now += Duration::from_millis(ms.into());
                    continue;
                }
                Step::Shutdown(ms) => Event::Shutdown { deadline: now + Duration::from_millis(ms.into()) },
                Step::Drained => Event::Drained,
                Step::Abort => Event::Abort { cause: cause(false) },
            };
            for action in link.on(event, now) {
                prop_assert!(!closed, "{action:?} after the end");
                match action {
                    Action::Dial { generation, .. } => {
                        prop_assert_eq!(generation, dialled + 1, "one dial a generation, in order");
                        prop_assert!(!connected);
                        dialled = generation;
                    }
                    Action::Release { generation, attempts } => {
                        prop_assert!(!connected, "connected twice");
                        prop_assert!(attempts >= 1);
                        prop_assert_eq!(generation, dialled);
                        connected = true;
                    }
                    Action::Settle { generation, .. } => {
                        prop_assert!(connected, "disconnected without having been connected");
                        prop_assert_eq!(generation, dialled);
                        connected = false;
                    }
                    Action::Retry { delay, .. } => prop_assert!(delay <= Duration::from_secs(1)),
                    Action::Park { delay, cause } => {
                        prop_assert!(cause.is_refusal());
                        prop_assert!(delay >= Duration::from_millis(750));
                    }
                    Action::Drain => drains += 1,
                    Action::Finish { .. } => {
                        prop_assert!(!connected, "finished with a link open");
                        closed = true;
                    }
                }
            }
            prop_assert!(drains <= 1);
            prop_assert_eq!(connected, link.is_ready());
            prop_assert_eq!(closed, link.state() == ConnectionState::Closed);
            let waits = matches!(&link.phase, LinkPhase::Backoff { .. } | LinkPhase::Parked { .. });
            prop_assert!(!waits || link.wake_at().is_some(), "a wait without an end");
        }
    }
}

fn connect(link: &mut LinkState, now: Instant) {
    link.on(Event::Demand, now);
    while !link.is_ready() {
        link.on(Event::Tick, link.wake_at().unwrap_or(now));
        link.on(Event::Established { generation: link.generation() }, now);
    }
}

#[test]
fn a_server_that_accepts_and_closes_sees_growing_delays() {
    let now = Instant::now();
    let mut link = link(7);
    connect(&mut link, now);
    for _ in 0..10 {
        link.on(Event::Lost { generation: link.generation(), cause: cause(false) }, now);
        link.on(Event::Tick, now + Duration::from_secs(1));
        link.on(Event::Established { generation: link.generation() }, now);
    }
    assert_eq!(link.attempt(), 11, "connecting alone is no success");
}

#[test]
fn a_stable_connection_starts_afresh() {
    let now = Instant::now();
    let mut link = link(7);
    connect(&mut link, now);
    let stable = now + Duration::from_secs(5);
    assert_eq!(link.wake_at(), Some(stable));
    link.on(Event::Tick, stable);
    assert_eq!((link.attempt(), link.wake_at()), (0, None));
}

#[test]
fn a_refusal_parks_and_is_tried_again_for_ever() {
    let mut now = Instant::now();
    let mut link = link(3);
    link.on(Event::Demand, now);
    for attempt in 1..50 {
        let actions = link.on(Event::Failed { generation: link.generation(), cause: cause(true) }, now);
        assert!(matches!(actions.as_slice(), [Action::Park { .. }]));
        assert_eq!((link.state(), link.attempt()), (ConnectionState::Parked, attempt));
        assert!(link.on(Event::Demand, now).is_empty(), "demand does not hasten a refused login");
        now = link.wake_at().expect("tried again");
        link.on(Event::Tick, now);
    }
}

#[test]
fn a_drain_outlives_a_lost_link_until_its_deadline() {
    let now = Instant::now();
    let mut link = link(3);
    connect(&mut link, now);
    let deadline = now + Duration::from_secs(9);
    assert_eq!(link.on(Event::Shutdown { deadline }, now), [Action::Drain]);
    link.on(Event::Lost { generation: link.generation(), cause: cause(false) }, now);
    link.on(Event::Tick, now + Duration::from_secs(1));
    assert_eq!(link.state(), ConnectionState::Draining);
    let actions = link.on(Event::Tick, deadline);
    assert!(matches!(actions.as_slice(), [Action::Finish { .. }]), "{actions:?}");
}

#[test]
fn a_users_limit_ends_it_visibly() {
    let now = Instant::now();
    let mut link = LinkState::new(policy().give_up_after(2), fastrand::Rng::with_seed(1));
    link.on(Event::Demand, now);
    link.on(Event::Failed { generation: 1, cause: cause(false) }, now);
    link.on(Event::Tick, now + Duration::from_secs(1));
    let actions = link.on(Event::Failed { generation: 2, cause: cause(false) }, now);
    assert!(matches!(actions.as_slice(), [Action::Finish { .. }]), "{actions:?}");
    assert_eq!(link.state(), ConnectionState::Closed);
}

/// Ablation: by the number of dials, a redirected first dial is none.
#[test]
fn a_first_dial_that_is_redirected_is_still_the_first() {
    let (mut link, now) = (link(1), Instant::now());
    assert!(!link.is_first_dial());
    link.on(Event::Demand, now);
    link.on(Event::Redirected, now);
    assert!(link.is_first_dial());
    let generation = link.generation();
    link.on(Event::Failed { generation, cause: cause(false) }, now);
    assert!(!link.is_first_dial());
    link.on(Event::ReconnectNow, now);
    assert!(!link.is_first_dial());
}
