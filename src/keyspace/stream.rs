//! Pages as a stream of what is in them.

use std::{
    fmt,
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    vec,
};

use futures_core::Stream;
use redis::Value;

use crate::error::Result;
use crate::handle::{Redis, Sending};
use crate::messages::scan::Page;

/// Keys or members, page by page; see [`Redis::scan_keys`].
///
/// An error of the connection ends it; [`resume`](Self::resume) goes on where it was. A member that does not fit the
/// requested type is an error of its own, and the next one follows.
///
/// # Cancel safety
/// Dropping the future of [`next`](Self::next) loses nothing.
#[must_use = "nothing is walked until it is polled"]
pub struct ScanStream<T> {
    redis: Redis,
    source: Box<dyn Fn(u64) -> Page + Send + Sync>,
    take: Take<T>,
    page: vec::IntoIter<Value>,
    state: State,
}

type Take<T> = fn(&mut vec::IntoIter<Value>) -> Option<Result<T>>;

enum State {
    /// The page at this cursor comes next.
    At(u64),
    Asked(u64, Box<Sending<Page>>),
    /// The page at this cursor could not be had.
    Broken(u64),
    Done,
}

impl<T> ScanStream<T> {
    pub(super) fn new(redis: Redis, source: impl Fn(u64) -> Page + Send + Sync + 'static, take: Take<T>) -> Self {
        Self { redis, source: Box::new(source), take, page: Vec::new().into_iter(), state: State::At(0) }
    }

    /// The next one; `None` at the end, and after an error of the connection.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Goes on at the page that an error has kept back.
    pub fn resume(&mut self) {
        if let State::Broken(cursor) = self.state {
            self.state = State::At(cursor);
        }
    }

    /// The rest of this page, or the next one; `None` at the end.
    pub(super) fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<vec::IntoIter<Value>>>> {
        loop {
            match &mut self.state {
                State::At(cursor) => {
                    let cursor = *cursor;
                    self.state = State::Asked(cursor, Box::new(self.redis.send((self.source)(cursor))));
                }
                State::Asked(cursor, page) => {
                    let cursor = *cursor;
                    match ready!(Pin::new(page).poll(cx)) {
                        Ok((next, items)) => {
                            self.state = if next == 0 { State::Done } else { State::At(next) };
                            return Poll::Ready(Some(Ok(items.into_iter())));
                        }
                        Err(error) => {
                            self.state = State::Broken(cursor);
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
                State::Broken(_) | State::Done => return Poll::Ready(None),
            }
        }
    }
}

impl<T> Stream for ScanStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let take = self.take;
            if let Some(item) = take(&mut self.page) {
                return Poll::Ready(Some(item));
            }
            match ready!(self.poll_page(cx)) {
                Some(Ok(page)) => self.page = page,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<T> Unpin for ScanStream<T> {}

impl<T> fmt::Debug for ScanStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScanStream").field("left_of_page", &self.page.len()).finish_non_exhaustive()
    }
}
