//! Connections that the crate makes for good.

use std::sync::Arc;

use actix::{Arbiter, ArbiterHandle};

use super::{LinkRole, Links};
use crate::client::Redis;
use crate::client::builder::place;
use crate::error::Result;

/// Another connection like the shared one, for work that would hold that one up.
#[must_use = "nothing runs until it is started"]
pub(crate) struct Connector {
    links: Arc<Links>,
    client_name: String,
    arbiter: Option<ArbiterHandle>,
    slot: Option<u16>,
}

impl Connector {
    pub(crate) fn new(links: Arc<Links>, client_name: &str) -> Self {
        Self { links, client_name: client_name.to_owned(), arbiter: None, slot: None }
    }

    /// Puts it, in a cluster, where this key is, and follows it there.
    pub(crate) fn beside(mut self, key: &[u8]) -> Self {
        self.slot = self.links.slot_of_key(key);
        self
    }

    /// Runs the actor on this arbiter instead of the current one.
    pub(crate) fn arbiter(mut self, arbiter: ArbiterHandle) -> Self {
        self.arbiter = Some(arbiter);
        self
    }

    /// Starts the actor. It has no further connections itself: what waits, waits on it.
    ///
    /// # Errors
    /// As [`RedisBuilder::start`](crate::RedisBuilder::start).
    pub(crate) fn start(self) -> Result<Redis> {
        let (redis, seed) = self.links.spec_for(self.slot).0.named(&self.client_name).make(Vec::new(), None);
        place(self.arbiter.or_else(Arbiter::try_current), seed)?;
        self.links.attend(LinkRole::Dedicated, self.client_name, &redis);
        Ok(redis)
    }
}
