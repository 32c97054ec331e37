//! `cargo xtask commands`: which commands of which server have a message.
//!
//! ```text
//! cargo xtask commands            prints the counts, and writes docs/commands.md
//! cargo xtask commands --check    fails if a command is missing, or docs/commands.md is out of date
//! ```

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sources::Messages;

type Outcome<T> = Result<T, String>;

/// Runs the command with the arguments after `commands`.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] => write(),
        ["--check"] => check(),
        _ => Err("usage: cargo xtask commands [--check]".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("commands: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Outcome<String> {
    std::fs::read_to_string(root().join(path)).map_err(|e| format!("cannot read {path}: {e}"))
}

/// How users reach a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    /// With these messages, by family and name.
    Message(Vec<(String, String)>),
    /// With another part of the interface.
    Covered(String),
    /// With `Raw`, for this reason.
    Raw(String),
    /// Not on a shared connection with a prefix, for this reason.
    Refused(String),
    Missing,
}

/// Every command of every source, with the sources that have it.
struct Tables {
    /// The names of the sources, such as `redis-7.0.15`.
    names: Vec<String>,
    sources_of: BTreeMap<String, BTreeSet<String>>,
}

impl Tables {
    fn read() -> Outcome<Self> {
        let mut tables = Self { names: Vec::new(), sources_of: BTreeMap::new() };
        let directory = root().join("data/commands");
        let entries = std::fs::read_dir(&directory).map_err(|e| format!("cannot read {}: {e}", directory.display()))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            let commands: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            for command in commands.into_keys() {
                tables.sources_of.entry(command).or_default().insert(name.clone());
            }
            tables.names.push(name);
        }
        tables.names.sort();
        tables.drop_containers();
        Ok(tables)
    }

    /// A container such as `xgroup` is no command, only its subcommands are. `command` is both.
    fn drop_containers(&mut self) {
        let containers: BTreeSet<String> =
            self.sources_of.keys().filter_map(|name| Some(name.split_once(' ')?.0.to_owned())).collect();
        self.sources_of.retain(|name, _| name == "command" || !containers.contains(name));
    }
}

struct Coverage {
    tables: Tables,
    reach: BTreeMap<String, Reach>,
}

impl Coverage {
    fn read() -> Outcome<Self> {
        let tables = Tables::read()?;
        let messages = Messages::read(&root().join("src/messages"), |name| tables.sources_of.contains_key(name))?;
        let said: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_str(&read("data/coverage.json")?).map_err(|e| format!("data/coverage.json: {e}"))?;
        let of = |list: &str, command: &str| said.get(list).and_then(|list| list.get(command)).cloned();
        let reach = |command: &String| {
            let reach = if let Some(found) = messages.of(command) {
                Reach::Message(found)
            } else if let Some(with) = of("covered", command) {
                Reach::Covered(with)
            } else if let Some(reason) = of("raw", command) {
                Reach::Raw(reason)
            } else if let Some(reason) = of("refused", command).or_else(|| internal(command)) {
                Reach::Refused(reason)
            } else {
                Reach::Missing
            };
            (command.clone(), reach)
        };
        let reach = tables.sources_of.keys().map(reach).collect();
        Ok(Self { tables, reach })
    }

    /// The counts of one source, or of all: typed, covered, `Raw`, refused, missing.
    fn counts(&self, source: Option<&str>) -> [usize; 5] {
        let mut counts = [0; 5];
        for (command, reach) in &self.reach {
            let has = |source| self.tables.sources_of.get(command).is_some_and(|sources| sources.contains(source));
            if !source.is_none_or(has) {
                continue;
            }
            let [typed, covered, raw, refused, missing] = &mut counts;
            *match reach {
                Reach::Message(_) => typed,
                Reach::Covered(_) => covered,
                Reach::Raw(_) => raw,
                Reach::Refused(_) => refused,
                Reach::Missing => missing,
            } += 1;
        }
        counts
    }

    fn missing(&self) -> Vec<&str> {
        let missing = self.reach.iter().filter(|(_, reach)| **reach == Reach::Missing);
        missing.map(|(command, _)| command.as_str()).collect()
    }

    fn print(&self) {
        println!("{:<24} {:>7} {:>8} {:>5} {:>8} {:>8}", "source", "message", "covered", "Raw", "refused", "missing");
        let all = self.tables.names.iter().map(|name| (name.as_str(), Some(name.as_str())));
        for (name, source) in all.chain(std::iter::once(("all", None))) {
            let [typed, covered, raw, refused, missing] = self.counts(source);
            println!("{name:<24} {typed:>7} {covered:>8} {raw:>5} {refused:>8} {missing:>8}");
        }
        if !self.missing().is_empty() {
            println!("missing: {}", self.missing().join(", "));
        }
    }

    /// The cheat sheet.
    fn document(&self) -> String {
        let mut families: BTreeMap<&str, Vec<(&str, String)>> = BTreeMap::new();
        let mut others = Vec::new();
        for (command, reach) in &self.reach {
            match reach {
                Reach::Message(found) => {
                    let family = found.first().map_or("", |(family, _)| family.as_str());
                    let names: Vec<String> =
                        found.iter().map(|(family, name)| format!("[`{family}::{name}`]")).collect();
                    families.entry(family).or_default().push((command, names.join(", ")));
                }
                Reach::Covered(with) => others.push((command, with.clone())),
                Reach::Raw(reason) => others.push((command, format!("`Raw`: {reason}"))),
                Reach::Refused(reason) => others.push((command, format!("refused: {reason}"))),
                Reach::Missing => others.push((command, "no message yet".to_owned())),
            }
        }
        let mut text = String::from("# Commands and their messages\n");
        for (family, rows) in &families {
            let _ = write!(text, "\n## {family}\n\n| command | message |\n|---|---|\n");
            for (command, names) in rows {
                let _ = writeln!(text, "| `{}` | {names} |", command.to_uppercase());
            }
        }
        text.push_str("\n## Commands without a message of their own\n\n| command | reached with |\n|---|---|\n");
        for (command, with) in others {
            let _ = writeln!(text, "| `{}` | {with} |", command.to_uppercase());
        }
        text
    }
}

/// Commands of modules that are not meant for users.
fn internal(command: &str) -> Option<String> {
    let is_internal = command.ends_with(".debug")
        || ["_ft.", "ft._", "ft.debug", "timeseries."].iter().any(|start| command.starts_with(start));
    is_internal.then(|| "for servers among themselves and for their tests".to_owned())
}

fn write() -> Outcome<()> {
    let coverage = Coverage::read()?;
    coverage.print();
    let path = root().join("docs/commands.md");
    std::fs::write(&path, coverage.document()).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

fn check() -> Outcome<()> {
    let coverage = Coverage::read()?;
    coverage.print();
    if read("docs/commands.md")? != coverage.document() {
        return Err("docs/commands.md is out of date: run `cargo xtask commands` and commit it".to_owned());
    }
    let begun: BTreeSet<&str> = coverage
        .reach
        .iter()
        .filter(|(_, reach)| matches!(reach, Reach::Message(_)))
        .map(|(command, _)| family_prefix(command))
        .collect();
    // A family of a module without any message has not been begun.
    let missing: Vec<&str> =
        coverage.missing().into_iter().filter(|command| begun.contains(family_prefix(command))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "no message: {}; write one, or add the command to data/coverage.json with the reason",
        missing.join(", ")
    ))
}

/// `json` for `json.get`, nothing for commands of the server itself, `v` for vector sets.
fn family_prefix(command: &str) -> &str {
    match command.split_once('.') {
        Some((family, _)) => family,
        None if command.starts_with('v') => "v",
        None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_reached_and_the_cheat_sheet_is_up_to_date() -> Outcome<()> {
        check()
    }
}
