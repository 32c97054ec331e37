//! Secrets, and the source of the password.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// The maximum size of a password file in bytes.
const PASSWORD_FILE_LIMIT: usize = 64 * 1024;

/// Bytes that must not be shown: erased from memory when dropped, `***` in `Debug`, no `Display`.
///
/// Created from text or bytes with `into()`. A `String` or `Vec<u8>` is moved without a copy.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes, for the login command only.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

/// The source of the password at login.
#[derive(Clone)]
pub(super) enum PasswordSource {
    /// Set directly.
    Given(Secret),
    /// A file, which is read at every login so that a rotated password takes effect. `named_by` is the variable or
    /// method with its path.
    File { path: PathBuf, named_by: &'static str },
}

impl PasswordSource {
    pub(super) fn read(&self) -> io::Result<Secret> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File { path, named_by } => read_password_file(path)
                // The path is not part of the text, because a password in the wrong variable would be shown as a
                // path.
                .map_err(|error| io::Error::new(error.kind(), format!("the password file of {named_by}: {error}"))),
        }
    }
}

fn read_password_file(path: &Path) -> io::Result<Secret> {
    // Opening a pipe without a writer would block the connection's thread forever.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    // The full capacity is reserved at once, because a growing vector leaves copies that are not erased.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_FILE_LIMIT + 1));
    File::open(path)?.take(PASSWORD_FILE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > PASSWORD_FILE_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "is larger than 64 KiB: check that it is a password file",
        ));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is empty: write the password to it"));
    }
    Ok(Secret::from(bytes.as_slice()))
}
