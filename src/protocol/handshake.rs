//! The conversation before commands flow: one question, one answer. A refusal of a step that connections can do without
//! is passed over; only an answer to the login says that the login is wrong.

use std::{future::poll_fn, io, time::Duration};

use redis::{PushKind, Value};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::framed::Wire;
use super::login::{Login, login_cause, sentinel_cause};
use super::optional_steps::{Omitted, OptionalStep};
use crate::connection::params::ConnectParams;
use crate::error::Error;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::prefix::KeyPrefix;
use crate::printable::printable;
use crate::protocol::server_info::ServerInfo;
use crate::transport::dial::Target;
use crate::transport::dial_error::{DialError, DialErrorKind};

/// How often a server that is loading or busy is asked again on the same link.
const NOT_READY_PAUSE: Duration = Duration::from_millis(100);
/// Messages that are kept while an answer is waited for. A sentinel sends a handful in a failover.
const MAX_MESSAGES: usize = 64;

/// A link on which questions are asked.
pub(crate) struct Handshake<'a> {
    pub(crate) wire: Wire,
    pub(crate) until: Instant,
    pub(crate) target: &'a Target,
    /// It says whose credentials a refusal is about.
    pub(crate) is_sentinel: bool,
    pub(crate) omitted: Omitted,
    /// The optional step under way.
    pub(crate) step: Option<OptionalStep>,
    /// What was published meanwhile.
    pub(crate) messages: Vec<String>,
}

impl<'a> Handshake<'a> {
    pub(crate) fn new(wire: Wire, target: &'a Target, is_sentinel: bool, omitted: Omitted, until: Instant) -> Self {
        Self { wire, until, target, is_sentinel, omitted, step: None, messages: Vec::new() }
    }

    /// HELLO 3 with the credentials. After any refusal of it RESP2 is spoken, and AUTH logs in.
    pub(crate) async fn hello(&mut self, login: Option<&Login>) -> Result<ServerInfo, Cause> {
        let mut refused = None;
        if !self.omitted.hello {
            let hello = Frame::known("HELLO").arg(3);
            let hello = match login {
                Some(login) => login.with_hello(hello),
                None => hello,
            };
            self.step = Some(OptionalStep::Hello);
            let answer = self.ask_when_ready(&hello).await?;
            self.step = None;
            match answer {
                Ok(answer) => return Ok(server_info_from(answer)),
                // The credentials were judged: AUTH would count as a second wrong login.
                Err(error) if error.code() == Some("WRONGPASS") => return Err(self.refusal(&error)),
                Err(error) => refused = Some(error),
            }
        }
        match login {
            Some(login) => self.authenticate(login).await,
            // Whether it still listens; its answer to this is asked for again at the end.
            None if refused.is_some() => self.ask(&Frame::known("PING")).await.map(drop),
            None => Ok(()),
        }
        .map_err(|cause| after_refusal(cause, refused.as_ref()))?;
        Ok(ServerInfo { protocol: 2, ..ServerInfo::default() })
    }

    async fn authenticate(&mut self, login: &Login) -> Result<(), Cause> {
        let mut answer = self.ask_when_ready(&login.auth()).await?;
        // Servers before 6.0 have one password and no users.
        if let Err(error) = &answer
            && login.has_username()
            && error.message().contains("wrong number of arguments")
        {
            answer = self.ask_when_ready(&login.auth_without_user()).await?;
        }
        answer.map(drop).map_err(|error| self.refusal(&error))
    }

    pub(crate) async fn select(&mut self, db: u32) -> Result<(), Cause> {
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

    pub(crate) fn refusal(&self, error: &Error) -> Cause {
        if self.is_sentinel { sentinel_cause(error, self.target) } else { login_cause(error) }
    }

    /// Names for operators. A server or a proxy may refuse them, and commands flow all the same.
    pub(crate) async fn introduce(
        &mut self,
        connect_params: &ConnectParams,
        server_info: &mut ServerInfo,
    ) -> Result<(), Cause> {
        if self.omitted.client {
            // HELLO tells it too, and whoever knows it uses it in CLIENT UNBLOCK and CLIENT KILL.
            server_info.client_id = None;
            return Ok(());
        }
        self.step = Some(OptionalStep::Client);
        if let Some(name) = &connect_params.client_name {
            self.ask(&Frame::known("CLIENT SETNAME").arg(name.as_str())).await?.ok();
        }
        self.ask(&Frame::known("CLIENT SETINFO").arg("LIB-NAME").arg(env!("CARGO_PKG_NAME"))).await?.ok();
        self.ask(&Frame::known("CLIENT SETINFO").arg("LIB-VER").arg(env!("CARGO_PKG_VERSION"))).await?.ok();
        if server_info.client_id.is_none()
            && let Ok(Value::Int(id)) = self.ask(&Frame::known("CLIENT ID")).await?
        {
            server_info.client_id = Some(id);
        }
        self.step = None;
        Ok(())
    }

    /// PING proves what HELLO does not: that the server accepts commands from us.
    pub(crate) async fn until_ready(&mut self) -> Result<(), Cause> {
        let Err(error) = self.ask_when_ready(&Frame::known("PING")).await? else { return Ok(()) };
        let words = error.message().to_ascii_lowercase();
        match error.code() {
            // A user without the right to PING may still have the right to everything the service needs.
            Some("NOPERM") => Ok(()),
            Some("ERR") if words.contains("unknown command") || words.contains("unsupported command") => Ok(()),
            // A proxy says so of the server behind it, which may be there in a moment.
            Some("ERR") => {
                let words = error.message().trim_end_matches('.');
                Err(Cause::new(CauseKind::NotReady, format!("the server answered PING with ERR: {words}")))
            }
            _ => Err(self.refusal(&error)),
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

    pub(crate) async fn ask(&mut self, frame: &Frame) -> Result<Result<Value, Error>, Cause> {
        // Nothing of the handshake is a key.
        let no_prefix = KeyPrefix::none();
        let sealed = no_prefix.seal(frame).map_err(|error| Cause::new(CauseKind::Refused, error.to_string()))?;
        self.wire.encode(&sealed);
        let (wire, target, messages) = (&mut self.wire, self.target, &mut self.messages);
        let broken = |error: io::Error| dial_cause(&target.before_ready(&error));
        let exchange = async {
            // A full server says so and hangs up before it has read anything: the write fails, and the reason
            // waits to be read.
            let written = poll_fn(|cx| wire.poll_flush(cx)).await;
            loop {
                match wire.next_reply().map_err(|error| Cause::new(CauseKind::Protocol, error.to_string()))? {
                    Some(value @ Value::Push { .. }) => {
                        let room = messages.len() < MAX_MESSAGES;
                        messages.extend(published(value).filter(|_| room));
                    }
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

/// A server without HELLO goes on listening. One that is full, or closes for another reason, says so in its answer to the
/// first command, and its words are worth more than those of the broken pipe that follows.
fn after_refusal(cause: Cause, refused: Option<&Error>) -> Cause {
    match refused {
        Some(refused) if cause.kind() == CauseKind::Unreachable => {
            let code = refused.code().unwrap_or_default();
            let words = format!("the server answered {code}: {} and hung up", refused.message());
            Cause::new(CauseKind::NotReady, words)
        }
        _ => cause,
    }
}

/// The text of a published message. RESP3 pushes it, RESP2 answers it.
pub(crate) fn published(value: Value) -> Option<String> {
    let text = match value {
        Value::Push { kind: PushKind::Message, data } => data.into_iter().nth(1),
        Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"message".to_vec())) => {
            parts.into_iter().nth(2)
        }
        _ => None,
    };
    match text {
        Some(Value::BulkString(text)) => Some(String::from_utf8_lossy(&text).into_owned()),
        _ => None,
    }
}

pub(crate) fn dial_cause(error: &DialError) -> Cause {
    let kind = match error.kind() {
        _ if error.is_refusal() => CauseKind::Untrusted,
        DialErrorKind::Timeout => CauseKind::Stalled,
        _ => CauseKind::Unreachable,
    };
    Cause::new(kind, error.to_string())
}

/// A proxy may answer HELLO without having understood it: only a map is RESP3.
fn server_info_from(answer: Value) -> ServerInfo {
    let protocol = if matches!(answer, Value::Map(_)) { 3 } else { 2 };
    let mut server_info = ServerInfo { protocol, ..ServerInfo::default() };
    let fields: Vec<(Value, Value)> = match answer {
        Value::Map(fields) => fields,
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect()
        }
        _ => return server_info,
    };
    for (name, value) in fields {
        let Ok(name) = redis::from_redis_value::<String>(name) else { continue };
        let text = || redis::from_redis_value_ref::<String>(&value).ok().map(|text| printable(text).into_owned());
        match name.as_str() {
            "server" => server_info.server = text(),
            "version" => server_info.version = text(),
            "role" => server_info.role = text(),
            "mode" => server_info.mode = text(),
            "id" => server_info.client_id = redis::from_redis_value_ref(&value).ok(),
            _ => {}
        }
    }
    server_info
}
