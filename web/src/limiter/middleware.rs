//! The limiter as middleware.

use std::fmt;
use std::future::{Ready, ready};
use std::rc::Rc;

use actix_web::body::EitherBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use futures_util::future::LocalBoxFuture;

use super::{Decision, Limiter};

type KeyOf = Rc<dyn Fn(&ServiceRequest) -> Option<String>>;

/// Middleware that answers requests beyond the limit with 429.
///
/// Each response has `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (in seconds, rounded up) of the IETF draft
/// `draft-ietf-httpapi-ratelimit-headers-07`; a refused one has `Retry-After` as well.
///
/// Requests are counted by the address of the peer. Behind a proxy that is the proxy: use [`by`](Self::by) with a header that
/// your proxy sets, or with the user of the request.
///
/// ```no_run
/// use actix_web::{App, dev::ServiceRequest};
/// use redis_actix_web::limiter::{Limit, Limiter, RateLimit};
/// use std::time::Duration;
///
/// # fn example(redis: redis_actix::Redis) {
/// let limiter = Limiter::new(redis, "api", Limit::sliding_window(100, Duration::from_secs(60)));
/// let by_token = |request: &ServiceRequest| Some(request.headers().get("authorization")?.to_str().ok()?.to_owned());
/// let app = App::new().wrap(RateLimit::new(limiter).by(by_token));
/// # }
/// ```
#[derive(Clone)]
pub struct RateLimit {
    limiter: Limiter,
    key_of: KeyOf,
}

impl RateLimit {
    /// Limits requests by the address of the peer.
    #[must_use]
    pub fn new(limiter: Limiter) -> Self {
        Self { limiter, key_of: Rc::new(|request| request.peer_addr().map(|peer| peer.ip().to_string())) }
    }

    /// Sets by what requests are counted. A request for which it returns `None` is not limited.
    #[must_use]
    pub fn by(mut self, key_of: impl Fn(&ServiceRequest) -> Option<String> + 'static) -> Self {
        self.key_of = Rc::new(key_of);
        self
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl<S, B> Transform<S, ServiceRequest> for RateLimit
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Transform = RateLimitService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(RateLimitService { service: Rc::new(service), limit: self.clone() }))
    }
}

/// The service of [`RateLimit`].
pub struct RateLimitService<S> {
    service: Rc<S>,
    limit: RateLimit,
}

impl<S> fmt::Debug for RateLimitService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitService").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<S, B> Service<ServiceRequest> for RateLimitService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<EitherBody<B>>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let (service, limiter) = (self.service.clone(), self.limit.limiter.clone());
        let key = (self.limit.key_of)(&request);
        Box::pin(async move {
            let Some(key) = key else { return Ok(service.call(request).await?.map_into_left_body()) };
            match limiter.check(&key).await {
                Ok(decision) if decision.is_admitted => {
                    let mut response = service.call(request).await?;
                    add_headers(response.headers_mut(), &decision);
                    Ok(response.map_into_left_body())
                }
                Ok(decision) => {
                    let mut refused = HttpResponse::TooManyRequests().body("Too Many Requests");
                    add_headers(refused.headers_mut(), &decision);
                    refused.headers_mut().insert(RETRY_AFTER, seconds(&decision).into());
                    Ok(request.into_response(refused).map_into_right_body())
                }
                Err(error) => Ok(request.into_response(error.error_response()).map_into_right_body()),
            }
        })
    }
}

/// Rounded up: a client that returns earlier is refused again.
fn seconds(decision: &Decision) -> u64 {
    decision.reset.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
}

fn add_headers(headers: &mut HeaderMap, decision: &Decision) {
    let values = [
        ("ratelimit-limit", decision.limit),
        ("ratelimit-remaining", decision.remaining),
        ("ratelimit-reset", seconds(decision)),
    ];
    for (name, value) in values {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
}
