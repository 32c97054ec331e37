//! What servers say of the reads that they answered.

use redis_actix::prelude::*;
use redis_actix::{ConnectionState, ErrorKind, Frame, NodeInfo, Result, Value};
use redis_actix_test::RedisServer;

use super::eventually;

/// How often a server ran a command.
pub fn calls(server: &RedisServer, command: &str) -> u64 {
    try_calls(server, command).expect("its statistics")
}

/// The same, where the server may hang up: a sentinel has a server disconnect its clients when it reconfigures it.
pub fn try_calls(server: &RedisServer, command: &str) -> std::io::Result<u64> {
    let info = server.command(["INFO", "commandstats"]).and_then(|info| info.text())?;
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    Ok(line.map_or(0, |line| line.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number")))
}

/// How often it answered with this code.
pub fn refusals(server: &RedisServer, code: &str) -> u64 {
    let info = server.command(["INFO", "errorstats"]).and_then(|info| info.text()).expect("its statistics");
    let line = info.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{code}:count=")));
    line.map_or(0, |count| count.trim().parse().expect("a number"))
}

pub fn forget(servers: &[RedisServer]) {
    for server in servers.iter().filter(|server| server.is_running()) {
        server.command(["CONFIG", "RESETSTAT"]).expect("asked").ok().expect("forgotten");
    }
}

/// The links by which this crate reads from a replica of a cluster.
pub fn reading_links(server: &RedisServer) -> Vec<String> {
    let is_ours = |line: &String| {
        line.split(' ').any(|word| word.strip_prefix("flags=").is_some_and(|flags| flags.contains('r')))
    };
    server.clients().expect("asked").into_iter().filter(is_ours).collect()
}

pub fn replicas(redis: &Redis) -> Vec<NodeInfo> {
    redis.connection_info().nodes.into_iter().filter(|node| node.role == "replica").collect()
}

/// Asks for replicas by reads, until `count` links to them are ready.
pub async fn replicas_ready(redis: &Redis, keys: &[String], count: usize) {
    let ready = || replicas(redis).iter().filter(|node| node.state == Some(ConnectionState::Ready)).count();
    for key in keys {
        redis.send(Get::<String>::new(key).read_from(ReadFrom::Replica)).await.expect("answered by anybody");
    }
    eventually("the links to replicas", || (ready() == count).then_some(())).await;
}

/// Waits until the replicas of a primary have what it has acknowledged.
pub fn replicated(primary: &RedisServer, replicas: &str) {
    let count = primary.command(["WAIT", replicas, "5000"]).expect("asked").int().expect("a number");
    assert_eq!(count.to_string(), replicas, "replicas that have everything");
}

/// A read at a replica, whose reply makes its decoder panic.
#[derive(actix::Message)]
#[rtype(result = "Result<()>")]
struct Defective(&'static str);

impl Command for Defective {
    type Reply = ();

    fn frame(&self) -> Frame {
        Frame::new("GET").key(self.0).read_only().read_from(ReadFrom::Replica)
    }

    fn reply(_: Value) -> Result<()> {
        panic!("injected while the reply is decoded")
    }
}

/// After a panic over a reply of a replica: an error for its caller. After one that takes the actor down in the middle of a
/// replica's answers: the same handle, and replicas again.
pub async fn outlives_a_panic(redis: &Redis, key: &'static str) {
    super::injected_panics_are_quiet();
    let count = replicas(redis).len();
    let read = || Get::<u64>::new(key).read_from(ReadFrom::Replica);
    let error = redis.send(Defective(key)).await.expect_err("its decoder panicked");
    assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
    redis.send(read()).await.expect("answered by anybody");
    assert_eq!(redis.status().borrow().restarts, 0);
    super::fall_over(redis, read()).await.expect("answered, and fatal");
    redis.send(read()).await.expect("answered by anybody");
    assert_eq!(redis.status().borrow().restarts, 1);
    replicas_ready(redis, &[key.to_owned()], count).await;
}
