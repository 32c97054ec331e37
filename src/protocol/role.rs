//! What a server has to be for a link: a master, a replica, or a node of a cluster that answers reads itself.
//!
//! What the sentinels say may be minutes old; the server itself knows. ROLE says it best. A user may lack the right to it
//! (`+@all -@dangerous`), so the answer to HELLO is the next best, then INFO, which alone knows of a
//! replica whether its link to the master is up; a server that tells nothing is used.

use redis::Value;

use super::handshake::Handshake;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::protocol::server_info::ServerInfo;

/// What a server says of its role.
#[derive(Debug, Default, PartialEq, Eq)]
struct Role {
    is_master: bool,
    /// In its own words.
    name: String,
    /// The state of a replica's link to its master, in its own words, and whether it is up; `None` where it is not said.
    follows: Option<(String, bool)>,
}

impl Handshake<'_> {
    pub(crate) async fn verify_master(&mut self, server_info: &ServerInfo) -> Result<(), Cause> {
        let Some(role) = self.role(server_info, false).await? else { return Ok(()) };
        if role.is_master {
            return Ok(());
        }
        let (address, name) = (&self.target.address, role.name);
        let words = format!("the sentinels name {address} as the master, which is a {name} now");
        Err(Cause::new(CauseKind::NotReady, words))
    }

    /// One that does not follow its master would answer with what once was.
    pub(crate) async fn verify_replica(&mut self, server_info: &ServerInfo) -> Result<(), Cause> {
        let Some(role) = self.role(server_info, true).await? else { return Ok(()) };
        let address = &self.target.address;
        let words = match (role.is_master, role.follows) {
            (true, _) => format!("the sentinels name {address} as a replica, which is a {} now", role.name),
            (false, Some((state, false))) => {
                format!("the replica {address} does not follow its master: its link is {state}")
            }
            (false, _) => return Ok(()),
        };
        Err(Cause::new(CauseKind::NotReady, words))
    }

    /// The role of the server, and the state of its link to the master if `with_link` says so; `None` when it does not tell.
    async fn role(&mut self, server_info: &ServerInfo, with_link: bool) -> Result<Option<Role>, Cause> {
        match self.ask(&Frame::known("ROLE")).await? {
            Ok(answer) => return Ok(by_role(answer)),
            // Not asked elsewhere: it is loading, or the login is gone.
            Err(error) if !matches!(error.code(), Some("NOPERM" | "ERR")) => return Err(self.refusal(&error)),
            Err(_) => {}
        }
        let from_hello = by_hello(server_info);
        // HELLO says nothing of the link.
        if from_hello.as_ref().is_some_and(|role| role.is_master || !with_link) {
            return Ok(from_hello);
        }
        let info = self.ask(&Frame::known("INFO").arg("replication")).await?.ok();
        let info = info.and_then(|info| redis::from_redis_value::<String>(info).ok());
        let role = info.and_then(|info| by_info(&info)).or(from_hello);
        if role.is_none() {
            let address = &self.target.address;
            tracing::warn!(%address, "the server does not tell its role; grant its user ROLE, so that a stale master is noticed");
        }
        Ok(role)
    }

    /// Has a replica of a cluster answer reads itself.
    pub(crate) async fn read_only(&mut self) -> Result<(), Cause> {
        match self.ask(&Frame::known("READONLY")).await? {
            Ok(_) => Ok(()),
            Err(error) => Err(self.refusal(&error)),
        }
    }
}

fn by_hello(server_info: &ServerInfo) -> Option<Role> {
    let name = server_info.role.as_deref().filter(|role| !role.is_empty())?.to_owned();
    Some(Role { is_master: name == "master", name, follows: None })
}

fn by_role(answer: Value) -> Option<Role> {
    let Value::Array(words) = answer else { return None };
    // What is no word, such as the list of replicas, is left empty.
    let words: Vec<String> = words.into_iter().map(|word| redis::from_redis_value(word).unwrap_or_default()).collect();
    let name = words.first().filter(|name| !name.is_empty())?.clone();
    let follows = words.get(3).filter(|_| name == "slave").map(|state| (state.clone(), state == "connected"));
    Some(Role { is_master: name == "master", name, follows })
}

fn by_info(info: &str) -> Option<Role> {
    let field = |name: &str| info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    let name = field("role")?.to_owned();
    let follows = field("master_link_status").map(|state| (state.to_owned(), state == "up"));
    Some(Role { is_master: name == "master", name, follows })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn role_and_info_say_the_same() {
        let master = by_role(Value::Array(vec![bulk("master"), Value::Int(7), Value::Array(Vec::new())]));
        assert_eq!(master, by_info("# Replication\r\nrole:master\r\nconnected_slaves:1\r\n"));
        assert!(master.is_some_and(|role| role.is_master && role.follows.is_none()));
        let replica = |state: &str| {
            by_role(Value::Array(vec![bulk("slave"), bulk("h"), Value::Int(1), bulk(state), Value::Int(2)]))
        };
        let follows = |role: Option<Role>| role.expect("a role").follows.expect("a state").1;
        assert!(follows(replica("connected")) && !follows(replica("connect")));
        assert!(follows(by_info("role:slave\r\nmaster_link_status:up\r\n")));
        assert!(!follows(by_info("role:slave\r\nmaster_link_status:down\r\n")));
        for nothing in [Value::Nil, Value::Array(Vec::new()), Value::Array(vec![Value::Array(Vec::new())])] {
            assert_eq!(by_role(nothing), None);
        }
        assert_eq!(by_info("connected_slaves:1"), None);
    }
}
