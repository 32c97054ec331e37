//! Variables that are valid alone and contradict each other.

use super::{Pairs, problem_names, valid};
use crate::config::RedisConfig;

#[test]
fn contradictions_are_problems() {
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
        assert_eq!(problem_names(pairs), *expected, "{pairs:?}");
    }
}

#[test]
fn a_contradiction_names_both_settings() {
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
fn equal_values_may_be_set_twice() {
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
fn credentials_may_be_set_outside_the_url() {
    let config = valid(&[("REDIS_URL", "redis://ada@h"), ("REDIS_PASSWORD", "pw")]);
    assert_eq!((config.username(), config.has_password()), (Some("ada"), true));
    assert!(valid(&[("REDIS_URL", "redis://h"), ("REDIS_PASSWORD_FILE", "/run/secrets/redis")]).has_password());
}

/// Ablation: with `set` silently replacing the value of a variable, all of these are accepted.
#[test]
fn a_method_that_contradicts_a_variable_is_a_problem() {
    let from = |pairs: Pairs<'_>| crate::RedisConfigBuilder::from_vars(super::vars(pairs));
    let namespace = from(&[("REDIS_KEY_NAMESPACE", "shop")]).key_namespace("crm").build().unwrap_err().to_string();
    assert!(namespace.contains("key_namespace contradicts REDIS_KEY_NAMESPACE, which is set"), "{namespace}");
    assert!(namespace.contains("default_key_namespace(..)"), "{namespace}");
    for (builder, method) in [
        (from(&[("REDIS_HOST", "a")]).host("b"), "host"),
        (from(&[("REDIS_PORT", "1")]).port(2), "port"),
        (from(&[("REDIS_URL", "redis://a")]).url("redis://b"), "url"),
        (from(&[("REDIS_PASSWORD", "a")]).password("b"), "password"),
        (from(&[("REDIS_MAX_RETRIES", "1")]).max_retries(2), "max_retries"),
        (from(&[("REDIS_COMMAND_TIMEOUT", "1")]).command_timeout(std::time::Duration::from_secs(1)), "command_timeout"),
        (from(&[("NODE_ENV", "a")]).environment("b"), "environment"),
        (from(&[("REDIS_KEY_PREFIX", "a:")]).key_prefix("b:"), "key_prefix"),
        (from(&[("REDIS_KEY_PREFIX", "a:")]).without_key_prefix(), "without_key_prefix"),
        (from(&[("REDIS_CLUSTER_HOSTS", "a")]).cluster_hosts(["b"]), "cluster_hosts"),
        (
            from(&[("REDIS_CLUSTER_HOSTS", "a"), ("REDIS_CLUSTER_ADDRESS_MAP", "a=b")]).address_map(Clone::clone),
            "address_map",
        ),
        (from(&[("REDIS_SENTINEL_HOSTS", "a"), ("REDIS_SENTINEL_MASTER", "m")]).sentinel(["a"], "n"), "sentinel"),
    ] {
        let error = builder.build().unwrap_err();
        let problem_names: Vec<_> = error.problems().iter().map(|problem| problem.variable()).collect();
        assert_eq!(problem_names, [method], "{error}");
    }
    let agreeing = from(&[("REDIS_HOST", "a"), ("REDIS_PASSWORD", "b"), ("REDIS_KEY_NAMESPACE", "c")]);
    assert!(agreeing.host("a").password("b").key_namespace("c").client_name("d").build().is_ok());
}

#[test]
fn the_environment_overrides_a_default_in_code() {
    let prefix = |pairs: Pairs<'_>| {
        let builder = crate::RedisConfigBuilder::from_vars(super::vars(pairs)).default_key_namespace("shop");
        builder.build().unwrap().key_prefix().as_str().to_owned()
    };
    assert_eq!(prefix(&[]), "shop:development:");
    assert_eq!(prefix(&[("REDIS_KEY_NAMESPACE", "crm")]), "crm:development:");
    assert_eq!(prefix(&[("REDIS_KEY_PREFIX", "whole:")]), "whole:");
    let said = RedisConfig::builder().default_key_namespace("a").key_namespace("b").build().unwrap();
    assert_eq!(said.key_prefix().as_str(), "b:development:");
    let error = RedisConfig::builder().default_key_namespace("a b").build().unwrap_err();
    assert_eq!(error.problems()[0].variable(), "default_key_namespace");
}

#[test]
fn contradictions_in_the_builder_name_its_methods() {
    let problem_names = |builder: crate::RedisConfigBuilder| {
        let error = builder.build().unwrap_err();
        error.problems().iter().map(|problem| problem.variable().to_owned()).collect::<Vec<_>>()
    };
    let new = RedisConfig::builder;
    assert_eq!(problem_names(new().unix_socket("/s").host("h")), ["host"]);
    assert_eq!(problem_names(new().unix_socket("/s").tls(true)), ["tls"]);
    assert_eq!(problem_names(new().unix_socket("/s").cluster_hosts(["a"])), ["unix_socket"]);
    assert_eq!(problem_names(new().url("redis://h").port(1)), ["port"]);
    assert_eq!(problem_names(new().url("redis://h").unix_socket("/s")), ["unix_socket"]);
    assert_eq!(problem_names(new().cluster_hosts(["a"]).sentinel(["b"], "m")), ["sentinel"]);
    assert_eq!(problem_names(new().password("a").password_file("/f")), ["password_file"]);
    assert_eq!(problem_names(new().without_key_prefix().key_namespace("a")), ["key_namespace"]);
    assert_eq!(problem_names(new().tls_ca("/ca")), ["tls_ca"]);
    assert_eq!(
        problem_names(new().sentinel_username("a").sentinel_password("b")),
        ["sentinel_username", "sentinel_password"]
    );
    assert_eq!(problem_names(new().sentinel(["h"], "m").sentinel_password("")), ["sentinel_password"]);
    assert_eq!(problem_names(new().sentinel(["h"], "m").sentinel_username("a b")), ["sentinel_username"]);
}
