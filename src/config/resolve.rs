//! Validates a draft: contradictions, ranges, defaults.

use std::time::Duration;

use super::address::{Address, HOST_WORDS, Mode, host};
use super::address_map::AddressMap;
use super::deployment::mode;
use super::describe::{Description, milliseconds};
use super::draft::{Draft, Given, MAX_DB, Origin};
use super::pem::{Content, Pem};
use super::problem::ConfigError;
use super::secret::{PasswordSource, Secret};
use super::settle::{or_default, settle};
use super::tls::TlsSettings;
use super::{Connections, Inner, Limits, Protocol, Username, caching, fold_url, naming};
use crate::frame::{ReadFrom, WhenDown};

pub(super) const DB_WORDS: &str = "must be a database number from 0 to 2147483647";
pub(super) const RETRIES_WORDS: &str = "must be a number from 0 to 1000";
pub(super) const BUSY_POLL_WORDS: &str = "must be a number of microseconds from 0 to 1000; 0 disables it";
pub(super) const TIMEOUT_WORDS: &str = "must be a number of milliseconds from 1 to 86400000 (a day); \
     an unlimited timeout is not supported, and 0 would expire at once";

const DAY: Duration = Duration::from_millis(86_400_000);
const MAX_RETRIES: u32 = 1000;

/// Validates a draft.
pub(super) fn resolve(mut draft: Draft) -> Result<Inner, ConfigError> {
    fold_url::fold_url(&mut draft);
    let mut rows = Description::default();

    let mode = mode(&mut draft, &mut rows);
    let (username, password) = credentials(&mut draft, &mut rows);
    let (sentinel_username, sentinel_password) = sentinel_credentials(&mut draft, &mode, &mut rows);
    let db = database(&mut draft, &mode, &mut rows);
    let tls = tls(&mut draft, &mode, &mut rows);

    let retries = draft.max_retries.take();
    let max_retries = settle(&mut draft, &mut rows, "max retries", retries, 3, |&n| n <= MAX_RETRIES, RETRIES_WORDS);
    let given = draft.connect_timeout.take();
    let connect_timeout = timeout(&mut draft, &mut rows, "connect timeout", given, 10_000);
    let given = draft.command_timeout.take();
    let command_timeout = timeout(&mut draft, &mut rows, "command timeout", given, 5_000);
    let liveness = liveness(&mut draft, &mut rows, command_timeout);

    let environment = naming::environment(&mut draft, &mut rows);
    let prefix = naming::key_prefix(&mut draft, &environment, &mut rows);
    let client_name = naming::client_name(&mut draft, &mut rows);
    let Choices { when_down, read_from, busy_poll, connections, protocol, client_commands } =
        choices(&mut draft, &mut rows);
    let cache = caching::cache(&mut draft, protocol, &mut rows);
    let address_map = address_map(&mut draft, &mode, &mut rows);
    let limits = limits(&mut draft, &mut rows);

    if !draft.problems.is_empty() {
        return Err(ConfigError::new(draft.problems));
    }
    Ok(Inner {
        mode,
        username,
        password,
        db,
        tls,
        max_retries,
        connect_timeout,
        command_timeout,
        liveness,
        prefix,
        environment: environment.value,
        client_name,
        when_down,
        read_from,
        sentinel_username,
        sentinel_password,
        busy_poll,
        connections,
        protocol,
        address_map,
        client_commands,
        cache,
        limits,
        warnings: draft.warnings,
        description: rows,
    })
}

/// Settings that are valid whatever the others are.
struct Choices {
    when_down: WhenDown,
    read_from: ReadFrom,
    busy_poll: Option<Duration>,
    connections: Connections,
    protocol: Protocol,
    client_commands: bool,
}

fn choices(draft: &mut Draft, rows: &mut Description) -> Choices {
    let given = draft.when_down.take();
    let (when_down, origin) = or_default(given, WhenDown::default());
    rows.row("when down", format!("{when_down:?}"), origin);
    let (read_from, origin) = or_default(draft.read_from.take(), ReadFrom::default());
    rows.row("read from", format!("{read_from:?}"), origin);
    let busy_poll = busy_poll(draft, rows);
    let (connections, origin) = or_default(draft.connections.take(), Connections::default());
    rows.row("connections", connections.to_string(), origin);
    let (protocol, origin) = or_default(draft.protocol.take(), Protocol::default());
    rows.row("protocol", protocol.to_string(), origin);
    let (client_commands, origin) = or_default(draft.client_commands.take(), true);
    rows.row("client commands", if client_commands { "on" } else { "off" }, origin);
    Choices { when_down, read_from, busy_poll, connections, protocol, client_commands }
}

/// The longest busy poll. A thread that polls for longer than its sleep and wake-up take gains nothing.
const LONGEST_BUSY_POLL: Duration = Duration::from_millis(1);

fn busy_poll(draft: &mut Draft, rows: &mut Description) -> Option<Duration> {
    let (time, origin) = or_default(draft.busy_poll.take(), Duration::ZERO);
    if time > LONGEST_BUSY_POLL {
        draft.problem(origin.name(), BUSY_POLL_WORDS);
    }
    let shown = if time.is_zero() { "off".to_owned() } else { format!("{} us", time.as_micros()) };
    rows.row("busy poll", shown, origin);
    (!time.is_zero()).then_some(time)
}

fn timeout(
    draft: &mut Draft,
    rows: &mut Description,
    setting: &'static str,
    given: Option<Given<Duration>>,
    default: u64,
) -> Duration {
    let (value, origin) = or_default(given, Duration::from_millis(default));
    if value < Duration::from_millis(1) || value > DAY {
        draft.problem(origin.name(), TIMEOUT_WORDS);
    }
    rows.row(setting, milliseconds(value), origin);
    value
}

fn liveness(draft: &mut Draft, rows: &mut Description, command_timeout: Duration) -> Option<Duration> {
    // Saturating, because an invalid command timeout reaches this line as well.
    let (value, origin) = or_default(draft.liveness.take(), Some(command_timeout.saturating_mul(2)));
    if origin != Origin::Default && value.is_some_and(|time| time < Duration::from_millis(1) || time > 2 * DAY) {
        draft.problem(origin.name(), "must be from 1 millisecond to 2 days, or None to disable the check");
    }
    rows.row("liveness", value.map_or("off".to_owned(), milliseconds), origin);
    value
}

/// The TLS settings, if TLS is enabled.
fn tls(draft: &mut Draft, mode: &Mode, rows: &mut Description) -> Option<TlsSettings> {
    let (on, origin) = or_default(draft.tls.take(), false);
    let unsure = ["REDIS_TLS", "REDIS_URL", "url"].iter().any(|name| draft.reported(name));
    rows.row("tls", if on { "on" } else { "off" }, origin);
    if on && cfg!(not(feature = "tls")) {
        draft.problem(
            origin.name(),
            "enables TLS, which this build does not include: enable the feature `tls` of redis-actix",
        );
    }
    if on && matches!(mode, Mode::Single(Address::Unix(_))) {
        draft.problem(origin.name(), "enables TLS, which a unix socket does not support: remove one of the two");
    }
    check_client_certificate(draft);
    let (ca, cert, key) = (draft.tls_ca.take(), draft.tls_cert.take(), draft.tls_key.take());
    let server_name = draft.tls_server_name.take();
    let verify = draft.tls_verify.take();
    if let Some(name) = &server_name
        && host(&name.value).is_none()
    {
        draft.problem(name.name(), HOST_WORDS);
    }
    if !on && !unsure {
        let files = [&ca, &cert, &key].into_iter().flatten().map(|file| file.origin);
        let others = [server_name.as_ref().map(|name| name.origin), verify.as_ref().map(|what| what.origin)];
        for origin in files.chain(others.into_iter().flatten()).collect::<Vec<_>>() {
            let switch = origin.connector("REDIS_TLS=true", "tls(true)");
            draft.problem(
                origin.name(),
                format!("has no effect without TLS: set {switch} or use a rediss:// URL, or remove it"),
            );
        }
    }
    describe_files(draft, rows, [&ca, &cert, &key]);
    if let Some(name) = &server_name {
        rows.row("tls server name", name.value.clone(), name.origin);
    }
    if let (Some(what), true) = (&verify, on) {
        rows.row("tls verify", what.value.to_string(), what.origin);
    }
    on.then(|| TlsSettings {
        verify: verify.map(|what| what.value).unwrap_or_default(),
        ca: ca.map(|file| file.value),
        cert: cert.map(|file| file.value),
        key: key.map(|file| file.value),
        server_name: server_name.map(|name| name.value),
    })
}

/// A certificate and its private key belong together.
fn check_client_certificate(draft: &mut Draft) {
    match (&draft.tls_cert, &draft.tls_key) {
        (Some(cert), None) => {
            let text = format!(
                "also needs the private key of the certificate: set {}",
                cert.origin.connector("REDIS_TLS_KEY", "tls_key")
            );
            draft.problem(cert.name(), text);
        }
        (None, Some(key)) => {
            let text = format!(
                "also needs the certificate of the key: set {}",
                key.origin.connector("REDIS_TLS_CERT", "tls_cert")
            );
            draft.problem(key.name(), text);
        }
        _ => {}
    }
}

/// A row for each file, and the problems of its content.
fn describe_files(draft: &mut Draft, rows: &mut Description, [ca, cert, key]: [&Option<Given<Pem>>; 3]) {
    let contents = [Content::Certificates, Content::Certificates, Content::PrivateKey];
    for ((setting, pem), content) in [("tls ca", ca), ("tls cert", cert), ("tls key", key)].into_iter().zip(contents) {
        if let Some(Given { value, origin }) = pem {
            if let Some(words) = value.problem(content) {
                draft.problem(origin.name(), words);
            }
            rows.row(setting, value.shown(), *origin);
        }
    }
}

fn credentials(draft: &mut Draft, rows: &mut Description) -> (Option<Username>, Option<PasswordSource>) {
    let username = draft.username.take();
    match &username {
        Some(name) => {
            if !draft.holds_url_or_key(name)
                && (name.value.is_empty() || name.value.chars().any(|c| c.is_control() || c.is_whitespace()))
            {
                draft.problem(name.name(), "must be the name of an ACL user, without white space");
            }
        }
        None => rows.row("username", "(default user)", Origin::Default),
    }
    let password = match (draft.password.take(), draft.password_file.take()) {
        (Some(password), Some(file)) => {
            draft.problem(
                file.name(),
                format!("cannot be used together with the password of {}: remove one of the two", password.name()),
            );
            None
        }
        (Some(Given { value, origin }), None) => {
            if value.expose().is_empty() {
                draft.problem(origin.name(), "must not be empty; remove it if there is no password");
            }
            Some((PasswordSource::Given(value), origin))
        }
        (None, Some(Given { value: path, origin })) => {
            if path.as_os_str().is_empty() {
                draft.problem(origin.name(), "must be the path of a file with the password");
            }
            Some((PasswordSource::File { path, named_by: origin.name() }, origin))
        }
        (None, None) => None,
    };
    // `redis://secret@host` is often written by mistake for a password.
    let may_be_password = password.is_none() && username.as_ref().is_some_and(|name| name.origin.is_url());
    if let Some(name) = &username {
        let shown = if may_be_password { "(set)".to_owned() } else { name.value.clone() };
        rows.row("username", shown, name.origin);
    }
    if may_be_password {
        draft.warnings.push(
            "the URL has a user and no password; a password without a user is written redis://:password@host"
                .to_owned(),
        );
    }
    match &password {
        Some((_, origin)) => rows.row("password", "(set)", *origin),
        None => rows.row("password", "(none)", Origin::Default),
    }
    let username = username.map(|name| Username { name: name.value, may_be_secret: may_be_password });
    (username, password.map(|(source, _)| source))
}

/// The credentials for the sentinels. Without sentinels they would silently have no effect, so they are refused.
fn sentinel_credentials(draft: &mut Draft, mode: &Mode, rows: &mut Description) -> (Option<String>, Option<Secret>) {
    let (username, password) = (draft.sentinel_username.take(), draft.sentinel_password.take());
    let is_sentinel = matches!(mode, Mode::Sentinel { .. });
    let unsure = ["REDIS_SENTINEL_HOSTS", "REDIS_SENTINEL_MASTER", "sentinel"].iter().any(|name| draft.reported(name));
    let origins = [username.as_ref().map(|name| name.origin), password.as_ref().map(|word| word.origin)];
    if !is_sentinel && !unsure {
        for origin in origins.into_iter().flatten() {
            let hosts = origin.connector("REDIS_SENTINEL_HOSTS", "sentinel(..)");
            draft.problem(origin.name(), format!("has no effect without sentinels: set {hosts}, or remove it"));
        }
    }
    if let Some(name) = &username {
        if !draft.holds_url_or_key(name)
            && (name.value.is_empty() || name.value.chars().any(|c| c.is_control() || c.is_whitespace()))
        {
            draft.problem(name.name(), "must be the name of an ACL user of the sentinels, without white space");
        }
        rows.row("sentinel username", name.value.clone(), name.origin);
    }
    if let Some(word) = &password
        && word.value.expose().is_empty()
    {
        draft.problem(word.name(), "must not be empty; remove it if the sentinels have no password");
    }
    match &password {
        Some(word) => rows.row("sentinel password", "(set)", word.origin),
        None if is_sentinel => rows.row("sentinel password", "(none)", Origin::Default),
        None => {}
    }
    (username.map(|name| name.value), password.map(|word| word.value))
}

/// With a single server no address is announced and a map would silently have no effect, so it is refused.
fn address_map(draft: &mut Draft, mode: &Mode, rows: &mut Description) -> Option<AddressMap> {
    let Given { value, origin } = draft.address_map.take()?;
    let lists = ["REDIS_CLUSTER_HOSTS", "cluster_hosts", "REDIS_SENTINEL_HOSTS", "REDIS_SENTINEL_MASTER", "sentinel"];
    if matches!(mode, Mode::Single(_)) && !lists.iter().any(|name| draft.reported(name)) {
        let hosts =
            origin.connector("REDIS_CLUSTER_HOSTS or REDIS_SENTINEL_HOSTS", "cluster_hosts(..) or sentinel(..)");
        draft.problem(origin.name(), format!("has no effect with a single server: set {hosts}, or remove it"));
    }
    rows.row("address map", value.to_string(), origin);
    Some(value)
}

fn database(draft: &mut Draft, mode: &Mode, rows: &mut Description) -> u32 {
    let given = draft.db.take();
    if let (Mode::Cluster(_), Some(db)) = (mode, &given)
        && db.value != 0
    {
        draft.problem(db.name(), "must be 0 or absent with a cluster, which has one database");
    }
    settle(draft, rows, "db", given, 0, |&db| db <= MAX_DB, DB_WORDS)
}

fn limits(draft: &mut Draft, rows: &mut Description) -> Limits {
    const WORDS: &str = "must be at least 1; to fail immediately while there is no connection, use when_down";
    let max_queued_time = queued_time(draft, rows);
    let Draft { max_in_flight, max_in_flight_bytes, max_queued, max_queued_bytes, .. } = draft;
    let given = [max_in_flight, max_in_flight_bytes, max_queued, max_queued_bytes].map(Option::take);
    let [in_flight, in_flight_bytes, queued, queued_bytes] = given;
    let mut limit = |setting, given, default| settle(draft, rows, setting, given, default, |&n| n > 0, WORDS);
    Limits {
        max_in_flight: limit("max in flight", in_flight, 65_536),
        max_in_flight_bytes: limit("max in flight bytes", in_flight_bytes, 64 * 1024 * 1024),
        max_queued: limit("max queued", queued, 100_000),
        max_queued_bytes: limit("max queued bytes", queued_bytes, 64 * 1024 * 1024),
        max_queued_time,
    }
}

fn queued_time(draft: &mut Draft, rows: &mut Description) -> Option<Duration> {
    let (value, origin) = or_default(draft.max_queued_time.take(), None);
    if value.is_some_and(|time| time < Duration::from_millis(1) || time > DAY) {
        draft
            .problem(origin.name(), "must be from 1 millisecond to a day, or None to use the deadline of each command");
    }
    rows.row("max queued time", value.map_or("deadline".to_owned(), milliseconds), origin);
    value
}
