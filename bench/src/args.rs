//! What is to be measured.

use std::time::Duration;

use crate::load::Load;
use crate::round::Times;

/// The choices of a run.
pub struct Options {
    /// Rounds of each contender.
    pub rounds: usize,
    /// How long each takes.
    pub times: Times,
    /// Only loads whose name, with the number of callers after a slash, begins so.
    pub only: Option<String>,
    /// Only the first contender and those whose name begins so.
    pub with: Option<String>,
    /// Only a choice of loads.
    pub quick: bool,
}

impl Options {
    /// Whether this load is wanted.
    #[must_use]
    pub fn selects(&self, load: &Load) -> bool {
        let name = format!("{}/{}", load.name, load.callers);
        match &self.only {
            Some(only) => name == *only || load.name == only,
            None => load.quick || !self.quick,
        }
    }
}

/// Reads the command line of the harness.
///
/// # Errors
/// With a line that says what is wrong.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut args = args.into_iter();
    let (mut quick, mut local, mut only, mut with, mut rounds, mut measured) = (false, false, None, None, None, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--quick" => quick = true,
            "--local" => local = true,
            "--only" => only = Some(value()?),
            "--with" => with = Some(value()?),
            "--rounds" => rounds = Some(value()?.parse().map_err(|_| "--rounds needs a number")?),
            "--measured" => measured = Some(value()?.parse().map_err(|_| "--measured needs milliseconds")?),
            _ => return Err(format!("unknown: {arg}")),
        }
    }
    let measured = Duration::from_millis(measured.unwrap_or(if quick { 120 } else { 500 }));
    Ok(Options {
        rounds: rounds.unwrap_or(if quick { 3 } else { 7 }),
        times: Times { warm_up: measured / 4, measured, local },
        only,
        with,
        quick,
    })
}
