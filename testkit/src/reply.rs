//! A server's reply (RESP2), and how it is read.

use std::io::{self, BufRead, Read};

/// Deeper replies than this are no answer of a real server to a test.
const MAX_DEPTH: usize = 32;
/// The protocol's own limit of one string.
const MAX_BULK: u64 = 512 * 1024 * 1024;

/// What a server answered to [`RedisServer::command`](crate::RedisServer::command).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status, such as `OK`.
    Simple(String),
    /// An error with its code, such as `WRONGTYPE Operation against ...`.
    Error(String),
    /// A number.
    Int(i64),
    /// A string, or nil. A nil array is one too.
    Bulk(Option<Vec<u8>>),
    /// A list of replies.
    Array(Vec<Reply>),
}

impl Reply {
    /// The text of a status, a string or a number.
    ///
    /// # Errors
    ///
    /// An error reply, nil, a list, or bytes that are no UTF-8.
    pub fn text(&self) -> io::Result<String> {
        match self {
            Reply::Simple(text) => Ok(text.clone()),
            Reply::Int(number) => Ok(number.to_string()),
            Reply::Bulk(Some(bytes)) => String::from_utf8(bytes.clone()).map_err(|_| self.is_not("text")),
            _ => Err(self.is_not("text")),
        }
    }

    /// The number, also where it came as a string, as `GET` gives counters.
    ///
    /// # Errors
    ///
    /// An error reply, nil, a list, or a text that is no number.
    pub fn int(&self) -> io::Result<i64> {
        match self {
            Reply::Int(number) => Ok(*number),
            _ => self.text().ok().and_then(|text| text.parse().ok()).ok_or_else(|| self.is_not("a number")),
        }
    }

    /// The list's elements.
    ///
    /// # Errors
    ///
    /// Where the reply is no list.
    pub fn array(&self) -> io::Result<&[Reply]> {
        match self {
            Reply::Array(items) => Ok(items),
            _ => Err(self.is_not("a list")),
        }
    }

    /// The bytes of a string; `None` for nil and everything else.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Reply::Bulk(Some(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The error's text, where the reply is one.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Reply::Error(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the reply is nil.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Reply::Bulk(None))
    }

    /// The reply itself, or its error as an [`io::Error`], for commands that just have to succeed.
    ///
    /// # Errors
    ///
    /// Where the reply is an error.
    pub fn ok(self) -> io::Result<Self> {
        match self {
            Reply::Error(text) => Err(io::Error::other(format!("the server refused: {text}"))),
            other => Ok(other),
        }
    }

    fn is_not(&self, wanted: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("the reply is not {wanted}: {self:?}"))
    }

    pub(crate) fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        read_reply(reader, 0)
    }
}

fn read_reply(reader: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    if depth > MAX_DEPTH {
        return Err(broken("lists nested too deeply", ""));
    }
    let line = read_line(reader)?;
    let mut chars = line.chars();
    let kind = chars.next();
    let rest = chars.as_str();
    match kind {
        Some('+') => Ok(Reply::Simple(rest.to_owned())),
        Some('-') => Ok(Reply::Error(rest.to_owned())),
        Some(':') => Ok(Reply::Int(number(rest)?)),
        Some('$') => match u64::try_from(number(rest)?) {
            Err(_) => Ok(Reply::Bulk(None)),
            Ok(length) if length > MAX_BULK => Err(broken("string too long", &line)),
            Ok(length) => read_bulk(reader, length),
        },
        Some('*') => match u64::try_from(number(rest)?) {
            Err(_) => Ok(Reply::Bulk(None)),
            Ok(length) => {
                (0..length).map(|_| read_reply(reader, depth + 1)).collect::<io::Result<_>>().map(Reply::Array)
            }
        },
        _ => Err(broken("no RESP2 reply", &line)),
    }
}

fn read_bulk(reader: &mut impl BufRead, length: u64) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(length).read_to_end(&mut bytes)?;
    if u64::try_from(read).ok() != Some(length) {
        return Err(closed());
    }
    let mut end = [0; 2];
    reader.read_exact(&mut end)?;
    if &end == b"\r\n" { Ok(Reply::Bulk(Some(bytes))) } else { Err(broken("string without its end", "")) }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    reader.by_ref().take(64 * 1024).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        None if line.ends_with(b"\n") || line.len() >= 64 * 1024 => {
            Err(broken("line without its end", &String::from_utf8_lossy(&line)))
        }
        None => Err(closed()),
    }
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| broken("no number", text))
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection before its reply was complete")
}

fn broken(what: &str, line: &str) -> io::Error {
    let start: String = line.chars().take(80).collect();
    io::Error::new(io::ErrorKind::InvalidData, format!("broken reply: {what}: {start:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> io::Result<Reply> {
        Reply::read(&mut io::BufReader::with_capacity(1, bytes))
    }

    #[test]
    fn every_form_is_read() -> io::Result<()> {
        assert_eq!(parse(b"+OK\r\n")?.text()?, "OK");
        assert_eq!(parse(b":-5\r\n")?.int()?, -5);
        assert_eq!(parse(b"$2\r\n42\r\n")?.int()?, 42);
        assert!(parse(b"$-1\r\n")?.is_nil());
        assert!(parse(b"*-1\r\n")?.is_nil());
        assert_eq!(parse(b"$4\r\na\r\n\xff\r\n")?.bytes(), Some(b"a\r\n\xff".as_slice()));
        let list = parse(b"*2\r\n:1\r\n*1\r\n-ERR no\r\n")?;
        assert_eq!(list, Reply::Array(vec![Reply::Int(1), Reply::Array(vec![Reply::Error("ERR no".into())])]));
        assert_eq!(list.array()?.len(), 2);
        Ok(())
    }

    #[test]
    fn errors_are_errors_of_the_accessors_only() -> io::Result<()> {
        let reply = parse(b"-WRONGTYPE no\r\n")?;
        assert_eq!(reply.error(), Some("WRONGTYPE no"));
        assert!(reply.text().is_err() && reply.int().is_err() && reply.array().is_err());
        assert!(reply.ok().is_err());
        Ok(())
    }

    #[test]
    fn cut_and_hostile_replies_are_errors() {
        for bytes in [
            b"".as_slice(),
            b"+OK",
            b"$5\r\nab",
            b"$2\r\nabc\r\n",
            b"*2\r\n:1\r\n",
            b"%1\r\n",
            b":x\r\n",
            b"$99999999999\r\n",
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        assert!(parse(&b"*1\r\n".repeat(10_000)).is_err());
    }
}
