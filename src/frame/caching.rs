//! The choice of a command about client-side caching, and what the cache needs to know of a command.

use std::time::Duration;

use super::origin::Origin;
use super::{Frame, ReplyKeys, View};

/// Whether a read may be answered from the cache; see [`Frame::cached`]. One byte, because every queued command has one: a
/// TTL has three bits after the leading one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PackedCacheChoice(u8);

/// See [`Frame::cached`] and [`Frame::fresh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheChoice {
    Default,
    Fresh,
    /// From replies up to this old.
    Ttl(Duration),
}

impl PackedCacheChoice {
    const FRESH: Self = Self(1);
    const FIRST_TTL: u8 = 2;

    fn ttl(ttl: Duration) -> Self {
        let eighths = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).clamp(1, u64::MAX >> 3) << 3;
        let exponent = eighths.ilog2() - 3;
        let packed = (u64::from(exponent) << 3) | ((eighths >> exponent) & 7);
        let packed = u8::try_from(packed).unwrap_or(u8::MAX).min(u8::MAX - Self::FIRST_TTL);
        Self(packed + Self::FIRST_TTL)
    }

    #[inline]
    fn get(self) -> CacheChoice {
        match self.0 {
            0 => CacheChoice::Default,
            1 => CacheChoice::Fresh,
            packed => {
                let packed = u64::from(packed - Self::FIRST_TTL);
                CacheChoice::Ttl(Duration::from_millis(((8 + (packed & 7)) << (packed >> 3)) >> 3))
            }
        }
    }
}

impl Frame {
    /// Allows an answer from the cache that is at most `ttl` old, rounded down by up to an eighth, at least 1 millisecond. Only
    /// with a configured [cache](crate::RedisConfigBuilder::cache), and only for single reads whose reply depends on nothing
    /// but the values of their keys; without effect on other commands. See the chapter [`caching`](crate::caching).
    pub fn cached(mut self, ttl: Duration) -> Self {
        self.traits.cache = PackedCacheChoice::ttl(ttl);
        self
    }

    /// Asks the server, whatever the configuration says about caching.
    pub fn fresh(mut self) -> Self {
        self.traits.cache = PackedCacheChoice::FRESH;
        self
    }

    #[inline]
    pub(crate) fn cache_choice(&self) -> CacheChoice {
        self.traits.cache.get()
    }

    /// The encoded command, if its reply can be found in a cache by it. Whether the command is cacheable is decided when a
    /// reply is stored.
    #[inline]
    pub(crate) fn cache_line(&self) -> Option<&[u8]> {
        let traits = &self.traits;
        let is_plain = self.extra.is_none() && self.fault.is_none() && self.hold == 0 && !self.marks.is_empty();
        let is_bound = traits.pinned || traits.slot.is_some() || traits.reply_keys != ReplyKeys::None;
        let is_ours = matches!(traits.origin, Origin::Known | Origin::HandedOut | Origin::ByHand);
        (is_plain && !is_bound && is_ours && !self.prefers_replica()).then_some(&self.encoded)
    }

    pub(crate) fn encoded_line(&self) -> &[u8] {
        &self.encoded
    }

    /// Whether the same arguments take the prefix in both, of frames with the same encoded command.
    #[inline]
    pub(crate) fn has_marks_of(&self, other: &Self) -> bool {
        self.marks == other.marks
    }

    /// The memory beside the frame itself.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.encoded.capacity() + if self.marks.spilled() { size_of_val(&*self.marks) } else { 0 }
    }

    /// Visits the command, or each of several joined ones.
    pub(crate) fn each_command(&self, mut visit: impl FnMut(View<'_>)) {
        match self.unit() {
            Some(unit) => (0..unit.len()).filter_map(|index| unit.view(index)).for_each(visit),
            None => visit(self.view()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_rounded_down_by_an_eighth_at_most() {
        let back = |ttl: Duration| match PackedCacheChoice::ttl(ttl).get() {
            CacheChoice::Ttl(back) => back,
            other => panic!("{other:?}"),
        };
        for ms in (1..5_000).chain([86_399_999, 86_400_000]) {
            let back = back(Duration::from_millis(ms)).as_millis();
            // A further millisecond is lost to whole numbers.
            assert!(back <= ms.into() && (back + 1) * 9 >= u128::from(ms) * 8, "{ms} became {back}");
        }
        assert_eq!(back(Duration::ZERO), Duration::from_millis(1));
        assert!(back(Duration::MAX) > Duration::from_secs(86_400 * 30));
        assert_eq!(PackedCacheChoice::default().get(), CacheChoice::Default);
        assert_eq!(PackedCacheChoice::FRESH.get(), CacheChoice::Fresh);
    }

    #[test]
    fn only_plain_commands_with_keys_have_a_line() {
        let get = || Frame::known("GET").key("a").read_only();
        assert!(get().cache_line().is_some() && Frame::new("GET").key("a").cache_line().is_some());
        for other in [
            Frame::known("PING").read_only(),
            Frame::join([get()]),
            get().unprefixed(),
            get().pinned(),
            get().on_slot(1),
            get().invalid("why"),
            get().reply_keys(ReplyKeys::First),
            get().hold(Duration::from_secs(1)),
            get().read_from(crate::frame::ReadFrom::Replica),
        ] {
            assert!(other.cache_line().is_none(), "{other:?}");
        }
    }
}
