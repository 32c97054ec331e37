//! Dictionaries, spelling, synonyms, suggestions, and what a query means.

use std::collections::HashMap;

use redis::ToSingleRedisArg;

use super::replies::{self, Misspelled, Suggestion};
use super::{add_name, of_index};
use crate::frame::Frame;
use crate::messages::arguments::IntoValues;
use crate::messages::some_values;

const NO_TERM: &str = "needs at least one term";

command! {
    /// `FT.EXPLAIN`: how the server understands a query. A read.
    FtExplain => String
}

impl FtExplain {
    /// Explains `query` for `index`.
    pub fn new(index: impl AsRef<[u8]>, query: impl AsRef<str>) -> Self {
        Self::of(of_index("FT.EXPLAIN", index).arg(query.as_ref()).read_only())
    }

    /// The version of the query language, 1 to 4.
    pub fn dialect(mut self, version: u8) -> Self {
        self.frame = self.frame.arg("DIALECT").arg(version);
        self
    }
}

command! {
    /// `FT.TAGVALS`: the distinct labels of a tag field. A read.
    FtTagVals => Vec<String>
}

impl FtTagVals {
    /// Reads the labels of `field` of `index`.
    pub fn new(index: impl AsRef<[u8]>, field: impl AsRef<str>) -> Self {
        Self::of(of_index("FT.TAGVALS", index).arg(field.as_ref()).read_only())
    }
}

command! {
    /// `FT.DICTADD`: adds terms to a dictionary. The reply is the number of new terms.
    FtDictAdd => u64
}

impl FtDictAdd {
    /// Adds `terms`, at least one, to `dictionary`.
    pub fn new<M>(dictionary: impl AsRef<[u8]>, terms: impl IntoValues<M>) -> Self {
        Self::of(some_values(of_index("FT.DICTADD", dictionary), terms, NO_TERM))
    }
}

command! {
    /// `FT.DICTDEL`: removes terms from a dictionary. The reply is the number of removed terms.
    FtDictDel => u64
}

impl FtDictDel {
    /// Removes `terms`, at least one, from `dictionary`.
    pub fn new<M>(dictionary: impl AsRef<[u8]>, terms: impl IntoValues<M>) -> Self {
        Self::of(some_values(of_index("FT.DICTDEL", dictionary), terms, NO_TERM))
    }
}

command! {
    /// `FT.DICTDUMP`: the terms of a dictionary. The server replies with an error if there is none. A read.
    FtDictDump => Vec<String>
}

impl FtDictDump {
    /// Reads `dictionary`.
    pub fn new(dictionary: impl AsRef<[u8]>) -> Self {
        Self::of(of_index("FT.DICTDUMP", dictionary).read_only())
    }
}

command! {
    /// `FT.SPELLCHECK`: the words of a query that are in no document, and similar words. A read.
    FtSpellCheck => Vec<Misspelled>, by replies::misspelled
}

impl FtSpellCheck {
    /// Checks the words of `query` against `index`.
    pub fn new(index: impl AsRef<[u8]>, query: impl AsRef<str>) -> Self {
        Self::of(of_index("FT.SPELLCHECK", index).arg(query.as_ref()).read_only())
    }

    /// The number of letters that may differ, 1 to 4; 1 by default.
    pub fn distance(mut self, letters: u8) -> Self {
        self.frame = self.frame.arg("DISTANCE").arg(letters);
        if !(1..=4).contains(&letters) {
            self.frame = self.frame.invalid("distance() must be between 1 and 4");
        }
        self
    }

    /// Also suggests the terms of a dictionary.
    pub fn include(mut self, dictionary: impl AsRef<[u8]>) -> Self {
        self.frame = add_name(self.frame.arg("TERMS").arg("INCLUDE"), dictionary);
        self
    }

    /// Accepts and does not suggest the terms of a dictionary.
    pub fn exclude(mut self, dictionary: impl AsRef<[u8]>) -> Self {
        self.frame = add_name(self.frame.arg("TERMS").arg("EXCLUDE"), dictionary);
        self
    }
}

command! {
    /// `FT.SYNUPDATE`: adds terms to a group of synonyms.
    FtSynUpdate => ()
}

impl FtSynUpdate {
    /// Adds `terms`, at least one, to `group` of `index`.
    pub fn new<M>(index: impl AsRef<[u8]>, group: impl AsRef<str>, terms: impl IntoValues<M>) -> Self {
        Self::of(some_values(of_index("FT.SYNUPDATE", index).arg(group.as_ref()), terms, NO_TERM))
    }
}

command! {
    /// `FT.SYNDUMP`: the terms with synonyms, and their groups. A read.
    FtSynDump => HashMap<String, Vec<String>>
}

impl FtSynDump {
    /// Reads the synonyms of `index`.
    pub fn new(index: impl AsRef<[u8]>) -> Self {
        Self::of(of_index("FT.SYNDUMP", index).read_only())
    }
}

command! {
    /// `FT.SUGADD`: adds a suggestion to a dictionary for completion, or sets its score. The reply is the number of
    /// suggestions.
    FtSugAdd => u64
}

impl FtSugAdd {
    /// Adds `text` with a weight to the dictionary at `key`.
    pub fn new(key: impl AsRef<[u8]>, text: impl AsRef<str>, score: impl Into<f64>) -> Self {
        let score = score.into();
        let frame = Frame::known("FT.SUGADD").key(key).arg(text.as_ref()).arg(score);
        Self::of(if score.is_finite() { frame } else { frame.invalid("the score must be finite") })
    }

    /// Adds to the score of an existing suggestion.
    pub fn increment(mut self) -> Self {
        self.frame = self.frame.arg("INCR");
        self
    }

    /// Data that is read with the suggestion.
    pub fn payload(mut self, payload: impl ToSingleRedisArg) -> Self {
        self.frame = self.frame.arg("PAYLOAD").arg(payload);
        self
    }
}

command! {
    /// `FT.SUGGET`: completions of a text, the best first; none if the key does not exist. A read.
    FtSugGet => Vec<Suggestion>, by replies::suggestions
}

impl FtSugGet {
    /// Reads up to five suggestions of the dictionary at `key` that begin with `text`.
    pub fn new(key: impl AsRef<[u8]>, text: impl AsRef<str>) -> Self {
        let frame = Frame::known("FT.SUGGET").key(key).arg(text.as_ref());
        Self::of(frame.arg("WITHSCORES").arg("WITHPAYLOADS").read_only())
    }

    /// One letter of the text may differ.
    pub fn fuzzy(mut self) -> Self {
        self.frame = self.frame.arg("FUZZY");
        self
    }

    /// The maximum number of suggestions.
    pub fn max(mut self, suggestions: u32) -> Self {
        self.frame = self.frame.arg("MAX").arg(suggestions);
        self
    }
}

command! {
    /// `FT.SUGLEN`: the number of suggestions. A read.
    FtSugLen => u64
}

impl FtSugLen {
    /// Counts the suggestions of the dictionary at `key`.
    pub fn new(key: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("FT.SUGLEN").key(key).read_only())
    }
}

command! {
    /// `FT.SUGDEL`: removes a suggestion. The reply is whether it existed.
    FtSugDel => bool
}

impl FtSugDel {
    /// Removes `text` from the dictionary at `key`.
    pub fn new(key: impl AsRef<[u8]>, text: impl AsRef<str>) -> Self {
        Self::of(Frame::known("FT.SUGDEL").key(key).arg(text.as_ref()))
    }
}
