//! The effective configuration as a table: each value with its origin.

use std::{fmt, time::Duration};

/// The effective configuration with the origin of each value. `Display` prints a table. It contains no secrets, only
/// whether they are set.
///
/// ```
/// let config = redis_actix::RedisConfig::builder().password("secret").build()?;
/// let table = config.describe().to_string();
/// assert!(table.contains("password") && table.contains("(set)") && !table.contains("secret"));
/// # Ok::<(), redis_actix::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    rows: Vec<[String; 3]>,
}

impl Description {
    /// Adds a row. The last column is `default`, the name of a variable, or `builder`.
    pub(super) fn row(&mut self, setting: &str, value: impl Into<String>, origin: impl fmt::Display) {
        self.rows.push([setting.to_owned(), printable(&value.into()), origin.to_string()]);
    }

    /// Each setting, its value (`(set)` for a secret) and its origin: `default`, the name of an
    /// environment variable, or `builder`.
    pub fn rows(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.rows.iter().map(|[setting, value, origin]| (setting.as_str(), value.as_str(), origin.as_str()))
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heading = ("setting", "value", "from");
        let width = |column: fn(&(&str, &str, &str)) -> usize| {
            std::iter::once(heading).chain(self.rows()).map(|row| column(&row)).max().unwrap_or(0)
        };
        let setting_width = width(|row| row.0.chars().count());
        let value_width = width(|row| row.1.chars().count());
        for (index, (setting, value, origin)) in std::iter::once(heading).chain(self.rows()).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{setting:setting_width$}  {value:value_width$}  {origin}")?;
        }
        Ok(())
    }
}

/// Removes characters that would break a table or move a terminal's cursor.
pub(super) fn printable(text: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
