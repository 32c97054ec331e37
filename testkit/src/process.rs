//! A child process and its log.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::TIME_LIMIT;
use crate::tally::lock;

/// A sequence of processes, one at a time. Dropping this kills the current one.
#[derive(Debug)]
pub(crate) struct Process {
    child: Mutex<Option<Child>>,
    log: PathBuf,
    /// The offset of the log of the current process.
    log_start: AtomicU64,
}

impl Process {
    pub(crate) fn new(log: PathBuf) -> Self {
        Self { child: Mutex::new(None), log, log_start: AtomicU64::new(0) }
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        self.log_start.store(log.metadata()?.len(), Ordering::Relaxed);
        let mut slot = lock(&self.child);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().map_err(|e| {
            let program = command.get_program().to_string_lossy().into_owned();
            io::Error::new(e.kind(), format!("cannot run {program}: {e}"))
        })?;
        let before = slot.replace(child);
        drop(slot);
        // Of two concurrent starts neither process may be leaked.
        before.map_or(Ok(()), end)
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        lock(&self.child).as_ref().map(Child::id)
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(lock(&self.child).as_mut().map(Child::try_wait), Some(Ok(None)))
    }

    pub(crate) fn kill(&self) -> io::Result<()> {
        let child = lock(&self.child).take();
        child.map_or(Ok(()), end)
    }

    pub(crate) fn stop(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        // The signal may be pending when `kill` returns; a command sent now could still be answered.
        let deadline = Instant::now() + TIME_LIMIT;
        while self.state().is_some_and(|state| !matches!(state, 'T' | 't')) {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server did not freeze"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    pub(crate) fn cont(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        // The lock is held meanwhile, so the process is not reaped and its id is not reused.
        let mut child = lock(&self.child);
        let pid = child
            .as_mut()
            .and_then(|child| matches!(child.try_wait(), Ok(None)).then(|| child.id()))
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the server does not run: restart it first"))?;
        kill_process(pid, signal).map_err(io::Error::from)
    }

    /// The state letter of the process, on systems with /proc.
    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    /// The output of all processes.
    pub(crate) fn log(&self) -> String {
        self.log_from(0)
    }

    /// The last lines of the current process only.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log_from(self.log_start.load(Ordering::Relaxed));
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
    }

    fn log_from(&self, start: u64) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A panic here would hide the failure of the test.
        drop(self.kill());
    }
}

/// Sends SIGKILL and reaps the process. Both succeed for a process that has ended by itself.
fn end(mut child: Child) -> io::Result<()> {
    child.kill()?;
    child.wait().map(drop)
}
