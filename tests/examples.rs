//! Every example runs against a real server and ends well.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use redis_actix_test::{RedisServer, free_port};

/// cargo builds the examples beside the tests.
fn example(name: &str) -> PathBuf {
    let mut path = env::current_exe().expect("a path");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    assert!(path.exists(), "{} is missing: run `cargo build --examples` first", path.display());
    path
}

fn command(name: &str, server: &RedisServer) -> Command {
    let mut command = Command::new(example(name));
    command.env("REDIS_HOST", "127.0.0.1").env("REDIS_PORT", server.port().to_string());
    command
}

fn run(name: &str, args: &[&str]) -> String {
    let server = support::server();
    let output = command(name, &server).args(args).output().expect("started");
    said(name, &output)
}

fn said(name: &str, output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn quickstart() {
    assert!(run("quickstart", &[]).contains("whatsapp:development:user:1"));
}

#[test]
fn caching() {
    let said = run("caching", &[]);
    for line in ["answers from this process: Some(\"hello\")", "after an own write: Some(\"good evening\")"] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn typed_commands() {
    let said = run("typed_commands", &[]);
    for line in ["lock taken: true, then false", "age: 37", "WRONGTYPE", "7 keys removed"] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn custom_command() {
    assert!(run("custom_command", &[]).contains("read back: Some(3)"));
}

#[test]
fn several_as_one() {
    let said = run("several_as_one", &[]);
    for line in [
        "2 accounts",
        "a wrong type: true; the other one: Ok(1)",
        "after a transaction: 70 and 30",
        "after a watch: Some(50)",
        "by script: true, then false",
        "accounts: ada has 0 left",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn blocking() {
    let said = run("blocking", &[]);
    for line in ["job 1 done", "job 3 done", "10 reads meanwhile", "put back 1 of BLPOP", "still queued: 1"] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn events_and_health() {
    let said = run("events_and_health", &["--seconds", "1"]);
    assert!(said.contains("connected after 1 attempts") && said.contains("0 queued"), "{said}");
}

#[test]
fn streams() {
    let said = run("streams", &[]);
    for line in ["ada owes 1550", "bob owes 990", "dead: 1"] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn stream_batches() {
    let said = run("stream_batches", &[]);
    for line in [
        "added once: true",
        "ada owes Some(1300)",
        "needs a manual check, sent back",
        "bob owes Some(50000)",
        "behind by Some(0)",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn pubsub() {
    let said = run("pubsub", &[]);
    for line in ["alerts: level 3, the disk is full", "news:sports: 8 bytes", "no key events", "0 dropped, 0 gaps"] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

/// The main job in small: what the demo runs. Its ablation is `--acknowledge-first`, which loses what failed when
/// the server was killed.
#[test]
fn message_service() {
    loses_nothing(&["--messages", "4000", "--kills", "1", "--seed", "7"]);
}

/// The same on a cluster of six, where the primary of the stream dies and its replica takes over.
#[test]
fn message_service_on_a_cluster() {
    loses_nothing(&["--cluster", "--messages", "4000", "--kills", "1", "--seed", "7"]);
}

fn loses_nothing(args: &[&str]) {
    let output = Command::new(example("message_service")).args(args).output().expect("started");
    let said = said("message_service", &output);
    let row = |name: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!((row("acknowledged").as_str(), row("handled at least").as_str()), ("4000", "4000"), "{said}");
    assert_eq!((row("server killed").as_str(), row("lost").as_str()), ("1", "0"), "{said}");
}

#[test]
fn graceful_shutdown() {
    assert!(run("graceful_shutdown", &[]).contains("every caller was answered"));
}

#[test]
fn actix_web() {
    /// Ends the service also when the test fails.
    struct Service(Child);
    impl Drop for Service {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let server = support::server();
    let address = format!("127.0.0.1:{}", free_port().expect("a free port"));
    let child = command("actix_web", &server).env("LISTEN", &address).stdout(Stdio::piped()).spawn().expect("started");
    let mut service = Service(child);
    let mut lines = BufReader::new(service.0.stdout.take().expect("piped")).lines();
    assert!(lines.next().expect("a line").expect("text").contains(&address));
    let get = |path: &str| {
        let deadline = std::time::Instant::now() + support::TIME_LIMIT;
        loop {
            let asked = TcpStream::connect(&address).and_then(|mut stream| {
                write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            });
            match asked {
                Ok(answer) => return answer,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
        }
    };
    assert!(get("/hits/front").ends_with("1\n"));
    assert!(get("/hits/front").ends_with("2\n"));
    assert!(get("/ready").contains("200 OK"));
}
