//! The faults with their times and targets: each may cause a second delivery.

use std::collections::BTreeMap;
use std::time::Duration;

use redis_actix_test::RedisServer;

use crate::crew::Crew;
use crate::now;

/// One fault.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// A worker, or all.
    pub(crate) whose: Option<String>,
    pub(crate) from: u64,
    /// `None` while it lasts.
    pub(crate) to: Option<u64>,
}

/// The faults of one epoch.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    fn note(&mut self, name: &'static str, whose: Option<String>, from: u64) {
        self.0.push(Fault { name, whose, from, to: Some(now()) });
    }

    pub(crate) async fn one(&mut self, chance: &mut fastrand::Rng, server: &RedisServer, crew: &mut Crew) {
        let from = now();
        let pause = Duration::from_millis(chance.u64(50..1_000));
        match chance.u8(..12) {
            0 | 1 => {
                server.kill().expect("killed");
                tokio::time::sleep(pause).await;
                server.restart().unwrap_or_else(|error| panic!("{error}"));
                self.note("server killed", None, from);
            }
            2 => {
                server.stop_process().expect("stopped");
                tokio::time::sleep(pause).await;
                server.cont_process().expect("continued");
                self.note("server frozen", None, from);
            }
            3 => {
                let _ = server.command(["CLIENT", "KILL", "TYPE", "normal"]);
                self.note("links cut", None, from);
            }
            4..7 => {
                if let Some(worker) = crew.kill(chance) {
                    self.note("worker killed", Some(worker), from);
                }
            }
            7 | 8 => match crew.freeze_or_thaw(chance) {
                Some((worker, true)) => {
                    self.0.push(Fault { name: "worker frozen", whose: Some(worker), from, to: None });
                }
                Some((worker, false)) => self.thawed(&worker),
                None => {}
            },
            9 => {
                if let Some(worker) = crew.release(chance).await {
                    self.thawed(&worker);
                    self.note("worker let go", None, from);
                }
            }
            _ => {
                crew.hire(chance.u64(..));
            }
        }
    }

    fn thawed(&mut self, worker: &str) {
        let open = self.0.iter_mut().rev().find(|fault| fault.to.is_none() && fault.whose.as_deref() == Some(worker));
        if let Some(fault) = open {
            fault.to = Some(now());
        }
    }

    /// Repairs everything.
    pub(crate) fn repair(&mut self, server: &RedisServer, crew: &mut Crew) {
        if !server.is_running() {
            server.restart().unwrap_or_else(|error| panic!("{error}"));
        }
        for worker in crew.thaw_all() {
            self.thawed(&worker);
        }
    }

    /// The fault that may have delayed an acknowledgement of this worker between the two times.
    pub(crate) fn between(&self, worker: &str, from: u64, to: u64) -> Option<&'static str> {
        let concerns = |fault: &&Fault| {
            fault.name != "worker let go" && fault.whose.as_deref().is_none_or(|whose| whose == worker)
        };
        let overlaps = |fault: &&Fault| fault.from <= to && fault.to.is_none_or(|end| end + 200 >= from);
        self.0.iter().filter(concerns).find(overlaps).map(|fault| fault.name)
    }

    /// Whether this worker was frozen between the two times.
    pub(crate) fn frozen(&self, worker: &str, from: u64, to: u64) -> Option<&'static str> {
        let freezes = |fault: &&Fault| fault.name == "worker frozen" && fault.whose.as_deref() == Some(worker);
        let overlaps = |fault: &&Fault| fault.from <= to && fault.to.is_none_or(|end| end + 200 >= from);
        self.0.iter().filter(freezes).find(overlaps).map(|_| "new owner frozen")
    }

    pub(crate) fn count(&self, counts: &mut BTreeMap<&'static str, u64>) {
        for fault in &self.0 {
            *counts.entry(fault.name).or_default() += 1;
        }
    }
}
