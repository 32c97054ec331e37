//! Names of keys: all at once, and page by page, which is what the streams of [`crate::keyspace`] are made of.

use redis::Value;

use super::keys::KeyType;
use crate::frame::{AnswerOrigin, Frame, ReplyKeys};

command! {
    /// `KEYS`: every key that matches a glob pattern, in one reply. A read.
    ///
    /// The server looks at every key of the database for it, those of other services too, and serves nobody
    /// meanwhile: that is for tests and small databases. [`ScanKeys`](crate::ScanKeys) goes page by page.
    ///
    /// ```
    /// use redis_actix::{Command, Keys, escape_glob};
    ///
    /// assert_eq!(Keys::new("user:*").frame().name(), "KEYS");
    /// // Whatever a user typed stands for itself.
    /// let names = [escape_glob("what?"), b":*".to_vec()].concat();
    /// assert_eq!(Keys::new(names).frame().args().nth(1), Some(&b"what\\?:*"[..]));
    /// ```
    Keys => Vec<Vec<u8>>
}

impl Keys {
    /// The keys that match `pattern`. The prefix stands for itself in it, whatever characters it has.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("KEYS").pattern(pattern).read_only().reply_keys(ReplyKeys::Each))
    }
}

command! {
    /// One page of keys or members; a cursor of 0 in the reply says that it was the last. A read.
    Page => (u64, Vec<Value>)
}

impl Page {
    /// The page of keys at `cursor` (0 for the first) that match `pattern`. There is always a pattern: its prefix
    /// keeps other tenants' keys out.
    pub(crate) fn of_keys(cursor: u64, pattern: impl AsRef<[u8]>) -> Self {
        let frame = Frame::known("SCAN").arg(cursor).arg("MATCH").pattern(pattern);
        Self::of(frame.read_only().reply_keys(ReplyKeys::ScanPage))
    }

    /// The page at `cursor` of what is in `key`, by `HSCAN`, `SSCAN` or `ZSCAN`.
    pub(crate) fn of_members(command: &'static str, key: &[u8], cursor: u64, pattern: Option<&[u8]>) -> Self {
        let frame = Frame::known(command).key(key).arg(cursor).read_only();
        // What is in a key has no prefix.
        Self::of(match pattern {
            Some(pattern) => frame.arg("MATCH").arg(pattern),
            None => frame,
        })
    }

    /// Asks for a note of which link has answered it.
    pub(crate) fn with_origin(mut self) -> (Self, AnswerOrigin) {
        let (frame, origin) = self.frame.with_origin();
        self.frame = frame;
        (self, origin)
    }

    /// Of keys: those of the owner of this slot of a cluster.
    pub(crate) fn on_slot(mut self, slot: u16) -> Self {
        self.frame = self.frame.on_slot(slot);
        self
    }

    /// About how many keys or members the server looks at for this page.
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
