//! How many tests passed, summed over all test programs.

use std::fmt;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Totals {
    /// Adds the numbers of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; ignores other lines.
    pub(crate) fn add_line(&mut self, line: &str) {
        if let Some(found) = Self::of_line(line) {
            self.passed += found.passed;
            self.failed += found.failed;
            self.skipped += found.skipped;
        }
    }

    fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.trim_end().strip_prefix("test result: ")?.split_once(". ")?;
        let count =
            |what: &str| counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim_end().parse::<u64>().ok());
        Some(Self { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(lines: &[&str]) -> Totals {
        let mut totals = Totals::default();
        lines.iter().for_each(|line| totals.add_line(line));
        totals
    }

    #[test]
    fn results_are_summed() {
        let totals = sum(&[
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s\n",
            "test a ... ok",
            "test result: FAILED. 40 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 12.50s",
        ]);
        assert_eq!(totals.to_string(), "43 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn other_lines_say_nothing() {
        let lines = [
            "",
            "test result: ",
            "test result: ok. x passed; 0 failed; 0 ignored",
            "  test result: ok. 1 passed; 0 failed; 0 ignored",
            "test result ... ok",
            "all doctests ran in 0.35s; merged doctests compilation took 0.34s",
        ];
        assert_eq!(sum(&lines), Totals::default());
    }
}
