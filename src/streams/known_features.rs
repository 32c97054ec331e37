//! What is known of the server's commands for streams.

use std::sync::Mutex;

/// Commands of newer servers. Where one is missing, a script does the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamFeatures {
    /// `XACKDEL` (Redis 8.2, Valkey 9.2): acknowledging and deleting in one step.
    pub xackdel: bool,
    /// `XREADGROUP .. CLAIM` (Redis 8.4): what others left comes with what is new.
    pub claim: bool,
    /// `XADD .. IDMP` (Redis 8.6): appending what is there already changes nothing.
    pub idempotent_add: bool,
    /// `XNACK` (Redis 8.8): giving an entry back to its group.
    pub xnack: bool,
}

/// What was found out, and on which link.
#[derive(Debug, Default)]
pub(crate) struct KnownFeatures(pub(super) Mutex<Option<(u64, StreamFeatures)>>);
