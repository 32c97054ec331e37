//! Idempotency keys: a request that a client repeats gets the response of its first execution.

use std::fmt;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody, to_bytes};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage, HttpResponse, ResponseError};
use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use redis_actix::prelude::*;
use serde::{Deserialize, Serialize};

use crate::scripts::milliseconds;

/// Returns what is stored under the key, or stores that this request is under way.
static BEGIN: Script<Option<Vec<u8>>> = Script::new(
    "local stored = redis.call('GET', KEYS[1])
     if stored then return stored end
     redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
     return false",
);

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest key, in bytes.
const LONGEST_KEY: usize = 255;
/// Headers that belong to a connection or to the moment of a response, and not to its content.
const NOT_STORED: &[&str] = &["connection", "content-length", "date", "keep-alive", "set-cookie", "transfer-encoding"];

/// What is stored under a key.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The digest of method, path and body.
    request: String,
    /// `None` while the first request is under way.
    response: Option<StoredResponse>,
}

#[derive(Serialize, Deserialize)]
struct StoredResponse {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

type ScopeOf = Rc<dyn Fn(&ServiceRequest) -> Option<String>>;

/// Middleware for the header `Idempotency-Key` of the IETF draft `draft-ietf-httpapi-idempotency-key-header`.
///
/// It concerns POST and PATCH requests with that header. The first one runs, and its response is stored. A request with the same
/// key gets that response, with `Idempotent-Replayed: true`, and the handler does not run. In detail:
///
/// | case | answer |
/// |---|---|
/// | the first request is still under way | 409 with `Retry-After: 1` |
/// | the same key with another method, path or body | 422 |
/// | the handler answered with 5xx | it is not stored: the next request runs |
/// | the response is larger than [`max_body`](Self::max_body) | it is sent and not stored; later requests get 409 until the key expires |
/// | a key of more than 255 bytes | 400 |
/// | Redis cannot be reached before the handler runs | 503: running without protection would be what the client did not want |
/// | Redis cannot be reached after the handler ran | its response is sent; later requests get 409 until the key expires |
///
/// Keys belong to a [`scope`](Self::scope), so that one client cannot read the responses of another. Without one, all clients
/// share their keys: set it to the user of the request.
///
/// ```no_run
/// use actix_web::{App, dev::ServiceRequest};
/// use redis_actix_web::idempotency::Idempotency;
///
/// # fn example(redis: redis_actix::Redis) {
/// let by_token = |request: &ServiceRequest| Some(request.headers().get("authorization")?.to_str().ok()?.to_owned());
/// let app = App::new().wrap(Idempotency::new(redis).scope(by_token));
/// # }
/// ```
#[derive(Clone)]
pub struct Idempotency {
    redis: Redis,
    ttl: Duration,
    pending_ttl: Duration,
    max_body: usize,
    scope: ScopeOf,
}

impl Idempotency {
    /// Stores responses with this handle, under `idempotency:{digest of scope and key}`.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self {
            redis,
            ttl: Duration::from_secs(24 * 3600),
            pending_ttl: Duration::from_secs(60),
            max_body: 256 * 1024,
            scope: Rc::new(|_| Some(String::new())),
        }
    }

    /// Sets how long a response is kept, 24 hours by default.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(Duration::from_millis(1));
        self
    }

    /// Sets how long a request may be under way before a request with its key runs as a first one: 60 seconds by default. Set it
    /// longer than your slowest handler.
    #[must_use]
    pub fn pending_ttl(mut self, ttl: Duration) -> Self {
        self.pending_ttl = ttl.max(Duration::from_millis(1));
        self
    }

    /// Sets the largest body of a request and of a response in bytes, 256 KiB by default. A larger request gets 413.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Sets to whom keys belong. A request for which it returns `None` is not protected.
    #[must_use]
    pub fn scope(mut self, scope: impl Fn(&ServiceRequest) -> Option<String> + 'static) -> Self {
        self.scope = Rc::new(scope);
        self
    }

    /// The key under which the response of a request is stored; words for the client if its header is invalid.
    fn key(&self, request: &ServiceRequest) -> Result<Option<String>, &'static str> {
        let Some(header) = request.headers().get(HEADER) else { return Ok(None) };
        if !matches!(*request.method(), Method::POST | Method::PATCH) {
            return Ok(None);
        }
        if header.is_empty() || header.len() > LONGEST_KEY {
            return Err("Idempotency-Key must have 1 to 255 bytes");
        }
        let Some(scope) = (self.scope)(request) else { return Ok(None) };
        let mut digest = sha1_smol::Sha1::from(scope.len().to_be_bytes());
        digest.update(scope.as_bytes());
        digest.update(header.as_bytes());
        Ok(Some(format!("idempotency:{}", digest.digest())))
    }

    /// What is stored under the key, or `None` if this request is the first one.
    async fn begin(&self, key: &str, request: String) -> redis_actix::Result<Option<Stored>> {
        let pending = json(&Stored { request, response: None })?;
        let begin = BEGIN.invoke().key(key).arg(pending).arg(milliseconds(self.pending_ttl));
        let stored = self.redis.send(begin.when_down(WhenDown::FailFast)).await?;
        // Of another version of this crate: as if it was under way.
        let unknown = || Stored { request: String::new(), response: None };
        Ok(stored.map(|stored| serde_json::from_slice(&stored).unwrap_or_else(|_| unknown())))
    }

    async fn store(&self, key: &str, stored: &Stored) {
        let stored = json(stored).map(|text| Set::new(key, text).expire(self.ttl).idempotent());
        let outcome = match stored {
            Ok(set) => self.redis.send(set).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::warn!(event = "idempotency.store_failed", %error, "the response to an idempotency key could not be stored");
        }
    }

    async fn forget(&self, key: &str) {
        if let Err(error) = self.redis.send(Del::new([key]).idempotent()).await {
            tracing::warn!(event = "idempotency.release_failed", %error, "an idempotency key could not be freed");
        }
    }
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redis: _, ttl, pending_ttl, max_body, scope: _ } = self;
        f.debug_struct("Idempotency")
            .field("ttl", ttl)
            .field("pending_ttl", pending_ttl)
            .field("max_body", max_body)
            .finish_non_exhaustive()
    }
}

fn json(stored: &Stored) -> redis_actix::Result<Vec<u8>> {
    serde_json::to_vec(stored).map_err(|error| redis_actix::Error::invalid_command(error.to_string()))
}

/// Reads the body of a request; `None` if it is too large.
async fn body_of(request: &mut ServiceRequest, most: usize) -> Result<Option<BytesMut>, actix_web::Error> {
    let mut payload = request.take_payload();
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk?;
        if body.len() + chunk.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

fn digest_of(request: &ServiceRequest, body: &[u8]) -> String {
    let mut digest = sha1_smol::Sha1::from(request.method().as_str());
    let target = request.uri().to_string();
    digest.update(&target.len().to_be_bytes());
    digest.update(target.as_bytes());
    digest.update(body);
    digest.digest().to_string()
}

/// The answer to a request whose key is known.
fn known(stored: Stored, request: &str) -> HttpResponse {
    if stored.request != request && !stored.request.is_empty() {
        return HttpResponse::UnprocessableEntity().body("the Idempotency-Key was used for another request");
    }
    let Some(first) = stored.response else {
        return HttpResponse::Conflict()
            .insert_header((RETRY_AFTER, "1"))
            .body("a request with this Idempotency-Key is under way");
    };
    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in first.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(&value)) {
            response.append_header((name, value));
        }
    }
    response.insert_header((REPLAYED, "true")).body(first.body)
}

impl<S, B> Transform<S, ServiceRequest> for Idempotency
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Transform = IdempotencyService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(IdempotencyService { service: Rc::new(service), keys: Rc::new(self.clone()) }))
    }
}

/// The service of [`Idempotency`].
pub struct IdempotencyService<S> {
    service: Rc<S>,
    keys: Rc<Idempotency>,
}

impl<S> fmt::Debug for IdempotencyService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotencyService").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl<S, B> Service<ServiceRequest> for IdempotencyService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<BoxBody>;
    type Error = actix_web::Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let (service, keys) = (self.service.clone(), self.keys.clone());
        Box::pin(async move {
            let key = match keys.key(&request) {
                Ok(Some(key)) => key,
                Ok(None) => return Ok(service.call(request).await?.map_into_boxed_body()),
                Err(words) => return Ok(request.into_response(HttpResponse::BadRequest().body(words))),
            };
            let Some(body) = body_of(&mut request, keys.max_body).await? else {
                return Ok(request.into_response(HttpResponse::PayloadTooLarge().finish()));
            };
            let digest = digest_of(&request, &body);
            request.set_payload(Payload::from(body.freeze()));
            match keys.begin(&key, digest.clone()).await {
                Ok(None) => {}
                Ok(Some(stored)) => return Ok(request.into_response(known(stored, &digest))),
                Err(error) => return Ok(request.into_response(error.error_response())),
            }
            run(&service, &keys, &key, digest, request).await
        })
    }
}

/// Runs the first request of a key, and stores its response.
async fn run<S, B>(
    service: &S,
    keys: &Idempotency,
    key: &str,
    digest: String,
    request: ServiceRequest,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody + 'static,
{
    let response = match service.call(request).await {
        Ok(response) if !response.status().is_server_error() => response,
        failed => {
            keys.forget(key).await;
            return failed.map(ServiceResponse::map_into_boxed_body);
        }
    };
    let is_large = match response.response().body().size() {
        BodySize::Sized(size) => size > keys.max_body as u64,
        BodySize::Stream => true,
        BodySize::None => false,
    };
    if is_large {
        return Ok(response.map_into_boxed_body());
    }
    let (request, response) = response.into_parts();
    let (response, body) = response.into_parts();
    let body = to_bytes(body).await.map_err(|error| actix_web::error::ErrorInternalServerError(error.into()))?;
    let is_stored = |name: &HeaderName| !NOT_STORED.contains(&name.as_str());
    let headers = response.headers().iter().filter(|(name, _)| is_stored(name));
    let headers = headers.map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    let first = StoredResponse { status: response.status().as_u16(), headers, body: body.to_vec() };
    keys.store(key, &Stored { request: digest, response: Some(first) }).await;
    Ok(ServiceResponse::new(request, response.set_body(body).map_into_boxed_body()))
}
