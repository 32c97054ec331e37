//! Pages as a stream of what is in them.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

use futures_core::Stream;
use redis::Value;

use super::walk::{Next, Walk};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::handle::{Redis, Sending};
use crate::messages::scan::Page;
use crate::topology::Picture;

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
    /// Of the keys of a cluster.
    walk: Option<Walk>,
}

type Take<T> = fn(&mut vec::IntoIter<Value>) -> Option<Result<T>>;

enum State {
    /// The cluster is looked for.
    Looking(Pin<Box<dyn Future<Output = Result<Arc<Picture>>> + Send + Sync>>),
    /// The page at this cursor comes next.
    At(u64),
    Asked(u64, Box<Sending<Page>>),
    /// The page at this cursor could not be had.
    Broken(u64),
    Done,
}

impl<T> ScanStream<T> {
    pub(super) fn new(redis: Redis, source: impl Fn(u64) -> Page + Send + Sync + 'static, take: Take<T>) -> Self {
        let page = Vec::new().into_iter();
        Self { redis, source: Box::new(source), take, page, state: State::At(0), walk: None }
    }

    /// As [`new`](Self::new), for what every node of a cluster has its share of.
    pub(super) fn of_nodes(redis: Redis, source: impl Fn(u64) -> Page + Send + Sync + 'static, take: Take<T>) -> Self {
        let mut stream = Self::new(redis, source, take);
        if stream.redis.shared.topology.is_some() {
            stream.walk = Some(Walk::new());
            stream.state = stream.looking();
        }
        stream
    }

    fn looking(&self) -> State {
        let redis = self.redis.clone();
        State::Looking(Box::pin(async move { redis.picture().await }))
    }

    /// The page at a cursor; `None` when no node is left.
    fn ask(&mut self, cursor: u64) -> Option<Page> {
        let page = (self.source)(cursor);
        let (Some(walk), Some(topology)) = (&mut self.walk, &self.redis.shared.topology) else { return Some(page) };
        walk.slot(&topology.picture()).map(|slot| page.on_slot(slot))
    }

    /// What comes behind the page that brought this cursor.
    fn behind(&mut self, next: u64) -> Result<State> {
        let next = match (&mut self.walk, &self.redis.shared.topology) {
            (Some(walk), Some(topology)) => walk.came(next, &topology.picture()),
            _ if next == 0 => Next::Done,
            _ => Next::Page(next),
        };
        match next {
            Next::Page(cursor) => Ok(State::At(cursor)),
            Next::Done => Ok(State::Done),
            Next::Restless => {
                let words = "the slots of the cluster moved too often while they were walked; try again later";
                Err(Error::new(ErrorKind::Disconnected, Fate::Unknown, words))
            }
        }
    }

    /// The next one; `None` at the end, and after an error of the connection.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Goes on at the page that an error has kept back.
    pub fn resume(&mut self) {
        if let State::Broken(cursor) = self.state {
            self.state = if self.walk.is_some() && cursor == 0 { self.looking() } else { State::At(cursor) };
        }
    }

    /// The rest of this page, or the next one; `None` at the end.
    pub(super) fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<vec::IntoIter<Value>>>> {
        loop {
            match &mut self.state {
                State::Looking(looking) => match ready!(looking.as_mut().poll(cx)) {
                    Ok(_) => self.state = State::At(0),
                    Err(error) => {
                        self.state = State::Broken(0);
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                State::At(cursor) => {
                    let cursor = *cursor;
                    self.state = match self.ask(cursor) {
                        Some(page) => State::Asked(cursor, Box::new(self.redis.send(page))),
                        None => State::Done,
                    };
                }
                State::Asked(cursor, page) => {
                    let cursor = *cursor;
                    match ready!(Pin::new(page).poll(cx)) {
                        Ok((next, items)) => {
                            self.state = match self.behind(next) {
                                Ok(state) => state,
                                Err(error) => {
                                    self.state = State::Broken(0);
                                    return Poll::Ready(Some(Err(error)));
                                }
                            };
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
