//! `cargo xtask package`: packs every published member and builds it from its archive.

use std::process::{Command, ExitCode};

use crate::cargo;

/// The published members, in the order of publishing.
const PUBLISHED: [&str; 3] = ["redis-actix", "redis-actix-test", "redis-actix-web"];

/// Packs and builds all published members together, because they depend on each other and are not in a registry yet.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let mut command = Command::new("cargo");
    command.current_dir(cargo::root()).arg("package").args(PUBLISHED.iter().flat_map(|name| ["--package", name]));
    match command.args(args).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: cannot run cargo: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(package: &str) -> Vec<String> {
        let mut command = Command::new("cargo");
        command.current_dir(cargo::root()).args(["package", "--list", "--allow-dirty", "--package", package]);
        let output = command.output().expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    #[test]
    fn archives_have_licences_and_a_readme_and_nothing_that_needs_a_clone() {
        for package in PUBLISHED {
            let files = files(package);
            for name in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "src/lib.rs"] {
                assert!(files.iter().any(|file| file == name), "{package} lacks {name}: {files:?}");
            }
            let generated = [".cargo_vcs_info.json", "Cargo.lock", "Cargo.toml", "Cargo.toml.orig"];
            let folders = ["src/", "examples/", "benches/", "docs/"];
            let is_known = |file: &String| {
                generated.contains(&file.as_str())
                    || folders.iter().any(|folder| file.starts_with(folder))
                    || !file.contains('/')
            };
            assert!(files.iter().all(is_known), "{package}: {files:?}");
            assert!(!files.iter().any(|file| file.contains("message_service")), "{package}: it needs the test kit");
        }
    }
}
