//! The kit's servers against a real program.

use redis_actix_test::{Connection, RedisServer, Reply};
use std::error::Error;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

type Result = std::result::Result<(), Box<dyn Error>>;

#[test]
fn two_servers_share_neither_port_nor_data() -> Result {
    let (one, two) = (RedisServer::start()?, RedisServer::start()?);
    assert_ne!(one.port(), two.port());
    assert_ne!(one.dir(), two.dir());
    one.command(["SET", "k", "1"])?.ok()?;
    assert_eq!(one.command(["GET", "k"])?.int()?, 1);
    assert!(two.command(["GET", "k"])?.is_nil());
    assert!(one.command(["NOSUCH"])?.error().is_some_and(|e| e.starts_with("ERR")));
    assert_eq!(one.command(["CONFIG", "GET", "save"])?.array()?.len(), 2);
    assert!(one.version() >= (6, 0, 0));
    assert!(one.clients()?.is_empty());
    Ok(())
}

#[test]
fn a_killed_server_comes_back_with_its_data_on_its_port() -> Result {
    let server = RedisServer::builder().appendonly(true).fsync_always().start()?;
    let (port, pid) = (server.port(), server.pid());
    for round in 1..=3 {
        assert_eq!(server.command(["INCR", "n"])?.int()?, round);
        server.kill()?;
        assert!(!server.is_running());
        assert!(server.pid().is_none());
        assert!(server.command(["PING"]).is_err());
        assert!(server.stop_process().is_err());
        server.kill()?;
        server.restart()?;
    }
    assert_eq!(server.command(["GET", "n"])?.int()?, 3);
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    Ok(())
}

#[test]
fn a_frozen_server_is_silent_and_continues() -> Result {
    let server = RedisServer::start()?;
    let mut connection = server.connect()?;
    connection.set_timeout(Duration::from_millis(100));
    server.stop_process()?;
    assert!(server.is_running());
    let error = connection.command(["PING"]).err().ok_or("a frozen server answered")?;
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    server.cont_process()?;
    assert_eq!(connection.read()?, Reply::Simple("PONG".into()));
    server.stop_process()?;
    server.restart()?;
    assert_eq!(server.command(["PING"])?.text()?, "PONG");
    Ok(())
}

#[test]
fn a_command_in_flight_ends_when_the_server_is_killed() -> Result {
    let server = Arc::new(RedisServer::start()?);
    let mut connection = server.connect()?;
    let waiting = thread::spawn(move || {
        connection.set_timeout(Duration::from_secs(30));
        let start = Instant::now();
        (connection.command(["BLPOP", "nothing", "0"]), start.elapsed())
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    while !server.clients()?.iter().any(|client| client.contains("cmd=blpop")) {
        assert!(Instant::now() < deadline, "BLPOP did not arrive");
        thread::yield_now();
    }
    server.kill()?;
    let (reply, took) = waiting.join().map_err(|_| "the reader panicked")?;
    assert!(reply.is_err());
    assert!(took < Duration::from_secs(10));
    Ok(())
}

#[test]
fn passwords_are_asked_for_rotated_and_kept_over_a_restart() -> Result {
    let server = RedisServer::builder().requirepass("first").start()?;
    assert_eq!(server.command(["PING"])?.text()?, "PONG");
    let mut stranger = Connection::open(server.addr(), None)?;
    assert!(stranger.command(["PING"])?.error().is_some_and(|e| e.starts_with("NOAUTH")));
    assert!(Connection::open(server.addr(), Some("wrong")).is_err());
    server.set_password(Some("second"))?;
    server.restart()?;
    assert!(Connection::open(server.addr(), Some("first")).is_err());
    assert_eq!(server.command(["PING"])?.text()?, "PONG");
    server.set_password(None)?;
    assert_eq!(Connection::open(server.addr(), None)?.command(["PING"])?.text()?, "PONG");
    Ok(())
}

#[test]
fn options_reach_the_server() -> Result {
    let server =
        RedisServer::builder().arg("--maxmemory", "10mb").args(["--save", "60", "1000"]).unix_socket(true).start()?;
    let reply = server.command(["CONFIG", "GET", "maxmemory"])?;
    assert_eq!(reply.array()?.last().map(Reply::int).transpose()?, Some(10 * 1024 * 1024));
    UnixStream::connect(server.socket_path())?;
    assert_eq!(server.url(), format!("redis://{}", server.addr()));
    if server.version() >= (7, 0, 0) {
        server.command(["DEBUG", "SLEEP", "0"])?.ok()?;
    }
    Ok(())
}

#[test]
fn tls_uses_a_separate_port() -> Result {
    let dir = RedisServer::start()?;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (dir.dir().join("cert.pem"), dir.dir().join("key.pem"));
    fs::write(&certificate, made.cert.pem())?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    for client_ca in [None, Some(certificate.as_path())] {
        let server = RedisServer::builder().tls(&certificate, &key, client_ca).start()?;
        assert_eq!(server.command(["PING"])?.text()?, "PONG", "the plain port stays");
        let port = server.tls_port().ok_or("no port for TLS")?;
        // Not TLS, so it is refused, but the port is open.
        assert!(Connection::open(("127.0.0.1", port), None)?.command(["PING"]).is_err());
    }
    Ok(())
}

#[test]
fn a_cluster_node_starts() -> Result {
    let server = RedisServer::builder().cluster().start()?;
    assert!(server.command(["CLUSTER", "INFO"])?.text()?.contains("cluster_state"));
    Ok(())
}

#[test]
fn a_failed_start_returns_the_reason() -> Result {
    let error = RedisServer::builder().arg("--maxmemory", "nonsense").start().err().ok_or("it started")?;
    assert!(error.to_string().contains("maxmemory"), "{error}");
    let error = RedisServer::builder().program("/nowhere/redis-server").start().err().ok_or("it started")?;
    assert!(error.to_string().contains("/nowhere/redis-server"), "{error}");
    Ok(())
}

#[test]
fn a_restart_waits_for_an_occupied_port() -> Result {
    let server = RedisServer::start()?;
    server.kill()?;
    let thief = TcpListener::bind(server.addr())?;
    thread::scope(|scope| {
        let restarted = scope.spawn(|| server.restart());
        let deadline = Instant::now() + Duration::from_secs(10);
        while !server.log().contains("ddress already in use") {
            assert!(Instant::now() < deadline, "it did not try");
            thread::yield_now();
        }
        drop(thief);
        restarted.join().map_err(|_| "the restart panicked")?.map_err(Box::<dyn Error>::from)
    })?;
    assert_eq!(server.command(["PING"])?.text()?, "PONG");
    Ok(())
}

#[test]
fn loading_is_waited_for() -> Result {
    let server = RedisServer::builder().appendonly(true).arg("--key-load-delay", "1000").start()?;
    let mut connection = server.connect()?;
    for key in 0..200 {
        connection.command(["SET", &format!("k{key}"), "v"])?.ok()?;
    }
    server.restart()?;
    assert_eq!(server.command(["DBSIZE"])?.int()?, 200);
    Ok(())
}

#[test]
fn nothing_is_left_behind_after_a_panic() -> Result {
    let seen = thread::spawn(|| {
        let server = RedisServer::start().map_err(|e| e.to_string())?;
        let left = (server.dir().to_path_buf(), server.addr(), server.pid());
        std::panic::resume_unwind(Box::new(left));
        #[expect(unreachable_code, reason = "gives the closure its type")]
        Ok::<(), String>(())
    })
    .join();
    type Left = (std::path::PathBuf, String, Option<u32>);
    let payload = seen.err().ok_or("it did not panic")?;
    let (dir, addr, pid) = *payload.downcast::<Left>().map_err(|_| "another panic")?;
    assert!(!dir.exists());
    assert!(Connection::open(addr, None).is_err());
    let pid = pid.ok_or("no pid")?;
    if Path::new("/proc/self").exists() {
        assert!(fs::metadata(format!("/proc/{pid}")).is_err(), "the process is still there");
    }
    Ok(())
}
