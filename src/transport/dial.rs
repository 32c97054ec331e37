//! From an address to a connected socket, within one deadline.

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

/// Addresses of one name that are tried: a name with hundreds of them must not be dialled at hundreds of servers.
const MAX_ADDRESSES: usize = 16;

/// The next address is dialled when the one before has not answered for so long: the "Connection Attempt Delay" that
/// RFC 8305 recommends.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// No connection takes longer, whatever was configured: a duration beyond the clock's range must not panic.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What to dial and how. Cheap to clone; keep one for as long as the configuration holds, it carries the TLS configuration that
/// was built once and the TLS sessions that can be resumed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: Address,
    /// With it the connection is TLS or it is none.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long written bytes may stay unacknowledged before the kernel gives the link up (TCP_USER_TIMEOUT; Linux only).
    pub(crate) user_timeout: Option<Duration>,
}

impl Target {
    /// What an I/O error on a connection that was never ready means.
    ///
    /// Some refusals come after [`dial`]: in TLS 1.3 the server judges the client's certificate when the client's side
    /// of the handshake is over, and a TLS server on a port dialled in plain text just hangs up. Give the error of the first
    /// reads or writes (`UnexpectedEof` when the peer closed) to this before calling it a lost link.
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
                "the server hung up before it answered ({error}); if this port speaks tls, use rediss:// or REDIS_TLS=true"
            ),
            (true, true, _) => format!(
                "the server hung up before it answered ({error}); if it wants a client certificate, set REDIS_TLS_CERT and REDIS_TLS_KEY"
            ),
            _ => format!("the connection failed before it was ready: {error}"),
        };
        DialError::new(DialErrorKind::Io, &self.address, problem)
    }
}

/// Connects within `connect_timeout`, which covers resolving, every address that is tried, and the TLS handshake.
///
/// Names are resolved anew each time: after a failover the name may stand for another machine.
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
            "tls over a unix socket is not supported; turn one of them off",
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

/// The first of `addresses` that answers, raced as RFC 8305 has it: the next one is dialled when the one before has failed,
/// or has not answered for 250 ms. An address that swallows packets costs no more than that.
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
        format_args!("{}; is the server running, and reachable from here?", causes.join(", ")),
    ))
}

async fn connect(target: &Target, address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    prepare(&stream, target.user_timeout)?;
    Ok(stream)
}

/// In the order of the resolver, but IPv6 and IPv4 by turns: where one of them leads nowhere, it mostly does for all.
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
    // The port of a dead server on this machine may be given to the very socket that dials it. It would answer HELLO with
    // HELLO, and as long as it is open no server can listen there.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused (TCP self-connect)"));
    }
    // The batching is ours: Nagle's would hold back a batch until the one before it is acknowledged.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    // A peer that is gone without a word is noticed after a minute even when nobody sends.
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
    // Keepalive does not probe while written bytes wait for their acknowledgement, which may take a quarter of an hour.
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
            "the server did not take the connection in time; is it stopped or overloaded?",
        )),
    }
}

#[cfg(not(unix))]
async fn connect_unix(target: &Target, _path: &std::path::Path, _deadline: Instant) -> Result<Transport, DialError> {
    Err(DialError::new(DialErrorKind::Connect, &target.address, "this platform has no unix sockets; use host and port"))
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
        // What a server without TLS does with the first bytes: it waits for the end of the command it takes them for.
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
        "tls is asked for, but this program was built without the feature `tls` of redis-actix",
    ))
}
