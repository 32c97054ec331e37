//! The version of the protocol.

use std::{fmt, str::FromStr};

/// The version of RESP, the protocol that is spoken with servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Protocol {
    /// RESP2, without HELLO: for proxies and servers that HELLO confuses.
    Resp2,
    /// RESP3, and RESP2 with a server that refuses HELLO. The default.
    #[default]
    Resp3,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resp2 => "2",
            Self::Resp3 => "3",
        })
    }
}

/// The value of REDIS_PROTOCOL.
impl FromStr for Protocol {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "2" => Ok(Self::Resp2),
            "3" => Ok(Self::Resp3),
            _ => Err("must be 2 or 3, the version of RESP to speak"),
        }
    }
}
