//! Wrong input is refused with words before it is sent.

use std::time::Duration;

use redis_actix::commands::{bloom::*, json::*, search::*, time_series::*, vectors::*};
use redis_actix::{Command, ErrorKind, Fate, Redis, RedisConfig};
use redis_actix_test::{Answer, FakeServer};

/// Sends a message that must not reach the server.
async fn refused<M: Command>(redis: &Redis, message: M, words: &str)
where
    M::Reply: std::fmt::Debug,
{
    let error = redis.send(message).await.unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent), "{error}");
}

#[actix::test]
async fn wrong_input_is_refused_with_words_before_it_is_sent() {
    let server = FakeServer::builder().on(|argv| panic!("sent {argv:?}")).start().unwrap();
    let config = RedisConfig::builder().host("127.0.0.1").port(server.port()).key_prefix("t:").build().unwrap();
    let redis = Redis::builder(config).start().unwrap();
    let none: [&str; 0] = [];
    refused(&redis, VAdd::new("v", "a", &[]), "VADD: needs a vector of at least one number").await;
    refused(&redis, VAdd::new("v", "a", &[f32::NAN]), "the vector contains NaN or an infinity").await;
    refused(&redis, VAdd::values("v", "a", [f64::INFINITY]), "the vector contains NaN or an infinity").await;
    refused(&redis, VAdd::new("v", "a", &[1.0]).attributes(&f64::NAN), "cannot be written as JSON").await;
    refused(&redis, VSim::<String>::to_vector("v", &[]), "VSIM: needs a vector").await;
    refused(&redis, VSim::<String>::to_element("v", "a").max_distance(-1.0), "must be between 0.0 and 1.0").await;
    refused(&redis, JsonGet::<String>::new("k").path(".name"), "JSON.GET: a path begins with `$`").await;
    refused(&redis, JsonGet::<String>::new("k").path("$").format("", "", ""), "before path()").await;
    refused(&redis, JsonSet::new("k", "$", &f64::NAN), "numbers must be finite").await;
    refused(&redis, JsonSet::new("k", "$", &1).if_absent().if_present(), "exclude each other").await;
    refused(&redis, JsonMGet::<String>::new(none, "$"), "needs at least one key").await;
    refused(&redis, JsonMSet::new([("k", "$", 1); 0]), "needs at least one key").await;
    refused(&redis, JsonArrAppend::new("k", "$", none), "needs at least one value").await;
    refused(&redis, JsonNumIncrBy::<f64>::new("k", "$", f64::NAN), "NaN or infinite").await;
    refused(&redis, BfReserve::new("f", 1.0, 1), "greater than 0 and less than 1").await;
    refused(&redis, BfReserve::new("f", 0.1, 1).fixed().expansion(2), "exclude each other").await;
    refused(&redis, BfMAdd::new("f", none), "needs at least one item").await;
    refused(&redis, CmsMerge::new("m", [("k", 1); 0]), "needs at least one source").await;
    refused(&redis, TopKReserve::new("t", 1).dimensions(1, 1, 2.0), "a decay between 0 and 1").await;
    refused(&redis, TDigestAdd::new("d", [f64::NAN]), "a value is NaN").await;
    refused(&redis, TDigestQuantile::new("d", [1.5]), "between 0 and 1").await;
    refused(&redis, TDigestTrimmedMean::new("d", 0.9, 0.1), "must be below").await;
    refused(&redis, TsAdd::new("s", f64::NAN), "NaN or infinite").await;
    refused(&redis, TsRange::all("s").empty_buckets(), "require aggregate()").await;
    refused(&redis, TsRange::all("s").values(2.0, 1.0), "from a lower to a higher value").await;
    refused(&redis, TsRange::new("s", ..0_u64), "the range of times is empty").await;
    refused(&redis, TsMGet::new(none), "needs at least one filter").await;
    refused(&redis, TsMGet::new(["room!=kitchen"]), "needs at least one filter with a value").await;
    refused(&redis, TsMGet::new(["room=a"]).labels(none), "needs at least one label").await;
}

#[actix::test]
async fn wrong_input_for_search_is_refused_with_words_before_it_is_sent() {
    let server = FakeServer::builder().on(|argv| panic!("sent {argv:?}")).start().unwrap();
    let config = RedisConfig::builder().host("127.0.0.1").port(server.port()).key_prefix("t:").build().unwrap();
    let redis = Redis::builder(config).start().unwrap();
    let none: [&str; 0] = [];
    let glob = "must not be empty or contain `*`";
    refused(&redis, FtCreate::new("i*", [Field::text("t")]), glob).await;
    refused(&redis, FtSearch::<redis_actix::Value>::new("", "q"), glob).await;
    refused(&redis, FtAliasAdd::new("a", "i[x]"), glob).await;
    refused(&redis, FtSpellCheck::new("i", "q").include("d?"), glob).await;
    refused(&redis, FtSpellCheck::new("i", "q").distance(9), "between 1 and 4").await;
    refused(&redis, FtCreate::new("i", []), "needs at least one field").await;
    refused(&redis, FtCreate::new("i", [Field::numeric("n").weight(2.0)]), "does not fit the type").await;
    refused(&redis, FtCreate::new("i", [Field::text("t")]).score(2.0), "between 0.0 and 1.0").await;
    let flat = VectorIndex::flat(2, DistanceMetric::L2).links(3);
    refused(&redis, FtCreate::new("i", [Field::vector("v", flat)]), "are for VectorIndex::hnsw").await;
    refused(&redis, FtSearch::<redis_actix::Value>::new("i", "q").fields(none), "needs at least one field").await;
    refused(&redis, FtSearch::<redis_actix::Value>::new("i", "q").in_keys(none), "needs at least one key").await;
    refused(&redis, FtHybrid::<redis_actix::Value>::new("i", "q", "v", &[]), "needs a vector").await;
    let both = FtHybrid::<redis_actix::Value>::new("i", "q", "v", &[1.0]).nearest(1).within(1.0);
    refused(&redis, both, "exclude each other").await;
    refused(&redis, FtSugAdd::new("s", "a", f64::NAN), "must be finite").await;
    refused(&redis, FtDictAdd::new("d", none), "needs at least one term").await;
}

/// Commands that no server here has, with replies as documented.
#[actix::test]
async fn newer_commands_decode_documented_replies() {
    let server = FakeServer::builder().on(|argv| match argv[0].as_slice() {
        b"VRANGE" => Answer::raw("*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        b"JSON.NUMPOWBY" => Answer::raw("$8\r\n[9,null]\r\n"),
        b"TS.NRANGE" => Answer::raw("*1\r\n*2\r\n:7\r\n*2\r\n$3\r\n1.5\r\n$3\r\nnan\r\n"),
        b"TS.NREVRANGE" => Answer::raw("*1\r\n*2\r\n:7\r\n*2\r\n,1.5\r\n,nan\r\n"),
        b"TS.READ" => Answer::raw("*1\r\n*2\r\n:7\r\n,2.5\r\n"),
        b"FT.ALIASLIST" => Answer::raw("*2\r\n$3\r\nt:a\r\n$3\r\nu:b\r\n"),
        b"FT.HYBRID" if argv[1] == b"t:i" => Answer::raw(
            "*6\r\n$13\r\ntotal_results\r\n:1\r\n$7\r\nresults\r\n*1\r\n*4\r\n$5\r\n__key\r\n$5\r\nt:d:1\r\n\
             $7\r\n__score\r\n$3\r\n0.5\r\n$8\r\nwarnings\r\n*0\r\n",
        ),
        b"FT.HYBRID" => Answer::raw(
            "%3\r\n$13\r\ntotal_results\r\n:1\r\n$7\r\nresults\r\n*1\r\n%2\r\n$5\r\n__key\r\n$5\r\nt:d:1\r\n\
             $7\r\n__score\r\n$3\r\n0.5\r\n$8\r\nwarnings\r\n*0\r\n",
        ),
        _ => Answer::Default,
    });
    let server = server.start().unwrap();
    let config = RedisConfig::builder().host("127.0.0.1").port(server.port()).key_prefix("t:").build().unwrap();
    let redis = Redis::builder(config).start().unwrap();
    assert_eq!(redis.send(VRange::<String>::new("v", "a".."c").count(5)).await.unwrap(), ["a", "b"]);
    assert_eq!(redis.send(JsonNumPowBy::<f64>::new("k", "$.*", 2)).await.unwrap(), [Some(9.0), None]);
    for rows in [
        redis.send(TsNRange::new(["a", "b"], 1_u64..)).await.unwrap(),
        redis.send(TsNRevRange::new(["a", "b"], 1_u64..)).await.unwrap(),
    ] {
        assert_eq!((rows[0].timestamp.millis(), &rows[0].values[..]), (7, &[Some(1.5), None][..]));
    }
    let read = redis.send(TsRead::new("s", 5).block(Duration::from_millis(5), 1)).await.unwrap();
    assert_eq!(read[0].value, 2.5);
    assert_eq!(redis.send(FtAliasList::new("i")).await.unwrap(), ["a"], "that of another service is dropped");
    for index in ["i", "resp3"] {
        let hybrid = FtHybrid::<std::collections::HashMap<String, String>>::new(index, "q", "v", &[1.0]);
        let page = redis.send(hybrid.rank_fusion(60.0, 20)).await.unwrap();
        assert_eq!((page.total, &*page.rows[0]["__key"], &*page.rows[0]["__score"]), (1, "d:1", "0.5"));
    }
}
