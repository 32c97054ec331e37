//! Modes and faults of the proxy, and their effect on a piece of bytes.

use std::num::NonZeroUsize;
use std::time::Duration;

/// A direction of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: commands.
    ToServer,
    /// From the server to the client: replies.
    ToClient,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Accept {
    #[default]
    Forward,
    Silent,
    Close,
    Refuse,
}

/// The modes, which stay.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) accept: Accept,
    pub(super) hold_to_server: bool,
    pub(super) hold_to_client: bool,
    pub(super) chunk: Option<NonZeroUsize>,
    pub(super) delay: Duration,
}

impl Plan {
    pub(super) fn held(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.hold_to_server,
            Direction::ToClient => self.hold_to_client,
        }
    }
}

/// Faults that happen once, to the next bytes.
#[derive(Debug, Default)]
pub(super) struct Tricks {
    pub(super) corrupt: usize,
    pub(super) truncate: usize,
    pub(super) cut_to_server: Option<u64>,
    pub(super) cut_to_client: Option<u64>,
}

impl Tricks {
    /// Changes the bytes; `true` where the connection is to be closed after them.
    pub(super) fn apply(&mut self, direction: Direction, bytes: &mut Vec<u8>) -> bool {
        if direction == Direction::ToClient {
            let swallowed = self.truncate.min(bytes.len());
            self.truncate -= swallowed;
            bytes.drain(..swallowed);
            let flipped = self.corrupt.min(bytes.len());
            self.corrupt -= flipped;
            bytes.iter_mut().take(flipped).for_each(|byte| *byte ^= 0x80);
        }
        let cut = match direction {
            Direction::ToServer => &mut self.cut_to_server,
            Direction::ToClient => &mut self.cut_to_client,
        };
        let Some(left) = *cut else { return false };
        let length = bytes.len() as u64;
        if length < left || length == 0 {
            *cut = Some(left - length);
            return false;
        }
        *cut = None;
        // `left` is at most the length of a vector.
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Direction::{ToClient, ToServer};
    use super::*;

    #[test]
    fn a_cut_lets_exactly_its_count_pass() {
        let mut tricks = Tricks { cut_to_client: Some(5), ..Tricks::default() };
        let mut bytes = b"abc".to_vec();
        assert!(!tricks.apply(ToServer, &mut bytes));
        assert!(!tricks.apply(ToClient, &mut bytes));
        let mut bytes = b"defgh".to_vec();
        assert!(tricks.apply(ToClient, &mut bytes));
        assert_eq!(bytes, b"de");
        assert!(!tricks.apply(ToClient, &mut bytes), "a cut happens once");
    }

    #[test]
    fn a_cut_of_zero_takes_the_place_of_the_next_byte() {
        let mut tricks = Tricks { cut_to_server: Some(0), ..Tricks::default() };
        assert!(!tricks.apply(ToServer, &mut Vec::new()));
        let mut bytes = b"x".to_vec();
        assert!(tricks.apply(ToServer, &mut bytes));
        assert!(bytes.is_empty());
    }

    #[test]
    fn swallowing_and_flipping_go_over_pieces() {
        let mut tricks = Tricks { truncate: 3, corrupt: 2, ..Tricks::default() };
        let mut bytes = b"+O".to_vec();
        assert!(!tricks.apply(ToClient, &mut bytes));
        assert!(bytes.is_empty());
        let mut bytes = b"Kab\r\n".to_vec();
        assert!(!tricks.apply(ToClient, &mut bytes));
        assert_eq!(bytes, [b'a' ^ 0x80, b'b' ^ 0x80, b'\r', b'\n']);
    }
}
