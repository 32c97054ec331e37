//! Where in a cluster a command has to go.

use smallvec::SmallVec;

use super::merge::Merge;
use super::slot::Slots;
use crate::error::Error;
use crate::frame::{Frame, View};
use crate::prefix::marks::Form;
use crate::prefix::positions::positions;

const CROSS: &str = "its keys are in different slots of the cluster: give them one hash tag, as in `{user:1}:name`, or send one command for each";
const CROSS_UNIT: &str = "its keys are in different slots of the cluster, and all of it runs on one node or not at all: give them one hash tag, as in `{user:1}:name`";
const WIDE_UNIT: &str =
    "a transaction runs on one node of the cluster, and this command means all of them: send it alone";
const ONE_NODE: &str = "it walks the keys of one node of the cluster: use `Redis::scan_keys`, which walks them all";

/// Where a command goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// To the owner of this slot.
    Slot(u16),
    /// To any primary.
    Any,
    /// To every primary.
    Primaries(Merge),
    /// In parts, each to the owner of its slot. Nobody sees them at one moment.
    Parts(Vec<(u16, Frame)>, Merge),
    /// A pipeline, whose commands may have ways of their own.
    Each,
}

/// Where a frame goes.
///
/// # Errors
/// When no node could run it.
pub(crate) fn route(frame: &Frame, slots: &Slots) -> Result<Route, Error> {
    let Some(unit) = frame.unit() else {
        if frame.is_unprefixed() {
            return of_unprefixed(frame);
        }
        return match of_view(&frame.view(), frame.own_slot(), slots) {
            Way::Route(route) => Ok(route),
            Way::Cross => split(frame, slots).ok_or_else(|| refuse(frame, CROSS)),
            Way::OneNode => Err(refuse(frame, ONE_NODE)),
        };
    };
    if !unit.is_atomic() {
        return Ok(Route::Each);
    }
    let mut whole = None;
    for part in 0..unit.len() {
        let Some(view) = unit.view(part) else { continue };
        match of_view(&view, None, slots) {
            Way::Route(Route::Slot(slot)) if whole.is_none_or(|whole| whole == slot) => whole = Some(slot),
            Way::Route(Route::Any) => {}
            Way::Route(Route::Primaries(_)) | Way::OneNode => {
                return Err(Error::invalid_command(WIDE_UNIT).of_command(unit.name_of(part)));
            }
            _ => return Err(refuse(frame, CROSS_UNIT)),
        }
    }
    Ok(whole.map_or(Route::Any, Route::Slot))
}

/// The slot that the whole pipeline is in, if there is one.
pub(crate) fn of_pipeline(frame: &Frame, slots: &Slots, same: impl Fn(u16, u16) -> bool) -> Option<u16> {
    let unit = frame.unit()?;
    let mut whole = None;
    for part in 0..unit.len() {
        match of_view(&unit.view(part)?, None, slots) {
            Way::Route(Route::Slot(slot)) if whole.is_none_or(|whole| same(whole, slot)) => {
                whole.get_or_insert(slot);
            }
            _ => return None,
        }
    }
    whole
}

/// An operator's command has no marks, and its keys are where the table says.
fn of_unprefixed(frame: &Frame) -> Result<Route, Error> {
    let (argv, slots) = (frame.argv(), Slots::new(b""));
    if let Some(slot) = frame.own_slot() {
        return Ok(Route::Slot(slot));
    }
    let marks = positions(&argv).map(|positions| positions.marks).unwrap_or_default();
    let keys =
        marks.iter().filter(|mark| mark.form == Form::Key).filter_map(|mark| argv.get(mark.index)?.get(mark.offset..));
    let mut found = keys.map(|key| slots.of(key));
    match found.next() {
        Some(slot) if found.all(|other| other == slot) => Ok(Route::Slot(slot)),
        Some(_) => Err(refuse(frame, CROSS)),
        None => match of_view(&frame.view(), None, &slots) {
            Way::Route(route) => Ok(route),
            Way::Cross => Err(refuse(frame, CROSS)),
            Way::OneNode => Err(refuse(frame, ONE_NODE)),
        },
    }
}

enum Way {
    Route(Route),
    Cross,
    OneNode,
}

fn of_view(view: &View<'_>, own: Option<u16>, slots: &Slots) -> Way {
    if let Some(slot) = own {
        return Way::Route(Route::Slot(slot));
    }
    let mut keys = view.keys().map(|key| slots.of(key));
    if let Some(slot) = keys.next() {
        return if keys.all(|other| other == slot) { Way::Route(Route::Slot(slot)) } else { Way::Cross };
    }
    let mut words = view.words();
    let name = words.next().unwrap_or_default().to_ascii_uppercase();
    let second = words.next().unwrap_or_default().to_ascii_uppercase();
    Way::Route(match (&*name, &*second) {
        (b"SCAN", _) => return Way::OneNode,
        (b"KEYS", _) | (b"PUBSUB", b"CHANNELS" | b"SHARDCHANNELS") => Route::Primaries(Merge::Concat),
        (b"DBSIZE", _) | (b"PUBSUB", b"NUMPAT") => Route::Primaries(Merge::Sum),
        (b"PUBSUB", b"NUMSUB" | b"SHARDNUMSUB") => Route::Primaries(Merge::SumByName),
        (b"SCRIPT", b"EXISTS") => Route::Primaries(Merge::Least),
        (b"FLUSHALL" | b"FLUSHDB", _)
        | (b"SCRIPT", b"LOAD" | b"FLUSH")
        | (b"FUNCTION", b"LOAD" | b"DELETE" | b"FLUSH" | b"RESTORE") => Route::Primaries(Merge::First),
        _ => Route::Any,
    })
}

/// The parts of a command that means the same in parts.
fn split(frame: &Frame, slots: &Slots) -> Option<Route> {
    let name = frame.name();
    let (merge, step) = match name.as_str() {
        "MGET" => (Merge::Places(Vec::new()), 1),
        "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => (Merge::Sum, 1),
        "MSET" => (Merge::First, 2),
        _ => return None,
    };
    let words: Vec<&[u8]> = frame.args().skip(1).collect();
    if !words.len().is_multiple_of(step) {
        return None;
    }
    // By slot, in the order in which they come first.
    let mut groups: Vec<(u16, SmallVec<[usize; 4]>)> = Vec::new();
    for (at, item) in words.chunks(step).enumerate() {
        let slot = slots.of(item.first()?);
        match groups.iter_mut().find(|(known, _)| *known == slot) {
            Some((_, items)) => items.push(at),
            None => groups.push((slot, SmallVec::from_slice(&[at]))),
        }
    }
    let mut places = Vec::new();
    let parts = groups.into_iter().map(|(slot, items)| {
        let part = items.iter().fold(Frame::known(&name), |part, at| {
            let mut item = words.iter().skip(at * step).take(step);
            let part = part.key(item.next().copied().unwrap_or_default());
            item.fold(part, |part, word| part.arg(*word))
        });
        places.push(items.to_vec());
        (slot, part.like(frame))
    });
    let parts = parts.collect();
    Some(Route::Parts(parts, if matches!(merge, Merge::Places(_)) { Merge::Places(places) } else { merge }))
}

fn refuse(frame: &Frame, why: &'static str) -> Error {
    Error::invalid_command(why).of_command(frame.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::KeyPrefix;
    use proptest::prelude::*;
    use redis::Value;
    use std::collections::HashMap;

    fn slots() -> Slots {
        Slots::new(b"p:")
    }

    fn way(frame: &Frame) -> String {
        match route(frame, &slots()) {
            Ok(Route::Slot(slot)) => format!("slot {slot}"),
            Ok(Route::Any) => "any".to_owned(),
            Ok(Route::Primaries(merge)) => format!("all {merge:?}"),
            Ok(Route::Parts(parts, _)) => format!("{} parts", parts.len()),
            Ok(Route::Each) => "each".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn commands_go_where_their_keys_are() {
        let slot = |key: &str| format!("slot {}", slots().of(key.as_bytes()));
        assert_eq!(way(&Frame::known("GET").key("a")), slot("a"));
        assert_eq!(way(&Frame::known("RENAME").key("{a}1").key("{a}2")), format!("slot {}", Slots::new(b"").of(b"a")));
        assert!(way(&Frame::known("RENAME").key("a").key("b")).contains("hash tag"));
        assert_eq!(way(&Frame::known("MGET").keys(["a", "b", "c"])), "3 parts");
        assert_eq!(way(&Frame::known("MSET").key("a").arg(1).key("b").arg(2)), "2 parts");
        assert!(way(&Frame::known("MSETNX").key("a").arg(1).key("b").arg(2)).contains("hash tag"));
        assert_eq!(way(&Frame::known("PING")), "any");
        assert_eq!(way(&Frame::known("KEYS").pattern("*")), "all Concat");
        assert_eq!(way(&Frame::known("FUNCTION LOAD").arg("x")), "all First");
        assert!(way(&Frame::known("SCAN").arg(0).arg("MATCH").pattern("*")).contains("scan_keys"));
        assert_eq!(way(&Frame::known("SCAN").arg(0).arg("MATCH").pattern("*").on_slot(7)), "slot 7");
        assert_eq!(way(&Frame::join([Frame::known("GET").key("a")])), "each");
        let tx = |one: &str, other: &str| Frame::atomic([Frame::known("GET").key(one), Frame::known("GET").key(other)]);
        assert_eq!(way(&tx("{a}1", "{a}2")), format!("slot {}", Slots::new(b"").of(b"a")));
        assert!(way(&tx("a", "b")).contains("hash tag"));
        assert!(way(&Frame::atomic([Frame::known("SCRIPT FLUSH")])).contains("send it alone"));
    }

    #[test]
    fn one_hash_tag_in_the_prefix_splits_nothing() {
        let slots = Slots::new(b"{p}:");
        let frame = Frame::known("RENAME").key("a").key("b");
        assert!(matches!(route(&frame, &slots), Ok(Route::Slot(slot)) if slot == Slots::new(b"").of(b"p")));
    }

    proptest! {
        /// A split MGET over a model of a cluster is an MGET over one server; a split DEL counts alike.
        #[test]
        fn parts_make_the_whole(keys in proptest::collection::vec("[a-d]{1,2}|\\{t\\}[a-c]", 1..20)) {
            let slots = slots();
            let value = |key: &[u8]| Value::BulkString(key.to_ascii_uppercase());
            for name in ["MGET", "DEL"] {
                let frame = Frame::known(name).keys(&keys);
                let run = |frame: &Frame| {
                    let keys: Vec<_> = frame.args().skip(1).map(<[u8]>::to_vec).collect();
                    if name == "MGET" { Value::Array(keys.iter().map(|key| value(key)).collect()) } else { Value::Int(keys.len() as i64) }
                };
                let whole = match route(&frame, &slots).expect("no reason") {
                    Route::Slot(_) => run(&frame),
                    Route::Parts(parts, merge) => {
                        let mut seen = HashMap::new();
                        for (slot, part) in &parts {
                            prop_assert!(part.args().skip(1).all(|key| slots.of(key) == *slot));
                            prop_assert!(seen.insert(*slot, ()).is_none(), "one part a slot");
                            prop_assert!(KeyPrefix::none().seal(part).is_ok());
                        }
                        merge.apply(parts.iter().map(|(_, part)| run(part)).collect())
                    }
                    other => panic!("{other:?}"),
                };
                prop_assert_eq!(whole, run(&frame));
            }
        }
    }
}
