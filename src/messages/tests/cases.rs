//! Every message with the commands that prepare a server for it, and its decoded reply.

mod collections;
mod server;
mod sorted;
mod values;

use std::fmt;

use redis::Value;

use crate::error::Result;
use crate::frame::Frame;
use crate::messages::Command;

/// One message, and what a server replies.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) frame: Frame,
    /// What it sends.
    pub(crate) words: &'static str,
    /// Which of the words are keys.
    pub(crate) keys: &'static [usize],
    pub(crate) given: Given,
    /// The decoded reply as `Debug` shows it; empty if it differs from run to run.
    pub(crate) reply: &'static str,
    decode: fn(&Frame, Value) -> Result<String>,
}

/// The origin of the reply.
#[derive(Clone, Copy)]
pub(crate) enum Given {
    /// Commands, separated by `;`, that a server runs before.
    Server(&'static str),
    /// For commands that no server here has: the documented reply in RESP.
    Documented(&'static str),
}

impl Case {
    pub(crate) fn decode(&self, value: Value) -> Result<String> {
        (self.decode)(&self.frame, value)
    }
}

fn decode<M: Command>(frame: &Frame, value: Value) -> Result<String>
where
    M::Reply: fmt::Debug,
{
    M::reply_to(frame, value).map(|reply| format!("{reply:?}"))
}

/// A message that a server runs after the commands of `before`.
fn case<M: Command>(
    message: M,
    words: &'static str,
    keys: &'static [usize],
    before: &'static str,
    reply: &'static str,
) -> Case
where
    M::Reply: fmt::Debug,
{
    Case { frame: message.into_frame(), words, keys, given: Given::Server(before), reply, decode: decode::<M> }
}

/// A message that no server here has.
fn documented<M: Command>(
    message: M,
    words: &'static str,
    keys: &'static [usize],
    resp: &'static str,
    reply: &'static str,
) -> Case
where
    M::Reply: fmt::Debug,
{
    Case { frame: message.into_frame(), words, keys, given: Given::Documented(resp), reply, decode: decode::<M> }
}

/// Messages about data.
pub(crate) fn every_case() -> Vec<Case> {
    [values::cases(), collections::cases(), sorted::cases()].concat()
}

/// Messages for operators, which are refused with the prefix.
pub(crate) fn every_operator_case() -> Vec<Case> {
    server::cases()
}

#[test]
fn each_case_sends_its_exact_words_and_marks_its_keys() {
    for case in every_case() {
        let sent: Vec<_> = case.frame.args().map(String::from_utf8_lossy).collect();
        assert_eq!(sent.join(" "), case.words);
        assert_eq!(super::indices(&case.frame), case.keys, "{}", case.words);
        assert!(case.frame.check().is_ok(), "{}: {:?}", case.words, case.frame.check());
    }
}

#[test]
fn each_operator_case_is_refused_with_the_prefix_only() {
    for case in every_operator_case() {
        let sent: Vec<_> = case.frame.args().map(String::from_utf8_lossy).collect();
        assert_eq!(sent.join(" "), case.words);
        let raw = case.frame.clone().unprefixed();
        assert!(raw.check().is_ok(), "{}: {:?}", case.words, raw.check());
        // A few show nothing of other services, and may be sent either way.
        if let Err(error) = case.frame.check() {
            assert!(error.refusal().is_some(), "{}: {error}", case.words);
        }
    }
}

#[test]
fn documented_replies_decode() {
    let mut count = 0;
    for case in every_case().into_iter().chain(every_operator_case()) {
        let Given::Documented(resp) = case.given else { continue };
        let value = redis::parse_redis_value(resp.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", case.words));
        assert_eq!(case.decode(value).unwrap_or_else(|e| panic!("{}: {e}", case.words)), case.reply, "{}", case.words);
        count += 1;
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn options_that_exclude_each_other_are_refused_with_both_names() {
    use crate::commands::{bitmaps, geo, hashes, keys, lists, sorted_sets, streams, strings};
    use std::time::{Duration, SystemTime};
    let second = Duration::from_secs(1);
    let point = geo::GeoPoint::new(1.0, 2.0);
    let id: [streams::StreamId; 0] = [];
    let none: [&str; 0] = [];
    let rows = [
        (strings::Set::new("k", 1).expire(second).keep_ttl().frame(), "expire() and keep_ttl() exclude each other"),
        (strings::Set::new("k", 1).if_absent().if_eq("v").frame(), "if_absent() and if_eq() exclude each other"),
        (strings::GetEx::<u8>::new("k").expire(second).persist().frame(), "expire() and persist() exclude"),
        (
            strings::GetEx::<u8>::new("k").expire(second).expire_at(SystemTime::now()).frame(),
            "expire() and expire_at()",
        ),
        (strings::MSetEx::new([("k", 1)]).if_absent().if_present().frame(), "if_absent() and if_present() exclude"),
        (strings::DelEx::new("k").if_eq(1).if_ne(2).frame(), "if_eq() and if_ne() exclude"),
        (strings::MSetNx::new([("k", 1); 0]).frame(), "needs at least one key with its value"),
        (strings::IncrByFloat::new("k", f64::NAN).frame(), "the increment is not finite"),
        (bitmaps::BitCount::new("k").range(0, 1).bit_range(0, 1).frame(), "range() and bit_range() exclude"),
        (bitmaps::BitOp::and("d", none).frame(), "needs at least one key"),
        (bitmaps::BitField::new("k").get(bitmaps::BitType::Unsigned(64), 0).frame(), "an unsigned integer has 1 to 63"),
        (geo::GeoAdd::new("g", [(geo::GeoPoint::new(f64::NAN, 0.0), "m")]).frame(), "not finite"),
        (
            geo::GeoSearch::<u8>::new("g", point, geo::GeoBy::Radius(-1.0, geo::GeoUnit::Metres)).frame(),
            "the size of the area is negative",
        ),
        (
            geo::GeoSearch::<u8>::new("g", point, geo::GeoBy::Radius(1.0, geo::GeoUnit::Metres)).asc().desc().frame(),
            "asc() and desc() exclude",
        ),
        (hashes::HExpire::new("h", second, none).frame(), "needs at least one field"),
        (hashes::HSetEx::new("h").frame(), "needs at least one field"),
        (hashes::HExpire::new("h", second, "f").if_later().if_sooner().frame(), "if_later() and if_sooner() exclude"),
        (lists::LPos::new("l", "v").rank(0).frame(), "rank() is 0"),
        (lists::LMPop::<u8>::new(none, lists::ListEnd::Left).frame(), "needs at least one key"),
        (keys::Restore::new("k", "v").freq(1).idle_time(second).frame(), "freq() and idle_time() exclude"),
        (sorted_sets::ZAdd::new("z", (f64::NAN, "m")).frame(), "a score is NaN"),
        (
            sorted_sets::ZAdd::new("z", (1, "m")).if_absent().if_greater().frame(),
            "if_absent() and if_greater() exclude",
        ),
        (sorted_sets::ZUnion::<u8>::new(["a", "b"]).weights([1]).frame(), "weights() needs one weight for each key"),
        (sorted_sets::ZCount::new("z", f64::NAN..).frame(), "a score is NaN"),
        (streams::XDelEx::new("x", streams::References::Keep, id).frame(), "needs at least one id"),
        (
            super::super::pipeline::Pipeline::new((strings::Get::<u8>::new("k"),)).frame().unprefixed(),
            "single commands",
        ),
    ];
    for (frame, words) in rows {
        let error = frame.check().expect_err(words);
        assert!(error.to_string().contains(words), "{error} | {words}");
        assert_eq!(error.fate(), crate::Fate::NotSent);
    }
}
