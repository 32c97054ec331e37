//! Variables that are fine alone and not together.

use super::{Pairs, blamed, valid};
use crate::config::RedisConfig;

#[test]
fn what_excludes_each_other() {
    let cases: &[(Pairs<'_>, &[&str])] = &[
        (&[("REDIS_URL", "redis://h"), ("REDIS_HOST", "other")], &["REDIS_HOST"]),
        (&[("REDIS_URL", "redis://h:1"), ("REDIS_PORT", "2")], &["REDIS_PORT"]),
        (&[("REDIS_URL", "redis://h"), ("REDIS_PORT", "2")], &["REDIS_PORT"]),
        (&[("REDIS_URL", "redis://a@h"), ("REDIS_USERNAME", "b")], &["REDIS_USERNAME"]),
        (&[("REDIS_URL", "redis://:a@h"), ("REDIS_PASSWORD", "b")], &["REDIS_PASSWORD"]),
        (&[("REDIS_URL", "redis://:a@h"), ("REDIS_PASSWORD_FILE", "/f")], &["REDIS_PASSWORD_FILE"]),
        (&[("REDIS_URL", "redis://h/1"), ("REDIS_DB", "2")], &["REDIS_DB"]),
        (&[("REDIS_URL", "redis://h"), ("REDIS_DB", "2")], &["REDIS_DB"]),
        (&[("REDIS_URL", "redis://h"), ("REDIS_TLS", "true")], &["REDIS_TLS"]),
        (&[("REDIS_URL", "rediss://h"), ("REDIS_TLS", "no")], &["REDIS_TLS"]),
        (&[("REDIS_URL", "unix:///s"), ("REDIS_TLS", "yes")], &["REDIS_TLS"]),
        (&[("REDIS_URL", "unix:///s"), ("REDIS_HOST", "h")], &["REDIS_HOST"]),
        (&[("REDIS_URL", "unix:///s"), ("REDIS_PORT", "1")], &["REDIS_PORT"]),
        (&[("REDIS_URL", "unix:///s?pass=a"), ("REDIS_PASSWORD", "b")], &["REDIS_PASSWORD"]),
        (&[("REDIS_URL", "redis://h"), ("REDIS_TLS_CA", "/ca")], &["REDIS_TLS_CA"]),
        (&[("REDIS_CLUSTER_HOSTS", "a"), ("REDIS_DB", "1")], &["REDIS_DB"]),
        (&[("REDIS_CLUSTER_HOSTS", "a"), ("REDIS_HOST", "b")], &["REDIS_HOST"]),
        (&[("REDIS_CLUSTER_HOSTS", "a"), ("REDIS_PORT", "1")], &["REDIS_PORT"]),
        (&[("REDIS_CLUSTER_HOSTS", "a"), ("REDIS_URL", "redis://b")], &["REDIS_URL"]),
        (
            &[("REDIS_CLUSTER_HOSTS", "a"), ("REDIS_SENTINEL_HOSTS", "b"), ("REDIS_SENTINEL_MASTER", "c")],
            &["REDIS_SENTINEL_HOSTS"],
        ),
        (&[("REDIS_SENTINEL_HOSTS", "b"), ("REDIS_SENTINEL_MASTER", "c"), ("REDIS_HOST", "d")], &["REDIS_HOST"]),
        (&[("REDIS_SENTINEL_HOSTS", "b"), ("REDIS_SENTINEL_MASTER", "c"), ("REDIS_URL", "redis://d")], &["REDIS_URL"]),
        (&[("REDIS_SENTINEL_HOSTS", "b")], &["REDIS_SENTINEL_HOSTS"]),
        (&[("REDIS_SENTINEL_MASTER", "c")], &["REDIS_SENTINEL_MASTER"]),
        (&[("REDIS_SENTINEL_PASSWORD", "a")], &["REDIS_SENTINEL_PASSWORD"]),
        (&[("REDIS_CLUSTER_HOSTS", "h"), ("REDIS_SENTINEL_USERNAME", "a")], &["REDIS_SENTINEL_USERNAME"]),
        (&[("REDIS_CLUSTER_ADDRESS_MAP", "a=b")], &["REDIS_CLUSTER_ADDRESS_MAP"]),
        (&[("REDIS_URL", "redis://h"), ("REDIS_CLUSTER_ADDRESS_MAP", "a=b")], &["REDIS_CLUSTER_ADDRESS_MAP"]),
        (&[("REDIS_PASSWORD", "a"), ("REDIS_PASSWORD_FILE", "/f")], &["REDIS_PASSWORD_FILE"]),
        (&[("REDIS_TLS", "1"), ("REDIS_TLS_CERT", "/c")], &["REDIS_TLS_CERT"]),
        (&[("REDIS_TLS", "1"), ("REDIS_TLS_KEY", "/k")], &["REDIS_TLS_KEY"]),
        (&[("REDIS_TLS_CA", "/ca")], &["REDIS_TLS_CA"]),
        (
            &[("REDIS_TLS", "0"), ("REDIS_TLS_CERT", "/c"), ("REDIS_TLS_KEY", "/k")],
            &["REDIS_TLS_CERT", "REDIS_TLS_KEY"],
        ),
        (&[("REDIS_KEY_PREFIX", "a:"), ("REDIS_KEY_NAMESPACE", "b")], &["REDIS_KEY_NAMESPACE"]),
    ];
    for (pairs, expected) in cases {
        assert_eq!(blamed(pairs), *expected, "{pairs:?}");
    }
}

#[test]
fn the_problem_names_both_sides() {
    let pairs: [(Pairs<'_>, [&str; 2]); 3] = [
        (&[("REDIS_URL", "redis://h"), ("REDIS_HOST", "other")], ["REDIS_URL", "REDIS_HOST"]),
        (&[("REDIS_CLUSTER_HOSTS", "a"), ("REDIS_URL", "redis://b")], ["REDIS_URL", "REDIS_CLUSTER_HOSTS"]),
        (&[("REDIS_PASSWORD", "a"), ("REDIS_PASSWORD_FILE", "/f")], ["REDIS_PASSWORD", "REDIS_PASSWORD_FILE"]),
    ];
    for (pairs, names) in pairs {
        let error = super::from(pairs).err().unwrap().to_string();
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
}

#[test]
fn what_agrees_may_be_said_twice() {
    let config = valid(&[
        ("REDIS_URL", "rediss://ada:p%40w@Host:7000/3"),
        ("REDIS_HOST", "host"),
        ("REDIS_PORT", "7000"),
        ("REDIS_USERNAME", "ada"),
        ("REDIS_PASSWORD", "p@w"),
        ("REDIS_DB", "3"),
        ("REDIS_TLS", "true"),
        ("REDIS_TLS_CA", "/ca.pem"),
    ]);
    assert_eq!(config.db(), 3);
    assert!(config.tls().is_some_and(|tls| tls.ca().is_some()));
    assert!(config.describe().rows().any(|row| row == ("password", "(set)", "REDIS_URL")));
    let _ = valid(&[("REDIS_CLUSTER_HOSTS", "a"), ("REDIS_DB", "0"), ("REDIS_TLS", "1"), ("REDIS_PASSWORD", "x")]);
    let _ = valid(&[("REDIS_URL", "redis://[::1]"), ("REDIS_HOST", "::1"), ("REDIS_PORT", "6379")]);
    let _ = valid(&[("REDIS_KEY_PREFIX", "a:"), ("APP_ENV", "not a part of it")]);
}

#[test]
fn credentials_that_a_url_leaves_out_come_from_elsewhere() {
    let config = valid(&[("REDIS_URL", "redis://ada@h"), ("REDIS_PASSWORD", "pw")]);
    assert_eq!((config.username(), config.has_password()), (Some("ada"), true));
    assert!(valid(&[("REDIS_URL", "redis://h"), ("REDIS_PASSWORD_FILE", "/run/secrets/redis")]).has_password());
}

#[test]
fn the_builder_contradicts_itself_by_its_methods() {
    let blamed = |builder: crate::RedisConfigBuilder| {
        let error = builder.build().unwrap_err();
        error.problems().iter().map(|problem| problem.variable().to_owned()).collect::<Vec<_>>()
    };
    let new = RedisConfig::builder;
    assert_eq!(blamed(new().unix_socket("/s").host("h")), ["host"]);
    assert_eq!(blamed(new().unix_socket("/s").tls(true)), ["tls"]);
    assert_eq!(blamed(new().unix_socket("/s").cluster_hosts(["a"])), ["unix_socket"]);
    assert_eq!(blamed(new().url("redis://h").port(1)), ["port"]);
    assert_eq!(blamed(new().url("redis://h").unix_socket("/s")), ["unix_socket"]);
    assert_eq!(blamed(new().cluster_hosts(["a"]).sentinel(["b"], "m")), ["sentinel"]);
    assert_eq!(blamed(new().password("a").password_file("/f")), ["password_file"]);
    assert_eq!(blamed(new().without_key_prefix().key_namespace("a")), ["key_namespace"]);
    assert_eq!(blamed(new().tls_ca("/ca")), ["tls_ca"]);
    assert_eq!(blamed(new().sentinel_username("a").sentinel_password("b")), ["sentinel_username", "sentinel_password"]);
    assert_eq!(blamed(new().sentinel(["h"], "m").sentinel_password("")), ["sentinel_password"]);
    assert_eq!(blamed(new().sentinel(["h"], "m").sentinel_username("a b")), ["sentinel_username"]);
}
