//! Internal commands of the crate.

use actix::Message;
use redis::Value;

use super::Command;
use crate::error::Result;
use crate::frame::Frame;

/// A command without a public message type.
pub(crate) struct Internal(pub(crate) Frame);

impl Message for Internal {
    type Result = Result<Value>;
}

impl Command for Internal {
    type Reply = Value;

    fn frame(&self) -> Frame {
        self.0.clone()
    }

    fn into_frame(self) -> Frame {
        self.0
    }

    fn reply(value: Value) -> Result<Value> {
        Ok(value)
    }
}
