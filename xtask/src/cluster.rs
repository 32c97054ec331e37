//! A cluster, or a set of sentinels, that runs until `cluster down`: for experiments.

use crate::{cargo::root, server};
use redis_actix_test::{Connection, form, free_port};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const MASTER: &str = "mymaster";
const USAGE: &str = "usage: cargo xtask cluster up [--sentinel] | down | status";

/// `cargo xtask cluster ..`
pub(crate) fn run(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match *words {
        ["up"] => up(false),
        ["up", "--sentinel"] => up(true),
        ["down"] => down(),
        ["status"] => status(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn home() -> PathBuf {
    root().join("target").join("xtask-cluster")
}

/// A node that was started, by its port.
struct Node {
    port: u16,
    sentinel: bool,
}

fn nodes() -> Vec<Node> {
    let list = fs::read_to_string(home().join("nodes")).unwrap_or_default();
    let node = |line: &str| {
        let (kind, port) = line.split_once(' ')?;
        Some(Node { port: port.parse().ok()?, sentinel: kind == "sentinel" })
    };
    list.lines().filter_map(node).collect()
}

fn up(sentinel: bool) -> io::Result<()> {
    if nodes().iter().any(|node| connect(node.port).is_ok()) {
        return Err(io::Error::other(
            "a deployment is already running: see `cargo xtask cluster status`, or run `cargo xtask cluster down` first",
        ));
    }
    let program = server::ensure().map_err(io::Error::other)?;
    fs::remove_dir_all(home())
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
    fs::create_dir_all(home())?;
    if sentinel {
        up_sentinels(&program)?
    } else {
        up_cluster(&program)?
    }
    environment();
    println!("\nthey run until `cargo xtask cluster down`; their files are in {}", home().display());
    Ok(())
}

fn up_cluster(program: &Path) -> io::Result<()> {
    let mut ports = Vec::new();
    for _ in 0..6 {
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"];
        ports.push(start(program, false, &options)?);
    }
    let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    form(&addresses, 3)
}

fn up_sentinels(program: &Path) -> io::Result<()> {
    let master = start(program, false, &[])?.to_string();
    start(program, false, &["--replicaof", "127.0.0.1", &master])?;
    for _ in 0..3 {
        let mut sentinel = connect(start(program, true, &[])?)?;
        sentinel.command(["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &master, "2"])?.ok()?;
        sentinel.command(["SENTINEL", "SET", MASTER, "down-after-milliseconds", "2000"])?.ok()?;
    }
    Ok(())
}

/// Starts a node that outlives this process, and returns its port when it answers.
fn start(program: &Path, sentinel: bool, options: &[&str]) -> io::Result<u16> {
    let port = free_port()?;
    let dir = home().join(port.to_string());
    fs::create_dir_all(&dir)?;
    let log = File::create(dir.join("log"))?;
    let mut command = Command::new(program);
    command.current_dir(&dir).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    if sentinel {
        fs::write(dir.join("sentinel.conf"), format!("port {port}\nbind 127.0.0.1\n"))?;
        command.args(["sentinel.conf", "--sentinel"]);
    } else {
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--appendonly", "yes"]).args(options);
    }
    command.spawn()?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while connect(port).and_then(|mut node| node.command(["PING"])).is_err() {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("a server did not start; see {}", dir.join("log").display())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut list = fs::read_to_string(home().join("nodes")).unwrap_or_default();
    let _ = writeln!(list, "{} {port}", if sentinel { "sentinel" } else { "server" });
    fs::write(home().join("nodes"), list)?;
    Ok(port)
}

fn connect(port: u16) -> io::Result<Connection> {
    Connection::open(("127.0.0.1", port), None)
}

/// Prints the environment for a service.
fn environment() {
    let nodes = nodes();
    let hosts = |sentinel: bool| {
        let ours = nodes.iter().filter(|node| node.sentinel == sentinel);
        ours.map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    };
    if nodes.iter().any(|node| node.sentinel) {
        println!("export REDIS_SENTINEL_HOSTS={}\nexport REDIS_SENTINEL_MASTER={MASTER}", hosts(true));
    } else {
        println!("export REDIS_CLUSTER_HOSTS={}", hosts(false));
    }
}

fn down() -> io::Result<()> {
    for node in nodes() {
        match connect(node.port) {
            // It ends without an answer.
            Ok(mut connection) => drop(connection.command(["SHUTDOWN", "NOSAVE"])),
            Err(_) => println!("127.0.0.1:{} had ended already", node.port),
        }
    }
    fs::remove_dir_all(home())
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn status() -> io::Result<()> {
    let nodes = nodes();
    if nodes.is_empty() {
        println!("no deployment is running; start one with `cargo xtask cluster up`");
        return Ok(());
    }
    for node in &nodes {
        let role = connect(node.port)
            .and_then(|mut connection| connection.command(["ROLE"]))
            .and_then(|role| role.array()?.first().map_or_else(|| Ok("?".to_owned()), redis_actix_test::Reply::text));
        match role {
            Ok(role) => println!("127.0.0.1:{:<6} {role}", node.port),
            Err(error) => println!("127.0.0.1:{:<6} down: {error}", node.port),
        }
    }
    if let Some(mut first) = nodes.iter().filter(|node| !node.sentinel).find_map(|node| connect(node.port).ok())
        && let Ok(info) = first.command(["CLUSTER", "INFO"])?.text()
    {
        info.lines()
            .filter(|line| ["cluster_state", "cluster_slots", "cluster_size"].iter().any(|is| line.starts_with(is)))
            .for_each(|line| println!("{line}"));
    }
    environment();
    Ok(())
}
