//! The table of variables has one source, `docs/settings.md`; the rustdoc of `RedisConfig::from_env` includes it.

use crate::config::env::KNOWN;

const SETTINGS: &str = include_str!("../../../docs/settings.md");
const README: &str = include_str!("../../../README.md");

/// Ablation: a changed word in the README's copy fails with "README.md differs from docs/settings.md".
#[test]
fn the_readme_has_the_table_of_variables_word_for_word() {
    assert!(README.contains(SETTINGS.trim_end()), "README.md differs from docs/settings.md: copy the table over");
}

/// Ablation: a row that is removed fails with "REDIS_DB has no row in docs/settings.md".
#[test]
fn the_table_has_every_variable_and_no_other() {
    let first_columns: Vec<&str> = SETTINGS.lines().filter_map(|line| line.split('|').nth(1)).collect();
    let listed: Vec<&str> = first_columns.iter().flat_map(|column| column.split('`').skip(1).step_by(2)).collect();
    for name in KNOWN {
        assert!(listed.contains(&name), "{name} has no row in docs/settings.md");
    }
    for name in &listed {
        assert!(KNOWN.contains(name), "{name} of docs/settings.md is no variable that is read");
    }
    assert_eq!(listed.len(), KNOWN.len(), "a variable has two rows in docs/settings.md");
}
