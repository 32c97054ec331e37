//! A supervised Redis layer for actix.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[allow(
    dead_code,
    reason = "the connection actor, which is its only user, is not wired up yet"
)]
mod wire;
