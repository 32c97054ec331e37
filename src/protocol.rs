//! The Redis protocol: replies decoded into [`redis::Value`], and the handshake of a link.

pub(crate) mod auxiliary;
pub(crate) mod decode;
pub(crate) mod framed;
pub(crate) mod handshake;
pub(crate) mod login;
pub(crate) mod optional_steps;
pub(crate) mod role;
pub(crate) mod server_info;
