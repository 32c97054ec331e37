//! What can be seen of further connections from outside.

use std::time::{Duration, Instant};

use super::{Attended, Links};
use crate::events::ConnectionState;

/// What a further connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkRole {
    /// It is not in use.
    Idle,
    /// A command that waits, such as `BLPOP`, or a pipeline with `WAIT`.
    Blocking,
    /// An attempt of [`Redis::watch`](crate::Redis::watch).
    Watch,
    /// Whatever the crate needs one for as long as that lives, as the reader of a stream consumer.
    Dedicated,
    /// The commands of one thread; see [`Connections::PerThread`](crate::Connections::PerThread).
    Thread,
    /// Subscriptions that one node of a cluster has to tell of: shard channels and events of keys.
    Subscriptions,
}

/// A connection beside the shared one; in [`ConnectionInfo`](crate::ConnectionInfo) and
/// [`Health`](crate::Health).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LinkInfo {
    /// What it is for.
    pub role: LinkRole,
    /// The command that has it now; of a dedicated one the name that the server knows it by; of one for a thread the
    /// name of the thread; of one for subscriptions the
    /// node, as `host:port`.
    pub purpose: Option<String>,
    /// What it is doing.
    pub state: ConnectionState,
    /// For how long it has been there.
    pub age: Duration,
    /// For how long it has had this role.
    pub since: Duration,
}

impl Links {
    /// All of them.
    pub(crate) fn info(&self) -> Vec<LinkInfo> {
        let now = Instant::now();
        let mut state = self.state();
        state.attended.retain(|link| link.status.borrow().state != ConnectionState::Closed);
        let pooled = state.open.iter().map(|link| {
            let (role, since) = match link.free_since {
                Some(since) => (LinkRole::Idle, since),
                None => (link.purpose.role, link.since),
            };
            LinkInfo {
                role,
                purpose: link.free_since.is_none().then(|| link.purpose.command.clone()),
                state: link.redis.status().borrow().state,
                age: now.saturating_duration_since(link.made),
                since: now.saturating_duration_since(since),
            }
        });
        let attended = state.attended.iter().map(|Attended { role, purpose, made, status, .. }| {
            let age = now.saturating_duration_since(*made);
            let state = status.borrow().state;
            LinkInfo { role: *role, purpose: Some(purpose.clone()), state, age, since: age }
        });
        pooled.chain(attended).collect()
    }
}
