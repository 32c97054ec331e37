//! The effect of the prefix on every line of the corpus, by server: `cargo xtask prefix-report`.
//!
//! It uses public items only: `KeyPrefix::rewrite` and `Error::refusal`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::{env, io};

use redis_actix::{KeyPrefix, RefusalClass};
use redis_actix_corpus::{Line, Role, expected, lines, server_is_wrong};
use redis_actix_test::{Connection, RedisServer, Reply};

const USAGE: &str = "\
usage: cargo xtask prefix-report [--server HOST:PORT]... [--program PATH]...

Tries every line of the corpus on running servers, or on servers of its own that are started from these programs;
without either on the one that REDIS_SERVER names, else the one on PATH. Nothing is executed but COMMAND and INFO.";

/// Number of commands per round trip.
const TOGETHER: usize = 500;
/// With glob characters.
const PREFIX: &str = "te?[^a-z]n\\é:";

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("prefix-report: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<usize> {
    let mut reports = Vec::new();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().filter(|_| word == "--server" || word == "--program");
        let Some(value) = value else {
            println!("{USAGE}");
            let asked = matches!(word.as_str(), "help" | "--help" | "-h");
            return if asked { Ok(0) } else { Err(io::Error::other(format!("{word} is not understood"))) };
        };
        reports.push(if word == "--server" {
            Report::of(Connection::open(value.as_str(), None)?)?
        } else {
            Report::of(RedisServer::builder().program(value).start()?.connect()?)?
        });
    }
    if reports.is_empty() {
        let server = RedisServer::start()?;
        reports.push(Report::of(server.connect()?)?);
    }
    reports.iter().for_each(Report::print);
    Ok(reports.iter().map(|report| report.wrong.len() + report.unknown.len()).sum())
}

/// Results of the lines whose commands one server has.
#[derive(Default)]
struct Report {
    server: String,
    known: usize,
    /// Commands that the server has and the table lacks.
    unknown: Vec<String>,
    tried: usize,
    /// Lines with names in them, and lines without.
    rewritten: usize,
    without_names: usize,
    refused: BTreeMap<RefusalClass, usize>,
    /// Lines that `COMMAND GETKEYS` has an answer for.
    compared: usize,
    wrong: Vec<String>,
}

impl Report {
    fn of(mut connection: Connection) -> io::Result<Self> {
        let prefix = KeyPrefix::new(PREFIX).map_err(io::Error::other)?;
        let mut report = Self { server: version(&mut connection)?, ..Self::default() };
        let commands = commands(&mut connection)?;
        for name in &commands {
            let words: Vec<&str> = name.split('|').collect();
            match prefix.rewrite(&words).err().and_then(|error| error.refusal()) {
                Some(RefusalClass::Unknown) => report.unknown.push(name.clone()),
                _ => report.known += 1,
            }
        }
        let mut allowed = Vec::new();
        for line in lines(PREFIX.as_bytes()).into_iter().filter(|line| has(&commands, line)) {
            report.tried += 1;
            match prefix.rewrite(&line.argv) {
                Err(error) => *report.refused.entry(error.refusal().unwrap_or(RefusalClass::Unknown)).or_default() += 1,
                Ok(written) if written != expected(&line, PREFIX.as_bytes()) => report.wrong.push(line.show()),
                Ok(written) => {
                    let named = line.named().next().is_some();
                    report.rewritten += usize::from(named);
                    report.without_names += usize::from(!named);
                    allowed.push((line, written));
                }
            }
        }
        report.compare(&mut connection, &allowed)?;
        Ok(report)
    }

    /// Compares the written lines with `COMMAND GETKEYS`.
    fn compare(&mut self, connection: &mut Connection, allowed: &[(Line, Vec<Vec<u8>>)]) -> io::Result<()> {
        for together in allowed.chunks(TOGETHER) {
            for (_, written) in together {
                let words = written.iter().map(Vec::as_slice);
                connection.send([&b"COMMAND"[..], b"GETKEYS"].into_iter().chain(words))?;
            }
            for (line, _) in together {
                let keys = match connection.read()? {
                    Reply::Array(keys) => keys,
                    Reply::Error(text) if text.contains("no key arguments") => Vec::new(),
                    _ => continue,
                };
                self.compared += 1;
                let found: Vec<&[u8]> = keys.iter().filter_map(Reply::bytes).collect();
                let inside = found.iter().all(|key| key.starts_with(PREFIX.as_bytes()));
                let wanted = line.named().filter(|(_, role, _)| *role == Role::Key).count();
                if !server_is_wrong(line) && (!inside || found.len() != wanted) {
                    self.wrong.push(line.show());
                }
            }
        }
        Ok(())
    }

    fn print(&self) {
        println!("{}", self.server);
        let row = |what: &str, number: usize| println!("  {what:<28}{number:>7}");
        row("commands known", self.known);
        row("commands not known", self.unknown.len());
        row("lines tried", self.tried);
        row("rewritten", self.rewritten);
        row("without names", self.without_names);
        for (class, count) in &self.refused {
            row(&format!("refused: {class}"), *count);
        }
        row("compared with the server", self.compared);
        row("wrong", self.wrong.len());
        for name in &self.unknown {
            println!("  not known: {name}");
        }
        for line in self.wrong.iter().take(20) {
            println!("  wrong: {line}");
        }
    }
}

/// Name and version of the server.
fn version(connection: &mut Connection) -> io::Result<String> {
    let info = connection.command(["INFO", "server"])?.ok()?.text()?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let name = field("server_name").unwrap_or("redis");
    let version = field(&format!("{name}_version")).or_else(|| field("redis_version")).unwrap_or("unknown");
    Ok(format!("{name} {version}"))
}

/// Every command of the server, subcommands as `client|list`.
fn commands(connection: &mut Connection) -> io::Result<Vec<String>> {
    let answer = connection.command(["COMMAND"])?.ok()?;
    let mut names = Vec::new();
    let mut queue: Vec<&Reply> = answer.array()?.iter().collect();
    while let Some(entry) = queue.pop() {
        let fields = entry.array()?;
        if let Some(name) = fields.first() {
            names.push(name.text()?);
        }
        if let Some(Reply::Array(subcommands)) = fields.get(9) {
            queue.extend(subcommands);
        }
    }
    names.sort();
    Ok(names)
}

fn has(commands: &[String], line: &Line) -> bool {
    let word = |at: usize| line.argv.get(at).map(|word| String::from_utf8_lossy(word).to_ascii_lowercase());
    let command = word(0).unwrap_or_default();
    let whole = format!("{command}|{}", word(1).unwrap_or_default());
    let has = |name: &String| commands.binary_search(name).is_ok();
    // A container's lines are those of its subcommands.
    let is_container =
        || commands.iter().any(|name| name.strip_prefix(command.as_str()).is_some_and(|rest| rest.starts_with('|')));
    if is_container() { has(&whole) } else { has(&command) }
}
