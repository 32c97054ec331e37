//! Which of the fields are wanted as something else than text, found out in passes.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

use serde::de::DeserializeOwned;

use super::fields_de::{Form, NUMBER, POISON, Pass, WholeValue};
use super::fields_error::{Found, TextAddress, Wrong, address, noting};
use super::fields_looks::{Key, Looks, is_json, looks};
use crate::error::{Error, Result};

/// Limit of visited fields, summed over all passes, within which each text is tried on its own, so that a type that accepts both
/// a number and a text is found. Beyond it, what looks like something else than text is tried as that first.
const CHECKED: usize = 1 << 14;
/// Then a type is given up that still wants other texts than the last pass gave it.
const MOST: usize = 1 << 18;

/// Reads a struct or a map from the fields of a hash or a stream entry, as
/// [`to_fields`](crate::to_fields) writes them; a `Vec` of pairs takes them as they are, and `()` nothing of them.
///
/// Fields that the type does not know are ignored (unless it has `#[serde(deny_unknown_fields)]`). Of
/// several fields with one name the last counts. Text must be UTF-8; `serde_bytes` takes any bytes.
/// `true`, `false`, `1` and `0` are booleans. An `Option` is `None` when its field is missing.
///
/// Inside `#[serde(flatten)]` and enums with `#[serde(tag = ..)]` serde does not say which type it wants. What looks like a
/// number, a boolean, null, a list or a map is tried as text and as that, in further passes over the fields, and what the type
/// takes counts. A type that takes any of them, as `serde_json::Value`, gets what the text looks like as JSON. One that takes the
/// text and the number by different variants, as an enum with `#[serde(untagged)]` may, is refused, because the field does not
/// say which one was written: write such a value as JSON ([`Json`](crate::Json)), or give the enum a tag. A wrapper with
/// `#[serde(transparent)]` around a `serde_json::Value` is read like the value, but its texts have no quotes: `"42"` comes back
/// as a number. With more than some hundred fields of that kind the first variant that takes the number counts.
///
/// # Errors
/// When a field is missing or does not fit, and when there are thousands of fields whose types cannot be seen. The error names
/// fields of structs, and never quotes data.
pub fn from_fields<T: DeserializeOwned, K: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(K, V)]) -> Result<T> {
    Search::new(fields).run()
}

/// As [`from_fields`], for an entry of a stream: a type that denies unknown fields need not know the trace.
pub(crate) fn from_entry<T: DeserializeOwned>(fields: &[(Vec<u8>, Vec<u8>)]) -> Result<T> {
    Search { is_entry: true, ..Search::new(fields) }.run()
}

/// Whether a type can be read from fields at all, whatever they are: a number or a text cannot.
pub(crate) fn takes_fields<T: DeserializeOwned>() -> bool {
    let none: &[(Vec<u8>, Vec<u8>)] = &[];
    match Search::new(none).pass::<T>().0 {
        Err(wrong) => wrong.found != Some(Found::Value(Key::Map)),
        Ok(_) => true,
    }
}

struct Search<'de, K, V> {
    fields: &'de [(K, V)],
    forms: HashMap<TextAddress, Form>,
    /// Texts of which it is known how they are wanted.
    settled: HashSet<TextAddress>,
    tried_as_bytes: HashSet<TextAddress>,
    by_looks: bool,
    is_entry: bool,
    without_trace: bool,
    visits: usize,
}

/// The value, the texts that could be something else, and the refused values of the pass.
type Fit<'de, T> = (T, Vec<&'de [u8]>, Vec<Found>);
/// What came of a pass.
type Outcome<'de, T> = (Result<T, Wrong>, Vec<&'de [u8]>, Vec<Found>);

impl<'de, K: AsRef<[u8]>, V: AsRef<[u8]>> Search<'de, K, V> {
    fn new(fields: &'de [(K, V)]) -> Self {
        Self {
            fields,
            forms: HashMap::new(),
            settled: HashSet::new(),
            tried_as_bytes: HashSet::new(),
            by_looks: false,
            is_entry: false,
            without_trace: false,
            visits: 0,
        }
    }

    fn run<T: DeserializeOwned>(mut self) -> Result<T> {
        loop {
            let (value, open, found) = self.fitting::<T>()?;
            if (open.is_empty() && found.is_empty()) || self.visits > CHECKED {
                return Ok(value);
            }
            let bytes = self.try_bytes::<T>(&found);
            if !self.try_looks::<T>(&open, &found)? && !bytes {
                return Ok(value);
            }
        }
    }

    /// Texts that look like nothing else and were refused by something that others have replaced, as an Option that became
    /// None: bytes, if they are taken so. True when there is one.
    fn try_bytes<T: DeserializeOwned>(&mut self, found: &[Found]) -> bool {
        let values =
            self.fields.iter().map(|(_, value)| value.as_ref()).filter(|text| looks(text).is_text()).map(address);
        let refused = |at: &TextAddress| !self.settled.contains(at) && texts(found, *at) > 0;
        let refused: Vec<TextAddress> = values.filter(refused).collect();
        if refused.is_empty() {
            return false;
        }
        refused.iter().for_each(|at| self.settle(*at, Form::Bytes));
        let (result, _, found) = self.pass::<T>();
        let mut any = false;
        for at in refused {
            if result.is_ok() && texts(&found, at) == 0 {
                any = true;
            } else {
                self.settle(at, Form::Text);
            }
        }
        any
    }

    fn pass<T: DeserializeOwned>(&mut self) -> Outcome<'de, T> {
        self.visits = self.visits.saturating_add(self.fields.len() + 1);
        let (without_trace, by_looks) = (self.without_trace, self.by_looks);
        let pass = Pass { forms: &self.forms, by_looks, without_trace, asked: RefCell::default() };
        let (result, found) = noting(|| T::deserialize(WholeValue { all: self.fields, pass: &pass }));
        (result, pass.asked.into_inner(), found)
    }

    /// Runs passes until one succeeds. Returns its value, the texts that are not settled, and the refusals that were swallowed.
    fn fitting<T: DeserializeOwned>(&mut self) -> Result<Fit<'de, T>> {
        loop {
            let (result, mut asked, found) = self.pass::<T>();
            asked.retain(|text| !self.settled.contains(&address(text)));
            match result {
                Ok(value) => return Ok((value, asked, found)),
                Err(wrong) if wrong.unknown_trace && self.is_entry && !self.without_trace => self.without_trace = true,
                Err(_) if self.visits > MOST => {
                    let many = "is one of too many whose types serde does not say; write them as JSON";
                    return Err(Error::decode(Wrong::new(many).to_string()));
                }
                Err(wrong) => {
                    let refused = wrong.found.as_ref().map_or(&found[..], std::slice::from_ref);
                    if !self.learn(refused, &asked) && !self.learn(&found, &asked) {
                        return Err(Error::decode(wrong.to_string()));
                    }
                    self.by_looks = self.visits > CHECKED;
                }
            }
        }
    }

    /// Changes how texts are given that were refused; false when there is none.
    fn learn(&mut self, found: &[Found], asked: &[&[u8]]) -> bool {
        let mut learned = false;
        for found in found {
            match *found {
                Found::Text(at, wants_bool) if !self.settled.contains(&at) => {
                    let text = self.fields.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]);
                    let form = match text.into_iter().find(|text| address(text) == at) {
                        Some(b"0" | b"1") if wants_bool => Form::Bool,
                        Some(text) if matches!(looks(text), Looks::Text | Looks::Quoted) => Form::Bytes,
                        _ => Form::Looks,
                    };
                    self.settle(at, form);
                    learned = true;
                }
                Found::Value(key) => {
                    if self.by_looks {
                        for text in asked.iter().filter(|text| looks(text).key() == Some(key)) {
                            learned |= self.forms.insert(address(text), Form::Text).is_none();
                        }
                    }
                    // Neither as text nor as what it looks like: as bytes, one after the other.
                    for (_, value) in self.fields.iter().filter(|(_, value)| looks(value.as_ref()).key() == Some(key)) {
                        let at = address(value.as_ref());
                        if self.forms.get(&at) == Some(&Form::Looks) && self.tried_as_bytes.insert(at) {
                            self.forms.insert(at, Form::Bytes);
                            learned = true;
                            break;
                        }
                    }
                }
                Found::Text(at, _) => {
                    if self.tried_as_bytes.contains(&at) && self.forms.get(&at) == Some(&Form::Bytes) {
                        self.forms.insert(at, Form::Looks);
                        learned = true;
                    }
                }
            }
        }
        learned
    }

    fn settle(&mut self, text: TextAddress, form: Form) {
        self.forms.insert(text, form);
        self.settled.insert(text);
    }

    /// Settles texts that were taken as texts, by trying them as what they look like. True when one of them has to be given
    /// otherwise than as text.
    fn try_looks<T: DeserializeOwned>(&mut self, open: &[&'de [u8]], as_texts: &[Found]) -> Result<bool> {
        let mut changed = false;
        // Of several with the same value a refusal does not say which one it is about.
        let mut one_by_one = HashSet::new();
        loop {
            let mut keys = HashSet::new();
            let mut tried: Vec<&[u8]> =
                open.iter().copied().filter(|text| !self.settled.contains(&address(text))).collect();
            tried.retain(|text| {
                let key = probe(text).1;
                keys.insert(key) || !one_by_one.contains(&key)
            });
            if tried.is_empty() || self.visits > CHECKED {
                return Ok(changed);
            }
            for text in &tried {
                self.forms.insert(address(text), probe(text).0);
            }
            let (result, _, found) = self.pass::<T>();
            for text in &tried {
                self.forms.remove(&address(text));
            }
            let count = |key| found.iter().filter(|found| **found == Found::Value(key)).count();
            let odd = |text: &&&[u8]| count(probe(text).1) > 0 || texts(as_texts, address(text)) > 0;
            match result {
                Err(Wrong { found: Some(Found::Value(key)), .. }) if keys.contains(&key) => {
                    match tried.iter().filter(|text| probe(text).1 == key).collect::<Vec<_>>()[..] {
                        [text] => changed |= self.refused::<T>(text, as_texts)?,
                        _ => drop(one_by_one.insert(key)),
                    }
                }
                // A refusal was swallowed, and the visitors behind it may not have been tried.
                Ok(_) if tried.iter().any(|text| odd(&text)) => {
                    for text in tried.iter().filter(odd) {
                        changed |= self.weigh::<T>(text, as_texts)?;
                    }
                    if changed {
                        return Ok(true);
                    }
                }
                // The error does not say which value was refused.
                Err(_) => {
                    for text in tried {
                        changed |= self.weigh::<T>(text, as_texts)?;
                    }
                }
                Ok(_) => {
                    for text in tried {
                        // Its type accepts any form.
                        let json = is_json(text);
                        self.settle(address(text), if json { Form::Looks } else { Form::Text });
                        changed |= json;
                    }
                }
            }
        }
    }

    /// A text that was refused as what it looks like.
    fn refused<T: DeserializeOwned>(&mut self, text: &'de [u8], as_texts: &[Found]) -> Result<bool> {
        if looks(text) == Looks::Null || texts(as_texts, address(text)) > 0 {
            // Only a number was tried instead of null, or others have refused the text.
            return self.weigh::<T>(text, as_texts);
        }
        self.settle(address(text), Form::Text);
        Ok(false)
    }

    /// Decides the form of a text by counting refusals: a visitor that is tried and does not refuse has accepted the value.
    fn weigh<T: DeserializeOwned>(&mut self, text: &'de [u8], as_texts: &[Found]) -> Result<bool> {
        let at = address(text);
        let bools = as_texts.iter().filter(|found| **found == Found::Text(at, true)).count();
        let as_text = texts(as_texts, at);
        let bool = matches!(text, [b'0' | b'1']) && bools > 0;
        let mut taken = None;
        for form in if bool { &[Form::Looks, Form::Bool][..] } else { &[Form::Looks] } {
            self.forms.insert(at, *form);
            let (result, _, found) = self.pass::<T>();
            let key = if *form == Form::Bool { Looks::Bool(text == b"1") } else { looks(text) };
            let refusals =
                found.iter().filter(|found| key.key().is_some_and(|key| **found == Found::Value(key))).count();
            if result.is_ok() && (taken.is_none() || *form == Form::Bool) {
                taken = Some((*form, refusals));
            }
        }
        self.forms.insert(at, Form::Poison);
        let asked = texts(&self.pass::<T>().2, address(POISON));
        let text_taken = as_text < asked;
        let (form, ambiguous) = match taken.filter(|(_, refusals)| *refusals < asked) {
            // A single one that takes null takes it for None: an Option of a text.
            Some(_) if text_taken && asked == 1 => (Form::Text, false),
            Some((form, _)) => (form, text_taken),
            // Only bytes are taken, whatever they are.
            None if asked == 0 && as_text > 0 => (Form::Bytes, false),
            _ => (Form::Text, false),
        };
        self.settle(at, form);
        if ambiguous {
            let both = "can be read as text and as something else, and does not say which was written; use a tagged enum or JSON";
            return Err(Error::decode(Wrong::new(both).to_string()));
        }
        Ok(form != Form::Text)
    }
}

/// The form in which a text is tried, and how serde reports its refusal.
fn probe(text: &[u8]) -> (Form, Key) {
    match looks(text) {
        looks @ (Looks::Quoted | Looks::Null | Looks::Text) => {
            debug_assert!(!looks.is_text());
            (Form::Number, Key::Unsigned(NUMBER))
        }
        other => (Form::Looks, other.key().unwrap_or(Key::Null)),
    }
}

/// How often a text was refused.
fn texts(found: &[Found], at: TextAddress) -> usize {
    found.iter().filter(|found| matches!(found, Found::Text(text, _) if *text == at)).count()
}
