//! Groups, sorts and computes with documents.

use std::collections::HashMap;
use std::time::Duration;

use redis::{FromRedisValue, ToSingleRedisArg, Value};

use super::query::{add_tail, parameter};
use super::replies::{self, Profiled, Rows, SearchCursor};
use super::{Order, add_counted, of_index, property};
use crate::error::Result;
use crate::frame::{Frame, ReplyKeys};
use crate::messages::{Rest, at_least_one, millis};

/// How the rows of a group are combined.
#[derive(Debug, Clone)]
#[must_use = "a reducer does nothing until it is part of a group"]
pub struct Reducer {
    name: &'static str,
    arguments: Vec<String>,
    alias: Option<String>,
}

impl Reducer {
    fn of(name: &'static str, arguments: Vec<String>) -> Self {
        Self { name, arguments, alias: None }
    }

    /// The number of rows.
    pub fn count() -> Self {
        Self::of("COUNT", Vec::new())
    }

    /// The number of distinct values.
    pub fn count_distinct(field: &str) -> Self {
        Self::of("COUNT_DISTINCT", vec![property(field)])
    }

    /// The approximate number of distinct values.
    pub fn count_distinct_approx(field: &str) -> Self {
        Self::of("COUNT_DISTINCTISH", vec![property(field)])
    }

    /// The sum.
    pub fn sum(field: &str) -> Self {
        Self::of("SUM", vec![property(field)])
    }

    /// The smallest value.
    pub fn min(field: &str) -> Self {
        Self::of("MIN", vec![property(field)])
    }

    /// The largest value.
    pub fn max(field: &str) -> Self {
        Self::of("MAX", vec![property(field)])
    }

    /// The mean.
    pub fn avg(field: &str) -> Self {
        Self::of("AVG", vec![property(field)])
    }

    /// The sample standard deviation.
    pub fn std_dev(field: &str) -> Self {
        Self::of("STDDEV", vec![property(field)])
    }

    /// The value below which the share `quantile`, 0.0 to 1.0, of the values lies.
    pub fn quantile(field: &str, quantile: f64) -> Self {
        Self::of("QUANTILE", vec![property(field), quantile.to_string()])
    }

    /// The distinct values as a list.
    pub fn to_list(field: &str) -> Self {
        Self::of("TOLIST", vec![property(field)])
    }

    /// The value of the first row.
    pub fn first_value(field: &str) -> Self {
        Self::of("FIRST_VALUE", vec![property(field)])
    }

    /// The value of the first row in the order of another field.
    pub fn first_value_by(field: &str, by: &str, order: Order) -> Self {
        Self::of("FIRST_VALUE", vec![property(field), "BY".into(), property(by), order.word().into()])
    }

    /// Random values as a list.
    pub fn random_sample(field: &str, count: u32) -> Self {
        Self::of("RANDOM_SAMPLE", vec![property(field), count.to_string()])
    }

    /// The name of the result.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.alias = Some(name.into());
        self
    }

    fn add(self, frame: Frame) -> Frame {
        let frame = frame.arg("REDUCE").arg(self.name).arg(self.arguments.len());
        let frame = self.arguments.into_iter().fold(frame, Frame::arg);
        match self.alias {
            Some(alias) => frame.arg("AS").arg(alias),
            None => frame,
        }
    }
}

/// What follows the name of the index.
#[derive(Clone, Default)]
struct Steps {
    query: String,
    steps: Frame,
    cursor: Option<(u32, Option<Duration>)>,
    parameters: Vec<(String, Vec<u8>)>,
    dialect: Option<u8>,
}

impl Rest for Steps {
    fn finish(self, head: Frame) -> Frame {
        let mut frame = head.arg(self.query).concat(self.steps);
        // Repeated, it would leave a cursor behind, and the next read must go to the same server.
        if self.cursor.is_none() {
            frame = frame.read_only();
        }
        if let Some((count, idle)) = self.cursor {
            frame = frame.arg("WITHCURSOR").arg("COUNT").arg(count.max(1));
            if let Some(idle) = idle {
                frame = frame.arg("MAXIDLE").arg(millis(idle));
            }
        }
        add_tail(frame, self.parameters, self.dialect)
    }
}

command! {
    /// `FT.AGGREGATE`: the documents that match a query as rows, which are grouped, sorted and computed with in the order
    /// of the calls. A read, but with [`cursor`](Self::cursor) it is not repeated after a lost link.
    ///
    /// ```
    /// use redis_actix::Command;
    /// use redis_actix::commands::search::{FtAggregate, Order, Reducer};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Year {
    ///     year: u16,
    ///     articles: u64,
    /// }
    ///
    /// let per_year = FtAggregate::<redis_actix::Struct<Year>>::new("articles", "*")
    ///     .group_by(["year"], [Reducer::count().named("articles")])
    ///     .sort_by([("articles", Order::Desc)]);
    /// assert!(per_year.frame().args().any(|arg| arg == b"@year"));
    /// ```
    FtAggregate<T = HashMap<String, String>>, rest Steps => Rows<T>, by replies::rows::<T>
}

impl<T> FtAggregate<T> {
    /// Aggregates the documents of `index` that match `query`; `*` matches all.
    pub fn new(index: impl AsRef<[u8]>, query: impl Into<String>) -> Self {
        let mut aggregate = Self::of(of_index("FT.AGGREGATE", index).reply_keys(ReplyKeys::Rows));
        aggregate.rest.query = query.into();
        aggregate
    }

    fn with(mut self, add: impl FnOnce(Frame) -> Frame) -> Self {
        self.rest.steps = add(self.rest.steps);
        self
    }

    /// Reads these fields of the documents, at least one. Sortable fields need not be read.
    pub fn load<V: AsRef<str>>(self, fields: impl IntoIterator<Item = V>) -> Self {
        let fields: Vec<String> = fields.into_iter().map(|field| property(field.as_ref())).collect();
        self.with(|frame| add_counted(frame, "LOAD", fields))
    }

    /// Reads all fields of the documents.
    pub fn load_all(self) -> Self {
        self.with(|frame| frame.arg("LOAD").arg("*"))
    }

    /// Reads the key of the documents as the field `__key`, without the prefix.
    pub fn load_key(self) -> Self {
        self.load(["__key"])
    }

    /// Groups by fields and combines the rows of each group. Without fields all rows are one group.
    pub fn group_by<V: AsRef<str>>(
        self,
        fields: impl IntoIterator<Item = V>,
        reducers: impl IntoIterator<Item = Reducer>,
    ) -> Self {
        let fields: Vec<String> = fields.into_iter().map(|field| property(field.as_ref())).collect();
        self.with(|frame| {
            let frame = frame.arg("GROUPBY").arg(fields.len());
            let frame = fields.into_iter().fold(frame, Frame::arg);
            reducers.into_iter().fold(frame, |frame, reducer| reducer.add(frame))
        })
    }

    /// Sorts by fields, at least one.
    pub fn sort_by<V: AsRef<str>>(self, fields: impl IntoIterator<Item = (V, Order)>) -> Self {
        let fields: Vec<(V, Order)> = fields.into_iter().collect();
        self.with(|frame| {
            at_least_one(frame.arg("SORTBY").arg(2 * fields.len()), "sort_by() needs at least one field", |frame| {
                let sorted =
                    |frame: Frame, (field, order): (V, Order)| frame.arg(property(field.as_ref())).arg(order.word());
                fields.into_iter().fold(frame, sorted)
            })
        })
    }

    /// Computes a field from an expression: `@price * 1.19`.
    pub fn apply(self, expression: impl AsRef<str>, name: &str) -> Self {
        self.with(|frame| frame.arg("APPLY").arg(expression.as_ref()).arg("AS").arg(name))
    }

    /// Keeps the rows that fulfil an expression: `@articles > 5`.
    pub fn filter(self, expression: impl AsRef<str>) -> Self {
        self.with(|frame| frame.arg("FILTER").arg(expression.as_ref()))
    }

    /// Skips `offset` rows, then keeps up to `count`.
    pub fn limit(self, offset: u64, count: u64) -> Self {
        self.with(|frame| frame.arg("LIMIT").arg(offset).arg(count))
    }

    /// Finds words only in their exact form.
    pub fn verbatim(self) -> Self {
        self.with(|frame| frame.arg("VERBATIM"))
    }

    /// The server's limit for the run time, at least a millisecond.
    pub fn time_limit(self, longest: Duration) -> Self {
        self.with(|frame| frame.arg("TIMEOUT").arg(millis(longest)))
    }

    /// Reads `count` rows at a time. The server drops the cursor when it was not read for `idle`, 300 s by default.
    pub fn cursor(mut self, count: u32, idle: Option<Duration>) -> Self {
        self.rest.cursor = Some((count, idle));
        self
    }

    /// A value for `$name` in the query. Needs dialect 2, which is selected.
    pub fn param(mut self, name: &str, value: impl ToSingleRedisArg) -> Self {
        self.rest.parameters.push((name.to_owned(), parameter(value)));
        self
    }

    /// The version of the query language, 1 to 4.
    pub fn dialect(mut self, version: u8) -> Self {
        self.rest.dialect = Some(version);
        self
    }

    /// Also reads how the server ran the aggregation (`FT.PROFILE`). Call it last; without a cursor.
    pub fn profile(self) -> FtProfileAggregate<T> {
        let index = self.frame.args().nth(1).map(<[u8]>::to_vec).unwrap_or_default();
        let frame = of_index("FT.PROFILE", index).arg("AGGREGATE").arg("QUERY").read_only();
        let mut profile = FtProfileAggregate::of(frame.reply_keys(ReplyKeys::Rows));
        if self.rest.cursor.is_some() {
            profile.frame = profile.frame.invalid("profile() and cursor() exclude each other: remove one of the two");
        }
        profile.rest = self.rest;
        profile
    }
}

command! {
    /// `FT.PROFILE` of an aggregation; see [`FtAggregate::profile`]. A read.
    FtProfileAggregate<T = HashMap<String, String>>, rest Steps => Profiled<Rows<T>>, by profiled::<T>
}

fn profiled<T: FromRedisValue>(value: Value) -> Result<Profiled<Rows<T>>> {
    replies::profiled(value, replies::rows::<T>)
}

command! {
    /// `FT.CURSOR READ`: the next rows of an aggregation. Not repeated after a lost link, because the cursor may have
    /// moved on.
    FtCursorRead<T = HashMap<String, String>> => Rows<T>, by replies::rows::<T>
}

impl<T> FtCursorRead<T> {
    /// Reads the rows at `cursor` of an aggregation of `index`.
    pub fn new(index: impl AsRef<[u8]>, cursor: SearchCursor) -> Self {
        Self::of(of_index("FT.CURSOR READ", index).arg(cursor.0).reply_keys(ReplyKeys::Rows))
    }

    /// The number of rows, by default that of the aggregation.
    pub fn count(mut self, count: u32) -> Self {
        self.frame = self.frame.arg("COUNT").arg(count.max(1));
        self
    }
}

command! {
    /// `FT.CURSOR DEL`: drops a cursor before its end.
    FtCursorDel => ()
}

impl FtCursorDel {
    /// Drops `cursor` of an aggregation of `index`.
    pub fn new(index: impl AsRef<[u8]>, cursor: SearchCursor) -> Self {
        Self::of(of_index("FT.CURSOR DEL", index).arg(cursor.0))
    }
}
