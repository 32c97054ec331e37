//! Creates and extends indexes.

use std::time::Duration;

use super::schema::Field;
use super::{add_counted, of_index};
use crate::frame::Frame;
use crate::messages::{Rest, at_least_one};

const NO_FIELD: &str = "needs at least one field";

/// What follows the name of the index.
#[derive(Clone, Default)]
struct Definition {
    json: bool,
    prefixes: Vec<Vec<u8>>,
    options: Frame,
    schema: Frame,
}

impl Rest for Definition {
    fn finish(self, head: Frame) -> Frame {
        let frame = head.arg("ON").arg(if self.json { "JSON" } else { "HASH" });
        // Without a prefix the index would cover the keys of all services.
        let prefixes = if self.prefixes.is_empty() { vec![Vec::new()] } else { self.prefixes };
        let frame = frame.arg("PREFIX").arg(prefixes.len());
        let frame = prefixes.into_iter().fold(frame, |frame, prefix| frame.unrouted(prefix));
        frame.concat(self.options).concat(self.schema)
    }
}

command! {
    /// `FT.CREATE`: creates an index of the hashes or JSON documents whose keys begin with given prefixes, always within
    /// the key prefix. The server replies with an error if the index exists. Existing keys are indexed in the background.
    ///
    /// ```
    /// use redis_actix::Command;
    /// use redis_actix::commands::search::{Field, FtCreate, FtSearch, Order};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Article {
    ///     title: String,
    ///     year: u16,
    /// }
    ///
    /// let create = FtCreate::new("articles", [Field::text("title").weight(2.0), Field::numeric("year").sortable()])
    ///     .prefix("article:");
    /// let find = FtSearch::<redis_actix::Struct<Article>>::new("articles", "@title:$words @year:[2020 +inf]")
    ///     .param("words", "actor")
    ///     .sort_by("year", Order::Desc)
    ///     .limit(0, 20);
    /// assert_eq!(create.frame().args().nth(6), Some(&b"article:"[..]));
    /// assert_eq!(find.frame().name(), "FT.SEARCH");
    /// ```
    FtCreate, rest Definition => ()
}

impl FtCreate {
    /// Creates `index` of hashes with `fields`, at least one.
    pub fn new(index: impl AsRef<[u8]>, fields: impl IntoIterator<Item = Field>) -> Self {
        let mut create = Self::of(of_index("FT.CREATE", index));
        create.rest.schema = at_least_one(Frame::default().arg("SCHEMA"), NO_FIELD, |frame| {
            fields.into_iter().fold(frame, |frame, field| field.finish(frame))
        });
        create
    }

    /// Indexes JSON documents instead of hashes.
    pub fn on_json(mut self) -> Self {
        self.rest.json = true;
        self
    }

    /// Indexes keys that begin with `prefix`, within the key prefix. May be called several times. Without it all keys
    /// under the key prefix are indexed.
    pub fn prefix(mut self, prefix: impl AsRef<[u8]>) -> Self {
        self.rest.prefixes.push(prefix.as_ref().to_vec());
        self
    }

    fn with(mut self, add: impl FnOnce(Frame) -> Frame) -> Self {
        self.rest.options = add(self.rest.options);
        self
    }

    /// Indexes only documents that fulfil an expression: `@status=='open'`.
    pub fn filter(self, expression: impl AsRef<str>) -> Self {
        self.with(|frame| frame.arg("FILTER").arg(expression.as_ref()))
    }

    /// The language of texts, `english` by default.
    pub fn language(self, language: &str) -> Self {
        self.with(|frame| frame.arg("LANGUAGE").arg(language))
    }

    /// The field with the language of each document.
    pub fn language_field(self, field: &str) -> Self {
        self.with(|frame| frame.arg("LANGUAGE_FIELD").arg(field))
    }

    /// The score of documents, from 0.0 to 1.0, 1.0 by default.
    pub fn score(self, score: f64) -> Self {
        let fits = (0.0..=1.0).contains(&score);
        self.with(|frame| {
            let frame = frame.arg("SCORE").arg(score);
            if fits { frame } else { frame.invalid("score() must be between 0.0 and 1.0") }
        })
    }

    /// The field with the score of each document.
    pub fn score_field(self, field: &str) -> Self {
        self.with(|frame| frame.arg("SCORE_FIELD").arg(field))
    }

    /// Allows more than 32 text fields to be added later.
    pub fn many_text_fields(self) -> Self {
        self.with(|frame| frame.arg("MAXTEXTFIELDS"))
    }

    /// Removes the index after this time without a query, in whole seconds. Its documents stay.
    pub fn temporary(self, idle: Duration) -> Self {
        self.with(|frame| frame.arg("TEMPORARY").arg(idle.as_secs().max(1)))
    }

    /// Stores no positions of words: no exact phrases, less memory.
    pub fn no_offsets(self) -> Self {
        self.with(|frame| frame.arg("NOOFFSETS"))
    }

    /// Stores nothing for highlighting.
    pub fn no_highlights(self) -> Self {
        self.with(|frame| frame.arg("NOHL"))
    }

    /// Stores no fields of words: no queries of single text fields.
    pub fn no_fields(self) -> Self {
        self.with(|frame| frame.arg("NOFIELDS"))
    }

    /// Stores no frequencies of words.
    pub fn no_frequencies(self) -> Self {
        self.with(|frame| frame.arg("NOFREQS"))
    }

    /// Words that are not indexed, instead of the default ones; at least one.
    pub fn stopwords<V: AsRef<str>>(self, words: impl IntoIterator<Item = V>) -> Self {
        self.with(|frame| add_counted(frame, "STOPWORDS", words))
    }

    /// Indexes all words.
    pub fn no_stopwords(self) -> Self {
        self.with(|frame| frame.arg("STOPWORDS").arg(0))
    }

    /// Does not index existing keys.
    pub fn skip_initial_scan(self) -> Self {
        self.with(|frame| frame.arg("SKIPINITIALSCAN"))
    }
}

command! {
    /// `FT.ALTER`: adds a field to an index. Existing documents are indexed again in the background.
    FtAlter => ()
}

impl FtAlter {
    /// Adds `field` to `index`.
    pub fn new(index: impl AsRef<[u8]>, field: Field) -> Self {
        Self::of(field.finish(of_index("FT.ALTER", index).arg("SCHEMA").arg("ADD")))
    }

    /// Does not index existing documents again.
    pub fn skip_initial_scan(index: impl AsRef<[u8]>, field: Field) -> Self {
        let frame = of_index("FT.ALTER", index).arg("SKIPINITIALSCAN").arg("SCHEMA").arg("ADD");
        Self::of(field.finish(frame))
    }
}
