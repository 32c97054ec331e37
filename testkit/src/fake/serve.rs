//! The connections of the fake server, on its thread.

use super::Answer;
use super::script::{Script, parse};
use crate::tally::{Tally, lock};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(super) type Handler = Box<dyn FnMut(&[Vec<u8>]) -> Answer + Send>;

pub(super) enum Order {
    Send(Vec<u8>),
    Close,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) commands: Vec<(usize, Vec<Vec<u8>>)>,
    pub(super) connections: usize,
    pub(super) live: usize,
}

impl Record {
    pub(super) fn describe(&self, wanted: usize) -> String {
        format!("{wanted} commands to the fake server were wanted, {} came", self.commands.len())
    }
}

pub(super) struct Shared {
    without_hello: bool,
    own_handshake: bool,
    pub(super) handler: Mutex<Option<Handler>>,
    pub(super) script: Mutex<Script>,
    pub(super) record: Tally<Record>,
    pub(super) links: Mutex<HashMap<usize, mpsc::UnboundedSender<Order>>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        without_hello: bool,
        own_handshake: bool,
        handler: Mutex<Option<Handler>>,
        script: Mutex<Script>,
    ) -> Self {
        Self {
            without_hello,
            own_handshake,
            handler,
            script,
            record: Tally::new(Record::default()),
            links: Mutex::new(HashMap::new()),
        }
    }

    fn answer(&self, connection: usize, argv: &[Vec<u8>], protocol: &mut u8) -> Answer {
        let usual = usual(argv, connection, self.without_hello, protocol);
        let ours = usual.is_some() && !self.own_handshake;
        let asked = if ours {
            None
        } else {
            // Two statements, so that the script's lock is not held while the handler runs.
            let scripted = lock(&self.script).answer(argv);
            scripted.or_else(|| lock(&self.handler).as_mut().map(|handler| handler(argv)))
        };
        match (asked, usual) {
            (None | Some(Answer::Default), Some(usual)) => usual,
            (None | Some(Answer::Default), None) => {
                Answer::raw(format!("-ERR unknown command '{}'\r\n", name_of(argv)))
            }
            (Some(answer), _) => answer,
        }
    }
}

/// The reply of a real server to a command of the handshake; `None` for other commands.
fn usual(argv: &[Vec<u8>], connection: usize, without_hello: bool, protocol: &mut u8) -> Option<Answer> {
    let word = |index: usize| argv.get(index).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    let answer = match word(0).as_slice() {
        b"HELLO" if without_hello => Answer::raw("-ERR unknown command 'HELLO'\r\n"),
        b"HELLO" => match word(1).as_slice() {
            b"" => Answer::raw(hello_reply(connection, *protocol)),
            b"2" | b"3" => {
                *protocol = if word(1) == b"3" { 3 } else { 2 };
                Answer::raw(hello_reply(connection, *protocol))
            }
            _ => Answer::raw("-NOPROTO unsupported protocol version\r\n"),
        },
        b"AUTH" | b"SELECT" => Answer::raw("+OK\r\n"),
        b"CLIENT" if word(1) == b"ID" => Answer::raw(format!(":{}\r\n", connection + 1)),
        b"CLIENT" => Answer::raw("+OK\r\n"),
        b"PING" => match argv.get(1) {
            None => Answer::raw("+PONG\r\n"),
            Some(text) => {
                let mut reply = format!("${}\r\n", text.len()).into_bytes();
                reply.extend_from_slice(text);
                reply.extend_from_slice(b"\r\n");
                Answer::Raw(reply)
            }
        },
        b"QUIT" => Answer::RawThenClose(b"+OK\r\n".to_vec()),
        _ => return None,
    };
    Some(answer)
}

fn hello_reply(connection: usize, protocol: u8) -> String {
    let header = if protocol == 3 { "%7" } else { "*14" };
    format!(
        "{header}\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$5\r\nproto\r\n:{protocol}\r\n\
         $2\r\nid\r\n:{id}\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
        id = connection + 1,
    )
}

fn name_of(argv: &[Vec<u8>]) -> String {
    argv.first().map(|name| name.escape_ascii().to_string()).unwrap_or_default()
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (orders, received) = mpsc::unbounded_channel();
        let connection = shared.record.update(|record| {
            record.connections += 1;
            record.live += 1;
            record.connections - 1
        });
        lock(&shared.links).insert(connection, orders);
        let guard = Live { shared: Arc::clone(&shared), connection };
        tokio::spawn(async move {
            if let Some(stream) = talk(stream, received, &guard.shared, connection).await {
                drop(guard);
                drain(stream).await;
            }
        });
    }
}

/// Decrements the count of connections, also if the handler of the test panics.
struct Live {
    shared: Arc<Shared>,
    connection: usize,
}

impl Drop for Live {
    fn drop(&mut self) {
        lock(&self.shared.links).remove(&self.connection);
        self.shared.record.update(|record| record.live -= 1);
    }
}

/// Serves until the connection ends. Returns the socket after an orderly close.
async fn talk(
    mut stream: TcpStream,
    mut orders: mpsc::UnboundedReceiver<Order>,
    shared: &Shared,
    connection: usize,
) -> Option<TcpStream> {
    drop(stream.set_nodelay(true));
    let mut bytes = Vec::with_capacity(16 * 1024);
    let mut protocol = 2;
    loop {
        let mut used = 0;
        loop {
            let (argv, length) = match parse(bytes.get(used..).unwrap_or_default()) {
                Ok(Some(command)) => command,
                Ok(None) => break,
                Err(problem) => {
                    lock(&shared.script).problem(format!("connection {connection}: {problem}"));
                    return end(stream).await;
                }
            };
            used += length;
            if argv.is_empty() {
                continue;
            }
            let answer = shared.answer(connection, &argv, &mut protocol);
            // Recorded after the call of the handler, so that a test that waits for a command sees its effects.
            shared.record.update(|record| record.commands.push((connection, argv)));
            match answer {
                Answer::Raw(reply) => stream.write_all(&reply).await.ok()?,
                Answer::Silence | Answer::Default => {}
                Answer::Close => return end(stream).await,
                Answer::RawThenClose(reply) => {
                    stream.write_all(&reply).await.ok()?;
                    return end(stream).await;
                }
            }
        }
        bytes.drain(..used);
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Send(push)) => stream.write_all(&push).await.ok()?,
                Some(Order::Close) | None => return end(stream).await,
            },
            read = stream.read_buf(&mut bytes) => if !read.is_ok_and(|count| count > 0) { return None },
        }
    }
}

async fn end(mut stream: TcpStream) -> Option<TcpStream> {
    stream.shutdown().await.ok().map(|()| stream)
}

/// Closing a socket with unread bytes sends RST, which may overtake earlier replies.
async fn drain(mut stream: TcpStream) {
    let mut sink = [0; 4096];
    let rest = async { while stream.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
    drop(timeout(Duration::from_secs(2), rest).await);
}
