//! WATCH and UNWATCH: only [`Redis::watch`](crate::Redis::watch) sends them, on a connection of its own.

use crate::frame::Frame;

command! {
    /// `WATCH`, its frame made by [`Watch`](crate::Watch).
    WatchKeys => ()
}

command! {
    /// `UNWATCH`.
    Unwatch => ()
}

impl Unwatch {
    pub(crate) fn new() -> Self {
        Self::of(Frame::new("UNWATCH"))
    }
}
