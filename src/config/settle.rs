//! The value of one setting: the given one or the default.

use std::fmt;

use super::describe::Description;
use super::draft::{Draft, Given, Origin};

pub(super) fn or_default<T>(given: Option<Given<T>>, default: T) -> (T, Origin) {
    given.map_or((default, Origin::Default), |given| (given.value, given.origin))
}

/// The given value if it is valid, else the default; in both cases a row of the description.
pub(super) fn settle<T: fmt::Display>(
    draft: &mut Draft,
    rows: &mut Description,
    setting: &'static str,
    given: Option<Given<T>>,
    default: T,
    accept: impl FnOnce(&T) -> bool,
    words: &'static str,
) -> T {
    let (value, origin) = or_default(given, default);
    if !accept(&value) {
        draft.problem(origin.name(), words);
    }
    rows.row(setting, value.to_string(), origin);
    value
}
