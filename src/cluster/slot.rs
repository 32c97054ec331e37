//! Which of the 16,384 slots a key is in.

use crate::prefix::channels::{Channel, channel};

/// How many slots a cluster has.
pub(crate) const SLOTS: u16 = 16_384;

/// CRC16 as the servers compute it (XMODEM), a table entry a byte.
const TABLE: [u16; 256] = {
    let mut table = [0_u16; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        #[expect(clippy::indexing_slicing, reason = "byte is below 256, and this runs in the compiler")]
        {
            table[byte] = crc;
        }
        byte += 1;
    }
    table
};

fn crc16(from: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(from, |crc, byte| {
        let at = (crc >> 8) as u8 ^ byte;
        (crc << 8) ^ TABLE.get(usize::from(at)).copied().unwrap_or_default()
    })
}

/// What stands between the first `{` and the `}` behind it, if that is something: it alone decides.
fn tag(name: &[u8]) -> Option<&[u8]> {
    let open = name.iter().position(|byte| *byte == b'{')?;
    let rest = name.get(open + 1..)?;
    let close = rest.iter().position(|byte| *byte == b'}')?;
    rest.get(..close).filter(|tag| !tag.is_empty())
}

/// The slots of the keys of one prefix, which is hashed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slots {
    behind_prefix: u16,
    /// How many bytes the prefix has.
    prefix_len: u16,
    /// The prefix holds a whole hash tag: every key is there.
    all_in: Option<u16>,
}

impl Slots {
    /// A prefix holds one whole hash tag or no brace at all; see [`KeyPrefix`](crate::KeyPrefix).
    pub(crate) fn new(prefix: &[u8]) -> Self {
        Self {
            behind_prefix: crc16(0, prefix),
            // A prefix has at most 1 KiB.
            prefix_len: u16::try_from(prefix.len()).unwrap_or(u16::MAX),
            all_in: tag(prefix).map(|tag| crc16(0, tag) % SLOTS),
        }
    }

    /// The slot of a key, which is given without its prefix.
    pub(crate) fn of(&self, key: &[u8]) -> u16 {
        match (self.all_in, tag(key)) {
            (Some(slot), _) => slot,
            (None, Some(tag)) => crc16(0, tag) % SLOTS,
            (None, None) => crc16(self.behind_prefix, key) % SLOTS,
        }
    }

    /// As [`of`](Self::of), for a name that gets the prefix before its byte `at`, as `__keyspace@0__:key` does.
    pub(crate) fn of_inside(&self, name: &[u8], at: usize) -> u16 {
        let Some((head, key)) = name.split_at_checked(at).filter(|_| at > 0) else { return self.of(name) };
        match (self.all_in, tag(key)) {
            (Some(slot), _) => slot,
            (None, Some(tag)) => crc16(0, tag) % SLOTS,
            (None, None) => {
                // CRC is linear: what the head adds to the sum of the prefix is the head in front of as many zeros.
                let shifted = (0..self.prefix_len).fold(crc16(0, head), |crc, _| crc16(crc, &[0]));
                crc16(shifted ^ self.behind_prefix, key) % SLOTS
            }
        }
    }

    /// The slot of a shard channel, which is given without its prefix.
    pub(crate) fn of_channel(&self, name: &[u8]) -> u16 {
        match channel(name) {
            Channel::At(at) => self.of_inside(name, at),
            Channel::Keyevent | Channel::Refused(_) => self.of(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_the_servers_compute_it() {
        let none = Slots::new(b"");
        // From the specification, and from CLUSTER KEYSLOT of a server.
        for (key, slot) in [("123456789", 0x31C3), ("foo", 12182), ("{user1000}.following", 3443), ("user1000", 3443)] {
            assert_eq!(none.of(key.as_bytes()), slot, "{key}");
        }
        // An empty tag is none; only the first one counts; an open one is none.
        for (key, same) in [("foo{}{bar}", "foo{}{bar}"), ("foo{{bar}}zap", "{bar"), ("foo{bar}{zap}", "bar")] {
            assert_eq!(none.of(key.as_bytes()), crc16(0, same.as_bytes()) % SLOTS, "{key}");
        }
        assert_eq!(none.of(b"foo{bar"), crc16(0, b"foo{bar") % SLOTS);
    }

    proptest! {
        #[test]
        fn a_prefix_counts_as_part_of_the_key(prefix in "[a-z:]{0,9}", key in any::<Vec<u8>>()) {
            let whole = [prefix.as_bytes(), &key].concat();
            prop_assert_eq!(Slots::new(prefix.as_bytes()).of(&key), Slots::new(b"").of(&whole));
        }

        /// Ablation: the slot of the key alone fails for nearly every name.
        #[test]
        fn a_prefix_inside_of_a_name_counts_where_it_stands(prefix in "[a-z:]{0,9}", key in any::<Vec<u8>>()) {
            let whole = [b"__keyspace@0__:", prefix.as_bytes(), &key].concat();
            let name = [b"__keyspace@0__:", &*key].concat();
            prop_assert_eq!(Slots::new(prefix.as_bytes()).of_channel(&name), Slots::new(b"").of(&whole));
        }

        #[test]
        fn a_tag_in_the_prefix_brings_all_keys_together(key in any::<Vec<u8>>()) {
            prop_assert_eq!(Slots::new(b"{shop}:").of(&key), Slots::new(b"").of(b"shop"));
        }
    }
}
