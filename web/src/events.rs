//! Server-sent events from a Redis stream, without a lost event over reconnects of browsers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream::unfold;
use redis_actix::prelude::*;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;

/// Entries of one page, when a client catches up.
const PAGE: u64 = 100;
/// The pause after a failed read. The connection reconnects by itself.
const RETRY: Duration = Duration::from_millis(500);
/// How long one read waits for entries.
const WAIT: Duration = Duration::from_secs(10);
/// Comments are sent this often, so that proxies keep quiet connections and closed ones are noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Entries that wait for slow clients. One that falls behind further reads them from Redis.
const BUFFER: usize = 256;

/// Passes the entries of a stream on to any number of clients. One connection reads the stream for all of them.
///
/// Each entry is sent as an event whose id is the id of the entry and whose data is its field `data`; the field `event`, if there
/// is one, is its type. A browser that reconnects sends the last id, and gets every entry after it that the stream still has.
///
/// ```no_run
/// use actix_web::{HttpRequest, HttpResponse, web};
/// use redis_actix_web::events::EventStream;
///
/// async fn news(request: HttpRequest, events: web::Data<EventStream>) -> HttpResponse {
///     events.respond(&request)
/// }
///
/// # fn example(redis: redis_actix::Redis) {
/// let events = web::Data::new(EventStream::start(redis, "news")); // inside of an actix system
/// # }
/// ```
pub struct EventStream {
    redis: Redis,
    stream: Arc<str>,
    live: broadcast::Sender<Arc<StreamEntry>>,
    reader: AbortHandle,
}

impl EventStream {
    /// Starts to read `stream` on this thread, from now on. It ends when this value is dropped; clients end with it.
    #[must_use]
    pub fn start(redis: Redis, stream: impl Into<Arc<str>>) -> Self {
        let (stream, live) = (stream.into(), broadcast::Sender::new(BUFFER));
        let reader = actix_rt::spawn(read(redis.clone(), stream.clone(), live.clone())).abort_handle();
        Self { redis, stream, live, reader }
    }

    /// Answers a request with the events after its `Last-Event-ID`, or from now on. An invalid id gets 400.
    pub fn respond(&self, request: &HttpRequest) -> HttpResponse {
        let last = match request.headers().get("last-event-id").map(|id| id.to_str().map(str::parse::<StreamId>)) {
            None => None,
            Some(Ok(Ok(id))) => Some(id),
            Some(_) => return HttpResponse::BadRequest().body("Last-Event-ID is not the id of a stream entry"),
        };
        let frames = self.subscribe(last);
        HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "text/event-stream"))
            .insert_header((CACHE_CONTROL, "no-store"))
            // Proxies of nginx buffer responses otherwise.
            .insert_header((HeaderName::from_static("x-accel-buffering"), "no"))
            .streaming(frames)
    }

    /// The events after an id, or from now on, in the format of server-sent events.
    pub fn subscribe(&self, after: Option<StreamId>) -> impl Stream<Item = Result<Bytes, actix_web::Error>> + use<> {
        let client = Client {
            redis: self.redis.clone(),
            stream: self.stream.clone(),
            live: self.live.subscribe(),
            last: after,
            is_behind: after.is_some(),
            page: Vec::new().into_iter(),
        };
        unfold(client, |mut client| async move { Some((Ok(client.next().await?), client)) })
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("stream", &self.stream)
            .field("clients", &self.live.receiver_count())
            .finish_non_exhaustive()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Reads the stream for as long as the task runs.
async fn read(redis: Redis, stream: Arc<str>, live: broadcast::Sender<Arc<StreamEntry>>) {
    let mut last: Option<StreamId> = None;
    loop {
        let outcome = match last {
            // The end of the stream at the start. Read once, so that a lost link skips nothing.
            None => redis.send(XRevRange::new(&*stream, ..).count(1)).await.map(|newest| {
                last = Some(newest.first().map_or(StreamId::MIN, |entry| entry.id));
            }),
            Some(after) => redis.send(XRead::new([(&*stream, after)]).count(PAGE).block(WAIT)).await.map(|pages| {
                for entry in pages.into_iter().flat_map(|page| page.entries) {
                    last = Some(entry.id);
                    // Without clients there is no receiver.
                    let _ = live.send(Arc::new(entry));
                }
            }),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "server-sent events wait for redis");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// One client.
struct Client {
    redis: Redis,
    stream: Arc<str>,
    live: broadcast::Receiver<Arc<StreamEntry>>,
    /// The last entry that it has got.
    last: Option<StreamId>,
    /// It may lack entries that are in the stream and not in `live`.
    is_behind: bool,
    page: std::vec::IntoIter<StreamEntry>,
}

impl Client {
    /// The next event, or a comment; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(entry) = self.page.next() {
                self.last = Some(entry.id);
                return Some(event(&entry));
            }
            if self.is_behind {
                self.catch_up().await;
                continue;
            }
            match tokio::time::timeout(KEEP_ALIVE, self.live.recv()).await {
                Err(_) => return Some(Bytes::from_static(b": keep-alive\n\n")),
                Ok(Err(RecvError::Closed)) => return None,
                // Too slow for the buffer. Without a last entry there is none that it had been promised.
                Ok(Err(RecvError::Lagged(_))) => self.is_behind = self.last.is_some(),
                Ok(Ok(entry)) if self.last.is_some_and(|last| entry.id <= last) => {}
                Ok(Ok(entry)) => {
                    self.last = Some(entry.id);
                    return Some(event(&entry));
                }
            }
        }
    }

    /// Reads a page after the last entry. A page that is not full is the end: what comes later is in `live`, which was
    /// subscribed before.
    async fn catch_up(&mut self) {
        let from = self.last.unwrap_or(StreamId::MIN);
        let Some(from) = from.next() else {
            self.is_behind = false;
            return;
        };
        match self.redis.send(XRange::new(&*self.stream, from..).count(PAGE)).await {
            Ok(page) => {
                self.is_behind = page.len() as u64 == PAGE;
                self.page = page.into_iter();
            }
            Err(error) => {
                tracing::debug!(%error, "a client of server-sent events waits for redis");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// An entry in the format of server-sent events. Line feeds of the data begin new lines of data, so that an entry cannot forge
/// events.
fn event(entry: &StreamEntry) -> Bytes {
    let mut text = format!("id: {}\n", entry.id);
    if let Some(kind) = entry.get("event") {
        let kind = String::from_utf8_lossy(kind);
        text.push_str("event: ");
        text.extend(kind.chars().filter(|char| !matches!(char, '\n' | '\r')));
        text.push('\n');
    }
    let data = String::from_utf8_lossy(entry.get("data").unwrap_or_default());
    for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_cannot_forge_events() {
        let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let fields = vec![field("event", "news\ndata: forged"), field("data", "a\n\nid: 9\rb")];
        let entry = StreamEntry { id: StreamId::new(7, 1), fields };
        assert_eq!(event(&entry), "id: 7-1\nevent: newsdata: forged\ndata: a\ndata: \ndata: id: 9\ndata: b\n\n");
    }
}
