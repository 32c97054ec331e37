//! Runs `wrk` and reads its output.

use std::process::{Command, Stdio};

use super::Load;
use crate::client::text;

/// The outcome of one load on one service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    pub(super) requests: f64,
    pub(super) per_second: f64,
    /// In microseconds.
    pub(super) p50: f64,
    /// In microseconds.
    pub(super) p99: f64,
    /// Processor time of the service per request, in microseconds.
    pub(super) processor: f64,
}

/// # Errors
/// When `wrk` is missing.
pub(super) fn check() -> Result<(), String> {
    // It has no option that succeeds without a load.
    match Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(_) => Ok(()),
        Err(_) => Err("wrk is missing: install it (apt-get install wrk)".to_owned()),
    }
}

/// # Errors
/// When it cannot run, or a request failed.
pub(super) fn run(port: u16, load: &Load, seconds: u64) -> Result<Sample, String> {
    let url = format!("http://127.0.0.1:{port}/{}", load.endpoint);
    let (connections, time) = (load.connections.to_string(), format!("{seconds}s"));
    let output = Command::new("wrk").args(["--latency", "-t", "1", "-c", &connections, "-d", &time, &url]).output();
    parse(&String::from_utf8_lossy(&output.map_err(text)?.stdout))
}

fn parse(output: &str) -> Result<Sample, String> {
    if output.contains("Non-2xx") || output.contains("Socket errors") {
        return Err(format!("requests failed: {output}"));
    }
    let field = |name: &str| output.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    let requests = output.lines().find_map(|line| line.split_once(" requests in ")).map(|(count, _)| count.trim());
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    let sample = (|| {
        Some(Sample {
            requests: number(requests)?,
            per_second: number(field("Requests/sec:"))?,
            p50: microseconds(field("50%")?)?,
            p99: microseconds(field("99%")?)?,
            processor: 0.0,
        })
    })();
    sample.ok_or_else(|| format!("unknown output of wrk: {output}"))
}

fn microseconds(text: &str) -> Option<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    units.into_iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_wrk_is_read() {
        let output = "Running 1s test @ http://127.0.0.1:1/\n  Latency Distribution\n     50%  103.00us\n     99%    1.25ms\n  \
                      77164 requests in 1.10s, 6.92MB read\nRequests/sec:  70149.94\n";
        let sample = parse(output).expect("known");
        assert_eq!((sample.requests, sample.per_second, sample.p50, sample.p99), (77164.0, 70149.94, 103.0, 1250.0));
        assert!(parse(&format!("{output}  Non-2xx or 3xx responses: 3")).is_err());
    }
}
