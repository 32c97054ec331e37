//! Several commands in one frame: a pipeline, or the commands of a transaction between MULTI and EXEC.
//!
//! Their bytes are stored in segments that the frame and the write buffer share. A unit of any size exists once and
//! is never copied as a whole: only the next piece to write is encoded.

use std::sync::Arc;

use bytes::BytesMut;
use redis::Value;

use super::{Frame, MAX_ARGUMENTS, Mark, OriginNote, ReplyKeys, Source, WhenDown, Words, name_of};
use crate::error::Error;
use crate::prefix::KeyPrefix;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// Small commands are collected into segments of this size.
const SEGMENT: usize = 64 * 1024;
/// A command of at least this size keeps its own buffer.
const LARGE: usize = 4 * 1024;

/// The contents of a frame that is not a plain command.
pub(crate) enum Extra {
    Unit(Unit),
    Script(Source),
    Origin(OriginNote),
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Unit {
    pub(super) segments: Vec<Segment>,
    /// The segment to which commands are appended while the unit is built.
    open: Segment,
    pub(super) parts: Vec<Part>,
    /// A transaction between MULTI and EXEC.
    atomic: bool,
    bytes: usize,
    /// The scripts whose source the unit contains.
    sources: Vec<[u8; 20]>,
}

/// Encoded bytes without the prefix.
#[derive(Default)]
pub(super) struct Segment {
    pub(super) encoded: Vec<u8>,
    pub(super) marks: Vec<Mark>,
}

/// One of the commands.
pub(super) struct Part {
    /// The segment that contains its name.
    pub(super) segment: u32,
    pub(super) start: u32,
    reply_keys: ReplyKeys,
    /// The script, if it runs one by digest.
    script: Option<Arc<Extra>>,
}

impl Frame {
    /// Joins commands into one unit, which is sent together and in order. The reply is the array of their replies.
    ///
    /// The unit is retried after a broken link only if every command may be. The earliest deadline of its commands
    /// applies to the whole unit. It has a maximum of 1,048,576 commands. It cannot contain a joined frame, nor a
    /// blocking command except for WAIT and WAITAOF: with these the unit uses a dedicated connection, and they cover
    /// the earlier writes of the unit.
    pub fn join(frames: impl IntoIterator<Item = Self>) -> Self {
        Self::united(frames, false)
    }

    /// Joins commands between MULTI and EXEC. The replies are those of the server: to MULTI, to the queueing of each
    /// command, and to EXEC, which is the array of their results.
    pub(crate) fn atomic(frames: impl IntoIterator<Item = Self>) -> Self {
        Self::united(frames, true)
    }

    fn united(frames: impl IntoIterator<Item = Self>, atomic: bool) -> Self {
        let mut whole = Self::known_empty().idempotent();
        let mut unit = Unit { atomic, ..Unit::default() };
        if atomic {
            unit.push(MULTI);
        }
        for frame in frames {
            whole.adopt(&frame);
            whole.adopt_reads(&frame, unit.parts.is_empty());
            if whole.fault.is_none() {
                let may = frame.check().and_then(|()| if atomic { Ok(()) } else { frame.may_be_joined() });
                whole.fault = may.and_then(|()| unit.append(frame)).err();
            }
        }
        if unit.parts.is_empty() {
            whole.fail(if atomic {
                "a transaction needs at least one command: add one"
            } else {
                "a pipeline needs at least one command: add one"
            });
        }
        if atomic {
            unit.push(EXEC);
            // Inside MULTI no command blocks.
            whole.hold = 0;
        }
        unit.close_segment();
        whole.extra = Some(Arc::new(Extra::Unit(unit)));
        whole.settle_reads();
        whole
    }

    /// Combines the options of one command with those of the unit: the strictest apply.
    fn adopt(&mut self, one: &Self) {
        if one.waits() {
            self.hold = self.hold.saturating_add(super::millis(one.longest_wait()));
        }
        self.traits.repeatable &= one.is_repeatable();
        if one.timeout > 0 && (self.timeout == 0 || one.timeout < self.timeout) {
            self.timeout = one.timeout;
        }
        if one.traits.when_down == Some(WhenDown::FailFast) {
            self.traits.when_down = one.traits.when_down;
        }
    }
}

impl Unit {
    fn append(&mut self, mut frame: Frame) -> Result<(), Error> {
        if let Some(script) = frame.script()
            && !self.sources.contains(script.digest())
        {
            // Later commands may depend on this one. After a NOSCRIPT reply it could only be retried after them, so
            // the source is sent with the first use.
            self.sources.push(*script.digest());
            frame = frame.with_source();
        }
        if frame.is_unit() {
            return Err(Error::invalid_command(
                "a pipeline or a transaction cannot hold another one: add its commands instead",
            ));
        }
        if self.parts.len() >= MAX_ARGUMENTS as usize {
            return Err(Error::invalid_command("more than 1,048,576 commands at once; send several pipelines"));
        }
        let reply_keys = frame.keys_in_reply();
        let mut number = itoa::Buffer::new();
        self.push(b"*");
        self.push(number.format(frame.arguments).as_bytes());
        self.push(b"\r\n");
        self.bytes += frame.encoded.len();
        if frame.encoded.len() >= LARGE {
            self.close_segment();
            self.note_part(0, reply_keys, frame.extra);
            self.segments.push(Segment { encoded: frame.encoded, marks: frame.marks.into_vec() });
        } else {
            // Less than SEGMENT + LARGE, so the offsets fit.
            let start = self.open.encoded.len() as u32;
            self.note_part(start, reply_keys, frame.extra);
            self.open.encoded.extend_from_slice(&frame.encoded);
            self.open.marks.extend(frame.marks.iter().map(|mark| mark.shifted(start)));
            if self.open.encoded.len() >= SEGMENT {
                self.close_segment();
            }
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.open.encoded.extend_from_slice(bytes);
    }

    fn close_segment(&mut self) {
        if !self.open.encoded.is_empty() {
            self.segments.push(std::mem::take(&mut self.open));
        }
    }

    /// Records a command whose bytes follow in the next segment.
    fn note_part(&mut self, start: u32, reply_keys: ReplyKeys, script: Option<Arc<Extra>>) {
        self.parts.push(Part { segment: self.segments.len() as u32, start, reply_keys, script });
    }

    pub(super) fn name(&self) -> &'static str {
        if self.atomic { "transaction" } else { "pipeline" }
    }

    pub(super) fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().flat_map(|segment| Words(&segment.encoded))
    }

    /// The number of joined commands.
    pub(crate) fn len(&self) -> usize {
        self.parts.len()
    }

    /// The number of replies to the unit.
    pub(super) fn replies(&self) -> usize {
        self.parts.len() + if self.atomic { 2 } else { 0 }
    }

    pub(super) fn size(&self) -> usize {
        self.bytes + size_of_val(&*self.parts)
    }

    /// A transaction: no server runs its first command before it has received the last byte.
    pub(crate) fn is_atomic(&self) -> bool {
        self.atomic
    }

    /// The name of the command at `index`.
    pub(crate) fn name_of(&self, index: usize) -> String {
        let words = self.parts.get(index).and_then(|part| {
            let segment = self.segments.get(part.segment as usize)?;
            segment.encoded.get(part.start as usize..)
        });
        name_of(words.map(Words).into_iter().flatten())
    }

    /// The command at `index` as a frame, if it runs a script by digest.
    pub(super) fn script_command(&self, index: usize) -> Option<Frame> {
        self.parts.get(index)?.script.as_ref()?;
        self.command(index)
    }

    /// The command at `index` as a frame.
    pub(crate) fn command(&self, index: usize) -> Option<Frame> {
        let part = self.parts.get(index)?;
        let segment = self.segments.get(part.segment as usize)?;
        let encoded = segment.encoded.get(part.start as usize..)?;
        let (arguments, len) = one_command(encoded);
        let end = part.start + len as u32;
        let from = segment.marks.partition_point(|mark| mark.header() < part.start);
        let marks = segment.marks.iter().skip(from).take_while(|mark| mark.header() < end);
        Some(Frame {
            encoded: encoded.get(..len)?.to_vec(),
            marks: marks.map(|mark| mark.back(part.start)).collect(),
            extra: part.script.clone(),
            arguments,
            ..Frame::known_empty().reply_keys(part.reply_keys)
        })
    }

    /// Removes the prefix from the names in each reply, with the rule of its command.
    pub(crate) fn strip_replies(&self, prefix: &KeyPrefix, value: Value) -> Value {
        let keys = self.parts.iter().map(|part| part.reply_keys);
        match value {
            Value::Array(mut replies) if self.atomic => {
                let exec = replies.pop().map(|own| prefix.strip_each(keys, own));
                replies.extend(exec);
                Value::Array(replies)
            }
            value => prefix.strip_each(keys, value),
        }
    }
}

/// The number of arguments and bytes of the first command.
fn one_command(encoded: &[u8]) -> (u32, usize) {
    let (mut rest, mut arguments) = (encoded, 0);
    while rest.first() == Some(&b'$') {
        let mut words = Words(rest);
        if words.next().is_none() {
            break;
        }
        rest = words.0;
        arguments += 1;
    }
    (arguments, encoded.len() - rest.len())
}

/// Encodes a unit in pieces.
pub(crate) struct Encoding {
    extra: Arc<Extra>,
    prefix: KeyPrefix,
    /// The position of the next byte: the segment, and the next mark after it.
    segment: usize,
    at: usize,
    mark: usize,
}

impl Encoding {
    /// `None` for a single command.
    pub(crate) fn of(frame: &Frame, prefix: &KeyPrefix) -> Option<Self> {
        let extra = frame.extra.as_ref().filter(|_| frame.is_unit())?;
        Some(Self { extra: extra.clone(), prefix: prefix.clone(), segment: 0, at: 0, mark: 0 })
    }

    /// The number of bytes on the wire.
    pub(crate) fn len(&self) -> u64 {
        let Extra::Unit(unit) = &*self.extra else { return 0 };
        let marks = unit.segments.iter().flat_map(|segment| &segment.marks);
        (unit.bytes + marks.map(|mark| self.growth(mark)).sum::<usize>()) as u64
    }

    fn growth(&self, mark: &Mark) -> usize {
        let prefix = prefix_for(mark, &self.prefix).len();
        let digits = |number: usize| number.checked_ilog10().unwrap_or(0) as usize;
        prefix + digits(mark.len() as usize + prefix) - digits(mark.len() as usize)
    }

    /// Appends to `out` until it has about `limit` bytes. Returns whether the unit is complete.
    pub(crate) fn fill(&mut self, out: &mut BytesMut, limit: usize) -> bool {
        let Extra::Unit(unit) = &*self.extra else { return true };
        while let Some(segment) = unit.segments.get(self.segment) {
            let mark = segment.marks.get(self.mark);
            let until = mark.map_or(segment.encoded.len(), |mark| mark.header() as usize);
            let piece = segment.encoded.get(self.at..until).unwrap_or_default();
            let (now, later) = piece.split_at(piece.len().min(limit.saturating_sub(out.len())));
            out.extend_from_slice(now);
            self.at += now.len();
            if !later.is_empty() {
                return false;
            }
            let Some(mark) = mark else {
                (self.segment, self.at, self.mark) = (self.segment + 1, 0, 0);
                continue;
            };
            let prefix = prefix_for(mark, &self.prefix);
            out.extend_from_slice(b"$");
            out.extend_from_slice(itoa::Buffer::new().format(mark.len() as usize + prefix.len()).as_bytes());
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(
                segment.encoded.get(mark.body() as usize..mark.insert() as usize).unwrap_or_default(),
            );
            out.extend_from_slice(prefix);
            self.at = mark.insert() as usize;
            self.mark += 1;
        }
        true
    }
}

fn prefix_for<'p>(mark: &Mark, prefix: &'p KeyPrefix) -> &'p [u8] {
    if mark.is_glob() { prefix.as_glob() } else { prefix.as_str().as_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn in_pieces(unit: &Frame, prefix: &KeyPrefix, limit: usize) -> String {
        let mut encoding = Encoding::of(unit, prefix).expect("a unit");
        let (length, mut all, mut out) = (encoding.len(), Vec::new(), BytesMut::new());
        loop {
            let done = encoding.fill(&mut out, limit);
            assert!(out.len() <= limit + 64, "a piece of {} bytes", out.len());
            all.extend_from_slice(&out.split());
            if done {
                break;
            }
        }
        assert_eq!(all.len() as u64, length, "the length is known before the bytes");
        String::from_utf8_lossy(&all).into_owned()
    }

    #[test]
    fn joined_frames_keep_their_own_headers() {
        let prefix = KeyPrefix::new("p:").expect("valid");
        let unit = Frame::join([Frame::known("GET").key("a"), Frame::known("INCR").key("b")]);
        let whole = "*2\r\n$3\r\nGET\r\n$3\r\np:a\r\n*2\r\n$4\r\nINCR\r\n$3\r\np:b\r\n";
        assert_eq!(in_pieces(&unit, &prefix, 1000), whole);
        assert_eq!((unit.expected_replies(), unit.name().as_str()), (2, "pipeline"));
        assert_eq!(unit.unit().map(|unit| (unit.name_of(0), unit.name_of(1))), Some(("GET".into(), "INCR".into())));
        assert!(Frame::join([]).check().is_err());
        assert!(Frame::join([unit]).check().expect_err("nested").to_string().contains("cannot hold another"));
    }

    #[test]
    fn a_transaction_stands_between_multi_and_exec() {
        let unit = Frame::atomic([Frame::known("DEL").key("a")]);
        let whole = "*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n*1\r\n$4\r\nEXEC\r\n";
        assert_eq!(in_pieces(&unit, &KeyPrefix::none(), 1000), whole);
        assert_eq!((unit.expected_replies(), unit.name().as_str()), (3, "transaction"));
    }

    #[test]
    fn the_strictest_options_of_its_commands_apply_to_a_unit() {
        let ms = std::time::Duration::from_millis;
        let read = || Frame::known("GET").key("a").read_only();
        let unit = Frame::join([read(), read().timeout(ms(90)), read().timeout(ms(40)), read().hold(ms(7))]);
        assert_eq!((unit.own_timeout(), unit.longest_hold(), unit.is_repeatable()), (Some(ms(40)), ms(7), true));
        let unit = Frame::join([read(), Frame::known("INCR").key("a").when_down(WhenDown::FailFast)]);
        assert_eq!((unit.is_repeatable(), unit.own_when_down()), (false, Some(WhenDown::FailFast)));
        assert_eq!(Frame::atomic([read().hold(ms(7))]).longest_hold(), ms(0));
    }

    #[test]
    fn an_invalid_command_makes_the_unit_invalid_and_is_named() {
        let unit = Frame::join([Frame::known("GET").key("a"), Frame::known("DEL").invalid("needs at least one key")]);
        assert_eq!(unit.check().expect_err("invalid").to_string(), "DEL: needs at least one key");
    }

    proptest! {
        /// For every piece size the bytes are the same as if each command had been sealed on its own.
        #[test]
        fn pieces_make_the_whole(
            keys in proptest::collection::vec((any::<Vec<u8>>(), any::<bool>(), prop_oneof![8 => 0..300_usize, 1 => 4_000..5_000_usize]), 1..40),
            limit in 1..8_000_usize,
        ) {
            let prefix = KeyPrefix::new("a?b:").expect("valid");
            let frame = |(key, glob, value): &(Vec<u8>, bool, usize)| {
                let frame = Frame::known("X").arg(vec![b'v'; *value]);
                if *glob { frame.pattern(key) } else { frame.channel([b"__keyspace@0__:", &key[..]].concat()).key(key) }
            };
            let mut alone = BytesMut::new();
            for key in &keys {
                prefix.seal(&frame(key)).expect("valid").encode(&mut alone);
            }
            let unit = Frame::join(keys.iter().map(frame));
            prop_assert_eq!(in_pieces(&unit, &prefix, limit), String::from_utf8_lossy(&alone));
        }
    }
}
