//! The table of variables has one source, `docs/settings.md`, which the rustdoc of `RedisConfig::from_env` includes.

use crate::config::env::KNOWN;

const SETTINGS: &str = include_str!("../../../docs/settings.md");
const README: &str = include_str!("../../../README.md");

/// Ablation: a changed word in the README's copy fails with "README.md differs from docs/settings.md".
#[test]
fn the_readme_contains_the_table_of_variables() {
    assert!(README.contains(SETTINGS.trim_end()), "README.md differs from docs/settings.md: copy the table over");
}

/// Ablation: a row that is removed fails with "REDIS_DB has no row in docs/settings.md".
#[test]
fn the_table_has_exactly_the_known_variables() {
    let first_columns: Vec<&str> = SETTINGS.lines().filter_map(|line| line.split('|').nth(1)).collect();
    let listed: Vec<&str> = first_columns.iter().flat_map(|column| column.split('`').skip(1).step_by(2)).collect();
    for name in KNOWN {
        assert!(listed.contains(&name), "{name} has no row in docs/settings.md");
    }
    for name in &listed {
        assert!(KNOWN.contains(name), "{name} of docs/settings.md is not a known variable");
    }
    assert_eq!(listed.len(), KNOWN.len(), "a variable has two rows in docs/settings.md");
}
