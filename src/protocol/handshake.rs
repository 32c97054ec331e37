//! The handshake of a link: one query at a time. A refused optional step is skipped; only the reply to the login
//! decides whether the login is valid.

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

/// The pause between queries on the same link while the server is loading or busy.
const NOT_READY_PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of messages kept while a reply is awaited. A sentinel sends a few in a failover.
const MAX_MESSAGES: usize = 64;

/// A link in its handshake.
pub(crate) struct Handshake<'a> {
    pub(crate) wire: Wire,
    pub(crate) until: Instant,
    pub(crate) target: &'a Target,
    /// Whether the peer is a sentinel, which has its own credentials.
    pub(crate) is_sentinel: bool,
    pub(crate) omitted: Omitted,
    /// The current optional step.
    pub(crate) step: Option<OptionalStep>,
    /// Messages that were published meanwhile.
    pub(crate) messages: Vec<String>,
}

impl<'a> Handshake<'a> {
    pub(crate) fn new(wire: Wire, target: &'a Target, is_sentinel: bool, omitted: Omitted, until: Instant) -> Self {
        Self { wire, until, target, is_sentinel, omitted, step: None, messages: Vec::new() }
    }

    /// Sends HELLO 3 with the credentials. If it is refused, continues with RESP2 and logs in with AUTH.
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
                // The credentials were rejected: a second attempt with AUTH would count as another wrong login.
                Err(error) if error.code() == Some("WRONGPASS") => return Err(self.refusal(&error)),
                Err(error) => refused = Some(error),
            }
        }
        match login {
            Some(login) => self.authenticate(login).await,
            // Checks whether the server still responds. The final PING repeats this query.
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

    /// Sends names for operators. If a server or a proxy refuses them the connection is used nevertheless.
    pub(crate) async fn introduce(
        &mut self,
        connect_params: &ConnectParams,
        server_info: &mut ServerInfo,
    ) -> Result<(), Cause> {
        if self.omitted.client {
            // HELLO also returns the id, and code that knows it would use CLIENT UNBLOCK and CLIENT KILL.
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

    /// Asks the server to track the keys that this client reads, and checks the right to CLIENT CACHING, which goes before such
    /// reads. Returns why it does not, if it does not.
    pub(crate) async fn track(&mut self, request: &Frame, protocol: u8) -> Result<Result<(), String>, Cause> {
        if protocol < 3 {
            return Ok(Err("the server replies with RESP2, which has no invalidation messages".to_owned()));
        }
        if self.omitted.client {
            return Ok(Err("CLIENT commands are not sent to this server: see REDIS_CLIENT_COMMANDS".to_owned()));
        }
        self.step = Some(OptionalStep::Client);
        let is_opt_in = request.args().any(|word| word == b"OPTIN");
        let caching = is_opt_in.then(|| Frame::known("CLIENT CACHING").arg("YES"));
        let mut tracked = Ok(());
        for frame in std::iter::once(request).chain(&caching) {
            if let Err(error) = self.ask(frame).await? {
                let code = error.code().unwrap_or_default();
                tracked = Err(format!("the server refuses {}: {code} {}", frame.name(), error.message()));
                break;
            }
        }
        self.step = None;
        Ok(tracked)
    }

    /// PING proves what HELLO does not: that the server accepts commands of this user.
    pub(crate) async fn until_ready(&mut self) -> Result<(), Cause> {
        let Err(error) = self.ask_when_ready(&Frame::known("PING")).await? else { return Ok(()) };
        let words = error.message().to_ascii_lowercase();
        match error.code() {
            // A user without permission for PING may have permission for all commands that the service needs.
            Some("NOPERM") => Ok(()),
            Some("ERR") if words.contains("unknown command") || words.contains("unsupported command") => Ok(()),
            // A proxy replies with ERR while its server is missing, which may be temporary.
            Some("ERR") => {
                let words = error.message().trim_end_matches('.');
                Err(Cause::new(CauseKind::NotReady, format!("the server answered PING with ERR: {words}")))
            }
            _ => Err(self.refusal(&error)),
        }
    }

    /// Retries on the same link while the server is loading or busy. A new link would get no reply sooner, and would
    /// add load to the server.
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
        // No argument of the handshake is a key.
        let no_prefix = KeyPrefix::none();
        let sealed = no_prefix.seal(frame).map_err(|error| Cause::new(CauseKind::Refused, error.to_string()))?;
        self.wire.encode(&sealed);
        let (wire, target, messages) = (&mut self.wire, self.target, &mut self.messages);
        let broken = |error: io::Error| dial_cause(&target.before_ready(&error));
        let exchange = async {
            // A server that is full sends an error and closes before it reads: the write fails, while the error can
            // be read.
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

/// After it refused HELLO a server without HELLO continues to read. A server that is full or closes for another
/// reason gives the reason in its reply to the first command, which is more useful than the following broken pipe.
fn after_refusal(cause: Cause, refused: Option<&Error>) -> Cause {
    match refused {
        Some(refused) if cause.kind() == CauseKind::Unreachable => {
            let code = refused.code().unwrap_or_default();
            let words = format!("the server answered {code}: {} and closed the connection", refused.message());
            Cause::new(CauseKind::NotReady, words)
        }
        _ => cause,
    }
}

/// The text of a published message, which is a push in RESP3 and a reply in RESP2.
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

/// A proxy may reply to HELLO without supporting it: only a map is RESP3.
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
