//! A supervised Redis layer for actix.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod prefix;
