//! Warns about unknown `REDIS_*` variables, which are most likely misspelt.

use super::describe::printable;

/// Further names are counted, not listed.
const MAX_LISTED: usize = 16;
/// Longer names are truncated for display and comparison.
const MAX_NAME: usize = 64;

/// One warning for each unknown name, with the most similar known one. Values are never included.
pub(super) fn warnings(mut unknown: Vec<String>, known: &[&'static str]) -> Vec<String> {
    unknown.retain(|name| !is_service_link(name));
    unknown.sort_unstable();
    unknown.dedup();
    let mut warnings: Vec<String> = unknown.iter().take(MAX_LISTED).map(|name| warning(name, known)).collect();
    let unlisted = unknown.len() - warnings.len();
    if unlisted > 0 {
        warnings.push(format!("{unlisted} more REDIS_* variables are unknown and have no effect"));
    }
    warnings
}

fn warning(name: &str, known: &[&'static str]) -> String {
    let name: String = name.chars().take(MAX_NAME).collect();
    let ours = known.iter().filter(|known| known.starts_with("REDIS_"));
    let nearest = ours.min_by_key(|known| distance(&name, known)).copied().unwrap_or_default();
    format!("{} is not a known variable and has no effect; did you mean {nearest}?", printable(&name))
}

/// Kubernetes sets these in every pod if there is a service named `redis`, so they are not misspelt.
fn is_service_link(name: &str) -> bool {
    let port = name.strip_prefix("REDIS_PORT_").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    port || name == "REDIS_SERVICE_HOST" || name.starts_with("REDIS_SERVICE_PORT")
}

/// The number of insertions, deletions and replacements that turn one name into the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.chars().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(&other) {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = replaced.min(left + 1).min(diagonal + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distance_is_the_levenshtein_distance() {
        for (one, other, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("REDIS_HSOT", "REDIS_HOST", 2),
            ("ab", "ab", 0),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}
