//! The progress display.

use std::{
    collections::VecDeque,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use redis_actix::prelude::*;

use super::ledger::Ledger;

/// The time over which the rate is measured.
const SPAN: Duration = Duration::from_secs(1);

/// Two bars and a line on a terminal, otherwise one line per second.
pub(crate) struct Progress {
    bars: MultiProgress,
    sent: ProgressBar,
    handled: ProgressBar,
    line: ProgressBar,
    samples: VecDeque<(Instant, u64)>,
    last_line: Option<Instant>,
    plain: bool,
}

impl Progress {
    pub(crate) fn new(messages: u64) -> Self {
        let bars = MultiProgress::new();
        let style = |template: &str| {
            ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━╸ ")
        };
        let bar = |name: &'static str| {
            let bar = bars.add(ProgressBar::new(messages));
            bar.set_style(style("{prefix:>8} {bar:40} {pos:>8}/{len}"));
            bar.set_prefix(name);
            bar
        };
        let (sent, handled) = (bar("sent"), bar("handled"));
        let line = bars.add(ProgressBar::new_spinner());
        line.set_style(style("         {msg}"));
        Self {
            sent,
            handled,
            line,
            bars,
            samples: VecDeque::new(),
            last_line: None,
            plain: !std::io::stderr().is_terminal(),
        }
    }

    pub(crate) fn show(&mut self, ledger: &Ledger, redis: &Redis) {
        let now = Instant::now();
        self.samples.push_back((now, ledger.handled()));
        while self.samples.front().is_some_and(|(at, _)| now - *at > SPAN) {
            self.samples.pop_front();
        }
        let rate = self
            .samples
            .front()
            .map_or(0.0, |(at, handled)| (ledger.handled() - handled) as f64 / (now - *at).as_secs_f64().max(0.05));
        let status = redis.status().borrow().clone();
        let pending = ledger.acknowledged() - ledger.handled().min(ledger.acknowledged());
        let cause = status.cause.map_or_else(String::new, |cause| format!(" ({cause})"));
        let line = format!("{rate:>7.0}/s, {pending} pending, connection {}{cause}", status.state);
        self.sent.set_position(ledger.acknowledged());
        self.handled.set_position(ledger.handled());
        if self.plain {
            if self.last_line.is_none_or(|at| now - at >= SPAN) {
                self.last_line = Some(now);
                println!("  sent {:>7}, handled {:>7}, {line}", ledger.sent(), ledger.handled());
            }
        } else {
            self.line.set_message(line);
        }
    }

    pub(crate) fn finish(&mut self, ledger: &Ledger, redis: &Redis) {
        self.last_line = None;
        self.show(ledger, redis);
        self.sent.abandon();
        self.handled.abandon();
        self.line.finish_and_clear();
        drop(self.bars.clear());
    }
}
