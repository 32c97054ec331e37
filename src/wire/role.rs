//! What a server has to be for a link: a master, a replica, or a node of a cluster that answers reads itself.

use redis::Value;

use super::session::Greeter;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;

impl Greeter<'_> {
    /// What the sentinels say may be minutes old; the server itself knows.
    pub(super) async fn verify_master(&mut self) -> Result<(), Cause> {
        match self.role().await?.first().map(String::as_str) {
            Some("master") => Ok(()),
            role => {
                let role: &str = role.unwrap_or("something else");
                let words = format!("the sentinels name {} as the master, which is a {role} now", self.target.address);
                Err(Cause::new(CauseKind::NotReady, words))
            }
        }
    }

    /// One that does not follow its master would answer with what once was.
    pub(super) async fn verify_replica(&mut self) -> Result<(), Cause> {
        let role = self.role().await?;
        let words = match (role.first().map(String::as_str), role.get(3).map(String::as_str)) {
            (Some("slave"), Some("connected")) => return Ok(()),
            (Some("slave"), state) => {
                let state = state.unwrap_or("unknown");
                format!("the replica {} does not follow its master: its link is {state}", self.target.address)
            }
            (role, _) => {
                let role = role.unwrap_or("something else");
                format!("the sentinels name {} as a replica, which is a {role} now", self.target.address)
            }
        };
        Err(Cause::new(CauseKind::NotReady, words))
    }

    /// The words of ROLE; what is no word is left empty.
    async fn role(&mut self) -> Result<Vec<String>, Cause> {
        match self.ask(&Frame::known("ROLE")).await? {
            Ok(Value::Array(role)) => {
                Ok(role.into_iter().map(|word| redis::from_redis_value(word).unwrap_or_default()).collect())
            }
            Ok(_) => Ok(Vec::new()),
            Err(error) => Err(self.refusal(&error)),
        }
    }

    /// Has a replica of a cluster answer reads itself.
    pub(super) async fn read_only(&mut self) -> Result<(), Cause> {
        match self.ask(&Frame::known("READONLY")).await? {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refusal(&error)),
        }
    }
}
