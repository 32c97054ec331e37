//! The commands of a script in order, and the parsing of commands.

use super::Answer;
use std::collections::VecDeque;
use std::io;

/// The limits of the protocol.
const MAX_ARGS: usize = 1024 * 1024;
const MAX_BULK: usize = 512 * 1024 * 1024;

/// One expected command of a script, and the reaction to it.
///
/// ```
/// use redis_actix_test::Step;
/// let step = Step::expect(["GET", "key"]).reply("$5\r\nvalue\r\n");
/// ```
#[derive(Debug, Clone)]
pub struct Step {
    expected: Vec<Vec<u8>>,
    answer: Answer,
}

impl Step {
    /// Expects this command. The name is compared case-insensitively, arguments exactly; omitted trailing arguments are not
    /// compared.
    pub fn expect<A: AsRef<[u8]>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self { expected: argv.into_iter().map(|arg| arg.as_ref().to_vec()).collect(), answer: Answer::Default }
    }

    /// Answers it with these bytes.
    #[must_use]
    pub fn reply(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.answer(Answer::Raw(bytes.into()))
    }

    /// Answers it with this reaction.
    #[must_use]
    pub fn answer(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }

    fn matches(&self, argv: &[Vec<u8>]) -> bool {
        argv.len() >= self.expected.len()
            && self.expected.iter().zip(argv).enumerate().all(|(index, (expected, got))| {
                if index == 0 { expected.eq_ignore_ascii_case(got) } else { expected == got }
            })
    }
}

#[derive(Debug, Default)]
pub(super) struct Script {
    steps: VecDeque<Step>,
    problems: Vec<String>,
}

impl Script {
    pub(super) fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), problems: Vec::new() }
    }

    /// The reaction of the script to this command; `None` at its end.
    pub(super) fn answer(&mut self, argv: &[Vec<u8>]) -> Option<Answer> {
        let step = self.steps.front()?;
        if step.matches(argv) {
            return self.steps.pop_front().map(|step| step.answer);
        }
        let problem = format!("expected {}, got {}", show(&step.expected), show(argv));
        let reply = format!("-ERR fake server: {problem}\r\n");
        self.problems.push(problem);
        Some(Answer::Raw(reply.into_bytes()))
    }

    pub(super) fn problem(&mut self, problem: String) {
        self.problems.push(problem);
    }

    pub(super) fn finish(&self) -> io::Result<()> {
        let mut problems = self.problems.clone();
        problems.extend(self.steps.front().map(|step| format!("still waiting for {}", show(&step.expected))));
        if problems.is_empty() {
            Ok(())
        } else {
            Err(io::Error::other(format!("fake server: {}", problems.join("; "))))
        }
    }
}

/// A command in one short line, for messages.
fn show(argv: &[Vec<u8>]) -> String {
    let words: Vec<String> = argv.iter().map(|arg| arg.escape_ascii().to_string().chars().take(60).collect()).collect();
    words.join(" ").chars().take(200).collect()
}

/// The arguments of a command, and its length in bytes.
type Parsed = (Vec<Vec<u8>>, usize);

/// The first command in `bytes` and its length; `None` if it is not complete yet.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, String> {
    let Some((line, mut at)) = line(bytes, 0) else {
        return Ok(None);
    };
    let Some(count) = line.strip_prefix(b"*") else {
        let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        return Ok(Some((words.map(<[u8]>::to_vec).collect(), at)));
    };
    let count = number(count, MAX_ARGS)?;
    let mut argv = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        let Some((header, start)) = self::line(bytes, at) else {
            return Ok(None);
        };
        let length = header
            .strip_prefix(b"$")
            .ok_or_else(|| format!("argument without a length: {}", header.escape_ascii()))
            .and_then(|digits| number(digits, MAX_BULK))?;
        let Some(arg) = bytes.get(start..start + length + 2) else {
            return Ok(None);
        };
        let Some(arg) = arg.strip_suffix(b"\r\n") else {
            return Err("argument without its end".to_owned());
        };
        argv.push(arg.to_vec());
        at = start + length + 2;
    }
    Ok(Some((argv, at)))
}

fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(from..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((rest.get(..end)?, from + end + 2))
}

fn number(digits: &[u8], most: usize) -> Result<usize, String> {
    std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|number| *number <= most)
        .ok_or_else(|| format!("no length: {}", digits.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn commands_are_read_from_every_split() {
        let wire = b"*2\r\n$3\r\nGET\r\n$3\r\na\r\n\r\nPING\r\n";
        for end in 0..22 {
            assert_eq!(parse(wire.get(..end).unwrap_or_default()), Ok(None), "{end}");
        }
        assert_eq!(parse(wire), Ok(Some((argv(&["GET", "a\r\n"]), 22))));
        assert_eq!(parse(wire.get(22..).unwrap_or_default()), Ok(Some((argv(&["PING"]), 6))));
    }

    #[test]
    fn what_is_no_command_is_an_error() {
        for wire in ["*x\r\n", "*1\r\n+OK\r\n", "*1\r\n$-1\r\n", "*1\r\n$1\r\nabc\r\n", "*99999999\r\n"] {
            assert!(parse(wire.as_bytes()).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn a_script_is_followed_in_order() {
        let mut script = Script::new(vec![
            Step::expect(["get", "a"]).reply("$1\r\n1\r\n"),
            Step::expect(["DEL"]).answer(Answer::Close),
        ]);
        assert!(script.finish().is_err());
        assert_eq!(script.answer(&argv(&["GET", "a"])), Some(Answer::raw("$1\r\n1\r\n")));
        assert_eq!(script.answer(&argv(&["DEL", "x", "y"])), Some(Answer::Close));
        assert_eq!(script.answer(&argv(&["GET", "b"])), None);
        assert!(script.finish().is_ok());
    }

    #[test]
    fn another_command_than_expected_is_a_problem_and_the_step_stays() {
        let mut script = Script::new(vec![Step::expect(["GET", "a"])]);
        assert!(matches!(script.answer(&argv(&["GET", "b"])), Some(Answer::Raw(reply)) if reply.starts_with(b"-ERR")));
        assert_eq!(script.answer(&argv(&["GET", "a"])), Some(Answer::Default));
        assert!(script.finish().is_err_and(|e| e.to_string().contains("expected GET a, got GET b")));
    }
}
