use std::{
    any::Any,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use redis::Value;

use super::*;
use crate::connection::request::Pending;
use crate::error::{ErrorKind, Result};
use crate::{Incr, Redis, RedisConfig};

/// A command that counts itself out when it is answered.
struct Counted(Arc<AtomicUsize>, Frame);

impl Pending for Counted {
    fn frame(&self) -> &Frame {
        &self.1
    }

    fn is_abandoned(&self) -> bool {
        false
    }

    fn into_routed(self: Box<Self>) -> std::result::Result<Box<dyn Any>, BoxedTicket> {
        Err(self)
    }

    fn poll_abandoned(&mut self, _: &mut TaskContext<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn deliver(self: Box<Self>, _: Result<Value>) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst);
        true
    }
}

fn submit_on(addr: &Addr<RedisActor>, waiting: Arc<AtomicUsize>) {
    let ticket = Box::new(Counted(waiting, Frame::new("GET").key("k")));
    addr.do_send(SubmitOn::new(u64::MAX, Submit { ticket, asked: Instant::now() }));
}

fn run(addr: &Addr<RedisActor>, waiting: Arc<AtomicUsize>) {
    addr.do_send(Run(Box::new(move || {
        waiting.fetch_sub(1, Ordering::SeqCst);
    })));
}

/// Ablation: without `count` in the handler of `SubmitOn`, or of `Run`, "the deadline was not seen".
#[actix::test]
async fn deadlines_are_met_while_messages_of_any_kind_flood_the_mailbox() {
    let time_limit = Duration::from_secs(20);
    for message in [submit_on, run] {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").port();
        let config = RedisConfig::builder().host("127.0.0.1").port(port).key_prefix("test:").build().expect("valid");
        let redis = Redis::builder(config).start_on_own_thread().expect("started");
        let call = redis.send(Incr::new("k").timeout(Duration::from_millis(300)));
        let (stop, waiting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let floods: Vec<_> = (0..2)
            .map(|_| {
                let (addr, stop, waiting) = (redis.addr().clone(), stop.clone(), waiting.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        // Enough that the mailbox is never empty, not more than memory holds.
                        if waiting.load(Ordering::SeqCst) < 50_000 {
                            waiting.fetch_add(1, Ordering::SeqCst);
                            message(&addr, waiting.clone());
                        } else {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let outcome = tokio::time::timeout(time_limit, call).await;
        stop.store(true, Ordering::SeqCst);
        floods.into_iter().for_each(|flood| flood.join().expect("no panic"));
        let error = outcome.expect("the deadline was not seen").expect_err("no server");
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
}
