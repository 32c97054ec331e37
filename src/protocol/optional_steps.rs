//! Optional handshake steps that some servers or proxies do not support, and which of them are omitted.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::config::{Protocol, RedisConfig};

/// After this time an omitted step is tried again, because the server may have been upgraded.
const TRY_AGAIN: Duration = Duration::from_secs(60 * 60);

/// After one of this number of consecutive disconnects the step is omitted once, so that a recovered server is found.
const SELDOM: u32 = 8;

/// A handshake step that a connection does not require.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OptionalStep {
    /// HELLO: without it RESP2 is used, and AUTH logs in.
    Hello,
    /// CLIENT SETNAME, SETINFO and ID.
    Client,
}

impl OptionalStep {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hello => "HELLO",
            Self::Client => "CLIENT",
        }
    }
}

/// The steps that one handshake omits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Omitted {
    pub(crate) hello: bool,
    pub(crate) client: bool,
}

impl Omitted {
    pub(crate) const ALL: Self = Self { hello: true, client: true };
}

#[derive(Debug, Default, Clone, Copy)]
struct Record {
    /// Consecutive disconnects in this step.
    hang_ups: u32,
    omitted_since: Option<Instant>,
}

/// The record of the optional steps for the servers of one configuration.
#[derive(Debug, Default)]
pub(crate) struct OptionalSteps {
    records: Mutex<[Record; 2]>,
}

impl OptionalSteps {
    fn records(&self) -> MutexGuard<'_, [Record; 2]> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The steps to omit now.
    pub(crate) fn omitted(&self, config: &RedisConfig, now: Instant) -> Omitted {
        let records = self.records();
        let [hello, client] = &*records;
        let is_omitted = |record: &Record| {
            record.omitted_since.is_some_and(|since| now.saturating_duration_since(since) < TRY_AGAIN)
        };
        Omitted {
            hello: config.protocol() == Protocol::Resp2 || is_omitted(hello),
            client: !config.client_commands() || is_omitted(client),
        }
    }

    /// Records that the server disconnected in this step. Returns whether to connect once without optional steps. A
    /// server that accepts and closes connections disconnects in the first step, whatever it is, so this becomes
    /// rare: after the 2nd and 4th consecutive disconnect, and after every 8th.
    pub(crate) fn hung_up(&self, step: OptionalStep) -> bool {
        let mut records = self.records();
        let record = of(&mut records, step);
        record.hang_ups = record.hang_ups.saturating_add(1);
        matches!(record.hang_ups, 2 | 4) || record.hang_ups.is_multiple_of(SELDOM)
    }

    /// Records that the server was ready without the optional steps, shortly after it disconnected in this one.
    pub(crate) fn omit(&self, step: OptionalStep, now: Instant) {
        // The old count would let several attempts fail when the step is tried again, although its effect is known.
        *of(&mut self.records(), step) = Record { hang_ups: 1, omitted_since: Some(now) };
    }

    /// Records that a handshake without the `omitted` steps succeeded, and with it all other steps.
    pub(crate) fn passed(&self, omitted: Omitted) {
        let mut records = self.records();
        let [hello, client] = &mut *records;
        for (record, was_omitted) in [(hello, omitted.hello), (client, omitted.client)] {
            if !was_omitted {
                *record = Record::default();
            }
        }
    }
}

fn of(records: &mut [Record; 2], step: OptionalStep) -> &mut Record {
    let [hello, client] = records;
    match step {
        OptionalStep::Hello => hello,
        OptionalStep::Client => client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_suspect_after_the_second_disconnect_and_then_ever_more_rarely() {
        let steps = OptionalSteps::default();
        let doubted: Vec<u32> = (1..=40).filter(|_| steps.hung_up(OptionalStep::Hello)).collect();
        assert_eq!(doubted, [2, 4, 8, 16, 24, 32, 40]);
        steps.passed(Omitted { hello: false, client: false });
        assert!(!steps.hung_up(OptionalStep::Hello), "another disconnect, after a success");
    }

    #[test]
    fn an_omitted_step_is_tried_again_after_an_hour() {
        let (steps, start) = (OptionalSteps::default(), Instant::now());
        let config = RedisConfig::builder().build().expect("valid");
        steps.omit(OptionalStep::Client, start);
        steps.passed(Omitted::ALL);
        let omitted = |after| steps.omitted(&config, start + after);
        assert_eq!(omitted(TRY_AGAIN / 2), Omitted { hello: false, client: true });
        assert_eq!(omitted(TRY_AGAIN), Omitted { hello: false, client: false });
    }

    /// Ablation: where `omit` keeps the count of before, "hour 1" fails.
    #[test]
    fn a_retried_step_is_suspect_at_the_first_disconnect_of_every_hour() {
        let (steps, mut now) = (OptionalSteps::default(), Instant::now());
        assert!(!steps.hung_up(OptionalStep::Hello), "a first disconnect");
        for hour in 0..14 {
            assert!(steps.hung_up(OptionalStep::Hello), "hour {hour}");
            steps.omit(OptionalStep::Hello, now);
            steps.passed(Omitted { hello: true, client: false });
            now += TRY_AGAIN;
        }
    }

    #[test]
    fn the_configuration_omits_steps() {
        let config = RedisConfig::builder().protocol(Protocol::Resp2).client_commands(false).build().expect("valid");
        assert_eq!(OptionalSteps::default().omitted(&config, Instant::now()), Omitted::ALL);
    }
}
