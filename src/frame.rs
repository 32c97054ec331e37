//! One encoded command, with a mark on every argument that takes the prefix.
//!
//! The caller encodes the frame completely except for the prefix, which is inserted when the frame is sealed. So the
//! actor copies bytes, and formats only the lengths of keys.

mod arguments;
mod caching;
mod mark;
mod origin;
mod origin_note;
mod reads;
mod script;
mod sealed;
mod unit;
mod view;
mod waiting;

use std::{fmt, num::NonZeroU16, sync::Arc, time::Duration};

use redis::ToRedisArgs;
use smallvec::SmallVec;

use crate::error::{Error, Result};
pub use crate::prefix::replies::ReplyKeys;
use crate::prefix::{
    by_hand,
    channels::{self, Channel},
};
use arguments::{Arguments, Words};
pub(crate) use caching::CacheChoice;
use caching::PackedCacheChoice;
use mark::Mark;
use origin::Origin;
pub(crate) use origin_note::{AnswerOrigin, OriginNote};
pub use reads::ReadFrom;
use reads::Reads;
pub(crate) use script::{Source, UnknownScript};
pub(crate) use sealed::Sealed;
use sealed::put_line;
pub(crate) use unit::{Encoding, Extra, Unit};
pub(crate) use view::View;

/// The server's limit for one argument (`proto-max-bulk-len`).
const MAX_ARGUMENT: usize = 512 * 1024 * 1024;
/// The server's limit for the number of arguments of one command.
const MAX_ARGUMENTS: u32 = 1024 * 1024;
const NO_NAME: &str = "a command needs a name";
const TOO_MANY_ARGUMENTS: &str = "more than the 1,048,576 arguments that a server accepts; send several commands";

/// The memory cost of a command beyond its own bytes. Without it a queue of ten million empty commands would count as
/// empty. Measured by the test `memory_of_a_queued_command`.
const BOOKKEEPING: usize = 350;

/// Commands whose first argument is a subcommand, so that errors can name it, such as `XGROUP CREATE`.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT", "PUBSUB",
    "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
];

/// How a command is handled while there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenDown {
    /// Wait in the offline queue until the deadline. The default.
    #[default]
    Queue,
    /// Fail immediately with [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected). Before the first connection
    /// attempt has ended the availability of the server is unknown: the command waits for that result, until its
    /// deadline.
    FailFast,
}

/// One command: its name, its arguments and its options.
///
/// Keys, patterns and channels are marked when they are added, and only these get the prefix.
///
/// ```
/// use redis_actix::Frame;
///
/// let frame = Frame::new("HGET").key("user:1").arg("last_seen").read_only();
/// assert_eq!(frame.name(), "HGET");
/// ```
#[derive(Clone, Default)]
#[must_use = "a frame does nothing until a message carries it to a connection"]
pub struct Frame {
    /// `$len\r\nbytes\r\n` for every argument, unprefixed.
    encoded: Vec<u8>,
    marks: SmallVec<[Mark; 1]>,
    arguments: u32,
    /// Present for everything but a plain command. Shared, so that a plain command costs only a pointer.
    extra: Option<Arc<Extra>>,
    /// In milliseconds; 0 selects the connection's command timeout.
    timeout: u32,
    /// In milliseconds: the maximum time for which the server may delay the reply by design.
    hold: u32,
    traits: Traits,
    fault: Option<Error>,
}

/// The caller declares that an unknown command has no keys.
const WITHOUT_KEYS: u8 = 1;
/// Its bytes were sent on a link that then broke.
const MAY_HAVE_RUN: u8 = 2;

#[derive(Clone, Copy, Default)]
struct Traits {
    repeatable: bool,
    pinned: bool,
    when_down: Option<WhenDown>,
    reply_keys: ReplyKeys,
    origin: Origin,
    /// [`WITHOUT_KEYS`] and [`MAY_HAVE_RUN`], in one byte because every queued command has the traits.
    flags: u8,
    /// One more than the cluster slot whose owner receives the command.
    slot: Option<NonZeroU16>,
    reads: Reads,
    /// The command's own choice of the server that replies.
    read_from: Option<ReadFrom>,
    cache: PackedCacheChoice,
}

impl Frame {
    /// Creates a command without arguments. The subcommand of a container follows after a space: `XGROUP CREATE`.
    ///
    /// A command built by hand is checked before it is sent. In a known command every key must be marked, and nothing
    /// else. An unknown command needs a marked key or [`without_keys`](Self::without_keys). Commands unfit for a
    /// shared, prefixed connection are refused. A refused command is not sent, and the error names an alternative;
    /// [`Error::refusal`] returns the class.
    pub fn new(name: &str) -> Self {
        let mut frame = Self::known(name);
        frame.traits.origin = Origin::ByHand;
        frame
    }

    /// Like [`new`](Self::new), for the messages of this crate: their marks are not checked at run time, but in
    /// tests.
    pub(crate) fn known(name: &str) -> Self {
        let mut frame = Self { encoded: Vec::with_capacity(name.len() + 48), ..Self::known_empty() };
        // Without the checks of `push`: names are short, and this is a tenth of the cost of a small message.
        for word in name.as_bytes().split(|byte| *byte == b' ') {
            put_line(&mut frame.encoded, b'$', word.len());
            frame.encoded.extend_from_slice(word);
            frame.encoded.extend_from_slice(b"\r\n");
            frame.arguments += 1;
        }
        if name.is_empty() {
            frame.fail(NO_NAME);
        }
        frame
    }

    /// Adds a key. It gets the prefix.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.push_marked(key.as_ref(), 0, false);
        self
    }

    /// Adds keys. Each gets the prefix.
    pub fn keys<K: AsRef<[u8]>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        for key in keys {
            self.push_marked(key.as_ref(), 0, false);
        }
        self
    }

    /// Adds a name that gets the prefix and selects no cluster slot, such as the prefixes of an index.
    pub(crate) fn unrouted(mut self, name: impl AsRef<[u8]>) -> Self {
        let marks = self.marks.len();
        self.push_marked(name.as_ref(), 0, false);
        if let Some(mark) = self.marks.get_mut(marks) {
            *mark = mark.unrouted();
        }
        self
    }

    /// Adds a glob pattern for keys. It gets the prefix with its glob characters escaped.
    pub fn pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.push_marked(pattern.as_ref(), 0, true);
        self
    }

    /// Adds a glob pattern for channels. It gets the prefix as in [`channel`](Self::channel), with its glob
    /// characters escaped.
    pub fn channel_pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        let pattern = pattern.as_ref();
        self.push_channel(pattern, channels::channel_pattern(pattern), true);
        self
    }

    /// Adds a channel. It gets the prefix. In `__keyspace@n__:key` the key gets the prefix, and
    /// `__keyevent@n__:event`, which all services share, is unchanged.
    pub fn channel(mut self, channel: impl AsRef<[u8]>) -> Self {
        let channel = channel.as_ref();
        self.push_channel(channel, channels::channel(channel), false);
        self
    }

    /// Adds `value` as one or more arguments, unchanged.
    pub fn arg(mut self, value: impl ToRedisArgs) -> Self {
        value.write_redis_args(&mut Arguments(&mut self));
        self
    }

    /// Marks a command as read-only: it is retried if the link breaks before its reply arrives. Known read-only
    /// commands do not need the mark.
    pub fn read_only(mut self) -> Self {
        (self.traits.repeatable, self.traits.reads) = (true, Reads::Anywhere);
        self
    }

    /// Marks a command as idempotent: running it twice has the effect of running it once.
    pub fn idempotent(mut self) -> Self {
        self.traits.repeatable = true;
        self
    }

    /// Sets the deadline of this command, from now until its reply, over all phases: whole milliseconds, minimum 1.
    /// Without it the connection's `command_timeout` applies. A timeout of 1 s or more may expire one step of the
    /// system's coarse clock early, normally 1 to 10 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = millis(timeout).max(1);
        self
    }

    /// Declares the maximum time for which the server may delay the reply by design (`BLOCK`). The command gets a
    /// dedicated connection, and silence during this time does not count as a dead link. Without its own timeout the
    /// deadline is extended by this time. Known blocking commands do not need it.
    pub fn hold(mut self, longest: Duration) -> Self {
        self.hold = millis(longest);
        self
    }

    /// Sets how the command is handled while there is no connection.
    pub fn when_down(mut self, what: WhenDown) -> Self {
        self.traits.when_down = Some(what);
        self
    }

    /// Declares that the command has no keys, for a command unknown to this version. It is sent unchanged. For known
    /// commands their own rules apply.
    pub fn without_keys(mut self) -> Self {
        self.traits.flags |= WITHOUT_KEYS;
        self
    }

    /// Declares which elements of the reply are key names and lose the prefix. Known commands have their own rule as
    /// default.
    pub fn reply_keys(mut self, keys: ReplyKeys) -> Self {
        self.traits.reply_keys = keys;
        self
    }

    /// Makes the frame invalid, for builders that detect wrong arguments: sending it fails with
    /// [`ErrorKind::InvalidCommand`](crate::ErrorKind::InvalidCommand) and this text.
    pub fn invalid(mut self, why: &'static str) -> Self {
        self.fail(why);
        self
    }

    /// Like [`invalid`](Self::invalid), for a text that names values.
    pub(crate) fn refuse(mut self, why: String) -> Self {
        self.fault.get_or_insert_with(|| Error::invalid_command(why));
        self
    }

    /// The name of the command with its subcommand, in upper case; for joined commands the name of the unit, in lower
    /// case.
    #[must_use]
    pub fn name(&self) -> String {
        match self.unit() {
            Some(unit) => unit.name().to_owned(),
            None => name_of(self.args()),
        }
    }

    /// The arguments as given, starting with the name, without the prefix.
    pub fn args(&self) -> impl Iterator<Item = &[u8]> {
        Words(&self.encoded).chain(self.unit().into_iter().flat_map(Unit::words))
    }

    /// Checks whether the frame may be sent. Joined commands were checked when they were joined.
    pub(crate) fn check(&self) -> Result<()> {
        let judged = match &self.fault {
            Some(fault) => Err(fault.clone()),
            None if self.traits.origin == Origin::ByHand && !self.is_unit() => by_hand::judge(&self.line(&self.argv())),
            None => Ok(()),
        };
        let judged = judged.and_then(|()| self.misplaced().map_or(Ok(()), |why| Err(Error::invalid_command(why))));
        judged.map_err(|error| error.of_command(self.name()))
    }

    pub(crate) fn is_repeatable(&self) -> bool {
        self.traits.repeatable || self.is_known_read()
    }

    /// The command is retried although it may have run, so that no later outcome reports that it did not run.
    pub(crate) fn note_may_have_run(&mut self) {
        self.traits.flags |= MAY_HAVE_RUN;
    }

    pub(crate) fn may_have_run(&self) -> bool {
        self.traits.flags & MAY_HAVE_RUN != 0
    }

    /// Binds the frame to the link on which it is sent: it has no meaning on another one.
    pub(crate) fn pinned(self) -> Self {
        // With the digest alone a NOSCRIPT reply would need a retry, possibly on another link.
        let mut whole = if self.script().is_some() { self.with_source() } else { self };
        whole.traits.pinned = true;
        whole
    }

    pub(crate) fn is_pinned(&self) -> bool {
        self.traits.pinned
    }

    pub(crate) fn own_timeout(&self) -> Option<Duration> {
        (self.timeout > 0).then(|| Duration::from_millis(self.timeout.into()))
    }

    pub(crate) fn longest_hold(&self) -> Duration {
        Duration::from_millis(self.hold.into())
    }

    pub(crate) fn own_when_down(&self) -> Option<WhenDown> {
        self.traits.when_down
    }

    pub(crate) fn extra(&self) -> Option<&Extra> {
        self.extra.as_deref()
    }

    /// The joined commands, if the frame has several.
    pub(crate) fn unit(&self) -> Option<&Unit> {
        match self.extra() {
            Some(Extra::Unit(unit)) => Some(unit),
            _ => None,
        }
    }

    /// The number of replies that the server sends for this frame.
    pub(crate) fn expected_replies(&self) -> usize {
        self.unit().map_or(1, Unit::replies)
    }

    /// Whether the reply is the array of the replies of its commands, even if there is one.
    pub(crate) fn is_unit(&self) -> bool {
        self.unit().is_some()
    }

    /// The number of bytes that the frame occupies while it waits to be sent and for its reply.
    pub(crate) fn size(&self) -> usize {
        self.unit().map_or(self.encoded.len(), Unit::size) + BOOKKEEPING
    }

    /// The number of arguments including the name; meaningless for joined commands.
    pub(crate) fn len(&self) -> usize {
        self.arguments as usize
    }

    /// Appends the arguments of `tail`, a frame without a name. For builders that know the last arguments before the
    /// options.
    pub(crate) fn concat(mut self, tail: Self) -> Self {
        let shift = self.encoded.len() as u32;
        if u32::try_from(self.encoded.len() + tail.encoded.len()).is_err() {
            self.fail("a command is longer than 4 GiB; send several commands");
            return self;
        }
        if self.arguments.saturating_add(tail.arguments) > MAX_ARGUMENTS {
            self.fail(TOO_MANY_ARGUMENTS);
        }
        self.arguments = self.arguments.saturating_add(tail.arguments);
        self.encoded.extend_from_slice(&tail.encoded);
        self.marks.extend(tail.marks.iter().map(|mark| mark.shifted(shift)));
        self.fault = self.fault.or(tail.fault);
        self
    }

    fn fail(&mut self, why: &'static str) {
        self.fault.get_or_insert_with(|| Error::invalid_command(why));
    }

    /// Appends one argument, and returns the offset of its body.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        if bytes.len() > MAX_ARGUMENT {
            self.fail("an argument is longer than the 512 MiB that a server accepts; split the value");
            return 0;
        }
        if self.arguments >= MAX_ARGUMENTS {
            self.fail(TOO_MANY_ARGUMENTS);
            return 0;
        }
        if self.traits.origin == Origin::HandedOut {
            self.traits.origin = Origin::ByHand;
        }
        if self.is_unit() {
            self.fail("joined commands take no more arguments: add them before they are joined");
            return 0;
        }
        self.arguments += 1;
        self.encoded.reserve(bytes.len() + 16);
        put_line(&mut self.encoded, b'$', bytes.len());
        let body = self.encoded.len();
        self.encoded.extend_from_slice(bytes);
        self.encoded.extend_from_slice(b"\r\n");
        body
    }

    fn push_marked(&mut self, bytes: &[u8], offset: usize, glob: bool) {
        let header = self.encoded.len();
        let body = self.push(bytes);
        match Mark::of(header, body + offset, bytes.len(), offset > 0, glob) {
            Some(mark) => self.marks.push(mark),
            None => self.fail("a command is longer than 4 GiB; send several commands"),
        }
    }

    fn push_channel(&mut self, name: &[u8], rule: Channel, glob: bool) {
        match rule {
            Channel::At(offset) => self.push_marked(name, offset, glob),
            Channel::Keyevent => {
                self.push(name);
            }
            Channel::Refused(why) => self.fail(why),
        }
    }
}

/// Payloads must not reach logs: only the name and the number of arguments are shown.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("name", &self.name())
            .field("arguments", &self.arguments)
            .field("keys", &self.marks.len())
            .field("commands", &self.unit().map(Unit::len))
            .finish_non_exhaustive()
    }
}

fn name_of<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> String {
    let mut words = words.by_ref().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase());
    let mut name = words.next().unwrap_or_default();
    if CONTAINERS.contains(&name.as_str())
        && let Some(subcommand) = words.next()
    {
        name.push(' ');
        name.push_str(&subcommand);
    }
    name
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// The arguments of a `redis::Cmd`, starting with the name. The crate's own iterator hides the cursor.
pub(crate) fn line(cmd: &redis::Cmd) -> Vec<Vec<u8>> {
    Words(&cmd.get_packed_command()).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests;
