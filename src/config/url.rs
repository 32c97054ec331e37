//! Parses `REDIS_URL`. Its errors never quote the URL, because it contains a password.

use std::{borrow::Cow, path::PathBuf};

use percent_encoding::percent_decode_str;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::address::{HOST_WORDS, REDIS_PORT, host};
use super::secret::Secret;

/// The parts of a URL.
pub(super) struct UrlParts {
    pub(super) place: UrlTarget,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) db: u32,
}

/// The address in a URL. A missing port is the default port, because a URL is a complete address.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UrlTarget {
    Tcp { host: String, port: u16, tls: bool },
    Unix(PathBuf),
}

type Words = Cow<'static, str>;

const FORMS: &str = "must be redis://[user][:password@]host[:port][/db], rediss:// for TLS, \
     or unix:///path?db=0&user=name&pass=word";
const DB_WORDS: &str = "must give the database as a number, 0 to 2147483647";

/// Parses a URL.
///
/// # Errors
/// The text follows the name of the variable.
pub(super) fn parse(text: &Secret) -> Result<UrlParts, Words> {
    let text = std::str::from_utf8(text.expose()).map_err(|_| "is not valid UTF-8; percent-encode such bytes")?;
    // The parser would silently drop line ends and tabs, and with them a part of a password.
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("contains white space or a line end; remove it, or percent-encode it if it is intended".into());
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => Cow::Borrowed(
            "has a port that is not a number from 1 to 65535, or a `/`, `?` or `#` in its password that is not percent-encoded",
        ),
        _ => format!("{FORMS} (percent-encode other characters of a password)").into(),
    })?;
    let parts = match url.scheme() {
        "redis" => tcp(&url, false),
        "rediss" => tcp(&url, true),
        "unix" => unix(&url),
        _ => Err(FORMS.into()),
    };
    drop(Zeroizing::new(String::from(url)));
    parts
}

fn tcp(url: &Url, tls: bool) -> Result<UrlParts, Words> {
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a `?` or `#`, which these URLs do not use; in a password write %3F or %23".into());
    }
    let name = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Domain(name)) => {
            let name = percent_decode_str(name).decode_utf8_lossy();
            host(&name).ok_or_else(|| format!("has an invalid host: it {HOST_WORDS}"))?.to_owned()
        }
        None => return Err(format!("has no host; it {FORMS}").into()),
    };
    let port = url.port().unwrap_or(REDIS_PORT);
    if port == 0 {
        return Err("has port 0; a port is a number from 1 to 65535".into());
    }
    let db = match url.path().strip_prefix('/').unwrap_or_default() {
        "" => 0,
        number => database(number)?,
    };
    Ok(UrlParts {
        place: UrlTarget::Tcp { host: name, port, tls },
        username: user(url.username())?,
        password: password(url.password().unwrap_or_default()),
        db,
    })
}

fn unix(url: &Url) -> Result<UrlParts, Words> {
    if url.has_host() && url.host_str().is_some_and(|host| !host.is_empty()) {
        return Err("must have three slashes before the path of a unix socket: unix:///path".into());
    }
    if url.fragment().is_some() {
        return Err("has a `#`, which these URLs do not use; in a password write %23".into());
    }
    if !url.path().starts_with('/') || url.path().ends_with('/') {
        return Err("must have the absolute path of a unix socket: unix:///path".into());
    }
    let path = percent_decode_str(url.path())
        .decode_utf8()
        .map_err(|_| "has a path that is not UTF-8; set it in code with RedisConfigBuilder::unix_socket")?;
    if path.contains('\0') {
        return Err("has a path with a NUL byte; correct the path".into());
    }
    let mut parts = UrlParts { place: UrlTarget::Unix(path.as_ref().into()), username: None, password: None, db: 0 };
    // Not parsed as a form, where `+` is a space, because base64 passwords contain `+`.
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("db", number)) => parts.db = database(number)?,
            Some(("user", name)) => parts.username = user(name)?,
            Some(("pass", word)) => parts.password = password(word),
            _ => return Err("accepts db, user and pass after its `?`; in a password write %26 for `&`".into()),
        }
    }
    Ok(parts)
}

fn database(text: &str) -> Result<u32, Words> {
    super::draft::database(text).ok_or(Cow::Borrowed(DB_WORDS))
}

fn user(encoded: &str) -> Result<Option<String>, Words> {
    if encoded.is_empty() {
        return Ok(None);
    }
    let name =
        percent_decode_str(encoded).decode_utf8().map_err(|_| "has a user name that is not UTF-8; correct it")?;
    Ok(Some(name.into_owned()))
}

fn password(encoded: &str) -> Option<Secret> {
    if encoded.is_empty() {
        return None;
    }
    // The full capacity is reserved, because growth would leave copies that are not erased.
    let mut bytes = Vec::with_capacity(encoded.len());
    bytes.extend(percent_decode_str(encoded));
    Some(bytes.into())
}
