//! Key names in one reply, and page by page. The streams of [`crate::keyspace`] are built on these pages.

use redis::Value;

use super::keys::KeyType;
use crate::frame::{AnswerOrigin, Frame, ReplyKeys};

command! {
    /// `KEYS`: every key that matches a glob pattern, in one reply. A read.
    ///
    /// The server scans every key of the database, including those of other services, and serves no other command
    /// meanwhile. Use it in tests and for small databases. [`ScanKeys`](crate::ScanKeys) reads page by page.
    ///
    /// ```
    /// use redis_actix::{Command, Keys, escape_glob};
    ///
    /// assert_eq!(Keys::new("user:*").frame().name(), "KEYS");
    /// // Characters of user input match literally.
    /// let names = [escape_glob("what?"), b":*".to_vec()].concat();
    /// assert_eq!(Keys::new(names).frame().args().nth(1), Some(&b"what\\?:*"[..]));
    /// ```
    Keys => Vec<Vec<u8>>
}

impl Keys {
    /// The keys that match `pattern`. The prefix is matched literally.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("KEYS").pattern(pattern).read_only().reply_keys(ReplyKeys::Each))
    }
}

command! {
    /// One page of keys or members. A cursor of 0 in the reply marks the last page. A read.
    Page => (u64, Vec<Value>)
}

impl Page {
    /// The page of keys at `cursor` (0 for the first) that match `pattern`. The pattern is required: its prefix
    /// excludes the keys of other tenants.
    pub(crate) fn of_keys(cursor: u64, pattern: impl AsRef<[u8]>) -> Self {
        let frame = Frame::known("SCAN").arg(cursor).arg("MATCH").pattern(pattern);
        Self::of(frame.read_only().reply_keys(ReplyKeys::ScanPage))
    }

    /// The page at `cursor` of the members of `key`, read with `HSCAN`, `SSCAN` or `ZSCAN`.
    pub(crate) fn of_members(command: &'static str, key: &[u8], cursor: u64, pattern: Option<&[u8]>) -> Self {
        let frame = Frame::known(command).key(key).arg(cursor).read_only();
        // Members have no prefix.
        Self::of(match pattern {
            Some(pattern) => frame.arg("MATCH").arg(pattern),
            None => frame,
        })
    }

    /// Requests a note of the answering link.
    pub(crate) fn with_origin(mut self) -> (Self, AnswerOrigin) {
        let (frame, origin) = self.frame.with_origin();
        self.frame = frame;
        (self, origin)
    }

    /// For keys: reads those of the owner of this cluster slot.
    pub(crate) fn on_slot(mut self, slot: u16) -> Self {
        self.frame = self.frame.on_slot(slot);
        self
    }

    /// The approximate number of keys or members that the server examines for this page.
    pub(crate) fn count(mut self, count: u64) -> Self {
        self.frame = self.frame.arg("COUNT").arg(count.max(1));
        self
    }

    /// Only keys of this type.
    pub(crate) fn of_type(mut self, of: &KeyType) -> Self {
        self.frame = self.frame.arg("TYPE").arg(of.as_str());
        self
    }
}
