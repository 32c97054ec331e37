//! One reply out of those of several nodes.

use std::collections::{HashMap, HashSet};

use redis::Value;

/// How the replies to the parts of a command become its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merge {
    /// There is one part.
    Only,
    /// The first: every part says the same.
    First,
    /// Numbers are added.
    Sum,
    /// Lists are put behind each other.
    Concat,
    /// Lists of names, each of which is returned once.
    Union,
    /// Lists of numbers, of which the least counts at each place.
    Least,
    /// Names, each with a number behind it, which are added.
    SumByName,
    /// Lists whose items belong at these places.
    Places(Places),
}

/// Where the items of each part belong in the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// Of each item, part by part, its index in the whole.
    pub(crate) order: Vec<u32>,
    /// Where the items of each part end in `order`.
    pub(crate) ends: Vec<u32>,
}

impl Places {
    /// The indexes of the items of one part.
    pub(crate) fn of_part(&self, nth: usize) -> &[u32] {
        let end_of = |nth: usize| self.ends.get(nth).map(|end| *end as usize);
        let start = nth.checked_sub(1).and_then(end_of).unwrap_or_default();
        self.order.get(start..end_of(nth).unwrap_or(start)).unwrap_or_default()
    }

    /// Puts the items of one part into their places. `whole` is empty before the first part.
    pub(crate) fn fill(&self, nth: usize, part: Value, whole: &mut Vec<Value>) {
        whole.resize(self.order.len(), Value::Nil);
        for (place, item) in self.of_part(nth).iter().zip(items(part)) {
            if let Some(gap) = whole.get_mut(*place as usize) {
                *gap = item;
            }
        }
    }
}

impl Merge {
    /// The whole reply. If a part failed, its error is the reply.
    pub(crate) fn apply(&self, replies: Vec<Value>) -> Value {
        if let Some(error) = replies.iter().find(|reply| matches!(reply, Value::ServerError(_))) {
            return error.clone();
        }
        match self {
            Self::Only | Self::First => replies.into_iter().next().unwrap_or(Value::Nil),
            Self::Sum => Value::Int(replies.iter().filter_map(number).fold(0, i64::saturating_add)),
            Self::Concat => Value::Array(replies.into_iter().flat_map(items).collect()),
            Self::Union => {
                let mut seen = HashSet::new();
                let names = replies.into_iter().flat_map(items);
                Value::Array(names.filter(|name| bytes(name).is_none_or(|name| seen.insert(name.to_vec()))).collect())
            }
            Self::Least => {
                let mut least: Vec<Value> = Vec::new();
                for reply in replies {
                    for (at, item) in items(reply).into_iter().enumerate() {
                        match least.get_mut(at) {
                            Some(so_far) if number(so_far) > number(&item) => *so_far = item,
                            Some(_) => {}
                            None => least.push(item),
                        }
                    }
                }
                Value::Array(least)
            }
            Self::SumByName => {
                let mut sums: Vec<(Value, i64)> = Vec::new();
                let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
                for reply in replies {
                    let mut items = items(reply).into_iter();
                    while let (Some(name), Some(count)) = (items.next(), items.next()) {
                        let place = *places.entry(bytes(&name).unwrap_or_default().to_vec()).or_insert(sums.len());
                        let count = number(&count).unwrap_or(0);
                        match sums.get_mut(place) {
                            Some((_, sum)) => *sum = sum.saturating_add(count),
                            None => sums.push((name, count)),
                        }
                    }
                }
                Value::Array(sums.into_iter().flat_map(|(name, sum)| [name, Value::Int(sum)]).collect())
            }
            Self::Places(places) => {
                let mut whole = Vec::new();
                for (nth, reply) in replies.into_iter().enumerate() {
                    places.fill(nth, reply, &mut whole);
                }
                Value::Array(whole)
            }
        }
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => None,
    }
}

fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

fn items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
        Value::Nil => Vec::new(),
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn array(items: impl IntoIterator<Item = Value>) -> Value {
        Value::Array(items.into_iter().collect())
    }

    #[test]
    fn replies_become_one() {
        assert_eq!(Merge::Sum.apply(vec![Value::Int(2), Value::Int(0), Value::Int(3)]), Value::Int(5));
        assert_eq!(Merge::First.apply(vec![Value::Okay, Value::Okay]), Value::Okay);
        assert_eq!(
            Merge::Concat.apply(vec![array([text("a")]), array([]), array([text("b")])]),
            array([text("a"), text("b")])
        );
        assert_eq!(
            Merge::Union.apply(vec![array([text("a"), text("b")]), array([]), array([text("b"), text("c")])]),
            array([text("a"), text("b"), text("c")])
        );
        assert_eq!(
            Merge::Least.apply(vec![array([Value::Int(1), Value::Int(1)]), array([Value::Int(0), Value::Int(1)])]),
            array([Value::Int(0), Value::Int(1)])
        );
        assert_eq!(
            Merge::SumByName.apply(vec![
                array([text("a"), Value::Int(1)]),
                array([text("b"), Value::Int(1), text("a"), Value::Int(4)])
            ]),
            array([text("a"), Value::Int(5), text("b"), Value::Int(1)])
        );
        let places = Merge::Places(Places { order: vec![1, 3, 0, 2], ends: vec![2, 4] });
        assert_eq!(
            places.apply(vec![array([text("b"), Value::Nil]), array([text("a"), text("c")])]),
            array([text("a"), text("b"), text("c"), Value::Nil])
        );
    }

    #[test]
    fn one_error_is_the_reply() {
        let error = redis::parse_redis_value(b"-WRONGTYPE no\r\n").expect("an error");
        assert_eq!(Merge::Sum.apply(vec![Value::Int(2), error.clone()]), error);
    }
}
