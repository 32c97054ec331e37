//! The maximum rate at which a server can deliver entries of a stream and accept their acknowledgements: two reads are
//! always in flight, nothing is decoded, and ids are copied from the buffer.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::client::text;

/// Lines of an entry of one field: `*2`, the id's length, the id, `*2`, and two lines each for name and value.
const LINES: usize = 8;
/// Lines before the first entry: `*1`, `*2`, two for the key, and `*128`.
const HEAD: usize = 5;
/// The line of an entry that is its id.
const ID: usize = 2;

/// Reads and acknowledges `entries` entries, and returns the time from the first page on.
///
/// # Errors
/// When the server fails, or returns less than a full page.
pub async fn read_all(port: u16, (key, group): (&str, &str), count: usize, entries: usize) -> Result<Duration, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(text)?;
    stream.set_nodelay(true).map_err(text)?;
    let read = command(&[
        b"XREADGROUP",
        b"GROUP",
        group.as_bytes(),
        b"c",
        b"COUNT",
        count.to_string().as_bytes(),
        b"STREAMS",
        key.as_bytes(),
        b">",
    ]);
    let pages = entries / count;
    let (mut asked, mut seen, mut acknowledged) = (pages.min(2), 0, 0);
    stream.write_all(&read.repeat(asked)).await.map_err(text)?;
    let (mut input, mut first) = (Vec::with_capacity(1 << 20), None);
    // The command of each reply, in order: a read, or an XACK.
    let mut due: std::collections::VecDeque<bool> = vec![true; asked].into();
    while acknowledged < pages {
        if stream.read_buf(&mut input).await.map_err(text)? == 0 {
            return Err("the server closed the connection".to_owned());
        }
        let mut used = 0;
        while let Some(is_page) = due.front().copied() {
            let rest = input.get(used..).unwrap_or_default();
            if !is_page {
                let Some(len) = lines(rest, 1) else { break };
                used += len;
                acknowledged += 1;
                due.pop_front();
                continue;
            }
            let Some(len) = lines(rest, HEAD + count * LINES) else { break };
            first.get_or_insert_with(Instant::now);
            let page = rest.get(..len).unwrap_or_default();
            let ids = page.split(|byte| *byte == b'\n').skip(HEAD + ID).step_by(LINES).take(count);
            let mut words: Vec<&[u8]> = vec![b"XACK", key.as_bytes(), group.as_bytes()];
            words.extend(ids.map(<[u8]>::trim_ascii_end));
            let mut output = command(&words);
            due.pop_front();
            seen += 1;
            due.push_back(false);
            if asked < pages {
                asked += 1;
                output.extend_from_slice(&read);
                due.push_back(true);
            }
            used += len;
            stream.write_all(&output).await.map_err(text)?;
        }
        input.drain(..used);
    }
    debug_assert_eq!(seen, pages);
    Ok(first.map_or(Duration::ZERO, |first| first.elapsed()))
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The bytes of this number of lines, if they are complete.
fn lines(bytes: &[u8], count: usize) -> Option<usize> {
    bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(count - 1).map(|(at, _)| at + 1)
}
