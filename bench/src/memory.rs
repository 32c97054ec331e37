//! Memory of a waiting command: for a server that is gone, for one that does not read, and for replies that do not come.

use std::{
    future::pending,
    io::{Read, Write},
    net::TcpListener,
    thread,
    time::Duration,
};

use redis_actix_test::RedisServer;
use tokio::task::JoinHandle;

use crate::client::text;
use crate::holding::Holding;

/// Number of waiting commands.
const WAITING: usize = 100_000;
/// Maximum bytes of a queued command, without its caller, key and value.
const BAR: f64 = 350.0;

/// Measures with a counter of live bytes, and returns whether the bar was met.
///
/// # Errors
/// When a client does not connect, or the server fails.
pub fn run(allocated: fn() -> usize) -> Result<bool, String> {
    actix_rt::System::new().block_on(async {
        println!("| {WAITING} commands of 64 bytes | client | bytes/command | bar |\n|---|---|---|---|");
        let well = gone::<redis_actix::Redis>(allocated).await?;
        unread::<redis_actix::Redis>(allocated).await?;
        unread::<redis::aio::ConnectionManager>(allocated).await?;
        #[cfg(feature = "peers")]
        unread::<fred::prelude::Client>(allocated).await?;
        unanswered::<redis_actix::Redis>(allocated).await?;
        unanswered::<redis::aio::ConnectionManager>(allocated).await?;
        #[cfg(feature = "peers")]
        unanswered::<fred::prelude::Client>(allocated).await?;
        Ok(well)
    })
}

async fn gone<C: Holding>(allocated: fn() -> usize) -> Result<bool, String> {
    let server = RedisServer::start().map_err(text)?;
    let client = C::connect(server.port()).await?;
    server.kill().map_err(text)?;
    // The client detects the loss.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let bytes = beyond(allocated, client).await?;
    println!("| queued, the server is gone | {} | {bytes:.0} | <= {BAR} |", C::NAME);
    Ok(bytes <= BAR)
}

async fn unread<C: Holding>(allocated: fn() -> usize) -> Result<(), String> {
    let server = RedisServer::start().map_err(text)?;
    let client = C::connect(server.port()).await?;
    server.stop_process().map_err(text)?;
    let bytes = beyond(allocated, client).await?;
    println!("| waiting, the server is frozen | {} | {bytes:.0} | |", C::NAME);
    Ok(())
}

async fn unanswered<C: Holding>(allocated: fn() -> usize) -> Result<(), String> {
    let client = C::connect(silent()?).await?;
    let bytes = beyond(allocated, client).await?;
    println!("| in flight, no reply comes | {} | {bytes:.0} | |", C::NAME);
    Ok(())
}

/// Bytes of waiting commands without their callers, each with a handle, a key and a value.
async fn beyond<C: Holding>(allocated: fn() -> usize, client: C) -> Result<f64, String> {
    let alone = callers(allocated, |key, value| {
        let client = client.clone();
        async move {
            pending::<()>().await;
            drop((client, key, value));
        }
    });
    let alone = alone.await?;
    // The future without a wrapper, which would store it twice.
    let all = callers(allocated, |key, value| client.clone().set(key, value));
    Ok(all.await? - alone)
}

/// Bytes per task of the given number of tasks.
async fn callers<F: Future<Output: Send + 'static> + Send + 'static>(
    allocated: fn() -> usize,
    caller: impl Fn(String, Vec<u8>) -> F,
) -> Result<f64, String> {
    let mut tasks: Vec<JoinHandle<F::Output>> = Vec::with_capacity(WAITING);
    // Until tasks of an earlier measurement have ended.
    let before = settled(allocated).await;
    tasks.extend((0..WAITING).map(|n| tokio::spawn(caller(format!("user:{n:07}"), vec![b'x'; 64]))));
    let after = settled(allocated).await;
    let failed = tasks.iter().filter(|task| task.is_finished()).count();
    let bytes = after.saturating_sub(before) as f64 / WAITING as f64;
    for task in &tasks {
        task.abort();
    }
    if failed > 0 {
        return Err(format!("{failed} of {WAITING} commands did not wait"));
    }
    Ok(bytes)
}

/// Live bytes when they no longer change.
async fn settled(allocated: fn() -> usize) -> usize {
    let mut last = 0;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if allocated().abs_diff(last) < 4096 {
            break;
        }
        last = allocated();
    }
    last
}

/// A server that completes the handshake, then reads everything and replies to nothing.
fn silent() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut chunk = vec![0; 256 * 1024];
                while let Ok(len @ 1..) = stream.read(&mut chunk) {
                    let read = chunk.get(..len).unwrap_or_default();
                    // The handshake of a client arrives in one piece and contains no SET of data.
                    if read.windows(10).any(|word| word == b"$3\r\nSET\r\n$") {
                        break;
                    }
                    let answers = commands(read).map(|name| match name {
                        b"HELLO" => "-ERR unknown command\r\n",
                        b"INFO" => "$21\r\nredis_version:7.0.15\n\r\n",
                        _ => "+OK\r\n",
                    });
                    if stream.write_all(answers.collect::<String>().as_bytes()).is_err() {
                        return;
                    }
                }
                while let Ok(1..) = stream.read(&mut chunk) {}
            });
        }
    });
    Ok(port)
}

/// The names of the commands in these bytes: the first word after each line that begins with `*`.
fn commands(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
    std::iter::from_fn(move || {
        lines.by_ref().find(|line| line.starts_with(b"*"))?;
        lines.nth(1)
    })
}
