//! Sorted sets and positions.

use super::{Case, case, documented};
use crate::commands::geo::*;
use crate::commands::sorted_sets::*;

pub(super) fn cases() -> Vec<Case> {
    [reads(), takes(), ranges(), algebra(), geo(), areas()].concat()
}

const BOARD: &str = "ZADD z 1 a 2 b 3 c";
const EQUAL: &str = "ZADD z 0 a 0 b 0 c";

fn reads() -> Vec<Case> {
    vec![
        case(ZAdd::new("z", (7_i64, "d")), "ZADD z 7 d", &[1], BOARD, "1"),
        case(ZCount::new("z", 2.0..), "ZCOUNT z 2.0 +inf", &[1], BOARD, "2"),
        case(ZLexCount::new("z", "a".."c"), "ZLEXCOUNT z [a (c", &[1], EQUAL, "2"),
        case(ZRank::new("z", "b"), "ZRANK z b", &[1], BOARD, "Some(1)"),
        case(ZRank::new("z", "x"), "ZRANK z x", &[1], BOARD, "None"),
        case(ZRevRank::new("z", "c"), "ZREVRANK z c", &[1], BOARD, "Some(0)"),
        case(ZRank::new("z", "b").with_score(), "ZRANK z b WITHSCORE", &[1], BOARD, "Some((1, 2.0))"),
        case(ZRevRank::new("z", "x").with_score(), "ZREVRANK z x WITHSCORE", &[1], BOARD, "None"),
        case(ZMScore::new("z", ["a", "x"]), "ZMSCORE z a x", &[1], BOARD, "[Some(1.0), None]"),
        case(ZRandMember::<String>::new("z"), "ZRANDMEMBER z", &[1], "ZADD z 1 a", "Some(\"a\")"),
        case(ZRandMember::<String>::new("z").count(2), "ZRANDMEMBER z 2", &[1], "ZADD z 1 a", "[\"a\"]"),
        case(
            ZRandMember::<String>::new("z").count_repeated(2).with_scores(),
            "ZRANDMEMBER z -2 WITHSCORES",
            &[1],
            "ZADD z 1 a",
            "[(\"a\", 1.0), (\"a\", 1.0)]",
        ),
    ]
}

fn takes() -> Vec<Case> {
    vec![
        case(ZPopMin::<String>::new("z"), "ZPOPMIN z", &[1], BOARD, "Some((\"a\", 1.0))"),
        case(ZPopMin::<String>::new("z"), "ZPOPMIN z", &[1], "DEL z", "None"),
        case(ZPopMax::<String>::new("z").count(2), "ZPOPMAX z 2", &[1], BOARD, "[(\"c\", 3.0), (\"b\", 2.0)]"),
        case(ZPopMax::<String>::new("z"), "ZPOPMAX z", &[1], "ZADD z inf a", "Some((\"a\", inf))"),
        case(
            ZMPop::<String>::new(["y", "z"], ScoreEnd::Max).count(2),
            "ZMPOP 2 y z MAX COUNT 2",
            &[2, 3],
            BOARD,
            "Some(Popped { key: [122], value: [(\"c\", 3.0), (\"b\", 2.0)] })",
        ),
        case(ZMPop::<String>::new("z", ScoreEnd::Min), "ZMPOP 1 z MIN", &[2], "DEL z", "None"),
    ]
}

fn ranges() -> Vec<Case> {
    vec![
        case(ZRangeStore::new("d", "z", 0, 1).rev(), "ZRANGESTORE d z 0 1 REV", &[1, 2], BOARD, "2"),
        case(
            ZRangeStore::by_score("d", "z", 2.0..).limit(0, 1),
            "ZRANGESTORE d z 2.0 +inf BYSCORE LIMIT 0 1",
            &[1, 2],
            BOARD,
            "1",
        ),
        case(ZRangeStore::by_lex("d", "z", "b"..), "ZRANGESTORE d z [b + BYLEX", &[1, 2], EQUAL, "2"),
        case(ZRemRangeByRank::new("z", 0, 1), "ZREMRANGEBYRANK z 0 1", &[1], BOARD, "2"),
        case(ZRemRangeByScore::new("z", ..2.0), "ZREMRANGEBYSCORE z -inf (2.0", &[1], BOARD, "1"),
        case(ZRemRangeByLex::new("z", "b"..), "ZREMRANGEBYLEX z [b +", &[1], EQUAL, "2"),
    ]
}

fn algebra() -> Vec<Case> {
    const TWO: &str = "ZADD y 1 a 5 b;ZADD z 2 b";
    vec![
        case(ZUnion::<String>::new(["y", "z"]), "ZUNION 2 y z", &[2, 3], TWO, "[\"a\", \"b\"]"),
        case(
            ZUnion::<String>::new(["y", "z"]).weights([2, 1]).aggregate(Aggregate::Max).with_scores(),
            "ZUNION 2 y z WEIGHTS 2 1 AGGREGATE MAX WITHSCORES",
            &[2, 3],
            TWO,
            "[(\"a\", 2.0), (\"b\", 10.0)]",
        ),
        case(
            ZInter::<String>::new(["y", "z"]).with_scores(),
            "ZINTER 2 y z WITHSCORES",
            &[2, 3],
            TWO,
            "[(\"b\", 7.0)]",
        ),
        documented(
            ZInter::<String>::new("z").aggregate(Aggregate::Count),
            "ZINTER 1 z AGGREGATE COUNT",
            &[2],
            "*1\r\n$1\r\nb\r\n",
            "[\"b\"]",
        ),
        case(ZDiff::<String>::new(["y", "z"]).with_scores(), "ZDIFF 2 y z WITHSCORES", &[2, 3], TWO, "[(\"a\", 1.0)]"),
        case(
            ZUnionStore::new("d", ["y", "z"]).aggregate(Aggregate::Min),
            "ZUNIONSTORE d 2 y z AGGREGATE MIN",
            &[1, 3, 4],
            TWO,
            "2",
        ),
        case(
            ZInterStore::new("d", ["y", "z"]).weights([1.5, 2.0]),
            "ZINTERSTORE d 2 y z WEIGHTS 1.5 2.0",
            &[1, 3, 4],
            TWO,
            "1",
        ),
        case(ZDiffStore::new("d", "y"), "ZDIFFSTORE d 1 y", &[1, 3], TWO, "2"),
        case(ZInterCard::new(["y", "z"]).limit(9), "ZINTERCARD 2 y z LIMIT 9", &[2, 3], TWO, "1"),
    ]
}

const ISLAND: &str = "GEOADD g 13.361389 38.115556 palermo 15.087269 37.502669 catania";

fn geo() -> Vec<Case> {
    vec![
        case(
            GeoAdd::new("g", [(GeoPoint::new(15.0, 37.0), "here")]).if_absent().changed(),
            "GEOADD g NX CH 15.0 37.0 here",
            &[1],
            ISLAND,
            "1",
        ),
        case(GeoDist::new("g", "palermo", "x"), "GEODIST g palermo x", &[1], ISLAND, "None"),
        case(
            GeoDist::new("g", "palermo", "catania").unit(GeoUnit::Kilometres),
            "GEODIST g palermo catania km",
            &[1],
            ISLAND,
            "Some(166.2742)",
        ),
        case(GeoHash::new("g", ["palermo", "x"]), "GEOHASH g palermo x", &[1], ISLAND, "[Some(\"sqc8b49rny0\"), None]"),
        case(GeoPos::new("g", ["palermo", "x"]), "GEOPOS g palermo x", &[1], ISLAND, ""),
    ]
}

fn areas() -> Vec<Case> {
    let here = GeoPoint::new(15.0, 37.0);
    vec![
        case(
            GeoSearch::<String>::new("g", here, GeoBy::Radius(90.0, GeoUnit::Kilometres)).asc().with_dist(),
            "GEOSEARCH g FROMLONLAT 15.0 37.0 BYRADIUS 90.0 km ASC WITHDIST",
            &[1],
            ISLAND,
            "[GeoFound { member: \"catania\", distance: Some(56.4413), hash: None, point: None }]",
        ),
        case(
            GeoSearch::<String>::new("g", GeoFrom::member("catania"), GeoBy::Box(9.0, 9.0, GeoUnit::Miles))
                .desc()
                .count_any(3)
                .with_hash(),
            "GEOSEARCH g FROMMEMBER catania BYBOX 9.0 9.0 mi DESC COUNT 3 ANY WITHHASH",
            &[1],
            ISLAND,
            "[GeoFound { member: \"catania\", distance: None, hash: Some(3479447370796909), point: None }]",
        ),
        case(
            GeoSearch::<String>::new("g", here, GeoBy::Radius(1.0, GeoUnit::Feet)).with_coord().count(1),
            "GEOSEARCH g FROMLONLAT 15.0 37.0 BYRADIUS 1.0 ft WITHCOORD COUNT 1",
            &[1],
            ISLAND,
            "[]",
        ),
        case(
            GeoSearchStore::new("d", "g", here, GeoBy::Radius(90.0, GeoUnit::Kilometres)).store_dist().count(1),
            "GEOSEARCHSTORE d g FROMLONLAT 15.0 37.0 BYRADIUS 90.0 km STOREDIST COUNT 1",
            &[1, 2],
            ISLAND,
            "1",
        ),
    ]
}
