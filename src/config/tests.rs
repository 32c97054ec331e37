//! Defaults, contradictions, refused values, and that no text exposes a secret.

use std::ffi::OsString;

use super::{ConfigError, RedisConfig};

mod canary;
mod contradictions;
mod documentation;
mod files;
mod urls;
mod values;

/// Variables with their values.
type Pairs<'a> = &'a [(&'a str, &'a str)];

fn vars(pairs: Pairs<'_>) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn from(pairs: Pairs<'_>) -> Result<RedisConfig, ConfigError> {
    RedisConfig::from_vars(vars(pairs))
}

fn valid(pairs: Pairs<'_>) -> RedisConfig {
    from(pairs).unwrap_or_else(|error| panic!("{pairs:?}: {error}"))
}

/// The variables with problems, in order.
fn problem_names(pairs: Pairs<'_>) -> Vec<String> {
    let error = from(pairs).err().unwrap_or_else(|| panic!("{pairs:?} was accepted"));
    error.problems().iter().map(|problem| problem.variable().to_owned()).collect()
}
