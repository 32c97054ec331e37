//! Probabilistic data types.

use redis_actix::commands::bloom::*;

use crate::for_each_protocol;

#[actix::test]
async fn filters_know_what_was_added() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(BfReserve::new("f", 0.01, 100).expansion(4)).await.unwrap();
        assert!(redis.send(BfAdd::new("f", "a")).await.unwrap() && !redis.send(BfAdd::new("f", "a")).await.unwrap());
        let added = redis.send(BfMAdd::new("f", ["a", "b"])).await.unwrap();
        assert_eq!(added.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [false, true]);
        assert!(redis.send(BfExists::new("f", "a")).await.unwrap());
        assert!(!tenants.theirs.send(BfExists::new("f", "a")).await.unwrap());
        assert_eq!(redis.send(BfMExists::new("f", ["a", "z"])).await.unwrap(), [true, false]);
        assert_eq!(redis.send(BfCard::new("f")).await.unwrap(), 2);
        let info = redis.send(BfInfo::new("f")).await.unwrap();
        assert_eq!((info.capacity, info.items, info.filters, info.expansion), (100, 2, 1, Some(4)));
        redis.send(BfReserve::new("fixed", 0.1, 1).fixed()).await.unwrap();
        assert_eq!(redis.send(BfInfo::new("fixed")).await.unwrap().expansion, None);
        let added = redis.send(BfMAdd::new("fixed", ["a", "b", "c"])).await.unwrap();
        let full = added.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(added[0].is_ok() && full.contains("full"), "{full}");
        let insert = BfInsert::new("g", ["a", "b"]).capacity(10).error_rate(0.1);
        assert_eq!(redis.send(insert).await.unwrap().len(), 2);
        assert!(redis.send(BfInsert::new("none", ["a"]).if_present()).await.is_err());

        let (mut iterator, mut parts) = (0, 0);
        loop {
            let chunk = redis.send(BfScanDump::new("f", iterator)).await.unwrap();
            iterator = chunk.iterator;
            if iterator == 0 {
                break;
            }
            redis.send(BfLoadChunk::new("copy", &chunk)).await.unwrap();
            parts += 1;
        }
        assert!(parts >= 2 && redis.send(BfExists::new("copy", "b")).await.unwrap());
        tenants
    })
    .await;
}

#[actix::test]
async fn cuckoo_filters_count_and_delete() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(CfReserve::new("c", 100).bucket_size(2).max_iterations(20).expansion(1)).await.unwrap();
        assert!(redis.send(CfAdd::new("c", "a")).await.unwrap() && redis.send(CfAdd::new("c", "a")).await.unwrap());
        assert!(
            !redis.send(CfAddNx::new("c", "a")).await.unwrap() && redis.send(CfAddNx::new("c", "b")).await.unwrap()
        );
        assert_eq!(redis.send(CfCount::new("c", "a")).await.unwrap(), 2);
        assert!(redis.send(CfExists::new("c", "a")).await.unwrap());
        assert_eq!(redis.send(CfMExists::new("c", ["a", "z"])).await.unwrap(), [true, false]);
        assert!(redis.send(CfDel::new("c", "a")).await.unwrap() && !redis.send(CfDel::new("c", "z")).await.unwrap());
        let info = redis.send(CfInfo::new("c")).await.unwrap();
        assert_eq!((info.items, info.deleted, info.bucket_size), (2, 1, 2));
        redis.send(CfCompact::new("c")).await.unwrap();
        let inserted = redis.send(CfInsert::new("d", ["a", "b"]).capacity(100)).await.unwrap();
        assert_eq!(inserted, [CuckooInsert::Added, CuckooInsert::Added]);
        let inserted = redis.send(CfInsert::if_absent("d", ["a", "q"])).await.unwrap();
        assert_eq!(inserted, [CuckooInsert::Exists, CuckooInsert::Added]);
        assert!(redis.send(CfInsert::new("none", ["a"]).if_present()).await.is_err());
        let chunk = redis.send(CfScanDump::new("c", 0)).await.unwrap();
        redis.send(CfLoadChunk::new("copy", &chunk)).await.unwrap();
        tenants
    })
    .await;
}

#[actix::test]
async fn sketches_count_and_merge() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(CmsInitByDim::new("m", 100, 5)).await.unwrap();
        redis.send(CmsInitByDim::new("sum", 100, 5)).await.unwrap();
        redis.send(CmsInitByProb::new("p", 0.01, 0.01)).await.unwrap();
        assert_eq!(redis.send(CmsIncrBy::new("m", [("a", 2), ("b", 3)])).await.unwrap(), [2, 3]);
        redis.send(CmsMerge::new("sum", [("m", 2), ("m", 1)])).await.unwrap();
        assert_eq!(redis.send(CmsQuery::new("sum", ["a", "b", "z"])).await.unwrap(), [6, 9, 0]);
        let info = redis.send(CmsInfo::new("sum")).await.unwrap();
        assert_eq!((info.width, info.depth, info.count), (100, 5, 15));

        redis.send(TopKReserve::new("t", 2).dimensions(50, 7, 0.9)).await.unwrap();
        assert_eq!(redis.send(TopKAdd::<String>::new("t", ["a", "b"])).await.unwrap(), [None, None]);
        let displaced = redis.send(TopKIncrBy::<String>::new("t", [("a", 5), ("c", 9)])).await.unwrap();
        assert_eq!(displaced, [None, Some("b".to_owned())]);
        assert_eq!(redis.send(TopKQuery::new("t", ["a", "b"])).await.unwrap(), [true, false]);
        assert_eq!(redis.send(TopKCount::new("t", ["a"])).await.unwrap(), [6]);
        assert_eq!(redis.send(TopKList::<String>::new("t")).await.unwrap(), ["c", "a"]);
        let counted = redis.send(TopKList::<String>::new("t").with_counts()).await.unwrap();
        assert_eq!(counted, [("c".to_owned(), 9), ("a".to_owned(), 6)]);
        let info = redis.send(TopKInfo::new("t")).await.unwrap();
        assert_eq!((info.k, info.width, info.depth, info.decay), (2, 50, 7, 0.9));
        tenants
    })
    .await;
}

#[actix::test]
async fn digests_estimate_quantiles() {
    for_each_protocol(async |tenants| {
        let redis = &tenants.ours;
        redis.send(TDigestCreate::new("d")).await.unwrap();
        redis.send(TDigestCreate::new("empty").compression(200)).await.unwrap();
        redis.send(TDigestAdd::new("d", [1, 2, 3, 4, 5])).await.unwrap();
        assert_eq!(redis.send(TDigestQuantile::new("d", [0.5, 1.0])).await.unwrap(), [3.0, 5.0]);
        assert!(redis.send(TDigestQuantile::new("empty", [0.5])).await.unwrap()[0].is_nan());
        assert_eq!(redis.send(TDigestCdf::new("d", [3, 9])).await.unwrap(), [0.5, 1.0]);
        assert_eq!(redis.send(TDigestRank::new("d", [-4, 9])).await.unwrap(), [-1, 5]);
        assert_eq!(redis.send(TDigestRevRank::new("d", [-4, 9])).await.unwrap(), [5, -1]);
        assert_eq!(redis.send(TDigestByRank::new("d", [0, 99])).await.unwrap(), [1.0, f64::INFINITY]);
        assert_eq!(redis.send(TDigestByRevRank::new("d", [0, 99])).await.unwrap(), [5.0, f64::NEG_INFINITY]);
        assert_eq!(redis.send(TDigestMin::new("d")).await.unwrap(), 1.0);
        assert_eq!(redis.send(TDigestMax::new("d")).await.unwrap(), 5.0);
        assert!(redis.send(TDigestMax::new("empty")).await.unwrap().is_nan());
        assert_eq!(redis.send(TDigestTrimmedMean::new("d", 0.1, 0.9)).await.unwrap(), 3.0);
        redis.send(TDigestMerge::new("all", ["d", "empty"]).compression(50).replace()).await.unwrap();
        let info = redis.send(TDigestInfo::new("all")).await.unwrap();
        assert_eq!((info.compression, info.observations), (50, 5));
        redis.send(TDigestReset::new("all")).await.unwrap();
        assert_eq!(redis.send(TDigestInfo::new("all")).await.unwrap().observations, 0);
        tenants
    })
    .await;
}
