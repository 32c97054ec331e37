//! Errors, and the fate of the failed command.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::prefix::refusal::RefusalClass;
use crate::printable::printable;

#[cfg(feature = "actix-web")]
mod response;

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whether a failed command can have run. It decides whether the command may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// No server received the whole command, so it cannot have run. Repeating it is safe.
    NotSent,
    /// The server replied with an error and did not run the command. Repeating it unchanged will most likely fail
    /// again.
    Rejected,
    /// Bytes were sent and no usable reply arrived, so the command may have run. Repeat it only if running it twice
    /// is harmless.
    Unknown,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "the command was not sent",
            Self::Rejected => "the server rejected the command",
            Self::Unknown => "the command may have run",
        })
    }
}

/// The phase in which a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It waited for room in the in-flight window of a ready connection.
    Queued,
    /// It waited for the connection to be established.
    Connecting,
    /// Some or all of its bytes were passed to the socket.
    Sent,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queued => "queued",
            Self::Connecting => "waiting for a connection",
            Self::Sent => "sent",
        })
    }
}

/// The kind of an [`Error`], for decisions in programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is invalid.
    Config,
    /// The command was refused before it was sent: malformed, empty, or not allowed on a shared, prefixed connection.
    InvalidCommand,
    /// The limits on queued or in-flight commands are reached. Reduce the rate and retry.
    Overloaded,
    /// The deadline of the command passed.
    Timeout,
    /// The connection was lost or could not be established.
    Disconnected,
    /// The server refuses the login (wrong password, missing permission, unknown database), or its certificate is not
    /// trusted. The connection is retried at the longest delay until this is fixed.
    Refused,
    /// The server replied with an error; [`Error::code`] returns its code.
    Server,
    /// Another client changed a watched key; nothing was done. [`Redis::watch`](crate::Redis::watch) returns it after
    /// its last attempt.
    Conflict,
    /// The command ran, but its reply does not fit the requested type, or decoding it panicked. The fate is
    /// [`Fate::Unknown`], because repeating it may be harmful.
    Decode,
    /// The server sent invalid RESP, or a reply without a command. The connection was closed.
    Protocol,
    /// The connection was shut down, or its supervisor exceeded the restart limit.
    Closed,
}

/// A failed command, or a failed attempt to start.
///
/// The text contains what happened, to which command, and what to do. It never contains keys, values or credentials
/// of the caller. Cloning is cheap, because one lost connection fails many commands.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    fate: Fate,
    phase: Option<Phase>,
    state: Option<&'static str>,
    code: Option<Box<str>>,
    command: Option<Box<str>>,
    message: Cow<'static, str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    refusal: Option<RefusalClass>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, fate: Fate, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            fate,
            phase: None,
            state: None,
            code: None,
            command: None,
            message: message.into(),
            source: None,
            refusal: None,
        }))
    }

    /// Creates the error of a command that was not sent, for [`Command`](crate::Command) implementations with invalid
    /// arguments.
    #[must_use]
    pub fn invalid_command(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidCommand, Fate::NotSent, message)
    }

    /// The error of a command that may not be sent on this connection.
    pub(crate) fn refused(class: RefusalClass, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::invalid_command(message);
        error.0.refusal = Some(class);
        error
    }

    /// Creates the error of a command that ran and whose reply cannot be decoded, for
    /// [`Command::reply`](crate::Command::reply).
    #[must_use]
    pub fn decode(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Decode, Fate::Unknown, message)
    }

    /// The error reply of a server: its first word is the code, the rest is text. Both are made printable.
    pub(crate) fn server(code: &str, detail: Option<&str>) -> Self {
        // `unknown command 'AUTH', with args beginning with: 'hunter2'`: arguments must not appear in errors.
        let detail = detail.unwrap_or("no detail given");
        let words = detail.split(", with args beginning with").next().unwrap_or(detail);
        let words = printable(words.trim_end()).into_owned();
        let mut error = Self::new(ErrorKind::Server, Fate::Rejected, words);
        error.0.code = Some(printable(code).into());
        error
    }

    /// Whether the server has no such command for this user: it is forbidden, renamed or missing.
    pub(crate) fn is_forbidden(&self) -> bool {
        let code = self.code();
        code == Some("NOPERM") || (code == Some("ERR") && self.message().starts_with("unknown command"))
    }

    /// Appends what to do about the error.
    #[must_use]
    pub(crate) fn with_advice(mut self, advice: &str) -> Self {
        self.0.message = format!("{}; {advice}", self.0.message).into();
        self
    }

    #[must_use]
    pub(crate) fn in_phase(mut self, phase: Phase, state: &'static str) -> Self {
        self.0.phase = Some(phase);
        self.0.state = Some(state);
        self
    }

    #[must_use]
    pub(crate) fn with_fate(mut self, fate: Fate) -> Self {
        self.0.fate = fate;
        self
    }

    #[must_use]
    pub(crate) fn of_command(mut self, name: impl Into<Box<str>>) -> Self {
        self.0.command.get_or_insert_with(|| printable(String::from(name.into())).into());
        self
    }

    /// Like [`of_command`](Self::of_command), and replaces a name that is already set.
    #[must_use]
    pub(crate) fn of_call(mut self, name: &'static str) -> Self {
        self.0.command = Some(name.into());
        self
    }

    #[must_use]
    pub(crate) fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Appends the cause.
    #[must_use]
    pub(crate) fn because(mut self, cause: &impl fmt::Display) -> Self {
        self.0.message = format!("{}; {cause}", self.0.message).into();
        self
    }

    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the command can have run.
    #[must_use]
    pub fn fate(&self) -> Fate {
        self.0.fate
    }

    /// The phase in which the command failed; `None` if it was never queued.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// Why the command was refused, if it is not allowed on a shared, prefixed connection. `None` for malformed
    /// commands.
    #[must_use]
    pub fn refusal(&self) -> Option<RefusalClass> {
        self.0.refusal
    }

    /// The server's error code (`WRONGTYPE`, `OOM`, `NOPERM`, ...). Branch on the code and not on the text, which
    /// differs between servers and versions.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The name of the command that failed, without its arguments.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.0.command.as_deref()
    }

    /// The text without command, code and fate.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

const ADVICE: &str = ": repeat it only if running it twice is harmless, and mark such commands with `idempotent()`";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(command) = &inner.command {
            write!(f, "{command}: ")?;
        }
        if let Some(code) = &inner.code {
            write!(f, "server answered {code}: ")?;
        }
        f.write_str(&inner.message)?;
        if let (Some(phase), Some(state)) = (inner.phase, inner.state) {
            let advice = if inner.fate == Fate::Unknown { ADVICE } else { "" };
            write!(f, " ({phase}, connection {state}; {}{advice})", inner.fate)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("fate", &self.0.fate)
            .field("phase", &self.0.phase)
            .field("code", &self.0.code)
            .field("command", &self.0.command)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Marks the texts of this crate's decoders, which pass through redis-rs' conversions.
const OURS: &str = "redis-actix: ";

impl From<Error> for redis::ParsingError {
    fn from(error: Error) -> Self {
        format!("{OURS}{}", error.message()).into()
    }
}

impl From<redis::ParsingError> for Error {
    fn from(error: redis::ParsingError) -> Self {
        // The text quotes the reply, which is the caller's data, unless it is this crate's own.
        if let Some(words) = error.to_string().strip_prefix("Incompatible type - ").and_then(|e| e.strip_prefix(OURS)) {
            return Self::decode(words.to_owned());
        }
        Self::decode(
            "the reply does not fit the requested type; use another type (an Option if the reply can be nil), or redis_actix::Value to inspect it",
        )
    }
}
