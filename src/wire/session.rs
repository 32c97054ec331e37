//! From an address to a link on which commands may flow: dial, greet, log in, and ask whether the server is
//! ready. Everything a new link needs is restored here, so that no caller has to know there was an old one.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use redis::{PushKind, Value};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::dial::{Target, dial};
use super::dial_error::{DialError, DialErrorKind};
use super::login::{Login, login_cause, sentinel_cause};
use super::place::Place;
use super::recipe::{Recipe, Replica};
use super::stream::Wire;
use crate::config::Address;
use crate::error::Error;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::prefix::KeyPrefix;

/// How often a server that is loading or busy is asked again on the same link.
const NOT_READY_PAUSE: Duration = Duration::from_millis(100);

/// What the server said of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Greeting {
    pub(crate) server: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) protocol: u8,
    pub(crate) client_id: Option<i64>,
    /// The dial that it came from.
    pub(crate) generation: u64,
}

/// A link that has answered PING.
pub(crate) struct Session {
    pub(crate) wire: Wire,
    pub(crate) greeting: Greeting,
    /// Where it leads.
    pub(crate) address: Address,
}

/// Dials and greets, within the connect timeout.
pub(crate) async fn establish(recipe: Arc<Recipe>) -> Result<Session, Cause> {
    let limit = recipe.config.connect_timeout();
    let until = Instant::now() + limit;
    let late = || Cause::new(CauseKind::Stalled, "nobody said in time where the server is");
    let target = timeout_at(until, recipe.locate()).await.map_err(|_| late())??;
    let left = until.saturating_duration_since(Instant::now());
    let transport = dial(&target, left).await.map_err(|error| dial_cause(&error))?;
    let is_sentinel = matches!(recipe.place, Place::Sentinel);
    let login = match recipe.place {
        Place::Sentinel => recipe.sentinel_login(),
        Place::Fixed | Place::Found(_) => recipe.login(until.saturating_duration_since(Instant::now())).await?,
    };
    let mut greeter = Greeter { wire: Wire::new(transport), until, target: &target, is_sentinel };
    let mut greeting = greeter.hello(login.as_ref()).await?;
    if !is_sentinel {
        greeter.select(recipe.config.db()).await?;
    }
    greeter.introduce(&recipe, &mut greeting).await?;
    greeter.until_ready().await?;
    if recipe.place.is_master() {
        greeter.verify_master().await?;
    }
    match recipe.replica {
        Some(Replica::InCluster) => greeter.read_only().await?,
        Some(Replica::Named) => greeter.verify_replica().await?,
        None => {}
    }
    let wire = greeter.wire;
    Ok(Session { wire, greeting, address: target.address })
}

/// A session that hears what is published on `channel`.
pub(crate) async fn listen(recipe: Arc<Recipe>, channel: &str) -> Result<Listener, Cause> {
    let mut session = establish(recipe).await?;
    let no_prefix = KeyPrefix::none();
    let subscribe = Frame::known("SUBSCRIBE").arg(channel);
    let sealed = no_prefix.seal(&subscribe).map_err(|error| Cause::new(CauseKind::Refused, error.to_string()))?;
    session.wire.encode(&sealed);
    Ok(Listener(session.wire))
}

/// See [`listen`].
pub(crate) struct Listener(Wire);

impl Listener {
    /// The next message.
    ///
    /// # Errors
    /// When the link broke.
    pub(crate) async fn next(&mut self) -> io::Result<String> {
        loop {
            poll_fn(|cx| self.0.poll_flush(cx)).await?;
            while let Some(value) = self.0.next_reply().map_err(io::Error::other)? {
                // RESP3 pushes it, RESP2 answers it.
                let text = match value {
                    Value::Push { kind: PushKind::Message, data } => data.into_iter().nth(1),
                    Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"message".to_vec())) => {
                        parts.into_iter().nth(2)
                    }
                    _ => None,
                };
                if let Some(Value::BulkString(text)) = text {
                    return Ok(String::from_utf8_lossy(&text).into_owned());
                }
            }
            if poll_fn(|cx| self.0.poll_fill(cx)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Asks one question on a link of its own, within `limit` in all.
pub(crate) async fn ask_once(recipe: Arc<Recipe>, question: Frame, limit: Duration) -> Result<Value, Cause> {
    let until = Instant::now() + limit;
    let late = || Cause::new(CauseKind::Stalled, format!("no answer to {} in time", question.name()));
    let session = timeout_at(until, establish(recipe.clone())).await.map_err(|_| late())??;
    let target = Target { address: session.address, ..recipe.target.clone() };
    let is_sentinel = matches!(recipe.place, Place::Sentinel);
    let mut greeter = Greeter { wire: session.wire, until, target: &target, is_sentinel };
    greeter.ask(&question).await?.map_err(|error| {
        let code = error.code().unwrap_or_default();
        let kind = if code == "NOPERM" { CauseKind::Refused } else { CauseKind::NotReady };
        let whose = if is_sentinel { "sentinel" } else { "server" };
        let (address, question) = (&target.address, question.name());
        Cause::new(kind, format!("the {whose} {address} answered {question} with {code}: {}", error.message()))
    })
}

/// The conversation before commands flow: one question, one answer.
pub(super) struct Greeter<'a> {
    wire: Wire,
    until: Instant,
    pub(super) target: &'a Target,
    /// Whose credentials to check is said by a refusal.
    is_sentinel: bool,
}

impl Greeter<'_> {
    /// HELLO 3 with the credentials; a server without HELLO is spoken to in RESP2.
    async fn hello(&mut self, login: Option<&Login>) -> Result<Greeting, Cause> {
        let hello = Frame::known("HELLO").arg(3);
        let hello = match login {
            Some(login) => login.with_hello(hello),
            None => hello,
        };
        let refused = match self.ask_when_ready(&hello).await? {
            Ok(answer) => return Ok(greeting_from(answer)),
            Err(refused) => refused,
        };
        if !matches!(refused.code(), Some("ERR" | "NOPROTO")) {
            return Err(self.refusal(&refused));
        }
        // A server without HELLO goes on listening. One that is full, or closes for another reason, has said
        // so with the same code, and its words are worth more than those of the broken pipe that follows.
        let before = |cause: Cause| match cause.kind() {
            CauseKind::Unreachable => {
                let words = format!("the server answered ERR: {} and hung up", refused.message());
                Cause::new(CauseKind::NotReady, words)
            }
            _ => cause,
        };
        if let Some(login) = login
            && let Err(refused) = self.ask_when_ready(&login.auth()).await.map_err(before)?
        {
            return Err(self.refusal(&refused));
        }
        if login.is_none() {
            // Whether it still listens; its answer to this is asked for again at the end.
            self.ask(&Frame::known("PING")).await.map_err(before)?.ok();
        }
        Ok(Greeting { protocol: 2, ..Greeting::default() })
    }

    async fn select(&mut self, db: u32) -> Result<(), Cause> {
        if db == 0 {
            return Ok(());
        }
        match self.ask_when_ready(&Frame::known("SELECT").arg(db)).await? {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("ERR") => Err(Cause::new(
                CauseKind::Refused,
                format!("the server has no database {db}: {}; check REDIS_DB", error.message()),
            )),
            Err(error) => Err(self.refusal(&error)),
        }
    }

    pub(super) fn refusal(&self, error: &Error) -> Cause {
        if self.is_sentinel { sentinel_cause(error, self.target) } else { login_cause(error) }
    }

    /// Names for operators. A server or a proxy may refuse them, and commands flow all the same.
    async fn introduce(&mut self, recipe: &Recipe, greeting: &mut Greeting) -> Result<(), Cause> {
        if let Some(name) = &recipe.client_name {
            self.ask(&Frame::known("CLIENT SETNAME").arg(name.as_str())).await?.ok();
        }
        self.ask(&Frame::known("CLIENT SETINFO").arg("LIB-NAME").arg(env!("CARGO_PKG_NAME"))).await?.ok();
        self.ask(&Frame::known("CLIENT SETINFO").arg("LIB-VER").arg(env!("CARGO_PKG_VERSION"))).await?.ok();
        if greeting.client_id.is_none()
            && let Ok(Value::Int(id)) = self.ask(&Frame::known("CLIENT ID")).await?
        {
            greeting.client_id = Some(id);
        }
        Ok(())
    }

    /// PING proves what a greeting does not: that the server accepts commands from us.
    async fn until_ready(&mut self) -> Result<(), Cause> {
        match self.ask_when_ready(&Frame::known("PING")).await? {
            Ok(_) => Ok(()),
            // A user without the right to PING may still have the right to everything the service needs.
            Err(error) if error.code() == Some("NOPERM") => Ok(()),
            Err(error) => Err(self.refusal(&error)),
        }
    }

    /// Asks again on the same link while the server is loading or busy: a new link would not be answered
    /// sooner, and would cost the server one more.
    async fn ask_when_ready(&mut self, frame: &Frame) -> Result<Result<Value, Error>, Cause> {
        loop {
            let answer = self.ask(frame).await?;
            match &answer {
                Err(error) if matches!(error.code(), Some("LOADING" | "BUSY" | "MASTERDOWN")) => {
                    let again = Instant::now() + NOT_READY_PAUSE;
                    if again >= self.until {
                        let words = format!(
                            "the server is not ready: {} {}",
                            error.code().unwrap_or_default(),
                            error.message()
                        );
                        return Err(Cause::new(CauseKind::NotReady, words));
                    }
                    sleep_until(again).await;
                }
                _ => return Ok(answer),
            }
        }
    }

    pub(super) async fn ask(&mut self, frame: &Frame) -> Result<Result<Value, Error>, Cause> {
        // Nothing of the greeting is a key.
        let no_prefix = KeyPrefix::none();
        let sealed = no_prefix.seal(frame).map_err(|error| Cause::new(CauseKind::Refused, error.to_string()))?;
        self.wire.encode(&sealed);
        let (wire, target) = (&mut self.wire, self.target);
        let broken = |error: io::Error| dial_cause(&target.before_ready(&error));
        let exchange = async {
            // A full server says so and hangs up before it has read anything: the write fails, and the reason
            // waits to be read.
            let written = poll_fn(|cx| wire.poll_flush(cx)).await;
            loop {
                match wire.next_reply().map_err(|error| Cause::new(CauseKind::Protocol, error.to_string()))? {
                    Some(Value::Push { .. }) => {}
                    Some(Value::ServerError(error)) => return Ok(Err(Error::server(error.code(), error.details()))),
                    Some(value) => return Ok(Ok(value)),
                    None => {
                        let filled = poll_fn(|cx| wire.poll_fill(cx)).await;
                        if !matches!(filled, Ok(1..)) {
                            let ended = filled.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                            return Err(broken(written.err().unwrap_or(ended)));
                        }
                    }
                }
            }
        };
        timeout_at(self.until, exchange).await.unwrap_or_else(|_| {
            let words = format!("the server accepted the connection but did not answer {} in time", frame.name());
            Err(Cause::new(CauseKind::Stalled, words))
        })
    }
}

fn dial_cause(error: &DialError) -> Cause {
    let kind = match error.kind() {
        _ if error.is_refusal() => CauseKind::Untrusted,
        DialErrorKind::Timeout => CauseKind::Stalled,
        _ => CauseKind::Unreachable,
    };
    Cause::new(kind, error.to_string())
}

fn greeting_from(answer: Value) -> Greeting {
    let mut greeting = Greeting { protocol: 3, ..Greeting::default() };
    let Value::Map(fields) = answer else { return greeting };
    for (name, value) in fields {
        let Ok(name) = redis::from_redis_value::<String>(name) else { continue };
        let text = || redis::from_redis_value_ref::<String>(&value).ok();
        match name.as_str() {
            "server" => greeting.server = text(),
            "version" => greeting.version = text(),
            "role" => greeting.role = text(),
            "mode" => greeting.mode = text(),
            "id" => greeting.client_id = redis::from_redis_value_ref(&value).ok(),
            _ => {}
        }
    }
    greeting
}
