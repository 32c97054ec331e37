//! Every message of a module, and the exact command that it sends.

use std::time::Duration;

use redis::Value;

use super::tests::indices;
use crate::Command;
use crate::commands::{bloom::*, json::*, search::*, time_series::*, vectors::*};
use crate::frame::Frame;

/// One row of the table: the frame, its words, which of them are keys, and whether it is repeatable.
type Row = (Frame, &'static str, &'static [usize], bool);

const READ: bool = true;
const WRITE: bool = false;

fn vectors() -> Vec<Row> {
    let near = VSim::<String>::to_element("v", "a").count(2).exploration(9).filter(".x>1").filter_effort(5);
    vec![
        (
            VAdd::values("v", "a", [1.5, 2.0])
                .reduce(1)
                .cas()
                .quantization(Quantization::Binary)
                .exploration(9)
                .frame(),
            "VADD v REDUCE 1 VALUES 2 1.5 2.0 a CAS EF 9 BIN",
            &[1],
            WRITE,
        ),
        (
            VAdd::values("v", "a", [1]).attributes(&1).links(4).frame(),
            "VADD v VALUES 1 1.0 a SETATTR 1 M 4",
            &[1],
            WRITE,
        ),
        (VAdd::new("v", "a", &[0.0]).frame(), "VADD v FP32 \0\0\0\0 a", &[1], WRITE),
        (near.frame(), "VSIM v ELE a COUNT 2 EF 9 FILTER .x>1 FILTER-EF 5", &[1], READ),
        (
            VSim::<u8>::to_vector("v", &[0.0]).max_distance(0.5).exact().on_main_thread().with_scores().frame(),
            "VSIM v FP32 \0\0\0\0 EPSILON 0.5 TRUTH NOTHREAD WITHSCORES",
            &[1],
            READ,
        ),
        (VSim::<u8>::to_element("v", "a").with_attributes().frame(), "VSIM v ELE a WITHSCORES WITHATTRIBS", &[1], READ),
        (VEmb::new("v", "a").frame(), "VEMB v a", &[1], READ),
        (VEmb::new("v", "a").raw().frame(), "VEMB v a RAW", &[1], READ),
        (VLinks::<u8>::new("v", "a").with_scores().frame(), "VLINKS v a WITHSCORES", &[1], READ),
        (VGetAttr::<u8>::new("v", "a").frame(), "VGETATTR v a", &[1], READ),
        (VSetAttr::new("v", "a", &2).frame(), "VSETATTR v a 2", &[1], WRITE),
        (VSetAttr::remove("v", "a").frame(), "VSETATTR v a ", &[1], WRITE),
        (VCard::new("v").frame(), "VCARD v", &[1], READ),
        (VDim::new("v").frame(), "VDIM v", &[1], READ),
        (VInfo::new("v").frame(), "VINFO v", &[1], READ),
        (VRandMember::<u8>::new("v").distinct(2).frame(), "VRANDMEMBER v 2", &[1], READ),
        (VRandMember::<u8>::new("v").repeating(2).frame(), "VRANDMEMBER v -2", &[1], READ),
        (VRem::new("v", "a").frame(), "VREM v a", &[1], WRITE),
        (VIsMember::new("v", "a").frame(), "VISMEMBER v a", &[1], READ),
        (VRange::<u8>::new("v", "a".."c").count(2).frame(), "VRANGE v [a (c 2", &[1], READ),
        (VRange::<u8>::new::<&str>("v", ..).frame(), "VRANGE v - +", &[1], READ),
    ]
}

fn json() -> Vec<Row> {
    vec![
        (JsonSet::new("k", "$", "x").if_absent().frame(), "JSON.SET k $ \"x\" NX", &[1], WRITE),
        (
            JsonSet::new("k", "$.a", &[1.5]).if_present().float_arrays(FloatType::Bf16).frame(),
            "JSON.SET k $.a [1.5] XX FPHA BF16",
            &[1],
            WRITE,
        ),
        (JsonGet::<Value>::new("k").path("$.a").path("$.b").frame(), "JSON.GET k $.a $.b", &[1], READ),
        (JsonGet::<Value>::new("k").format("i", "n", "s").frame(), "JSON.GET k INDENT i NEWLINE n SPACE s", &[1], READ),
        (JsonMGet::<Value>::new(["a", "b"], "$").frame(), "JSON.MGET a b $", &[1, 2], READ),
        (JsonMSet::new([("a", "$", 1), ("b", "$", 2)]).frame(), "JSON.MSET a $ 1 b $ 2", &[1, 4], WRITE),
        (JsonMerge::new("k", "$", &1).frame(), "JSON.MERGE k $ 1", &[1], WRITE),
        (JsonDel::new("k", "$.a").frame(), "JSON.DEL k $.a", &[1], WRITE),
        (JsonType::new("k", "$").frame(), "JSON.TYPE k $", &[1], READ),
        (JsonNumIncrBy::<f64>::new("k", "$", 2).frame(), "JSON.NUMINCRBY k $ 2", &[1], WRITE),
        (JsonNumMultBy::<f64>::new("k", "$", 2.5).frame(), "JSON.NUMMULTBY k $ 2.5", &[1], WRITE),
        (JsonNumPowBy::<f64>::new("k", "$", 2).frame(), "JSON.NUMPOWBY k $ 2", &[1], WRITE),
        (JsonStrAppend::new("k", "$", "a").frame(), "JSON.STRAPPEND k $ \"a\"", &[1], WRITE),
        (JsonStrLen::new("k", "$").frame(), "JSON.STRLEN k $", &[1], READ),
        (JsonArrAppend::new("k", "$", [1, 2]).frame(), "JSON.ARRAPPEND k $ 1 2", &[1], WRITE),
        (JsonArrIndex::new("k", "$", &1).between(0, -1).frame(), "JSON.ARRINDEX k $ 1 0 -1", &[1], READ),
        (JsonArrInsert::new("k", "$", -1, ["a"]).frame(), "JSON.ARRINSERT k $ -1 \"a\"", &[1], WRITE),
        (JsonArrLen::new("k", "$").frame(), "JSON.ARRLEN k $", &[1], READ),
        (JsonArrPop::<Value>::new("k", "$").at(0).frame(), "JSON.ARRPOP k $ 0", &[1], WRITE),
        (JsonArrTrim::new("k", "$", 0, 2).frame(), "JSON.ARRTRIM k $ 0 2", &[1], WRITE),
        (JsonObjKeys::new("k", "$").frame(), "JSON.OBJKEYS k $", &[1], READ),
        (JsonObjLen::new("k", "$").frame(), "JSON.OBJLEN k $", &[1], READ),
        (JsonToggle::new("k", "$").frame(), "JSON.TOGGLE k $", &[1], WRITE),
        (JsonClear::new("k", "$").frame(), "JSON.CLEAR k $", &[1], WRITE),
        (JsonMemory::new("k", "$").frame(), "JSON.DEBUG MEMORY k $", &[2], READ),
        (JsonResp::new("k", "$").frame(), "JSON.RESP k $", &[1], READ),
    ]
}

fn filters() -> Vec<Row> {
    vec![
        (BfReserve::new("f", 0.01, 9).expansion(2).frame(), "BF.RESERVE f 0.01 9 EXPANSION 2", &[1], WRITE),
        (BfReserve::new("f", 0.01, 9).fixed().frame(), "BF.RESERVE f 0.01 9 NONSCALING", &[1], WRITE),
        (BfAdd::new("f", "a").frame(), "BF.ADD f a", &[1], WRITE),
        (BfMAdd::new("f", ["a", "b"]).frame(), "BF.MADD f a b", &[1], WRITE),
        (
            BfInsert::new("f", ["a"]).capacity(9).error_rate(0.1).expansion(2).if_present().frame(),
            "BF.INSERT f CAPACITY 9 ERROR 0.1 EXPANSION 2 NOCREATE ITEMS a",
            &[1],
            WRITE,
        ),
        (BfExists::new("f", "a").frame(), "BF.EXISTS f a", &[1], READ),
        (BfMExists::new("f", ["a", "b"]).frame(), "BF.MEXISTS f a b", &[1], READ),
        (BfCard::new("f").frame(), "BF.CARD f", &[1], READ),
        (BfInfo::new("f").frame(), "BF.INFO f", &[1], READ),
        (BfScanDump::new("f", 0).frame(), "BF.SCANDUMP f 0", &[1], READ),
        (
            CfReserve::new("c", 9).bucket_size(2).max_iterations(3).expansion(1).frame(),
            "CF.RESERVE c 9 BUCKETSIZE 2 MAXITERATIONS 3 EXPANSION 1",
            &[1],
            WRITE,
        ),
        (CfAdd::new("c", "a").frame(), "CF.ADD c a", &[1], WRITE),
        (CfAddNx::new("c", "a").frame(), "CF.ADDNX c a", &[1], WRITE),
        (
            CfInsert::new("c", ["a", "b"]).capacity(9).if_present().frame(),
            "CF.INSERT c CAPACITY 9 NOCREATE ITEMS a b",
            &[1],
            WRITE,
        ),
        (CfInsert::if_absent("c", ["a"]).frame(), "CF.INSERTNX c ITEMS a", &[1], WRITE),
        (CfExists::new("c", "a").frame(), "CF.EXISTS c a", &[1], READ),
        (CfMExists::new("c", ["a", "b"]).frame(), "CF.MEXISTS c a b", &[1], READ),
        (CfCount::new("c", "a").frame(), "CF.COUNT c a", &[1], READ),
        (CfDel::new("c", "a").frame(), "CF.DEL c a", &[1], WRITE),
        (CfInfo::new("c").frame(), "CF.INFO c", &[1], READ),
        (CfScanDump::new("c", 0).frame(), "CF.SCANDUMP c 0", &[1], READ),
    ]
}

fn sketches() -> Vec<Row> {
    vec![
        (CmsInitByDim::new("m", 9, 2).frame(), "CMS.INITBYDIM m 9 2", &[1], WRITE),
        (CmsInitByProb::new("p", 0.1, 0.2).frame(), "CMS.INITBYPROB p 0.1 0.2", &[1], WRITE),
        (CmsIncrBy::new("m", [("a", 2)]).frame(), "CMS.INCRBY m a 2", &[1], WRITE),
        (CmsQuery::new("m", "a").frame(), "CMS.QUERY m a", &[1], READ),
        (CmsMerge::new("m", [("m", 1), ("m", 2)]).frame(), "CMS.MERGE m 2 m m WEIGHTS 1 2", &[1, 3, 4], WRITE),
        (CmsInfo::new("m").frame(), "CMS.INFO m", &[1], READ),
        (TopKReserve::new("t", 3).dimensions(8, 7, 0.9).frame(), "TOPK.RESERVE t 3 8 7 0.9", &[1], WRITE),
        (TopKAdd::<Value>::new("t", ["a", "b"]).frame(), "TOPK.ADD t a b", &[1], WRITE),
        (TopKIncrBy::<Value>::new("t", [("a", 2)]).frame(), "TOPK.INCRBY t a 2", &[1], WRITE),
        (TopKQuery::new("t", "a").frame(), "TOPK.QUERY t a", &[1], READ),
        (TopKCount::new("t", "a").frame(), "TOPK.COUNT t a", &[1], READ),
        (TopKList::<Value>::new("t").with_counts().frame(), "TOPK.LIST t WITHCOUNT", &[1], READ),
        (TopKInfo::new("t").frame(), "TOPK.INFO t", &[1], READ),
        (TDigestCreate::new("d").compression(9).frame(), "TDIGEST.CREATE d COMPRESSION 9", &[1], WRITE),
        (TDigestAdd::new("d", [1, 2]).frame(), "TDIGEST.ADD d 1.0 2.0", &[1], WRITE),
        (TDigestQuantile::new("d", [0.5]).frame(), "TDIGEST.QUANTILE d 0.5", &[1], READ),
        (TDigestCdf::new("d", [5]).frame(), "TDIGEST.CDF d 5.0", &[1], READ),
        (TDigestRank::new("d", [5]).frame(), "TDIGEST.RANK d 5.0", &[1], READ),
        (TDigestRevRank::new("d", [5]).frame(), "TDIGEST.REVRANK d 5.0", &[1], READ),
        (TDigestByRank::new("d", [5]).frame(), "TDIGEST.BYRANK d 5", &[1], READ),
        (TDigestByRevRank::new("d", [5]).frame(), "TDIGEST.BYREVRANK d 5", &[1], READ),
        (TDigestMin::new("d").frame(), "TDIGEST.MIN d", &[1], READ),
        (TDigestMax::new("d").frame(), "TDIGEST.MAX d", &[1], READ),
        (TDigestTrimmedMean::new("d", 0.1, 0.9).frame(), "TDIGEST.TRIMMED_MEAN d 0.1 0.9", &[1], READ),
        (
            TDigestMerge::new("e", ["d", "d"]).compression(9).replace().frame(),
            "TDIGEST.MERGE e 2 d d COMPRESSION 9 OVERRIDE",
            &[1, 3, 4],
            WRITE,
        ),
        (TDigestReset::new("d").frame(), "TDIGEST.RESET d", &[1], WRITE),
        (TDigestInfo::new("d").frame(), "TDIGEST.INFO d", &[1], READ),
    ]
}

fn series() -> Vec<Row> {
    let second = Duration::from_secs(1);
    vec![
        (
            TsCreate::new("s").retention(second).uncompressed().chunk_size(128).duplicates(Duplicates::Sum).frame(),
            "TS.CREATE s RETENTION 1000 ENCODING UNCOMPRESSED CHUNK_SIZE 128 DUPLICATE_POLICY SUM",
            &[1],
            WRITE,
        ),
        (TsAlter::new("s").labels([("a", "b")]).frame(), "TS.ALTER s LABELS a b", &[1], WRITE),
        (TsAdd::new("s", 1).on_duplicate(Duplicates::Min).frame(), "TS.ADD s * 1.0 ON_DUPLICATE MIN", &[1], WRITE),
        (TsAdd::at("s", 5, 1.5).ignore(second, 0.5).frame(), "TS.ADD s 5 1.5 IGNORE 1000 0.5", &[1], WRITE),
        (TsMAdd::new([("s", 1, 2), ("s", 3, 4)]).frame(), "TS.MADD s 1 2.0 s 3 4.0", &[1, 4], WRITE),
        (TsIncrBy::new("n", 1).at(9).frame(), "TS.INCRBY n 1.0 TIMESTAMP 9", &[1], WRITE),
        (TsDecrBy::new("n", 1).frame(), "TS.DECRBY n 1.0", &[1], WRITE),
        (TsDel::new("s", 5_u64..9).frame(), "TS.DEL s 5 8", &[1], WRITE),
        (TsGet::new("s").latest().frame(), "TS.GET s LATEST", &[1], READ),
        (
            TsRange::all("s").latest().at([1, 2]).values(0.0, 9.0).count(3).align(4).frame().clone(),
            "TS.RANGE s - + LATEST FILTER_BY_TS 1 2 FILTER_BY_VALUE 0.0 9.0 COUNT 3 ALIGN 4",
            &[1],
            READ,
        ),
        (
            TsRevRange::all("s")
                .aggregate(Aggregation::Twa, second)
                .bucket_time(BucketTime::End)
                .empty_buckets()
                .frame(),
            "TS.REVRANGE s - + AGGREGATION twa 1000 BUCKETTIMESTAMP + EMPTY",
            &[1],
            READ,
        ),
        (TsNRange::new(["a", "b"], 1_u64..).frame(), "TS.NRANGE 2 a b 1 +", &[2, 3], READ),
        (TsNRevRange::new("a", ..9_u64).frame(), "TS.NREVRANGE 1 a - 8", &[2], READ),
        (TsRead::new("a", 7).max_count(2).frame(), "TS.READ a 7 MAX_COUNT 2", &[1], READ),
        (TsMGet::new(["a=b"]).latest().with_labels().frame(), "TS.MGET LATEST WITHLABELS FILTER a=b", &[], READ),
        (
            TsMRange::new(1_u64.., ["a=b", "c!="]).labels(["a"]).count(1).frame(),
            "TS.MRANGE 1 + SELECTED_LABELS a COUNT 1 FILTER a=b c!=",
            &[],
            READ,
        ),
        (TsMRevRange::all(["a=b"]).frame(), "TS.MREVRANGE - + FILTER a=b", &[], READ),
        (TsQueryIndex::new(["a=(b,c)"]).frame(), "TS.QUERYINDEX a=(b,c)", &[], READ),
        (
            TsCreateRule::new("s", "n", Aggregation::StdP, second).align(1).frame(),
            "TS.CREATERULE s n AGGREGATION std.p 1000 1",
            &[1, 2],
            WRITE,
        ),
        (TsDeleteRule::new("s", "n").frame(), "TS.DELETERULE s n", &[1, 2], WRITE),
        (TsInfo::new("s").frame(), "TS.INFO s", &[1], READ),
    ]
}

fn indexes() -> Vec<Row> {
    let vector = VectorIndex::hnsw(2, DistanceMetric::Cosine).links(4).of(VectorType::Float64);
    vec![
        (
            FtCreate::new("i", [Field::text("t").weight(2.0).sortable(), Field::tag("g").separator(';')]).frame(),
            "FT.CREATE i ON HASH PREFIX 1  SCHEMA t TEXT WEIGHT 2.0 SORTABLE g TAG SEPARATOR ;",
            &[1, 6],
            WRITE,
        ),
        (
            FtCreate::new("j", [Field::numeric("$.n").alias("n"), Field::vector("v", vector).no_index()])
                .on_json()
                .prefix("a:")
                .prefix("b:")
                .stopwords(["the"])
                .skip_initial_scan()
                .frame(),
            "FT.CREATE j ON JSON PREFIX 2 a: b: STOPWORDS 1 the SKIPINITIALSCAN SCHEMA $.n AS n NUMERIC v VECTOR HNSW 8 \
             TYPE FLOAT64 DIM 2 DISTANCE_METRIC COSINE M 4 NOINDEX",
            &[1, 6, 7],
            WRITE,
        ),
        (FtAlter::new("i", Field::geo("p")).frame(), "FT.ALTER i SCHEMA ADD p GEO", &[1], WRITE),
        (FtDropIndex::new("i").delete_documents().frame(), "FT.DROPINDEX i DD", &[1], WRITE),
        (FtAliasAdd::new("a", "i").frame(), "FT.ALIASADD a i", &[1, 2], WRITE),
        (FtAliasUpdate::new("a", "i").frame(), "FT.ALIASUPDATE a i", &[1, 2], WRITE),
        (FtAliasDel::new("a").frame(), "FT.ALIASDEL a", &[1], WRITE),
        (FtAliasList::new("i").frame(), "FT.ALIASLIST i", &[1], READ),
        (FtList::new().frame(), "FT._LIST", &[], READ),
        (FtInfo::new("i").frame(), "FT.INFO i", &[1], READ),
        (FtTagVals::new("i", "g").frame(), "FT.TAGVALS i g", &[1], READ),
        (FtExplain::new("i", "q").dialect(2).frame(), "FT.EXPLAIN i q DIALECT 2", &[1], READ),
        (FtDictAdd::new("d", ["a", "b"]).frame(), "FT.DICTADD d a b", &[1], WRITE),
        (FtDictDel::new("d", "a").frame(), "FT.DICTDEL d a", &[1], WRITE),
        (FtDictDump::new("d").frame(), "FT.DICTDUMP d", &[1], READ),
        (
            FtSpellCheck::new("i", "q").distance(2).include("d").exclude("e").frame(),
            "FT.SPELLCHECK i q DISTANCE 2 TERMS INCLUDE d TERMS EXCLUDE e",
            &[1, 7, 10],
            READ,
        ),
        (FtSynUpdate::new("i", "g", "a").frame(), "FT.SYNUPDATE i g a", &[1], WRITE),
        (FtSynDump::new("i").frame(), "FT.SYNDUMP i", &[1], READ),
        (FtSugAdd::new("s", "a", 2).increment().payload("p").frame(), "FT.SUGADD s a 2.0 INCR PAYLOAD p", &[1], WRITE),
        (FtSugGet::new("s", "a").max(3).frame(), "FT.SUGGET s a WITHSCORES WITHPAYLOADS MAX 3", &[1], READ),
        (FtSugLen::new("s").frame(), "FT.SUGLEN s", &[1], READ),
        (FtSugDel::new("s", "a").frame(), "FT.SUGDEL s a", &[1], WRITE),
    ]
}

fn queries() -> Vec<Row> {
    let search = || FtSearch::<Value>::new("i", "q");
    vec![
        (
            search().in_keys(["a", "b"]).sort_by("n", Order::Desc).limit(0, 5).fields(["t"]).param("p", 1).frame(),
            "FT.SEARCH i q WITHSCORES INKEYS 2 a b SORTBY n DESC LIMIT 0 5 RETURN 1 t PARAMS 2 p 1 DIALECT 2",
            &[1, 6, 7],
            READ,
        ),
        (search().json::<Value>().frame(), "FT.SEARCH i q WITHSCORES RETURN 1 $", &[1], READ),
        (search().dialect(3).ids().frame(), "FT.SEARCH i q WITHSCORES NOCONTENT DIALECT 3", &[1], READ),
        (search().profile().frame(), "FT.PROFILE i SEARCH QUERY q WITHSCORES", &[1], READ),
        (
            FtAggregate::<Value>::new("i", "*")
                .load(["a"])
                .group_by(["a"], [Reducer::quantile("n", 0.5).named("q")])
                .sort_by([("q", Order::Asc)])
                .apply("@q*2", "r")
                .filter("@r>1")
                .limit(0, 9)
                .cursor(5, Some(Duration::from_secs(1)))
                .frame(),
            "FT.AGGREGATE i * LOAD 1 @a GROUPBY 1 @a REDUCE QUANTILE 2 @n 0.5 AS q SORTBY 2 @q ASC APPLY @q*2 AS r \
             FILTER @r>1 LIMIT 0 9 WITHCURSOR COUNT 5 MAXIDLE 1000",
            &[1],
            WRITE,
        ),
        (
            FtAggregate::<Value>::new("i", "*").load_key().profile().frame(),
            "FT.PROFILE i AGGREGATE QUERY * LOAD 1 @__key",
            &[1],
            READ,
        ),
        (
            FtHybrid::<Value>::new("i", "q", "v", &[0.0]).nearest(3).linear(0.5, 0.5).load(["t"]).limit(0, 2).frame(),
            "FT.HYBRID i SEARCH q VSIM @v $vector KNN 2 K 3 COMBINE LINEAR 4 ALPHA 0.5 BETA 0.5 LOAD 1 @t LIMIT 0 2 \
             PARAMS 2 vector \0\0\0\0",
            &[1],
            READ,
        ),
    ]
}

fn table() -> Vec<Row> {
    [vectors(), json(), filters(), sketches(), series(), indexes(), queries()].concat()
}

/// Every message of a module, for comparison with a server.
pub(crate) fn every_module_message() -> Vec<Frame> {
    table().into_iter().map(|(frame, ..)| frame).collect()
}

#[test]
fn every_module_message_sends_its_exact_words_and_marks_its_keys() {
    for (frame, words, keys, read) in table() {
        let sent: Vec<_> = frame.args().map(String::from_utf8_lossy).collect();
        assert_eq!(sent.join(" "), words);
        assert_eq!(indices(&frame), keys, "{words}");
        assert_eq!(frame.is_repeatable(), read, "{words}");
        // The options of the row show their order and need not fit together.
        assert!(frame.check().is_ok() || words.contains(" ALIGN "), "{words}: {:?}", frame.check());
    }
}
