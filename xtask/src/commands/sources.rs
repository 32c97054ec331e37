//! Finds the messages in the sources, by the first words of their documentation: `/// `XGROUP CREATE`: creates ..`.

use std::collections::BTreeMap;
use std::path::Path;

use super::Outcome;

/// The messages of each command, by family and name.
pub(super) struct Messages(BTreeMap<String, Vec<(String, String)>>);

impl Messages {
    pub(super) fn read(directory: &Path, is_command: impl Fn(&str) -> bool) -> Outcome<Self> {
        let mut found = Self(BTreeMap::new());
        let mut directories = vec![directory.to_owned()];
        while let Some(directory) = directories.pop() {
            let entries =
                std::fs::read_dir(&directory).map_err(|e| format!("cannot read {}: {e}", directory.display()))?;
            for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
                if path.is_dir() {
                    directories.extend(Some(path).filter(|path| !path.ends_with("tests")));
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
                    let relative = path.strip_prefix(directories_root(directory.as_path())).unwrap_or(&path);
                    found.add(&text, &relative.to_string_lossy(), &is_command);
                }
            }
        }
        for messages in found.0.values_mut() {
            messages.sort();
            messages.dedup();
        }
        Ok(found)
    }

    pub(super) fn of(&self, command: &str) -> Option<Vec<(String, String)>> {
        self.0.get(command).cloned()
    }

    fn add(&mut self, text: &str, file: &str, is_command: &impl Fn(&str) -> bool) {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut was_comment = false;
        for (at, line) in lines.iter().enumerate() {
            let is_first = !was_comment;
            was_comment = line.starts_with("///");
            let Some(words) = line.strip_prefix("/// `").filter(|_| is_first) else { continue };
            let words = words.split('`').next().unwrap_or_default();
            let Some(command) = command_of(words, is_command) else { continue };
            let after = lines.get(at..).unwrap_or_default().iter();
            let declared = after.copied().find(|line| !line.starts_with("///") && !line.starts_with("#["));
            let Some(name) = declared.and_then(name_of) else { continue };
            self.0.entry(command).or_default().push((family_of(file, name).to_owned(), name.to_owned()));
        }
    }
}

/// The folder `messages`, of which `directory` is a part.
fn directories_root(directory: &Path) -> &Path {
    directory.ancestors().find(|path| path.ends_with("messages")).unwrap_or(directory)
}

/// `XGROUP CREATE` or `ZRANK .. WITHSCORE`, whichever is a command.
fn command_of(words: &str, is_command: &impl Fn(&str) -> bool) -> Option<String> {
    let words: Vec<String> = words.split_whitespace().take(2).map(str::to_lowercase).collect();
    let both = words.join(" ");
    let first = words.first()?.clone();
    [both, first].into_iter().find(|name| is_command(name))
}

/// The name of a message at the start of its declaration.
fn name_of(line: &str) -> Option<&str> {
    let end = line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len());
    line.get(..end).filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// The public module of a message.
fn family_of<'a>(file: &'a str, name: &str) -> &'a str {
    let stem = file.split(['/', '.']).next().unwrap_or_default();
    match stem {
        "blocking" if name.starts_with("BZ") => "sorted_sets",
        "blocking" if name.starts_with('W') => "server",
        "blocking" => "lists",
        "functions" | "script" => "scripting",
        "operators" => "server",
        "scan" => "keys",
        _ => {
            const FAMILIES: [&str; 15] = [
                "strings",
                "keys",
                "bitmaps",
                "hashes",
                "lists",
                "sets",
                "sorted_sets",
                "geo",
                "hyperloglog",
                "streams",
                "pubsub",
                "server",
                "json",
                "time_series",
                "vectors",
            ];
            let family = FAMILIES
                .into_iter()
                .find(|family| stem.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')));
            family.unwrap_or(stem)
        }
    }
}
