//! A scripted server for exact bytes.

mod script;
mod serve;

use crate::background::Background;
use crate::tally::lock;
use script::Script;
pub use script::Step;
use serve::{Handler, Order, Shared};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The reaction of a [`FakeServer`] to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Sends these bytes unchanged.
    Raw(Vec<u8>),
    /// Sends nothing; the connection stays.
    Silence,
    /// Closes the connection.
    Close,
    /// Sends these bytes, then closes the connection.
    RawThenClose(Vec<u8>),
    /// The default: HELLO, AUTH, SELECT, CLIENT, PING and QUIT as a server replies, an error for other commands.
    Default,
}

impl Answer {
    /// [`Answer::Raw`] without the conversion at the caller's.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Answer::Raw(bytes.into())
    }
}

/// Options of a [`FakeServer`].
#[must_use = "nothing runs before `start`"]
#[derive(Default)]
pub struct FakeServerBuilder {
    without_hello: bool,
    own_handshake: bool,
    handler: Option<Handler>,
    steps: Vec<Step>,
}

impl std::fmt::Debug for FakeServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeServerBuilder")
            .field("without_hello", &self.without_hello)
            .field("own_handshake", &self.own_handshake)
            .field("handler", &self.handler.is_some())
            .field("steps", &self.steps)
            .finish()
    }
}

impl FakeServerBuilder {
    /// Knows no HELLO, as servers before 6.0, and says so.
    pub fn without_hello(mut self) -> Self {
        self.without_hello = true;
        self
    }

    /// Gives HELLO, AUTH, SELECT, CLIENT, PING and QUIT to the handler or the script as well. Otherwise the kit
    /// answers them itself, and only the other commands get there.
    pub fn own_handshake(mut self) -> Self {
        self.own_handshake = true;
        self
    }

    /// Asks this for every command the script has no step for. It must not block: it runs on the server's only thread.
    pub fn on(mut self, handler: impl FnMut(&[Vec<u8>]) -> Answer + Send + 'static) -> Self {
        self.handler = Some(Box::new(handler));
        self
    }

    /// Expects these commands in this order, over all connections, before the handler is asked. Another command than the
    /// expected one is answered with an error and reported by [`FakeServer::finish`].
    pub fn script(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// Starts the server on a free loopback port.
    ///
    /// # Errors
    ///
    /// Where no port or thread is to be had.
    pub fn start(self) -> io::Result<FakeServer> {
        let shared = Arc::new(Shared::new(
            self.without_hello,
            self.own_handshake,
            Mutex::new(self.handler),
            Mutex::new(Script::new(self.steps)),
        ));
        let background = Background::start("redis-test-fake", {
            let shared = Arc::clone(&shared);
            move |listener| serve::serve(listener, shared)
        })?;
        Ok(FakeServer { shared, background })
    }
}

/// A scripted server on a free loopback port and a thread of its own, for bytes no real server would send.
///
/// ```no_run
/// use redis_actix_test::{Answer, FakeServer};
///
/// # fn main() -> std::io::Result<()> {
/// let server = FakeServer::builder()
///     .without_hello()
///     .on(|argv| match argv.first().map(Vec::as_slice) {
///         Some(b"GET") => Answer::raw("*2147483647\r\n"),
///         _ => Answer::Silence,
///     })
///     .start()?;
/// // ... let the client connect to `server.url()` and ask ...
/// assert!(server.received().iter().any(|argv| argv.first().is_some_and(|name| name == b"GET")));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FakeServer {
    shared: Arc<Shared>,
    background: Background,
}

impl FakeServer {
    /// A server that knows the handshake and answers all else with an error.
    ///
    /// # Errors
    ///
    /// See [`FakeServerBuilder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Options for any other server.
    pub fn builder() -> FakeServerBuilder {
        FakeServerBuilder::default()
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

    /// All commands in the order they came, the handshake's included.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<Vec<u8>>> {
        self.shared.record.get(|record| record.commands.iter().map(|(_, argv)| argv.clone()).collect())
    }

    /// The commands of one connection; the first one accepted is 0.
    #[must_use]
    pub fn received_on(&self, connection: usize) -> Vec<Vec<Vec<u8>>> {
        self.shared.record.get(|record| {
            record.commands.iter().filter(|(from, _)| *from == connection).map(|(_, argv)| argv.clone()).collect()
        })
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.record.get(|record| record.connections)
    }

    /// How many of them live.
    #[must_use]
    pub fn live_connections(&self) -> usize {
        self.shared.record.get(|record| record.live)
    }

    /// Sends unsolicited bytes to every live connection, such as a push.
    pub fn send(&self, bytes: &[u8]) {
        self.order(|| Order::Send(bytes.to_vec()));
    }

    /// Closes every live connection.
    pub fn close_all(&self) {
        self.order(|| Order::Close);
    }

    /// Replaces the handler.
    pub fn on(&self, handler: impl FnMut(&[Vec<u8>]) -> Answer + Send + 'static) {
        *lock(&self.shared.handler) = Some(Box::new(handler));
    }

    /// Blocks until `count` commands came since the start, the handshake's included. In an async test that would stop the client
    /// too: there it is [`commands`](Self::commands).
    ///
    /// # Errors
    ///
    /// Where there were fewer in that time.
    pub fn wait_for_commands(&self, count: usize, within: Duration) -> io::Result<()> {
        self.shared.record.wait(within, |record| record.commands.len() >= count, |record| record.describe(count))
    }

    /// Waits without blocking until `count` commands came since the start.
    ///
    /// # Errors
    ///
    /// Where there were fewer in that time.
    pub async fn commands(&self, count: usize, within: Duration) -> io::Result<()> {
        self.shared.record.until(within, |record| record.commands.len() >= count, |record| record.describe(count)).await
    }

    /// Waits without blocking until a command with this name came, in any case of letters.
    ///
    /// # Errors
    ///
    /// Where none came in that time.
    pub async fn command_named(&self, name: &str, within: Duration) -> io::Result<()> {
        self.shared
            .record
            .until(
                within,
                |record| {
                    record
                        .commands
                        .iter()
                        .any(|(_, argv)| argv.first().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes())))
                },
                |_| format!("no {name} came"),
            )
            .await
    }

    /// Whether the script was followed to its end and all bytes were commands.
    ///
    /// # Errors
    ///
    /// What came instead, or which step is still waited for.
    pub fn finish(&self) -> io::Result<()> {
        lock(&self.shared.script).finish()
    }

    fn order(&self, order: impl Fn() -> Order) {
        for orders in lock(&self.shared.links).values() {
            // A connection that ended in this moment takes none.
            drop(orders.send(order()));
        }
    }
}
