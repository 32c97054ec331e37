//! The problems of a configuration, reported together and without values.

use std::{borrow::Cow, fmt};

use crate::error::{Error, ErrorKind, Fate};

/// All problems of a configuration, so that one pass fixes them.
///
/// The text never contains a value, because the value of a misspelt or swapped variable may be a secret. `{}` prints
/// one line, `{:#}` one line per problem.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<ConfigProblem>,
}

impl ConfigError {
    pub(super) fn new(problems: Vec<ConfigProblem>) -> Self {
        Self { problems }
    }

    /// The problems, at least one.
    #[must_use]
    pub fn problems(&self) -> &[ConfigProblem] {
        &self.problems
    }
}

/// Like `{:#}`, because a `main` that returns an error shows it with `Debug`.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:#}")
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("1 problem in the configuration:")?,
            many => write!(f, "{many} problems in the configuration:")?,
        }
        let between = if f.alternate() { "\n  " } else { "; " };
        for (index, problem) in self.problems.iter().enumerate() {
            f.write_str(if index == 0 && !f.alternate() { " " } else { between })?;
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorKind::Config, Fate::NotSent, error.to_string()).caused_by(error)
    }
}

/// One problem of a configuration, with the accepted values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    variable: &'static str,
    text: Cow<'static, str>,
}

impl ConfigProblem {
    pub(super) fn new(variable: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { variable, text: text.into() }
    }

    /// The environment variable to fix, such as `REDIS_PORT`; for a setting in code, the method of
    /// [`RedisConfigBuilder`](crate::RedisConfigBuilder), such as `port`.
    #[must_use]
    pub fn variable(&self) -> &str {
        self.variable
    }

    /// The problem and the accepted values, without the name of the variable.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.variable, self.text)
    }
}
