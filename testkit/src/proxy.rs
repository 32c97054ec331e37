//! A TCP proxy that breaks the link in exact ways.

mod link;
mod plan;

use crate::background::Background;
use crate::tally::lock;
use link::{Order, Shared};
pub use plan::Direction;
use plan::{Accept, Plan};
use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Time limit for an order to the proxy's thread.
const PROMPT: Duration = Duration::from_secs(5);

/// A TCP proxy on a free loopback port, on its own thread.
///
/// Modes stay until they are changed and combine (for example `split` and `delay`); [`pass`](Self::pass) ends all of them.
/// They apply from the return of the call, to open and new connections. `corrupt`, `truncate`, `cut_after` and `inject`
/// happen once.
///
/// FIN and RST of one side are passed to the other side unchanged.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    background: Background,
}

impl Proxy {
    /// Starts a proxy to `upstream` (`host:port`), which is resolved and dialled again for each connection. If that
    /// fails, the client's connection is reset.
    ///
    /// # Errors
    ///
    /// When no port or thread is available.
    pub fn start(upstream: impl Into<String>) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(upstream.into()));
        let background = Background::start("redis-test-proxy", {
            let shared = Arc::clone(&shared);
            move |listener| link::serve(listener, shared)
        })?;
        Ok(Self { shared, background })
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.background.addr().port()
    }

    /// `127.0.0.1:port`.
    #[must_use]
    pub fn addr(&self) -> String {
        self.background.addr().to_string()
    }

    /// `redis://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr())
    }

    /// Sets the server for connections accepted from now on, as after a failover.
    pub fn set_upstream(&self, upstream: impl Into<String>) {
        *lock(&self.shared.upstream) = upstream.into();
    }

    /// Ends all modes and forwards held bytes. Pending one-time faults are cancelled.
    pub fn pass(&self) {
        *lock(&self.shared.tricks) = plan::Tricks::default();
        self.set(|plan| *plan = Plan::default());
        self.listening(true);
    }

    /// Holds everything: connections stay open and are accepted, but neither bytes nor ends are forwarded. [`pass`](Self::pass)
    /// forwards the held bytes of the client, also from connections that it has closed since.
    pub fn hold(&self) {
        self.set(|plan| (plan.hold_to_server, plan.hold_to_client) = (true, true));
    }

    /// Holds one direction only.
    pub fn hold_only(&self, direction: Direction) {
        self.set(|plan| {
            plan.hold_to_server = direction == Direction::ToServer;
            plan.hold_to_client = direction == Direction::ToClient;
        });
    }

    /// Ends `hold` only: held bytes are forwarded and pass the other modes and one-time faults.
    pub fn resume(&self) {
        self.set(|plan| (plan.hold_to_server, plan.hold_to_client) = (false, false));
    }

    /// Accepts new connections and never answers; their bytes are read and dropped. They stay silent until they end. Open
    /// connections continue.
    pub fn accept_and_stay_silent(&self) {
        self.set(|plan| plan.accept = Accept::Silent);
        self.listening(true);
    }

    /// Accepts new connections and closes them at once. Open ones continue.
    pub fn accept_and_close(&self) {
        self.set(|plan| plan.accept = Accept::Close);
        self.listening(true);
    }

    /// Closes the listener: the system refuses new connections. Open ones continue.
    pub fn refuse(&self) {
        self.set(|plan| plan.accept = Accept::Refuse);
        self.listening(false);
    }

    /// Passes bytes on in pieces of at most `size` (at least one), both ways.
    pub fn split(&self, size: usize) {
        self.set(|plan| plan.chunk = NonZeroUsize::new(size.max(1)));
    }

    /// Delays each piece by this time, both ways.
    pub fn delay(&self, delay: Duration) {
        self.set(|plan| plan.delay = delay);
    }

    /// Flips the highest bit of the next `count` bytes to the client.
    pub fn corrupt(&self, count: usize) {
        lock(&self.shared.tricks).corrupt = count;
    }

    /// Drops the next `count` bytes to the client; the link stays.
    pub fn truncate(&self, count: usize) {
        lock(&self.shared.tricks).truncate = count;
    }

    /// Forwards exactly `count` more bytes in this direction, then closes that connection both ways. With 0 it closes instead
    /// of forwarding the next byte, so a command to the server is lost, or a reply to the client.
    pub fn cut_after(&self, direction: Direction, count: u64) {
        let mut tricks = lock(&self.shared.tricks);
        match direction {
            Direction::ToServer => tricks.cut_to_server = Some(count),
            Direction::ToClient => tricks.cut_to_client = Some(count),
        }
    }

    /// Sends these bytes to the client of every live connection, between those of the server.
    pub fn inject(&self, bytes: &[u8]) {
        for link in lock(&self.shared.links).values() {
            // A link that has just ended takes none.
            let _ = link.orders.send(Order::Inject(bytes.to_vec()));
        }
    }

    /// Resets all live connections (RST, both ways) and returns when they are gone.
    pub fn reset_all(&self) {
        self.end(|_| true, || Order::Reset);
    }

    /// Closes all live connections (FIN) and returns when they are gone.
    pub fn close_all(&self) {
        self.end(|_| true, || Order::Close);
    }

    /// Blocks this address: its open connections are reset, new ones are accepted and never answered. Connections from
    /// other addresses continue. It lasts until [`unblock_all`](Self::unblock_all); [`pass`](Self::pass) does not end it.
    pub fn block(&self, source: IpAddr) {
        lock(&self.shared.blocked).insert(source);
        self.end(|link| link.source == source, || Order::Reset);
    }

    /// Serves all addresses again. Connections that were accepted meanwhile are reset.
    pub fn unblock_all(&self) {
        let sources = std::mem::take(&mut *lock(&self.shared.blocked));
        self.end(|link| sources.contains(&link.source), || Order::Reset);
    }

    /// Makes all open connections half-open: neither side receives anything from the other again, not even its end. New
    /// connections work. Both ends last until [`reset_all`](Self::reset_all), [`close_all`](Self::close_all), or the
    /// end of the proxy.
    pub fn strand_all(&self) {
        for link in lock(&self.shared.links).values() {
            // A link that has just ended takes none.
            let _ = link.orders.send(Order::Strand);
        }
    }

    /// The number of accepted connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.stats.get(|stats| stats.dials.len())
    }

    /// The number of open connections.
    #[must_use]
    pub fn live_connections(&self) -> usize {
        self.shared.stats.get(|stats| stats.live)
    }

    /// When each connection was accepted.
    #[must_use]
    pub fn dials(&self) -> Vec<Instant> {
        self.shared.stats.get(|stats| stats.dials.clone())
    }

    /// Bytes forwarded to the server.
    #[must_use]
    pub fn bytes_to_server(&self) -> u64 {
        self.shared.bytes_to_server.load(Ordering::Acquire)
    }

    /// Bytes forwarded to the client, including injected ones.
    #[must_use]
    pub fn bytes_to_client(&self) -> u64 {
        self.shared.bytes_to_client.load(Ordering::Acquire)
    }

    /// Blocks until `count` connections were accepted since the start. In an async test it would block the client;
    /// use [`connected`](Self::connected) there.
    ///
    /// # Errors
    ///
    /// When fewer arrived in that time.
    pub fn wait_for_connections(&self, count: usize, within: Duration) -> io::Result<()> {
        self.shared.stats.wait(within, |stats| stats.dials.len() >= count, |stats| stats.describe(count))
    }

    /// Waits without blocking until `count` connections were accepted since the start.
    ///
    /// # Errors
    ///
    /// When fewer arrived in that time.
    pub async fn connected(&self, count: usize, within: Duration) -> io::Result<()> {
        self.shared.stats.until(within, |stats| stats.dials.len() >= count, |stats| stats.describe(count)).await
    }

    /// Blocks until exactly `count` connections are open. In an async test use [`live`](Self::live).
    ///
    /// # Errors
    ///
    /// When that did not happen in time.
    pub fn wait_for_live(&self, count: usize, within: Duration) -> io::Result<()> {
        self.shared.stats.wait(within, |stats| stats.live == count, |stats| stats.describe(count))
    }

    /// Waits without blocking until exactly `count` connections are open.
    ///
    /// # Errors
    ///
    /// When that did not happen in time.
    pub async fn live(&self, count: usize, within: Duration) -> io::Result<()> {
        self.shared.stats.until(within, |stats| stats.live == count, |stats| stats.describe(count)).await
    }

    fn set(&self, change: impl FnOnce(&mut Plan)) {
        self.shared.plan.send_modify(change);
    }

    /// The listener is opened and closed by the proxy's thread: a dial right after this call must meet the new state.
    fn listening(&self, wanted: bool) {
        let waited = self.shared.stats.wait(PROMPT, |stats| stats.listening == wanted, |_| String::new());
        drop(waited);
    }

    fn end(&self, chosen: impl Fn(&link::Live) -> bool, order: impl Fn() -> Order) {
        let ids: Vec<u64> = {
            let links = lock(&self.shared.links);
            let chosen = links.iter().filter(|(_, link)| chosen(link));
            chosen
                .map(|(id, link)| {
                    let _ = link.orders.send(order());
                    *id
                })
                .collect()
        };
        let gone = |_: &link::Stats| {
            let links = lock(&self.shared.links);
            ids.iter().all(|id| !links.contains_key(id))
        };
        drop(self.shared.stats.wait(PROMPT, gone, |_| String::new()));
    }
}
