//! One consumer process. It writes a line to a file for each entry before it acknowledges.

use std::fs::File;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use actix::prelude::*;
use redis_actix::{Delivery, Outcome, StreamConsumer, StreamEntry, StreamEvent, StreamEventKind as Kind};

use crate::{GROUP, STREAM, connect, now};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

struct Handling {
    log: File,
    chance: fastrand::Rng,
}

impl Handling {
    /// Writes one line with one system call: it is complete and survives the process.
    fn write(log: &File, line: &str) {
        let mut log = log;
        log.write_all(format!("{line}\n").as_bytes()).expect("written");
    }
}

impl Actor for Handling {
    type Context = Context<Self>;
}

impl Handler<Delivery<StreamEntry>> for Handling {
    type Result = ResponseFuture<Outcome>;

    fn handle(&mut self, entry: Delivery<StreamEntry>, _: &mut Self::Context) -> Self::Result {
        let (id, attempt) = (entry.id(), entry.attempt());
        Self::write(&self.log, &format!("begin {} {id} {attempt}", now()));
        let log = self.log.try_clone().expect("a file");
        let (work, choice) = (ms(self.chance.u64(..25)), self.chance.u8(..100));
        Box::pin(async move {
            tokio::time::sleep(work).await;
            let (word, outcome) = match choice {
                0..3 => ("retry", Outcome::Retry),
                3 => ("release", Outcome::Release),
                _ => ("ack", Outcome::Ack),
            };
            Self::write(&log, &format!("{word} {} {id} {attempt}", now()));
            outcome
        })
    }
}

impl Handler<StreamEvent> for Handling {
    type Result = ();

    fn handle(&mut self, event: StreamEvent, _: &mut Self::Context) {
        match event.kind {
            Kind::LeaseLost { id } => Self::write(&self.log, &format!("lost {} {id} 0", now())),
            Kind::TimedOut { id, attempt } => Self::write(&self.log, &format!("late {} {id} {attempt}", now())),
            kind => Self::write(&self.log, &format!("event {} {kind:?}", now())),
        }
    }
}

/// `worker NAME PORT LOG SEED`: until it is killed, or its standard input ends.
pub(crate) fn run(words: &[String]) -> ExitCode {
    let [name, port, log, seed] = words else { return ExitCode::from(2) };
    let (port, seed) = (port.parse().expect("a port"), seed.parse().expect("a seed"));
    let log = File::options().append(true).create(true).open(log).expect("a log");
    let name = name.clone();
    System::new().block_on(async move {
        let redis = connect(port);
        let handling = Handling { log, chance: fastrand::Rng::with_seed(seed) }.start();
        let consumer = StreamConsumer::builder(STREAM, GROUP)
            .consumer(name)
            .max_in_flight(16)
            .batch(32)
            .min_idle(ms(2_000))
            .block(ms(1_000))
            .sweep_every(ms(200))
            .retry([ms(50), ms(200)])
            // A killed process may have started an entry, which must not count against the entry.
            .max_deliveries(1_000)
            .on_event(handling.clone().recipient())
            .start::<StreamEntry>(&redis, handling.recipient())
            .expect("started");
        let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
        let _ = consumer.drain(Duration::from_secs(5)).await;
    });
    ExitCode::SUCCESS
}
