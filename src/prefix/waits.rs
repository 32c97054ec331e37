//! For how long a command line may keep its connection waiting, and where it says so.

use std::time::Duration;

use super::rules::{is_word, stream_options};
use super::table::lookup;

/// Nothing waits for longer, here or in a frame: 49 days. "For ever" is this too.
pub(crate) const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);

/// How the server counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// What a command line says of its wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The argument that says for how long.
    at: usize,
    unit: Unit,
    /// At most [`LONGEST`], which also stands for 0.
    pub(crate) longest: Duration,
    /// Waiting twice for half as long is the same. Not so for `$`, which means another entry each time.
    pub(crate) divisible: bool,
}

/// The time that a line names is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoTime;

/// What the line says; `None` where it does not wait, or nobody here knows for how long.
///
/// # Errors
/// When what stands there is no time.
pub(crate) fn wait(argv: &[impl AsRef<[u8]>]) -> Result<Option<Wait>, NoTime> {
    let Some(found) = lookup(argv) else { return Ok(None) };
    let last = argv.len().saturating_sub(1);
    let mut divisible = true;
    let (at, unit) = match found.name.command {
        "blpop" | "brpop" | "brpoplpush" | "blmove" | "bzpopmin" | "bzpopmax" => (last, Unit::Seconds),
        "blmovem" => (5, Unit::Seconds),
        "blmpop" | "bzmpop" => (1, Unit::Seconds),
        "wait" | "waitaof" => {
            divisible = false;
            (last, Unit::Milliseconds)
        }
        "xread" | "xreadgroup" => {
            let Some(streams) = stream_options(argv) else { return Ok(None) };
            let Some(at) = streams.block else { return Ok(None) };
            let ids = argv.get(streams.first + streams.count..).unwrap_or_default();
            divisible = ids.iter().all(|id| !matches!(id.as_ref(), b"$" | b"+"));
            (at, Unit::Milliseconds)
        }
        "ts.read" => match argv.iter().skip(3).position(|arg| is_word(arg.as_ref(), "BLOCK")) {
            Some(nth) => {
                divisible = false;
                (nth + 4, Unit::Milliseconds)
            }
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let text = argv.get(at).ok_or(NoTime)?.as_ref();
    Ok(Some(Wait { at, unit, longest: parse(text, unit).ok_or(NoTime)?, divisible }))
}

/// A stream whose read begins at an id that the server works out when it runs the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latest {
    /// The argument that is the name of the stream.
    pub(crate) key: usize,
    /// The argument that stands for the id.
    pub(crate) id: usize,
    /// `+`: from the last entry on. Else `$`: behind it.
    pub(crate) includes_last: bool,
}

/// The streams of an XREAD that are read from `$` or `+`. Asked once more they mean other entries.
pub(crate) fn latest(argv: &[impl AsRef<[u8]>]) -> Vec<Latest> {
    let is_read = lookup(argv).is_some_and(|found| found.name.command == "xread");
    let Some(streams) = stream_options(argv).filter(|_| is_read) else { return Vec::new() };
    let all = (streams.first..streams.first + streams.count).map(|key| (key, key + streams.count));
    let latest = all.filter_map(|(key, id)| match argv.get(id)?.as_ref() {
        b"$" => Some(Latest { key, id, includes_last: false }),
        b"+" => Some(Latest { key, id, includes_last: true }),
        _ => None,
    });
    latest.collect()
}

fn parse(text: &[u8], unit: Unit) -> Option<Duration> {
    let text = std::str::from_utf8(text).ok()?;
    let longest = match unit {
        Unit::Seconds => {
            let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0)?;
            Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST)
        }
        Unit::Milliseconds => Duration::from_millis(text.parse().ok()?),
    };
    Some(if longest.is_zero() { LONGEST } else { longest.clamp(Duration::from_millis(1), LONGEST) })
}

impl Wait {
    /// The line with a wait of `longest` instead, at least a millisecond: less is without end for some servers.
    pub(crate) fn shortened(&self, argv: &[&[u8]], longest: Duration) -> Vec<Vec<u8>> {
        let mut line: Vec<Vec<u8>> = argv.iter().map(|word| word.to_vec()).collect();
        if let Some(word) = line.get_mut(self.at) {
            *word = match self.unit {
                Unit::Milliseconds => milliseconds(longest).to_string(),
                Unit::Seconds => seconds(longest),
            }
            .into_bytes();
        }
        line
    }
}

/// A wait in milliseconds: at least 1, for 0 is without end, and at most [`LONGEST`].
pub(crate) fn milliseconds(longest: Duration) -> u64 {
    longest.clamp(Duration::from_millis(1), LONGEST).as_millis() as u64
}

/// The same in seconds.
pub(crate) fn seconds(longest: Duration) -> String {
    let millis = milliseconds(longest);
    // Servers before 6.0 know whole seconds only.
    if millis.is_multiple_of(1000) {
        (millis / 1000).to_string()
    } else {
        format!("{}.{:03}", millis / 1000, millis % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::policy::{Policy, policy};
    use crate::prefix::table::COMMANDS;

    fn argv(line: &str) -> Vec<&[u8]> {
        line.split(' ').map(str::as_bytes).collect()
    }

    fn shortened(line: &str) -> String {
        let argv = argv(line);
        let wait = wait(&argv).expect("a time").expect("it waits");
        let words = wait.shortened(&argv, Duration::from_millis(1500));
        words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_time_is_where_each_command_has_it() {
        for (line, ms, short) in [
            ("BLPOP a b 2", 2000, "BLPOP a b 1.500"),
            ("brpop a 0.25", 250, "brpop a 1.500"),
            ("BLMOVE a b LEFT RIGHT 3", 3000, "BLMOVE a b LEFT RIGHT 1.500"),
            ("BLMOVEM a b LEFT RIGHT 3 COUNT 2", 3000, "BLMOVEM a b LEFT RIGHT 1.500 COUNT 2"),
            ("BRPOPLPUSH a b 3", 3000, "BRPOPLPUSH a b 1.500"),
            ("BLMPOP 7 1 a LEFT COUNT 3", 7000, "BLMPOP 1.500 1 a LEFT COUNT 3"),
            ("BZPOPMIN z 1", 1000, "BZPOPMIN z 1.500"),
            ("BZMPOP 1 1 z MIN", 1000, "BZMPOP 1.500 1 z MIN"),
            ("XREAD COUNT 1 BLOCK 20 STREAMS BLOCK 0", 20, "XREAD COUNT 1 BLOCK 1500 STREAMS BLOCK 0"),
            ("XREADGROUP GROUP BLOCK c BLOCK 20 STREAMS s >", 20, "XREADGROUP GROUP BLOCK c BLOCK 1500 STREAMS s >"),
            ("WAIT 1 30", 30, "WAIT 1 1500"),
            ("WAITAOF 1 1 30", 30, "WAITAOF 1 1 1500"),
            ("TS.READ k 0 BLOCK 30 1", 30, "TS.READ k 0 BLOCK 1500 1"),
        ] {
            assert_eq!(
                wait(&argv(line)).map(|wait| wait.map(|w| w.longest)),
                Ok(Some(Duration::from_millis(ms))),
                "{line}"
            );
            assert_eq!(shortened(line), short);
        }
    }

    #[test]
    fn zero_and_huge_are_the_longest_and_nonsense_is_refused() {
        for line in ["BLPOP a 0", "BLPOP a 1e300", "BLPOP a inf", "XREAD BLOCK 0 STREAMS a 0", "BLPOP a 99999999999"] {
            assert_eq!(wait(&argv(line)).map(|wait| wait.map(|w| w.longest)), Ok(Some(LONGEST)), "{line}");
        }
        for line in
            ["BLPOP a b", "BLPOP a -1", "BLPOP a nan", "XREAD BLOCK -1 STREAMS a 0", "WAIT 1 1.5", "BLMOVEM a b"]
        {
            assert_eq!(wait(&argv(line)), Err(NoTime), "{line}");
        }
        for line in ["GET a", "XREAD STREAMS a 0", "NOSUCH 1"] {
            assert_eq!(wait(&argv(line)), Ok(None), "{line}");
        }
    }

    #[test]
    fn what_means_something_else_each_time_is_not_divided() {
        let divisible = |line| wait(&argv(line)).expect("a time").expect("waits").divisible;
        assert!(divisible("XREAD BLOCK 0 STREAMS $ 0") && divisible("XREADGROUP GROUP g c BLOCK 0 STREAMS a >"));
        assert!(!divisible("XREAD BLOCK 0 STREAMS a b 0 $") && !divisible("XREAD BLOCK 0 STREAMS a +"));
    }

    #[test]
    fn ids_that_the_server_works_out_are_found_with_their_streams() {
        let of = |line| latest(&argv(line)).into_iter().map(|it| (it.key, it.id, it.includes_last)).collect::<Vec<_>>();
        assert_eq!(of("XREAD BLOCK 0 STREAMS a b c $ 0 +"), [(4, 7, false), (6, 9, true)]);
        assert_eq!(of("XREAD BLOCK 0 STREAMS $ 0"), [], "a stream may have that name");
        assert_eq!(of("XREADGROUP GROUP g c BLOCK 0 STREAMS a >"), []);
    }

    /// A command that waits and is not here would be sent without a bound.
    #[test]
    fn every_command_that_waits_is_known() {
        for entry in COMMANDS.iter().filter(|entry| policy(&[entry.name]) == Policy::Blocking) {
            assert!(!matches!(wait(&[entry.name, "a", "b", "c", "d", "e", "f"]), Ok(None)), "{}", entry.name);
        }
    }
}
