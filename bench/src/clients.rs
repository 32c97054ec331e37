//! The contenders.

#[cfg(feature = "peers")]
pub mod deadpool;
#[cfg(feature = "peers")]
pub mod fred;
pub mod ours;
pub mod redis_rs;
#[cfg(feature = "peers")]
pub mod rustis;
