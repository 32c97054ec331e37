//! Defaults, accepted values and refused values of each variable.

use std::time::Duration;

use super::{from, problem_names, valid};
use crate::config::{Address, HostPort, Mode, RedisConfig, RedisConfigBuilder, Secret};
use crate::{ErrorKind, Fate, KeyPrefix, ReadFrom, WhenDown};

fn tcp(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

#[test]
fn unset_variables_and_an_empty_builder_give_the_defaults() {
    for config in [valid(&[]), RedisConfig::builder().build().unwrap()] {
        assert_eq!(config.mode(), &Mode::Single(Address::Tcp(tcp("localhost", 6379))));
        assert_eq!(config.username(), None);
        assert!(config.password().unwrap().is_none() && !config.has_password());
        assert_eq!(config.db(), 0);
        assert_eq!(config.tls(), None);
        assert_eq!(config.max_retries(), 3);
        assert_eq!(config.connect_timeout(), Duration::from_secs(10));
        assert_eq!(config.command_timeout(), Duration::from_secs(5));
        assert_eq!(config.liveness(), Some(Duration::from_secs(10)));
        assert_eq!(config.environment(), "development");
        assert_eq!(config.key_prefix().as_str(), "whatsapp:development:");
        assert_eq!(config.client_name(), None);
        assert_eq!(config.when_down(), WhenDown::Queue);
        assert_eq!((config.read_from(), config.busy_poll()), (ReadFrom::Primary, None));
        assert_eq!((config.sentinel_username(), config.has_sentinel_password()), (None, false));
        assert_eq!((config.max_in_flight(), config.max_in_flight_bytes()), (65_536, 64 << 20));
        assert_eq!((config.max_queued(), config.max_queued_bytes()), (100_000, 64 << 20));
        assert!(config.warnings().is_empty());
        assert!(config.describe().rows().all(|(.., origin)| origin == "default"), "{}", config.describe());
    }
}

#[test]
fn the_environment_of_the_process_is_read() {
    let (own, given) = (RedisConfig::from_env(), RedisConfig::from_vars(std::env::vars_os()));
    assert_eq!(own.map(|config| config.describe().clone()), given.map(|config| config.describe().clone()));
}

#[test]
fn every_variable_has_an_effect() {
    let config = valid(&[
        ("REDIS_HOST", "10.0.0.5"),
        ("REDIS_PORT", "7000"),
        ("REDIS_USERNAME", "ada"),
        ("REDIS_PASSWORD", "pw"),
        ("REDIS_DB", "4"),
        ("REDIS_TLS", "YES"),
        ("REDIS_TLS_CA", "/ca.pem"),
        ("REDIS_TLS_CERT", "/cert.pem"),
        ("REDIS_TLS_KEY", "/key.pem"),
        ("REDIS_TLS_SERVER_NAME", "redis.internal"),
        ("REDIS_MAX_RETRIES", "0"),
        ("REDIS_CONNECT_TIMEOUT", "1"),
        ("REDIS_COMMAND_TIMEOUT", "86400000"),
        ("REDIS_BUSY_POLL", "50"),
        ("REDIS_CONNECTIONS", "thread:8"),
        ("REDIS_PROTOCOL", "2"),
        ("REDIS_CLIENT_COMMANDS", "no"),
        ("APP_ENV", "test"),
        ("NODE_ENV", "ignored"),
        ("REDIS_KEY_NAMESPACE", "shop"),
        ("REDIS_CLIENT_NAME", "pod-1"),
    ]);
    assert_eq!(config.mode(), &Mode::Single(Address::Tcp(tcp("10.0.0.5", 7000))));
    assert_eq!(config.username(), Some("ada"));
    assert_eq!(config.password().unwrap().unwrap().expose(), b"pw");
    assert_eq!(config.db(), 4);
    let tls = config.tls().unwrap();
    assert_eq!(tls.ca().unwrap().to_str(), Some("/ca.pem"));
    assert_eq!(tls.cert().unwrap().to_str(), Some("/cert.pem"));
    assert_eq!(tls.key().unwrap().to_str(), Some("/key.pem"));
    assert_eq!(tls.server_name(), Some("redis.internal"));
    assert_eq!(config.max_retries(), 0);
    assert_eq!(config.connect_timeout(), Duration::from_millis(1));
    assert_eq!(config.command_timeout(), Duration::from_secs(86_400));
    assert_eq!(config.liveness(), Some(Duration::from_secs(172_800)));
    assert_eq!(config.key_prefix().as_str(), "shop:test:");
    assert_eq!((config.client_name(), config.busy_poll()), (Some("pod-1"), Some(Duration::from_micros(50))));

    let table = config.describe().to_string();
    for (setting, value, origin) in [
        ("host", "10.0.0.5", "REDIS_HOST"),
        ("password", "(set)", "REDIS_PASSWORD"),
        ("tls ca", "/ca.pem", "REDIS_TLS_CA"),
        ("connect timeout", "1 ms", "REDIS_CONNECT_TIMEOUT"),
        ("busy poll", "50 us", "REDIS_BUSY_POLL"),
        ("connections", "thread:8", "REDIS_CONNECTIONS"),
        ("protocol", "2", "REDIS_PROTOCOL"),
        ("client commands", "off", "REDIS_CLIENT_COMMANDS"),
        ("environment", "test", "APP_ENV"),
        ("key prefix", "shop:test:", "REDIS_KEY_NAMESPACE, APP_ENV"),
        ("max queued", "100000", "default"),
    ] {
        assert!(config.describe().rows().any(|row| row == (setting, value, origin)), "{setting}\n{table}");
    }
}

#[test]
fn host_lists_are_parsed() {
    let cluster = valid(&[("REDIS_CLUSTER_HOSTS", "node1:7001, node2,[::1]:7003,[fe80::1%eth0],node1:7001")]);
    let expected = vec![tcp("node1", 7001), tcp("node2", 6379), tcp("::1", 7003), tcp("fe80::1%eth0", 6379)];
    assert_eq!(cluster.mode(), &Mode::Cluster(expected.clone()));
    let shown: Vec<String> = expected.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["node1:7001", "node2:6379", "[::1]:7003", "[fe80::1%eth0]:6379"]);
    let same = RedisConfig::builder().cluster_hosts(shown).build().unwrap();
    assert_eq!(same.mode(), cluster.mode());

    let sentinel = valid(&[("REDIS_SENTINEL_HOSTS", "s1,s2:5"), ("REDIS_SENTINEL_MASTER", "main"), ("REDIS_DB", "2")]);
    let expected = Mode::Sentinel { hosts: vec![tcp("s1", 26379), tcp("s2", 5)], master: "main".to_owned() };
    assert_eq!(sentinel.mode(), &expected);
    assert_eq!(sentinel.db(), 2);
}

#[test]
fn switches_numbers_and_white_space_are_parsed() {
    for (word, on) in [
        ("true", true),
        ("TRUE", true),
        ("1", true),
        ("yes", true),
        ("Yes", true),
        ("0", false),
        ("no", false),
        ("False\n", false),
    ] {
        assert_eq!(valid(&[("REDIS_TLS", word)]).tls().is_some(), on, "{word}");
    }
    let config = valid(&[("REDIS_PORT", " 7\n"), ("REDIS_HOST", "[::1]\n"), ("REDIS_PASSWORD", " p \n")]);
    assert_eq!(config.mode(), &Mode::Single(Address::Tcp(tcp("::1", 7))));
    assert_eq!(config.password().unwrap().unwrap().expose(), b" p \n", "a password is used unchanged");
}

#[test]
fn an_empty_value_is_unset_except_for_the_prefix() {
    let known: Vec<_> = crate::config::env::KNOWN.iter().map(|name| (*name, "")).collect();
    assert_eq!(problem_names(&known), ["REDIS_KEY_PREFIX"]);
    let error = from(&known).err().unwrap().to_string();
    assert!(error.contains("without_key_prefix"), "{error}");
    let rest: Vec<_> = known.into_iter().filter(|(name, _)| *name != "REDIS_KEY_PREFIX").collect();
    assert_eq!(valid(&rest).describe(), valid(&[]).describe());
    assert_eq!(valid(&[("APP_ENV", ""), ("NODE_ENV", "ci")]).environment(), "ci");
}

#[test]
fn malformed_values_are_refused_with_the_accepted_values() {
    let zone_too_long = "h".repeat(256);
    let long = "x".repeat(1100);
    let cases: &[(&str, &[&str], &str)] = &[
        (
            "REDIS_HOST",
            &["a b", "redis://h", "h:6379", "h/x", "a,b", "[h]", "::1::", "hö", &zone_too_long],
            "host name",
        ),
        ("REDIS_PORT", &["0", "65536", "-1", "http", "6379x", "6 379"], "1 to 65535"),
        ("REDIS_PORT", &["tcp://10.0.0.1:6379"], "enableServiceLinks"),
        ("REDIS_USERNAME", &["a b", "a\nb", "a\0"], "ACL user"),
        ("REDIS_DB", &["-1", "x", "2147483648", "1.0"], "0 to 2147483647"),
        ("REDIS_TLS", &["on", "2", "maybe", "truee"], "true, false, 1, 0, yes or no"),
        ("REDIS_BUSY_POLL", &["true", "off", "1001", "-1"], "microseconds from 0 to 1000"),
        ("REDIS_CLUSTER_ADDRESS_MAP", &["a", "a=b=c", "a=b,", "a=redis://h", "a:0=b"], "announced=reachable"),
        ("REDIS_TLS_VERIFY", &["none", "yes"], "must be full"),
        ("REDIS_CONNECTIONS", &["threads", "thread:0", "2"], "must be shared, thread"),
        ("REDIS_PROTOCOL", &["1", "4", "resp3"], "must be 2 or 3"),
        ("REDIS_CLIENT_COMMANDS", &["off"], "true, false, 1, 0, yes or no"),
        ("REDIS_MAX_RETRIES", &["-1", "1001", "many"], "0 to 1000"),
        ("REDIS_CONNECT_TIMEOUT", &["0", "86400001", "5s", "-1", "1.5"], "milliseconds from 1 to 86400000"),
        ("REDIS_COMMAND_TIMEOUT", &["0", "86400001", "99999999999999999999"], "milliseconds from 1 to 86400000"),
        ("REDIS_CLUSTER_HOSTS", &[",", "a:1,", "a:0", "a:b", "a:1:2", "::1:6379", "a b:1", " "], "host:port"),
        ("REDIS_SENTINEL_HOSTS", &["a:1,,b:2", "[::1"], "host:port"),
        ("APP_ENV", &["a b", "a*", "{a}", "a\n", &long], "part of the key prefix"),
        ("NODE_ENV", &["a\tb"], "part of the key prefix"),
        ("REDIS_KEY_NAMESPACE", &["*", "a b", "}", &long], "part of the key prefix"),
        ("REDIS_KEY_PREFIX", &["shop", "a b:", "*:", "{shop}:", &long], ""),
        ("REDIS_CLIENT_NAME", &["a b", "a\n", "é"], "printable ASCII"),
    ];
    for (name, values, words) in cases {
        for value in *values {
            assert_eq!(problem_names(&[(name, value)]), [*name], "{value:?}");
            let error = from(&[(name, value)]).err().unwrap().to_string();
            assert!(error.contains(name) && error.contains(words), "{name}={value:?}: {error}");
        }
    }
    assert_eq!(
        problem_names(&[("REDIS_SENTINEL_HOSTS", "s"), ("REDIS_SENTINEL_MASTER", "a b")]),
        ["REDIS_SENTINEL_MASTER"]
    );
}

#[test]
fn namespace_and_environment_together_have_a_maximum_length() {
    let (half, more) = ("x".repeat(500), "y".repeat(600));
    assert_eq!(problem_names(&[("REDIS_KEY_NAMESPACE", &half), ("APP_ENV", &more)]), ["APP_ENV"]);
}

#[test]
fn all_problems_are_reported_together_and_convert_to_an_error() {
    let pairs = [
        ("REDIS_PORT", "x"),
        ("REDIS_TLS", "x"),
        ("REDIS_TLS_CA", "/ca.pem"),
        ("REDIS_DB", "x"),
        ("REDIS_MAX_RETRIES", "x"),
        ("REDIS_COMMAND_TIMEOUT", "0"),
        ("REDIS_CLIENT_NAME", "a b"),
        ("APP_ENV", "*"),
        ("REDIS_SENTINEL_HOSTS", "s:x"),
        ("REDIS_SENTINEL_MASTER", "main"),
    ];
    let mut problem_names = problem_names(&pairs);
    problem_names.sort();
    // Not reported: REDIS_TLS_CA and REDIS_SENTINEL_MASTER, whose counterparts are set but invalid. REDIS_PORT is
    // invalid as well, so its conflict with the sentinels is not reported.
    let mut expected = vec![
        "REDIS_PORT",
        "REDIS_TLS",
        "REDIS_DB",
        "REDIS_MAX_RETRIES",
        "REDIS_COMMAND_TIMEOUT",
        "REDIS_CLIENT_NAME",
        "APP_ENV",
        "REDIS_SENTINEL_HOSTS",
    ];
    expected.sort_unstable();
    assert_eq!(problem_names, expected);

    let error = from(&pairs).err().unwrap();
    assert!(error.to_string().starts_with("8 problems in the configuration: REDIS_"), "{error}");
    assert_eq!(format!("{error:#}").lines().count(), 9, "{error:#}");
    let error = crate::Error::from(error);
    assert_eq!((error.kind(), error.fate()), (ErrorKind::Config, Fate::NotSent));
    assert!(error.to_string().contains("REDIS_COMMAND_TIMEOUT"));
}

#[test]
fn problems_of_the_builder_name_its_methods() {
    let error = RedisConfig::builder()
        .host("")
        .port(0)
        .username("")
        .password("")
        .max_retries(1001)
        .connect_timeout(Duration::ZERO)
        .command_timeout(Duration::from_secs(86_401))
        .liveness(Duration::from_micros(1))
        .environment("")
        .client_name("")
        .tls(true)
        .tls_cert("/c")
        .tls_server_name("a b")
        .max_in_flight(0)
        .max_in_flight_bytes(0)
        .max_queued(0)
        .max_queued_bytes(0)
        .build()
        .unwrap_err();
    let mut problem_names: Vec<_> = error.problems().iter().map(|problem| problem.variable()).collect();
    problem_names.sort_unstable();
    let mut expected = [
        "host",
        "port",
        "username",
        "password",
        "max_retries",
        "connect_timeout",
        "command_timeout",
        "liveness",
        "environment",
        "client_name",
        "tls_cert",
        "tls_server_name",
        "max_in_flight",
        "max_in_flight_bytes",
        "max_queued",
        "max_queued_bytes",
    ];
    expected.sort_unstable();
    assert_eq!(problem_names, expected);
    assert!(error.to_string().contains("set tls_key"), "{error}");

    for broken in [
        RedisConfig::builder().cluster_hosts(Vec::<String>::new()),
        RedisConfig::builder().sentinel(["a b"], "main"),
        RedisConfig::builder().sentinel(["a"], ""),
        RedisConfig::builder().url("http://h"),
        RedisConfig::builder().unix_socket(""),
        RedisConfig::builder().password_file(""),
        RedisConfig::builder().db(1 << 31),
        RedisConfig::builder().key_hash_tag_prefix("shop:"),
        RedisConfig::builder().key_prefix(""),
    ] {
        assert_eq!(broken.build().unwrap_err().problems().len(), 1);
    }
}

#[test]
fn the_builder_has_settings_without_a_variable() {
    let config = RedisConfig::builder()
        .unix_socket("/run/redis.sock")
        .liveness(None)
        .when_down(WhenDown::FailFast)
        .read_from(ReadFrom::Replica)
        .busy_poll(Duration::from_micros(100))
        .max_in_flight(1)
        .max_in_flight_bytes(2)
        .max_queued(3)
        .max_queued_bytes(4)
        .without_key_prefix()
        .build()
        .unwrap();
    assert_eq!(config.mode(), &Mode::Single(Address::Unix("/run/redis.sock".into())));
    assert_eq!(config.liveness(), None);
    assert_eq!((config.when_down(), config.read_from()), (WhenDown::FailFast, ReadFrom::Replica));
    assert_eq!((config.max_in_flight(), config.max_in_flight_bytes()), (1, 2));
    assert_eq!((config.max_queued(), config.max_queued_bytes()), (3, 4));
    assert_eq!(config.busy_poll(), Some(Duration::from_micros(100)));
    assert_eq!(config.key_prefix(), &KeyPrefix::none());
    assert!(config.describe().to_string().contains("builder"));

    let tagged = RedisConfig::builder().key_prefix("a:").key_hash_tag_prefix("{shop}:").build().unwrap();
    assert_eq!(tagged.key_prefix().as_str(), "{shop}:");
    let sentinels = RedisConfig::builder().sentinel(["h"], "m").sentinel_username("ada").sentinel_password("b");
    let sentinels = sentinels.build().unwrap();
    assert_eq!((sentinels.sentinel_username(), sentinels.has_sentinel_password()), (Some("ada"), true));
    assert!(sentinels.describe().rows().any(|row| row == ("sentinel password", "(set)", "builder")));
    let tls = RedisConfig::builder().tls(true).tls_server_name("redis.example").build().unwrap();
    assert_eq!(tls.tls().unwrap().server_name(), Some("redis.example"));

    let vars = super::vars(&[("REDIS_HOST", "h"), ("REDIS_DB", "1")]);
    let mixed = RedisConfigBuilder::from_vars(vars).port(2).db(1).build().unwrap();
    assert_eq!(mixed.mode(), &Mode::Single(Address::Tcp(tcp("h", 2))));
}

#[test]
fn warnings_about_unknown_variables_name_the_most_similar_one() {
    let config = valid(&[
        ("REDIS_HSOT", "v"),
        ("REDIS_PASWORD", "v"),
        ("REDIS_CLUSTER_NODES", "v"),
        ("REDIS_", "v"),
        ("REDISCLI_AUTH", "v"),
        ("PATH", "v"),
        ("REDIS_SERVICE_HOST", "v"),
        ("REDIS_PORT_6379_TCP_ADDR", "v"),
    ]);
    let warnings = config.warnings();
    assert_eq!(warnings.len(), 4, "{warnings:?}");
    for (name, nearest) in [
        ("REDIS_HSOT", "REDIS_HOST?"),
        ("REDIS_PASWORD", "REDIS_PASSWORD?"),
        ("REDIS_CLUSTER_NODES", "REDIS_CLUSTER_HOSTS?"),
    ] {
        assert!(warnings.iter().any(|warning| warning.starts_with(name) && warning.ends_with(nearest)), "{warnings:?}");
    }

    let many: Vec<String> = (0..100).map(|n| format!("REDIS_{}\n{n}", "X".repeat(n * 100))).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
    let warnings = valid(&many).warnings().to_vec();
    assert_eq!(warnings.len(), 17);
    assert!(warnings.iter().all(|warning| warning.len() < 200 && !warning.contains('\n')), "{warnings:?}");
}

#[test]
fn sentinels_have_separate_credentials() {
    let config = valid(&[
        ("REDIS_SENTINEL_HOSTS", "h"),
        ("REDIS_SENTINEL_MASTER", "m"),
        ("REDIS_SENTINEL_USERNAME", "ada"),
        ("REDIS_SENTINEL_PASSWORD", "theirs"),
        ("REDIS_PASSWORD", "the server's"),
    ]);
    assert_eq!(config.sentinel_username(), Some("ada"));
    assert_eq!(config.sentinel_password().map(Secret::expose), Some(&b"theirs"[..]));
    assert_eq!(config.password().unwrap().unwrap().expose(), b"the server's");
    let table = config.describe();
    assert!(table.rows().any(|row| row == ("sentinel password", "(set)", "REDIS_SENTINEL_PASSWORD")), "{table}");
}
