//! Scans, counts and removes the keys of this prefix, page by page.
//!
//! These operations do not block the server or other callers of the connection: they request one page at a time, and
//! the next one after the last page was consumed.

mod clear;
mod cursor;
mod stream;
pub(crate) mod unprefixed;
mod walk;

pub use clear::{ClearFuture, ClearPrefix, ClearProgress};
pub use stream::ScanStream;

use std::future::poll_fn;

use redis::FromRedisValue;

use crate::client::Redis;
use crate::error::Result;
use crate::messages::{decode, keys::KeyType, scan::Page};

/// The default number of keys or members that the server examines per page.
const COUNT: u64 = 250;
/// The largest page: it occupies the server for less than a millisecond.
const MOST: u64 = 10_000;
/// The page size of internal scans, whose pages are not returned.
const SILENT_COUNT: u64 = 1_000;

/// The keys to scan, for [`Redis::scan_keys`].
#[derive(Debug, Clone)]
#[must_use = "nothing is scanned until it is passed to `Redis::scan_keys`"]
pub struct ScanKeys {
    pattern: Vec<u8>,
    count: u64,
    of_type: Option<KeyType>,
}

impl ScanKeys {
    /// Keys that match a glob pattern; `*` matches every key of this prefix. The prefix is matched literally. To
    /// match other text literally, see [`escape_glob`](crate::escape_glob).
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        Self { pattern: pattern.as_ref().to_vec(), count: COUNT, of_type: None }
    }

    /// The approximate number of keys that the server examines per page, 1 to 10,000; default 250. This includes the
    /// keys of other services, so larger pages need fewer round trips in a large database.
    pub fn count(mut self, count: u64) -> Self {
        self.count = count.clamp(1, MOST);
        self
    }

    /// Only keys of this type.
    pub fn of_type(mut self, of: KeyType) -> Self {
        self.of_type = Some(of);
        self
    }

    fn page(&self, cursor: u64) -> Page {
        let page = Page::of_keys(cursor, &self.pattern).count(self.count);
        match &self.of_type {
            Some(of) => page.of_type(of),
            None => page,
        }
    }
}

/// The keys to count, for [`Redis::count_keys`].
#[derive(Debug, Clone)]
#[must_use = "nothing is counted until it is passed to `Redis::count_keys`"]
pub struct CountKeys(ScanKeys);

impl CountKeys {
    /// Keys that match a glob pattern; `*` matches every key of this prefix.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        Self(ScanKeys::new(pattern).count(SILENT_COUNT))
    }

    /// Only keys of this type.
    pub fn of_type(self, of: KeyType) -> Self {
        Self(self.0.of_type(of))
    }
}

macro_rules! members {
    ($(#[$meta:meta])* $name:ident, $command:literal, $items:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        #[must_use = "nothing is scanned until it is passed to the connection"]
        pub struct $name {
            key: Vec<u8>,
            pattern: Option<Vec<u8>>,
            count: u64,
        }

        impl $name {
            #[doc = concat!("All ", $items, " of `key`.")]
            pub fn new(key: impl AsRef<[u8]>) -> Self {
                Self { key: key.as_ref().to_vec(), pattern: None, count: COUNT }
            }

            #[doc = concat!("Only ", $items, " whose name matches a glob pattern.")]
            pub fn matching(mut self, pattern: impl AsRef<[u8]>) -> Self {
                self.pattern = Some(pattern.as_ref().to_vec());
                self
            }

            #[doc = concat!("The approximate number of ", $items, " that the server examines per page, 1 to 10,000; default 250.")]
            ///
            /// The server stores a small key in one piece and returns it as one page, regardless of this setting.
            pub fn count(mut self, count: u64) -> Self {
                self.count = count.clamp(1, MOST);
                self
            }

            fn page(&self, cursor: u64) -> Page {
                Page::of_members($command, &self.key, cursor, self.pattern.as_deref()).count(self.count)
            }
        }
    };
}

members! {
    /// The fields of a hash to scan, for [`Redis::scan_hash`].
    ScanHash, "HSCAN", "fields"
}
members! {
    /// The members of a set to scan, for [`Redis::scan_set`].
    ScanSet, "SSCAN", "members"
}
members! {
    /// The members of a sorted set to scan, for [`Redis::scan_sorted_set`].
    ScanSortedSet, "ZSCAN", "members"
}

impl Redis {
    /// Scans keys of this prefix, page by page, as a [`Stream`](futures_core::Stream) of their names without the
    /// prefix. It needs memory for one page, regardless of the number of keys.
    ///
    /// The guarantee is that of SCAN: a key that exists during the whole scan is returned at least once, and may be
    /// returned twice. A key that is added or removed meanwhile may or may not be returned. This also holds across
    /// restarts and failovers of servers, which restart the scan; see [`ScanStream`].
    ///
    /// ```no_run
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::{KeyType, ScanKeys};
    ///
    /// let mut keys = redis.scan_keys(ScanKeys::new("user:*").of_type(KeyType::Hash));
    /// while let Some(key) = keys.next().await {
    ///     println!("{}", String::from_utf8_lossy(&key?));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan_keys(&self, which: ScanKeys) -> ScanStream<Vec<u8>> {
        ScanStream::of_nodes(self.clone(), move |cursor| which.page(cursor), |items| items.next().map(decode))
    }

    /// Scans the fields of a hash with their values, page by page, with the guarantee of
    /// [`scan_keys`](Self::scan_keys).
    ///
    /// ```no_run
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::ScanHash;
    ///
    /// let mut fields = redis.scan_hash::<String, u64>(ScanHash::new("visits").matching("2024-*"));
    /// while let Some(field) = fields.next().await {
    ///     let (day, visits) = field?;
    ///     println!("{day}: {visits}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn scan_hash<F: FromRedisValue, V: FromRedisValue>(&self, which: ScanHash) -> ScanStream<(F, V)> {
        let slot = self.slot_of(&which.key);
        ScanStream::new(
            self.clone(),
            slot,
            move |cursor| which.page(cursor),
            |items| {
                Some(items.next().map(decode)?.and_then(|field| Ok((field, decode(items.next().unwrap_or_default())?))))
            },
        )
    }

    /// Scans the members of a set, page by page, with the guarantee of [`scan_keys`](Self::scan_keys).
    pub fn scan_set<T: FromRedisValue>(&self, which: ScanSet) -> ScanStream<T> {
        let slot = self.slot_of(&which.key);
        ScanStream::new(self.clone(), slot, move |cursor| which.page(cursor), |items| items.next().map(decode))
    }

    /// Scans the members of a sorted set with their scores, page by page and unordered, with the guarantee of
    /// [`scan_keys`](Self::scan_keys).
    pub fn scan_sorted_set<T: FromRedisValue>(&self, which: ScanSortedSet) -> ScanStream<(T, f64)> {
        let slot = self.slot_of(&which.key);
        ScanStream::new(
            self.clone(),
            slot,
            move |cursor| which.page(cursor),
            |items| {
                Some(
                    items
                        .next()
                        .map(decode)?
                        .and_then(|member| Ok((member, decode(items.next().unwrap_or_default())?))),
                )
            },
        )
    }

    /// Counts keys of this prefix with a scan: exact if nothing is written and no slot of a cluster moves meanwhile, else as exact
    /// as [`scan_keys`](Self::scan_keys).
    ///
    /// ```no_run
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// let sessions = redis.count_keys(redis_actix::CountKeys::new("session:*")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The error of the first page that failed.
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn count_keys(&self, which: CountKeys) -> Result<u64> {
        let mut keys = self.scan_keys(which.0);
        // If the scan of a server restarts, its keys are counted again from the start.
        let (mut counted, mut attempt, mut so_far) = (0, 0, 0);
        while let Some(page) = poll_fn(|cx| keys.poll_page(cx)).await {
            let (found, part) = (page?.len() as u64, keys.part());
            so_far = if part.attempt == attempt { so_far + found } else { found };
            attempt = part.attempt;
            if part.is_last {
                counted += std::mem::take(&mut so_far);
            }
        }
        Ok(counted)
    }

    /// Removes the keys of this prefix, or those that match a pattern, page by page. The server frees the memory in
    /// the background. One batch is sent at a time. Keys without the prefix are not touched.
    ///
    /// ```no_run
    /// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
    /// use redis_actix::ClearPrefix;
    ///
    /// let mut clearing = redis.clear_prefix(ClearPrefix::matching("cache:*"))?;
    /// while let Some(progress) = clearing.next().await {
    ///     println!("{} keys removed", progress?.removed);
    /// }
    /// // Without observing the progress:
    /// let removed = redis.clear_prefix(ClearPrefix::everything())?.run().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the connection has no prefix, since that would remove the keys of every service.
    pub fn clear_prefix(&self, what: ClearPrefix) -> Result<ClearFuture> {
        ClearFuture::new(self.clone(), what)
    }
}
