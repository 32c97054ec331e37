//! What a server can do for streams beyond Redis 7.0.

use std::sync::PoisonError;

use redis::Value;

use crate::client::Redis;
use crate::error::Result;
use crate::events::ConnectionState;
use crate::frame::Frame;
use crate::messages::internal::Internal;
use crate::streams::known_features::StreamFeatures;

/// `XCFGSET` came with IDMP, and configures it. It stands for CLAIM as well, which is two versions older: options of
/// commands can be seen in the documentation of the server only, which is long and may be missing.
const ASKED: [&str; 3] = ["xackdel", "xcfgset", "xnack"];

impl Redis {
    /// What the server can do for streams. Asked once for each connection.
    ///
    /// # Errors
    /// Those of `COMMAND INFO`. A server that does not let us ask is taken for one that has none of it.
    pub async fn stream_features(&self) -> Result<StreamFeatures> {
        self.features_of_server(None).await
    }

    /// What the server of a stream can do. In a cluster its own node is asked: another one may be down.
    pub(crate) async fn features_for(&self, stream: &[u8]) -> Result<StreamFeatures> {
        self.features_of_server(self.slot_of(stream)).await
    }

    async fn features_of_server(&self, slot: Option<u16>) -> Result<StreamFeatures> {
        let ask = ASKED.iter().fold(Frame::known("COMMAND INFO"), |ask, name| ask.arg(*name)).read_only();
        let ask = match slot {
            Some(slot) => ask.on_slot(slot),
            None => ask,
        };
        loop {
            let (before, connected) = {
                let status = self.shared.status.borrow();
                (status.generation, status.state == ConnectionState::Ready)
            };
            let known = *self.shared.features.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, features)) = known.filter(|(of, _)| *of == before) {
                return Ok(features);
            }
            let features = match self.send(Internal(ask.clone())).await {
                Ok(answer) => found(&answer),
                Err(error) if error.code().is_some() => {
                    tracing::debug!(%error, "the server does not tell what it can do; it is taken for an older one");
                    StreamFeatures::default()
                }
                Err(error) => return Err(error),
            };
            let after = self.shared.status.borrow().generation;
            // Else the link was lost meanwhile: which server was it that answered?
            if before == after || !connected {
                *self.shared.features.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((after, features));
                return Ok(features);
            }
        }
    }
}

/// An array with nil in the place of each command that there is not.
fn found(answer: &Value) -> StreamFeatures {
    let Value::Array(commands) = answer else { return StreamFeatures::default() };
    let mut there = commands.iter().map(|command| matches!(command, Value::Array(parts) if !parts.is_empty()));
    let mut next = || there.next().unwrap_or_default();
    let (xackdel, idempotent_add, xnack) = (next(), next(), next());
    StreamFeatures { xackdel, claim: idempotent_add, idempotent_add, xnack }
}
