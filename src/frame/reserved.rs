//! Commands that belong to the connection and not to its callers.

pub(super) const WHY: &str = "it changes the shared connection for every other caller, or takes their replies; set user, database and names in the configuration instead";

/// Whether `name` changes what the connection is, or what its server sends on it. Half of these hand one
/// caller the reply of another (`CLIENT REPLY SKIP`, `MONITOR`), the rest moves all of them elsewhere.
pub(super) fn changes_the_connection(name: &str) -> bool {
    let (command, rest) = name.split_once(' ').unwrap_or((name, ""));
    let is = |word: &str| command.eq_ignore_ascii_case(word);
    // By length first: this is asked for every command that is built.
    match command.len() {
        4 => is("AUTH") || is("QUIT") || is("SYNC"),
        5 => is("HELLO") || is("RESET") || is("PSYNC"),
        6 => is("SELECT") || is("ASKING") || (is("CLIENT") && !is_harmless(rest)),
        7 => is("MONITOR"),
        8 => is("READONLY") || is("REPLCONF"),
        9 => is("READWRITE"),
        _ => false,
    }
}

/// What is left of CLIENT: it asks about connections, and changes only others.
fn is_harmless(subcommand: &str) -> bool {
    ["ID", "INFO", "GETNAME", "GETREDIR", "TRACKINGINFO", "LIST", "KILL", "PAUSE", "UNPAUSE", "UNBLOCK", "HELP"]
        .iter()
        .any(|word| subcommand.eq_ignore_ascii_case(word))
}
