//! URLs: their settings, and that no input causes a panic or appears in an error.

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proptest::prelude::*;

use crate::config::secret::Secret;
use crate::config::url::{UrlParts, UrlTarget, parse};

fn parts(url: &str) -> UrlParts {
    parse(&url.into()).unwrap_or_else(|words| panic!("{url}: {words}"))
}

fn tcp(host: &str, port: u16, tls: bool) -> UrlTarget {
    UrlTarget::Tcp { host: host.to_owned(), port, tls }
}

fn bytes(secret: &Option<Secret>) -> Option<&[u8]> {
    secret.as_ref().map(Secret::expose)
}

#[test]
fn every_form_is_parsed() {
    type Row = (&'static str, UrlTarget, Option<&'static str>, Option<&'static [u8]>, u32);
    let rows: [Row; 16] = [
        ("redis://h", tcp("h", 6379, false), None, None, 0),
        ("redis://h/", tcp("h", 6379, false), None, None, 0),
        ("REDISS://h:1/2", tcp("h", 1, true), None, None, 2),
        ("redis://127.0.0.1:7000", tcp("127.0.0.1", 7000, false), None, None, 0),
        ("redis://[::1]:7000/9", tcp("::1", 7000, false), None, None, 9),
        ("redis://[2001:db8::5]", tcp("2001:db8::5", 6379, false), None, None, 0),
        ("redis://ada@h", tcp("h", 6379, false), Some("ada"), None, 0),
        ("redis://:pw@h", tcp("h", 6379, false), None, Some(b"pw"), 0),
        ("redis://:@h", tcp("h", 6379, false), None, None, 0),
        ("redis://ada:pw@my_host-1.x", tcp("my_host-1.x", 6379, false), Some("ada"), Some(b"pw"), 0),
        ("redis://a%40b:p%3A%2F%23%3F%40%25@h", tcp("h", 6379, false), Some("a@b"), Some(b"p:/#?@%"), 0),
        ("redis://:p:w+x=@h", tcp("h", 6379, false), None, Some(b"p:w+x="), 0),
        ("redis://:%ff%00@h", tcp("h", 6379, false), None, Some(b"\xff\x00"), 0),
        ("unix:///run/r.sock", UrlTarget::Unix("/run/r.sock".into()), None, None, 0),
        ("unix:///a%20b?db=3&user=a%26b&pass=p+%26", UrlTarget::Unix("/a b".into()), Some("a&b"), Some(b"p+&"), 3),
        ("unix:///s?pass=&user=&", UrlTarget::Unix("/s".into()), None, None, 0),
    ];
    for (url, place, username, password, db) in rows {
        let parts = parts(url);
        assert_eq!(parts.place, place, "{url}");
        assert_eq!(parts.username.as_deref(), username, "{url}");
        assert_eq!(bytes(&parts.password), password, "{url}");
        assert_eq!(parts.db, db, "{url}");
    }
}

#[test]
fn invalid_urls_are_refused_with_a_reason() {
    for (url, words) in [
        ("h:6379", "must be redis://"),
        ("localhost", "must be redis://"),
        ("http://h", "must be redis://"),
        ("valkey://h", "must be redis://"),
        ("redis:h", "has no host"),
        ("redis:///1", "has no host"),
        ("redis://h:0", "port 0"),
        ("redis://h:65536", "has a port"),
        ("redis://:p/w@h", "percent-encode"),
        ("redis://:1#w@h", "percent-encode"),
        ("redis://u#w@h", "%23"),
        ("redis://h?x=1", "%3F"),
        ("redis://h/x", "as a number"),
        ("redis://h/1/2", "as a number"),
        ("redis://h/-1", "as a number"),
        ("redis://h/2147483648", "as a number"),
        ("redis://a%20b", "host"),
        ("redis://a,b", "host"),
        ("redis://h\n", "white space"),
        ("redis://:p w@h", "white space"),
        ("redis://%ff@h", "user name that is not UTF-8"),
        ("unix://run/s", "three slashes"),
        ("unix:///", "absolute path"),
        ("unix://", "absolute path"),
        ("unix:s", "absolute path"),
        ("unix:///%00", "NUL"),
        ("unix:///s?db=x", "as a number"),
        ("unix:///s?what=x", "db, user and pass"),
        ("unix:///s#x", "%23"),
    ] {
        let error = parse(&url.into()).err().unwrap_or_else(|| panic!("{url} was accepted"));
        assert!(error.contains(words), "{url}: {error}");
    }
    assert!(parse(&Secret::from(&b"redis://\xff"[..])).is_err());
}

proptest! {
    #[test]
    fn no_text_panics(text in "(redis|rediss|unix|x)?(:|://|:///)?[ -~\\PC]{0,40}") {
        let _ = parse(&text.as_str().into());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&bytes.into());
    }

    #[test]
    fn an_error_never_quotes_the_url(before in "[ -~]{0,12}", after in "[ -~]{0,12}", scheme in "redis://|rediss://|unix:///|") {
        if let Err(words) = parse(&format!("{scheme}{before}CANARY{after}").into()) {
            prop_assert!(!words.contains("CANARY"));
        }
    }

    #[test]
    fn every_password_can_be_encoded(
        word in proptest::collection::vec(any::<u8>(), 1..40), user in "\\PC{0,10}", db in 0..=2_147_483_647_u32,
    ) {
        let (name, pass) = (percent_encode(user.as_bytes(), NON_ALPHANUMERIC), percent_encode(&word, NON_ALPHANUMERIC));
        for url in [format!("rediss://{name}:{pass}@[::1]:7/{db}"), format!("unix:///s?user={name}&pass={pass}&db={db}")] {
            let parts = parts(&url);
            prop_assert_eq!(bytes(&parts.password), Some(word.as_slice()));
            prop_assert_eq!(parts.username.unwrap_or_default(), user.as_str());
            prop_assert_eq!(parts.db, db);
        }
    }
}
