//! Encodes arguments into a frame, and decodes them again.

use std::io;

use redis::RedisWrite;

use super::Frame;

/// Writes [`ToRedisArgs`] values into a frame.
pub(super) struct Arguments<'a>(pub(super) &'a mut Frame);

impl RedisWrite for Arguments<'_> {
    fn write_arg(&mut self, arg: &[u8]) {
        self.0.push(arg);
    }

    fn writer_for_next_arg(&mut self) -> impl io::Write + '_ {
        NextArgument { frame: self.0, bytes: Vec::new() }
    }
}

/// Collects an argument that is written in pieces. It is appended when the writer is dropped.
struct NextArgument<'a> {
    frame: &'a mut Frame,
    bytes: Vec<u8>,
}

impl io::Write for NextArgument<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NextArgument<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.frame.push(&bytes);
    }
}

/// Decodes the arguments, skipping the headers of joined commands.
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let line_end = self.0.iter().position(|&byte| byte == b'\n')?;
            let (line, rest) = self.0.split_at_checked(line_end + 1)?;
            let (kind, digits) = line.split_first()?;
            self.0 = rest;
            if *kind == b'$' {
                let len: usize = std::str::from_utf8(digits).ok()?.trim_end().parse().ok()?;
                let (word, rest) = rest.split_at_checked(len)?;
                self.0 = rest.get(2..)?;
                return Some(word);
            }
        }
    }
}
