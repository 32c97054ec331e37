//! What a command that waits needs the shared connection for: letting go of it on the server, and putting back what it
//! took.

use std::{sync::Arc, time::Duration, time::Instant};

use actix::Addr;
use redis::Value;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use crate::actors::connection::{PublishEvent, RedisActor, SubmitOn};
use crate::client::gone;
use crate::client::submit_queue::{Submit, UnbatchedSubmit};
use crate::connection::request::{Unawaited, Waiter};
use crate::dedicated::compensate::Compensation;
use crate::dedicated::pool::process::ProcessId;
use crate::dedicated::pool::{Links, process};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::events::ConnectionEvent;
use crate::frame::{Frame, WhenDown};
use crate::messages::internal::Internal;

/// For how long a server that cannot be reached is tried, before the elements are reported as lost.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(60);
const OTHER_PROCESS: &str =
    "CLIENT UNBLOCK was not sent, because the shared connection does not lead to the same server process";
const PAUSE: Duration = Duration::from_millis(100);

pub(super) type Answer = oneshot::Receiver<Result<Value>>;

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
            None => self.addr.do_send(UnbatchedSubmit::new(submit)),
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// A link of the shared connection that leads to this server process.
    async fn link_to(&self, process: &ProcessId) -> Result<u64> {
        loop {
            let Some(link) = self.links.main_link(self.slot) else {
                // Only blocking commands were sent so far, or the link is being replaced.
                self.send(self.beside(Frame::known("PING").read_only()), None).await?;
                continue;
            };
            match self.links.main_process(&self.addr, link, self.slot).await {
                Ok(other) if process::is_same(&other, process) => return Ok(link),
                Ok(_) => return Err(other_process()),
                Err(error) if self.links.main_link(self.slot) == Some(link) => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// Lets a client that waits go, if the shared connection leads to the process that knows it by that number.
    pub(super) async fn unblock(&self, client: i64, process: &ProcessId) -> Result<()> {
        loop {
            let link = self.link_to(process).await?;
            match self.send(self.beside(unblock(client)), Some(link)).await {
                Ok(_) => return Ok(()),
                // No room on it now.
                Err(error) if error.fate() == Fate::NotSent && self.links.main_link(self.slot) == Some(link) => {
                    sleep(PAUSE / 10).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends a client whose link broke here: on a server that has not noticed it would go on taking. The reply is dropped.
    pub(super) fn kill(&self, client: Option<i64>, process: ProcessId) {
        let Some(client) = client.filter(|_| process.is_some()) else { return };
        let shared = self.clone();
        actix::spawn(async move {
            let within = shared.links.config().command_timeout();
            if let Ok(Ok(link)) = timeout(within, shared.link_to(&process)).await {
                let kill = shared.beside(Frame::known("CLIENT KILL").arg("ID").arg(client).pinned().own());
                let submit = Submit { ticket: Box::new(Unawaited::new(kill)), asked: Instant::now() };
                shared.addr.do_send(SubmitOn::new(link, submit));
            }
        });
    }

    fn notify(&self, event: ConnectionEvent) {
        self.addr.do_send(PublishEvent(event));
    }

    pub(super) fn may_be_lost(&self, command: String, elements: Option<usize>, reason: String) {
        self.notify(ConnectionEvent::MayBeLost { command, elements, reason });
    }

    /// Puts back elements that no caller received, or reports that this is not possible.
    pub(super) async fn put_back(&self, command: String, compensate: Compensation) {
        let (frame, elements) = match compensate {
            Compensation::Nothing => return,
            Compensation::Never { elements, why } => return self.may_be_lost(command, elements, why.to_owned()),
            Compensation::By { frame, elements } => (frame, elements),
        };
        let until = Instant::now() + PUT_BACK_WITHIN;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let again = frame.clone().timeout(left).when_down(WhenDown::Queue);
            match self.send(again, None).await {
                // Another client has taken it from its destination.
                Ok(Value::Int(0)) if frame.name() == "EVAL" => return,
                Ok(_) => return self.notify(ConnectionEvent::PutBack { command, elements }),
                Err(error) if may_come(&error) && !left.is_zero() => sleep(PAUSE).await,
                Err(error) => return self.may_be_lost(command, Some(elements), error.to_string()),
            }
        }
    }
}

/// With ERROR, because the default mode makes servers crash when the command is postponed by CLIENT PAUSE, FAILOVER or
/// CLUSTER FAILOVER (seen with Redis 7.0.15 and 8.0.2 and Valkey 8.1.1): they have no timeout reply for such a command.
pub(super) fn unblock(client: i64) -> Frame {
    Frame::known("CLIENT UNBLOCK").arg(client).arg("ERROR").idempotent()
}

fn may_come(error: &Error) -> bool {
    error.fate() == Fate::NotSent && matches!(error.kind(), ErrorKind::Overloaded | ErrorKind::Disconnected)
}

pub(super) fn other_process() -> Error {
    Error::new(ErrorKind::Disconnected, Fate::NotSent, OTHER_PROCESS)
}
