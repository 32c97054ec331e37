//! Rules for commands whose key specifications on the server are missing or wrong.
//!
//! Option words are compared as the server does it: ignoring ASCII case, and up to the first NUL, because the server
//! compares C strings. `STORE\0x` is STORE for the server, so it is STORE here. A word that is not an option is
//! refused: this server would refuse it too, and a newer server might interpret it as an option that takes a key.

use super::channels::{Channel, ONLY_THE_SERVER, channel, channel_pattern};
use super::marks::{Form, Positions};
use super::table::Name;

type Outcome = Result<(), &'static str>;

const SYNTAX: &str =
    "its options cannot be distinguished from its keys: check their spelling and that each has its value";

/// Marks the keys of a command that has a rule. Returns `false` if it has none.
pub(super) fn apply(name: Name, argv: &[impl AsRef<[u8]>], marks: &mut Positions) -> Result<bool, &'static str> {
    match (name.command, name.subcommand) {
        ("sort", None) => sort(argv, marks, true)?,
        ("sort_ro", None) => sort(argv, marks, false)?,
        ("georadius", None) => geo_radius(argv, marks, 6)?,
        ("georadiusbymember", None) => geo_radius(argv, marks, 5)?,
        ("xread" | "xreadgroup", None) => {
            let streams = stream_options(argv).ok_or(SYNTAX)?;
            (streams.first..streams.first + streams.count).for_each(|at| marks.key(at));
        }
        ("migrate", None) => migrate(argv, marks)?,
        ("keys", None) => marks.mark(1, 0, Form::Pattern),
        ("scan", None) => scan(argv, marks)?,
        ("publish" | "spublish", None) => publish(argv, marks)?,
        ("subscribe" | "unsubscribe" | "ssubscribe" | "sunsubscribe", None) => {
            channels(argv, 1, marks)?;
        }
        ("psubscribe" | "punsubscribe", None) => patterns(argv, 1, marks)?,
        ("pubsub", Some("channels" | "shardchannels")) => patterns(argv, 2, marks)?,
        ("pubsub", Some("numsub" | "shardnumsub")) => channels(argv, 2, marks)?,
        ("cluster", Some("keyslot")) => marks.key(2),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Whether `arg` equals the option `word` for the server's `strcasecmp`.
pub(super) fn is_word(arg: &[u8], word: &str) -> bool {
    c_string(arg).eq_ignore_ascii_case(word.as_bytes())
}

fn c_string(arg: &[u8]) -> &[u8] {
    let end = arg.iter().position(|b| *b == 0).unwrap_or(arg.len());
    arg.get(..end).unwrap_or(arg)
}

/// Finds a word among `options`.
fn option<T: Copy>(arg: &[u8], options: &[(&str, T)]) -> Option<T> {
    let found = options.iter().find(|(word, _)| is_word(arg, word));
    found.map(|(_, what)| *what)
}

/// `key [BY p] [LIMIT offset count] [GET p]... [ASC|DESC] [ALPHA] [STORE destination]`, each any number of times.
fn sort(argv: &[impl AsRef<[u8]>], marks: &mut Positions, stores: bool) -> Outcome {
    #[derive(Clone, Copy)]
    enum Takes {
        Values(usize),
        Pattern,
        Destination,
    }
    use Takes::{Destination, Pattern, Values};
    const OPTIONS: [(&str, Takes); 7] = [
        ("ASC", Values(0)),
        ("DESC", Values(0)),
        ("ALPHA", Values(0)),
        ("LIMIT", Values(2)),
        ("BY", Pattern),
        ("GET", Pattern),
        ("STORE", Destination),
    ];
    marks.key(1);
    let mut at = 2;
    while let Some(word) = argv.get(at) {
        let takes = option(word.as_ref(), &OPTIONS).ok_or(SYNTAX)?;
        at += 1 + match takes {
            Values(count) => count,
            Pattern | Destination => 1,
        };
        // The last value of the option, or the option word itself if it takes none.
        let value = argv.get(at - 1).ok_or(SYNTAX)?.as_ref();
        match takes {
            Values(_) => {}
            // A pattern without a `*` names no key: `GET #` returns the element, `BY nosort` disables sorting.
            Pattern if c_string(value).contains(&b'*') => marks.mark(at - 1, 0, Form::Template),
            Pattern => {}
            Destination if stores => marks.key(at - 1),
            Destination => return Err(SYNTAX),
        }
    }
    Ok(())
}

/// Options begin at `first`. Of several STORE and STOREDIST the last one wins on the server, but `COMMAND GETKEYS`
/// and the ACL check only one of them. All are marked.
fn geo_radius(argv: &[impl AsRef<[u8]>], marks: &mut Positions, first: usize) -> Outcome {
    const OPTIONS: [(&str, (usize, bool)); 9] = [
        ("WITHCOORD", (0, false)),
        ("WITHDIST", (0, false)),
        ("WITHHASH", (0, false)),
        ("ANY", (0, false)),
        ("ASC", (0, false)),
        ("DESC", (0, false)),
        ("COUNT", (1, false)),
        ("STORE", (1, true)),
        ("STOREDIST", (1, true)),
    ];
    marks.key(1);
    let mut at = first;
    while let Some(word) = argv.get(at) {
        let (values, is_key) = option(word.as_ref(), &OPTIONS).ok_or(SYNTAX)?;
        if argv.len() <= at + values {
            return Err(SYNTAX);
        }
        if is_key {
            marks.key(at + values);
        }
        at += 1 + values;
    }
    Ok(())
}

/// The streams of an XREAD or XREADGROUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) first: usize,
    pub(super) count: usize,
    /// The index of the BLOCK timeout, if it was given. Of several the last one counts.
    pub(super) block: Option<usize>,
}

/// Options are parsed in order, because a group may be called STREAMS. `COMMAND GETKEYS` handles that wrongly.
pub(super) fn stream_options(argv: &[impl AsRef<[u8]>]) -> Option<Streams> {
    const OPTIONS: [(&str, usize); 7] =
        [("GROUP", 2), ("COUNT", 1), ("BLOCK", 1), ("CLAIM", 1), ("MAXCOUNT", 1), ("MAXSIZE", 1), ("NOACK", 0)];
    let mut block = None;
    let mut at = 1;
    loop {
        let word = argv.get(at)?.as_ref();
        if is_word(word, "STREAMS") {
            let first = at + 1;
            let names_and_ids = argv.len().checked_sub(first)?;
            let even = names_and_ids > 0 && names_and_ids.is_multiple_of(2);
            return even.then_some(Streams { first, count: names_and_ids / 2, block });
        }
        if is_word(word, "BLOCK") {
            block = Some(at + 1);
        }
        at += 1 + option(word, &OPTIONS)?;
    }
}

/// `host port key|"" database timeout [COPY] [REPLACE] [AUTH p] [AUTH2 u p] [KEYS key...]`
fn migrate(argv: &[impl AsRef<[u8]>], marks: &mut Positions) -> Outcome {
    const OPTIONS: [(&str, usize); 4] = [("COPY", 0), ("REPLACE", 0), ("AUTH", 1), ("AUTH2", 2)];
    let mut at = 6;
    let mut has_list = false;
    while let Some(word) = argv.get(at) {
        if is_word(word.as_ref(), "KEYS") {
            has_list = true;
            (at + 1..argv.len()).for_each(|key| marks.key(key));
            break;
        }
        at += 1 + option(word.as_ref(), &OPTIONS).ok_or(SYNTAX)?;
        if at > argv.len() {
            return Err(SYNTAX);
        }
    }
    // An empty C string stands for the KEYS list; without a list it is an ordinary key.
    let single = c_string(argv.get(3).ok_or(SYNTAX)?.as_ref());
    if !single.is_empty() || !has_list {
        marks.key(3);
    }
    Ok(())
}

/// `cursor [MATCH p] [COUNT n] [TYPE t]`. Every MATCH is marked, because the last one wins.
fn scan(argv: &[impl AsRef<[u8]>], marks: &mut Positions) -> Outcome {
    const OPTIONS: [(&str, bool); 3] = [("MATCH", true), ("COUNT", false), ("TYPE", false)];
    marks.lacks_match = true;
    let mut at = 2;
    while let Some(word) = argv.get(at) {
        let is_match = option(word.as_ref(), &OPTIONS).ok_or(SYNTAX)?;
        if argv.len() <= at + 1 {
            return Err(SYNTAX);
        }
        if is_match {
            marks.mark(at + 1, 0, Form::Pattern);
            marks.lacks_match = false;
        }
        at += 2;
    }
    Ok(())
}

fn publish(argv: &[impl AsRef<[u8]>], marks: &mut Positions) -> Outcome {
    match channel(argv.get(1).ok_or(SYNTAX)?.as_ref()) {
        Channel::At(offset) => marks.mark(1, offset, Form::Key),
        Channel::Keyevent => return Err(ONLY_THE_SERVER),
        Channel::Refused(reason) => return Err(reason),
    }
    Ok(())
}

fn channels(argv: &[impl AsRef<[u8]>], first: usize, marks: &mut Positions) -> Outcome {
    for (at, name) in argv.iter().enumerate().skip(first) {
        mark_channel(at, channel(name.as_ref()), Form::Key, marks)?;
    }
    Ok(())
}

fn patterns(argv: &[impl AsRef<[u8]>], first: usize, marks: &mut Positions) -> Outcome {
    for (at, pattern) in argv.iter().enumerate().skip(first) {
        mark_channel(at, channel_pattern(pattern.as_ref()), Form::Pattern, marks)?;
    }
    Ok(())
}

fn mark_channel(at: usize, rule: Channel, form: Form, marks: &mut Positions) -> Outcome {
    match rule {
        Channel::At(offset) => marks.mark(at, offset, form),
        Channel::Keyevent => {}
        Channel::Refused(reason) => return Err(reason),
    }
    Ok(())
}
