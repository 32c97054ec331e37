//! The prefix boundary.
#![allow(dead_code, reason = "the callers are written beside this")]

pub(crate) mod channels;
pub(crate) mod glob;
pub(crate) mod policy;
pub(crate) mod positions;
pub(crate) mod replies;
pub(crate) mod rewrite;
pub(crate) mod rules;
pub(crate) mod table;

#[cfg(test)]
mod proof;
