//! `cargo xtask keytable`: generates the table of key positions from the command descriptions of servers.
//!
//! ```text
//! cargo xtask keytable                        data/commands/*.json -> src/prefix/table/generated.in
//! cargo xtask keytable --check                fails when that would change the file
//! cargo xtask keytable --from-server ADDR     asks a running server first, adds data/commands/<server>-<version>.json
//! cargo xtask keytable --modules-of ADDR      the same for the commands of its modules: <server>-<version>-modules.json
//! ```

mod server;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Map, Value};

type Outcome<T> = Result<T, String>;

/// One command of one source, or `container subcommand`, under its lower-case name.
type Source = BTreeMap<String, Value>;

/// Runs the command with the arguments after `keytable`.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] => write_table(),
        ["--check"] => check_table(),
        ["--from-server", address] => read_server(address, false).and_then(|()| write_table()),
        ["--modules-of", address] => read_server(address, true).and_then(|()| write_table()),
        _ => Err("usage: cargo xtask keytable [--check | --from-server HOST:PORT | --modules-of HOST:PORT]".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("keytable: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn data() -> PathBuf {
    root().join("data/commands")
}

fn table() -> PathBuf {
    root().join("src/prefix/table/generated.in")
}

fn write_table() -> Outcome<()> {
    let text = generate(&sources()?)?;
    std::fs::write(table(), text).map_err(|e| format!("cannot write {}: {e}", table().display()))
}

fn check_table() -> Outcome<()> {
    let wanted = generate(&sources()?)?;
    let found = std::fs::read_to_string(table()).map_err(|e| format!("cannot read {}: {e}", table().display()))?;
    if wanted == found {
        Ok(())
    } else {
        Err("src/prefix/table/generated.in is out of date: run `cargo xtask keytable` and commit it".to_owned())
    }
}

fn read_server(address: &str, modules: bool) -> Outcome<()> {
    let (mut name, mut commands) = server::describe(address)?;
    if modules {
        name.push_str("-modules");
        commands.retain(|_, entry| words(entry, "flags").contains(&"module"));
    }
    let path = data().join(format!("{name}.json"));
    std::fs::write(&path, one_command_a_line(&commands)?)
        .map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    println!("{}: {} commands", path.display(), commands.len());
    Ok(())
}

/// One line per command, sorted: a new server version shows up in a diff as the commands that changed.
fn one_command_a_line(commands: &Source) -> Outcome<String> {
    let mut text = String::from("{\n");
    let last = commands.len().saturating_sub(1);
    for (at, (name, entry)) in commands.iter().enumerate() {
        let entry = serde_json::to_string(entry).map_err(|e| e.to_string())?;
        let comma = if at == last { "" } else { "," };
        let _ = writeln!(text, "{}: {entry}{comma}", Value::from(name.as_str()));
    }
    text.push_str("}\n");
    Ok(text)
}

fn sources() -> Outcome<Vec<(String, Source)>> {
    let directory = data();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .map_err(|e| format!("cannot read {}: {e}", directory.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            let commands = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, commands))
        })
        .collect()
}

/// Merges the sources of one command.
#[derive(Default)]
struct Merged {
    arity: Option<i64>,
    write: bool,
    not_readonly: bool,
    described: bool,
    flags: Vec<&'static str>,
    keys: Option<Vec<Value>>,
    /// What a module registered, for a command that the documentation does not describe.
    registered: Option<Vec<Value>>,
    rule: bool,
}

/// Flags that any source may add. `readonly` needs them all to agree, and is not in this list.
const ADDED: [(&str, &str); 6] = [
    ("write", "WRITE"),
    ("blocking", "BLOCKING"),
    ("movablekeys", "MOVABLE"),
    ("pubsub", "PUBSUB"),
    ("admin", "ADMIN"),
    ("no_mandatory_keys", "NO_KEYS_OK"),
];

/// Commands that modules flag as read-only although they change an index, a dictionary or a cursor. A write that counts
/// as a read would be repeated after a lost link, and sent to a replica.
const FLAGGED_WRONGLY: [&str; 11] = [
    "cf.compact",
    "ft._aliasaddifnx",
    "ft._aliasdelifx",
    "ft.aliasadd",
    "ft.aliasdel",
    "ft.aliasupdate",
    "ft.cursor",
    "ft.cursor del",
    "ft.cursor read",
    "ft.dictadd",
    "ft.dictdel",
];

fn generate(sources: &[(String, Source)]) -> Outcome<String> {
    let mut merged: BTreeMap<&str, Merged> = BTreeMap::new();
    for (source, commands) in sources {
        for (name, entry) in commands {
            merge(merged.entry(name.as_str()).or_default(), name, entry)
                .map_err(|reason| format!("{source}: {name}: {reason}"))?;
        }
    }
    let mut text = String::from("[\n");
    for (name, entry) in merged.iter().filter(|(name, _)| !name.contains(' ')) {
        let prefix = format!("{name} ");
        let subcommands: Vec<_> =
            merged.range(prefix.as_str()..).take_while(|(full, _)| full.starts_with(&prefix)).collect();
        let _ = write!(text, "    {}", constructor(name, entry));
        if subcommands.is_empty() {
            text.push_str("&[]),\n");
            continue;
        }
        text.push_str("&[\n");
        for (full, entry) in subcommands {
            let sub = full.strip_prefix(&prefix).unwrap_or(full);
            let _ = writeln!(text, "        {}&[]),", constructor(sub, entry));
        }
        text.push_str("    ]),\n");
    }
    text.push_str("]\n");
    Ok(text)
}

fn merge(merged: &mut Merged, name: &str, entry: &Value) -> Outcome<()> {
    let flags = words(entry, "flags");
    for (said, constant) in ADDED {
        if flags.contains(&said) && !merged.flags.contains(&constant) {
            merged.flags.push(constant);
        }
    }
    merged.write |= flags.contains(&"write");
    if entry.get("arity").is_some() {
        merged.described = true;
        merged.not_readonly |= !flags.contains(&"readonly") || FLAGGED_WRONGLY.contains(&name);
    }

    let (arity, keys) = match entry.get("arity").and_then(Value::as_i64) {
        // A module registers -1 for any command, and one range of keys even where a count follows (CMS.MERGE).
        Some(-1) if flags.contains(&"module") => {
            merged.registered = said_keys(entry)?;
            return Ok(());
        }
        Some(arity) => (arity, said_keys(entry)?),
        None => keys_from_arguments(name, entry),
    };
    merged.arity = Some(match merged.arity {
        None => arity,
        Some(known) if known == arity => arity,
        // Servers differ (ZRANK took an option in 7.2): the loosest count is right for all of them.
        Some(known) => -known.abs().min(arity.abs()),
    });
    let Some(keys) = keys else {
        merged.rule = true;
        return Ok(());
    };
    match &merged.keys {
        Some(known) if *known != keys => {
            Err("its key positions differ from another source: write a rule for it".to_owned())
        }
        _ => {
            merged.keys = Some(keys);
            Ok(())
        }
    }
}

/// The key specifications of a command, `None` when they cannot be followed without knowing its options.
fn said_keys(entry: &Value) -> Outcome<Option<Vec<Value>>> {
    let mut keys = Vec::new();
    for spec in entry.get("keys").and_then(Value::as_array).into_iter().flatten() {
        if spec.get("not_key").is_some() {
            continue;
        }
        if spec.get("index").is_none() || spec.get("limit").is_some() {
            return Ok(None);
        }
        keys.push(spec.clone());
    }
    Ok(Some(keys))
}

/// The positions of a module command, of which the documentation gives the arguments only.
fn keys_from_arguments(name: &str, entry: &Value) -> (i64, Option<Vec<Value>>) {
    let first = 1 + name.matches(' ').count();
    let arguments = entry.get("args").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mandatory: Vec<&Value> = arguments.iter().filter(|a| a.get("optional").is_none()).collect();
    let width = |argument: &Value| match argument.get("args").and_then(Value::as_array) {
        Some(inner) if text(argument, "type") == "block" => inner.len(),
        _ => 1 + usize::from(argument.get("token").is_some() && text(argument, "type") != "pure-token"),
    };
    let arity = first + mandatory.iter().map(|a| width(a)).sum::<usize>();

    let mut keys = Vec::new();
    let mut at = first;
    let mut walk = arguments.iter().peekable();
    while let Some(argument) = walk.next() {
        if argument.get("optional").is_some() {
            break;
        }
        let trailing: usize = walk.clone().filter(|a| a.get("optional").is_none()).map(width).sum();
        let last = -1 - i64::try_from(trailing).unwrap_or(0);
        let multiple = argument.get("multiple").is_some();
        let leads_block = argument
            .get("args")
            .and_then(Value::as_array)
            .and_then(|inner| inner.first())
            .is_some_and(|inner| text(inner, "type") == "key");
        let counts = text(argument, "name").eq_ignore_ascii_case("numkeys")
            && walk.peek().is_some_and(|next| text(next, "type") == "key" && next.get("multiple").is_some());
        if counts {
            keys.push(object(&[("index", at.into()), ("numkeys", 0.into()), ("first", 1.into()), ("step", 1.into())]));
            break;
        } else if text(argument, "type") == "key" && multiple {
            keys.push(object(&[("index", at.into()), ("last", last.into()), ("step", 1.into())]));
            break;
        } else if text(argument, "type") == "key" {
            keys.push(object(&[("index", at.into()), ("last", 0.into()), ("step", 1.into())]));
        } else if leads_block && multiple {
            keys.push(object(&[("index", at.into()), ("last", last.into()), ("step", width(argument).into())]));
            break;
        }
        at += width(argument);
    }
    (-i64::try_from(arity).unwrap_or(1), Some(keys))
}

fn constructor(name: &str, entry: &Merged) -> String {
    let mut flags = entry.flags.clone();
    if entry.described && !entry.not_readonly && !entry.write {
        flags.push("READONLY");
    }
    if entry.rule {
        flags.push("RULE");
    }
    let flags = if flags.is_empty() { "NONE".to_owned() } else { flags.join(" | ") };
    let keys = entry.keys.as_ref().or(entry.registered.as_ref());
    let keys: Vec<String> = match (keys, entry.rule) {
        (Some(keys), false) => keys.iter().map(key_spec).collect(),
        _ => Vec::new(),
    };
    format!("entry({name:?}, {}, {flags}, &[{}], ", entry.arity.unwrap_or(-1), keys.join(", "))
}

fn key_spec(spec: &Value) -> String {
    let number = |name: &str| spec.get(name).and_then(Value::as_i64).unwrap_or(0);
    let (begin, step) = (number("index"), number("step"));
    if spec.get("numkeys").is_some() {
        format!("counted({}, {}, {step})", begin + number("numkeys"), begin + number("first"))
    } else {
        format!("range({begin}, {}, {step})", number("last"))
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn words<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    let list = value.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn object(pairs: &[(&str, Value)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regenerating_the_table_changes_nothing() -> Outcome<()> {
        check_table()
    }

    #[test]
    fn data_files_are_written_as_they_are_read() -> Outcome<()> {
        for (name, commands) in sources()? {
            let path = data().join(format!("{name}.json"));
            let found = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
            assert_eq!(one_command_a_line(&commands)?, found, "{name}");
        }
        Ok(())
    }
}
