//! Proofs of the boundary, over a generated corpus and against a live server.

mod arena;
mod by_hand_tests;
mod cases;
mod checks;
mod connection;
mod live;
mod messages;
mod modules;
mod random;
mod replies;

use std::sync::LazyLock;

use redis_actix_corpus::Line;

/// Not valid UTF-8, with special glob characters. No `*`, which is not allowed in SORT patterns, and no space or line
/// end, which ACL rules cannot contain.
const PREFIX: &[u8] = b"te?[^a-z]n\\\xff:";

/// Every line of the corpus.
static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| redis_actix_corpus::lines(PREFIX));
