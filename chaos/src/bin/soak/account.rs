//! Every entry and its outcome.

use std::collections::BTreeMap;

use crate::Produced;
use crate::crew::Line;
use crate::faults::Faults;

/// Time limit for the confirmation of an acknowledgement without faults, in milliseconds.
const PROMPT: u64 = 1_000;

/// Counters over all epochs.
#[derive(Debug, Default)]
pub(crate) struct Account {
    epochs: u64,
    sent: u64,
    unknown: u64,
    acknowledged: u64,
    /// Entries whose handler has finished.
    handled: u64,
    calls: u64,
    duplicates: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    events: BTreeMap<String, u64>,
    violations: Vec<String>,
    /// Those of the current epoch.
    open: Vec<String>,
}

impl Account {
    pub(crate) fn is_fine(&self) -> bool {
        self.violations.is_empty()
    }

    fn violated(&mut self, words: String) {
        // A defect appears in thousands of entries at once; a few lines suffice.
        if self.violations.len() < 20 {
            println!("VIOLATION: {words}");
        }
        self.violations.push(words);
    }

    pub(crate) fn produced(&mut self, produced: Produced) {
        self.sent += produced.sent;
        self.unknown += produced.unknown;
        self.acknowledged += produced.acknowledged.len() as u64;
        self.open.extend(produced.acknowledged);
    }

    /// Ends an epoch: everything is handled, if `calm`.
    pub(crate) fn close(&mut self, calm: bool, faults: Faults, lines: Vec<Line>) {
        self.epochs += 1;
        faults.count(&mut self.faults);
        let mut entries: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
        for line in &lines {
            if line.word == "event" {
                *self.events.entry(line.id.clone()).or_default() += 1;
            } else {
                entries.entry(&line.id).or_default().push(line);
            }
        }
        if !calm {
            self.violated(format!("entries are pending a minute after the last fault; {faults:?}"));
        }
        for id in std::mem::take(&mut self.open) {
            if !entries.get(id.as_str()).is_some_and(|lines| lines.iter().any(|line| line.word == "ack")) {
                self.violated(format!("{id} was acknowledged to its producer, and lost"));
            }
        }
        for (id, lines) in entries {
            self.handled += u64::from(lines.iter().any(|line| line.word == "ack"));
            let begins: Vec<usize> = (0..lines.len()).filter(|nth| is(&lines, *nth, "begin")).collect();
            self.calls += begins.len() as u64;
            for pair in begins.windows(2) {
                let [first, second] = pair else { continue };
                match cause(&lines, *first, *second, &faults) {
                    Some(cause) => *self.duplicates.entry(cause).or_default() += 1,
                    None => {
                        let story: Vec<_> = lines.iter().map(|l| format!("{} {} {}", l.at, l.worker, l.word)).collect();
                        self.violated(format!("{id} was handled twice without a cause: {story:?}; {faults:?}"));
                    }
                }
            }
        }
    }

    pub(crate) fn print(&self, dead: u64, processes: u64) {
        let line = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let events: Vec<_> = self.events.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("epochs:       {}", self.epochs);
        println!("faults:       {}", line(&self.faults));
        println!("processes:    {processes} consumers started");
        println!("events:       {}", events.join(", "));
        println!("sent:         {}, of which {} have an unknown fate", self.sent, self.unknown);
        println!("acknowledged: {}", self.acknowledged);
        println!("handled:      {} entries in {} calls", self.handled, self.calls);
        println!("again:        {}", line(&self.duplicates));
        println!("dead letters: {dead}");
        let lost = self.violations.iter().filter(|words| words.ends_with("lost")).count();
        println!("lost:         {lost}");
        println!("violations:   {}", self.violations.len());
    }
}

fn is(lines: &[&Line], nth: usize, word: &str) -> bool {
    lines.get(nth).is_some_and(|line| line.word == word)
}

/// The cause of a second delivery.
fn cause(lines: &[&Line], first: usize, second: usize, faults: &Faults) -> Option<&'static str> {
    let (begun, again) = (lines.get(first)?, lines.get(second)?);
    let own = lines.iter().skip(first).filter(|line| line.worker == begun.worker && line.word != "begin");
    let answers: Vec<_> = own.filter(|line| line.at <= again.at + PROMPT).collect();
    for answer in &answers {
        match answer.word.as_str() {
            "retry" => return Some("retried"),
            "release" => return Some("released"),
            "lost" => return Some("lease lost"),
            "late" => return Some("deadline"),
            _ => {}
        }
    }
    let answered = answers.iter().find(|line| line.word == "ack").map_or(again.at, |line| line.at + PROMPT);
    let first = faults.between(&begun.worker, begun.at, answered.min(again.at));
    // The second worker had received it earlier and was frozen until others had claimed it.
    first.or_else(|| faults.frozen(&again.worker, begun.at, again.at))
}
