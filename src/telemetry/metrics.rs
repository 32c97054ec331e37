//! Metrics through the [`metrics`](https://docs.rs/metrics) facade.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use metrics::{Histogram, Unit};

use crate::error::Error;
use crate::frame::Frame;
use crate::prefix::table;

/// The upper ends of the buckets of every histogram in seconds, as the OpenTelemetry conventions advise. Give them to the
/// exporter: with the same buckets everywhere histograms can be summed over processes.
pub const DURATION_BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// The codes that become a label. Scripts can reply with any code, and labels must be bounded.
const CODES: &[&str] = &[
    "ASK",
    "BUSY",
    "BUSYGROUP",
    "BUSYKEY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "ERR",
    "EXECABORT",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOGROUP",
    "NOPERM",
    "NOREPLICAS",
    "NOSCRIPT",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "UNKILLABLE",
    "WRONGPASS",
    "WRONGTYPE",
];

/// A command that this version does not know, or a code of a script.
const OTHER: &str = "_OTHER";
const PIPELINE: &str = "pipeline";
const MULTI: &str = "multi";

/// The label of one command, from a bounded set.
#[derive(Clone, Copy)]
pub(super) struct Measured(&'static str);

impl Measured {
    pub(super) fn of(frame: &Frame) -> Self {
        Self(match frame.unit() {
            Some(unit) if unit.is_atomic() => MULTI,
            Some(_) => PIPELINE,
            None => table::lookup(&frame.argv()).map_or(OTHER, |found| found.name.command),
        })
    }

    pub(super) fn record(self, took: Duration, failure: Option<&Error>) {
        let outcome = failure.map_or("", outcome_of);
        with_histogram((self.0, outcome), |histogram| histogram.record(took.as_secs_f64()));
    }
}

fn outcome_of(error: &Error) -> &'static str {
    match error.code() {
        Some(code) => CODES.iter().find(|known| **known == code).copied().unwrap_or(OTHER),
        None => super::kind_of(error),
    }
}

type Labels = (&'static str, &'static str);

/// The histograms of one recorder: asking it for each command would cost more than the command.
#[derive(Default)]
struct Handles {
    recorder: usize,
    histograms: HashMap<Labels, Histogram>,
}

thread_local! {
    static HANDLES: RefCell<Handles> = RefCell::default();
}

fn with_histogram(labels: Labels, record: impl FnOnce(&Histogram)) {
    // A service may install its recorder after the first commands.
    let recorder = metrics::with_recorder(|recorder| std::ptr::from_ref(recorder).cast::<()>() as usize);
    HANDLES.with_borrow_mut(|handles| {
        if handles.recorder != recorder {
            *handles = Handles { recorder, histograms: HashMap::new() };
        }
        record(handles.histograms.entry(labels).or_insert_with(|| histogram(labels)));
    });
}

fn histogram((operation, outcome): Labels) -> Histogram {
    metrics::describe_histogram!(
        "db.client.operation.duration",
        Unit::Seconds,
        "Duration of commands from the call to the reply"
    );
    let operation = operation.to_ascii_uppercase();
    if outcome.is_empty() {
        metrics::histogram!("db.client.operation.duration", "db.system.name" => "redis", "db.operation.name" => operation)
    } else {
        metrics::histogram!("db.client.operation.duration", "db.system.name" => "redis", "db.operation.name" => operation, "error.type" => outcome)
    }
}
