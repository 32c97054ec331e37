//! The scripted server.

use redis_actix_test::{Answer, Connection, FakeServer, Step};
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

type Result = std::result::Result<(), Box<dyn Error>>;

const SOON: Duration = Duration::from_secs(5);

fn names(commands: &[Vec<Vec<u8>>]) -> Vec<String> {
    commands
        .iter()
        .map(|argv| argv.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn knows_the_handshake() -> Result {
    let server = FakeServer::start()?;
    let mut client = Connection::open(server.addr(), Some("secret"))?;
    assert_eq!(client.command(["PING"])?.text()?, "PONG");
    assert_eq!(client.command(["PING", "hi"])?.text()?, "hi");
    assert_eq!(client.command(["SELECT", "3"])?.text()?, "OK");
    assert_eq!(client.command(["CLIENT", "ID"])?.int()?, 1);
    assert_eq!(client.command(["HELLO", "2"])?.array()?.len(), 14);
    assert_eq!(client.command(["HELLO", "9"])?.error(), Some("NOPROTO unsupported protocol version"));
    assert_eq!(client.command(["GET", "k"])?.error(), Some("ERR unknown command 'GET'"));
    assert_eq!(client.command(["QUIT"])?.text()?, "OK");
    assert!(client.command(["PING"]).is_err());

    let mut stream = TcpStream::connect(server.addr())?;
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(b"HELLO 3\r\nQUIT\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    assert!(text.starts_with("%7\r\n") && text.contains("$5\r\nproto\r\n:3\r\n"), "{text}");
    assert_eq!(names(&server.received_on(1)), ["HELLO 3", "QUIT"]);
    assert_eq!(server.connections(), 2);
    server.finish()?;
    Ok(())
}

#[test]
fn an_old_server_has_no_hello() -> Result {
    let server = FakeServer::builder().without_hello().start()?;
    let mut client = Connection::open(server.addr(), None)?;
    assert_eq!(client.command(["HELLO", "3"])?.error(), Some("ERR unknown command 'HELLO'"));
    assert_eq!(client.command(["PING"])?.text()?, "PONG");
    Ok(())
}

#[test]
fn the_handler_answers_exact_bytes() -> Result {
    let mut asked = 0;
    let server = FakeServer::builder()
        .on(move |argv| {
            asked += 1;
            match argv.first().map(Vec::as_slice) {
                Some(b"RAW") => Answer::raw(format!(":{asked}\r\n")),
                Some(b"SILENT") => Answer::Silence,
                Some(b"LAST") => Answer::RawThenClose(b"+bye\r\n".to_vec()),
                Some(b"CLOSE") => Answer::Close,
                _ => Answer::Default,
            }
        })
        .start()?;
    let open = || Connection::open(server.addr(), None);
    let mut client = open()?;
    assert_eq!(client.command(["RAW"])?.int()?, 1);
    assert_eq!(client.command(["PING"])?.text()?, "PONG", "the kit's own");
    client.set_timeout(Duration::from_millis(50));
    assert_eq!(client.command(["SILENT"]).err().map(|e| e.kind()), Some(ErrorKind::TimedOut));
    assert_eq!(client.command(["RAW"])?.int()?, 3);
    assert_eq!(client.command(["LAST"])?.text()?, "bye");
    assert_eq!(client.read().err().map(|e| e.kind()), Some(ErrorKind::UnexpectedEof));
    assert!(open()?.command(["CLOSE"]).is_err());
    assert!(open()?.command(["OTHER"])?.error().is_some());
    server.on(|_| Answer::raw("+new\r\n"));
    assert_eq!(open()?.command(["RAW"])?.text()?, "new");
    Ok(())
}

#[test]
fn a_test_can_script_the_handshake() -> Result {
    let server = FakeServer::builder()
        .own_handshake()
        .on(|argv| match argv.first().map(Vec::as_slice) {
            Some(b"AUTH") => Answer::raw("-WRONGPASS no\r\n"),
            Some(b"PING") => Answer::raw("-LOADING wait\r\n"),
            _ => Answer::Default,
        })
        .start()?;
    assert!(Connection::open(server.addr(), Some("x")).is_err());
    let mut client = Connection::open(server.addr(), None)?;
    assert_eq!(client.command(["PING"])?.error(), Some("LOADING wait"));
    assert_eq!(client.command(["SELECT", "1"])?.text()?, "OK");
    Ok(())
}

#[test]
fn scripts_are_followed_or_reported() -> Result {
    let script = || [Step::expect(["GET", "a"]).reply("$1\r\n1\r\n"), Step::expect(["DEL", "a"]).reply(":1\r\n")];
    let server = FakeServer::builder().script(script()).start()?;
    let mut client = Connection::open(server.addr(), None)?;
    client.command(["PING"])?.ok()?;
    assert_eq!(client.command(["GET", "a"])?.text()?, "1");
    assert!(server.finish().is_err_and(|e| e.to_string().contains("still waiting for DEL a")));
    assert_eq!(client.command(["DEL", "a"])?.int()?, 1);
    server.finish()?;

    let server = FakeServer::builder().script(script()).start()?;
    let mut client = Connection::open(server.addr(), None)?;
    assert!(client.command(["SET", "a", "b"])?.error().is_some());
    assert!(server.finish().is_err_and(|e| e.to_string().contains("expected GET a, got SET a b")));
    Ok(())
}

#[test]
fn pushes_and_ends_reach_live_connections() -> Result {
    let server = FakeServer::start()?;
    let mut client = Connection::open(server.addr(), None)?;
    client.command(["PING"])?.ok()?;
    server.send(b"+pushed\r\n");
    assert_eq!(client.read()?.text()?, "pushed");
    server.close_all();
    assert_eq!(client.read().err().map(|e| e.kind()), Some(ErrorKind::UnexpectedEof));
    Ok(())
}

#[test]
fn commands_can_be_waited_for_in_a_runtime() -> Result {
    let server = FakeServer::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let addr = server.addr();
        let client = tokio::spawn(async move {
            let stream = tokio::net::TcpStream::connect(addr).await?;
            stream.writable().await?;
            stream.try_write(b"*2\r\n$3\r\nget\r\n$1\r\nk\r\n")?;
            Ok::<_, std::io::Error>(stream)
        });
        server.command_named("GET", SOON).await?;
        server.commands(1, SOON).await?;
        server.wait_for_commands(1, SOON)?;
        assert!(server.commands(2, Duration::from_millis(20)).await.is_err());
        drop(client.await??);
        Ok::<(), Box<dyn Error>>(())
    })?;
    assert_eq!(names(&server.received()), ["get k"]);
    Ok(())
}

#[test]
fn a_handler_that_panics_loses_its_connection_only() -> Result {
    let server = FakeServer::builder()
        .on(|argv| {
            assert!(argv.first().is_some_and(|name| name == b"FINE"), "as the test wants it");
            Answer::raw("+fine\r\n")
        })
        .start()?;
    assert!(Connection::open(server.addr(), None)?.command(["BAD"]).is_err());
    assert_eq!(Connection::open(server.addr(), None)?.command(["FINE"])?.text()?, "fine");
    Ok(())
}
