//! The properties of a server from the handshake, and the connection attempt to which they belong.

use std::net::SocketAddr;

use crate::config::Address;

/// The properties that the server reported.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerInfo {
    pub(crate) server: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) protocol: u8,
    pub(crate) client_id: Option<i64>,
    /// Whether it tracks the keys that this client reads, or why not. `None` if it was not asked to.
    pub(crate) tracking: Option<Result<(), String>>,
    /// The connection attempt.
    pub(crate) generation: u64,
    /// The address that was dialled.
    pub(crate) address: Option<Address>,
    /// The address of the peer.
    pub(crate) peer: Option<SocketAddr>,
    /// The number of demotions that were known when the attempt began.
    pub(crate) demotions: u64,
}

impl ServerInfo {
    /// Whether a server that refuses writes now was a master at the handshake or later. The server reports its role,
    /// or, as with RESP2, the link has accepted a write.
    pub(crate) fn was_master(&self, has_written: bool) -> bool {
        match self.role.as_deref() {
            Some("master") => true,
            Some("replica" | "slave") => false,
            _ => has_written,
        }
    }

    /// Whether a client that CLIENT UNBLOCK has released runs its command no more. Before Redis 7.2 a command that was
    /// postponed by CLIENT PAUSE or a failover is answered with UNBLOCKED and runs all the same when the pause ends.
    pub(crate) fn unblock_is_final(&self) -> bool {
        let version = self.version.as_deref().unwrap_or_default();
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
        (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default()) >= (7, 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unblock_is_final_from_version_7_2_on() {
        let is_final = |version: Option<&str>| {
            ServerInfo { version: version.map(str::to_owned), ..ServerInfo::default() }.unblock_is_final()
        };
        assert!(["7.2.0", "7.4.1", "8.0.2", "10.1"].iter().all(|version| is_final(Some(version))));
        assert!(["7.0.15", "6.2.14", "7", "unstable"].iter().all(|version| !is_final(Some(version))));
        assert!(!is_final(None));
    }

    /// Ablation: where a server that reports no role counts as a master, the first assertion fails.
    #[test]
    fn a_server_without_a_reported_role_was_a_master_if_it_accepted_a_write() {
        let with_role = |role: Option<&str>| ServerInfo { role: role.map(str::to_owned), ..ServerInfo::default() };
        assert!(!with_role(None).was_master(false) && with_role(None).was_master(true));
        assert!(with_role(Some("master")).was_master(false));
        assert!(!with_role(Some("replica")).was_master(true) && !with_role(Some("slave")).was_master(true));
    }
}
