//! The guide. The same text is a book in `docs/guide`; here its programs are compiled.

#[doc = include_str!("../docs/guide/src/connecting.md")]
pub mod connecting {}
#[doc = include_str!("../docs/guide/src/commands.md")]
pub mod commands {}
#[doc = include_str!("../docs/guide/src/errors.md")]
pub mod errors {}
#[doc = include_str!("../docs/guide/src/streams.md")]
pub mod streams {}
#[doc = include_str!("../docs/guide/src/pubsub.md")]
pub mod pubsub {}
#[doc = include_str!("../docs/guide/src/cluster.md")]
pub mod cluster {}
#[doc = include_str!("../docs/guide/src/caching.md")]
pub mod caching {}
#[doc = include_str!("../docs/guide/src/actix-web.md")]
pub mod actix_web {}
#[doc = include_str!("../docs/guide/src/operating.md")]
pub mod operating {}
#[doc = include_str!("../docs/guide/src/testing.md")]
pub mod testing {}
#[doc = include_str!("../docs/guide/src/tuning.md")]
pub mod tuning {}
#[doc = include_str!("../docs/guide/src/migrating.md")]
pub mod migrating {}
#[doc = include_str!("../docs/guide/src/faq.md")]
pub mod faq {}
#[doc = include_str!("../docs/guide/src/comparison.md")]
pub mod comparison {}
