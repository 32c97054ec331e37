//! A value may be a secret in the wrong variable, so no text quotes one.

use std::{error::Error as _, ffi::OsString};

use super::vars;
use crate::config::env::KNOWN;
use crate::config::{RedisConfig, RedisConfigBuilder};

/// All texts that a configuration with these variables produces.
fn texts(vars: Vec<(OsString, OsString)>) -> (bool, String) {
    let builder = RedisConfigBuilder::from_vars(vars);
    let debug = format!("{builder:?}");
    match builder.build() {
        Ok(config) => {
            let password = format!("{:?}", config.password());
            let warnings = config.warnings().join("\n");
            (
                true,
                format!(
                    "{debug}\n{config:?}\n{config:#?}\n{}\n{:?}\n{password}\n{warnings}",
                    config.describe(),
                    config.describe()
                ),
            )
        }
        Err(error) => {
            let own = crate::Error::from(error.clone());
            let source = own.source().map(|source| format!("{source} {source:?}"));
            (false, format!("{debug}\n{error}\n{error:?}\n{error:#}\n{own}\n{own:?}\n{source:?}"))
        }
    }
}

#[test]
fn no_malformed_value_is_quoted() {
    for name in KNOWN {
        // An invalid value for each kind of variable, and one that only secrets accept.
        for value in
            ["CANARY*{ \n", "\u{7}CANARY://CANARY:CANARY@CANARY:CANARY/CANARY#CANARY", "CANARY:99999999,CANARY"]
        {
            let (valid, text) = texts(vars(&[(name, value)]));
            // Valid values that are not secret are described on purpose: paths, names, prefixes.
            let shown = valid && name != "REDIS_PASSWORD" && name != "REDIS_PASSWORD_FILE" && name != "REDIS_URL";
            assert!(shown || !text.contains("CANARY"), "{name}={value:?}\n{text}");
        }
    }
}

/// Ablation: without `holds_url_or_key` and with all paths shown, `describe` contains the password and the key.
#[test]
fn a_url_or_a_key_in_any_variable_is_never_shown() {
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nCANARYCANARY\n-----END PRIVATE KEY-----\n";
    let urls = ["redis://user:CANARY@h:1/0", "rediss://:CANARY@h"];
    let one_line = KEY.replace('\n', "\\n");
    let base64 = "MC4CAQAwBQYDK2VwBCIEICANARYCANARYCANARYCANARYCANARY/CANARY+=";
    let rest: &[&[(&str, &str)]] = &[
        &[],
        &[("REDIS_SENTINEL_HOSTS", "h"), ("REDIS_SENTINEL_MASTER", "m")],
        &[("REDIS_TLS", "1"), ("REDIS_TLS_CERT", "/c.pem"), ("REDIS_TLS_KEY", "/k.pem")],
    ];
    for name in KNOWN {
        for value in urls.into_iter().chain([KEY, one_line.as_str()]) {
            for rest in rest {
                let others = rest.iter().filter(|(other, _)| *other != name).copied();
                let pairs: Vec<_> = others.chain([(name, value)]).collect();
                let (_, text) = texts(vars(&pairs));
                assert!(!text.contains("CANARY"), "{pairs:?}\n{text}");
            }
        }
    }
    for name in ["REDIS_TLS_CA", "REDIS_TLS_CERT", "REDIS_TLS_KEY"] {
        let (_, text) =
            texts(vars(&[("REDIS_TLS", "1"), ("REDIS_TLS_CERT", "/c"), ("REDIS_TLS_KEY", "/k"), (name, base64)]));
        assert!(!text.contains("CANARY"), "{name}\n{text}");
    }
}

#[test]
fn valid_secrets_are_not_shown() {
    let cases: &[&[(&str, &str)]] = &[
        &[("REDIS_PASSWORD", "CANARY")],
        &[("REDIS_PASSWORD_FILE", "/CANARY")],
        &[("REDIS_URL", "redis://:CANARY@h")],
        &[("REDIS_URL", "unix:///s?pass=CANARY")],
        &[("REDIS_URL", "redis://:CANARY@h:x")],
        &[("REDIS_URL", "redis://:CANARY/CANARY@h")],
        &[("REDIS_URL", "redis://:CANARY@h/x?CANARY#CANARY")],
        &[("REDIS_URL", "CANARY")],
        &[("REDIS_URL", "CANARY://h")],
        &[("REDIS_URL", "redis://:CANARY@h"), ("REDIS_PASSWORD", "CANARY2")],
        &[("REDIS_PASSWORD", "CANARY"), ("REDIS_PASSWORD_FILE", "CANARY"), ("REDIS_PORT", "CANARY")],
        &[("REDIS_HOST", "redis://:CANARY@h"), ("REDIS_CLUSTER_HOSTS", "redis://:CANARY@h")],
        &[("REDIS_PASWORD", "CANARY"), ("REDIS_CANARX", "CANARY")],
        &[("REDIS_SENTINEL_PASSWORD", "CANARY")],
        &[("REDIS_SENTINEL_HOSTS", "h"), ("REDIS_SENTINEL_MASTER", "m"), ("REDIS_SENTINEL_PASSWORD", "CANARY")],
    ];
    for pairs in cases {
        let (_, text) = texts(vars(pairs));
        assert!(!text.contains("CANARY"), "{pairs:?}\n{text}");
    }
    let config = RedisConfig::builder().password("CANARY").sentinel_password("CANARY").url("redis://:CANARY@h");
    assert!(!format!("{config:?}").contains("CANARY"));
    assert_eq!(format!("{:?}", crate::Secret::from("CANARY")), "***");
}

#[cfg(unix)]
#[test]
fn values_that_are_not_utf8_are_problems_except_for_passwords() {
    use std::os::unix::ffi::OsStringExt;

    let bytes = || OsString::from_vec(b"CANARY\xff".to_vec());
    for name in KNOWN {
        let mut pairs = vec![(name.into(), bytes())];
        if name == "REDIS_SENTINEL_PASSWORD" {
            pairs.extend(vars(&[("REDIS_SENTINEL_HOSTS", "h"), ("REDIS_SENTINEL_MASTER", "m")]));
        }
        let (valid, text) = texts(pairs);
        assert_eq!(valid, matches!(name, "REDIS_PASSWORD" | "REDIS_SENTINEL_PASSWORD"), "{name}");
        assert!(valid || text.contains(name) && text.contains("UTF-8"), "{text}");
        assert!(!text.contains("CANARY"), "{name}\n{text}");
    }
    let config = RedisConfig::from_vars([("REDIS_PASSWORD".into(), bytes())]).unwrap();
    assert_eq!(config.password().unwrap().unwrap().expose(), b"CANARY\xff");
    // The name of a variable may not be UTF-8. Such a variable is ignored.
    assert!(RedisConfig::from_vars([(OsString::from_vec(b"REDIS_\xff".to_vec()), "x".into())]).is_ok());
}
