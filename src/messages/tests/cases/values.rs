//! Strings, bits, keys, HyperLogLogs, scripts.

use std::time::{Duration, SystemTime};

use super::{Case, case, documented};
use crate::commands::bitmaps::{
    BitCount, BitField, BitFieldRo, BitOffset, BitOp, BitOverflow, BitPos, BitType, GetBit, SetBit,
};
use crate::commands::hyperloglog::{PfAdd, PfCount, PfMerge};
use crate::commands::keys::*;
use crate::commands::pubsub::{PubSubChannels, PubSubNumSub, PubSubShardChannels, PubSubShardNumSub};
use crate::commands::scripting::{FCall, ScriptExists, ScriptLoad};
use crate::commands::strings::*;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// In the year 2100.
fn later() -> SystemTime {
    SystemTime::UNIX_EPOCH + secs(4_102_444_800)
}

pub(super) fn cases() -> Vec<Case> {
    [bits(), strings(), conditions(), newer_strings(), expiry(), objects(), sorting(), others()].concat()
}

fn bits() -> Vec<Case> {
    let u8s = BitType::Unsigned(8);
    vec![
        case(GetBit::new("k", 7), "GETBIT k 7", &[1], "SET k a", "true"),
        case(SetBit::new("k", 1, false), "SETBIT k 1 0", &[1], "SET k a", "true"),
        case(BitCount::new("k"), "BITCOUNT k", &[1], "SET k foobar", "26"),
        case(BitCount::new("k").range(1, -1), "BITCOUNT k 1 -1", &[1], "SET k foobar", "22"),
        case(BitCount::new("k").bit_range(5, 30), "BITCOUNT k 5 30 BIT", &[1], "SET k foobar", "17"),
        case(BitPos::new("k", true), "BITPOS k 1", &[1], "SET k foobar", "Some(1)"),
        case(BitPos::new("k", true), "BITPOS k 1", &[1], "DEL k", "None"),
        case(BitPos::new("k", false).from(1), "BITPOS k 0 1", &[1], "SET k foobar", "Some(8)"),
        case(BitPos::new("k", false).range(1, 2), "BITPOS k 0 1 2", &[1], "SET k foobar", "Some(8)"),
        case(BitPos::new("k", true).bit_range(3, 9), "BITPOS k 1 3 9 BIT", &[1], "SET k foobar", "Some(5)"),
        case(BitOp::and("d", ["a", "b"]), "BITOP AND d a b", &[2, 3, 4], "SET a abc", "3"),
        case(BitOp::or("d", "a"), "BITOP OR d a", &[2, 3], "SET a abc", "3"),
        case(BitOp::xor("d", ["a", "b"]), "BITOP XOR d a b", &[2, 3, 4], "SET a abc", "3"),
        case(BitOp::not("d", "a"), "BITOP NOT d a", &[2, 3], "SET a abc", "3"),
        case(BitOp::diff("d", "a", ["b", "c"]), "BITOP DIFF d a b c", &[2, 3, 4, 5], "SET a abc", "3"),
        case(BitOp::diff1("d", "a", "b"), "BITOP DIFF1 d a b", &[2, 3, 4], "SET a abc", "3"),
        case(BitOp::and_or("d", "a", "b"), "BITOP ANDOR d a b", &[2, 3, 4], "SET a abc", "3"),
        case(BitOp::one("d", ["a", "b"]), "BITOP ONE d a b", &[2, 3, 4], "SET a abc", "3"),
        case(
            BitField::new("k")
                .set(u8s, 0, 255)
                .overflow(BitOverflow::Fail)
                .incr_by(u8s, BitOffset::Index(0), 1)
                .get(BitType::Signed(8), 0),
            "BITFIELD k SET u8 0 255 OVERFLOW FAIL INCRBY u8 #0 1 GET i8 0",
            &[1],
            "DEL k",
            "[Some(0), None, Some(-1)]",
        ),
        case(BitFieldRo::new("k").get(u8s, 0), "BITFIELD_RO k GET u8 0", &[1], "SET k a", "[97]"),
    ]
}

fn strings() -> Vec<Case> {
    vec![
        case(GetRange::<String>::new("k", 1, -2), "GETRANGE k 1 -2", &[1], "SET k hello", "\"ell\""),
        case(SetRange::new("k", 6, "redis"), "SETRANGE k 6 redis", &[1], "SET k hello", "11"),
        case(Lcs::<String>::new("a", "b"), "LCS a b", &[1, 2], "MSET a ohmytext b mynewtext", "\"mytext\""),
        case(LcsLen::new("a", "b"), "LCS a b LEN", &[1, 2], "MSET a ohmytext b mynewtext", "6"),
        case(
            LcsMatches::new("a", "b").min_match_len(4),
            "LCS a b IDX MINMATCHLEN 4",
            &[1, 2],
            "MSET a ohmytext b mynewtext",
            "[LcsMatch { first: (4, 7), second: (5, 8) }]",
        ),
        case(IncrByFloat::new("k", 0.5), "INCRBYFLOAT k 0.5", &[1], "SET k 1", "1.5"),
    ]
}

fn conditions() -> Vec<Case> {
    vec![
        case(GetEx::<String>::new("k"), "GETEX k", &[1], "SET k v", "Some(\"v\")"),
        case(GetEx::<String>::new("k").expire(secs(5)), "GETEX k PX 5000", &[1], "SET k v", "Some(\"v\")"),
        case(
            GetEx::<String>::new("k").expire_at(later()),
            "GETEX k PXAT 4102444800000",
            &[1],
            "SET k v",
            "Some(\"v\")",
        ),
        case(GetEx::<String>::new("k").persist(), "GETEX k PERSIST", &[1], "DEL k", "None"),
        case(MSetNx::new([("a", 1), ("b", 2)]), "MSETNX a 1 b 2", &[1, 3], "SET b 1", "false"),
        case(MSetNx::new([("a", 1)]), "MSETNX a 1", &[1], "DEL a", "true"),
        case(Set::new("k", "v").if_absent(), "SET k v NX", &[1], "SET k w", "false"),
        case(Set::new("k", "v").if_eq("w"), "SET k v IFEQ w", &[1], "SET k x", "false"),
    ]
}

fn newer_strings() -> Vec<Case> {
    vec![
        case(
            MSetEx::new([("a", 1), ("b", 2)]).if_absent().expire(secs(5)),
            "MSETEX 2 a 1 b 2 NX PX 5000",
            &[2, 4],
            "SET b 1",
            "false",
        ),
        case(MSetEx::new([("a", 1)]).keep_ttl().if_present(), "MSETEX 1 a 1 KEEPTTL XX", &[2], "SET a 0", "true"),
        case(DelIfEq::new("k", "v"), "DELIFEQ k v", &[1], "SET k v", "true"),
        documented(DelEx::new("k").if_eq("v"), "DELEX k IFEQ v", &[1], ":1\r\n", "true"),
        documented(DelEx::new("k").if_ne("v"), "DELEX k IFNE v", &[1], ":0\r\n", "false"),
        documented(DelEx::new("k").if_digest_eq("b6ac"), "DELEX k IFDEQ b6ac", &[1], ":1\r\n", "true"),
        documented(DelEx::new("k").if_digest_ne("b6ac"), "DELEX k IFDNE b6ac", &[1], ":0\r\n", "false"),
        documented(Digest::new("k"), "DIGEST k", &[1], "$4\r\nb6ac\r\n", "Some(\"b6ac\")"),
        documented(Set::new("k", "v").if_ne("w"), "SET k v IFNE w", &[1], "+OK\r\n", "true"),
        documented(Set::new("k", "v").if_digest_eq("ab"), "SET k v IFDEQ ab", &[1], "+OK\r\n", "true"),
        documented(Set::new("k", "v").if_digest_ne("ab"), "SET k v IFDNE ab", &[1], "$-1\r\n", "false"),
        documented(
            IncrEx::new("k", 5).upper_bound(10).saturate().expire(secs(1)).if_no_expiry(),
            "INCREX k BYINT 5 UBOUND 10 SATURATE PX 1000 ENX",
            &[1],
            "*2\r\n:10\r\n:3\r\n",
            "Increased { value: 10, added: 3 }",
        ),
        documented(
            IncrEx::float("k", 0.5).lower_bound(0.0).persist(),
            "INCREX k BYFLOAT 0.5 LBOUND 0.0 PERSIST",
            &[1],
            "*2\r\n$3\r\n1.5\r\n$3\r\n0.5\r\n",
            "Increased { value: 1.5, added: 0.5 }",
        ),
    ]
}

fn expiry() -> Vec<Case> {
    vec![
        case(ExpireAt::new("k", later()).if_no_expiry(), "EXPIREAT k 4102444800 NX", &[1], "SET k v", "true"),
        case(PExpireAt::new("k", later()), "PEXPIREAT k 4102444800000", &[1], "DEL k", "false"),
        case(ExpireTime::new("k"), "EXPIRETIME k", &[1], "SET k v", "Never"),
        case(
            ExpireTime::new("k"),
            "EXPIRETIME k",
            &[1],
            "SET k v EXAT 4102444800",
            "At(SystemTime { tv_sec: 4102444800, tv_nsec: 0 })",
        ),
        case(PExpireTime::new("k"), "PEXPIRETIME k", &[1], "DEL k", "Missing"),
    ]
}

fn objects() -> Vec<Case> {
    vec![
        case(Touch::new(["a", "b"]), "TOUCH a b", &[1, 2], "SET a 1", "1"),
        case(RenameNx::new("a", "b"), "RENAMENX a b", &[1, 2], "MSET a 1 b 2", "false"),
        case(ObjectEncoding::new("k"), "OBJECT ENCODING k", &[2], "SET k 1", "Some(\"int\")"),
        case(ObjectEncoding::new("k"), "OBJECT ENCODING k", &[2], "DEL k", "None"),
        documented(ObjectFreq::new("k"), "OBJECT FREQ k", &[2], ":5\r\n", "Some(5)"),
        case(ObjectIdleTime::new("k"), "OBJECT IDLETIME k", &[2], "SET k 1", "Some(0ns)"),
        case(ObjectRefCount::new("k"), "OBJECT REFCOUNT k", &[2], "SET k v", "Some(1)"),
        case(MemoryUsage::new("k").samples(0), "MEMORY USAGE k SAMPLES 0", &[2], "DEL k", "None"),
        case(MemoryUsage::new("k"), "MEMORY USAGE k", &[2], "SET k v", ""),
        case(Dump::new("k"), "DUMP k", &[1], "DEL k", "None"),
        case(Dump::new("k"), "DUMP k", &[1], "SET k v", ""),
        documented(Restore::new("k", "dump").replace(), "RESTORE k 0 dump REPLACE", &[1], "+OK\r\n", "()"),
        documented(
            Restore::expiring("k", secs(1), "dump").idle_time(secs(9)),
            "RESTORE k 1000 dump IDLETIME 9",
            &[1],
            "+OK\r\n",
            "()",
        ),
        documented(
            Restore::expiring_at("k", later(), "dump").freq(7),
            "RESTORE k 4102444800000 dump ABSTTL FREQ 7",
            &[1],
            "+OK\r\n",
            "()",
        ),
    ]
}

fn sorting() -> Vec<Case> {
    vec![
        case(
            Sort::<Vec<String>>::new("l").by("w_*").get("n_*->f").get("#").limit(0, 9).desc().alpha(),
            "SORT_RO l BY w_* GET n_*->f GET # LIMIT 0 9 DESC ALPHA",
            &[1, 3, 5],
            "RPUSH l a;HSET n_a f x;SET w_a 1",
            "[\"x\", \"a\"]",
        ),
        case(Sort::<Vec<u64>>::new("l").by("nosort"), "SORT_RO l BY nosort", &[1], "RPUSH l 3 1", "[3, 1]"),
        case(SortStore::new("l", "d").desc(), "SORT l STORE d DESC", &[1, 3], "RPUSH l 3 1", "2"),
    ]
}

fn others() -> Vec<Case> {
    const ONE: &str = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
    vec![
        case(PfAdd::new("p", ["a", "b"]), "PFADD p a b", &[1], "DEL p", "true"),
        case(PfAdd::new("p", "a"), "PFADD p a", &[1], "PFADD p a", "false"),
        case(PfCount::new(["p", "q"]), "PFCOUNT p q", &[1, 2], "PFADD p a;PFADD q b", "2"),
        case(PfMerge::new("p", ["q"]), "PFMERGE p q", &[1, 2], "PFADD q b", "()"),
        case(
            ScriptLoad::new("return 1"),
            "SCRIPT LOAD return 1",
            &[],
            "DEL k",
            concat!("\"", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", "\""),
        ),
        case(ScriptExists::new(ONE), "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db", &[], "DEL k", "[true]"),
        documented(FCall::<u64>::read_only("f").key("k").arg(1), "FCALL_RO f 1 k 1", &[3], ":1\r\n", "1"),
        case(PubSubChannels::new("n*"), "PUBSUB CHANNELS n*", &[2], "DEL k", "[]"),
        case(PubSubShardChannels::new("n*"), "PUBSUB SHARDCHANNELS n*", &[2], "DEL k", "[]"),
        case(PubSubNumSub::new(["n"]), "PUBSUB NUMSUB n", &[2], "DEL k", "[([110], 0)]"),
        case(PubSubShardNumSub::new(["n"]), "PUBSUB SHARDNUMSUB n", &[2], "DEL k", "[([110], 0)]"),
    ]
}
