//! What a command that waits needs the shared connection for: letting go of it on the server, and putting back what it
//! took.

use std::{sync::Arc, time::Duration, time::Instant};

use actix::Addr;
use redis::Value;
use tokio::{sync::oneshot, time::sleep};

use crate::actors::connection::{RedisActor, SubmitOn, Tell};
use crate::actors::scripts::Internal;
use crate::actors::ticket::{Silent, Waiter};
use crate::core::undo::Undo;
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::ConnectionEvent;
use crate::frame::{Frame, WhenDown};
use crate::handle::gone;
use crate::intake::{Aside, Submit};
use crate::links::Links;

/// For how long a server that cannot be reached is tried, before what was taken is reported as lost.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// The shared connection.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) addr: Addr<RedisActor>,
    pub(super) links: Arc<Links>,
    /// Of a cluster: where the command waits.
    pub(super) slot: Option<u16>,
}

impl Shared {
    /// To the node of a cluster where the command waits.
    fn beside(&self, frame: Frame) -> Frame {
        match self.slot {
            Some(slot) => frame.on_slot(slot),
            None => frame,
        }
    }

    async fn send(&self, frame: Frame, generation: Option<u64>) -> Result<Value> {
        let (reply, answer) = oneshot::channel();
        // A link that takes nothing more now must not keep it: it would come too late.
        let frame = if generation.is_some() { frame.pinned() } else { frame };
        let submit = Submit { ticket: Box::new(Waiter::<Internal, _>::new(frame.own(), reply)), asked: Instant::now() };
        match generation {
            Some(generation) => self.addr.do_send(SubmitOn::new(generation, submit)),
            None => self.addr.do_send(Aside::new(submit)),
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Lets a client that waits go. `link` is the one that the shared connection had when the wait began: a later
    /// one may lead to another server, where the number is that of somebody else.
    pub(super) async fn unblock(&self, client: i64, link: Option<u64>) -> Result<()> {
        loop {
            let unblock = self.beside(Frame::known("CLIENT UNBLOCK").arg(client).idempotent());
            match self.send(unblock, link).await {
                Ok(_) => return Ok(()),
                // No room on it now.
                Err(error)
                    if error.fate() == Fate::NotSent && link.is_some() && self.links.main_link(self.slot) == link =>
                {
                    sleep(PAUSE / 10).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a client whose link broke here: on a server that has not noticed it would go on taking. Nobody waits.
    pub(super) fn reap(&self, client: Option<i64>, link: Option<u64>) {
        if let (Some(client), Some(generation)) = (client, link) {
            let kill = self.beside(Frame::known("CLIENT KILL").arg("ID").arg(client).pinned().own());
            let submit = Submit { ticket: Box::new(Silent::new(kill)), asked: Instant::now() };
            self.addr.do_send(SubmitOn::new(generation, submit));
        }
    }

    fn tell(&self, event: ConnectionEvent) {
        self.addr.do_send(Tell(event));
    }

    pub(super) fn may_be_lost(&self, command: String, elements: Option<usize>, reason: String) {
        self.tell(ConnectionEvent::MayBeLost { command, elements, reason });
    }

    /// Puts back what was taken for nobody, or says that it cannot be.
    pub(super) async fn put_back(&self, command: String, undo: Undo) {
        let (frame, elements) = match undo {
            Undo::Nothing => return,
            Undo::Never { elements, why } => return self.may_be_lost(command, elements, why.to_owned()),
            Undo::By { frame, elements } => (frame, elements),
        };
        let until = Instant::now() + PUT_BACK_WITHIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let again = frame.clone().timeout(left).when_down(WhenDown::Queue);
            match self.send(again, None).await {
                // Somebody has taken it from where it was moved to.
                Ok(Value::Int(0)) if frame.name() == "EVAL" => return,
                Ok(_) => return self.tell(ConnectionEvent::PutBack { command, elements }),
                Err(error) if may_come(&error) && !left.is_zero() => sleep(PAUSE).await,
                Err(error) => return self.may_be_lost(command, Some(elements), error.to_string()),
            }
        }
    }
}

fn may_come(error: &Error) -> bool {
    error.fate() == Fate::NotSent && matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Disconnected)
}
