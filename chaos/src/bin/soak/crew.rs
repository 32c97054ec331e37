//! The consumer processes.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Maximum number of processes.
const MOST: usize = 5;

/// The processes. Their names are few and reused.
pub(crate) struct Crew {
    port: u16,
    dir: PathBuf,
    workers: Vec<Worker>,
    started: u64,
}

struct Worker {
    name: String,
    child: Child,
    frozen: bool,
}

/// One line of the log of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) worker: String,
    pub(crate) word: String,
    pub(crate) at: u64,
    pub(crate) id: String,
}

impl Crew {
    pub(crate) fn new(port: u16) -> Self {
        let dir = std::env::temp_dir().join(format!("redis-actix-soak-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let mut crew = Self { port, dir, workers: Vec::new(), started: 0 };
        crew.hire(1);
        crew.hire(2);
        crew
    }

    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// Starts a worker under a free name, if there is one.
    pub(crate) fn hire(&mut self, seed: u64) -> Option<String> {
        let mut names = (0..MOST).map(|nth| format!("worker-{nth}"));
        let name = names.find(|name| self.workers.iter().all(|worker| worker.name != *name))?;
        let mut command = Command::new(std::env::current_exe().expect("a program"));
        command.args(["worker", &name, &self.port.to_string()]).arg(self.dir.join(&name)).arg(seed.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        self.workers.push(Worker { name: name.clone(), child: command.spawn().expect("a worker"), frozen: false });
        self.started += 1;
        Some(name)
    }

    fn choose(&self, chance: &mut fastrand::Rng) -> Option<usize> {
        (!self.workers.is_empty()).then(|| chance.usize(..self.workers.len()))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, chance: &mut fastrand::Rng) -> Option<String> {
        let mut worker = self.workers.swap_remove(self.choose(chance)?);
        worker.child.kill().expect("killed");
        worker.child.wait().expect("waited for");
        Some(worker.name)
    }

    /// Drains one worker.
    pub(crate) async fn release(&mut self, chance: &mut fastrand::Rng) -> Option<String> {
        if self.workers.len() < 2 {
            return None;
        }
        let mut worker = self.workers.swap_remove(self.choose(chance)?);
        worker.signal("CONT");
        drop(worker.child.stdin.take());
        let mut child = worker.child;
        tokio::task::spawn_blocking(move || child.wait()).await.expect("no panic").expect("waited for");
        Some(worker.name)
    }

    /// SIGSTOP, or SIGCONT for one that is stopped.
    pub(crate) fn freeze_or_thaw(&mut self, chance: &mut fastrand::Rng) -> Option<(String, bool)> {
        let nth = self.choose(chance)?;
        let worker = self.workers.get_mut(nth)?;
        worker.signal(if worker.frozen { "CONT" } else { "STOP" });
        worker.frozen = !worker.frozen;
        Some((worker.name.clone(), worker.frozen))
    }

    /// Continues all frozen workers and starts one if none runs. Returns the names of the frozen ones.
    pub(crate) fn thaw_all(&mut self) -> Vec<String> {
        if self.workers.is_empty() {
            self.hire(0);
        }
        let frozen = self.workers.iter_mut().filter(|worker| worker.frozen);
        let thaw = |worker: &mut Worker| {
            worker.signal("CONT");
            worker.frozen = false;
            worker.name.clone()
        };
        frozen.map(thaw).collect()
    }

    /// The new lines since the last call.
    pub(crate) fn read(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for nth in 0..MOST {
            let worker = format!("worker-{nth}");
            let path = self.dir.join(&worker);
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for line in text.lines() {
                let mut words = line.split(' ');
                let mut next = || words.next().unwrap_or_default().to_owned();
                let (word, at, id) = (next(), next(), next());
                lines.push(Line { worker: worker.clone(), word, at: at.parse().unwrap_or_default(), id });
            }
            // They append: later writes go to the new end.
            let _ = fs::OpenOptions::new().write(true).truncate(true).open(&path);
        }
        lines.sort_by_key(|line| line.at);
        lines
    }

    /// Ends all of them.
    pub(crate) fn dismiss(&mut self) {
        for mut worker in self.workers.drain(..) {
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.dismiss();
    }
}

impl Worker {
    fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &line]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{line}");
    }
}
