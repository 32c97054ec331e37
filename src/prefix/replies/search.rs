//! Names in the replies of search.

use redis::Value;

use super::{Names, bytes, pairs, retain};

/// `[total, id, .., id, ..]`, in RESP3 a map whose `results` are maps with `id`; with a profile the first of two.
pub(super) fn documents(names: &mut Names<'_>, width: usize, value: Value) -> Value {
    match value {
        Value::Array(mut items) => match items.first_mut() {
            Some(first @ Value::Array(_)) => {
                let page = std::mem::take(first);
                *first = documents(names, width, page);
                Value::Array(items)
            }
            _ => Value::Array(flat_documents(names, width, items)),
        },
        Value::Map(fields) => Value::Map(results(fields, |document| in_document(names, document))),
        other => other,
    }
}

fn flat_documents(names: &mut Names<'_>, width: usize, items: Vec<Value>) -> Vec<Value> {
    let mut items = items.into_iter();
    let mut kept: Vec<Value> = items.next().into_iter().collect();
    while let Some(mut id) = items.next() {
        let ours = names.key(&mut id);
        let rest: Vec<Value> = items.by_ref().take(width - 1).collect();
        if ours {
            kept.push(id);
            kept.extend(rest);
        }
    }
    kept
}

/// Applies `keep` to each of the `results`.
fn results(mut fields: Vec<(Value, Value)>, mut keep: impl FnMut(&mut Value) -> bool) -> Vec<(Value, Value)> {
    for (name, value) in &mut fields {
        if let (Some(b"results"), Value::Array(items)) = (bytes(name), value) {
            items.retain_mut(&mut keep);
        }
    }
    fields
}

fn in_document(names: &mut Names<'_>, document: &mut Value) -> bool {
    let Value::Map(fields) = document else { return true };
    fields.iter_mut().all(|(name, value)| match bytes(name) {
        Some(b"id") => names.key(value),
        _ => true,
    })
}

/// `[total, row, ..]`, in RESP3 a map with `results`; with a cursor or a profile the first of two.
pub(super) fn rows(names: &mut Names<'_>, value: Value) -> Value {
    match value {
        Value::Array(mut items) => match items.first_mut() {
            Some(first @ (Value::Array(_) | Value::Map(_))) => {
                let page = std::mem::take(first);
                *first = rows(names, page);
                Value::Array(items)
            }
            // FT.HYBRID: names and values in turn.
            Some(first) if bytes(first).is_some() => {
                let fields = results(pairs(items), |row| in_row(names, row));
                Value::Array(fields.into_iter().flat_map(|(name, value)| [name, value]).collect())
            }
            _ => Value::Array(retain(items, |row| in_row(names, row))),
        },
        Value::Map(fields) => Value::Map(results(fields, |row| in_row(names, row))),
        other => other,
    }
}

/// Removes the prefix from `__key`. Returns `false` if the key lacks it.
fn in_row(names: &mut Names<'_>, row: &mut Value) -> bool {
    match row {
        Value::Map(fields) => {
            for (name, value) in fields.iter_mut() {
                let ours = match bytes(name) {
                    Some(b"extra_attributes") => return in_row(names, value),
                    Some(b"__key") => names.key(value),
                    _ => true,
                };
                if !ours {
                    return false;
                }
            }
            true
        }
        Value::Array(fields) => fields.chunks_exact_mut(2).all(|pair| match pair {
            [name, value] if bytes(name) == Some(b"__key") => names.key(value),
            _ => true,
        }),
        _ => true,
    }
}

/// The fields of FT.INFO, at any depth.
pub(super) fn index(names: &mut Names<'_>, value: Value) -> Value {
    match value {
        Value::Map(fields) => Value::Map(fields.into_iter().map(|(name, value)| pair(names, name, value)).collect()),
        Value::Array(items)
            if items.first().is_some_and(|first| bytes(first).is_some()) && items.len().is_multiple_of(2) =>
        {
            let fields = pairs(items).into_iter().map(|(name, value)| pair(names, name, value));
            Value::Array(fields.flat_map(|(name, value)| [name, value]).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| index(names, item)).collect()),
        other => other,
    }
}

fn pair(names: &mut Names<'_>, name: Value, value: Value) -> (Value, Value) {
    let value = match (bytes(&name), value) {
        (Some(b"index_name"), mut value) => {
            if names.key(&mut value) {
                value
            } else {
                Value::Nil
            }
        }
        (Some(b"prefixes"), Value::Array(prefixes)) => Value::Array(names.keys(prefixes)),
        // `N/A` without an error.
        (Some(b"last indexing error key"), Value::BulkString(key)) => match key.strip_prefix(names.prefix) {
            Some(own) => Value::BulkString(own.to_vec()),
            None => Value::Nil,
        },
        (Some(b"attributes"), attributes) => attributes,
        (_, value) => index(names, value),
    };
    (name, value)
}

/// The code and the text of an error that names an index, without the prefix. RediSearch begins some errors with the name
/// where others have a code.
pub(crate) fn error(prefix: &str, code: &str, text: &str) -> Option<(String, String)> {
    let names_index = text.contains("index") || text.contains("Index") || text.contains("INDEX");
    if prefix.is_empty() || !names_index || !(code.contains(prefix) || text.contains(prefix)) {
        return None;
    }
    Some((code.replace(prefix, ""), text.replace(prefix, "")))
}
