//! Command line of the benchmark.

use std::time::Duration;

use crate::client::Connect;
use crate::clients::ours;
use crate::load::{self, Load, Place};
use crate::round::Times;
use crate::suite::Plan;

/// The choices of a run.
pub struct Options {
    /// Rounds of each contender.
    pub rounds: usize,
    /// Duration of each round.
    pub times: Times,
    /// Only loads whose name, with the number of callers after a slash, begins so.
    pub only: Option<String>,
    /// Only the first contender and those whose name begins so.
    pub with: Option<String>,
    /// Only a choice of loads.
    pub quick: bool,
    /// Only loads of this place.
    pub place: Option<Place>,
}

impl Options {
    /// The selected loads, and how long each is measured.
    #[must_use]
    pub fn plans(&self) -> Vec<Plan> {
        let loads = load::all().into_iter().filter(|load| self.selects(load));
        loads.map(|load| Plan { load, rounds: self.rounds, times: self.times }).collect()
    }

    /// Whether this contender is selected.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        name == ours::Here::NAME || self.with.as_ref().is_none_or(|with| name.starts_with(with.as_str()))
    }

    fn selects(&self, load: &Load) -> bool {
        let name = format!("{}/{}", load.name, load.callers);
        self.place.is_none_or(|place| place == load.place)
            && match &self.only {
                Some(only) => name == *only || load.name == only,
                None => load.quick || !self.quick,
            }
    }
}

/// Reads the command line of the harness.
///
/// # Errors
/// A line that describes the wrong argument.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut args = args.into_iter();
    let (mut quick, mut place, mut only, mut with, mut rounds, mut measured) = (false, None, None, None, None, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--quick" => quick = true,
            "--place" => {
                place = Some(match value()?.as_str() {
                    "same" => Place::Same,
                    "queue" => Place::Queue,
                    "other" => Place::Other,
                    place => return Err(format!("no place is called {place}: same, queue or other")),
                });
            }
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
        times: Times { warm_up: measured / 4, measured },
        only,
        with,
        quick,
        place,
    })
}
