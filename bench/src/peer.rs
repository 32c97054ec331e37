//! A scripted server in lockstep: it answers all callers at once when each has sent a command. Each run of a probe has the
//! same batches, independent of the load of the machine.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

/// The reply to HELLO, with the fields that the clients need.
const HELLO_REPLY: &[u8] = b"%6\r\n+server\r\n+redis\r\n+version\r\n+7.0.15\r\n+proto\r\n:3\r\n+id\r\n:1\r\n\
    +mode\r\n+standalone\r\n+role\r\n+master\r\n";

/// Starts a peer for one connection after the other and returns its port. It lives as long as the process.
///
/// # Errors
/// When no port is free.
pub fn start(callers: usize) -> io::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The end of a probe is no error of the peer.
            drop(serve(stream, callers));
        }
    });
    Ok(port)
}

fn serve(mut stream: TcpStream, callers: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let value = format!("$64\r\n{}\r\n", "x".repeat(64));
    let all = value.repeat(callers);
    let (mut input, mut chunk, mut waiting) = (Vec::new(), vec![0; 64 * 1024], 0);
    loop {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Ok(());
        }
        input.extend_from_slice(chunk.get(..len).unwrap_or_default());
        let mut used = 0;
        while let Some((name, len)) = command(input.get(used..).unwrap_or_default()) {
            used += len;
            match name {
                b"GET" => waiting += 1,
                b"HELLO" => stream.write_all(HELLO_REPLY)?,
                _ => stream.write_all(b"+OK\r\n")?,
            }
        }
        input.drain(..used);
        if waiting == callers {
            waiting = 0;
            stream.write_all(all.as_bytes())?;
        }
    }
}

/// The name of the first command, if it is complete, and its length.
fn command(input: &[u8]) -> Option<(&[u8], usize)> {
    let (mut words, mut at) = number(input, 0)?;
    let mut name = None;
    while words > 0 {
        let (len, body) = number(input, at)?;
        let word = input.get(body..body + len)?;
        name.get_or_insert(word);
        at = body + len + 2;
        words -= 1;
    }
    (at <= input.len()).then_some((name?, at))
}

/// The number in the line at `at`, after its first byte, and the start of the next line.
fn number(input: &[u8], at: usize) -> Option<(usize, usize)> {
    let line = input.get(at + 1..)?;
    let len = line.iter().position(|byte| *byte == b'\r')?;
    let number = std::str::from_utf8(line.get(..len)?).ok()?.parse().ok()?;
    Some((number, at + 1 + len + 2))
}
