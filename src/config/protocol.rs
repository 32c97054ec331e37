//! The protocol version.

use std::{fmt, str::FromStr};

/// The version of the RESP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Protocol {
    /// RESP2, without HELLO: for proxies and servers that do not support HELLO.
    Resp2,
    /// RESP3, or RESP2 if the server refuses HELLO. The default.
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
