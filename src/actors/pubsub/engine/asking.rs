//! What is asked of the server: for topics, and once a link whether it sends events of keys.

use std::{
    collections::HashMap,
    task::{Context, Poll},
    time::Instant,
};

use futures_util::stream::StreamExt;
use redis::Value;

use super::{Engine, RETRY};
use crate::actors::pubsub::member::Member;
use crate::core::FOREVER;
use crate::core::subscriptions::{Answer, Ask, Id};
use crate::error::{ErrorKind, Result};
use crate::frame::Frame;
use crate::messages::Command;
use crate::pubsub::event::SubscriptionEvent;
use crate::pubsub::topic::{Topic, TopicKind, request};

/// SUBSCRIBE and its kin, and the question for the server's setting.
struct Question;

impl actix::Message for Question {
    type Result = Result<Value>;
}

impl Command for Question {
    type Reply = Value;

    fn frame(&self) -> Frame {
        Frame::default()
    }

    fn reply(value: Value) -> Result<Value> {
        Ok(value)
    }
}

/// What came of a question.
pub(super) enum Said {
    Answered(Ask, Answer),
    Setting(u64, Option<String>),
}

/// Whether the server sends events of keys.
pub(super) enum Notifications {
    Unknown,
    Asked,
    /// They are off: this is what is set.
    Off(String),
    /// They are on, or it would not say.
    Fine,
}

impl Engine {
    /// Asks once a link whether the server sends events of keys, if anybody wants them. A subscriber in RESP2 may ask
    /// nothing once it is one.
    pub(super) fn check_notifications(&mut self) {
        let (Some(link), Some(generation)) = (self.link.clone(), self.generation) else { return };
        let may_ask = self.protocol >= 3 || self.machine.is_untouched();
        if !matches!(self.notifications, Notifications::Unknown)
            || !may_ask
            || !self.members.values().any(|member| member.topics.values().any(watches_keys))
        {
            return;
        }
        self.notifications = Notifications::Asked;
        let frame = patient(Frame::known("CONFIG GET").arg("notify-keyspace-events"));
        self.questions.push(Box::pin(async move {
            // It may be forbidden to ask, and then there is nothing to say.
            let answer = link.send_on::<Question>(generation, frame).await.ok();
            let setting = answer.and_then(|value| redis::from_redis_value::<HashMap<String, String>>(value).ok());
            Said::Setting(generation, setting.and_then(|mut all| all.remove("notify-keyspace-events")))
        }));
    }

    pub(super) fn learned(&mut self, generation: u64, setting: Option<String>) {
        if self.generation != Some(generation) {
            return;
        }
        self.notifications = match setting {
            Some(setting) if !sends_events(&setting) => {
                tracing::warn!(setting, "the server sends no events of keys; see notify-keyspace-events");
                Notifications::Off(setting)
            }
            _ => Notifications::Fine,
        };
        if let Notifications::Off(setting) = &self.notifications {
            let off = SubscriptionEvent::NotificationsOff { setting: setting.clone() };
            let watching = |member: &Member| member.topics.values().any(watches_keys);
            let ids: Vec<Id> = self.members.iter().filter(|(_, member)| watching(member)).map(|(id, _)| *id).collect();
            for id in ids {
                self.tell(id, off.clone());
            }
        }
    }

    pub(super) fn ask(&mut self, ask: Ask) {
        let Some(link) = self.link.clone() else { return };
        let frame = patient(request(&ask.name, ask.wanted));
        self.questions.push(Box::pin(async move {
            let answer = match link.send_on::<Question>(ask.generation, frame).await {
                Ok(_) => Answer::Done,
                Err(error) if matches!(error.kind(), ErrorKind::Server | ErrorKind::InvalidCommand) => {
                    Answer::Refused(error)
                }
                // The link had no room, or is gone: then nobody looks at this any more.
                Err(_) => Answer::NotSent,
            };
            Said::Answered(ask, answer)
        }));
    }

    pub(super) fn poll_questions(&mut self, cx: &mut Context<'_>) -> bool {
        let mut busy = false;
        while let Poll::Ready(Some(said)) = self.questions.poll_next_unpin(cx) {
            busy = true;
            match said {
                Said::Answered(ask, answer) => {
                    let made_room = !matches!(answer, Answer::NotSent);
                    self.machine.answered(&ask, answer);
                    if made_room {
                        self.machine.retry();
                    }
                }
                Said::Setting(generation, setting) => self.learned(generation, setting),
            }
        }
        if self.machine.has_put_off() {
            self.retry_at.get_or_insert_with(|| Instant::now() + RETRY);
        }
        while let Some(ask) = self.machine.next() {
            busy = true;
            self.ask(ask);
        }
        busy
    }
}

/// Whether its server is alive is for the link to judge: a deadline here would leave open what the server has.
fn patient(frame: Frame) -> Frame {
    frame.timeout(FOREVER)
}

pub(super) fn watches_keys(topic: &Topic) -> bool {
    matches!(topic.kind(), TopicKind::Keyspace | TopicKind::Keyevent)
}

/// The setting names where events go, `K` and `E`, and which: each but the two is a class of them.
fn sends_events(setting: &str) -> bool {
    setting.contains(['K', 'E']) && setting.contains(|class| !matches!(class, 'K' | 'E'))
}
