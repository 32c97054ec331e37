//! Time series.
