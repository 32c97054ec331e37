//! The wire: replies decoded into [`redis::Value`], and sockets dialled.
//!
//! Nothing in here knows an actor. [`decode`] turns bytes into values without a socket, [`dial`] makes the socket
//! without reading a reply, and [`transport`] is that socket, whatever kind it is.

pub(crate) mod auxiliary;
pub(crate) mod decode;
pub(crate) mod demotion;
pub(crate) mod dial;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "what can go wrong with tls needs tls"))]
pub(crate) mod dial_error;
mod handshake;
pub(crate) mod login;
pub(crate) mod optional;
pub(crate) mod place;
pub(crate) mod recipe;
mod role;
pub(crate) mod session;
pub(crate) mod stream;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "what can go wrong with tls needs tls"))]
pub(crate) mod tls;
pub(crate) mod transport;
