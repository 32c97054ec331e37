//! Each of the proxy's faults, seen from both ends.

use redis_actix_test::{Connection, Direction, FakeServer, Proxy, RedisServer, Reply};
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

type Result = std::result::Result<(), Box<dyn Error>>;

const SOON: Duration = Duration::from_secs(5);
const BRIEF: Duration = Duration::from_millis(100);

fn open(proxy: &Proxy) -> io::Result<Connection> {
    Connection::open(proxy.addr(), None)
}

fn raw(proxy: &Proxy) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(proxy.addr())?;
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|e| e.kind())
}

/// The end a client sees: nothing more to read, or why not.
fn end_of(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

#[test]
fn passes_and_counts() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let before = Instant::now();
    let mut one = open(&proxy)?;
    assert_eq!(one.command(["PING"])?.text()?, "PONG");
    let mut two = open(&proxy)?;
    assert_eq!(two.command(["SET", "k", "v"])?.text()?, "OK");
    proxy.wait_for_connections(2, SOON)?;
    assert_eq!((proxy.connections(), proxy.live_connections()), (2, 2));
    assert_eq!(proxy.bytes_to_client(), 7 + 5);
    assert_eq!(proxy.bytes_to_server(), 14 + 27);
    assert!(proxy.dials().iter().all(|dial| *dial >= before));
    drop(one);
    proxy.wait_for_live(1, SOON)?;
    assert!(kind(proxy.wait_for_connections(3, BRIEF)) == Some(ErrorKind::TimedOut));
    Ok(())
}

#[test]
fn hold_keeps_every_byte_until_pass() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let mut connection = open(&proxy)?;
    connection.command(["PING"])?.ok()?;
    connection.set_timeout(BRIEF);

    proxy.hold();
    assert_eq!(kind(connection.command(["INCR", "n"])), Some(ErrorKind::TimedOut));
    let mut late = open(&proxy)?;
    late.set_timeout(BRIEF);
    assert_eq!(kind(late.command(["PING"])), Some(ErrorKind::TimedOut));
    assert!(server.command(["GET", "n"])?.is_nil());

    proxy.pass();
    connection.set_timeout(SOON);
    assert_eq!(connection.read()?.int()?, 1);
    late.set_timeout(SOON);
    assert_eq!(late.read()?.text()?, "PONG");
    Ok(())
}

#[test]
fn hold_of_one_direction_lets_the_other_flow() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let mut connection = open(&proxy)?;
    connection.set_timeout(BRIEF);

    proxy.hold_only(Direction::ToClient);
    assert_eq!(kind(connection.command(["INCR", "n"])), Some(ErrorKind::TimedOut));
    assert_eq!(server.command(["GET", "n"])?.int()?, 1);
    proxy.pass();
    connection.set_timeout(SOON);
    assert_eq!(connection.read()?.int()?, 1);

    proxy.hold_only(Direction::ToServer);
    connection.set_timeout(BRIEF);
    assert_eq!(kind(connection.command(["INCR", "n"])), Some(ErrorKind::TimedOut));
    assert_eq!(server.command(["GET", "n"])?.int()?, 1);
    // Held bytes arrive also after their sender has gone.
    drop(connection);
    proxy.pass();
    proxy.wait_for_live(0, SOON)?;
    let deadline = Instant::now() + SOON;
    while server.command(["GET", "n"])?.int()? != 2 {
        assert!(Instant::now() < deadline, "the held command was lost");
    }
    Ok(())
}

#[test]
fn reset_sends_rst_and_close_sends_fin() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    for hold in [false, true] {
        proxy.pass();
        let (one, two) = (raw(&proxy)?, raw(&proxy)?);
        proxy.wait_for_live(2, SOON)?;
        if hold {
            proxy.hold();
        }
        proxy.reset_all();
        assert_eq!(proxy.live_connections(), 0);
        assert_eq!(kind(end_of(one)), Some(ErrorKind::ConnectionReset));
        assert_eq!(kind(end_of(two)), Some(ErrorKind::ConnectionReset));

        let three = raw(&proxy)?;
        proxy.wait_for_live(1, SOON)?;
        proxy.close_all();
        assert_eq!(proxy.live_connections(), 0);
        assert_eq!(end_of(three)?, b"");
    }
    Ok(())
}

#[test]
fn silent_and_closing_and_refusing_listeners() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let mut live = open(&proxy)?;
    live.command(["PING"])?.ok()?;

    proxy.accept_and_stay_silent();
    let mut silent = open(&proxy)?;
    silent.set_timeout(BRIEF);
    assert_eq!(kind(silent.command(["PING"])), Some(ErrorKind::TimedOut));
    proxy.inject(b"+PONG\r\n");
    assert_eq!(silent.read()?.text()?, "PONG");

    proxy.accept_and_close();
    assert_eq!(end_of(raw(&proxy)?)?, b"");
    assert_eq!(live.read()?.text()?, "PONG");
    assert_eq!(live.command(["PING"])?.text()?, "PONG");

    for _ in 0..20 {
        proxy.refuse();
        assert_eq!(kind(raw(&proxy)), Some(ErrorKind::ConnectionRefused));
        proxy.pass();
        assert_eq!(open(&proxy)?.command(["PING"])?.text()?, "PONG");
    }
    assert_eq!(live.command(["PING"])?.text()?, "PONG");
    Ok(())
}

#[test]
fn split_and_delay_change_no_byte() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let mut connection = open(&proxy)?;
    let value: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    proxy.split(7);
    connection.command([b"SET".as_slice(), b"k", &value])?.ok()?;
    assert_eq!(connection.command(["GET", "k"])?.bytes(), Some(value.as_slice()));

    proxy.pass();
    proxy.delay(BRIEF);
    let start = Instant::now();
    connection.command(["PING"])?.ok()?;
    assert!(start.elapsed() >= 2 * BRIEF, "once each way");
    Ok(())
}

#[test]
fn corrupt_and_truncate_hit_the_next_reply_only() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let mut connection = open(&proxy)?;
    proxy.corrupt(1);
    assert_eq!(kind(connection.command(["PING"])), Some(ErrorKind::InvalidData));
    assert_eq!(connection.command(["PING"])?.text()?, "PONG");
    proxy.truncate(1);
    assert_eq!(kind(connection.command(["ECHO", "x"])), Some(ErrorKind::InvalidData));
    Ok(())
}

#[test]
fn cuts_are_exact() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;

    // The server did it, the client does not know.
    let mut connection = open(&proxy)?;
    proxy.cut_after(Direction::ToClient, 0);
    assert_eq!(kind(connection.command(["INCR", "n"])), Some(ErrorKind::UnexpectedEof));
    assert_eq!(server.command(["GET", "n"])?.int()?, 1);

    // The server never saw it.
    let mut connection = open(&proxy)?;
    proxy.cut_after(Direction::ToServer, 0);
    assert_eq!(kind(connection.command(["INCR", "n"])), Some(ErrorKind::UnexpectedEof));
    assert_eq!(server.command(["GET", "n"])?.int()?, 1);

    // The first of two replies and half of the second.
    let mut stream = raw(&proxy)?;
    proxy.cut_after(Direction::ToClient, 4 + 2);
    stream.write_all(b"INCR n\r\nINCR n\r\n")?;
    assert_eq!(end_of(stream)?, b":2\r\n:3");

    assert_eq!(open(&proxy)?.command(["PING"])?.text()?, "PONG", "a cut happens once");
    proxy.wait_for_live(0, SOON)?;
    Ok(())
}

#[test]
fn injected_bytes_come_between_replies() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let mut connection = open(&proxy)?;
    connection.command(["PING"])?.ok()?;
    proxy.inject(b":42\r\n");
    assert_eq!(connection.read()?, Reply::Int(42));
    assert_eq!(connection.command(["PING"])?.text()?, "PONG");
    Ok(())
}

#[test]
fn the_end_of_the_server_is_forwarded() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let mut connection = open(&proxy)?;
    connection.command(["PING"])?.ok()?;
    server.kill()?;
    assert_eq!(kind(connection.read()), Some(ErrorKind::UnexpectedEof));
    // No server is behind the proxy now.
    assert_eq!(kind(end_of(raw(&proxy)?)), Some(ErrorKind::ConnectionReset));
    server.restart()?;
    assert_eq!(open(&proxy)?.command(["PING"])?.text()?, "PONG");
    Ok(())
}

#[test]
fn a_new_upstream_applies_to_new_connections() -> Result {
    let (one, two) = (RedisServer::start()?, FakeServer::start()?);
    let proxy = Proxy::start(one.addr())?;
    let mut old = open(&proxy)?;
    old.command(["PING"])?.ok()?;
    proxy.set_upstream(two.addr());
    let mut new = open(&proxy)?;
    new.command(["PING"])?.ok()?;
    assert_eq!(old.command(["DBSIZE"])?.int()?, 0);
    assert!(new.command(["DBSIZE"])?.error().is_some());
    Ok(())
}

#[test]
fn waiting_does_not_stop_the_runtime_it_waits_in() -> Result {
    let server = FakeServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let addr = proxy.addr();
        let client = tokio::spawn(async move { tokio::net::TcpStream::connect(addr).await });
        proxy.connected(1, SOON).await?;
        drop(client.await?);
        proxy.live(0, SOON).await?;
        let late = proxy.connected(2, BRIEF).await;
        assert_eq!(kind(late), Some(ErrorKind::TimedOut));
        Ok(())
    })
}

#[test]
fn many_cycles_leave_no_socket_behind() -> Result {
    let server = RedisServer::start()?;
    let proxy = Proxy::start(server.addr())?;
    for _ in 0..200 {
        let mut connection = open(&proxy)?;
        connection.command(["PING"])?.ok()?;
        proxy.hold();
        drop(connection);
        proxy.reset_all();
        proxy.pass();
    }
    assert_eq!(proxy.live_connections(), 0);
    let deadline = Instant::now() + SOON;
    while !server.clients()?.is_empty() {
        assert!(Instant::now() < deadline, "clients are left");
    }
    Ok(())
}
