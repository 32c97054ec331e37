//! The maximum time that a command line may block its connection, and the argument that sets it.

use std::time::Duration;

use super::rules::{is_word, stream_options};
use super::table::lookup;

/// The longest wait, here and in a frame: 49 days. It also stands for an unlimited wait.
pub(crate) const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);

/// The unit of the timeout argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
}

/// The timeout of a blocking command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The index of the timeout argument.
    at: usize,
    unit: Unit,
    /// Limited to [`LONGEST`], which also stands for 0.
    pub(crate) longest: Duration,
    /// Two waits of half the time are equivalent to one. Not so for `$`, which means another entry in each call.
    pub(crate) divisible: bool,
}

/// The timeout argument is not a valid time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoTime;

/// Finds the timeout of a line. `None` if the line does not block, or its timeout is not known.
///
/// # Errors
/// If the timeout argument is not a valid time.
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

/// A stream that is read from an id which the server determines when it runs the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latest {
    /// The index of the stream name.
    pub(crate) key: usize,
    /// The index of the id.
    pub(crate) id: usize,
    /// `true` for `+` (from the last entry), `false` for `$` (after the last entry).
    pub(crate) includes_last: bool,
}

/// The streams of an XREAD that are read from `$` or `+`. When the command is repeated they mean other entries.
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
    /// The line with a wait of `longest`, but at least 1 ms: some servers round less to 0, which is an unlimited
    /// wait.
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

/// A wait in milliseconds, from 1 (0 is unlimited) to [`LONGEST`].
pub(crate) fn milliseconds(longest: Duration) -> u64 {
    longest.clamp(Duration::from_millis(1), LONGEST).as_millis() as u64
}

/// The same wait in seconds.
pub(crate) fn seconds(longest: Duration) -> String {
    let millis = milliseconds(longest);
    // Servers before 6.0 accept whole seconds only.
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
    fn the_timeout_of_each_command_is_found() {
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
    fn zero_and_huge_timeouts_are_the_longest_and_invalid_ones_are_refused() {
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
    fn waits_with_a_moving_start_id_are_not_divided() {
        let divisible = |line| wait(&argv(line)).expect("a time").expect("waits").divisible;
        assert!(divisible("XREAD BLOCK 0 STREAMS $ 0") && divisible("XREADGROUP GROUP g c BLOCK 0 STREAMS a >"));
        assert!(!divisible("XREAD BLOCK 0 STREAMS a b 0 $") && !divisible("XREAD BLOCK 0 STREAMS a +"));
    }

    #[test]
    fn ids_that_the_server_determines_are_found_with_their_streams() {
        let of = |line| latest(&argv(line)).into_iter().map(|it| (it.key, it.id, it.includes_last)).collect::<Vec<_>>();
        assert_eq!(of("XREAD BLOCK 0 STREAMS a b c $ 0 +"), [(4, 7, false), (6, 9, true)]);
        assert_eq!(of("XREAD BLOCK 0 STREAMS $ 0"), [], "a stream may have that name");
        assert_eq!(of("XREADGROUP GROUP g c BLOCK 0 STREAMS a >"), []);
    }

    /// A blocking command that is missing here would be sent without a time limit.
    #[test]
    fn every_blocking_command_is_known() {
        for entry in COMMANDS.iter().filter(|entry| policy(&[entry.name]) == Policy::Blocking) {
            assert!(!matches!(wait(&[entry.name, "a", "b", "c", "d", "e", "f"]), Ok(None)), "{}", entry.name);
        }
    }
}
