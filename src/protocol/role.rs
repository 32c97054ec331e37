//! Checks the role that a link requires: a master, a replica, or a cluster node that replies to reads itself.
//!
//! The sentinels' view may be minutes old, while the server knows its own role. ROLE is the most reliable source, but
//! the user may lack the permission (`+@all -@dangerous`). The next best is the reply to HELLO, then INFO, the only
//! other source for the state of a replica's link to its master. A server whose role is not known is used.

use redis::Value;

use super::handshake::Handshake;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::protocol::server_info::ServerInfo;

/// The role that a server reports.
#[derive(Debug, Default, PartialEq, Eq)]
struct Role {
    is_master: bool,
    /// In the server's words.
    name: String,
    /// The state of a replica's link to its master, in the server's words, and whether it is up; `None` if not
    /// reported.
    follows: Option<(String, bool)>,
}

impl Handshake<'_> {
    pub(crate) async fn verify_master(&mut self, server_info: &ServerInfo) -> Result<(), Cause> {
        let Some(role) = self.role(server_info, false).await? else { return Ok(()) };
        if role.is_master {
            return Ok(());
        }
        let (address, name) = (&self.target.address, role.name);
        let words = format!("the sentinels report {address} as the master, which is a {name} now");
        Err(Cause::new(CauseKind::NotReady, words))
    }

    /// A replica that does not follow its master would return outdated values.
    pub(crate) async fn verify_replica(&mut self, server_info: &ServerInfo) -> Result<(), Cause> {
        let Some(role) = self.role(server_info, true).await? else { return Ok(()) };
        let address = &self.target.address;
        let words = match (role.is_master, role.follows) {
            (true, _) => format!("the sentinels report {address} as a replica, which is a {} now", role.name),
            (false, Some((state, false))) => {
                format!("the replica {address} does not follow its master: its link is {state}")
            }
            (false, _) => return Ok(()),
        };
        Err(Cause::new(CauseKind::NotReady, words))
    }

    /// The role of the server, and with `with_link` the state of its link to the master; `None` if it is not
    /// reported.
    async fn role(&mut self, server_info: &ServerInfo, with_link: bool) -> Result<Option<Role>, Cause> {
        match self.ask(&Frame::known("ROLE")).await? {
            Ok(answer) => return Ok(by_role(answer)),
            // Fails: the server is loading, or the login was lost.
            Err(error) if !matches!(error.code(), Some("NOPERM" | "ERR")) => return Err(self.refusal(&error)),
            Err(_) => {}
        }
        let from_hello = by_hello(server_info);
        // HELLO does not report the link.
        if from_hello.as_ref().is_some_and(|role| role.is_master || !with_link) {
            return Ok(from_hello);
        }
        let info = self.ask(&Frame::known("INFO").arg("replication")).await?.ok();
        let info = info.and_then(|info| redis::from_redis_value::<String>(info).ok());
        let role = info.and_then(|info| by_info(&info)).or(from_hello);
        if role.is_none() {
            let address = &self.target.address;
            tracing::warn!(event = "connection.role_unknown", %address, "the server does not report its role; grant its user the command ROLE, so that a stale master is detected");
        }
        Ok(role)
    }

    /// Makes a replica of a cluster reply to reads itself.
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
    // Elements that are not words, such as the list of replicas, stay empty.
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
    fn role_and_info_give_the_same_result() {
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
