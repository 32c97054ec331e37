//! Accounting: the outcome of every message.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use redis_actix::prelude::*;
use redis_actix::{ConnectionEvent, Error, Fate};

/// The time without progress after which missing messages count as lost.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Counters of the messages of this run.
pub(crate) struct Ledger {
    messages: RefCell<Vec<Message>>,
    sent: Cell<u64>,
    acknowledged: Cell<u64>,
    handled: Cell<u64>,
    duplicates: Cell<u64>,
    appended_again: Cell<u64>,
    unknown: Cell<u64>,
    under_way: Cell<u64>,
    reconnects: Cell<u64>,
    longest_outage: Cell<Duration>,
    last_change: Cell<Instant>,
    started: Instant,
}

#[derive(Clone, Copy, Default)]
struct Message {
    acknowledged: bool,
    handled: u32,
}

/// A message that is being handled.
pub(crate) struct InFlightGuard<'a>(&'a Cell<u64>);

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Ledger {
    pub(crate) fn new(messages: u64) -> Self {
        Self {
            messages: RefCell::new(vec![Message::default(); messages as usize]),
            sent: Cell::default(),
            acknowledged: Cell::default(),
            handled: Cell::default(),
            duplicates: Cell::default(),
            appended_again: Cell::default(),
            unknown: Cell::default(),
            under_way: Cell::default(),
            reconnects: Cell::default(),
            longest_outage: Cell::default(),
            last_change: Cell::new(Instant::now()),
            started: Instant::now(),
        }
    }

    pub(crate) fn sent_one(&self) {
        add(&self.sent, 1);
    }

    pub(crate) fn appended_again(&self) {
        add(&self.appended_again, 1);
    }

    pub(crate) fn acknowledged_one(&self, number: u64) {
        if let Some(message) = self.messages.borrow_mut().get_mut(number as usize) {
            message.acknowledged = true;
        }
        add(&self.acknowledged, 1);
        self.last_change.set(Instant::now());
    }

    pub(crate) fn begin(&self) -> InFlightGuard<'_> {
        add(&self.under_way, 1);
        InFlightGuard(&self.under_way)
    }

    pub(crate) fn handled_one(&self, number: u64) {
        let mut messages = self.messages.borrow_mut();
        let Some(message) = messages.get_mut(number as usize) else { return };
        message.handled += 1;
        add(if message.handled == 1 { &self.handled } else { &self.duplicates }, 1);
        self.last_change.set(Instant::now());
    }

    pub(crate) fn failed(&self, error: &Error) {
        if error.fate() == Fate::Unknown {
            add(&self.unknown, 1);
        }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.get()
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.get()
    }

    pub(crate) fn handled(&self) -> u64 {
        self.handled.get()
    }

    /// Acknowledged by Redis and never handled.
    pub(crate) fn lost(&self) -> u64 {
        self.messages.borrow().iter().filter(|message| message.acknowledged && message.handled == 0).count() as u64
    }

    /// Whether the run is over: everything is handled, or nothing changes any more.
    pub(crate) fn is_settled(&self, server_is_calm: bool) -> bool {
        if !server_is_calm || self.under_way.get() > 0 {
            return false;
        }
        self.lost() == 0 || self.last_change.get().elapsed() > TIME_LIMIT
    }

    /// The number of messages that the conversations in Redis have counted.
    pub(crate) async fn messages_in_state(&self, redis: &Redis) -> Result<u64, Error> {
        let mut counted = 0;
        for conversation in 0..500 {
            let sides: Vec<Option<u64>> =
                redis.send(HMGet::new(format!("conversation:{conversation}"), ["inbound", "outbound"])).await?;
            counted += sides.into_iter().flatten().sum::<u64>();
        }
        Ok(counted)
    }

    pub(crate) fn account(&self, kills: u32, kept: u64) -> Account<'_> {
        Account { ledger: self, kills, kept }
    }
}

fn add(cell: &Cell<u64>, n: u64) {
    cell.set(cell.get() + n);
}

/// Counts the events of the connection.
pub(crate) struct EventLog(Rc<Ledger>);

impl EventLog {
    pub(crate) fn new(ledger: Rc<Ledger>) -> Self {
        Self(ledger)
    }
}

impl Actor for EventLog {
    type Context = Context<Self>;
}

impl Handler<ConnectionEvent> for EventLog {
    type Result = ();

    fn handle(&mut self, event: ConnectionEvent, _: &mut Self::Context) {
        // In a cluster each node publishes its own events.
        let event = if let ConnectionEvent::Node { event, .. } = event { *event } else { event };
        if let ConnectionEvent::Connected { outage: Some(outage), .. } = event {
            add(&self.0.reconnects, 1);
            self.0.longest_outage.set(self.0.longest_outage.get().max(outage));
        }
    }
}

/// The summary at the end of the demo.
pub(crate) struct Account<'a> {
    ledger: &'a Ledger,
    kills: u32,
    kept: u64,
}

impl fmt::Display for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = self.ledger;
        let seconds = ledger.started.elapsed().as_secs_f64();
        let mut row = |name: &str, value: &dyn fmt::Display| writeln!(f, "  {name:<34}{value:>12}");
        row("sent", &ledger.sent.get())?;
        row("acknowledged by redis", &ledger.acknowledged.get())?;
        row("handled at least once", &ledger.handled.get())?;
        row("duplicates", &ledger.duplicates.get())?;
        row("appended again, fate unknown", &ledger.appended_again.get())?;
        row("counted in conversations", &self.kept)?;
        row("commands with unknown fate", &ledger.unknown.get())?;
        row("server killed", &self.kills)?;
        row("reconnects", &ledger.reconnects.get())?;
        row("longest outage, ms", &ledger.longest_outage.get().as_millis())?;
        row("seconds", &format!("{seconds:.1}"))?;
        write!(f, "  {:<34}{:>12}", "lost", ledger.lost())
    }
}
