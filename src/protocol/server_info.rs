//! What a server says of itself in the handshake, and the dial that it belongs to.

use std::net::SocketAddr;

use crate::config::Address;

/// What the server said of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerInfo {
    pub(crate) server: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) protocol: u8,
    pub(crate) client_id: Option<i64>,
    /// The dial that it came from.
    pub(crate) generation: u64,
    /// Where that dial led.
    pub(crate) address: Option<Address>,
    /// The address of the server at its other end.
    pub(crate) peer: Option<SocketAddr>,
    /// How many demotions were known when it began.
    pub(crate) demotions: u64,
}

impl ServerInfo {
    /// Whether a server that refuses writes now was a master when it was greeted, or later: by its own word, or else, as in
    /// RESP2, because it has taken a write on this link.
    pub(crate) fn was_master(&self, has_written: bool) -> bool {
        match self.role.as_deref() {
            Some("master") => true,
            Some("replica" | "slave") => false,
            _ => has_written,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ablation (expected, not run yet): with everything that is no replica by its own word counted, a replica in RESP2 is demoted by each write.
    #[test]
    fn a_server_that_tells_no_role_was_a_master_if_it_took_a_write() {
        let says = |role: Option<&str>| ServerInfo { role: role.map(str::to_owned), ..ServerInfo::default() };
        assert!(!says(None).was_master(false) && says(None).was_master(true));
        assert!(says(Some("master")).was_master(false));
        assert!(!says(Some("replica")).was_master(true) && !says(Some("slave")).was_master(true));
    }
}
