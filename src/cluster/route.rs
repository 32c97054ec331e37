//! Where in a cluster a command has to go.

use smallvec::SmallVec;

use super::key_split::KeySplit;
use super::merge::Merge;
use super::slot::Slots;
use crate::error::Error;
use crate::frame::{Frame, Unit, View};
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
    /// To any primary, if possible to the owner of this slot: messages of one channel keep their order.
    Prefer(u16),
    /// To every primary.
    Primaries(Merge),
    /// In parts, each to the owner of its slot. They are not atomic together.
    Scattered(Vec<(u16, Frame)>, Merge),
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
            Way::Route(Route::Any | Route::Prefer(_)) => {}
            Way::Route(Route::Primaries(_)) | Way::OneNode => {
                return Err(Error::invalid_command(WIDE_UNIT).of_command(unit.name_of(part)));
            }
            _ => return Err(refuse(frame, CROSS_UNIT)),
        }
    }
    Ok(whole.map_or(Route::Any, Route::Slot))
}

/// The slots of a pipeline that can go to one node as it is: `same` says whether two slots are at one node, and what has
/// no keys goes along. `None`: it has to be taken apart.
pub(crate) fn of_pipeline(frame: &Frame, slots: &Slots, same: impl Fn(u16, u16) -> bool) -> Option<SlotList> {
    let unit = frame.unit()?;
    let mut list = SlotList::new();
    for part in 0..unit.len() {
        match of_view(&unit.view(part)?, None, slots) {
            Way::Route(Route::Slot(slot)) if list.first().is_none_or(|first| same(*first, slot)) => {
                if list.last() != Some(&slot) {
                    list.push(slot);
                }
            }
            Way::Route(Route::Any | Route::Prefer(_)) => {}
            _ => return None,
        }
    }
    let list = distinct(list);
    (!list.is_empty()).then_some(list)
}

/// The slots of the elements of a pipeline; none of another frame.
pub(crate) fn slots_of_pipeline(frame: &Frame, slots: &Slots) -> SlotList {
    let elements = frame.unit().into_iter().flat_map(|unit| (0..unit.len()).filter_map(|at| unit.view(at)));
    distinct(elements.filter_map(|view| slot_of_view(&view, slots)).collect())
}

/// The slot of a command, if all its keys are in one.
pub(crate) fn slot_of(frame: &Frame, slots: &Slots) -> Option<u16> {
    match route(frame, slots) {
        Ok(Route::Slot(slot)) => Some(slot),
        _ => None,
    }
}

/// The slot of a command of a pipeline, if all its keys are in one.
pub(crate) fn slot_of_view(view: &View<'_>, slots: &Slots) -> Option<u16> {
    match of_view(view, None, slots) {
        Way::Route(Route::Slot(slot)) => Some(slot),
        _ => None,
    }
}

/// Slots, each once.
pub(crate) type SlotList = SmallVec<[u16; 2]>;

/// Each slot once, the first one still in front.
pub(crate) fn distinct(mut list: SlotList) -> SlotList {
    if let [_, rest @ ..] = &mut *list {
        rest.sort_unstable();
    }
    list.dedup();
    if let Some(first) = list.first().copied() {
        let mut is_first = true;
        list.retain(|slot| std::mem::take(&mut is_first) || *slot != first);
    }
    list
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
    let mut named = view.names().map(|(name, at)| slots.of_inside(name, at));
    let is_of_all_nodes = view.is_of_all_nodes();
    if let Some(slot) = named.next().filter(|_| !is_of_all_nodes) {
        return if named.all(|other| other == slot) { Way::Route(Route::Slot(slot)) } else { Way::Cross };
    }
    let mut words = view.words();
    let name = words.next().unwrap_or_default().to_ascii_uppercase();
    let second = words.next().unwrap_or_default().to_ascii_uppercase();
    Way::Route(match (&*name, &*second) {
        (b"SCAN", _) => return Way::OneNode,
        (b"PUBLISH", _) => {
            let channel = view.names().next().map(|(name, at)| slots.of_inside(name, at));
            channel.map_or(Route::Any, Route::Prefer)
        }
        (b"KEYS", _) => Route::Primaries(Merge::Concat),
        (b"PUBSUB", b"CHANNELS" | b"SHARDCHANNELS") => Route::Primaries(Merge::Union),
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
    let mut keys = KeySplit::of(frame)?;
    keys.read(frame, slots, usize::MAX)?;
    let parts = keys.into_parts();
    let frames = (0..parts.len()).filter_map(|nth| parts.part(nth, frame)).collect();
    Some(Route::Scattered(frames, parts.to_merge()))
}

/// What an element of a pipeline needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ElementWay {
    /// The owner of this slot.
    Slot(u16),
    /// Any node.
    Any,
    /// Several nodes.
    Several,
}

/// Where the element at `index` of a pipeline goes.
///
/// # Errors
/// When no node could run it.
pub(crate) fn way_of_element(unit: &Unit, index: usize, slots: &Slots) -> Result<ElementWay, Error> {
    let Some(view) = unit.view(index) else { return Ok(ElementWay::Any) };
    match of_view(&view, None, slots) {
        Way::Route(Route::Slot(slot)) => return Ok(ElementWay::Slot(slot)),
        Way::Route(Route::Any | Route::Prefer(_)) => return Ok(ElementWay::Any),
        _ => {}
    }
    unit.command(index).map_or(Ok(()), |frame| route(&frame, slots).map(drop))?;
    Ok(ElementWay::Several)
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
            Ok(Route::Prefer(slot)) => format!("any, rather slot {slot}"),
            Ok(Route::Primaries(merge)) => format!("all {merge:?}"),
            Ok(Route::Scattered(parts, _)) => format!("{} parts", parts.len()),
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

    /// Ablation: channels that count as keys fail with "its keys are in different slots of the cluster".
    #[test]
    fn channels_are_no_keys() {
        let publish = |channel: &str| Frame::known("PUBLISH").channel(channel).arg("x");
        assert_eq!(way(&publish("c")), format!("any, rather slot {}", slots().of(b"c")));
        assert_eq!(way(&Frame::known("publish").channel("c").arg("x")), way(&publish("c")));
        assert_eq!(way(&Frame::known("PUBSUB NUMSUB").channel("a").channel("b")), "all SumByName");
        assert_eq!(way(&Frame::known("PUBSUB SHARDNUMSUB").channel("a").channel("b")), "all SumByName");
        assert_eq!(way(&Frame::known("PUBSUB CHANNELS").channel_pattern("*")), "all Union");
        let set = || Frame::known("SET").key("a").arg(1);
        assert_eq!(way(&Frame::atomic([set(), publish("c")])), format!("slot {}", slots().of(b"a")));
        assert_eq!(way(&Frame::atomic([publish("b"), publish("c")])), "any");
        let unit = Frame::join([publish("b"), set(), publish("c"), Frame::known("PING")]);
        let list = of_pipeline(&unit, &slots(), |_, _| false).expect("one node");
        assert_eq!(list.to_vec(), [slots().of(b"a")]);
        // A shard channel is where its whole name is.
        let whole = Slots::new(b"").of(b"__keyspace@0__:p:k");
        assert_eq!(way(&Frame::known("SPUBLISH").channel("__keyspace@0__:k").arg("x")), format!("slot {whole}"));
    }

    #[test]
    fn each_slot_of_a_pipeline_is_listed_once() {
        let list = |slots: &[u16]| distinct(slots.into()).to_vec();
        assert_eq!(list(&[7, 9, 3, 9, 7, 3, 1]), [7, 1, 3, 9]);
        assert_eq!((list(&[]), list(&[5]), list(&[5, 5])), (vec![], vec![5], vec![5]));
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
                    Route::Scattered(parts, merge) => {
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
