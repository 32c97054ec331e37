//! Sessions: the behaviour that actix-session's own stores have, conflicts, and forged keys.

use std::collections::HashMap;

use actix_session::config::{PersistentSession, TtlExtensionPolicy};
use actix_session::storage::{LoadError, SessionKey, SessionStore};
use actix_session::{Session, SessionMiddleware};
use actix_web::cookie::{Cookie, Key, time};
use actix_web::dev::ServiceResponse;
use actix_web::{App, HttpResponse, test, web};
use redis_actix_web::session::RedisSessionStore;

use crate::{redis, server, without_server};

const TTL: time::Duration = time::Duration::seconds(60);

async fn index(session: Session) -> HttpResponse {
    HttpResponse::Ok().json((session.get::<String>("user").unwrap(), session.get::<i64>("counter").unwrap()))
}

async fn count(session: Session) -> HttpResponse {
    let counter = session.get::<i64>("counter").unwrap().unwrap_or_default() + 1;
    session.insert("counter", counter).unwrap();
    HttpResponse::Ok().json(counter)
}

async fn login(session: Session) -> HttpResponse {
    session.insert("user", "ada").unwrap();
    session.renew();
    HttpResponse::Ok().finish()
}

async fn logout(session: Session) -> HttpResponse {
    session.purge();
    HttpResponse::Ok().finish()
}

macro_rules! app {
    ($store:expr, $lifecycle:expr) => {
        test::init_service(
            App::new()
                .wrap(SessionMiddleware::builder($store, Key::from(&[7; 64])).session_lifecycle($lifecycle).build())
                .route("/", web::get().to(index))
                .route("/count", web::post().to(count))
                .route("/login", web::post().to(login))
                .route("/logout", web::post().to(logout)),
        )
        .await
    };
}

fn cookie<B>(response: &ServiceResponse<B>) -> Option<Cookie<'static>> {
    response.response().cookies().next().map(Cookie::into_owned)
}

macro_rules! call {
    ($app:expr, $method:ident $uri:expr, $cookie:expr) => {{
        let request = test::TestRequest::$method().uri($uri);
        let cookie: Option<Cookie<'static>> = $cookie;
        let request = match cookie {
            Some(cookie) => request.cookie(cookie),
            None => request,
        };
        test::call_service(&$app, request.to_request()).await
    }};
}

#[actix_web::test]
async fn a_session_lives_through_changes_renewal_and_logout() {
    let server = server();
    for detects in [false, true] {
        let store = RedisSessionStore::new(redis(&server));
        let store = if detects { store.detect_conflicts() } else { store };
        let app = app!(store, PersistentSession::default().session_ttl(TTL));
        let empty = call!(app, get "/", None);
        assert!(cookie(&empty).is_none(), "an unchanged session is not stored");
        let first = cookie(&call!(app, post "/count", None)).unwrap();
        assert_eq!(first.max_age(), Some(TTL));
        let second = cookie(&call!(app, post "/count", Some(first.clone()))).unwrap();
        let renewed = cookie(&call!(app, post "/login", Some(second.clone()))).unwrap();
        assert_ne!(second.value(), renewed.value(), "a new key after a login: no fixation");
        let seen: (Option<String>, Option<i64>) =
            test::read_body_json(call!(app, get "/", Some(renewed.clone()))).await;
        assert_eq!(seen, (Some("ada".to_owned()), Some(2)));
        let stale: (Option<String>, Option<i64>) = test::read_body_json(call!(app, get "/", Some(second))).await;
        assert_eq!(stale, (None, None), "the key of before the login is void");
        let gone = cookie(&call!(app, post "/logout", Some(renewed.clone()))).unwrap();
        assert_eq!(gone.max_age(), Some(time::Duration::ZERO));
        let after: (Option<String>, Option<i64>) = test::read_body_json(call!(app, get "/", Some(renewed))).await;
        assert_eq!(after, (None, None));
    }
}

#[actix_web::test]
async fn the_time_to_live_is_refreshed_as_configured() {
    let server = server();
    let ttl = |key: &str| server.command(["PTTL", key]).unwrap().int().unwrap();
    let key = || server.command(["KEYS", "web:session:*"]).unwrap().array().unwrap()[0].text().unwrap();
    let every = PersistentSession::default().session_ttl(TTL);
    let every = every.session_ttl_extension_policy(TtlExtensionPolicy::OnEveryRequest);
    let app = app!(RedisSessionStore::new(redis(&server)), every);
    let first = cookie(&call!(app, post "/count", None)).unwrap();
    let key = key();
    server.command(["PEXPIRE", &key, "5000"]).unwrap().int().unwrap();
    let again = call!(app, get "/", Some(first.clone()));
    assert_eq!(cookie(&again).unwrap().max_age(), Some(TTL));
    assert!(ttl(&key) > 50_000, "refreshed by a request that changes nothing");
    let on_change = app!(RedisSessionStore::new(redis(&server)), PersistentSession::default().session_ttl(TTL));
    server.command(["PEXPIRE", &key, "5000"]).unwrap().int().unwrap();
    assert!(cookie(&call!(on_change, get "/", Some(first.clone()))).is_none());
    assert!(ttl(&key) <= 5_000);
    call!(on_change, post "/count", Some(first));
    assert!(ttl(&key) > 50_000, "refreshed by a change");
}

#[actix_web::test]
async fn a_missing_an_invalid_and_a_forged_session_are_distinguished() {
    let server = server();
    let store = RedisSessionStore::new(redis(&server));
    let key = |text: String| SessionKey::try_from(text).unwrap();
    assert!(store.load(&key("a".repeat(64))).await.unwrap().is_none());
    server.command(["SET", &format!("web:session:{}", "b".repeat(64)), "no json"]).unwrap().ok().unwrap();
    let invalid = store.load(&key("b".repeat(64))).await.unwrap_err();
    assert!(matches!(invalid, LoadError::Deserialization(_)));
    // Another key of the service.
    server.command(["SET", "web:session:x", r#"{"user":"\"admin\""}"#]).unwrap().ok().unwrap();
    assert!(store.load(&key("x".to_owned())).await.unwrap().is_none());
    let updated = store.update(key("x".to_owned()), HashMap::new(), &TTL).await.unwrap();
    assert_eq!(updated.as_ref().len(), 64, "a forged key is replaced by one of the store");
    store.delete(&key("x".to_owned())).await.unwrap();
    assert_eq!(server.command(["EXISTS", "web:session:x"]).unwrap().int().unwrap(), 1);
}

/// Ablation: without the check of the version 64 updaters count to less than 64.
#[actix_web::test]
async fn no_concurrent_update_is_lost() {
    let server = server();
    let store = RedisSessionStore::new(redis(&server)).detect_conflicts();
    let key = store.save(HashMap::from([("counter".to_owned(), "0".to_owned())]), &TTL).await.unwrap();
    let key = String::from(key);
    let updater = |store: RedisSessionStore, key: String| async move {
        loop {
            let key = SessionKey::try_from(key.clone()).unwrap();
            let mut state = store.load(&key).await.unwrap().unwrap();
            let counter: i64 = state["counter"].parse().unwrap();
            state.insert("counter".to_owned(), (counter + 1).to_string());
            if store.update(key, state, &TTL).await.is_ok() {
                break;
            }
        }
    };
    let updaters = (0..64).map(|_| updater(store.clone(), key.clone()));
    futures_util::future::join_all(updaters).await;
    let state = store.load(&SessionKey::try_from(key).unwrap()).await.unwrap().unwrap();
    assert_eq!(state["counter"], "64");
}

#[actix_web::test]
async fn without_redis_requests_with_a_session_fail() {
    let app = app!(RedisSessionStore::new(without_server()), PersistentSession::default().session_ttl(TTL));
    let request = test::TestRequest::post().uri("/count").to_request();
    let failed = test::try_call_service(&app, request).await;
    let status = failed.map_or_else(|error| error.as_response_error().status_code(), |response| response.status());
    assert_eq!(status.as_u16(), 500);
}
