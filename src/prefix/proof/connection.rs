//! A test server, and a connection that returns every reply unchanged.
//!
//! The test kit's own connection supports RESP2 and text only. These tests need RESP3 and names that are not text.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use redis::Value;
use redis_actix_test::RedisServer;

/// `REDIS_SERVER`, or the server on the path.
pub(super) fn start() -> RedisServer {
    RedisServer::start().unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn connect(server: &RedisServer) -> Connection {
    let stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Connection(BufReader::with_capacity(64 * 1024, stream))
}

pub(super) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(super) fn ask<A: AsRef<[u8]>>(&mut self, argv: &[A]) -> Value {
        self.ask_all(&[argv]).pop().unwrap()
    }

    /// Sends all lines in one write. Returns the replies in order, including errors.
    pub(super) fn ask_all<A: AsRef<[u8]>>(&mut self, lines: &[impl AsRef<[A]>]) -> Vec<Value> {
        lines.chunks(1024).flat_map(|lines| self.exchange(lines)).collect()
    }

    fn exchange<A: AsRef<[u8]>>(&mut self, lines: &[impl AsRef<[A]>]) -> Vec<Value> {
        self.send_all(lines);
        lines.iter().map(|_| self.read()).collect()
    }

    pub(super) fn send<A: AsRef<[u8]>>(&mut self, line: &[A]) {
        self.send_all(&[line]);
    }

    fn send_all<A: AsRef<[u8]>>(&mut self, lines: &[impl AsRef<[A]>]) {
        let mut bytes = Vec::new();
        for line in lines {
            let line = line.as_ref();
            write!(bytes, "*{}\r\n", line.len()).unwrap();
            for arg in line {
                write!(bytes, "${}\r\n", arg.as_ref().len()).unwrap();
                bytes.extend_from_slice(arg.as_ref());
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.send_bytes(&bytes);
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// A separate decoder: an error may quote a name that is not text, and the library's decoder is not under test.
    pub(super) fn read(&mut self) -> Value {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        line.truncate(line.len() - 2);
        let (kind, rest) = line.split_first().expect("the server closed the connection");
        let text = String::from_utf8_lossy(rest).into_owned();
        let length = || text.parse::<i64>().unwrap();
        match kind {
            b'+' if text == "OK" => Value::Okay,
            b'+' => Value::SimpleString(text),
            b'-' => redis::parse_redis_value(format!("-{text}\r\n").as_bytes()).unwrap(),
            b':' => Value::Int(length()),
            b',' => Value::Double(text.parse().unwrap()),
            b'(' => Value::SimpleString(text),
            b'#' => Value::Boolean(text == "t"),
            b'$' | b'=' if length() >= 0 => {
                let mut bytes = vec![0; usize::try_from(length()).unwrap() + 2];
                self.0.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Value::BulkString(bytes)
            }
            b'*' if length() >= 0 => Value::Array((0..length()).map(|_| self.read()).collect()),
            // In a push the kind is an ordinary element; the library's decoder would convert it.
            b'>' => Value::Array((0..length()).map(|_| self.read()).collect()),
            b'~' => Value::Set((0..length()).map(|_| self.read()).collect()),
            b'%' => Value::Map((0..length()).map(|_| (self.read(), self.read())).collect()),
            b'$' | b'*' | b'_' => Value::Nil,
            _ => panic!("{text:?} is no reply"),
        }
    }
}

/// Every string in a reply.
pub(super) fn strings<'a>(value: &'a Value, to: &mut Vec<&'a [u8]>) {
    match value {
        Value::BulkString(text) => to.push(text),
        Value::SimpleString(text) => to.push(text.as_bytes()),
        Value::Array(items) | Value::Set(items) => items.iter().for_each(|v| strings(v, to)),
        Value::Map(pairs) => pairs.iter().for_each(|(k, v)| {
            strings(k, to);
            strings(v, to);
        }),
        Value::ServerError(error) => to.extend(error.details().map(str::as_bytes)),
        _ => {}
    }
}
