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
    /// [`Answer::Raw`], with the conversion.
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
    /// Answers HELLO with the error of servers before 6.0.
    pub fn without_hello(mut self) -> Self {
        self.without_hello = true;
        self
    }

    /// Passes HELLO, AUTH, SELECT, CLIENT, PING and QUIT to the handler or the script. By default the kit answers them itself
    /// and passes the other commands only.
    pub fn own_handshake(mut self) -> Self {
        self.own_handshake = true;
        self
    }

    /// Calls this for every command without a step in the script. It must not block: it runs on the server's only thread.
    pub fn on(mut self, handler: impl FnMut(&[Vec<u8>]) -> Answer + Send + 'static) -> Self {
        self.handler = Some(Box::new(handler));
        self
    }

    /// Expects these commands in this order, over all connections, before the handler is called. Any other command is answered
    /// with an error, which [`FakeServer::finish`] reports.
    pub fn script(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// Starts the server on a free loopback port.
    ///
    /// # Errors
    ///
    /// When no port or thread is available.
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

/// A scripted server on a free loopback port and its own thread, for bytes that no real server sends.
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
    /// A server that completes the handshake and answers other commands with an error.
    ///
    /// # Errors
    ///
    /// See [`FakeServerBuilder::start`].
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Options of a fake server.
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

    /// All commands in the order of arrival, including those of the handshake.
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

    /// The number of accepted connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.record.get(|record| record.connections)
    }

    /// The number of open connections.
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

    /// Blocks until `count` commands arrived since the start, including those of the handshake. In an async test it would block
    /// the client; use [`commands`](Self::commands) there.
    ///
    /// # Errors
    ///
    /// When fewer arrived in that time.
    pub fn wait_for_commands(&self, count: usize, within: Duration) -> io::Result<()> {
        self.shared.record.wait(within, |record| record.commands.len() >= count, |record| record.describe(count))
    }

    /// Waits without blocking until `count` commands arrived since the start.
    ///
    /// # Errors
    ///
    /// When fewer arrived in that time.
    pub async fn commands(&self, count: usize, within: Duration) -> io::Result<()> {
        self.shared.record.until(within, |record| record.commands.len() >= count, |record| record.describe(count)).await
    }

    /// Waits without blocking until a command with this name arrived; case-insensitive.
    ///
    /// # Errors
    ///
    /// When none arrived in that time.
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

    /// Checks that the script ran to its end and that all bytes were commands.
    ///
    /// # Errors
    ///
    /// The unexpected command, or the first missing step.
    pub fn finish(&self) -> io::Result<()> {
        lock(&self.shared.script).finish()
    }

    fn order(&self, order: impl Fn() -> Order) {
        for orders in lock(&self.shared.links).values() {
            // A connection that has just ended takes none.
            drop(orders.send(order()));
        }
    }
}
