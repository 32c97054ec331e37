//! The HTTP response for an error that an actix-web handler returns.

use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};

use super::{Error, ErrorKind, Fate};

/// Errors of a server that ends by itself or by an operator, and not by another request.
const UNAVAILABLE: &[&str] =
    &["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN"];

/// The status follows the kind and the fate:
///
/// | error | status |
/// |---|---|
/// | not sent: no connection, overload, deadline, shutdown | 503 with `Retry-After: 1` |
/// | rejected: out of memory, read-only, loading, cluster down | 503 with `Retry-After: 1` |
/// | a watched key was changed by others | 409 |
/// | the outcome is unknown: deadline | 504 |
/// | the outcome is unknown: lost link, unusable reply | 502 |
/// | all others, such as an invalid command or a wrong type | 500 |
///
/// The body names the status only. The error's text, which may name hosts, belongs in the log.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match (self.kind(), self.fate()) {
            (ErrorKind::Conflict, _) => StatusCode::CONFLICT,
            (ErrorKind::Config | ErrorKind::InvalidCommand, _) => StatusCode::INTERNAL_SERVER_ERROR,
            (ErrorKind::Timeout, Fate::Unknown) => StatusCode::GATEWAY_TIMEOUT,
            (ErrorKind::Server, _) if self.code().is_some_and(|code| UNAVAILABLE.contains(&code)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            (ErrorKind::Server, _) => StatusCode::INTERNAL_SERVER_ERROR,
            (_, Fate::Unknown) => StatusCode::BAD_GATEWAY,
            (_, Fate::NotSent | Fate::Rejected) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponse::build(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, "1"));
        }
        let reason = status.canonical_reason().unwrap_or("error");
        response.insert_header(ContentType::plaintext()).body(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_follows_kind_and_fate() {
        let status = |kind, fate| Error::new(kind, fate, "secret-host:6379").status_code().as_u16();
        assert_eq!(status(ErrorKind::Timeout, Fate::NotSent), 503);
        assert_eq!(status(ErrorKind::Timeout, Fate::Unknown), 504);
        assert_eq!(status(ErrorKind::Disconnected, Fate::Unknown), 502);
        assert_eq!(status(ErrorKind::Overloaded, Fate::NotSent), 503);
        assert_eq!(status(ErrorKind::InvalidCommand, Fate::NotSent), 500);
        assert_eq!(status(ErrorKind::Conflict, Fate::Rejected), 409);
        assert_eq!(Error::server("OOM", None).status_code().as_u16(), 503);
        assert_eq!(Error::server("WRONGTYPE", None).status_code().as_u16(), 500);
    }

    #[test]
    fn the_response_has_no_text_of_the_error() {
        let response = Error::new(ErrorKind::Disconnected, Fate::NotSent, "secret-host:6379").error_response();
        assert_eq!(response.headers().get(RETRY_AFTER).map(|after| after.as_bytes()), Some(&b"1"[..]));
        let body = actix_web::body::MessageBody::try_into_bytes(response.into_body());
        assert_eq!(body.ok().as_deref(), Some(&b"Service Unavailable"[..]));
    }
}
