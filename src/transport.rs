//! Sockets: TCP, Unix and TLS, and how they are dialled.

pub(crate) mod dial;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "tls errors need the feature"))]
pub(crate) mod dial_error;
pub(crate) mod socket;
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "tls errors need the feature"))]
pub(crate) mod tls;
