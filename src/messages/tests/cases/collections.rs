//! Hashes, lists, sets, streams.

use std::time::{Duration, SystemTime};

use super::{Case, case, documented};
use crate::commands::hashes::*;
use crate::commands::lists::{LIndex, LInsert, LMPop, LMove, LMoveM, LPos, LPushX, LRem, LSet, LTrim, ListEnd, RPushX};
use crate::commands::sets::*;
use crate::commands::streams::{Nack, References, StreamId, XAckDel, XCfgSet, XDelEx, XNack, XSetId};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn later() -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(4_102_444_800)
}

fn id(ms: u64) -> StreamId {
    StreamId::new(ms, 0)
}

pub(super) fn cases() -> Vec<Case> {
    [hashes(), field_expiry(), field_values(), field_facts(), lists(), moves(), sets(), streams()].concat()
}

fn hashes() -> Vec<Case> {
    vec![
        case(HSetNx::new("h", "f", 1), "HSETNX h f 1", &[1], "HSET h f 2", "false"),
        case(HKeys::<String>::new("h"), "HKEYS h", &[1], "HSET h f 2", "[\"f\"]"),
        case(HVals::<u64>::new("h"), "HVALS h", &[1], "HSET h f 2", "[2]"),
        case(HStrLen::new("h", "f"), "HSTRLEN h f", &[1], "HSET h f abc", "3"),
        case(HIncrByFloat::new("h", "f", 0.5), "HINCRBYFLOAT h f 0.5", &[1], "HSET h f 1", "1.5"),
        case(HRandField::<String>::new("h"), "HRANDFIELD h", &[1], "HSET h f 1", "Some(\"f\")"),
        case(HRandField::<String>::new("h").count(3), "HRANDFIELD h 3", &[1], "HSET h f 1", "[\"f\"]"),
        case(
            HRandField::<String>::new("h").count_repeated(2).with_values::<u64>(),
            "HRANDFIELD h -2 WITHVALUES",
            &[1],
            "HSET h f 1",
            "[(\"f\", 1), (\"f\", 1)]",
        ),
    ]
}

const ONE: &str = "HSET h f 1";

fn field_expiry() -> Vec<Case> {
    vec![
        case(
            HExpire::new("h", Duration::from_millis(1500), ["f", "g"]).if_no_expiry(),
            "HEXPIRE h 2 NX FIELDS 2 f g",
            &[1],
            ONE,
            "[Set, Missing]",
        ),
        case(HPExpire::new("h", secs(1), "f").if_later(), "HPEXPIRE h 1000 GT FIELDS 1 f", &[1], ONE, "[NotMet]"),
        case(
            HExpireAt::new("h", SystemTime::UNIX_EPOCH + secs(9), "f"),
            "HEXPIREAT h 9 FIELDS 1 f",
            &[1],
            ONE,
            "[Deleted]",
        ),
        case(
            HPExpireAt::new("h", later(), "f").if_sooner(),
            "HPEXPIREAT h 4102444800000 LT FIELDS 1 f",
            &[1],
            ONE,
            "[Set]",
        ),
    ]
}

fn field_values() -> Vec<Case> {
    vec![
        case(
            HGetEx::<Vec<Option<u64>>>::new("h", ["f", "g"]).expire(secs(5)),
            "HGETEX h PX 5000 FIELDS 2 f g",
            &[1],
            ONE,
            "[Some(1), None]",
        ),
        case(HGetEx::<(u64,)>::new("h", "f").persist(), "HGETEX h PERSIST FIELDS 1 f", &[1], ONE, "(1,)"),
        case(HGetDel::<(u64, Option<u64>)>::new("h", ["f", "g"]), "HGETDEL h FIELDS 2 f g", &[1], ONE, "(1, None)"),
        case(
            HSetEx::new("h").field("f", true).field("g", 2).expire_at(later()),
            "HSETEX h PXAT 4102444800000 FIELDS 2 f true g 2",
            &[1],
            "DEL h",
            "true",
        ),
        case(
            HSetEx::new("h").field("f", 1).if_absent().expire(secs(5)),
            "HSETEX h FNX PX 5000 FIELDS 1 f 1",
            &[1],
            ONE,
            "false",
        ),
        case(
            HSetEx::new("h").field("f", 1).if_present().keep_ttl(),
            "HSETEX h FXX KEEPTTL FIELDS 1 f 1",
            &[1],
            ONE,
            "true",
        ),
    ]
}

fn field_facts() -> Vec<Case> {
    vec![
        case(HTtl::new("h", ["f", "g"]), "HTTL h FIELDS 2 f g", &[1], ONE, "[NoExpiry, NoKey]"),
        case(HPTtl::new("h", "f"), "HPTTL h FIELDS 1 f", &[1], ONE, "[NoExpiry]"),
        case(
            HExpireTime::new("h", "f"),
            "HEXPIRETIME h FIELDS 1 f",
            &[1],
            "HSET h f 1;HEXPIREAT h 4102444800 FIELDS 1 f",
            "[At(SystemTime { tv_sec: 4102444800, tv_nsec: 0 })]",
        ),
        case(HPExpireTime::new("h", "f"), "HPEXPIRETIME h FIELDS 1 f", &[1], ONE, "[Never]"),
        case(HPersist::new("h", ["f", "g"]), "HPERSIST h FIELDS 2 f g", &[1], ONE, "[NoExpiry, Missing]"),
    ]
}

fn lists() -> Vec<Case> {
    vec![
        case(LIndex::<String>::new("l", -1), "LINDEX l -1", &[1], "RPUSH l a b", "Some(\"b\")"),
        case(LSet::new("l", 0, "c"), "LSET l 0 c", &[1], "RPUSH l a b", "()"),
        case(LInsert::before("l", "b", "x"), "LINSERT l BEFORE b x", &[1], "RPUSH l a b", "Some(3)"),
        case(LInsert::after("l", "z", "x"), "LINSERT l AFTER z x", &[1], "RPUSH l a b", "None"),
        case(LRem::new("l", "a"), "LREM l 0 a", &[1], "RPUSH l a b a", "2"),
        case(LRem::first("l", 1, "a"), "LREM l 1 a", &[1], "RPUSH l a b a", "1"),
        case(LRem::last("l", 1, "a"), "LREM l -1 a", &[1], "RPUSH l a b a", "1"),
        case(LTrim::new("l", 1, -1), "LTRIM l 1 -1", &[1], "RPUSH l a b", "()"),
        case(LPushX::new("l", ["x"]), "LPUSHX l x", &[1], "DEL l", "0"),
        case(RPushX::new("l", "x"), "RPUSHX l x", &[1], "RPUSH l a", "2"),
        case(LPos::new("l", "b"), "LPOS l b", &[1], "RPUSH l a b", "Some(1)"),
        case(
            LPos::new("l", "b").rank(-1).max_len(9).count(0),
            "LPOS l b RANK -1 MAXLEN 9 COUNT 0",
            &[1],
            "RPUSH l b a b",
            "[2, 0]",
        ),
    ]
}

fn moves() -> Vec<Case> {
    let several = || LMoveM::<String>::new("a", "b", ListEnd::Left, ListEnd::Right);
    vec![
        case(
            LMove::<String>::new("a", "b", ListEnd::Left, ListEnd::Right),
            "LMOVE a b LEFT RIGHT",
            &[1, 2],
            "RPUSH a x",
            "Some(\"x\")",
        ),
        case(
            LMPop::<String>::new(["l", "m"], ListEnd::Right).count(2),
            "LMPOP 2 l m RIGHT COUNT 2",
            &[2, 3],
            "RPUSH m a b c",
            "Some(Popped { key: [109], value: [\"c\", \"b\"] })",
        ),
        case(LMPop::<String>::new("l", ListEnd::Left), "LMPOP 1 l LEFT", &[2], "DEL l", "None"),
        documented(
            several().exactly(2),
            "LMOVEM a b LEFT RIGHT EXACTLY 2 BULK",
            &[1, 2],
            "*2\r\n$1\r\nx\r\n$1\r\ny\r\n",
            "[\"x\", \"y\"]",
        ),
        documented(several().count(2), "LMOVEM a b LEFT RIGHT COUNT 2 OBO", &[1, 2], "*0\r\n", "[]"),
        documented(several().count_in_order(2), "LMOVEM a b LEFT RIGHT COUNT 2 BULK", &[1, 2], "*-1\r\n", "[]"),
    ]
}

fn sets() -> Vec<Case> {
    const TWO: &str = "SADD s a b;SADD t b";
    vec![
        case(SMIsMember::new("s", ["a", "z"]), "SMISMEMBER s a z", &[1], TWO, "[true, false]"),
        case(SRandMember::<String>::new("t"), "SRANDMEMBER t", &[1], TWO, "Some(\"b\")"),
        case(SRandMember::<String>::new("t").count(2), "SRANDMEMBER t 2", &[1], TWO, "[\"b\"]"),
        case(SRandMember::<String>::new("t").count_repeated(2), "SRANDMEMBER t -2", &[1], TWO, "[\"b\", \"b\"]"),
        case(SPop::<String>::new("t"), "SPOP t", &[1], TWO, "Some(\"b\")"),
        case(SPop::<String>::new("t").count(2), "SPOP t 2", &[1], TWO, "[\"b\"]"),
        case(SMove::new("s", "t", "a"), "SMOVE s t a", &[1, 2], TWO, "true"),
        case(SDiff::<String>::new(["s", "t"]), "SDIFF s t", &[1, 2], TWO, "[\"a\"]"),
        case(SInter::<String>::new(["s", "t"]), "SINTER s t", &[1, 2], TWO, "[\"b\"]"),
        case(SUnion::<String>::new("t"), "SUNION t", &[1], TWO, "[\"b\"]"),
        case(SDiffStore::new("d", ["s", "t"]), "SDIFFSTORE d s t", &[1, 2, 3], TWO, "1"),
        case(SInterStore::new("d", ["s", "t"]), "SINTERSTORE d s t", &[1, 2, 3], TWO, "1"),
        case(SUnionStore::new("d", "s"), "SUNIONSTORE d s", &[1, 2], TWO, "2"),
        case(SInterCard::new(["s", "t"]).limit(1), "SINTERCARD 2 s t LIMIT 1", &[2, 3], TWO, "1"),
        documented(
            SUnionCard::new(["s", "t"]).approx().limit(9),
            "SUNIONCARD 2 s t APPROX LIMIT 9",
            &[2, 3],
            ":3\r\n",
            "3",
        ),
        documented(SDiffCard::new(["s", "t"]).limit(9), "SDIFFCARD 2 s t LIMIT 9", &[2, 3], ":3\r\n", "3"),
    ]
}

fn streams() -> Vec<Case> {
    vec![
        case(
            XDelEx::new("x", References::Delete, [id(1), id(9)]),
            "XDELEX x DELREF IDS 2 1-0 9-0",
            &[1],
            "XADD x 1-0 f v",
            "[Deleted, Missing]",
        ),
        case(
            XAckDel::new("x", "g", References::Acknowledged, [id(1)]),
            "XACKDEL x g ACKED IDS 1 1-0",
            &[1],
            "XADD x 1-0 f v;XGROUP CREATE x g 0",
            "[Missing]",
        ),
        documented(
            XDelEx::new("x", References::Keep, [id(1)]),
            "XDELEX x KEEPREF IDS 1 1-0",
            &[1],
            "*1\r\n:2\r\n",
            "[Referenced]",
        ),
        documented(
            XNack::new("x", "g", Nack::Fail, [id(1)]).retry_count(2).force(),
            "XNACK x g FAIL IDS 1 1-0 RETRYCOUNT 2 FORCE",
            &[1],
            ":1\r\n",
            "1",
        ),
        case(XSetId::new("x", id(9)), "XSETID x 9-0", &[1], "XADD x 1-0 f v", "()"),
        case(
            XSetId::new("x", id(9)).counters(5, id(3)),
            "XSETID x 9-0 ENTRIESADDED 5 MAXDELETEDID 3-0",
            &[1],
            "XADD x 1-0 f v",
            "()",
        ),
        documented(
            XCfgSet::new("x").idmp_duration(secs(60)).idmp_max_size(100),
            "XCFGSET x IDMP-DURATION 60 IDMP-MAXSIZE 100",
            &[1],
            "+OK\r\n",
            "()",
        ),
    ]
}
