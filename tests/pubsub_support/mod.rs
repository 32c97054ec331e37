//! What the tests of subscriptions need.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::{Arc, Mutex};

use crate::support::eventually;
use actix::{Actor, ActorContext, Addr, Context, Handler, Message, ResponseFuture};
use redis_actix::prelude::*;
use redis_actix::{KeyEvent, Result};
use redis_actix_test::RedisServer;
use tokio::sync::watch;

/// Keeps everything that it is sent.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Vec<SubscriptionEvent>>>);

pub struct Inbox {
    notes: Notes,
    /// It handles nothing while this is false.
    open: watch::Receiver<bool>,
}

impl Actor for Inbox {
    type Context = Context<Self>;
}

impl Handler<SubscriptionEvent> for Inbox {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, event: SubscriptionEvent, _: &mut Context<Self>) -> Self::Result {
        self.notes.0.lock().expect("whole").push(event);
        let mut open = self.open.clone();
        Box::pin(async move {
            let _ = open.wait_for(|open| *open).await;
        })
    }
}

/// Ends the inbox, or has it panic.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Die {
    Stop,
    Panic,
}

impl Handler<Die> for Inbox {
    type Result = ();

    fn handle(&mut self, die: Die, ctx: &mut Context<Self>) {
        match die {
            Die::Stop => ctx.stop(),
            Die::Panic => panic!("injected"),
        }
    }
}

impl Notes {
    pub fn inbox() -> (Addr<Inbox>, Self) {
        let (inbox, notes, gate) = Self::gated();
        // No test closes it any more.
        gate.send_replace(true);
        (inbox, notes)
    }

    /// An inbox that handles nothing until it is released.
    pub fn gated() -> (Addr<Inbox>, Self, watch::Sender<bool>) {
        let notes = Self::default();
        let (gate, open) = watch::channel(false);
        (Inbox { notes: notes.clone(), open }.start(), notes, gate)
    }

    pub fn events(&self) -> Vec<SubscriptionEvent> {
        self.0.lock().expect("whole").clone()
    }

    pub fn payloads(&self) -> Vec<String> {
        let text = |event: &SubscriptionEvent| match event {
            SubscriptionEvent::Message(message) => Some(String::from_utf8_lossy(message.payload()).into_owned()),
            _ => None,
        };
        self.events().iter().filter_map(text).collect()
    }

    pub fn keys(&self) -> Vec<KeyEvent> {
        let key = |event: SubscriptionEvent| match event {
            SubscriptionEvent::Key(key) => Some(key),
            _ => None,
        };
        self.events().into_iter().filter_map(key).collect()
    }

    pub fn gaps(&self) -> usize {
        self.events().iter().filter(|event| matches!(event, SubscriptionEvent::Gap { losses: 1, .. })).count()
    }

    pub async fn payload(&self, payload: &str) {
        eventually(payload, || self.payloads().iter().any(|seen| seen == payload).then_some(())).await;
    }

    pub async fn event(&self, what: &str, is: impl Fn(&SubscriptionEvent) -> bool) -> SubscriptionEvent {
        eventually(what, || self.events().into_iter().find(|event| is(event))).await
    }
}

/// How many clients the server sends a channel to, by its full name.
pub fn subscribers(server: &RedisServer, channel: impl AsRef<[u8]>) -> i64 {
    let reply = server.command([b"PUBSUB".as_slice(), b"NUMSUB", channel.as_ref()]).expect("asked");
    reply.array().expect("a list")[1].int().expect("a number")
}

pub async fn until_subscribers(server: &RedisServer, channel: &str, count: i64) {
    eventually(&format!("{count} subscribers of {channel}"), || (subscribers(server, channel) == count).then_some(()))
        .await;
}

/// Publishes with the server's own words, prefix and all.
pub fn publish(server: &RedisServer, channel: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> i64 {
    let reply = server.command([b"PUBLISH".as_slice(), channel.as_ref(), payload.as_ref()]).expect("asked");
    reply.int().expect("a number")
}

/// A server that knows no HELLO, and is spoken to in RESP2.
pub fn old_server() -> RedisServer {
    RedisServer::builder().args(["--rename-command", "HELLO", ""]).start().unwrap_or_else(|error| panic!("{error}"))
}

pub async fn send_all(redis: &Redis, channel: &str, payloads: impl IntoIterator<Item = String>) -> Result<()> {
    let sent: Vec<_> = payloads.into_iter().map(|payload| redis.send(Publish::new(channel, payload))).collect();
    for sent in sent {
        sent.await?;
    }
    Ok(())
}
