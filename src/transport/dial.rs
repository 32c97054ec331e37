//! Connects to an address within one deadline.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::dial_error::{DialError, DialErrorKind};
use super::socket::Transport;
use super::tls::Tls;
use crate::config::{Address, HostPort};

#[cfg(test)]
mod tests;

/// The maximum number of addresses tried per name. A name with hundreds of addresses must not cause hundreds of
/// connections.
const MAX_ADDRESSES: usize = 16;

/// The next address is tried if the previous one has not replied within this time: the "Connection Attempt Delay"
/// recommended by RFC 8305.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// The maximum connect timeout, because a duration beyond the clock's range must not panic.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The address and its options. Cheap to clone. Keep one for the lifetime of the configuration, because it holds the
/// TLS configuration and the TLS sessions for resumption.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    /// If set, the connection uses TLS or fails.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long written bytes may stay unacknowledged before the kernel closes the link (TCP_USER_TIMEOUT; Linux
    /// only).
    pub(crate) user_timeout: Option<Duration>,
}

impl Target {
    /// Interprets an I/O error on a connection that was never ready.
    ///
    /// Some refusals arrive after [`dial`]: in TLS 1.3 the server checks the client's certificate after the client
    /// has completed the handshake, and a TLS server on a port dialled in plain text just closes the connection. Pass
    /// the error of the first reads or writes (`UnexpectedEof` if the peer closed) to this function before you treat
    /// it as a lost link.
    pub(crate) fn before_ready(&self, error: &io::Error) -> DialError {
        #[cfg(feature = "tls")]
        if let Some(refused) = super::tls::refusal(&self.address, error) {
            return refused;
        }
        let hung_up = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
        );
        let problem = match (hung_up, self.tls.is_some(), &self.address) {
            (true, false, Address::Tcp(_)) => format!(
                "the server closed the connection before it replied ({error}); if this is a tls port, use rediss:// or REDIS_TLS=true"
            ),
            (true, true, _) => format!(
                "the server closed the connection before it replied ({error}); if it requires a client certificate, set REDIS_TLS_CERT and REDIS_TLS_KEY"
            ),
            _ => format!("the connection failed before it was ready: {error}"),
        };
        DialError::new(DialErrorKind::Io, &self.address, problem)
    }
}

/// Connects within `connect_timeout`, which covers name resolution, all tried addresses, and the TLS handshake.
///
/// Names are resolved for each attempt, because after a failover a name may have another address.
pub(crate) async fn dial(target: &Target, connect_timeout: Duration) -> Result<Transport, DialError> {
    let now = Instant::now();
    let deadline = now.checked_add(connect_timeout.min(LONGEST)).unwrap_or(now);
    match &target.address {
        Address::Tcp(HostPort { host, port }) => {
            let addresses = resolve(target, host, *port, deadline).await?;
            let stream = connect_any(target, &addresses, deadline).await?;
            match &target.tls {
                None => Ok(Transport::Tcp(stream)),
                Some(tls) => secure(target, tls, host, stream, deadline).await,
            }
        }
        Address::Unix(_) if target.tls.is_some() => Err(DialError::new(
            DialErrorKind::TlsConfig,
            &target.address,
            "tls over a unix socket is not supported; disable one of them",
        )),
        Address::Unix(path) => connect_unix(target, path, deadline).await,
    }
}

async fn resolve(target: &Target, host: &str, port: u16, deadline: Instant) -> Result<Vec<SocketAddr>, DialError> {
    let failed = |cause: &dyn fmt::Display| {
        DialError::new(
            DialErrorKind::Resolve,
            &target.address,
            format_args!("the host name does not resolve: {cause}; check the name and the resolver"),
        )
    };
    match timeout_at(deadline, lookup_host((host, port))).await {
        Err(_) => Err(DialError::new(
            DialErrorKind::Timeout,
            &target.address,
            "the host name was not resolved in time; check the resolver, or raise the connect timeout",
        )),
        Ok(Err(error)) => Err(failed(&error)),
        Ok(Ok(addresses)) => {
            let addresses: Vec<_> = addresses.take(MAX_ADDRESSES).collect();
            if addresses.is_empty() {
                return Err(failed(&"it has no address"));
            }
            Ok(addresses)
        }
    }
}

/// Returns the first of `addresses` that connects, as in RFC 8305: the next one is tried if the previous one failed,
/// or did not reply within 250 ms. An address that drops packets costs no more than that.
async fn connect_any(target: &Target, addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, DialError> {
    let started = Instant::now();
    let mut waiting = alternate_families(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let (mut pending, mut causes) = (Vec::new(), Vec::new());
    let mut kind = DialErrorKind::Timeout;
    loop {
        if let Some(address) = waiting.next() {
            pending.push(address);
            attempts.push(async move { (address, connect(target, address).await) });
        }
        let until = if waiting.len() > 0 { deadline.min(Instant::now() + NEXT_ADDRESS_AFTER) } else { deadline };
        match timeout_at(until, attempts.next()).await {
            Ok(Some((_, Ok(stream)))) => return Ok(stream),
            Ok(Some((address, Err(error)))) => {
                kind = DialErrorKind::Connect;
                pending.retain(|other| *other != address);
                causes.push(format!("{address}: {error}"));
            }
            Ok(None) => break,
            Err(_) if deadline <= Instant::now() => break,
            Err(_) => {}
        }
    }
    let took = started.elapsed();
    causes.extend(pending.iter().map(|address| format!("{address} did not answer within {took:.1?}")));
    Err(DialError::new(
        kind,
        &target.address,
        format_args!("{}; is the server running and reachable?", causes.join(", ")),
    ))
}

async fn connect(target: &Target, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    prepare(&stream, target.user_timeout)?;
    Ok(stream)
}

/// In the order of the resolver, but with IPv6 and IPv4 alternating: if one family has no route, all its addresses
/// fail.
fn alternate_families(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_of_first =
        |address: &&SocketAddr| addresses.first().is_some_and(|first| first.is_ipv4() == address.is_ipv4());
    let (first, second): (Vec<&SocketAddr>, Vec<&SocketAddr>) = addresses.iter().partition(is_of_first);
    let mut second = second.into_iter();
    let mut alternating: Vec<SocketAddr> =
        first.into_iter().flat_map(|address| [Some(address), second.next()]).flatten().copied().collect();
    alternating.extend(second);
    alternating
}

fn prepare(stream: &TcpStream, user_timeout: Option<Duration>) -> io::Result<()> {
    // The kernel may give the port of a dead local server to the very socket that connects to it. Such a link would
    // reply to HELLO with HELLO, and no server could listen on the port while it is open.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused (TCP self-connect)"));
    }
    // Batching is done here: Nagle's algorithm would delay a batch until the previous one is acknowledged.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // An unreachable peer is detected after a minute, even on an idle link.
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(30));
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "windows",
    ))]
    let keepalive = keepalive.with_interval(Duration::from_secs(10)).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    // Keepalive sends no probes while written bytes are unacknowledged, which may take 15 minutes.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(user_timeout)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = user_timeout;
    Ok(())
}

#[cfg(unix)]
async fn connect_unix(target: &Target, path: &std::path::Path, deadline: Instant) -> Result<Transport, DialError> {
    match timeout_at(deadline, tokio::net::UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Transport::Unix(stream)),
        Ok(Err(error)) => Err(DialError::new(
            DialErrorKind::Connect,
            &target.address,
            format_args!("{error}; is the server running, and may this user open its socket file?"),
        )),
        Err(_) => Err(DialError::new(
            DialErrorKind::Timeout,
            &target.address,
            "the server did not accept the connection in time; is it stopped or overloaded?",
        )),
    }
}

#[cfg(not(unix))]
async fn connect_unix(target: &Target, _path: &std::path::Path, _deadline: Instant) -> Result<Transport, DialError> {
    Err(DialError::new(
        DialErrorKind::Connect,
        &target.address,
        "this platform does not support unix sockets; use host and port",
    ))
}

#[cfg(feature = "tls")]
async fn secure(
    target: &Target,
    tls: &Arc<Tls>,
    host: &str,
    stream: TcpStream,
    deadline: Instant,
) -> Result<Transport, DialError> {
    match timeout_at(deadline, tls.secure(&target.address, host, stream)).await {
        Ok(secured) => secured.map(|stream| Transport::Tls(Box::new(stream))),
        // A server without TLS waits for the end of the command that it takes the first bytes for.
        Err(_) => Err(DialError::new(
            DialErrorKind::Timeout,
            &target.address,
            "connected, but the tls handshake was not finished in time; does this port speak tls?",
        )),
    }
}

#[cfg(not(feature = "tls"))]
async fn secure(
    target: &Target,
    _tls: &Arc<Tls>,
    _host: &str,
    _stream: TcpStream,
    _deadline: Instant,
) -> Result<Transport, DialError> {
    Err(DialError::new(
        DialErrorKind::TlsConfig,
        &target.address,
        "tls is configured, but this program was built without the feature `tls` of redis-actix",
    ))
}
