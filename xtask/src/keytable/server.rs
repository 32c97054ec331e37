//! Asks a running server for `COMMAND` and `COMMAND DOCS` and condenses the answers.
//!
//! It does not use the library: the table must be producible while the library does not compile.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Outcome, Source, object};

/// `<server>-<version>` and its commands.
pub(super) fn describe(address: &str) -> Outcome<(String, Source)> {
    let stream =
        TcpStream::connect(address).map_err(|e| format!("cannot connect to {address}: {e}; start the server first"))?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(|e| e.to_string())?;
    let mut connection = BufReader::new(stream);

    let info = ask(&mut connection, "INFO server")?;
    let info = info.as_str().unwrap_or_default();
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let name = match (field("valkey_version"), field("redis_version")) {
        (Some(version), _) => format!("valkey-{version}"),
        (None, Some(version)) => format!("redis-{version}"),
        (None, None) => return Err(format!("{address} does not say which server it is")),
    };

    let mut commands = Source::new();
    for command in list(&ask(&mut connection, "COMMAND")?) {
        add_command(&mut commands, command);
    }
    for (name, docs) in pairs(&ask(&mut connection, "COMMAND DOCS")?) {
        add_docs(&mut commands, &name, docs);
    }
    Ok((name, commands))
}

/// `xgroup|create` is `xgroup create` in the data files.
fn plain_name(name: &str) -> String {
    name.to_ascii_lowercase().replace('|', " ")
}

const KEPT_FLAGS: [&str; 8] =
    ["admin", "blocking", "module", "movablekeys", "no_mandatory_keys", "pubsub", "readonly", "write"];

fn add_command(commands: &mut Source, command: &Value) {
    let fields = list(command);
    let [name, arity, flags, _, _, _, _, _, specs, subcommands, ..] = fields else {
        return;
    };
    let mut entry = Map::new();
    entry.insert("arity".to_owned(), arity.clone());
    let said: Vec<&str> = list(flags).iter().filter_map(Value::as_str).collect();
    let kept: Vec<Value> = KEPT_FLAGS.into_iter().filter(|flag| said.contains(flag)).map(Value::from).collect();
    if !kept.is_empty() {
        entry.insert("flags".to_owned(), kept.into());
    }
    let keys: Vec<Value> = list(specs).iter().map(key_spec).collect();
    if !keys.is_empty() {
        entry.insert("keys".to_owned(), keys.into());
    }
    commands.insert(plain_name(name.as_str().unwrap_or_default()), Value::Object(entry));
    for subcommand in list(subcommands) {
        add_command(commands, subcommand);
    }
}

fn key_spec(spec: &Value) -> Value {
    let flags = find(spec, "flags");
    let flags: Vec<&str> = list(&flags).iter().filter_map(Value::as_str).collect();
    let (begin, keys) = (find(spec, "begin_search"), find(spec, "find_keys"));
    let (begin_as, keys_as) = (find(&begin, "type"), find(&keys, "type"));
    let (begin, keys) = (find(&begin, "spec"), find(&keys, "spec"));

    let mut said = match begin_as.as_str() {
        Some("index") => vec![("index", find(&begin, "index"))],
        Some("keyword") => vec![("keyword", find(&begin, "keyword")), ("from", find(&begin, "startfrom"))],
        _ => Vec::new(),
    };
    match keys_as.as_str() {
        Some("range") if !said.is_empty() => {
            said.push(("last", find(&keys, "lastkey")));
            said.push(("step", find(&keys, "keystep")));
            if find(&keys, "limit") != 0 {
                said.push(("limit", find(&keys, "limit")));
            }
        }
        Some("keynum") if !said.is_empty() => {
            said.push(("numkeys", find(&keys, "keynumidx")));
            said.push(("first", find(&keys, "firstkey")));
            said.push(("step", find(&keys, "keystep")));
        }
        _ => said = vec![("unknown", true.into())],
    }
    for flag in ["not_key", "incomplete"] {
        if flags.contains(&flag) {
            said.push((flag, true.into()));
        }
    }
    object(&said)
}

fn add_docs(commands: &mut Source, name: &str, docs: &Value) {
    let arguments: Vec<Value> = list(&find(docs, "arguments")).iter().map(argument).collect();
    if let Some(Value::Object(entry)) = commands.get_mut(&plain_name(name))
        && !arguments.is_empty()
    {
        entry.insert("args".to_owned(), arguments.into());
    }
    for (name, docs) in pairs(&find(docs, "subcommands")) {
        add_docs(commands, &name, docs);
    }
}

fn argument(said: &Value) -> Value {
    let mut kept = vec![("name", find(said, "name"))];
    for field in ["type", "token"] {
        match find(said, field) {
            Value::Null => {}
            value => kept.push((field, value)),
        }
    }
    let flags = find(said, "flags");
    for flag in ["optional", "multiple", "multiple_token"] {
        if list(&flags).iter().any(|f| f.as_str() == Some(flag)) {
            kept.push((flag, true.into()));
        }
    }
    let inner: Vec<Value> = list(&find(said, "arguments")).iter().map(argument).collect();
    if !inner.is_empty() {
        kept.push(("args", inner.into()));
    }
    object(&kept)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A RESP2 map: names and values in turn.
fn pairs(value: &Value) -> Vec<(String, &Value)> {
    list(value)
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [name, value] => Some((name.as_str()?.to_owned(), value)),
            _ => None,
        })
        .collect()
}

fn find(value: &Value, name: &str) -> Value {
    let found = pairs(value).into_iter().find(|(n, _)| n == name);
    found.map_or(Value::Null, |(_, value)| value.clone())
}

fn ask(connection: &mut BufReader<TcpStream>, command: &str) -> Outcome<Value> {
    let sent = connection.get_mut().write_all(format!("{command}\r\n").as_bytes());
    sent.map_err(|e| format!("{command}: {e}"))?;
    read_reply(connection, 16).map_err(|e| format!("{command}: {e}"))
}

fn read_reply(connection: &mut BufReader<TcpStream>, depth: u8) -> Outcome<Value> {
    let mut line = String::new();
    connection.read_line(&mut line).map_err(|e| e.to_string())?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).ok_or("the server closed the connection")?;
    let number = || rest.parse::<i64>().map_err(|e| format!("{line:?}: {e}"));
    match kind {
        "+" => Ok(rest.into()),
        "-" => Err(rest.to_owned()),
        ":" => Ok(number()?.into()),
        "$" => {
            let Ok(length) = u64::try_from(number()?) else {
                return Ok(Value::Null);
            };
            let mut bytes = Vec::new();
            let read = connection.take(length + 2).read_to_end(&mut bytes);
            read.map_err(|e| e.to_string())?;
            bytes.truncate(bytes.len().saturating_sub(2));
            Ok(String::from_utf8_lossy(&bytes).into_owned().into())
        }
        "*" if depth > 0 => (0..number()?.max(0)).map(|_| read_reply(connection, depth - 1)).collect(),
        _ => Err(format!("{line:?} is not a reply this reader knows")),
    }
}
