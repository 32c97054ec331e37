//! The password file.

use std::{fs, path::PathBuf};

use crate::config::RedisConfig;

/// A file that is removed after the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("redis-actix-{}-{name}", std::process::id()));
        fs::write(&path, content).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn the_file_is_read_at_each_call() {
    let file = Scratch::new("rotated", b"first\n");
    let config = RedisConfig::builder().password_file(&file.0).build().unwrap();
    assert!(config.has_password());
    for (content, expected) in [
        (&b"first\n"[..], &b"first"[..]),
        (b"second\r\n", b"second"),
        (b" kept \n\n", b" kept \n"),
        (b"no line end", b"no line end"),
        (b"\xff\x00", b"\xff\x00"),
    ] {
        fs::write(&file.0, content).unwrap();
        assert_eq!(config.password().unwrap().unwrap().expose(), expected);
    }
    fs::write(&file.0, vec![b'x'; 65_536]).unwrap();
    assert_eq!(config.password().unwrap().unwrap().expose().len(), 65_536);
}

#[test]
fn errors_of_a_password_file_show_neither_content_nor_path() {
    let file = Scratch::new("CANARY", b"");
    let config = RedisConfig::from_vars([("REDIS_PASSWORD_FILE".into(), file.0.clone().into())]).unwrap();
    let refused = |words: &str| {
        let error = config.password().err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(text.contains("REDIS_PASSWORD_FILE") && text.contains(words), "{text}");
        assert!(!text.contains("CANARY"), "{text}");
    };
    refused("is empty");
    fs::write(&file.0, b"\n").unwrap();
    refused("is empty");
    fs::write(&file.0, b"CANARY".repeat(11_000)).unwrap();
    refused("larger than 64 KiB");
    fs::remove_file(&file.0).unwrap();
    refused("No such file");
    assert!(!format!("{config:?} {}", config.describe()).contains("CANARY"));

    let directory = RedisConfig::builder().password_file(std::env::temp_dir()).build().unwrap();
    assert!(directory.password().err().unwrap().to_string().contains("not a regular file"));
}
