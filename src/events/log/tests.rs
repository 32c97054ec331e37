//! Every event is logged as one JSON object, and `docs/log-events.md` lists it with its level and its fields.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::error::{Error, ErrorKind, Fate};
use crate::events::Cause;
use crate::messages::stream_id::StreamId;
use crate::streams::events::{ConsumerName, DeadLetterReason, Missing, StreamEvent, StreamEventKind as Kind};

const DOCUMENT: &str = include_str!("../../../docs/log-events.md");

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The JSON lines of whatever `run` logs at any level.
fn logged(run: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, run);
    let bytes = lines.0.lock().expect("not poisoned").clone();
    String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
}

/// The name of an event, with its level and its fields in order of the alphabet.
fn table() -> BTreeMap<String, (String, Vec<String>)> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    let ticked = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    cells
        .map(|cells| {
            let mut fields = ticked(&cells[3]);
            fields.sort();
            (cells[1].trim_matches('`').to_owned(), (cells[2].clone(), fields))
        })
        .collect()
}

fn connection_events() -> Vec<ConnectionEvent> {
    let cause = || Cause::new(CauseKind::Broken, "connection reset by peer");
    let (outage, delay) = (Duration::from_millis(1500), Duration::from_millis(250));
    let retrying = |attempt| ConnectionEvent::Retrying { attempt, delay, cause: cause() };
    vec![
        ConnectionEvent::Connecting { generation: 1, attempt: 1 },
        ConnectionEvent::Connected { generation: 1, attempts: 1, outage: Some(outage) },
        ConnectionEvent::Disconnected { generation: 1, cause: cause(), replayed: 1, failed: 2, unknown: 3 },
        ConnectionEvent::Disconnected {
            generation: 1,
            cause: Cause::new(CauseKind::Shutdown, "shutdown"),
            replayed: 0,
            failed: 0,
            unknown: 0,
        },
        ConnectionEvent::Gap { generation: 1, subscriptions: 1, outage, cause: cause() },
        retrying(1),
        retrying(3),
        ConnectionEvent::Refused { cause: cause(), retry_in: delay },
        ConnectionEvent::Restarted { restarts: 1, cause: cause() },
        ConnectionEvent::CacheUnavailable { reason: "the server replies with RESP2".to_owned() },
        ConnectionEvent::Draining,
        ConnectionEvent::PutBack { command: "BLPOP".to_owned(), elements: 1 },
        ConnectionEvent::MayBeLost { command: "BLPOP".to_owned(), elements: Some(1), reason: "no reply".to_owned() },
        ConnectionEvent::Closed { cause: cause() },
    ]
}

fn stream_events() -> Vec<Kind> {
    let error = || Error::new(ErrorKind::Disconnected, Fate::Unknown, "connection reset by peer");
    let (id, lasts) = (StreamId::new(1, 0), Duration::from_secs(2));
    vec![
        Kind::GroupCreated,
        Kind::Healed { after: id },
        Kind::NameTaken { holder: "other".to_owned() },
        Kind::Stalled { lag: 7, lasts },
        Kind::Degraded { missing: Missing::Scripts },
        Kind::ConsumerRemoved { name: "dead".to_owned() },
        Kind::Connected { recovered: 1 },
        Kind::Disconnected { cause: error() },
        Kind::Claimed { entries: 1 },
        Kind::Trimmed { ids: vec![id] },
        Kind::LeaseLost { id },
        Kind::TimedOut { id, attempt: 1 },
        Kind::DeadLettered { id, reason: DeadLetterReason::Rejected },
        Kind::Dropped { entries: 1 },
        Kind::SlowRoundTrips { round_trip: lasts, claims_after: lasts },
        Kind::ManyDelayed { entries: 1, most: 2 },
        Kind::DeadLetterFailed { id, error: error() },
        Kind::ScheduleRefused { messages: 1, error: error() },
        Kind::Trouble { error: error() },
        Kind::Paused { lasts: Some(lasts) },
        Kind::Resumed,
        Kind::HandlerGone,
        Kind::Restarted { reason: "panicked".to_owned() },
        Kind::Draining,
        Kind::Closed,
    ]
}

fn log_all() {
    connection_events().iter().for_each(|event| event.log("shared"));
    let name = ConsumerName { stream: "orders".into(), group: "billing".into(), consumer: "a".into() };
    stream_events().into_iter().for_each(|kind| StreamEvent { consumer: name.clone(), kind }.log());
}

/// The keys of a flat JSON object as written, so that a repeated one is seen: a parser keeps the last only.
fn keys(line: &str) -> Vec<String> {
    let mut stream = serde_json::Deserializer::from_str(line);
    let pairs: Pairs = serde::Deserialize::deserialize(&mut stream).expect("a JSON object");
    pairs.0
}

struct Pairs(Vec<String>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> serde::de::Visitor<'de> for Keys {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, serde_json::Value>()? {
                    keys.push(key);
                }
                Ok(Pairs(keys))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[test]
fn every_event_is_documented_with_its_level_and_fields() {
    let table = table();
    let lines = logged(log_all);
    assert_eq!(lines.len(), connection_events().len() + stream_events().len(), "one line for each event");
    for line in &lines {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let name = value["event"].as_str().unwrap_or_else(|| panic!("no event field in {line}"));
        let (level, fields) = table.get(name).unwrap_or_else(|| panic!("{name} is not in docs/log-events.md"));
        assert_eq!(value["level"].as_str(), Some(level.as_str()), "{line}");
        let mut found = keys(line);
        found.retain(|key| !["timestamp", "level", "target", "message", "event"].contains(&key.as_str()));
        found.sort();
        assert_eq!(&found, fields, "{name}: a field is twice, missing or not documented");
        let units = found.iter().filter(|field| field.ends_with("_ms"));
        units.for_each(|field| assert!(value[field].is_u64(), "{field} is not a number in {line}"));
    }
}

/// What a busy service or a long outage repeats must not be at INFO or above.
#[test]
fn events_that_repeat_are_below_info() {
    let event = |attempt| ConnectionEvent::Retrying {
        attempt,
        delay: Duration::from_secs(30),
        cause: Cause::new(CauseKind::Unreachable, "connection refused"),
    };
    let lines = logged(|| (1..=1000).for_each(|attempt| event(attempt).log("shared")));
    let warnings = lines.iter().filter(|line| line.contains("WARN")).count();
    assert_eq!((lines.len(), warnings), (1000, 10), "attempts 1, 2, 4 to 512");
}

/// The sources are searched, because an event of a rare failure is not caused in a test of its own.
#[test]
fn every_line_at_info_and_above_in_the_sources_is_documented() {
    let table = table();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src"), root.join("web/src")];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|ending| ending != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("text");
            for level in ["info", "warn", "error"] {
                for call in text.split(&format!("tracing::{level}!(")).skip(1) {
                    let name = call.trim_start().strip_prefix("event = \"").and_then(|rest| rest.split('"').next());
                    let name =
                        name.unwrap_or_else(|| panic!("{}: a line without an event: {call:.80}", path.display()));
                    let row = table.get(name).unwrap_or_else(|| panic!("{name} is not in docs/log-events.md"));
                    assert_eq!(row.0, level.to_uppercase(), "{name}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 40, "only {seen} lines were found");
}
