//! Graceful termination: HTTP first, then consumers, then the connection.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use actix_web::dev::Server;
use redis_actix::{DrainReport, Redis};

use crate::health::Probes;

type Drain = Box<dyn FnOnce(Duration) -> Pin<Box<dyn Future<Output = redis_actix::Result<DrainReport>>>>>;

/// Runs an HTTP server until SIGTERM or SIGINT, and then ends everything in an order in which nothing is lost:
///
/// 1. `/readyz` answers 503, for [`notice`](Self::notice), so that load balancers send no new requests.
/// 2. The HTTP server accepts no more connections, and finishes the requests under way.
/// 3. Stream consumers finish their entries and acknowledge them.
/// 4. The connection finishes its commands and closes.
///
/// Steps 2 to 4 share [`within`](Self::within). Set the termination grace period of the pod to a few seconds more than both.
///
/// ```no_run
/// use actix_web::{App, HttpServer};
/// use redis_actix_web::{health::Probes, service::Service};
///
/// # async fn example(redis: redis_actix::Redis, consumer: redis_actix::StreamConsumer) -> std::io::Result<()> {
/// let probes = Probes::new(redis.clone());
/// let http = HttpServer::new({
///     let probes = probes.clone();
///     move || App::new().configure(|config| probes.configure(config))
/// });
/// let server = http.bind(("0.0.0.0", 8080))?.disable_signals().shutdown_timeout(20).run();
/// let report = Service::new(redis, probes).consumer(consumer).run(server).await?;
/// println!("{report}");
/// # Ok(())
/// # }
/// ```
pub struct Service {
    redis: Redis,
    probes: Probes,
    drains: Vec<Drain>,
    notice: Duration,
    within: Duration,
}

/// What came of the end of a [`Service`].
#[derive(Debug)]
#[non_exhaustive]
pub struct TerminationReport {
    /// For each consumer what came of its entries, in the order in which they were added.
    pub consumers: Vec<redis_actix::Result<DrainReport>>,
    /// What came of the commands.
    pub connection: redis_actix::Result<redis_actix::ShutdownReport>,
    /// The time from the signal to the end.
    pub took: Duration,
}

impl TerminationReport {
    /// Whether nothing was left: no entry that will be delivered again, no command of unknown fate.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let is_drained = |report: &redis_actix::Result<DrainReport>| {
            report.as_ref().is_ok_and(|report| report.unfinished == 0 && report.unacknowledged == 0)
        };
        self.consumers.iter().all(is_drained)
            && self.connection.as_ref().is_ok_and(|report| report.unknown == 0 && report.abandoned == 0)
    }
}

impl fmt::Display for TerminationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clean = if self.is_clean() { "nothing was left" } else { "see the reports" };
        write!(f, "terminated in {} ms, {} consumers drained, {clean}", self.took.as_millis(), self.consumers.len())
    }
}

impl Service {
    /// Creates a service. `probes` must be those of its application.
    #[must_use]
    pub fn new(redis: Redis, probes: Probes) -> Self {
        let (notice, within) = (Duration::from_secs(5), Duration::from_secs(25));
        Self { redis, probes, drains: Vec::new(), notice, within }
    }

    /// Adds a consumer that is drained after the last request.
    #[must_use]
    pub fn consumer(mut self, consumer: redis_actix::StreamConsumer) -> Self {
        self.drains.push(Box::new(move |within| Box::pin(async move { consumer.drain(within).await })));
        self
    }

    /// Sets how long requests are still accepted after the signal, 5 seconds by default: load balancers need that time to
    /// notice.
    #[must_use]
    pub fn notice(mut self, notice: Duration) -> Self {
        self.notice = notice;
        self
    }

    /// Sets how long the rest may take, 25 seconds by default. HTTP requests are bounded by `HttpServer::shutdown_timeout` as
    /// well.
    #[must_use]
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Runs `server` until a signal, and ends everything. Build the server with `disable_signals()`, or it ends at the signal by
    /// itself.
    ///
    /// # Errors
    /// If the HTTP server fails, or signals cannot be received.
    pub async fn run(self, server: Server) -> io::Result<TerminationReport> {
        self.run_until(server, signal()?).await
    }

    /// The same, with another reason to end than a signal.
    ///
    /// # Errors
    /// If the HTTP server fails.
    pub async fn run_until(self, server: Server, end: impl Future<Output = ()>) -> io::Result<TerminationReport> {
        let handle = server.handle();
        let http = actix_rt::spawn(server);
        let mut http = std::pin::pin!(http);
        let mut failed = None;
        tokio::select! {
            outcome = http.as_mut() => failed = Some(outcome.unwrap_or_else(|error| Err(io::Error::other(error)))),
            () = end => {}
        }
        let begun = Instant::now();
        self.probes.drain();
        if failed.is_none() {
            tokio::time::sleep(self.notice).await;
        }
        let until = Instant::now() + self.within;
        let left = || until.saturating_duration_since(Instant::now());
        if failed.is_none() && tokio::time::timeout(left(), handle.stop(true)).await.is_err() {
            handle.stop(false).await;
        }
        // All at once: the slowest one must not take the time of the others.
        let drained = self.drains.into_iter().map(|drain| drain(left()));
        let consumers = futures_util::future::join_all(drained).await;
        let connection = self.redis.shutdown(left()).await;
        match failed {
            Some(outcome) => outcome?,
            None => http.await.unwrap_or_else(|error| Err(io::Error::other(error)))?,
        }
        Ok(TerminationReport { consumers, connection, took: begun.elapsed() })
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("consumers", &self.drains.len())
            .field("notice", &self.notice)
            .field("within", &self.within)
            .finish_non_exhaustive()
    }
}

/// SIGTERM, as from Kubernetes, or SIGINT, as from a terminal.
#[cfg(unix)]
fn signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
