//! The position of the prefix in a frame.

/// An argument that takes the prefix, by offsets in the encoded frame. It has 12 bytes, because every queued command
/// has one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    header: u32,
    /// The offset of the prefix; not the start of the body for `__keyspace@0__:name`.
    insert: u32,
    /// The length of the argument in 29 bits, and three flags above.
    packed: u32,
}

const GLOB: u32 = 1 << 31;
/// The prefix is inserted inside the body.
const INSIDE: u32 = 1 << 30;
/// It is no key and selects no cluster slot.
const UNROUTED: u32 = 1 << 29;

impl Mark {
    /// `None` if an offset does not fit.
    pub(super) fn of(header: usize, insert: usize, len: usize, inside: bool, glob: bool) -> Option<Self> {
        let len = u32::try_from(len).ok().filter(|len| *len < UNROUTED)?;
        let flags = if inside { INSIDE } else { 0 } | if glob { GLOB } else { 0 };
        Some(Self { header: u32::try_from(header).ok()?, insert: u32::try_from(insert).ok()?, packed: len | flags })
    }

    /// The offset of the argument's `$`.
    pub(super) fn header(self) -> u32 {
        self.header
    }

    pub(super) fn insert(self) -> u32 {
        self.insert
    }

    pub(super) fn len(self) -> u32 {
        self.packed & !(GLOB | INSIDE | UNROUTED)
    }

    /// The offset of the argument's bytes, after `$12\r\n`.
    pub(super) fn body(self) -> u32 {
        if self.packed & INSIDE == 0 {
            return self.insert;
        }
        self.header + 1 + self.len().checked_ilog10().unwrap_or(0) + 1 + 2
    }

    pub(super) fn is_glob(self) -> bool {
        self.packed & GLOB != 0
    }

    /// The same argument, which selects no cluster slot.
    pub(super) fn unrouted(self) -> Self {
        Self { packed: self.packed | UNROUTED, ..self }
    }

    /// The argument is a key or a channel, which selects the cluster slot.
    pub(super) fn selects_slot(self) -> bool {
        self.packed & (GLOB | UNROUTED) == 0
    }

    /// The prefix is inserted unchanged in front of the first byte.
    pub(super) fn is_plain(self) -> bool {
        self.packed & (GLOB | INSIDE) == 0
    }

    /// The same argument, `by` bytes closer to the start.
    pub(super) fn back(self, by: u32) -> Self {
        Self { header: self.header.saturating_sub(by), insert: self.insert.saturating_sub(by), ..self }
    }

    /// The same argument, `by` bytes further from the start.
    pub(super) fn shifted(self, by: u32) -> Self {
        Self { header: self.header + by, insert: self.insert + by, ..self }
    }
}
