//! Subscribers that are slow, narrow or dead, and bursts at those that are not.

use crate::pubsub_support::{Die, Notes, old_server, send_all, subscribers, until_subscribers};
use crate::support::{TIME_LIMIT, config, eventually, hasty, injected_panics_are_quiet};
use actix::prelude::*;
use redis_actix::ErrorKind;
use redis_actix::prelude::*;

/// Ablation: without the sweep the end of an actor on a quiet channel is not noticed.
#[actix::test]
async fn an_inbox_that_has_died_is_unsubscribed() {
    injected_panics_are_quiet();
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    for (nth, die) in [Die::Stop, Die::Panic].into_iter().enumerate() {
        let panics = matches!(die, Die::Panic);
        // An actor that panics takes its thread's System along unless it has one of its own.
        let arbiter = Arbiter::new();
        let (sent, inbox) = tokio::sync::oneshot::channel();
        arbiter.spawn_fn(move || drop(sent.send(Notes::inbox().0)));
        let inbox = inbox.await.expect("started");
        let channel = format!("quiet{nth}");
        let subscription =
            redis.subscribe([Topic::channel(&channel)], inbox.clone().recipient()).await.expect("confirmed");
        assert_eq!(subscribers(&server, format!("test:{channel}")), 1);
        let ended = inbox.send(die).await;
        assert_eq!(ended.is_err(), panics);
        until_subscribers(&server, &format!("test:{channel}"), 0).await;
        eventually("the end", || subscription.stats().ended.then_some(())).await;
        let error = subscription.add([Topic::channel("more")]).await.expect_err("over");
        assert_eq!(error.kind(), ErrorKind::Closed);
        arbiter.stop();
    }
}

/// Ablation: with a bound on waiting messages and none on delivered ones, everything is in the mailbox.
#[actix::test]
async fn a_slow_inbox_costs_bounded_memory_by_its_policy_and_does_not_affect_others() {
    const SENT: u64 = 2_000;
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let policies = [Overflow::DropOldest, Overflow::DropNewest, Overflow::Disconnect];
    let mut slow = Vec::new();
    for overflow in policies {
        let (inbox, notes, gate) = Notes::gated();
        let subscribing = redis.subscribe([Topic::channel("a")], inbox.recipient()).buffer(100).overflow(overflow);
        slow.push((overflow, subscribing.await.expect("confirmed"), notes, gate));
    }
    let (inbox, _notes, _gate) = Notes::gated();
    let few_bytes = redis.subscribe([Topic::channel("a")], inbox.recipient()).buffer_bytes(20_000);
    let few_bytes = few_bytes.await.expect("confirmed");
    let (inbox, fast) = Notes::inbox();
    let _fast = redis.subscribe([Topic::channel("a")], inbox.recipient()).await.expect("confirmed");
    send_all(&redis, "a", (0..SENT).map(|n| format!("{n:01000}"))).await.expect("sent");
    eventually("all of them at the fast one", || (fast.payloads().len() as u64 == SENT).then_some(())).await;
    let stats = few_bytes.stats();
    assert!(stats.waiting_bytes <= 20_000 && stats.dropped >= SENT - 20, "{stats:?}");
    let last = format!("{:01000}", SENT - 1);
    for (overflow, subscription, notes, gate) in slow {
        let stats = subscription.stats();
        let handed = notes.events().len() as u64;
        assert!(handed <= 128, "{handed} in its hands");
        if overflow == Overflow::Disconnect {
            assert!(stats.ended && stats.waiting == 0, "{stats:?}");
            notes.event("the end", |event| matches!(event, SubscriptionEvent::Ended { .. })).await;
            continue;
        }
        assert_eq!((stats.waiting, stats.dropped), (100, SENT - 100), "{overflow:?}: {stats:?}");
        gate.send_replace(true);
        eventually("the rest", || (subscription.stats().waiting == 0).then_some(())).await;
        let dropped = |event: &SubscriptionEvent| match event {
            SubscriptionEvent::Dropped { messages } => *messages,
            _ => 0,
        };
        let (payloads, dropped) = (notes.payloads(), notes.events().iter().map(dropped).sum::<u64>());
        assert_eq!((payloads.len() as u64, dropped), (100, SENT - 100), "each dropped message is reported");
        assert_eq!(payloads.last() == Some(&last), overflow == Overflow::DropOldest);
        assert!(payloads.is_sorted());
    }
    until_subscribers(&server, "test:a", 1).await;
}

/// Ablation: without yielding after some messages, or with no more buffered than one turn receives, the inbox loses a
/// part of the burst.
#[actix::test]
async fn a_burst_reaches_a_fast_inbox_whole_and_in_order() {
    const SENT: usize = 30_000;
    for (protocol, server) in [(3, crate::support::server()), (2, old_server())] {
        let redis = hasty(config(server.port())).start().expect("started");
        let (inbox, notes) = Notes::inbox();
        let subscribing = redis.subscribe([Topic::channel("a")], inbox.recipient()).buffer(512);
        let subscription = subscribing.await.expect("confirmed");
        send_all(&redis, "a", (0..SENT).map(|n| format!("{n:06}"))).await.expect("sent");
        eventually("all of them", || {
            let stats = subscription.stats();
            (stats.delivered + stats.dropped == SENT as u64).then_some(())
        })
        .await;
        let payloads = notes.payloads();
        assert!(payloads.len() == SENT && payloads.is_sorted(), "in RESP{protocol}: {}", payloads.len());
    }
}

/// Ablation: a mailbox that is full takes a message when its request is polled; polled later, the next one may have found
/// room before it.
#[actix::test]
async fn a_mailbox_that_is_full_keeps_the_order() {
    const SENT: usize = 10_000;
    struct Narrow(Vec<String>, tokio::sync::mpsc::UnboundedSender<Vec<String>>);
    impl Actor for Narrow {
        type Context = Context<Self>;
        fn started(&mut self, ctx: &mut Context<Self>) {
            ctx.set_mailbox_capacity(1);
        }
    }
    impl Handler<SubscriptionEvent> for Narrow {
        type Result = AtomicResponse<Self, ()>;
        fn handle(&mut self, event: SubscriptionEvent, _: &mut Context<Self>) -> Self::Result {
            if let SubscriptionEvent::Message(message) = event {
                self.0.push(message.decode().expect("text"));
            }
            if self.0.len() == SENT {
                let _ = self.1.send(std::mem::take(&mut self.0));
            }
            AtomicResponse::new(Box::pin(tokio::task::yield_now().into_actor(self)))
        }
    }
    let server = crate::support::server();
    let redis = hasty(config(server.port())).start().expect("started");
    let (sender, mut all) = tokio::sync::mpsc::unbounded_channel();
    let inbox = Narrow::start_in_arbiter(&Arbiter::new().handle(), move |_| Narrow(Vec::new(), sender));
    let subscribing = redis.subscribe([Topic::channel("a")], inbox.recipient()).buffer(SENT);
    let _subscription = subscribing.await.expect("confirmed");
    send_all(&redis, "a", (0..SENT).map(|n| format!("{n:06}"))).await.expect("sent");
    let all = tokio::time::timeout(TIME_LIMIT, all.recv()).await.expect("in time").expect("all");
    assert!(all.is_sorted());
}
