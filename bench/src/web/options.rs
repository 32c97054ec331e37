//! The command line of `cargo xtask bench --web`.

use super::Load;

/// The choices of a run.
pub(super) struct Options {
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    endpoints: Vec<String>,
    connections: Vec<usize>,
    /// Only contenders whose name contains one of these.
    only: Vec<String>,
}

impl Options {
    /// # Errors
    /// A line that names the wrong argument.
    pub(super) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            rounds: 9,
            seconds: 1,
            endpoints: ["get", "parallel"].map(str::to_owned).to_vec(),
            connections: vec![8, 64],
            only: Vec::new(),
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let value = args.next().ok_or_else(|| format!("{arg} needs a value"))?;
            let wrong = || format!("{arg}: {value} is no number");
            let words = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
            match arg.as_str() {
                "--rounds" => options.rounds = value.parse().map_err(|_| wrong())?,
                "--seconds" => options.seconds = value.parse().map_err(|_| wrong())?,
                "--endpoints" => options.endpoints = words(),
                "--connections" => {
                    let numbers = value.split(',').map(str::parse).collect::<Result<_, _>>();
                    options.connections = numbers.map_err(|_| wrong())?;
                }
                "--with" => options.only = words(),
                _ => return Err(format!("{arg} is no option of --web")),
            }
        }
        Ok(options)
    }

    pub(super) fn loads(&self) -> Vec<Load> {
        let load = |endpoint: &String, connections: usize| Load { endpoint: endpoint.clone(), connections };
        self.endpoints
            .iter()
            .flat_map(|endpoint| self.connections.iter().map(move |count| load(endpoint, *count)))
            .collect()
    }

    pub(super) fn takes(&self, name: &str) -> bool {
        name == super::service::NONE
            || self.only.is_empty()
            || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}
