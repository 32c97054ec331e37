//! Certificates and keys in PEM: in a file, or as text, for variables that a secret store fills.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use super::secret::Secret;

const BEGIN: &[u8] = b"-----BEGIN ";

/// Certificates or a key in PEM.
#[derive(Clone)]
pub(crate) enum Pem {
    /// A file. It is read for the first connection, and again after a change. A missing file is reported and retried,
    /// like an unreachable server.
    File(PathBuf),
    /// PEM text. It is erased when dropped, because it may be a private key.
    Text(Secret),
}

/// The expected content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Certificates,
    PrivateKey,
}

impl Pem {
    /// Interprets the value as PEM text if it looks like it, else as a path.
    pub(super) fn of(value: OsString) -> Self {
        if !contains(value.as_encoded_bytes(), BEGIN) {
            return Self::File(value.into());
        }
        let text = Secret::from(value.into_encoded_bytes());
        // Variable files have one line per variable, so `\n` stands for a line end.
        if contains(text.expose(), b"\n") || !contains(text.expose(), b"\\n") {
            return Self::Text(text);
        }
        let mut lines = Vec::with_capacity(text.expose().len());
        let mut rest = text.expose();
        while let Some((first, others)) = rest.split_first() {
            if let Some(behind) = rest.strip_prefix(b"\\n") {
                lines.push(b'\n');
                rest = behind;
            } else {
                lines.push(*first);
                rest = others;
            }
        }
        Self::Text(lines.into())
    }

    /// The path, if it is a file.
    pub(super) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Text(_) => None,
        }
    }

    /// The problem with the value, if one is visible without reading a file.
    pub(super) fn problem(&self, content: Content) -> Option<&'static str> {
        match (self, content) {
            (Self::Text(text), Content::Certificates) if !contains(text.expose(), b"BEGIN CERTIFICATE-----") => {
                Some("is PEM text without a certificate: set the path of a PEM file, or the text of certificates")
            }
            (Self::Text(text), Content::PrivateKey) if !contains(text.expose(), b"PRIVATE KEY-----") => {
                Some("is PEM text without a private key: set the path of a PEM file, or the text of a key")
            }
            (Self::File(path), _) if contains(path.as_os_str().as_encoded_bytes(), b"://") || has_control(path) => {
                Some("must be the path of a PEM file, or PEM text that begins with -----BEGIN")
            }
            _ => None,
        }
    }

    /// The path for display, if it looks like one. A private key without its BEGIN line does not.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::File(path) if looks_like_path(path) => path.display().to_string(),
            Self::File(_) => "(not shown: it does not look like a path)".to_owned(),
            Self::Text(_) => "(PEM text)".to_owned(),
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn has_control(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.chars().any(char::is_control))
}

/// Whether the value begins like a path or has a file extension. Base64 has neither dots nor backslashes, and does
/// not begin with `/` if it encodes a key or a certificate.
pub(super) fn looks_like_path(path: &Path) -> bool {
    const LONGEST: usize = 1024;
    let Some(text) = path.to_str() else { return false };
    let begins = path.is_absolute() || text.starts_with(['.', '~']);
    let has_ending = path.extension().is_some_and(|ending| ending.len() <= 8);
    text.len() <= LONGEST && !has_control(path) && !text.contains("://") && (begins || has_ending)
}

impl PartialEq for Pem {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one.expose() == other.expose(),
            _ => false,
        }
    }
}

impl Eq for Pem {}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// For messages such as "the client key in the file /tls/key.pem".
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) if looks_like_path(path) => write!(f, "file {}", path.display()),
            Self::File(_) => f.write_str("configured file, which is not shown because it does not look like a path,"),
            Self::Text(_) => f.write_str("configured text"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Pem {
        Pem::of(text.into())
    }

    #[test]
    fn a_value_is_shown_only_if_it_looks_like_a_path() {
        for path in ["/tls/key", "./key", "../key", "key.pem", "certs/ca.crt", "~/key"] {
            assert_eq!(of(path).shown(), path);
        }
        let base64 = "MC4CAQAwBQYDK2VwBCIEIAbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/aBcDeF";
        for secret in [base64, "hunter2", "/a\nb", &"/".repeat(2000), "redis://:pw@h"] {
            assert!(matches!(of(secret), Pem::File(_)), "{secret}");
            for text in [of(secret).shown(), format!("{}", of(secret)), format!("{:?}", of(secret))] {
                assert!(!text.contains(secret), "{text}");
            }
        }
    }

    #[test]
    fn pem_text_is_accepted_with_real_or_escaped_line_ends() {
        const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n";
        for text in [KEY.to_owned(), KEY.replace('\n', "\\n"), format!("\n{KEY}")] {
            let Pem::Text(secret) = of(&text) else { panic!("{text}") };
            assert_eq!(secret.expose().trim_ascii_start(), KEY.as_bytes());
            assert_eq!(of(&text).problem(Content::PrivateKey), None);
            assert!(of(&text).problem(Content::Certificates).is_some());
            assert_eq!(format!("{:?} {} {}", of(&text), of(&text), of(&text).shown()).matches("MC4C").count(), 0);
        }
    }
}
