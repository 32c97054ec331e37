//! One command on its way to the server, with every argument marked for what it is.
//!
//! A frame is encoded where the caller builds it, except for its prefix: that is written in between when
//! the frame is sealed. So the actor copies bytes and formats nothing but the lengths of keys.

mod arguments;
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
use mark::Mark;
use origin::Origin;
pub(crate) use origin_note::{AnswerOrigin, OriginNote};
pub use reads::ReadFrom;
use reads::Reads;
pub(crate) use script::Source;
pub(crate) use sealed::Sealed;
use sealed::put_line;
pub(crate) use unit::{Encoding, Extra, Unit};
pub(crate) use view::View;

/// The server's own limit for one argument (`proto-max-bulk-len`).
const MAX_ARGUMENT: usize = 512 * 1024 * 1024;
/// The server's own limit for the number of arguments of one command.
const MAX_ARGUMENTS: u32 = 1024 * 1024;
const NO_NAME: &str = "a command needs a name";
const TOO_MANY_ARGUMENTS: &str = "more than the 1,048,576 arguments that a server accepts; send several commands";

/// What a command costs beside its own bytes, for the bounds: without it a queue of ten million empty
/// commands would count as nothing. Measured by the test `memory_of_a_queued_command`.
const BOOKKEEPING: usize = 350;

/// Commands whose first argument names what is done, so that errors can say `XGROUP CREATE`.
const CONTAINERS: &[&str] = &[
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT", "PUBSUB",
    "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
];

/// What a frame wants while there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenDown {
    /// Wait in the offline queue until the deadline. The default.
    #[default]
    Queue,
    /// Fail at once with [`ErrorKind::Disconnected`](crate::ErrorKind::Disconnected). Before the first dial has ended nobody
    /// knows whether there is a server: that is waited for, until the deadline.
    FailFast,
}

/// One command: its name and arguments, and how it may be treated on the way.
///
/// Keys, patterns and channels are marked when they are added; only they get the prefix.
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
    /// What it is beyond one plain command. Shared, so that plain ones carry nothing but a pointer.
    extra: Option<Arc<Extra>>,
    /// Milliseconds; 0 stands for the connection's own command timeout.
    timeout: u32,
    /// Milliseconds that the server may hold the answer back by design.
    hold: u32,
    traits: Traits,
    fault: Option<Error>,
}

#[derive(Clone, Copy, Default)]
struct Traits {
    repeatable: bool,
    pinned: bool,
    when_down: Option<WhenDown>,
    reply_keys: ReplyKeys,
    origin: Origin,
    /// The caller says that a command nobody here knows has no keys.
    without_keys: bool,
    /// Its bytes have left on a link that broke.
    may_have_run: bool,
    /// One more than the slot of a cluster whose owner it goes to.
    slot: Option<NonZeroU16>,
    reads: Reads,
    /// Who may answer it, by its own word.
    read_from: Option<ReadFrom>,
}

impl Frame {
    /// A command without arguments. A container's subcommand follows after a space: `XGROUP CREATE`.
    ///
    /// What is built by hand is judged before it is sent: every key of a command that is known here must be
    /// marked and nothing else, a command that is not known needs a marked key or [`without_keys`](Self::without_keys), and what
    /// does not belong on a shared, prefixed connection is refused. Nothing is sent then, and the error says what
    /// to do; [`Error::refusal`] tells the class.
    pub fn new(name: &str) -> Self {
        let mut frame = Self::known(name);
        frame.traits.origin = Origin::ByHand;
        frame
    }

    /// As [`new`](Self::new), for the messages of this crate: their marks are taken on trust, and proven in tests.
    pub(crate) fn known(name: &str) -> Self {
        let mut frame = Self { encoded: Vec::with_capacity(name.len() + 48), ..Self::default() };
        for word in name.as_bytes().split(|byte| *byte == b' ') {
            frame.push(word);
        }
        if name.is_empty() {
            frame.fail(NO_NAME);
        }
        frame.traits.origin = Origin::Known;
        frame
    }

    /// Adds a key: it gets the prefix.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.push_marked(key.as_ref(), 0, false);
        self
    }

    /// Adds keys: each gets the prefix.
    pub fn keys<K: AsRef<[u8]>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        for key in keys {
            self.push_marked(key.as_ref(), 0, false);
        }
        self
    }

    /// Adds a glob pattern for keys: it gets the prefix with its glob characters escaped.
    pub fn pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        self.push_marked(pattern.as_ref(), 0, true);
        self
    }

    /// Adds a glob pattern for channels: it gets the prefix as [`channel`](Self::channel) does, with its glob
    /// characters escaped.
    pub fn channel_pattern(mut self, pattern: impl AsRef<[u8]>) -> Self {
        let pattern = pattern.as_ref();
        self.push_channel(pattern, channels::channel_pattern(pattern), true);
        self
    }

    /// Adds a channel: it gets the prefix; in `__keyspace@n__:key` the key gets it, and `__keyevent@n__:event`,
    /// which every service shares, stays as it is.
    pub fn channel(mut self, channel: impl AsRef<[u8]>) -> Self {
        let channel = channel.as_ref();
        self.push_channel(channel, channels::channel(channel), false);
        self
    }

    /// Adds an argument, or as many as `value` stands for, exactly as given.
    pub fn arg(mut self, value: impl ToRedisArgs) -> Self {
        value.write_redis_args(&mut Arguments(&mut self));
        self
    }

    /// Marks a command that only reads: it may be sent again when a link broke before its reply came. A command that
    /// is known to only read need not say it.
    pub fn read_only(mut self) -> Self {
        (self.traits.repeatable, self.traits.reads) = (true, Reads::Anywhere);
        self
    }

    /// Marks a command of which running it twice does the same as running it once.
    pub fn idempotent(mut self) -> Self {
        self.traits.repeatable = true;
        self
    }

    /// Sets the deadline of this command alone, from now until its reply, over every phase. Whole
    /// milliseconds, at least 1; without it the connection's `command_timeout` holds. From a second on it may end a step of
    /// the system's coarse clock early, normally 1 to 10 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = millis(timeout).max(1);
        self
    }

    /// Says that the server may hold the answer back that long by design (`BLOCK`), so that its silence
    /// is not taken for a dead link, and that it needs a connection of its own meanwhile. Without a timeout of
    /// its own the deadline grows by as much. Commands that are known to wait need not say it.
    pub fn hold(mut self, longest: Duration) -> Self {
        self.hold = millis(longest);
        self
    }

    /// Sets what becomes of this command while there is no connection.
    pub fn when_down(mut self, what: WhenDown) -> Self {
        self.traits.when_down = Some(what);
        self
    }

    /// Says that the command has no keys, for one that this version does not know: it is sent as it is. Commands
    /// that are known keep their rules.
    pub fn without_keys(mut self) -> Self {
        self.traits.without_keys = true;
        self
    }

    /// Says where the reply carries names that must lose the prefix. Without it a command that is known has its
    /// own rule.
    pub fn reply_keys(mut self, keys: ReplyKeys) -> Self {
        self.traits.reply_keys = keys;
        self
    }

    /// Makes the frame unusable, for builders that find their arguments wrong: sending it fails with
    /// [`ErrorKind::InvalidCommand`](crate::ErrorKind::InvalidCommand) and these words.
    pub fn invalid(mut self, why: &'static str) -> Self {
        self.fail(why);
        self
    }

    /// The command's name, with its subcommand, in upper case; of joined commands what they are together,
    /// in lower case.
    #[must_use]
    pub fn name(&self) -> String {
        match self.unit() {
            Some(unit) => unit.name().to_owned(),
            None => name_of(self.args()),
        }
    }

    /// The arguments as given, the name first, without any prefix.
    pub fn args(&self) -> impl Iterator<Item = &[u8]> {
        Words(&self.encoded).chain(self.unit().into_iter().flat_map(Unit::words))
    }

    /// Whether it may be sent. Of joined commands each was asked when it was joined.
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

    /// It is sent again because it may run twice: no later outcome says that it did not run.
    pub(crate) fn note_may_have_run(&mut self) {
        self.traits.may_have_run = true;
    }

    pub(crate) fn may_have_run(&self) -> bool {
        self.traits.may_have_run
    }

    /// Binds it to the link it is sent on: on another one it would mean something else.
    pub(crate) fn pinned(self) -> Self {
        // With the digest alone it might have to be sent once more, and then where?
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

    /// The commands that were joined in it, if it is not a single one.
    pub(crate) fn unit(&self) -> Option<&Unit> {
        match self.extra() {
            Some(Extra::Unit(unit)) => Some(unit),
            _ => None,
        }
    }

    /// How many replies the server owes for this frame.
    pub(crate) fn expected_replies(&self) -> usize {
        self.unit().map_or(1, Unit::replies)
    }

    /// Whether the reply is the array of several replies, even of one.
    pub(crate) fn is_unit(&self) -> bool {
        self.unit().is_some()
    }

    /// How many bytes this frame keeps in memory while it waits for its turn and its reply.
    pub(crate) fn size(&self) -> usize {
        self.unit().map_or(self.encoded.len(), Unit::size) + BOOKKEEPING
    }

    /// How many arguments there are, the name among them; of joined commands, nothing of use.
    pub(crate) fn len(&self) -> usize {
        self.arguments as usize
    }

    /// Appends the arguments of `tail`, a frame without a name of its own: what comes last on the wire
    /// but is known to a builder before its options are.
    pub(crate) fn concat(mut self, tail: Self) -> Self {
        let shift = self.encoded.len() as u32;
        if u32::try_from(self.encoded.len() + tail.encoded.len()).is_err() {
            self.fail("a command is longer than 4 GiB");
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

    /// Appends one argument and returns where its body begins.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        if bytes.len() > MAX_ARGUMENT {
            self.fail("an argument is longer than the 512 MiB that a server accepts");
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
            None => self.fail("a command is longer than 4 GiB"),
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

/// Payloads stay out of logs: the name and the number of arguments are all that is shown.
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

/// The arguments of a command of the `redis` crate, the name first. Its own iterator hides the cursor.
pub(crate) fn line(cmd: &redis::Cmd) -> Vec<Vec<u8>> {
    Words(&cmd.get_packed_command()).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests;
