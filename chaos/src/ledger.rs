//! Every write with its number, the outcome at its caller, and its state at the servers.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Instant;

use redis_actix::{Error, Fate};

use super::account::Account;
use super::deployment::Losses;

/// The outcome of a write at its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// Acknowledged.
    Acknowledged,
    /// Acknowledged and replicated, according to WAIT.
    Replicated,
    NotSent,
    Rejected,
    Unknown,
}

impl From<&Error> for Reported {
    fn from(error: &Error) -> Self {
        match error.fate() {
            Fate::NotSent => Self::NotSent,
            Fate::Rejected => Self::Rejected,
            Fate::Unknown => Self::Unknown,
        }
    }
}

impl Reported {
    fn as_str(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Replicated => "acknowledged by a replica",
            Self::NotSent => "not sent",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Debug, Clone)]
struct Write {
    /// The kind of command.
    by: &'static str,
    /// A task that waits for each write before the next.
    caller: u64,
    key: String,
    at: Instant,
    reported: Reported,
}

/// Writes are elements of lists, so that loss, repetition and order are visible.
#[derive(Debug, Default)]
pub struct Ledger {
    next: Cell<u64>,
    writes: RefCell<BTreeMap<u64, Write>>,
    /// Writes of earlier rounds whose fate was unknown: they may still run.
    late: RefCell<BTreeSet<u64>>,
    /// Of several keys in one step: all or none.
    atomic: RefCell<Vec<(u64, [String; 2])>>,
}

/// The result of a comparison, for one kind of command.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    /// Acknowledged and lost in a window in which servers lose writes.
    pub lost_by_server: u64,
    /// Acknowledged and lost outside of such a window.
    pub lost: u64,
    /// Ran or came twice, though no server lost a write.
    pub repeated: u64,
}

impl Ledger {
    /// The number of the next write.
    pub fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    pub fn note(&self, number: u64, by: &'static str, caller: u64, key: &str, reported: Reported) {
        let write = Write { by, caller, key: key.to_owned(), at: Instant::now(), reported };
        self.writes.borrow_mut().insert(number, write);
    }

    /// Both keys have the number, or none.
    pub fn note_atomic(&self, number: u64, keys: [String; 2]) {
        self.atomic.borrow_mut().push((number, keys));
    }

    /// The written lists.
    pub fn keys(&self) -> HashSet<String> {
        let (writes, atomic) = (self.writes.borrow(), self.atomic.borrow());
        writes.values().map(|write| &write.key).chain(atomic.iter().flat_map(|(_, keys)| keys)).cloned().collect()
    }

    /// All writes since the last call. The next round starts with empty lists.
    pub fn take(&self) -> Round {
        let writes = std::mem::take(&mut *self.writes.borrow_mut());
        let round =
            Round { late: self.late.borrow().clone(), atomic: std::mem::take(&mut *self.atomic.borrow_mut()), writes };
        let unknown = round.writes.iter().filter(|(_, write)| write.reported == Reported::Unknown);
        self.late.borrow_mut().extend(unknown.map(|(number, _)| *number));
        round
    }
}

/// The writes of one round.
#[derive(Debug)]
pub struct Round {
    writes: BTreeMap<u64, Write>,
    late: BTreeSet<u64>,
    atomic: Vec<(u64, [String; 2])>,
}

impl Round {
    /// Compares with the lists of the servers. It takes seconds in a debug build, so it belongs on another thread.
    pub fn verify(
        &self,
        lists: &HashMap<String, Vec<u64>>,
        losses: &Losses,
        account: &Account,
    ) -> BTreeMap<&'static str, Tally> {
        let mut tallies = BTreeMap::<&'static str, Tally>::new();
        let places = self.places(lists, account, &mut tallies);
        for (number, write) in &self.writes {
            let present = places.contains_key(&(write.key.as_str(), *number));
            judge(*number, write, present, losses, account, tallies.entry(write.by).or_default());
        }
        check_order(&self.writes, &places, account);
        for (number, keys) in &self.atomic {
            let there = keys.each_ref().map(|key| places.contains_key(&(key.as_str(), *number)));
            account.check(there[0] == there[1], "a transaction ran by halves", || {
                format!("{number} at {keys:?}: {there:?}")
            });
        }
        count(&tallies, account);
        tallies
    }

    /// The position of each number in its list. Repetitions and unknown numbers are violations.
    fn places<'a>(
        &self,
        lists: &'a HashMap<String, Vec<u64>>,
        account: &Account,
        tallies: &mut BTreeMap<&'static str, Tally>,
    ) -> HashMap<(&'a str, u64), usize> {
        let (mut places, mut twice) = (HashMap::new(), BTreeSet::new());
        for (key, numbers) in lists {
            for (place, number) in numbers.iter().enumerate() {
                let repeated = places.insert((key.as_str(), *number), place).is_some();
                if self.late.contains(number) {
                    account.count("ran late");
                    continue;
                }
                let write = self.writes.get(number);
                if repeated && let Some(write) = write {
                    tallies.entry(write.by).or_default().repeated += 1;
                }
                let by = write.map_or("unknown command", |write| write.by);
                account.check(!repeated || !twice.insert(*number), &format!("{by}: ran twice"), || {
                    let times = numbers.iter().filter(|other| *other == number).count();
                    let reported = write.map_or("no outcome", |write| write.reported.as_str());
                    format!("{number} of {key}, {reported}: {times} times")
                });
                account.check(write.is_some(), "an unexpected element", || format!("{number} of {key}"));
            }
        }
        places
    }
}

fn judge(number: u64, write: &Write, present: bool, losses: &Losses, account: &Account, tally: &mut Tally) {
    let reported = write.reported.as_str();
    let words = || format!("{number} of {}, {reported} {:?} ago", write.key, write.at.elapsed());
    let kind = |what: &str| format!("{}: {what}", write.by);
    match write.reported {
        Reported::NotSent | Reported::Rejected => {
            tally.refused += 1;
            account.check(!present, &kind("a fate denies what ran"), words);
        }
        Reported::Unknown => tally.unknown += 1,
        Reported::Replicated => {
            tally.acknowledged += 1;
            tally.lost += u64::from(!present);
            account.check(present, &kind("a write that a replica had is lost"), words);
        }
        Reported::Acknowledged => {
            tally.acknowledged += 1;
            if !present && losses.explain(write.at) {
                tally.lost_by_server += 1;
            } else {
                tally.lost += u64::from(!present);
                account.check(present, &kind("an acknowledged write is lost"), || {
                    format!("{}; {}", words(), losses.near(write.at))
                });
            }
        }
    }
}

/// A caller that waits for one write before the next finds them in this order.
fn check_order(writes: &BTreeMap<u64, Write>, places: &HashMap<(&str, u64), usize>, account: &Account) {
    let mut last: HashMap<(u64, &str), (u64, usize)> = HashMap::new();
    for (number, write) in writes {
        if !matches!(write.reported, Reported::Acknowledged | Reported::Replicated) {
            continue;
        }
        let Some(place) = places.get(&(write.key.as_str(), *number)) else { continue };
        if let Some((before, at)) = last.insert((write.caller, &write.key), (*number, *place)) {
            account.check(at < *place, "out of order", || {
                format!("{before} and {number} of {}: {at}, {place}", write.key)
            });
        }
    }
}

fn count(tallies: &BTreeMap<&'static str, Tally>, account: &Account) {
    for (by, tally) in tallies {
        let counts = [
            ("acknowledged", tally.acknowledged),
            ("unknown", tally.unknown),
            ("refused", tally.refused),
            ("lost by the server", tally.lost_by_server),
            ("lost", tally.lost),
        ];
        for (what, times) in counts {
            if times > 0 {
                account.count_many(&format!("{by} {what}"), times);
            }
        }
    }
}
