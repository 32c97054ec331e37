//! Spans and metrics of commands, with the names of the OpenTelemetry semantic conventions.
//!
//! Spans have the level DEBUG: a service that logs at INFO pays for one comparison per command.

#[cfg(feature = "metrics")]
pub(crate) mod metrics;
pub(crate) mod propagation;
pub(crate) mod stream;

use std::{fmt, time::Instant};

use tracing::{Level, Span, field::Empty};

use crate::config::{Address, Mode, RedisConfig};
use crate::error::{Error, ErrorKind};
use crate::frame::Frame;

/// The target of the spans of commands, for filters.
pub(crate) const COMMANDS: &str = "redis_actix::command";

/// The span of one command and the time of its start. Most commands have none.
#[derive(Default)]
pub(crate) struct Observed(Option<Box<Observation>>);

struct Observation {
    span: Span,
    #[cfg(feature = "metrics")]
    measured: metrics::Measured,
    started: Instant,
    ended: bool,
}

impl Observed {
    /// Observes a command of the caller whose span is current, if anything listens.
    #[inline]
    pub(crate) fn start(frame: &Frame, config: &RedisConfig) -> Self {
        if cfg!(feature = "metrics") || tracing::enabled!(target: COMMANDS, Level::DEBUG) {
            return Self(observe(frame, config));
        }
        Self(None)
    }

    /// Records the outcome and closes the span.
    #[inline]
    pub(crate) fn end(&mut self, failure: Option<&Error>) {
        if let Some(observation) = self.0.take() {
            (*observation).end(failure);
        }
    }

    /// Records that the command may have run and was on a lost link.
    #[inline]
    pub(crate) fn note_lost_link(&self) {
        if let Some(observation) = &self.0 {
            observation.note_lost_link();
        }
    }
}

#[cold]
#[inline(never)]
fn observe(frame: &Frame, config: &RedisConfig) -> Option<Box<Observation>> {
    if frame.is_own() {
        return None;
    }
    let span = if tracing::enabled!(target: COMMANDS, Level::DEBUG) { span_of(frame, config) } else { Span::none() };
    Some(Box::new(Observation {
        span,
        #[cfg(feature = "metrics")]
        measured: metrics::Measured::of(frame),
        started: Instant::now(),
        ended: false,
    }))
}

fn span_of(frame: &Frame, config: &RedisConfig) -> Span {
    let operation = operation_of(frame);
    let span = tracing::debug_span!(
        target: COMMANDS,
        "redis.command",
        otel.name = %operation,
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = "redis",
        db.operation.name = %operation,
        db.operation.batch.size = Empty,
        db.namespace = %config.db(),
        db.stored_procedure.name = Empty,
        db.response.status_code = Empty,
        error.type = Empty,
        server.address = Empty,
        server.port = Empty,
    );
    if let Some(unit) = frame.unit().filter(|unit| unit.len() != 1) {
        span.record("db.operation.batch.size", i64::try_from(unit.len()).unwrap_or(i64::MAX));
    }
    if let Some(procedure) = procedure_of(frame) {
        span.record("db.stored_procedure.name", procedure);
    }
    // Which node of a cluster, or which master, is decided later.
    match config.mode() {
        Mode::Single(Address::Tcp(host)) => {
            span.record("server.address", host.host.as_str());
            span.record("server.port", i64::from(host.port));
        }
        Mode::Single(Address::Unix(path)) => {
            span.record("server.address", tracing::field::display(path.display()));
        }
        Mode::Cluster(_) | Mode::Sentinel { .. } => {}
    }
    span
}

/// `GET`; for joined commands `PIPELINE`, or `PIPELINE GET` if all have one name; likewise `MULTI`.
pub(crate) fn operation_of(frame: &Frame) -> String {
    let Some(unit) = frame.unit() else { return frame.name() };
    let whole = if unit.is_atomic() { "MULTI" } else { "PIPELINE" };
    let first = unit.name_of(0);
    if (1..unit.len()).all(|index| unit.name_of(index) == first) {
        format!("{whole} {first}")
    } else {
        whole.to_owned()
    }
}

/// The digest of a script, or the name of a function.
fn procedure_of(frame: &Frame) -> Option<&str> {
    let mut words = frame.args();
    let command = words.next()?;
    let procedure = words.next()?;
    let is_call = [&b"EVALSHA"[..], b"EVALSHA_RO", b"FCALL", b"FCALL_RO"];
    let is_call = !frame.is_unit() && is_call.iter().any(|name| command.eq_ignore_ascii_case(name));
    is_call.then(|| std::str::from_utf8(procedure).ok()).flatten()
}

/// One lower-case word, or the code of the server.
pub(crate) fn error_type(error: &Error) -> &str {
    error.code().unwrap_or(kind_of(error))
}

pub(crate) fn kind_of(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::Config => "config",
        ErrorKind::InvalidCommand => "invalid_command",
        ErrorKind::Overloaded => "overloaded",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Disconnected => "disconnected",
        ErrorKind::Refused => "refused",
        ErrorKind::Server => "server",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Decode => "decode",
        ErrorKind::Protocol => "protocol",
        ErrorKind::Closed => "closed",
    }
}

impl Observation {
    #[cold]
    fn end(mut self, failure: Option<&Error>) {
        self.ended = true;
        if let Some(error) = failure {
            if let Some(code) = error.code() {
                self.span.record("db.response.status_code", code);
            }
            self.fail(error_type(error));
        }
        #[cfg(feature = "metrics")]
        self.measured.record(self.started.elapsed(), failure);
    }

    fn fail(&self, error_type: &str) {
        self.span.record("error.type", error_type);
        self.span.record("otel.status_code", "ERROR");
    }

    #[cold]
    fn note_lost_link(&self) {
        let elapsed_ms = crate::events::millis(self.started.elapsed());
        tracing::debug!(target: COMMANDS, parent: &self.span, event = "command.link_lost", elapsed_ms, "the link was lost before the reply");
    }
}

/// A command without an outcome: its caller has left.
impl Drop for Observation {
    fn drop(&mut self) {
        if !self.ended {
            self.fail("canceled");
        }
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observed").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{
        Command,
        pipeline::Pipeline,
        strings::{Get, Incr},
        transaction::Transaction,
    };

    #[test]
    fn operations_are_named_after_their_commands() {
        let named = |frame: Frame| operation_of(&frame);
        assert_eq!(named(Get::<String>::new("k").into_frame()), "GET");
        assert_eq!(named(Frame::new("config get").arg("maxmemory")), "CONFIG GET");
        assert_eq!(named(Pipeline::new((Incr::new("a"), Incr::new("b"))).into_frame()), "PIPELINE INCR");
        assert_eq!(named(Pipeline::new((Incr::new("a"), Get::<String>::new("b"))).into_frame()), "PIPELINE");
        assert_eq!(named(Transaction::new((Incr::new("a"),)).into_frame()), "MULTI INCR");
    }

    #[test]
    fn functions_and_scripts_are_stored_procedures() {
        assert_eq!(procedure_of(&Frame::new("FCALL").arg("balance").arg(0)), Some("balance"));
        assert_eq!(procedure_of(&Frame::new("EVAL").arg("return 'secret'").arg(0)), None);
        assert_eq!(procedure_of(&Frame::new("GET").key("k")), None);
    }
}
