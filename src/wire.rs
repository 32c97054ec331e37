//! The wire: replies decoded into [`redis::Value`], and sockets dialled.
//!
//! Nothing in here knows an actor. [`decode`] turns bytes into values without a socket, [`dial`] makes the socket
//! without reading a reply, and [`transport`] is that socket, whatever kind it is.

pub(crate) mod decode;
pub(crate) mod dial;
pub(crate) mod dial_error;
pub(crate) mod login;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod transport;
