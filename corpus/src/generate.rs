//! From argument trees to lines: each option alone, all together, repeated, in other cases, with difficult names.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{Line, Role};

const SOURCES: [&str; 4] = [
    include_str!("../../data/commands/redis-7.0.15.json"),
    include_str!("../../data/commands/redis-8.0.2.json"),
    include_str!("../../data/commands/redis-published-8.10.json"),
    include_str!("../../data/commands/valkey-8.1.1.json"),
];

/// Names that are difficult for a parser: empty, not text, line ends, glob and brace characters, words of the protocol.
const HARD_NAMES: [&[u8]; 18] = [
    b"",
    b"\0",
    b"\xff\xfe\x80",
    b"a\r\nb",
    b"g*?[^x-z]\\",
    b"{t}k",
    b"}{",
    b"STORE",
    b"KEYS",
    b"streams",
    b"MATCH",
    b"COUNT",
    b"GET",
    b"BY",
    b"LIMIT",
    b"2",
    b"-1",
    b"BLOCK",
];

/// Every line, each once. Some keys begin with `prefix`, as a caller's own may.
#[must_use]
pub fn lines(prefix: &[u8]) -> Vec<Line> {
    let hard_names: Vec<&[u8]> = HARD_NAMES.into_iter().chain([prefix]).collect();
    let mut trees: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut arities: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for source in SOURCES {
        let commands: BTreeMap<String, Value> = serde_json::from_str(source).unwrap();
        for (name, entry) in commands {
            let args = entry.get("args").map_or("[]".to_owned(), Value::to_string);
            let arity = entry.get("arity").and_then(Value::as_i64);
            let flags = entry.get("flags").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            // A module registers -1 for any command, without arguments: that says nothing.
            if arity == Some(-1) && flags.iter().any(|flag| flag == "module") {
                continue;
            }
            arities.entry(name.clone()).or_default().extend(arity);
            trees.entry(name).or_default().insert(args);
        }
    }
    let mut all = BTreeSet::new();
    for (name, args) in &trees {
        for args in args {
            let args: Vec<Value> = serde_json::from_str(args).unwrap();
            let mut lines = BTreeSet::new();
            generate(name, &args, &hard_names, &mut lines);
            // Trees omit undocumented arguments; a server would refuse the wrong count first.
            lines.retain(|line| accepted(&arities[name], line.argv.len()));
            all.append(&mut lines);
        }
    }
    all.into_iter().collect()
}

fn accepted(arities: &BTreeSet<i64>, arguments: usize) -> bool {
    let arguments = i64::try_from(arguments).unwrap();
    let takes = |arity: &i64| *arity == arguments || (*arity < 0 && arguments >= -arity);
    arities.is_empty() || arities.iter().any(takes)
}

fn generate(name: &str, args: &[Value], hard_names: &[&[u8]], all: &mut BTreeSet<Line>) {
    let tree: Vec<Node<'_>> = {
        let mut count = 0;
        args.iter().map(|arg| Node::new(arg, &mut count)).collect()
    };
    let mut choices = Vec::new();
    tree.iter().for_each(|node| node.choices(&mut choices));
    let turns = tree.iter().map(Node::width).max().unwrap_or(1).clamp(1, 6);

    let mut add = |pick: Pick, repeats: usize, case: Case, names: Option<&[u8]>| {
        let mut writer = Writer::new(name, pick, repeats, case, names);
        tree.iter().for_each(|node| writer.write(node));
        let line = writer.finish();
        let has_roles = line.named().next().is_some();
        all.insert(line);
        has_roles
    };
    let mut has_roles = false;
    for repeats in 1..=3 {
        add(Pick::Nothing, repeats, Case::AsIs, None);
        for turn in 0..turns {
            has_roles |= add(Pick::Everything(turn), repeats, Case::AsIs, None);
        }
    }
    for range in choices {
        add(Pick::Only(range), 2, Case::AsIs, None);
    }
    for case in [Case::Lower, Case::Mixed] {
        add(Pick::Everything(0), 1, case, None);
    }
    for turn in (0..turns).filter(|_| has_roles) {
        add(Pick::Everything(turn), 1, Case::Nul, None);
    }
    for names in hard_names.iter().filter(|_| has_roles) {
        add(Pick::Nothing, 1, Case::AsIs, Some(names));
        add(Pick::Everything(1), 2, Case::AsIs, Some(names));
    }
}

/// An argument of the tree, with the numbers of the nodes below it.
struct Node<'a> {
    arg: &'a Value,
    inner: Vec<Node<'a>>,
    range: (usize, usize),
}

impl<'a> Node<'a> {
    fn new(arg: &'a Value, count: &mut usize) -> Self {
        let first = *count;
        *count += 1;
        let inner = arg.get("args").and_then(Value::as_array);
        let inner = inner.into_iter().flatten().map(|arg| Node::new(arg, count)).collect();
        Self { arg, inner, range: (first, *count) }
    }

    fn text(&self, field: &str) -> &'a str {
        self.arg.get(field).and_then(Value::as_str).unwrap_or("")
    }

    fn has(&self, flag: &str) -> bool {
        self.arg.get(flag).is_some()
    }

    /// Optional arguments and alternatives: each gets a line of its own.
    fn choices(&self, to: &mut Vec<(usize, usize)>) {
        if self.has("optional") {
            to.push(self.range);
        }
        if self.text("type") == "oneof" {
            to.extend(self.inner.iter().map(|node| node.range));
        }
        self.inner.iter().for_each(|node| node.choices(to));
    }

    fn width(&self) -> usize {
        let own = if self.text("type") == "oneof" { self.inner.len() } else { 1 };
        self.inner.iter().map(Node::width).max().unwrap_or(1).max(own)
    }
}

#[derive(Clone, Copy)]
enum Pick {
    Nothing,
    /// Every option; of alternatives the one whose turn it is.
    Everything(usize),
    /// What leads to these nodes.
    Only((usize, usize)),
}

#[derive(Clone, Copy)]
enum Case {
    AsIs,
    Lower,
    Mixed,
    /// Options end in a NUL and more, which the server's C strings do not see.
    Nul,
}

struct Writer<'a> {
    command: &'a str,
    pick: Pick,
    repeats: usize,
    case: Case,
    names: Option<&'a [u8]>,
    line: Line,
    numkeys: Option<usize>,
}

impl<'a> Writer<'a> {
    fn new(command: &'a str, pick: Pick, repeats: usize, case: Case, names: Option<&'a [u8]>) -> Self {
        let line = Line { argv: Vec::new(), roles: Vec::new() };
        let mut writer = Self { command, pick, repeats, case, names, line, numkeys: None };
        for word in command.split(' ') {
            writer.word(&word.to_ascii_uppercase());
        }
        writer
    }

    fn wants(&self, node: &Node<'_>) -> bool {
        let mandatory = !node.has("optional");
        match self.pick {
            Pick::Nothing => mandatory,
            Pick::Everything(_) => true,
            Pick::Only((first, _)) => mandatory || (node.range.0..node.range.1).contains(&first),
        }
    }

    fn write(&mut self, node: &Node<'_>) {
        if !self.wants(node) {
            return;
        }
        let repeats = if node.has("multiple") { self.repeats } else { 1 };
        for at in 0..repeats {
            if (at == 0 || node.has("multiple_token"))
                && let Some(token) = node.arg.get("token").and_then(Value::as_str)
            {
                self.word(token);
            }
            match node.text("type") {
                "block" => node.inner.iter().for_each(|inner| self.write(inner)),
                "oneof" => {
                    let chosen = match self.pick {
                        Pick::Everything(turn) => node.inner.get((turn + at) % node.inner.len()),
                        Pick::Only((first, _)) => {
                            node.inner.iter().find(|inner| (inner.range.0..inner.range.1).contains(&first))
                        }
                        Pick::Nothing => None,
                    };
                    if let Some(chosen) = chosen.or(node.inner.first()) {
                        self.write(chosen);
                    }
                }
                "pure-token" => {}
                _ => self.value(node),
            }
        }
    }

    fn word(&mut self, word: &str) {
        let word = match self.case {
            Case::Nul if self.line.argv.len() > self.command.matches(' ').count() => {
                format!("{word}\0x")
            }
            Case::AsIs | Case::Nul => word.to_owned(),
            Case::Lower => word.to_ascii_lowercase(),
            Case::Mixed => word
                .chars()
                .enumerate()
                .map(|(at, c)| if at % 2 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
                .collect(),
        };
        self.push(word.into_bytes(), Role::Plain);
    }

    fn push(&mut self, arg: Vec<u8>, role: Role) {
        self.line.argv.push(arg);
        self.line.roles.push(role);
    }

    fn value(&mut self, node: &Node<'_>) {
        let name = node.text("name").to_ascii_lowercase();
        let role = role(self.command, node, &name);
        if role != Role::Plain {
            let number = self.line.named().count() + 1;
            let name = match (self.names, role) {
                (Some(name), Role::Template) => [name, b"*"].concat(),
                (Some(name), _) => name.to_vec(),
                (None, Role::Template) if number.is_multiple_of(4) => b"#".to_vec(),
                (None, Role::Template) => format!("k{number}_*").into_bytes(),
                (None, Role::Glob | Role::ChannelPattern) => format!("k{number}*").into_bytes(),
                (None, Role::Channel) if number.is_multiple_of(3) => format!("__keyspace@0__:k{number}").into_bytes(),
                (None, _) => format!("k{number}").into_bytes(),
            };
            self.push(name, role);
            return;
        }
        let plain = match (self.command, name.as_str()) {
            (_, "numkeys" | "num-keys") => {
                self.numkeys = Some(self.line.argv.len());
                "0".to_owned()
            }
            (_, "numids" | "numfields" | "num-fields") => self.repeats.to_string(),
            (_, "timeout") => "0.01".to_owned(),
            ("xread" | "xreadgroup", "id") => "0".to_owned(),
            ("xadd", "id") => "*".to_owned(),
            (_, "id" | "start-id" | "lastid" | "min-id") => "1-1".to_owned(),
            (_, "script") => "return redis.call('TIME')[1]".to_owned(),
            (_, "operation") => "AND".to_owned(),
            (_, "encoding") => "u8".to_owned(),
            (_, "longitude" | "latitude" | "radius" | "score" | "bit") => "1".to_owned(),
            (_, "cursor" | "offset" | "start" | "index" | "min" | "max" | "stop") => "0".to_owned(),
            (_, "group" | "groupname" | "consumer") if self.repeats == 2 => "STREAMS".to_owned(),
            _ => match node.text("type") {
                "integer" => "1".to_owned(),
                "double" => "1.5".to_owned(),
                "unix-time" => "4102444800".to_owned(),
                "pattern" => "p*".to_owned(),
                _ => "1".to_owned(),
            },
        };
        self.push(plain.into_bytes(), Role::Plain);
    }

    fn finish(mut self) -> Line {
        if let Some(at) = self.numkeys {
            let keys = self.line.roles.iter().skip(at);
            let keys = keys.filter(|role| **role == Role::Key).count();
            self.line.argv[at] = keys.to_string().into_bytes();
        }
        // `""` stands for the list of keys; without a list it is the key with the empty name.
        let has_list = self.line.roles.iter().skip(4).any(|role| *role == Role::Key);
        if self.command == "migrate" && !has_list {
            self.line.roles[3] = Role::Key;
        }
        self.line
    }
}

fn role(command: &str, node: &Node<'_>, name: &str) -> Role {
    match (command, node.text("type")) {
        ("sort" | "sort_ro", "pattern") => Role::Template,
        (_, "key") => Role::Key,
        ("cluster keyslot", _) => Role::Key,
        ("keys" | "scan", "pattern") => Role::Glob,
        ("pubsub channels" | "pubsub shardchannels" | "psubscribe" | "punsubscribe", "pattern") => Role::ChannelPattern,
        (
            "publish" | "spublish" | "subscribe" | "unsubscribe" | "ssubscribe" | "sunsubscribe" | "pubsub numsub"
            | "pubsub shardnumsub",
            _,
        ) if matches!(name, "channel" | "shardchannel") => Role::Channel,
        _ => Role::Plain,
    }
}
