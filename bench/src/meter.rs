//! Processor time of this process and of the server.

use std::{io, time::Duration};

use redis_actix_test::{Connection, RedisServer};
use rustix::time::{ClockId, clock_gettime};

/// Processor time that this process used so far, over all its threads, system calls included.
#[must_use]
pub fn own_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Reads the processor time of the server.
pub struct ServerMeter(Connection);

impl ServerMeter {
    /// A meter with its own connection.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn new(server: &RedisServer) -> io::Result<Self> {
        server.connect().map(Self)
    }

    /// Processor time that the server used so far.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn time(&mut self) -> io::Result<Duration> {
        let info = self.0.command(["INFO", "cpu"])?.text()?;
        let seconds = info.lines().filter_map(|line| {
            let (name, value) = line.trim_end().split_once(':')?;
            matches!(name, "used_cpu_user" | "used_cpu_sys").then(|| value.parse::<f64>().ok()).flatten()
        });
        Ok(Duration::from_secs_f64(seconds.sum()))
    }
}
