//! Every message with all its options, and the exact command that it sends.

pub(crate) mod cases;

use std::time::{Duration, SystemTime};

use super::scan::{Keys, Page};
use super::*;
use crate::*;

/// One row of the table: the frame, its words, which of them are keys, and whether it is repeatable.
type Row = (Frame, &'static str, &'static [usize], bool);

const READ: bool = true;
const WRITE: bool = false;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(seconds)
}

fn id(ms: u64) -> StreamId {
    StreamId::new(ms, 0)
}

/// The arguments that take the prefix; the name has index 0.
pub(crate) fn indices(frame: &Frame) -> Vec<usize> {
    frame.marked().marks.iter().map(|mark| mark.index).collect()
}

fn strings() -> Vec<Row> {
    vec![
        (Get::<String>::new("k").frame(), "GET k", &[1], READ),
        (GetDel::<String>::new("k").frame(), "GETDEL k", &[1], WRITE),
        (Set::new("k", 1.5).frame(), "SET k 1.5", &[1], WRITE),
        (Set::new("k", "v").expire(secs(1)).if_absent().frame(), "SET k v PX 1000 NX", &[1], WRITE),
        (Set::new("k", "v").expire(Duration::ZERO).frame(), "SET k v PX 1", &[1], WRITE),
        (
            Set::new("k", "v").expire_at(at(5)).if_present().get::<String>().frame(),
            "SET k v PXAT 5000 XX GET",
            &[1],
            WRITE,
        ),
        (Set::new("k", "v").keep_ttl().frame(), "SET k v KEEPTTL", &[1], WRITE),
        (Incr::new("k").frame(), "INCR k", &[1], WRITE),
        (IncrBy::new("k", -2).frame(), "INCRBY k -2", &[1], WRITE),
        (Decr::new("k").frame(), "DECR k", &[1], WRITE),
        (DecrBy::new("k", 2).frame(), "DECRBY k 2", &[1], WRITE),
        (Append::new("k", "v").frame(), "APPEND k v", &[1], WRITE),
        (StrLen::new("k").frame(), "STRLEN k", &[1], READ),
        (MGet::<String>::new(["a", "b"]).frame(), "MGET a b", &[1, 2], READ),
        (MSet::new([("a", 1), ("b", 2)]).frame(), "MSET a 1 b 2", &[1, 3], WRITE),
    ]
}

fn keys() -> Vec<Row> {
    vec![
        (Del::new(["a", "b"]).frame(), "DEL a b", &[1, 2], WRITE),
        (Del::key("a").frame(), "DEL a", &[1], WRITE),
        (Unlink::new(vec![b"a".to_vec()]).frame(), "UNLINK a", &[1], WRITE),
        (Unlink::key("a").frame(), "UNLINK a", &[1], WRITE),
        (Exists::new(["a", "a"]).frame(), "EXISTS a a", &[1, 2], READ),
        (Exists::key("a").frame(), "EXISTS a", &[1], READ),
        (Expire::new("k", Duration::from_millis(1500)).if_later().frame(), "EXPIRE k 2 GT", &[1], WRITE),
        (Expire::new("k", Duration::ZERO).if_sooner().frame(), "EXPIRE k 1 LT", &[1], WRITE),
        (PExpire::new("k", Duration::from_millis(1500)).if_no_expiry().frame(), "PEXPIRE k 1500 NX", &[1], WRITE),
        (PExpire::new("k", secs(1)).if_expiry().frame(), "PEXPIRE k 1000 XX", &[1], WRITE),
        (Persist::new("k").frame(), "PERSIST k", &[1], WRITE),
        (Ttl::new("k").frame(), "TTL k", &[1], READ),
        (PTtl::new("k").frame(), "PTTL k", &[1], READ),
        (Type::new("k").frame(), "TYPE k", &[1], READ),
        (Rename::new("a", "b").frame(), "RENAME a b", &[1, 2], WRITE),
        (crate::Copy::new("a", "b").replace().frame(), "COPY a b REPLACE", &[1, 2], WRITE),
        // A pattern, not a key: the server reports no key for it.
        (
            Page::of_keys(7, "u*").count(0).of_type(&KeyType::Hash).frame(),
            "SCAN 7 MATCH u* COUNT 1 TYPE hash",
            &[3],
            READ,
        ),
        (Page::of_members("HSCAN", b"h", 7, Some(b"u*")).count(5).frame(), "HSCAN h 7 MATCH u* COUNT 5", &[1], READ),
        (Page::of_members("SSCAN", b"s", 0, None).frame(), "SSCAN s 0", &[1], READ),
        (Page::of_members("ZSCAN", b"z", 0, None).frame(), "ZSCAN z 0", &[1], READ),
        (Keys::new("u*").frame(), "KEYS u*", &[1], READ),
    ]
}

fn collections() -> Vec<Row> {
    vec![
        (HSet::new("h").field("a", 1).fields([("b", "2")]).frame(), "HSET h a 1 b 2", &[1], WRITE),
        (HGet::<u8>::new("h", "f").frame(), "HGET h f", &[1], READ),
        (HGetAll::<Value>::new("h").frame(), "HGETALL h", &[1], READ),
        (HMGet::<(u8, u8)>::new("h", ["f", "g"]).frame(), "HMGET h f g", &[1], READ),
        (HDel::new("h", [1, 2]).frame(), "HDEL h 1 2", &[1], WRITE),
        (HIncrBy::new("h", "f", -1).frame(), "HINCRBY h f -1", &[1], WRITE),
        (HExists::new("h", "f").frame(), "HEXISTS h f", &[1], READ),
        (HLen::new("h").frame(), "HLEN h", &[1], READ),
        (LPush::new("l", ["a", "b"]).frame(), "LPUSH l a b", &[1], WRITE),
        (LPush::new("l", b"payload").frame(), "LPUSH l payload", &[1], WRITE),
        (RPush::new("l", [b"ab"]).frame(), "RPUSH l ab", &[1], WRITE),
        (LPop::<String>::new("l").frame(), "LPOP l", &[1], WRITE),
        (LPop::<String>::new("l").count(2).frame(), "LPOP l 2", &[1], WRITE),
        (RPop::<String>::new("l").frame(), "RPOP l", &[1], WRITE),
        (RPop::<String>::new("l").count(2).frame(), "RPOP l 2", &[1], WRITE),
        (LRange::<String>::new("l", 0, -1).frame(), "LRANGE l 0 -1", &[1], READ),
        (LLen::new("l").frame(), "LLEN l", &[1], READ),
        (SAdd::new("s", ["a", "b"]).frame(), "SADD s a b", &[1], WRITE),
        (SAdd::new("s", b"ab".to_vec()).frame(), "SADD s ab", &[1], WRITE),
        (SRem::new("s", vec!["a"]).frame(), "SREM s a", &[1], WRITE),
        (SMembers::<String>::new("s").frame(), "SMEMBERS s", &[1], READ),
        (SIsMember::new("s", "a").frame(), "SISMEMBER s a", &[1], READ),
        (SCard::new("s").frame(), "SCARD s", &[1], READ),
    ]
}

fn sorted_sets() -> Vec<Row> {
    let z = ZRange::<String>::new("z", 0, -1);
    vec![
        (ZAdd::new("z", [(1, "a"), (2, "b")]).if_absent().frame(), "ZADD z NX 1 a 2 b", &[1], WRITE),
        (
            ZAdd::new("z", [(1.5, "a")]).if_present().if_greater().changed().frame(),
            "ZADD z XX GT CH 1.5 a",
            &[1],
            WRITE,
        ),
        (ZAdd::new("z", [(f64::INFINITY, "a")]).if_less().incr().frame(), "ZADD z LT INCR inf a", &[1], WRITE),
        (z.clone().frame(), "ZRANGE z 0 -1", &[1], READ),
        (z.rev().with_scores().frame(), "ZRANGE z 0 -1 REV WITHSCORES", &[1], READ),
        (ZRange::<u8>::by_score("z", ..).frame(), "ZRANGE z -inf +inf BYSCORE", &[1], READ),
        (
            ZRange::<u8>::by_score("z", 1.0..5e300).rev().limit(1, 2).with_scores().frame(),
            "ZRANGE z (5e300 1.0 BYSCORE REV LIMIT 1 2 WITHSCORES",
            &[1],
            READ,
        ),
        (ZRange::<u8>::by_lex("z", "a".."c").limit(0, 9).frame(), "ZRANGE z [a (c BYLEX LIMIT 0 9", &[1], READ),
        (ZRange::<u8>::by_lex("z", "a"..).rev().frame(), "ZRANGE z + [a BYLEX REV", &[1], READ),
        (ZRem::new("z", ["a", "b"]).frame(), "ZREM z a b", &[1], WRITE),
        (ZScore::new("z", "a").frame(), "ZSCORE z a", &[1], READ),
        (ZCard::new("z").frame(), "ZCARD z", &[1], READ),
        (ZIncrBy::new("z", 2_u64, "a").frame(), "ZINCRBY z 2 a", &[1], WRITE),
    ]
}

fn streams() -> Vec<Row> {
    let after = (std::ops::Bound::Excluded(id(1)), std::ops::Bound::Unbounded);
    vec![
        (XAdd::new("x").field("f", 1).frame(), "XADD x * f 1", &[1], WRITE),
        (
            XAdd::new("x").fields([("f", 1)]).id(id(5)).nomkstream().max_len_approx(9).limit(3).frame(),
            "XADD x NOMKSTREAM MAXLEN ~ 9 LIMIT 3 5-0 f 1",
            &[1],
            WRITE,
        ),
        (XAdd::new("x").id_within(9).max_len(7).field("f", 1).frame(), "XADD x MAXLEN 7 9-* f 1", &[1], WRITE),
        (XAdd::new("x").min_id(id(3)).field("f", 1).frame(), "XADD x MINID 3-0 * f 1", &[1], WRITE),
        (XAdd::new("x").min_id_approx(id(3)).field("f", 1).frame(), "XADD x MINID ~ 3-0 * f 1", &[1], WRITE),
        (XTrim::max_len("x", 9).frame(), "XTRIM x MAXLEN 9", &[1], WRITE),
        (XTrim::max_len_approx("x", 9).limit(2).frame(), "XTRIM x MAXLEN ~ 9 LIMIT 2", &[1], WRITE),
        (XTrim::min_id("x", id(3)).frame(), "XTRIM x MINID 3-0", &[1], WRITE),
        (XTrim::min_id_approx("x", id(3)).frame(), "XTRIM x MINID ~ 3-0", &[1], WRITE),
        (XLen::new("x").frame(), "XLEN x", &[1], READ),
        (XRange::new("x", ..).count(5).frame(), "XRANGE x - + COUNT 5", &[1], READ),
        (XRange::new("x", after).frame(), "XRANGE x (1-0 +", &[1], READ),
        (XRevRange::new("x", id(1)..=id(2)).count(5).frame(), "XREVRANGE x 2-0 1-0 COUNT 5", &[1], READ),
        (XDel::new("x", [id(1), id(2)]).frame(), "XDEL x 1-0 2-0", &[1], WRITE),
        (XRead::new([("x", id(1)), ("y", id(2))]).count(5).frame(), "XREAD COUNT 5 STREAMS x y 1-0 2-0", &[4, 5], READ),
        (XRead::new([("x", id(1))]).block(secs(2)).frame(), "XREAD BLOCK 2000 STREAMS x 1-0", &[4], READ),
    ]
}

fn groups() -> Vec<Row> {
    vec![
        (XGroupCreate::new("x", "g").frame(), "XGROUP CREATE x g 0-0", &[2], WRITE),
        (
            XGroupCreate::new("x", "g").mkstream().entries_read(3).start_after(id(1)).frame(),
            "XGROUP CREATE x g 1-0 MKSTREAM ENTRIESREAD 3",
            &[2],
            WRITE,
        ),
        (XGroupCreate::new("x", "g").start_at_end().frame(), "XGROUP CREATE x g $", &[2], WRITE),
        (XGroupSetId::new("x", "g", id(1)).entries_read(3).frame(), "XGROUP SETID x g 1-0 ENTRIESREAD 3", &[2], WRITE),
        (XGroupSetId::end("x", "g").frame(), "XGROUP SETID x g $", &[2], WRITE),
        (XGroupDestroy::new("x", "g").frame(), "XGROUP DESTROY x g", &[2], WRITE),
        (XGroupCreateConsumer::new("x", "g", "c").frame(), "XGROUP CREATECONSUMER x g c", &[2], WRITE),
        (XGroupDelConsumer::new("x", "g", "c").frame(), "XGROUP DELCONSUMER x g c", &[2], WRITE),
        (
            XReadGroup::new("STREAMS", "c", ["x", "y"]).count(5).no_ack().block(secs(2)).frame(),
            "XREADGROUP GROUP STREAMS c COUNT 5 NOACK BLOCK 2000 STREAMS x y > >",
            &[10, 11],
            WRITE,
        ),
        (XReadGroup::history("g", "c", [("x", id(1))]).frame(), "XREADGROUP GROUP g c STREAMS x 1-0", &[5], WRITE),
        (XAck::new("x", "g", [id(1), id(2)].iter()).frame(), "XACK x g 1-0 2-0", &[1], WRITE),
        (XInfoStream::new("x").frame(), "XINFO STREAM x", &[2], READ),
        (XInfoGroups::new("x").frame(), "XINFO GROUPS x", &[2], READ),
        (XInfoConsumers::new("x", "g").frame(), "XINFO CONSUMERS x g", &[2], READ),
        (XPending::new("x", "g").frame(), "XPENDING x g", &[1], READ),
        (XPendingEntries::new("x", "g", .., 5).frame(), "XPENDING x g - + 5", &[1], READ),
        (
            XPendingEntries::new("x", "g", id(1).., 5).consumer("c").min_idle(secs(1)).frame(),
            "XPENDING x g IDLE 1000 1-0 + 5 c",
            &[1],
            READ,
        ),
        (
            XClaim::new("x", "g", "c", secs(1), [id(1)]).idle(secs(2)).retry_count(3).force().frame(),
            "XCLAIM x g c 1000 1-0 IDLE 2000 RETRYCOUNT 3 FORCE",
            &[1],
            WRITE,
        ),
        (
            XClaim::new("x", "g", "c", Duration::ZERO, [id(1)]).time(at(5)).just_id().frame(),
            "XCLAIM x g c 0 1-0 TIME 5000 JUSTID",
            &[1],
            WRITE,
        ),
        (
            XAutoClaim::new("x", "g", "c", secs(1), StreamId::MIN).count(9).frame(),
            "XAUTOCLAIM x g c 1000 0-0 COUNT 9",
            &[1],
            WRITE,
        ),
        (
            XAutoClaim::new("x", "g", "c", secs(1), id(4)).just_id().frame(),
            "XAUTOCLAIM x g c 1000 4-0 JUSTID",
            &[1],
            WRITE,
        ),
    ]
}

fn blocking() -> Vec<Row> {
    let ms = Duration::from_millis;
    vec![
        (BLPop::new(["a", "b"], secs(5)).frame(), "BLPOP a b 5", &[1, 2], WRITE),
        (BLPop::new(["a"], Duration::ZERO).typed::<String>().frame(), "BLPOP a 0.001", &[1], WRITE),
        (BLPop::new(["a"], Duration::MAX).frame(), "BLPOP a 4294967.295", &[1], WRITE),
        (BRPop::new(["a"], ms(1250)).frame(), "BRPOP a 1.250", &[1], WRITE),
        (
            BLMove::new("a", "b", ListEnd::Left, ListEnd::Right, secs(5)).frame(),
            "BLMOVE a b LEFT RIGHT 5",
            &[1, 2],
            WRITE,
        ),
        (
            BLMPop::new(["a", "b"], ListEnd::Right, secs(5)).count(0).frame(),
            "BLMPOP 5 2 a b RIGHT COUNT 1",
            &[3, 4],
            WRITE,
        ),
        (BZPopMin::new(["z"], secs(5)).frame(), "BZPOPMIN z 5", &[1], WRITE),
        (BZPopMax::new(["y", "z"], secs(5)).frame(), "BZPOPMAX y z 5", &[1, 2], WRITE),
        (BZMPop::new(["z"], ScoreEnd::Max, secs(5)).count(3).frame(), "BZMPOP 5 1 z MAX COUNT 3", &[3], WRITE),
        (Wait::new(1, ms(100)).frame(), "WAIT 1 100", &[], WRITE),
        (WaitAof::new(true, 2, Duration::ZERO).frame(), "WAITAOF 1 2 1", &[], WRITE),
    ]
}

fn others() -> Vec<Row> {
    vec![
        // A channel, not a key: the server reports no key for it.
        (Publish::new("news", "hi").frame(), "PUBLISH news hi", &[1], WRITE),
        (SPublish::new("orders", "hi").frame(), "SPUBLISH orders hi", &[1], WRITE),
        (Ping::new().frame(), "PING", &[], READ),
        (Raw::<Value>::new("OBJECT ENCODING").key("k").read_only().frame(), "OBJECT ENCODING k", &[2], READ),
        (
            Raw::<i64>::new("SINTERCARD").arg(2).keys(["a", "b"]).arg(("LIMIT", 1)).idempotent().frame(),
            "SINTERCARD 2 a b LIMIT 1",
            &[2, 3],
            READ,
        ),
    ]
}

fn table() -> Vec<Row> {
    [strings(), keys(), collections(), sorted_sets(), streams(), groups(), blocking(), others()].concat()
}

/// Every message with all its options, for comparison with a server. `COMMAND GETKEYS` agrees with [`indices`] except
/// for SCAN, KEYS, PUBLISH, SPUBLISH, WAIT, WAITAOF and PING, which have no keys for the server.
pub(crate) fn every_message() -> Vec<Frame> {
    table().into_iter().map(|(frame, ..)| frame).collect()
}

#[test]
fn every_message_sends_its_exact_words_and_marks_its_keys() {
    for (frame, words, keys, read) in table() {
        let sent: Vec<_> = frame.args().map(String::from_utf8_lossy).collect();
        assert_eq!(sent.join(" "), words);
        assert_eq!(indices(&frame), keys, "{words}");
        assert_eq!(frame.is_repeatable(), read, "{words}");
        assert!(frame.check().is_ok(), "{words}");
    }
    assert_eq!(every_message().len(), table().len());
}

/// The test servers do not support the option, and would parse it as fields.
#[test]
fn an_idempotent_append_is_repeatable() {
    let frame = XAdd::new("x").idempotency("p", "i").nomkstream().max_len(7).field("f", 1).frame();
    let sent: Vec<_> = frame.args().map(String::from_utf8_lossy).collect();
    assert_eq!(sent.join(" "), "XADD x NOMKSTREAM IDMP p i MAXLEN 7 * f 1");
    assert!(frame.is_repeatable());
}

#[test]
fn raw_marks_patterns_and_channels() {
    let frame = Raw::<Value>::new("PUBSUB CHANNELS").pattern("a*").channel("c").reply_keys(ReplyKeys::Each).frame();
    assert_eq!(indices(&frame), [2, 3]);
    assert_eq!(frame.keys_in_reply(), ReplyKeys::Each);
    assert_eq!(frame.name(), "PUBSUB CHANNELS");
}

#[test]
fn a_blocking_message_declares_its_maximum_wait() {
    let frame = XReadGroup::new("g", "c", ["x"]).block(secs(2)).frame();
    assert_eq!(frame.longest_hold(), secs(2));
    assert_eq!(frame.keys_in_reply(), ReplyKeys::Streams);
    assert_eq!(XRead::new([("x", id(1))]).block(secs(3)).frame().longest_hold(), secs(3));
    let shortest = XRead::new([("x", id(1))]).block(Duration::ZERO).frame();
    assert!(shortest.waits() && shortest.longest_hold() == Duration::from_millis(1), "0 is without end");
    assert!(blocking().iter().all(|(frame, ..)| frame.waits() && frame.longest_wait() == frame.longest_hold()));
    let keys: Vec<_> = blocking().iter().map(|(frame, ..)| (frame.name(), frame.keys_in_reply())).collect();
    for (name, keys) in keys {
        assert_eq!(keys == ReplyKeys::First, name.ends_with("POP") || name.contains("ZPOP"), "{name}");
    }
}

#[test]
fn invalid_arguments_fail_with_a_helpful_error() {
    let none: [&str; 0] = [];
    let no_ids: [StreamId; 0] = [];
    let rows = [
        (Del::new(none).frame(), "DEL: needs at least one key"),
        (MGet::<u8>::new(none).frame(), "MGET: needs at least one key"),
        (MSet::new([("a", 1); 0]).frame(), "MSET: needs at least one key with its value"),
        (HSet::new("h").frame(), "HSET: needs at least one field"),
        (HMGet::<Value>::new("h", none).frame(), "HMGET: needs at least one field"),
        (LPush::new("l", none).frame(), "LPUSH: needs at least one value"),
        (BLPop::new(none, secs(1)).frame(), "BLPOP: needs at least one key"),
        (BZMPop::new(none, ScoreEnd::Min, secs(1)).frame(), "BZMPOP: needs at least one key"),
        (SAdd::new("s", none).frame(), "SADD: needs at least one member"),
        (ZAdd::new("z", [(1.0, "a"); 0]).frame(), "ZADD: needs at least one member"),
        (ZAdd::new("z", [(1.0, "a"); 2]).incr().frame(), "ZADD: incr() requires exactly one member"),
        (
            ZRange::<u8>::new("z", 0, 1).limit(0, 1).frame(),
            "ZRANGE: limit() requires by_score() or by_lex(); change the positions instead",
        ),
        (
            ZRange::<u8>::by_lex("z", "a"..).with_scores().frame(),
            "ZRANGE: with_scores() is not possible with by_lex(): remove one of the two",
        ),
        (XAdd::new("x").frame(), "XADD: needs at least one field"),
        (
            XAdd::new("x").field("f", 1).max_len(5).limit(1).frame(),
            "XADD: limit() requires approximate trimming, such as max_len_approx()",
        ),
        (XDel::new("x", no_ids).frame(), "XDEL: needs at least one id"),
        (XRead::new(Vec::<(&str, StreamId)>::new()).frame(), "XREAD: needs at least one stream"),
        (XReadGroup::new("g", "c", none).frame(), "XREADGROUP: needs at least one stream"),
        (Raw::<Value>::new("").frame(), ": a command needs a name"),
    ];
    for (frame, words) in rows {
        let error = frame.check().expect_err(words);
        assert_eq!(error.to_string(), words);
        assert_eq!((error.kind(), error.fate()), (ErrorKind::InvalidCommand, Fate::NotSent));
    }
}

#[test]
fn keys_values_and_fields_may_contain_any_byte() {
    let bytes: Vec<u8> = (0..=255).collect();
    let frame = XAdd::new(&bytes).field(&bytes, &bytes).max_len(1).frame();
    assert_eq!(frame.args().filter(|word| *word == bytes).count(), 3);
    assert_eq!(indices(&frame), [1]);
}
