//! One page of keys: what the stream of all keys is made of.

use super::keys::KeyType;
use crate::frame::{Frame, ReplyKeys};

command! {
    /// `SCAN`: one page of keys; a cursor of 0 in the reply says that it was the last. A read.
    Scan => (u64, Vec<Vec<u8>>)
}

impl Scan {
    /// The page at `cursor` (0 for the first) of the keys that match `pattern`. There is always a pattern:
    /// its prefix keeps other tenants' keys out.
    pub(crate) fn new(cursor: u64, pattern: impl AsRef<[u8]>) -> Self {
        let frame = Frame::new("SCAN").arg(cursor).arg("MATCH").pattern(pattern);
        Self::of(frame.read_only().reply_keys(ReplyKeys::ScanPage))
    }

    /// About how many keys the server looks at for this page.
    pub(crate) fn count(mut self, count: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(count.max(1));
        self
    }

    /// Only keys of that type.
    pub(crate) fn of_type(mut self, of: &KeyType) -> Self {
        self.frame = self.frame.arg("TYPE").arg(of.as_str());
        self
    }
}
