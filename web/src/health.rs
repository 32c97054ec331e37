//! Probes of Kubernetes and load balancers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::{HttpResponse, web};
use redis_actix::{ConnectionState, Redis};
use serde::Serialize;

/// `/livez` and `/readyz`.
///
/// - `/livez` answers 200 for as long as the process can answer. It does not depend on Redis: a restart of this process does
///   not bring Redis back.
/// - `/readyz` answers 200 while the service takes requests and Redis is available, else 503. The body is JSON and says why.
///
/// Neither sends a command: both read the state that the connection keeps.
///
/// ```no_run
/// use actix_web::App;
/// use redis_actix_web::health::Probes;
///
/// # fn example(redis: redis_actix::Redis) {
/// let probes = Probes::new(redis);
/// let app = App::new().configure(|config| probes.configure(config));
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Probes {
    redis: Redis,
    is_draining: Arc<AtomicBool>,
    needs_redis: bool,
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
struct Readiness {
    /// `ready` or `not ready`.
    status: &'static str,
    /// `serving` or `draining`.
    service: &'static str,
    redis: RedisReadiness,
}

#[derive(Debug, Serialize)]
struct RedisReadiness {
    /// The name of the [`ConnectionState`].
    state: String,
    /// The time in that state.
    since_ms: u128,
    /// The kind of the reason for a missing connection.
    cause: Option<String>,
}

impl Probes {
    /// Creates probes for this handle.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, is_draining: Arc::default(), needs_redis: true }
    }

    /// Lets `/readyz` answer 200 while Redis is not available, for services that work without it. The body still shows it.
    #[must_use]
    pub fn without_redis(mut self) -> Self {
        self.needs_redis = false;
        self
    }

    /// Lets `/readyz` answer 503 from now on, so that no new requests are routed here. All clones share this.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Whether [`drain`](Self::drain) was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Adds `/livez` and `/readyz` to an application.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        let probes = self.clone();
        config.route("/livez", web::get().to(|| async { HttpResponse::Ok().body("ok") })).route(
            "/readyz",
            web::get().to(move || {
                let probes = probes.clone();
                async move { probes.readiness() }
            }),
        );
    }

    fn readiness(&self) -> HttpResponse {
        let (stats, is_draining) = (self.redis.stats(), self.is_draining());
        let is_available = matches!(stats.state, ConnectionState::Ready | ConnectionState::Idle);
        let is_ready = !is_draining && (is_available || !self.needs_redis);
        let readiness = Readiness {
            status: if is_ready { "ready" } else { "not ready" },
            service: if is_draining { "draining" } else { "serving" },
            redis: RedisReadiness {
                state: stats.state.to_string(),
                since_ms: stats.in_state.as_millis(),
                // Its text may name hosts and users.
                cause: stats.cause.map(|cause| cause.kind().to_string()),
            },
        };
        let mut response = if is_ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
        response.insert_header(("cache-control", "no-store")).json(readiness)
    }
}
