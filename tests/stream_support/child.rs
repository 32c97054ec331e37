//! Consumers in processes of their own, which can be killed and frozen: the test's own program, run once more.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use actix::clock::sleep;
use redis_actix::Outcome;

use super::{Events, Recorder, connect, ms, quick, secs};

/// What a child does with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Acknowledges it after this number of milliseconds.
    AckAfter(u64),
    /// Rejects it after this number of milliseconds.
    RejectAfter(u64),
    /// Acknowledges it at once, and aborts the process on this one.
    AbortOn(u64),
}

impl Does {
    fn words(self) -> String {
        match self {
            Self::AckAfter(n) => format!("ack {n}"),
            Self::RejectAfter(n) => format!("reject {n}"),
            Self::AbortOn(n) => format!("abort {n}"),
        }
    }

    fn of(words: &str) -> Self {
        let (what, n) = words.split_once(' ').unwrap();
        let n = n.parse().unwrap();
        match what {
            "ack" => Self::AckAfter(n),
            "reject" => Self::RejectAfter(n),
            _ => Self::AbortOn(n),
        }
    }
}

/// How a child consumes.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    pub port: u16,
    pub name: &'a str,
    pub min_idle: Duration,
    pub in_flight: usize,
    pub does: Does,
}

/// A consumer in a process of its own; killed when this is dropped, and ended by itself when the test is killed.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Runs `test` again, which is to begin with [`is_child`].
    pub fn start(test: &str, task: Task<'_>) -> Self {
        let number = fastrand::u64(..);
        let log = std::env::temp_dir().join(format!("redis-actix-worker-{}-{number:x}", std::process::id()));
        File::create(&log).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.env("WORKER_PORT", task.port.to_string()).env("WORKER_NAME", task.name).env("WORKER_LOG", &log);
        command.env("WORKER_MIN_IDLE", task.min_idle.as_millis().to_string());
        command.env("WORKER_IN_FLIGHT", task.in_flight.to_string()).env("WORKER_DOES", task.does.words());
        Self { child: command.spawn().unwrap(), log }
    }

    /// The lines that it wrote: `start N ATTEMPT`, `end N`, `event ..`.
    pub fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap().lines().map(str::to_owned).collect()
    }

    /// How many of its lines begin so.
    pub fn count(&self, start: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(start)).count()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}

/// In a child: consumes until it is killed or its parent is gone, and returns true then.
pub async fn is_child() -> bool {
    let Ok(port) = std::env::var("WORKER_PORT") else { return false };
    let var = |name: &str| std::env::var(name).unwrap();
    let (does, log) = (Does::of(&var("WORKER_DOES")), PathBuf::from(var("WORKER_LOG")));
    let redis = connect(port.parse().unwrap());
    let events = Events::watch();
    let file = log.clone();
    let handler = Recorder::working(move |job| {
        let (n, attempt, file) = (job.n, job.attempt(), file.clone());
        write(&file, &format!("start {n} {attempt}"));
        async move {
            let outcome = match does {
                Does::AbortOn(poison) if poison == n => std::process::abort(),
                Does::AbortOn(_) => Outcome::Ack,
                Does::AckAfter(wait) => {
                    sleep(ms(wait)).await;
                    Outcome::Ack
                }
                Does::RejectAfter(wait) => {
                    sleep(ms(wait)).await;
                    Outcome::reject("not that one")
                }
            };
            write(&file, &format!("end {n}"));
            outcome
        }
    });
    let consumer = quick("orders", "billing")
        .consumer(var("WORKER_NAME"))
        .min_idle(ms(var("WORKER_MIN_IDLE").parse().unwrap()))
        .max_in_flight(var("WORKER_IN_FLIGHT").parse().unwrap())
        .max_deliveries(3)
        .on_event(events.recipient())
        .start(&redis, handler.recipient())
        .unwrap();
    let parent = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let mut printed = 0;
    while !parent.is_finished() {
        let all = events.all();
        for event in all.iter().skip(printed) {
            write(&log, &format!("event {event:?}"));
        }
        printed = all.len();
        // Until it is looked again whether the parent is there.
        sleep(ms(5)).await;
    }
    let _ = consumer.drain(secs(1)).await;
    true
}

fn write(log: &PathBuf, line: &str) {
    // One write of one line: it is whole, and it outlives the process.
    let mut file = File::options().append(true).open(log).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}
