//! Secrets, and where the password comes from.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// The most that is read from a password file, in bytes.
const PASSWORD_FILE_LIMIT: usize = 64 * 1024;

/// Bytes that must not be seen: erased from memory when dropped, `***` in `Debug`, no `Display`.
///
/// Made from text or bytes with `into()`; a `String` or `Vec<u8>` is taken over without leaving a copy.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// The bytes, for the one place that sends them.
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

/// Where the password is to be had when a connection logs in.
#[derive(Clone)]
pub(super) enum PasswordSource {
    /// It was given.
    Given(Secret),
    /// It is in a file, which is read at every login so that a rotated password is picked up.
    /// `named_by` is the variable or method that named the file.
    File { path: PathBuf, named_by: &'static str },
}

impl PasswordSource {
    pub(super) fn read(&self) -> io::Result<Secret> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File { path, named_by } => read_password_file(path)
                // The path stays out of the text: a password put into the wrong variable looks like one.
                .map_err(|error| io::Error::new(error.kind(), format!("the file that {named_by} names: {error}"))),
        }
    }
}

fn read_password_file(path: &Path) -> io::Result<Secret> {
    // Opening a pipe that nobody writes to would block the connection's thread for ever.
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file"));
    }
    // Room for all of it at once: a vector that grows leaves unerased copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_FILE_LIMIT + 1));
    File::open(path)?.take(PASSWORD_FILE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > PASSWORD_FILE_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is larger than 64 KiB, so it is no password file"));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is empty; it must hold the password"));
    }
    Ok(Secret::from(bytes.as_slice()))
}
