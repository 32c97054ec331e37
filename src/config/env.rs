//! Reads environment variables into a draft, using `envconfig`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    ffi::OsString,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use envconfig::Envconfig;

use super::address::{HostList, PORT_WORDS, REDIS_PORT, SENTINEL_PORT, port};
use super::address_map::AddressMap;
use super::caching::CACHE_BYTES_WORDS;
use super::connections::Connections;
use super::draft::{Draft, Given, Origin, PrefixChoice, database};
use super::pem::Pem;
use super::problem::ConfigProblem;
use super::protocol::Protocol;
use super::resolve::{BUSY_POLL_WORDS, DB_WORDS, RETRIES_WORDS, TIMEOUT_WORDS};
use super::secret::Secret;
use super::tls::TlsVerify;
use super::unknown;

/// All known variables. Secrets and possible private keys are not part of the mirror, because it consists of plain
/// strings that are not erased from memory.
pub(super) const KNOWN: [&str; 33] = [
    "REDIS_URL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_PASSWORD_FILE",
    "REDIS_DB",
    "REDIS_TLS",
    "REDIS_TLS_CA",
    "REDIS_TLS_CERT",
    "REDIS_TLS_KEY",
    "REDIS_TLS_SERVER_NAME",
    "REDIS_TLS_VERIFY",
    "REDIS_MAX_RETRIES",
    "REDIS_CONNECT_TIMEOUT",
    "REDIS_COMMAND_TIMEOUT",
    "REDIS_BUSY_POLL",
    "REDIS_CONNECTIONS",
    "REDIS_CACHE_BYTES",
    "REDIS_CACHE_TTL",
    "REDIS_PROTOCOL",
    "REDIS_CLIENT_COMMANDS",
    "REDIS_CLUSTER_HOSTS",
    "REDIS_CLUSTER_ADDRESS_MAP",
    "REDIS_SENTINEL_HOSTS",
    "REDIS_SENTINEL_MASTER",
    "REDIS_SENTINEL_USERNAME",
    "REDIS_SENTINEL_PASSWORD",
    "REDIS_KEY_NAMESPACE",
    "REDIS_KEY_PREFIX",
    "REDIS_CLIENT_NAME",
    "APP_ENV",
    "NODE_ENV",
];

const SWITCH_WORDS: &str = "must be true, false, 1, 0, yes or no";
const KUBERNETES_WORDS: &str = "must be a port, a number from 1 to 65535, but is an address, as Kubernetes sets it for a \
     service named redis: set it yourself, or set enableServiceLinks: false in the pod";

/// The plain-text variables.
#[derive(Envconfig)]
struct Mirror {
    #[envconfig(from = "REDIS_HOST")]
    host: Option<String>,
    #[envconfig(from = "REDIS_PORT")]
    port: Option<Read<Port>>,
    #[envconfig(from = "REDIS_USERNAME")]
    username: Option<String>,
    #[envconfig(from = "REDIS_PASSWORD_FILE")]
    password_file: Option<PathBuf>,
    #[envconfig(from = "REDIS_DB")]
    db: Option<Read<Database>>,
    #[envconfig(from = "REDIS_TLS")]
    tls: Option<Read<Switch>>,
    #[envconfig(from = "REDIS_TLS_SERVER_NAME")]
    tls_server_name: Option<String>,
    #[envconfig(from = "REDIS_TLS_VERIFY")]
    tls_verify: Option<Read<TlsVerify>>,
    #[envconfig(from = "REDIS_MAX_RETRIES")]
    max_retries: Option<Read<Retries>>,
    #[envconfig(from = "REDIS_CONNECT_TIMEOUT")]
    connect_timeout: Option<Read<Milliseconds>>,
    #[envconfig(from = "REDIS_COMMAND_TIMEOUT")]
    command_timeout: Option<Read<Milliseconds>>,
    #[envconfig(from = "REDIS_BUSY_POLL")]
    busy_poll: Option<Read<Microseconds>>,
    #[envconfig(from = "REDIS_CONNECTIONS")]
    connections: Option<Read<Connections>>,
    #[envconfig(from = "REDIS_CACHE_BYTES")]
    cache_bytes: Option<Read<Bytes>>,
    #[envconfig(from = "REDIS_CACHE_TTL")]
    cache_ttl: Option<Read<Milliseconds>>,
    #[envconfig(from = "REDIS_PROTOCOL")]
    protocol: Option<Read<Protocol>>,
    #[envconfig(from = "REDIS_CLIENT_COMMANDS")]
    client_commands: Option<Read<Switch>>,
    #[envconfig(from = "REDIS_CLUSTER_HOSTS")]
    cluster_hosts: Option<Read<HostList<REDIS_PORT>>>,
    #[envconfig(from = "REDIS_CLUSTER_ADDRESS_MAP")]
    address_map: Option<Read<AddressMap>>,
    #[envconfig(from = "REDIS_SENTINEL_HOSTS")]
    sentinel_hosts: Option<Read<HostList<SENTINEL_PORT>>>,
    #[envconfig(from = "REDIS_SENTINEL_MASTER")]
    sentinel_master: Option<String>,
    #[envconfig(from = "REDIS_SENTINEL_USERNAME")]
    sentinel_username: Option<String>,
    #[envconfig(from = "APP_ENV")]
    app_env: Option<String>,
    #[envconfig(from = "NODE_ENV")]
    node_env: Option<String>,
    #[envconfig(from = "REDIS_KEY_NAMESPACE")]
    key_namespace: Option<String>,
    #[envconfig(from = "REDIS_KEY_PREFIX")]
    key_prefix: Option<String>,
    #[envconfig(from = "REDIS_CLIENT_NAME")]
    client_name: Option<String>,
}

/// A parsed value or an error. Parsing never fails for `envconfig`, because it stops at the first failure and all
/// failures are reported.
struct Read<T>(Result<T, Cow<'static, str>>);

impl<T: FromStr<Err: Into<Cow<'static, str>>>> FromStr for Read<T> {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // Variables that were filled from files often end with a line end.
        Ok(Self(text.trim().parse().map_err(Into::into)))
    }
}

/// Defines a type with its parser.
macro_rules! reading {
    ($($name:ident($inner:ty) = |$text:ident| $read:expr;)*) => {$(
        struct $name($inner);

        impl FromStr for $name {
            type Err = &'static str;

            fn from_str($text: &str) -> Result<Self, &'static str> {
                $read.map(Self)
            }
        }

        impl From<$name> for $inner {
            fn from(read: $name) -> $inner {
                read.0
            }
        }
    )*};
}

reading! {
    Port(u16) = |text| port(text).ok_or(if text.contains("://") { KUBERNETES_WORDS } else { PORT_WORDS });
    Database(u32) = |text| database(text).ok_or(DB_WORDS);
    Retries(u32) = |text| text.parse().map_err(|_| RETRIES_WORDS);
    Milliseconds(Duration) = |text| text.parse().map(Duration::from_millis).map_err(|_| TIMEOUT_WORDS);
    Microseconds(Duration) = |text| text.parse().map(Duration::from_micros).map_err(|_| BUSY_POLL_WORDS);
    Bytes(usize) = |text| text.parse().map_err(|_| CACHE_BYTES_WORDS);
    Switch(bool) = |text| switch(text).ok_or(SWITCH_WORDS);
}

impl<const DEFAULT_PORT: u16> From<HostList<DEFAULT_PORT>> for Vec<super::address::HostPort> {
    fn from(list: HostList<DEFAULT_PORT>) -> Self {
        list.0
    }
}

fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some(true),
        "false" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// Parses the variables.
pub(super) fn draft(vars: impl IntoIterator<Item = (OsString, OsString)>) -> Draft {
    let mut draft = Draft::default();
    let mut unknown = Vec::new();
    let mut found: BTreeMap<&'static str, OsString> = BTreeMap::new();
    for (name, value) in vars {
        let Some(name) = name.to_str() else { continue };
        match KNOWN.into_iter().find(|known| *known == name) {
            Some(known) => drop(found.insert(known, value)),
            None if name.starts_with("REDIS_") => unknown.push(name.to_owned()),
            None => {}
        }
    }
    draft.warnings = unknown::warnings(unknown, &KNOWN);

    // Compose files and shells use an empty value for "unset". An empty prefix may mean "no prefix", so it is an
    // error: with the default prefix existing data would silently disappear.
    if found.get("REDIS_KEY_PREFIX").is_some_and(|value| value.is_empty()) {
        let text = "must not be empty: unset it for the default prefix; to disable the prefix, which is possible in code only, \
                    use RedisConfigBuilder::without_key_prefix()";
        draft.problem("REDIS_KEY_PREFIX", text);
    }
    found.retain(|_, value| !value.is_empty());
    if found.contains_key("APP_ENV") {
        found.remove("NODE_ENV");
    }

    // The bytes are moved into the secrets, so that no copy remains. A password may contain any bytes.
    let mut secret = |name| found.remove(name).map(|value| Secret::from(value.into_encoded_bytes()));
    draft.url = secret("REDIS_URL").map(|url| Given::new(url, Origin::Variable("REDIS_URL")));
    draft.password = secret("REDIS_PASSWORD").map(|word| Given::new(word, Origin::Variable("REDIS_PASSWORD")));
    draft.sentinel_password =
        secret("REDIS_SENTINEL_PASSWORD").map(|word| Given::new(word, Origin::Variable("REDIS_SENTINEL_PASSWORD")));

    // Usually a path, but it may be a private key.
    let mut pem = |name| {
        let value = found.remove(name)?;
        if value.to_str().is_none() {
            draft.problem(name, "must be valid UTF-8");
            return None;
        }
        Some(Given::new(Pem::of(value), Origin::Variable(name)))
    };
    let (ca, cert, key) = (pem("REDIS_TLS_CA"), pem("REDIS_TLS_CERT"), pem("REDIS_TLS_KEY"));
    (draft.tls_ca, draft.tls_cert, draft.tls_key) = (ca, cert, key);

    let mut plain = HashMap::new();
    for (name, value) in found {
        match value.into_string() {
            Ok(value) => drop(plain.insert(name.to_owned(), value)),
            Err(_) => draft.problem(name, "must be valid UTF-8"),
        }
    }
    match Mirror::init_from_hashmap(&plain) {
        Ok(mirror) => mirror.into_draft(&mut draft),
        // All fields are optional and parsing never fails. These branches keep errors visible if that changes.
        Err(envconfig::Error::EnvVarMissing { name }) => draft.problem(name, "must be set"),
        Err(envconfig::Error::ParseError { name }) => draft.problem(name, "cannot be parsed: check its value"),
    }
    draft
}

impl Mirror {
    fn into_draft(self, draft: &mut Draft) {
        draft.host = text("REDIS_HOST", self.host.map(|host| host.trim().to_owned()));
        draft.username = text("REDIS_USERNAME", self.username);
        draft.password_file = text("REDIS_PASSWORD_FILE", self.password_file);
        draft.tls_server_name = text("REDIS_TLS_SERVER_NAME", self.tls_server_name);
        draft.sentinel_master = text("REDIS_SENTINEL_MASTER", self.sentinel_master);
        draft.sentinel_username = text("REDIS_SENTINEL_USERNAME", self.sentinel_username);
        draft.environment = text("APP_ENV", self.app_env).or(text("NODE_ENV", self.node_env));
        draft.key_namespace = text("REDIS_KEY_NAMESPACE", self.key_namespace);
        draft.key_prefix = text("REDIS_KEY_PREFIX", self.key_prefix.map(PrefixChoice::Plain));
        draft.client_name = text("REDIS_CLIENT_NAME", self.client_name);

        let problems = &mut draft.problems;
        draft.port = read("REDIS_PORT", self.port, problems);
        draft.db = read("REDIS_DB", self.db, problems);
        draft.tls_verify = read("REDIS_TLS_VERIFY", self.tls_verify, problems);
        draft.tls = read("REDIS_TLS", self.tls, problems);
        draft.max_retries = read("REDIS_MAX_RETRIES", self.max_retries, problems);
        draft.connect_timeout = read("REDIS_CONNECT_TIMEOUT", self.connect_timeout, problems);
        draft.command_timeout = read("REDIS_COMMAND_TIMEOUT", self.command_timeout, problems);
        draft.busy_poll = read("REDIS_BUSY_POLL", self.busy_poll, problems);
        draft.connections = read("REDIS_CONNECTIONS", self.connections, problems);
        draft.cache_bytes = read("REDIS_CACHE_BYTES", self.cache_bytes, problems);
        draft.cache_ttl = read("REDIS_CACHE_TTL", self.cache_ttl, problems);
        draft.protocol = read("REDIS_PROTOCOL", self.protocol, problems);
        draft.client_commands = read("REDIS_CLIENT_COMMANDS", self.client_commands, problems);
        draft.cluster_hosts = read("REDIS_CLUSTER_HOSTS", self.cluster_hosts, problems);
        draft.address_map = read("REDIS_CLUSTER_ADDRESS_MAP", self.address_map, problems);
        draft.sentinel_hosts = read("REDIS_SENTINEL_HOSTS", self.sentinel_hosts, problems);
    }
}

fn text<T>(name: &'static str, value: Option<T>) -> Option<Given<T>> {
    value.map(|value| Given::new(value, Origin::Variable(name)))
}

fn read<T: Into<U>, U>(
    name: &'static str,
    value: Option<Read<T>>,
    problems: &mut Vec<ConfigProblem>,
) -> Option<Given<U>> {
    match value?.0 {
        Ok(value) => Some(Given::new(value.into(), Origin::Variable(name))),
        Err(words) => {
            problems.push(ConfigProblem::new(name, words));
            None
        }
    }
}
