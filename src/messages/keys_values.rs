//! Keys of any type: how the server stores them, serialized values, sorting.

use std::time::{Duration, SystemTime};

use redis::Value;

use super::arguments::IntoKeys;
use super::{Chosen, choose, decode, millis, some_keys, unix_millis};
use crate::error::Result;
use crate::frame::Frame;

command! {
    /// `TOUCH`: marks keys as used now, for the eviction of keys. The reply is the number of keys that exist.
    Touch => u64
}

impl Touch {
    /// Touches one key or several, at least one.
    pub fn new<M>(keys: impl IntoKeys<M>) -> Self {
        Self::of(some_keys(Frame::known("TOUCH"), keys).read_only())
    }
}

command! {
    /// `RENAMENX`: renames a key if the new name is free. The reply is whether it was renamed. The server replies with
    /// an error if the key does not exist.
    RenameNx => bool
}

impl RenameNx {
    /// Renames `from` to `to`. In a cluster both must be in one slot.
    pub fn new(from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("RENAMENX").key(from).key(to))
    }
}

command! {
    /// `OBJECT ENCODING`: the server's encoding of a value, such as `listpack`, or `None` if the key does not exist. A
    /// read.
    ObjectEncoding => Option<String>
}

impl ObjectEncoding {
    /// Reads the encoding of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("OBJECT ENCODING").key(key).read_only())
    }
}

command! {
    /// `OBJECT FREQ`: the logarithmic counter of uses of a key, or `None` if the key does not exist. A read. The server
    /// replies with an error unless its `maxmemory-policy` is one of LFU.
    ObjectFreq => Option<u64>
}

impl ObjectFreq {
    /// Reads the counter of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("OBJECT FREQ").key(key).read_only())
    }
}

command! {
    /// `OBJECT IDLETIME`: the time since a key was used, in whole seconds, or `None` if the key does not exist. A read. The
    /// server replies with an error if its `maxmemory-policy` is one of LFU.
    ObjectIdleTime => Option<Duration>, by idle_seconds
}

impl ObjectIdleTime {
    /// Reads the idle time of `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("OBJECT IDLETIME").key(key).read_only())
    }
}

fn idle_seconds(value: Value) -> Result<Option<Duration>> {
    Ok(decode::<Option<u64>>(value)?.map(Duration::from_secs))
}

command! {
    /// `OBJECT REFCOUNT`: the number of references to a value, or `None` if the key does not exist. A read.
    ObjectRefCount => Option<u64>
}

impl ObjectRefCount {
    /// Reads the number of references to `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("OBJECT REFCOUNT").key(key).read_only())
    }
}

command! {
    /// `MEMORY USAGE`: the memory of a key with its value in bytes, or `None` if the key does not exist. A read.
    MemoryUsage => Option<u64>
}

impl MemoryUsage {
    /// Measures `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("MEMORY USAGE").key(key).read_only())
    }

    /// Measures this number of elements of a collection; 0 measures all. The server's default is 5.
    pub fn samples(self, elements: u64) -> Self {
        self.opt(("SAMPLES", elements))
    }
}

command! {
    /// `DUMP`: the serialized value of a key, or `None` if the key does not exist. A read.
    Dump => Option<Vec<u8>>
}

impl Dump {
    /// Serializes `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("DUMP").key(key).read_only())
    }
}

command! {
    /// `RESTORE`: creates a key from a serialized value. The server replies with the error BUSYKEY if the key exists.
    Restore, rest Chosen => ()
}

impl Restore {
    /// Creates `key` without expiry from the reply to [`Dump`].
    pub fn new(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("RESTORE").key(key).arg(0).arg(value.as_ref()))
    }

    /// Creates `key` with an expiry (whole milliseconds, at least 1).
    pub fn expiring(key: impl AsRef<[u8]>, ttl: Duration, value: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("RESTORE").key(key).arg(millis(ttl)).arg(value.as_ref()))
    }

    /// Creates `key` with the time of its expiry (whole milliseconds, by the server's clock).
    pub fn expiring_at(key: impl AsRef<[u8]>, at: SystemTime, value: impl AsRef<[u8]>) -> Self {
        let frame = Frame::known("RESTORE").key(key).arg(unix_millis(at).max(1)).arg(value.as_ref());
        Self::of(frame.arg("ABSTTL"))
    }

    /// Overwrites an existing key.
    pub fn replace(self) -> Self {
        self.opt("REPLACE")
    }

    /// Sets the time since the key was used (whole seconds), for eviction by LRU.
    pub fn idle_time(mut self, idle: Duration) -> Self {
        self.frame = choose(&mut self.rest.condition, "idle_time()", self.frame, ("IDLETIME", idle.as_secs()));
        self
    }

    /// Sets the logarithmic counter of uses, for eviction by LFU.
    pub fn freq(mut self, uses: u8) -> Self {
        self.frame = choose(&mut self.rest.condition, "freq()", self.frame, ("FREQ", uses));
        self
    }
}

/// Adds a pattern of SORT. One with a `*` names keys and gets the prefix.
fn template(frame: Frame, pattern: &[u8]) -> Frame {
    if pattern.contains(&b'*') { frame.key(pattern) } else { frame.arg(pattern) }
}

/// The options of the three forms of SORT.
macro_rules! sort_options {
    ($name:ident $(<$t:ident>)?) => {
        impl $(<$t>)? $name $(<$t>)? {
            /// Sorts by the values of other keys: `*` in `pattern` stands for the element, `->` for a field of a hash. A
            /// pattern without `*` keeps the order.
            pub fn by(mut self, pattern: impl AsRef<[u8]>) -> Self {
                self.frame = template(self.frame.arg("BY"), pattern.as_ref());
                self
            }

            /// Returns the values of other keys instead of the elements, and `#` the elements. Of several patterns the
            /// reply has one value for each.
            pub fn get(mut self, pattern: impl AsRef<[u8]>) -> Self {
                self.frame = template(self.frame.arg("GET"), pattern.as_ref());
                self
            }

            /// Skips `offset` elements, then takes up to `count`.
            pub fn limit(self, offset: u64, count: u64) -> Self {
                self.opt(("LIMIT", offset, count))
            }

            /// Sorts from the highest to the lowest.
            pub fn desc(self) -> Self {
                self.opt("DESC")
            }

            /// Sorts as text. Without it the elements must be numbers.
            pub fn alpha(self) -> Self {
                self.opt("ALPHA")
            }
        }
    };
}

command! {
    /// `SORT_RO`: the elements of a list, a set or a sorted set in order. A read. Needs Redis 7.0. A cluster refuses
    /// patterns of other slots.
    ///
    /// ```
    /// use redis_actix::{Command, commands::keys::Sort};
    ///
    /// let names = Sort::<Vec<String>>::new("ids").by("rank:*").get("name:*").limit(0, 10).frame();
    /// assert_eq!(names.args().count(), 9);
    /// ```
    Sort<T> => T
}

impl<T> Sort<T> {
    /// Sorts the elements at `key`. The reply `T` is a list, such as `Vec<String>` or `Vec<Option<String>>` with
    /// [`get`](Self::get).
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("SORT_RO").key(key).read_only())
    }
}

sort_options!(Sort<T>);

command! {
    /// `SORT .. STORE`: writes the elements of a list, a set or a sorted set in order into a list. The reply is the
    /// length of the list.
    SortStore => u64
}

impl SortStore {
    /// Sorts the elements at `key` and overwrites `destination`. In a cluster both must be in one slot.
    pub fn new(key: impl AsRef<[u8]>, destination: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("SORT").key(key).arg("STORE").key(destination))
    }
}

sort_options!(SortStore);
