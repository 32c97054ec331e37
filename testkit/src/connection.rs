//! A small synchronous client, for tests that inspect a server without the client under test.

use crate::reply::Reply;
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Default time limit of a command.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(5);

/// One blocking connection. Every command ends by its deadline, also if the server is frozen, killed or sends slowly.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<Timed>,
    time_limit: Duration,
}

impl Connection {
    /// Connects to `addr` (`host:port`) and logs in where a password is given.
    ///
    /// # Errors
    ///
    /// Where nothing listens there, or the password is refused.
    pub fn open(addr: impl ToSocketAddrs, password: Option<&str>) -> io::Result<Self> {
        let mut connection = Self::dial(addr)?;
        if let Some(password) = password {
            connection.command(["AUTH", password])?.ok()?;
        }
        Ok(connection)
    }

    pub(crate) fn dial(addr: impl ToSocketAddrs) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the address names no host");
        for addr in addr.to_socket_addrs()? {
            match TcpStream::connect_timeout(&addr, TIME_LIMIT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let timed = Timed { stream, deadline: Instant::now() + TIME_LIMIT };
                    return Ok(Self { reader: BufReader::new(timed), time_limit: TIME_LIMIT });
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// How long each command may take from now on. Five seconds unless set.
    pub fn set_timeout(&mut self, time_limit: Duration) {
        self.time_limit = time_limit;
    }

    /// Sends one command and waits for its reply. An error reply is a [`Reply::Error`], not an `Err`.
    ///
    /// # Errors
    ///
    /// Where the link broke, or no complete reply came in time.
    pub fn command<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> io::Result<Reply> {
        self.send(args)?;
        Reply::read(&mut self.reader)
    }

    /// Sends one command without waiting for its reply; [`read`](Self::read) returns it later.
    ///
    /// # Errors
    ///
    /// Where the link broke or took no bytes in time.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> io::Result<()> {
        self.write_raw(&encode(args))
    }

    /// Sends bytes unchanged.
    ///
    /// # Errors
    ///
    /// Where the link broke or took no bytes in time.
    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let time_limit = self.time_limit;
        let timed = self.reader.get_mut();
        timed.deadline = Instant::now() + time_limit;
        timed.stream.set_write_timeout(Some(time_limit.max(Duration::from_millis(1))))?;
        timed.stream.write_all(bytes).map_err(timed_out)
    }

    /// Waits for one more reply.
    ///
    /// # Errors
    ///
    /// Where the link broke, or no complete reply came in time.
    pub fn read(&mut self) -> io::Result<Reply> {
        self.reader.get_mut().deadline = Instant::now() + self.time_limit;
        Reply::read(&mut self.reader)
    }
}

/// A command in RESP: a list of strings.
pub(crate) fn encode<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Vec<u8> {
    let mut body = Vec::new();
    let mut count = 0_usize;
    for arg in args {
        let arg = arg.as_ref();
        count += 1;
        body.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        body.extend_from_slice(arg);
        body.extend_from_slice(b"\r\n");
    }
    let mut command = format!("*{count}\r\n").into_bytes();
    command.append(&mut body);
    command
}

/// A read timeout bounds one read only, so a server that sends single bytes could block a test without end. This bounds the sum.
#[derive(Debug)]
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(timed_out(io::ErrorKind::TimedOut.into()));
        }
        self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        self.stream.read(buffer).map_err(timed_out)
    }
}

fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => io::Error::new(
            io::ErrorKind::TimedOut,
            "the server did not answer in time; is it frozen, or its proxy on hold?",
        ),
        _ => error,
    }
}
