//! Vector sets.
