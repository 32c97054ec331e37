//! Ending a wait at the server before its time, so that it is known what the command took.

use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::{timeout, timeout_at};

use super::shared::{Answer, Shared, other_process, unblock};
use super::stop::Why;
use crate::actors::connection::Disconnect;
use crate::client::gone;
use crate::dedicated::pool::process::ProcessId;
use crate::dedicated::pool::{LeasedConnection, process};
use crate::error::{Fate, Result};
use crate::events::Cause;
use crate::protocol::auxiliary::Auxiliary;
use crate::protocol::server_info::ServerInfo;

/// The server is asked again to let go of a client that it had not seen waiting.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(20);
/// How long a caller whose deadline has passed waits for the word that nothing was taken.
const LATE: Duration = Duration::from_secs(1);
pub(super) const LET_GO: &str =
    "a command that waits was called off, and the server did not let it go: its link was closed";

/// A command that waits at a server.
pub(super) struct Blocked<'a> {
    pub(super) link: LeasedConnection,
    pub(super) server_info: &'a ServerInfo,
    pub(super) answer: Answer,
    /// Where the server says which process it is, if it was asked on this link.
    pub(super) question: Option<Answer>,
}

impl Blocked<'_> {
    /// Takes note of the server's process. It was asked before the command, so it is answered before it.
    pub(super) async fn note_process(&mut self) {
        if let Some(question) = self.question.take()
            && let Ok(Ok(answer)) = timeout(LATE, question).await
            && let Ok(process) = process::answered(answer)
        {
            self.link.note_process(self.server_info.generation, process);
        }
    }

    fn process(&self) -> ProcessId {
        self.link.process(self.server_info.generation).flatten()
    }
}

/// Over which connection the server is asked.
#[derive(Clone, Copy)]
enum Over {
    /// The shared one.
    Shared,
    /// One of its own to the same address: the shared one has left that server.
    Its,
}

/// Whether CLIENT UNBLOCK ended the command, or the WAIT of a pipeline.
pub(super) fn is_unblocked(answer: &Result<Value>) -> bool {
    let is_code = |error: &redis::ServerError| error.code() == "UNBLOCKED";
    match answer {
        Err(error) => error.code() == Some("UNBLOCKED"),
        Ok(Value::Array(replies)) => {
            replies.iter().any(|reply| matches!(reply, Value::ServerError(error) if is_code(error)))
        }
        Ok(_) => false,
    }
}

impl Shared {
    /// Has the server let go, and returns what it answered; closes the link where it does not.
    pub(super) async fn cancel(&self, blocked: Blocked<'_>, why: Why) -> Result<Value> {
        let grace = self.links.config().command_timeout();
        self.cancel_at_server(blocked, if why == Why::Gone { grace } else { grace.min(LATE) }, Over::Shared).await
    }

    /// The same for a command that goes on waiting on another link.
    pub(super) async fn cancel_to_move(&self, blocked: Blocked<'_>) -> Result<Value> {
        let grace = self.links.config().command_timeout().min(LATE);
        let over = if blocked.link.leads_right(blocked.server_info) { Over::Shared } else { Over::Its };
        self.cancel_at_server(blocked, grace, over).await
    }

    async fn cancel_at_server(&self, mut blocked: Blocked<'_>, grace: Duration, over: Over) -> Result<Value> {
        let until = Instant::now() + grace;
        let mut trouble = None;
        let answer = loop {
            if let Ok(answer) = blocked.answer.try_recv() {
                break Some(answer);
            }
            let Some(client) = blocked.server_info.client_id.filter(|_| trouble.is_none()) else { break None };
            let unblocked = async {
                match over {
                    Over::Shared => self.unblock(client, &blocked.process()).await,
                    Over::Its => self.unblock_there(&blocked, client, until).await,
                }
            };
            // Its answer is waited for: when the link is free again, it must not hit the next command on it.
            match timeout_at(until.into(), unblocked).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => trouble = Some(error.to_string()),
                Err(_) => trouble = Some("CLIENT UNBLOCK was not answered in time".to_owned()),
            }
            match timeout(UNBLOCK_AGAIN, &mut blocked.answer).await {
                Ok(answer) => break Some(answer.unwrap_or_else(|_| Err(gone()))),
                Err(_) if Instant::now() >= until => {
                    trouble.get_or_insert_with(|| "the command was not answered in time".to_owned());
                }
                Err(_) => {}
            }
        };
        if let Some(answer) = answer {
            let may_run_later = is_unblocked(&answer) && !blocked.server_info.unblock_is_final();
            if may_run_later || matches!(over, Over::Its) {
                blocked.link.discard();
            }
            return answer;
        }
        blocked.link.redis().address().do_send(Disconnect(LET_GO));
        let process = blocked.process();
        let answer = blocked.answer.await.unwrap_or_else(|_| Err(gone()));
        if answer.as_ref().is_err_and(|error| error.fate() == Fate::Unknown) {
            self.kill(blocked.server_info.client_id, process);
        }
        blocked.link.discard();
        answer.map_err(|error| match &trouble {
            Some(trouble) => error.because(trouble),
            None => error,
        })
    }

    /// Lets a client go at the address where it waits, if the same process is there.
    async fn unblock_there(&self, blocked: &Blocked<'_>, client: i64, until: Instant) -> Result<()> {
        let Some(address) = &blocked.server_info.address else { return Err(other_process()) };
        let there = blocked.link.redis().shared.connect_params.for_server(address.clone());
        let left = || until.saturating_duration_since(Instant::now());
        let ask = async {
            let (link, answer) = Auxiliary::connect(&there, left()).await?.ask(&process::question(), left()).await?;
            let found = process::answered(answer).unwrap_or_default();
            if !process::is_same(&found, &blocked.process()) {
                return Ok(Err(other_process()));
            }
            link.ask(&unblock(client), left()).await.map(|(_, answer)| answer.map(drop))
        };
        ask.await.map_err(|cause: Cause| cause.error(Fate::NotSent))?
    }
}
