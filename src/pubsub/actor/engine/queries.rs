//! Requests to the server: for topics, and once per link for its notification setting.

use std::{
    collections::HashMap,
    task::{Context, Poll},
    time::Instant,
};

use futures_util::stream::StreamExt;
use redis::Value;

use super::{Engine, RETRY};
use crate::clock::FOREVER;
use crate::error::{Error, ErrorKind, Result};
use crate::frame::Frame;
use crate::messages::Command;
use crate::pubsub::event::SubscriptionEvent;
use crate::pubsub::machine::isolation::Reachability;
use crate::pubsub::machine::router::LinkId;
use crate::pubsub::machine::{Answer, Ask, Id};
use crate::pubsub::topic::request;

/// SUBSCRIBE and similar commands, and the query of the server's setting.
struct ServerQuery;

impl actix::Message for ServerQuery {
    type Result = Result<Value>;
}

impl Command for ServerQuery {
    type Reply = Value;

    fn frame(&self) -> Frame {
        Frame::default()
    }

    fn reply(value: Value) -> Result<Value> {
        Ok(value)
    }
}

/// The result of a request.
pub(super) enum QueryOutcome {
    Answered(LinkId, Ask, Answer),
    Setting(LinkId, u64, Option<String>),
    Reachability(u64, Reachability),
}

/// Whether the server sends key events.
pub(super) enum Notifications {
    Unknown,
    Asked,
    /// Disabled; contains the setting.
    Off(String),
    /// Enabled, or not known.
    Fine,
}

impl Engine {
    /// Queries once per link whether the server sends key events, if a subscriber needs them. With RESP2 this is not
    /// possible after the first subscription.
    pub(super) fn check_notifications(&mut self, link_id: LinkId) {
        let Some(place) = self.places.get_mut(&link_id) else { return };
        let Some(generation) = place.generation else { return };
        let may_ask = place.protocol >= 3 || self.subscription_router.is_untouched(link_id);
        let is_wanted = || {
            let mut watched = self.members.values().flat_map(|member| member.watched());
            watched.any(|name| self.subscription_router.is_at(name, link_id))
        };
        if !matches!(place.notifications, Notifications::Unknown) || !may_ask || !is_wanted() {
            return;
        }
        place.notifications = Notifications::Asked;
        let link = place.redis.clone();
        let frame = without_deadline(Frame::known("CONFIG GET").arg("notify-keyspace-events"));
        self.questions.push(Box::pin(async move {
            // The query may be forbidden; then no warning is sent.
            let answer = link.send_on::<ServerQuery>(generation, frame).await.ok();
            let setting = answer.and_then(|value| redis::from_redis_value::<HashMap<String, String>>(value).ok());
            QueryOutcome::Setting(link_id, generation, setting.and_then(|mut all| all.remove("notify-keyspace-events")))
        }));
    }

    fn learned(&mut self, link_id: LinkId, generation: u64, setting: Option<String>) {
        let Some(place) = self.places.get_mut(&link_id).filter(|place| place.generation == Some(generation)) else {
            return;
        };
        place.notifications = match setting {
            Some(setting) if !sends_events(&setting) => {
                tracing::warn!(
                    event = "subscription.key_events_off",
                    setting,
                    "the server sends no key events; enable them with notify-keyspace-events"
                );
                Notifications::Off(setting)
            }
            _ => Notifications::Fine,
        };
        for id in self.members.keys().copied().collect::<Vec<_>>() {
            self.warn_if_disabled(id);
        }
    }

    /// Warns a subscriber once per link that no key events are sent, but only after its topics are confirmed: a
    /// refused subscriber gets no events.
    pub(super) fn warn_if_disabled(&mut self, id: Id) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let mut off = Vec::new();
        for (link_id, place) in &self.places {
            if let (Notifications::Off(setting), Some(generation)) = (&place.notifications, place.generation)
                && member
                    .watched()
                    .any(|name| self.subscription_router.is_at(name, *link_id) && member.has_been_answered(name))
                && member.is_first_confirmation(*link_id, generation)
            {
                let node = place.node.as_ref().map(ToString::to_string);
                off.push(SubscriptionEvent::NotificationsOff { setting: setting.clone(), node });
            }
        }
        for event in off {
            self.publish(id, event);
        }
    }

    fn ask(&mut self, link_id: LinkId, ask: Ask) {
        let Some(link) = self.places.get(&link_id).map(|place| place.redis.clone()) else { return };
        let frame = without_deadline(request(&ask.name, ask.wanted));
        self.questions.push(Box::pin(async move {
            let answer = match link.send_on::<ServerQuery>(ask.generation, frame).await {
                Ok(_) => Answer::Done,
                Err(error) if is_temporary(&error) => Answer::NotSent,
                Err(error) if matches!(error.kind(), ErrorKind::Server | ErrorKind::InvalidCommand) => {
                    Answer::Refused(error)
                }
                // The link had no room, or was lost; for an old link the answer is ignored.
                Err(_) => Answer::NotSent,
            };
            QueryOutcome::Answered(link_id, ask, answer)
        }));
    }

    pub(super) fn poll_questions(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while let Poll::Ready(Some(said)) = self.questions.poll_next_unpin(cx) {
            busy = true;
            match said {
                QueryOutcome::Answered(link_id, ask, answer) => {
                    let made_room = !matches!(answer, Answer::NotSent);
                    self.subscription_router.answered(link_id, &ask, answer, Instant::now());
                    if made_room {
                        self.subscription_router.retry_at(link_id);
                    }
                }
                QueryOutcome::Setting(link_id, generation, setting) => self.learned(link_id, generation, setting),
                QueryOutcome::Reachability(generation, standing) => self.learned_standing(generation, standing),
            }
        }
        if self.subscription_router.has_deferred() {
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
        }
        while let Some((link_id, ask)) = self.subscription_router.next() {
            busy = true;
            self.ask(link_id, ask);
        }
        busy
    }
}

/// A server that is running a script, loading its data or without its master refuses temporarily. As a permanent
/// refusal this would last until the next link, and no messages would arrive until then.
fn is_temporary(error: &Error) -> bool {
    matches!(error.code(), Some("BUSY" | "LOADING" | "MASTERDOWN"))
}

/// The link detects whether its server is alive. A deadline here would leave the server's state unknown.
fn without_deadline(frame: Frame) -> Frame {
    frame.timeout(FOREVER)
}

/// The setting contains the event types, `K` and `E`, and the event classes, which are all other characters.
fn sends_events(setting: &str) -> bool {
    setting.contains(['K', 'E']) && setting.contains(|class| !matches!(class, 'K' | 'E'))
}
