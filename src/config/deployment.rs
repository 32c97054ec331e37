//! The deployment: one server, a cluster or sentinels.

use std::path::PathBuf;

use super::address::{Address, HOST_WORDS, HostPort, Mode, PORT_WORDS, REDIS_PORT, host};
use super::describe::Description;
use super::draft::{Draft, Given};
use super::settle::{or_default, settle};

pub(super) fn mode(draft: &mut Draft, rows: &mut Description) -> Mode {
    let (cluster, hosts, master) =
        (draft.cluster_hosts.take(), draft.sentinel_hosts.take(), draft.sentinel_master.take());
    let (socket, server, port) = (draft.unix_socket.take(), draft.host.take(), draft.port.take());

    check_conflicts(
        draft,
        [&cluster, &hosts],
        &master,
        [server.as_ref().map(Given::name), port.as_ref().map(Given::name), socket.as_ref().map(Given::name)],
    );
    match (hosts, master, cluster) {
        (Some(hosts), Some(master), None) => {
            rows.row("sentinel hosts", list(&hosts.value), hosts.origin);
            rows.row("sentinel master", master.value.clone(), master.origin);
            return Mode::Sentinel { hosts: hosts.value, master: master.value };
        }
        (None, None, Some(cluster)) => {
            rows.row("cluster hosts", list(&cluster.value), cluster.origin);
            return Mode::Cluster(cluster.value);
        }
        (Some(hosts), None, _) => {
            draft.problem(
                hosts.name(),
                "also needs the name of the server that the sentinels monitor: set REDIS_SENTINEL_MASTER",
            );
        }
        (None, Some(master), _) if !draft.reported("REDIS_SENTINEL_HOSTS") && !draft.reported(master.name()) => {
            draft.problem(master.name(), "also needs the addresses of the sentinels: set REDIS_SENTINEL_HOSTS");
        }
        _ => {}
    }
    if let Some(socket) = socket {
        let places = [server.as_ref().map(Given::name), port.as_ref().map(Given::name)];
        return unix_socket(draft, rows, socket, places);
    }
    let (server, origin) = or_default(server, "localhost".to_owned());
    let server = match host(&server) {
        Some(name) => name.to_owned(),
        None => {
            draft.problem(origin.name(), HOST_WORDS);
            server
        }
    };
    rows.row("host", server.clone(), origin);
    let port = settle(draft, rows, "port", port, REDIS_PORT, |&port| port != 0, PORT_WORDS);
    Mode::Single(Address::Tcp(HostPort { host: server, port }))
}

/// Settings that exclude each other, and the name of the master. `places` are the settings of a single server.
fn check_conflicts(
    draft: &mut Draft,
    [cluster, hosts]: [&Option<Given<Vec<HostPort>>>; 2],
    master: &Option<Given<String>>,
    places: [Option<&'static str>; 3],
) {
    let lists = [cluster, hosts].into_iter().flatten().map(Given::name);
    if let Some(list) = lists.chain(master.as_ref().map(Given::name)).next() {
        for place in places.into_iter().flatten() {
            draft.problem(
                place,
                format!("cannot be used together with {list}, which sets the addresses of the servers: remove one of the two"),
            );
        }
    }
    if let (Some(cluster), Some(other)) =
        (cluster, hosts.as_ref().map(Given::name).or(master.as_ref().map(Given::name)))
    {
        draft.problem(other, format!("cannot be used together with {}: remove one of the two", cluster.name()));
    }
    if let Some(master) = master
        && !draft.holds_url_or_key(master)
        && (master.value.is_empty() || master.value.chars().any(|c| c.is_control() || c.is_whitespace()))
    {
        draft.problem(
            master.name(),
            "must be the name of the server in the configuration of the sentinels, without white space",
        );
    }
}

/// The unix socket. `places` are the settings of an address.
fn unix_socket(
    draft: &mut Draft,
    rows: &mut Description,
    socket: Given<PathBuf>,
    places: [Option<&'static str>; 2],
) -> Mode {
    for place in places.into_iter().flatten() {
        draft.problem(
            place,
            format!("cannot be used together with the unix socket of {}: remove one of the two", socket.name()),
        );
    }
    if cfg!(not(unix)) {
        draft.problem(socket.name(), "is a unix socket, which this system does not support: use a host and a port");
    }
    if socket.value.as_os_str().is_empty() {
        draft.problem(socket.name(), "must be the path of a unix socket");
    }
    if socket.value.to_str().is_some_and(|path| path.contains("://")) {
        draft.problem(socket.name(), "must be the path of a unix socket and not a URL: use url(..) for a URL");
    }
    rows.row("unix socket", socket.value.display().to_string(), socket.origin);
    Mode::Single(Address::Unix(socket.value))
}

fn list(hosts: &[HostPort]) -> String {
    hosts.iter().map(HostPort::to_string).collect::<Vec<_>>().join(",")
}
