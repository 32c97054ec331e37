//! Time series, and what another tenant must not see of them.

use std::time::{Duration, SystemTime};

use redis_actix::commands::time_series::*;
use redis_actix::{Raw, RefusalClass};

use crate::for_each_protocol;

fn pairs(samples: &[Sample]) -> Vec<(u64, f64)> {
    samples.iter().map(|sample| (sample.timestamp.millis(), sample.value)).collect()
}

#[actix::test]
async fn samples_are_aggregated() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        let create = TsCreate::new("s").chunk_size(128).duplicates(Duplicates::Last).labels([("room", "kitchen")]);
        redis.send(create).await.unwrap();
        for (at, value) in [(1000, 1.0), (1500, 2.0), (2000, 4.0)] {
            assert_eq!(redis.send(TsAdd::at("s", at, value)).await.unwrap().millis(), at);
        }
        redis.send(TsAdd::at("s", 2000, 1).on_duplicate(Duplicates::Sum)).await.unwrap();
        let all = redis.send(TsRange::all("s")).await.unwrap();
        assert_eq!(pairs(&all), [(1000, 1.0), (1500, 2.0), (2000, 5.0)]);
        let some = redis.send(TsRevRange::new("s", 1000_u64..2000).count(1)).await.unwrap();
        assert_eq!(pairs(&some), [(1500, 2.0)]);
        let filtered = TsRange::all("s").at([1000, 2000]).values(2.0, 9.0);
        assert_eq!(pairs(&redis.send(filtered).await.unwrap()), [(2000, 5.0)]);
        let second = Duration::from_secs(1);
        let means = TsRange::all("s").aggregate(Aggregation::Avg, second).bucket_time(BucketTime::Mid);
        assert_eq!(pairs(&redis.send(means).await.unwrap()), [(1500, 1.5), (2500, 5.0)]);
        let sums = TsRange::new("s", 0_u64..=9999).aggregate(Aggregation::Sum, second / 2).empty_buckets().align(0);
        assert_eq!(pairs(&redis.send(sums).await.unwrap()), [(1000, 1.0), (1500, 2.0), (2000, 5.0)]);
        assert_eq!(redis.send(TsGet::new("s")).await.unwrap().unwrap().value, 5.0);
        assert_eq!(redis.send(TsDel::new("s", ..=1000_u64)).await.unwrap(), 1);

        let now = redis.send(TsAdd::new("now", 1.5).retention(second).ignore(second, 0.5)).await.unwrap();
        let age = SystemTime::now().duration_since(now.system_time().unwrap()).unwrap_or_default();
        assert!(age < Duration::from_secs(60), "{age:?}");
        assert_eq!(redis.send(TsIncrBy::new("count", 2).at(5)).await.unwrap().millis(), 5);
        redis.send(TsDecrBy::new("count", 0.5).at(6).uncompressed()).await.unwrap();
        assert_eq!(redis.send(TsGet::new("count")).await.unwrap().unwrap().value, 1.5);
        let added = redis.send(TsMAdd::new([("s", 3000, 1.0), ("none", 1, 1.0)])).await.unwrap();
        assert_eq!(added[0].as_ref().unwrap().millis(), 3000);
        assert!(added[1].as_ref().unwrap_err().to_string().contains("TSDB key"));
        redis.send(TsAlter::new("s").retention(second).labels([("room", "hall")])).await.unwrap();
        redis.send(TsCreate::new("empty").uncompressed()).await.unwrap();
        assert_eq!(redis.send(TsGet::new("empty").latest()).await.unwrap(), None);
        assert!(redis.send(TsGet::new("none")).await.is_err());
        tenants
    })
    .await;
}

#[actix::test]
async fn rules_and_properties_have_the_callers_names() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(TsCreate::new("s").retention(Duration::from_secs(60)).labels([("a", "b")])).await.unwrap();
        redis.send(TsCreate::new("hourly")).await.unwrap();
        let rule = TsCreateRule::new("s", "hourly", Aggregation::Avg, Duration::from_secs(3600)).align(500);
        redis.send(rule).await.unwrap();
        let info = redis.send(TsInfo::new("s")).await.unwrap();
        assert_eq!(info.labels, [("a".to_owned(), Some("b".to_owned()))]);
        assert_eq!((info.samples, info.retention), (0, Some(Duration::from_secs(60))));
        let [rule] = &info.rules[..] else { panic!("{info:?}") };
        assert_eq!(
            (&rule.destination[..], rule.bucket, rule.align.millis()),
            (&b"hourly"[..], Duration::from_secs(3600), 500)
        );
        let info = redis.send(TsInfo::new("hourly")).await.unwrap();
        assert_eq!(info.source.as_deref(), Some(&b"s"[..]));
        redis.send(TsDeleteRule::new("s", "hourly")).await.unwrap();
        assert!(redis.send(TsInfo::new("s")).await.unwrap().rules.is_empty());
        tenants
    })
    .await;
}

/// Ablation: without `ReplyKeys::Streams` TS.MGET replies with three series instead of two.
#[actix::test]
async fn series_of_other_tenants_are_not_found_by_label() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(TsAdd::at("s", 1, 1).labels([("room", "kitchen"), ("unit", "c")])).await.unwrap();
        redis.send(TsAdd::at("q", 2, 2).labels([("room", "kitchen")])).await.unwrap();
        tenants.theirs.send(TsAdd::at("t", 3, 3).labels([("room", "kitchen")])).await.unwrap();

        let mut latest = redis.send(TsMGet::new(["room=kitchen"]).with_labels()).await.unwrap();
        latest.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(latest.len(), 2);
        assert_eq!((&latest[0].key[..], latest[0].sample.unwrap().value), (&b"q"[..], 2.0));
        assert_eq!((&latest[1].key[..], latest[1].labels.len()), (&b"s"[..], 2));
        let range =
            TsMRange::all(["room=kitchen"]).labels(["unit"]).aggregate(Aggregation::Max, Duration::from_secs(1));
        let mut series = redis.send(range).await.unwrap();
        series.sort_by(|a, b| a.key.cmp(&b.key));
        let shown: Vec<_> =
            series.iter().map(|one| (&one.key[..], one.labels[0].1.as_deref(), pairs(&one.samples))).collect();
        assert_eq!(shown, [(&b"q"[..], None, vec![(0, 2.0)]), (&b"s"[..], Some("c"), vec![(0, 1.0)])]);
        let reverse = redis.send(TsMRevRange::new(2_u64.., ["room=kitchen", "unit="])).await.unwrap();
        assert_eq!(reverse.len(), 1);
        let keys = redis.send(TsQueryIndex::new(["room=(kitchen,hall)"])).await.unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(tenants.theirs.send(TsQueryIndex::new(["room=kitchen"])).await.unwrap(), [b"t"]);

        let raw = Raw::<Vec<Vec<u8>>>::new("TS.QUERYINDEX").arg("room=kitchen");
        assert_eq!(tenants.theirs.send(raw).await.unwrap(), [b"t"]);
        let grouped = Raw::<redis_actix::Value>::new("TS.MRANGE").arg(("-", "+", "FILTER", "room=kitchen"));
        let error = redis.send(grouped.arg(("GROUPBY", "room", "REDUCE", "sum"))).await.unwrap_err();
        assert_eq!(error.refusal(), Some(RefusalClass::Wide));
        assert!(
            error.to_string().contains("GROUPBY and REDUCE also count the time series of other services"),
            "{error}"
        );
        tenants
    })
    .await;
}
