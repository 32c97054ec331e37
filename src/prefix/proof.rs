//! Proofs of the boundary, over a generated corpus and against a live server.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod checks;
mod corpus;
mod live;
mod random;
mod replies;
mod server;

/// Not text, with characters that mean something in a glob. No `*`, which SORT forbids, and no space or line end, which
/// the rules of an ACL cannot hold.
const PREFIX: &[u8] = b"te?[^a-z]n\\\xff:";
