//! Limits over several handles, headers, and what happens without Redis.

use std::time::Duration;

use actix_web::{App, HttpResponse, test, web};
use redis_actix_web::limiter::{Limit, Limiter, RateLimit, WhenUnavailable};

use crate::{eventually, ms, redis, server, without_server};

#[actix_web::test]
async fn several_processes_share_a_limit() {
    let server = server();
    for limit in [Limit::sliding_window(50, Duration::from_secs(60)), Limit::token_bucket(50, Duration::from_secs(60))]
    {
        let name = format!("{limit:?}");
        let limiters: Vec<_> = (0..4).map(|_| Limiter::new(redis(&server), name.as_str(), limit)).collect();
        for limiter in &limiters {
            limiter.check("connects").await.unwrap();
        }
        let checks = (0..200).map(|nth| limiters[nth % 4].check("user"));
        let decisions = futures_util::future::join_all(checks).await;
        let admitted = decisions.iter().filter(|decision| decision.as_ref().unwrap().is_admitted).count();
        assert_eq!(admitted, 50, "{limit:?}");
        assert!(limiters[0].check("another user").await.unwrap().is_admitted);
    }
}

#[actix_web::test]
async fn places_come_back_with_time() {
    let server = server();
    for limit in [Limit::sliding_window(2, ms(300)), Limit::token_bucket(2, ms(300))] {
        let limiter = Limiter::new(redis(&server), format!("{limit:?}"), limit);
        let first = limiter.check("k").await.unwrap();
        assert_eq!((first.is_admitted, first.remaining, first.limit), (true, 1, 2));
        eventually("a refusal", async || !limiter.check("k").await.unwrap().is_admitted).await;
        let refused = limiter.check("k").await.unwrap();
        assert!(refused.remaining <= 1 && refused.reset <= ms(300), "{refused:?}");
        eventually("a free place", async || limiter.check("k").await.unwrap().is_admitted).await;
    }
}

#[actix_web::test]
async fn refused_responses_say_when_to_return() {
    let server = server();
    let limiter = Limiter::new(redis(&server), "api", Limit::sliding_window(2, Duration::from_secs(30)));
    let limit = RateLimit::new(limiter).by(|request| Some(request.headers().get("x-user")?.to_str().ok()?.to_owned()));
    let handler = || async { HttpResponse::Ok().body("done") };
    let app = test::init_service(App::new().wrap(limit).route("/", web::get().to(handler))).await;
    let call = |user: &'static str| test::TestRequest::get().insert_header(("x-user", user)).to_request();
    let first = test::call_service(&app, call("ada")).await;
    assert_eq!(first.headers().get("ratelimit-remaining").unwrap(), "1");
    test::call_service(&app, call("ada")).await;
    let refused = test::call_service(&app, call("ada")).await;
    assert_eq!(refused.status(), 429);
    let header = |name| refused.headers().get(name).unwrap().to_str().unwrap().parse::<u64>().unwrap();
    assert_eq!((header("ratelimit-limit"), header("ratelimit-remaining")), (2, 0));
    assert!((1..=30).contains(&header("retry-after")) && header("retry-after") == header("ratelimit-reset"));
    assert_eq!(test::call_service(&app, call("grace")).await.status(), 200);
    let unlimited = test::TestRequest::get().to_request();
    assert!(test::call_service(&app, unlimited).await.headers().get("ratelimit-limit").is_none());
}

#[actix_web::test]
async fn without_redis_the_chosen_policy_decides() {
    let redis = without_server();
    let limit = Limit::token_bucket(2, Duration::from_secs(60));
    let limiter = |policy| Limiter::new(redis.clone(), "api", limit).timeout(ms(100)).when_unavailable(policy);
    let open = limiter(WhenUnavailable::Admit);
    let closed = limiter(WhenUnavailable::Refuse);
    let local = limiter(WhenUnavailable::Local);
    for nth in 0..3 {
        assert!(open.check("k").await.unwrap().is_admitted);
        closed.check("k").await.unwrap_err();
        assert_eq!(local.check("k").await.unwrap().is_admitted, nth < 2);
    }
    let limit = RateLimit::new(closed).by(|_| Some("k".to_owned()));
    let app = test::init_service(App::new().wrap(limit).route("/", web::get().to(HttpResponse::Ok))).await;
    assert_eq!(test::call_service(&app, test::TestRequest::get().to_request()).await.status(), 503);
}
