#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::IoSlice;
use std::net::Ipv4Addr;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::super::tls::TlsOptions;
use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn target(address: Address) -> Target {
    Target { address, tls: None, user_timeout: Some(Duration::from_secs(7)) }
}

fn tcp(host: &str, port: u16) -> Target {
    target(Address::Tcp(HostPort { host: host.into(), port }))
}

/// A listener with a full backlog: it behaves like a host behind a firewall that drops packets.
async fn unresponsive() -> (SocketAddr, Socket, Vec<TcpStream>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    listener.bind(&any.into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = timeout(SHORT, TcpStream::connect(address)).await {
        waiting.push(stream);
        assert!(waiting.len() < 100, "the backlog does not fill up");
    }
    (address, listener, waiting)
}

/// Ablation: without the comparison the link is taken for a server that replies to HELLO with HELLO.
#[tokio::test]
async fn a_tcp_self_connect_is_refused() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let own = socket.local_addr().unwrap();
    socket.connect(&own).unwrap();
    socket.set_nonblocking(true).unwrap();
    let error = prepare(&TcpStream::from_std(socket.into()).unwrap(), None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
}

#[tokio::test]
async fn a_socket_is_prepared_and_passes_bytes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut transport = dial(&tcp("localhost", port), LONG).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    {
        let Transport::Tcp(stream) = &transport else {
            panic!("{transport:?}");
        };
        let socket = SockRef::from(stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            let seconds = Duration::from_secs;
            assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(30));
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(10));
            assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(7)));
        }
    }
    assert!(transport.is_write_vectored());
    let pieces = [IoSlice::new(b"PI"), IoSlice::new(b"NG\r\n")];
    transport.write_all(b"a").await.unwrap();
    assert_eq!(transport.write_vectored(&pieces).await.unwrap(), 6);
    let mut heard = [0; 7];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"aPING\r\n");
    server.write_all(b"+PONG\r\n").await.unwrap();
    transport.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"+PONG\r\n");
}

#[tokio::test]
async fn a_refused_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = dial(&tcp("127.0.0.1", port), LONG).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Connect);
    assert!(!error.is_refusal(), "the server may come back");
    let words = error.to_string();
    assert!(words.starts_with(&format!("cannot connect to redis at 127.0.0.1:{port}: ")), "{words}");
    assert!(words.contains("refused") && words.contains("is the server running"), "{words}");
}

#[tokio::test]
async fn a_host_that_does_not_resolve_is_named() {
    // An empty label: no resolver sends it to the network.
    let error = dial(&tcp("no..such..host", 6379), LONG).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Resolve);
    assert!(!error.is_refusal());
    assert!(error.to_string().contains("no..such..host:6379: the host name does not resolve"), "{error}");
}

#[tokio::test]
async fn silence_is_bounded_by_the_timeout() {
    let (address, _listener, _waiting) = unresponsive().await;
    let started = Instant::now();
    let error = dial(&tcp("127.0.0.1", address.port()), SHORT).await.unwrap_err();
    assert!(started.elapsed() >= SHORT);
    assert!(started.elapsed() < SHORT * 10, "{:?}", started.elapsed());
    assert_eq!(error.kind(), DialErrorKind::Timeout);
    assert!(error.to_string().contains("did not answer within"), "{error}");
}

/// Ablation: with an equal share of the time for each address the first one gets half a minute, and the test times
/// out.
#[tokio::test]
async fn the_next_address_is_tried_while_the_previous_one_does_not_reply() {
    let (dead, _listener, _waiting) = unresponsive().await;
    let living = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [dead, living.local_addr().unwrap()];
    let target = tcp("two.example", 1);
    let connecting = connect_any(&target, &addresses, Instant::now() + LONG * 3);
    let stream = timeout(LONG, connecting).await.expect("not before the share of the first has passed").unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addresses[1]);

    let error = connect_any(&target, &[dead, dead], Instant::now() + SHORT * 2).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Timeout);
    assert_eq!(error.to_string().matches(&dead.to_string()).count(), 2, "{error}");

    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = connect_any(&target, &[refused, dead], Instant::now() + SHORT).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("refused") && words.contains("did not answer within"), "{words}");
}

/// Ablation: in the resolver's order, six dead addresses of one family come before the first of the other.
#[test]
fn address_families_alternate() {
    let four = |n: u8| SocketAddr::from((Ipv4Addr::new(10, 0, 0, n), 1));
    let six = |n: u16| SocketAddr::from((std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, n), 1));
    let ordered = [six(1), six(2), six(3), four(1), four(2)];
    assert_eq!(alternate_families(&ordered), [six(1), four(1), six(2), four(2), six(3)]);
    assert_eq!(alternate_families(&[four(1), six(1), six(2)]), [four(1), six(1), six(2)]);
    assert_eq!(alternate_families(&[]), []);
}

#[tokio::test]
async fn an_unlimited_timeout_does_not_overflow_the_clock() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    dial(&tcp("127.0.0.1", port), Duration::MAX).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_connect_and_their_errors_name_the_problem() {
    let path = std::env::temp_dir().join(format!("redis-actix-dial-{}.sock", std::process::id()));
    let unix = target(Address::Unix(path.clone()));
    let error = dial(&unix, LONG).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Connect);
    assert!(error.to_string().contains("redis-actix-dial-"), "{error}");

    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let connected = dial(&unix, LONG).await;
    std::fs::remove_file(&path).unwrap();
    let mut transport = connected.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    transport.write_all(b"hi").await.unwrap();
    let mut heard = [0; 2];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hi");

    let mut secure = unix;
    secure.tls = Some(Arc::new(Tls::new(TlsOptions::default())));
    let error = dial(&secure, LONG).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::TlsConfig);
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn without_the_feature_tls_is_refused_and_nothing_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut secure = tcp("127.0.0.1", listener.local_addr().unwrap().port());
    secure.tls = Some(Arc::new(Tls::new(TlsOptions::default())));
    let error = dial(&secure, LONG).await.unwrap_err();
    assert!(error.is_refusal());
    assert!(error.to_string().contains("without the feature `tls`"), "{error}");
    let (mut server, _) = listener.accept().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
}

#[test]
fn addresses_are_shown_as_they_are_written() {
    let shown = |host: &str| Address::Tcp(HostPort { host: host.into(), port: 6379 }).to_string();
    assert_eq!(shown("redis.example"), "redis.example:6379");
    assert_eq!(shown("::1"), "[::1]:6379");
    assert_eq!(Address::Unix("/run/r.sock".into()).to_string(), "unix:///run/r.sock");
}

#[test]
fn a_closed_plain_text_connection_suggests_tls() {
    let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
    let error = tcp("h", 1).before_ready(&closed);
    assert_eq!(error.kind(), DialErrorKind::Io);
    assert!(error.to_string().contains("rediss://"), "{error}");
}
