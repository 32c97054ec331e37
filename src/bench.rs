//! What `bench/` counts instructions of. Behind a feature that nothing else turns on, and free to change.

use bytes::BytesMut;

use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::Frame;
use crate::prefix::KeyPrefix;
use crate::protocol::decode::{Decoder, Limits};

/// Seals a frame and encodes it, as the actor does.
///
/// # Errors
/// When the frame was built from unusable arguments.
pub fn seal(prefix: &KeyPrefix, frame: &Frame, out: &mut BytesMut) -> Result<()> {
    prefix.seal(frame)?.encode(out);
    Ok(())
}

/// Decodes every reply in `input` and returns how many there were.
///
/// # Errors
/// When it is not RESP.
pub fn decode_all(input: &[u8]) -> Result<usize> {
    let mut decoder = Decoder::new(Limits::default());
    let (mut at, mut replies) = (0, 0);
    while let Some(reply) = decoder
        .decode(input, &mut at)
        .map_err(|error| Error::new(ErrorKind::Decode, Fate::Unknown, error.to_string()))?
    {
        std::hint::black_box(reply);
        replies += 1;
    }
    Ok(replies)
}
