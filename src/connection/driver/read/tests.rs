use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use std::task::Wake;

use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::*;
use crate::client::gauges::Gauges;
use crate::config::{Address, HostPort, RedisConfig};
use crate::connection::liveness::Liveness;
use crate::connection::params::ConnectParams;
use crate::connection::retry::ReconnectPolicy;
use crate::events::{Fanout, Status};
use crate::protocol::framed::Wire;
use crate::transport::dial::Target;
use crate::transport::socket::Transport;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A driver whose link leads to the other end of a pipe.
fn driver(wire: Wire) -> Driver {
    let address = Address::Tcp(HostPort { host: "h".to_owned(), port: 1 });
    let target = Target { address, tls: None, user_timeout: None };
    let connect_params = ConnectParams::new(RedisConfig::builder().build().expect("valid"), target);
    let now = Instant::now();
    let fanout = Fanout::new(Vec::new(), watch::channel(Status::new(now)).0);
    let gauges = Arc::new(Gauges::new());
    let mut driver = Driver::new(Arc::new(connect_params), ReconnectPolicy::default(), fanout, gauges);
    driver.established = Some(Established {
        wire,
        liveness: Liveness::new(super::super::NO_TIMEOUT, now),
        busy_poll: None,
        leaving: None,
        has_written: false,
        number: 0,
        partial_read: None,
        tracking: None,
        _token: None,
    });
    driver
}

/// tokio looks at its timers and sockets before it wakes a task that yields, and behind up to 61 polls of one that wakes itself.
///
/// Ablation: with `cx.waker().wake_by_ref()` in place of the yield fails with "woken before the timers" and `left: 1`.
#[actix::test]
async fn a_link_with_more_bytes_than_one_poll_reads_is_polled_again_after_the_timers() {
    const PIPE: usize = 4 * 1024 * 1024;
    let (near, mut far) = tokio::io::duplex(PIPE);
    let pushes = b">2\r\n+hello\r\n+x\r\n".repeat(PIPE / 32);
    far.write_all(&pushes).await.expect("the pipe takes them");
    let mut driver = driver(Wire::new(Transport::Pipe(near)));
    let wakes = Arc::new(Wakes::default());
    let waker = wakes.clone().into();
    let mut cx = Context::from_waker(&waker);
    driver.read(&mut cx, ReadBudget::of(128)).expect("pushes are valid");
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0, "woken before the timers");
    // The runtime wakes those that yield in their order.
    tokio::task::yield_now().await;
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1, "not woken at all");
}
