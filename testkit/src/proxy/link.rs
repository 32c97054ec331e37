//! The connections, on the proxy's thread.

use super::plan::{Accept, Direction, Plan, Tricks};
use crate::tally::{Tally, lock};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// An order of the test for one live connection.
#[derive(Debug)]
pub(super) enum Order {
    Inject(Vec<u8>),
    Reset,
    Close,
    Strand,
}

/// A connection that was accepted and has not ended.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) orders: mpsc::UnboundedSender<Order>,
    /// The address that it came from.
    pub(super) source: IpAddr,
}

#[derive(Debug)]
pub(super) struct Stats {
    pub(super) dials: Vec<Instant>,
    pub(super) live: usize,
    pub(super) listening: bool,
}

impl Stats {
    pub(super) fn describe(&self, wanted: usize) -> String {
        format!("{wanted} connections to the proxy were wanted, {} were accepted, {} live", self.dials.len(), self.live)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) upstream: Mutex<String>,
    pub(super) plan: watch::Sender<Plan>,
    pub(super) tricks: Mutex<Tricks>,
    pub(super) stats: Tally<Stats>,
    pub(super) links: Mutex<HashMap<u64, Live>>,
    /// Addresses whose connections are never answered.
    pub(super) blocked: Mutex<HashSet<IpAddr>>,
    pub(super) bytes_to_server: AtomicU64,
    pub(super) bytes_to_client: AtomicU64,
}

impl Shared {
    pub(super) fn new(upstream: String) -> Self {
        Self {
            upstream: Mutex::new(upstream),
            plan: watch::Sender::new(Plan::default()),
            tricks: Mutex::new(Tricks::default()),
            stats: Tally::new(Stats { dials: Vec::new(), live: 0, listening: true }),
            links: Mutex::new(HashMap::new()),
            blocked: Mutex::new(HashSet::new()),
            bytes_to_server: AtomicU64::new(0),
            bytes_to_client: AtomicU64::new(0),
        }
    }

    fn passed(&self, direction: Direction, count: usize) {
        let bytes = match direction {
            Direction::ToServer => &self.bytes_to_server,
            Direction::ToClient => &self.bytes_to_client,
        };
        bytes.fetch_add(count as u64, Ordering::AcqRel);
    }
}

/// How a connection ended, seen from the proxy.
enum End {
    Client,
    ClientReset,
    Server,
    ServerReset,
    Ordered(Order),
    Cut,
}

/// Accepts connections for as long as the proxy lives.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(addr) = listener.local_addr() else {
        return;
    };
    let mut plan = shared.plan.subscribe();
    let mut listener = Some(listener);
    let mut next_id = 0;
    loop {
        let accept = plan.borrow_and_update().accept;
        match &listener {
            Some(_) if accept == Accept::Refuse => {
                listener = None;
                shared.stats.update(|stats| stats.listening = false);
            }
            None if accept != Accept::Refuse => {
                listener = Some(listen_again(addr).await);
                shared.stats.update(|stats| stats.listening = true);
            }
            None => {
                if plan.changed().await.is_err() {
                    return;
                }
            }
            Some(open) => tokio::select! {
                changed = plan.changed() => if changed.is_err() { return },
                accepted = open.accept() => if let Ok((client, from)) = accepted {
                    next_id += 1;
                    admit(client, from.ip(), next_id, &shared);
                },
            },
        }
    }
}

/// The listener is closed meanwhile, so another process may hold the port for a short time.
async fn listen_again(addr: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

fn admit(client: TcpStream, source: IpAddr, id: u64, shared: &Arc<Shared>) {
    let (orders, received) = mpsc::unbounded_channel();
    // Registered before `blocked` is read: `block` sets it first and resets registered connections then.
    lock(&shared.links).insert(id, Live { orders, source });
    let blocked = lock(&shared.blocked).contains(&source);
    // The current mode applies, not the one at the time of the wait.
    let accept = if blocked { Accept::Silent } else { shared.plan.borrow().accept };
    shared.stats.update(|stats| {
        stats.dials.push(Instant::now());
        stats.live += 1;
    });
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        // Small pieces must not be merged; a socket that refuses the option fails soon anyway.
        drop(client.set_nodelay(true));
        let rest = match accept {
            Accept::Forward => forward(client, received, &shared).await,
            Accept::Silent => stay_silent(client, received).await,
            Accept::Close | Accept::Refuse => Some(client),
        };
        let rest = match rest {
            Some(mut client) => client.shutdown().await.is_ok().then_some(client),
            None => None,
        };
        lock(&shared.links).remove(&id);
        shared.stats.update(|stats| stats.live -= 1);
        if let Some(client) = rest {
            drain(client).await;
        }
    });
}

/// Reads what the client still sends, for a while: closing a socket with unread bytes sends RST, and that may overtake the
/// end the client was to see.
async fn drain(mut client: TcpStream) {
    let mut sink = [0; 4096];
    let rest = async { while client.read(&mut sink).await.is_ok_and(|count| count > 0) {} };
    drop(timeout(Duration::from_secs(2), rest).await);
}

/// Passes bytes both ways; gives the client's socket back where it is to be closed in order.
async fn forward(
    mut client: TcpStream,
    mut orders: mpsc::UnboundedReceiver<Order>,
    shared: &Shared,
) -> Option<TcpStream> {
    let upstream = lock(&shared.upstream).clone();
    let dialled = tokio::select! {
        dialled = TcpStream::connect(upstream) => dialled,
        order = next_end(&mut orders) => match order {
            Order::Reset => return reset(client),
            Order::Close | Order::Inject(_) | Order::Strand => return Some(client),
        },
    };
    let Ok(mut server) = dialled else {
        return reset(client);
    };
    drop(server.set_nodelay(true));
    let (inject, injected) = mpsc::unbounded_channel();
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let commands = Pump::new(Direction::ToServer, from_client, to_server, shared).run(None);
        let replies = Pump::new(Direction::ToClient, from_server, to_client, shared).run(Some(injected));
        let ordered = async {
            loop {
                match orders.recv().await {
                    Some(Order::Inject(bytes)) => drop(inject.send(bytes)),
                    Some(order) => return End::Ordered(order),
                    None => return End::Ordered(Order::Close),
                }
            }
        };
        tokio::select! {
            end = ordered => end,
            end = commands => end,
            end = replies => end,
        }
    };
    match end {
        End::Client => None,
        End::ClientReset => reset(server),
        End::Server | End::Cut | End::Ordered(Order::Close | Order::Inject(_)) => Some(client),
        End::ServerReset => reset(client),
        End::Ordered(Order::Strand) => {
            let order = next_end(&mut orders).await;
            drop(server);
            if matches!(order, Order::Reset) { reset(client) } else { Some(client) }
        }
        End::Ordered(Order::Reset) => {
            reset(server);
            reset(client)
        }
    }
}

/// The order that ends a connection whose server is still being dialled.
async fn next_end(orders: &mut mpsc::UnboundedReceiver<Order>) -> Order {
    loop {
        match orders.recv().await {
            Some(Order::Inject(_) | Order::Strand) => {}
            Some(order) => return order,
            None => return Order::Close,
        }
    }
}

async fn stay_silent(mut client: TcpStream, mut orders: mpsc::UnboundedReceiver<Order>) -> Option<TcpStream> {
    let mut sink = [0; 4096];
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Inject(bytes)) => if client.write_all(&bytes).await.is_err() { return None },
                Some(Order::Strand) => {}
                Some(Order::Reset) => return reset(client),
                Some(Order::Close) | None => return Some(client),
            },
            read = client.read(&mut sink) => if !read.is_ok_and(|count| count > 0) { return None },
        }
    }
}

/// Closing with SO_LINGER 0 is what sends RST.
fn reset(stream: TcpStream) -> Option<TcpStream> {
    drop(stream.set_zero_linger());
    None
}

/// One direction of one connection.
struct Pump<'a> {
    direction: Direction,
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    shared: &'a Shared,
    plan: watch::Receiver<Plan>,
}

impl<'a> Pump<'a> {
    fn new(direction: Direction, from: ReadHalf<'a>, to: WriteHalf<'a>, shared: &'a Shared) -> Self {
        Self { direction, from, to, shared, plan: shared.plan.subscribe() }
    }

    async fn run(mut self, mut injected: Option<mpsc::UnboundedReceiver<Vec<u8>>>) -> End {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.unheld().await;
            let read = tokio::select! {
                // First, so that a mode set before the bytes came is seen before them.
                biased;
                _ = self.plan.changed() => continue,
                bytes = next(&mut injected) => {
                    if let Err(end) = self.write(&bytes).await { return end }
                    continue;
                }
                read = self.from.read(&mut buffer) => read,
            };
            let delay = self.plan.borrow().delay;
            if !delay.is_zero() {
                sleep(delay).await;
            }
            // An end is held as bytes are.
            self.unheld().await;
            let mut bytes = match (read, self.direction) {
                (Ok(0), Direction::ToServer) => return End::Client,
                (Ok(0), Direction::ToClient) => return End::Server,
                (Err(_), Direction::ToServer) => return End::ClientReset,
                (Err(_), Direction::ToClient) => return End::ServerReset,
                (Ok(count), _) => buffer.get(..count).unwrap_or_default().to_vec(),
            };
            let cut = lock(&self.shared.tricks).apply(self.direction, &mut bytes);
            if let Err(end) = self.write(&bytes).await {
                return end;
            }
            if cut {
                return End::Cut;
            }
        }
    }

    /// Waits while this direction is held.
    async fn unheld(&mut self) {
        let direction = self.direction;
        // Fails only where the proxy itself is gone, which ends this task too.
        drop(self.plan.wait_for(|plan| !plan.held(direction)).await);
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        let mut left = bytes;
        while !left.is_empty() {
            self.unheld().await;
            let size = self.plan.borrow().chunk.map_or(left.len(), |size| size.get().min(left.len()));
            let (piece, rest) = left.split_at(size);
            // Counted before the write, so that a reader of the bytes sees them counted.
            self.shared.passed(self.direction, piece.len());
            if self.to.write_all(piece).await.is_err() {
                // Bytes that the other side sent before it closed are still in the other direction, which ends the
                // connection; a client that is gone receives nothing.
                return match self.direction {
                    Direction::ToServer => std::future::pending().await,
                    Direction::ToClient => Err(End::ClientReset),
                };
            }
            left = rest;
            if !left.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

async fn next(injected: &mut Option<mpsc::UnboundedReceiver<Vec<u8>>>) -> Vec<u8> {
    match injected {
        Some(injected) => match injected.recv().await {
            Some(bytes) => bytes,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
