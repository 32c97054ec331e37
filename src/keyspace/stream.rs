//! A stream of the items of pages.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
    vec,
};

use futures_core::Stream;
use redis::Value;

use super::cursor::{Continuity, MOST_RESTARTS, Process, run_id};
use super::walk::{Next, OwnSlots, Position, Walk};
use crate::client::{Redis, SendFuture};
use crate::config::{Address, HostPort};
use crate::error::{Error, ErrorKind, Fate, Result};
use crate::frame::{AnswerOrigin, Frame};
use crate::messages::internal::Internal;
use crate::messages::scan::Page;

/// The delay before an outdated topology is refreshed; it doubles with each attempt.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The maximum number of refreshes while slots have no owner, as can happen during a failover.
const MOST_LOOKS: u32 = 6;
/// The same while a node says that it does not own a slot which the topology gives to it: about 10 s.
const MOST_CONTRADICTIONS: u32 = 10;

/// Keys or members, page by page; see [`Redis::scan_keys`].
///
/// A cursor belongs to one server process. After a restart or a failover the scan restarts, so that no key is missed;
/// keys that were returned before are returned again. If INFO is not allowed, which has the server's `run_id`, every
/// lost connection counts as a restart of the server. After 100 restarts the scan ends with an error.
///
/// In a cluster each node says by CLUSTER NODES which of its slots are being moved: keys of such a slot are complete when its
/// source was walked and then its target. A target that owns no slots yet cannot be walked; the walk ends with an error then, and
/// goes on when it is resumed behind the move. Where the user may not send CLUSTER NODES, keys of a slot that moves may be missed,
/// as they may where the move of a slot is cancelled in the middle of the walk.
///
/// A node that does not own the slots which the topology gives to it ends the walk with an error after 10 s.
///
/// An error ends it; [`resume`](Self::resume) goes on where it was. A member that does not fit the requested type is an
/// error of its own, and the next one follows.
///
/// # Cancel safety
/// Dropping the future of [`next`](Self::next) loses no item.
#[must_use = "nothing is scanned until it is polled"]
pub struct ScanStream<T> {
    redis: Redis,
    source: Box<dyn Fn(u64) -> Page + Send + Sync>,
    take: Take<T>,
    page: vec::IntoIter<Value>,
    state: ScanState,
    /// The slot of the key, in a cluster.
    slot: Option<u16>,
    /// The scan of the keys of a cluster.
    walk: Option<Walk>,
    /// The process of the cursor.
    process: Option<Process>,
    restarts: u32,
    /// Consecutive refreshes of the topology without success.
    looks: u32,
    part: PassId,
}

type Take<T> = fn(&mut vec::IntoIter<Value>) -> Option<Result<T>>;

/// Identifies pages that belong together: those from cursor 0 to the last one, or to a restart of the scan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PassId {
    pub(super) attempt: u64,
    pub(super) is_last: bool,
}

enum ScanState {
    /// Waits for the topology of the cluster.
    PageFuture(Pin<Box<dyn Future<Output = Result<()>> + Send + Sync>>),
    /// Requests the page at this cursor next.
    At(u64),
    Asked(u64, AnswerOrigin, Box<SendFuture<Page>>),
    /// Requests the run id of the process, which decides whether the received page, if any, is valid.
    Identifying(u64, AnswerOrigin, Box<SendFuture<Internal>>, Option<AnsweredPage>),
    /// The node is asked which slots of the cluster it has: before its first page, or behind the last one, which has come.
    Inspecting(AnswerOrigin, Box<SendFuture<Internal>>, Option<AnsweredPage>),
    /// The page at this cursor could not be had.
    Broken(u64),
    Done,
}

/// A page, and the link that returned it.
struct AnsweredPage {
    next: u64,
    items: Vec<Value>,
    origin: AnswerOrigin,
    /// It was at cursor 0.
    is_first: bool,
}

impl AnsweredPage {
    fn link(&self) -> Option<u64> {
        link_of(&self.origin)
    }
}

fn node_of(origin: &AnswerOrigin) -> Option<&HostPort> {
    origin.read().and_then(|by| match &by.address {
        Some(Address::Tcp(address)) => Some(address),
        _ => None,
    })
}

fn link_of(origin: &AnswerOrigin) -> Option<u64> {
    origin.read().map(|by| by.link)
}

impl<T> ScanStream<T> {
    /// `slot`: that of the key, in a cluster.
    pub(super) fn new(
        redis: Redis,
        slot: Option<u16>,
        source: impl Fn(u64) -> Page + Send + Sync + 'static,
        take: Take<T>,
    ) -> Self {
        let (page, state) = (Vec::new().into_iter(), ScanState::At(0));
        let (process, restarts, looks, part) = (None, 0, 0, PassId::default());
        let source = Box::new(source);
        Self { redis, source, take, page, state, slot, walk: None, process, restarts, looks, part }
    }

    /// Like [`new`](Self::new), for keys that are distributed over the nodes of a cluster.
    pub(super) fn of_nodes(redis: Redis, source: impl Fn(u64) -> Page + Send + Sync + 'static, take: Take<T>) -> Self {
        let mut stream = Self::new(redis, None, source, take);
        if stream.redis.shared.topology.is_some() {
            stream.walk = Some(Walk::new());
            stream.state = stream.fetching();
        }
        stream
    }

    fn fetching(&self) -> ScanState {
        let redis = self.redis.clone();
        ScanState::PageFuture(Box::pin(async move { redis.snapshot().await.map(drop) }))
    }

    /// Refreshes the topology again, with an increasing delay.
    fn fetching_again(&mut self) -> ScanState {
        let pause = LOOK_AGAIN.saturating_mul(1 << self.looks.min(5));
        self.looks += 1;
        let redis = self.redis.clone();
        ScanState::PageFuture(Box::pin(async move {
            if let Some(topology) = &redis.shared.topology {
                topology.refresh_topology();
            }
            tokio::time::sleep(pause).await;
            redis.snapshot().await.map(drop)
        }))
    }

    /// Requests the page at a cursor.
    fn ask(&mut self, cursor: u64) -> Result<ScanState> {
        let mut page = (self.source)(cursor);
        if let (Some(walk), Some(topology)) = (&mut self.walk, &self.redis.shared.topology) {
            let snapshot = topology.snapshot();
            let Some(slot) = walk.slot(&snapshot) else {
                let is_blocked = walk.is_blocked();
                return if snapshot.map.is_whole() && !is_blocked {
                    Ok(ScanState::Done)
                } else if self.looks < MOST_LOOKS {
                    Ok(self.fetching_again())
                } else if is_blocked {
                    self.looks = 0;
                    walk.unblock();
                    let words = "a slot of the cluster is being moved to a node that owns no slots so far, so the scan is incomplete; resume it when the slot has moved";
                    Err(Error::new(ErrorKind::Disconnected, Fate::Unknown, words))
                } else {
                    self.looks = 0;
                    let words = "some slots of the cluster have no owner, so the scan is incomplete; resume it when they have one";
                    Err(Error::new(ErrorKind::Disconnected, Fate::Unknown, words))
                };
            };
            if walk.is_to_inspect() {
                return Ok(self.inspect(slot, None));
            }
            page = page.on_slot(slot);
        }
        if cursor == 0 {
            self.part = PassId { attempt: self.part.attempt + 1, is_last: false };
        }
        let (page, origin) = page.with_origin();
        Ok(ScanState::Asked(cursor, origin, Box::new(self.redis.send(page))))
    }

    fn identify(&self, cursor: u64, arrived: Option<AnsweredPage>) -> ScanState {
        let mut info = Frame::known("INFO").arg("server").own().read_only();
        if let Some(slot) = self.slot.or_else(|| self.walk.as_ref()?.current_slot()) {
            info = info.on_slot(slot);
        }
        let (info, origin) = info.with_origin();
        ScanState::Identifying(cursor, origin, Box::new(self.redis.send(Internal(info))), arrived)
    }

    /// Asks the owner of a slot which slots it has.
    fn inspect(&self, slot: u16, last_page: Option<AnsweredPage>) -> ScanState {
        let nodes = Frame::known("CLUSTER NODES").own().read_only().on_slot(slot);
        let (nodes, origin) = nodes.with_origin();
        ScanState::Inspecting(origin, Box::new(self.redis.send(Internal(nodes))), last_page)
    }

    /// A node has said which slots it has. Returns the items of its last page, if that was waiting for this.
    fn inspected(
        &mut self,
        answer: Result<Value>,
        origin: &AnswerOrigin,
        last_page: Option<AnsweredPage>,
    ) -> Result<Option<Vec<Value>>> {
        let own = match answer {
            Ok(value) => {
                let text = redis::from_redis_value::<String>(value).ok();
                let config = &self.redis.shared.config;
                text.and_then(|text| OwnSlots::read(&text, |announced| config.map_address(announced)))
            }
            // Users may be forbidden to ask: then the topology alone says where slots are.
            Err(error) if error.kind() == ErrorKind::Server => None,
            Err(error) => {
                if let Some(walk) = &mut self.walk {
                    walk.restart_scan();
                }
                self.state = ScanState::At(0);
                return Err(error);
            }
        };
        let node = node_of(origin);
        match (last_page, &mut self.walk) {
            (None, Some(walk)) => {
                if walk.inspected(own, node) {
                    self.state = ScanState::At(0);
                    return Ok(None);
                }
                self.state = self.fetching_again();
                if self.looks <= MOST_CONTRADICTIONS {
                    return Ok(None);
                }
                self.looks = 0;
                let words = "a node of the cluster does not own the slots that other nodes give to it, so the scan is incomplete; resume it when the nodes agree";
                Err(Error::new(ErrorKind::Disconnected, Fate::Unknown, words))
            }
            (Some(page), _) if node == node_of(&page.origin) => self.take_page(page, own).map(Some),
            _ => self.restart_scan().map(|()| None),
        }
    }

    /// A page has come. Returns its items, unless another process than that of the cursor has sent it.
    fn arrived(&mut self, cursor: u64, arrived: AnsweredPage) -> Result<Option<Vec<Value>>> {
        let link = arrived.link();
        if cursor == 0 {
            self.process = link.map(Process::first);
            return self.accept(arrived);
        }
        match self.process.as_ref().map_or(Continuity::Other, |process| process.judge(link)) {
            Continuity::Same => self.accept(arrived),
            Continuity::AskRunId => {
                self.state = self.identify(cursor, Some(arrived));
                Ok(None)
            }
            Continuity::Other => self.restart_scan().map(|()| None),
        }
    }

    /// Handles the reply to INFO, or its absence.
    fn identified(
        &mut self,
        cursor: u64,
        answer: Result<Value>,
        asked: Option<u64>,
        arrived: Option<AnsweredPage>,
    ) -> Result<Option<Vec<Value>>> {
        let text = answer.ok().and_then(|value| redis::from_redis_value::<String>(value).ok());
        let run_id = text.and_then(|text| run_id(&text));
        let Some(process) = &mut self.process else { return self.restart_scan().map(|()| None) };
        let Some(arrived) = arrived else {
            process.identified(asked, run_id);
            self.state = ScanState::At(cursor);
            return Ok(None);
        };
        if process.is_met_again(arrived.link(), asked, run_id) {
            self.accept(arrived)
        } else {
            self.restart_scan().map(|()| None)
        }
    }

    /// Restarts the scan because its cursor was lost. Items that were returned before may be returned again.
    fn restart_scan(&mut self) -> Result<()> {
        self.process = None;
        if let Some(walk) = &mut self.walk {
            walk.restart_scan();
        }
        self.state = ScanState::At(0);
        self.count_restart()
    }

    fn count_restart(&mut self) -> Result<()> {
        self.restarts += 1;
        if self.restarts <= MOST_RESTARTS {
            return Ok(());
        }
        self.restarts = 0;
        let words = "the scan was restarted 100 times, because its server was replaced, its slots moved or, if INFO is not allowed, its connection was lost; resume it when the servers are stable";
        Err(Error::new(ErrorKind::Disconnected, Fate::Unknown, words))
    }

    /// Takes a page in, unless the node has to be asked for its slots before.
    fn accept(&mut self, arrived: AnsweredPage) -> Result<Option<Vec<Value>>> {
        let inspected = self.walk.as_ref().filter(|walk| arrived.next == 0 && walk.is_inspected());
        match inspected.and_then(Walk::current_slot) {
            Some(slot) => {
                self.state = self.inspect(slot, Some(arrived));
                Ok(None)
            }
            None => self.take_page(arrived, None).map(Some),
        }
    }

    /// Takes a page in, and decides what comes behind it. `own`: what its node says of its slots behind the last page.
    fn take_page(&mut self, arrived: AnsweredPage, own: Option<OwnSlots>) -> Result<Vec<Value>> {
        let AnsweredPage { next, mut items, origin, is_first } = arrived;
        let next = match (&mut self.walk, &self.redis.shared.topology) {
            (Some(walk), Some(topology)) => {
                let slots = topology.slots();
                // What went to this node from one that was walked before was returned there.
                items.retain(|key| match key {
                    Value::BulkString(key) => walk.is_left(slots.of(key)),
                    _ => true,
                });
                let position = Position { cursor: next, is_first, node: node_of(&origin), own };
                walk.came(position, &topology.snapshot())
            }
            _ if next == 0 => Next::Done,
            _ => Next::Page(next),
        };
        self.part.is_last = matches!(next, Next::Done | Next::NodeCursor);
        if self.part.is_last {
            self.looks = 0;
        }
        match next {
            Next::Page(cursor) => self.state = ScanState::At(cursor),
            Next::NodeCursor => self.state = ScanState::At(0),
            // In a cluster `ask` checks for further nodes.
            Next::Done if self.walk.is_some() => self.state = ScanState::At(0),
            Next::Done => self.state = ScanState::Done,
            Next::Again => {
                self.state = ScanState::At(0);
                self.count_restart()?;
            }
            Next::Outdated => {
                self.state = self.fetching_again();
                self.count_restart()?;
            }
        }
        Ok(items)
    }

    /// Identifies the pages to which the last item belongs.
    pub(super) fn part(&self) -> PassId {
        self.part
    }

    /// The next item; `None` at the end, and after an error of the connection.
    pub async fn next(&mut self) -> Option<Result<T>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Continues after an error, with the page that failed.
    pub fn resume(&mut self) {
        if let ScanState::Broken(cursor) = self.state {
            self.state = if self.walk.is_some() && cursor == 0 { self.fetching() } else { ScanState::At(cursor) };
        }
    }

    /// The rest of this page, or the next page; `None` at the end.
    pub(super) fn poll_page(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<vec::IntoIter<Value>>>> {
        loop {
            let (cursor, came) = match &mut self.state {
                ScanState::PageFuture(fetching) => (
                    0,
                    ready!(fetching.as_mut().poll(cx)).map(|()| {
                        self.state = ScanState::At(0);
                        None
                    }),
                ),
                ScanState::At(cursor) => {
                    let cursor = *cursor;
                    let is_anonymous = self.process.as_ref().is_some_and(Process::is_anonymous);
                    if cursor != 0 && is_anonymous {
                        self.state = self.identify(cursor, None);
                        continue;
                    }
                    (
                        cursor,
                        self.ask(cursor).map(|state| {
                            self.state = state;
                            None
                        }),
                    )
                }
                ScanState::Asked(cursor, origin, page) => {
                    let (cursor, answer) = (*cursor, ready!(Pin::new(page).poll(cx)));
                    let origin = origin.clone();
                    (
                        cursor,
                        answer.and_then(|(next, items)| {
                            let is_first = cursor == 0;
                            self.arrived(cursor, AnsweredPage { next, items, origin, is_first })
                        }),
                    )
                }
                ScanState::Identifying(cursor, origin, info, arrived) => {
                    let (cursor, answer) = (*cursor, ready!(Pin::new(info).poll(cx)));
                    let (asked, arrived) = (link_of(origin), arrived.take());
                    (cursor, self.identified(cursor, answer, asked, arrived))
                }
                ScanState::Inspecting(origin, nodes, last_page) => {
                    let answer = ready!(Pin::new(nodes).poll(cx));
                    let (origin, last_page) = (origin.clone(), last_page.take());
                    (0, self.inspected(answer, &origin, last_page))
                }
                ScanState::Broken(_) | ScanState::Done => return Poll::Ready(None),
            };
            match came {
                Ok(Some(items)) => return Poll::Ready(Some(Ok(items.into_iter()))),
                Ok(None) => {}
                Err(error) => {
                    // A failed page is requested again, and a restarted scan starts over.
                    let cursor =
                        if matches!(self.state, ScanState::At(0) | ScanState::PageFuture(_)) { 0 } else { cursor };
                    self.state = ScanState::Broken(cursor);
                    return Poll::Ready(Some(Err(error)));
                }
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
