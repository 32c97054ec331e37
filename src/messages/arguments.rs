//! The arguments that constructors accept: one key or several, one value or several, scores.

use std::borrow::Cow;
use std::sync::Arc;

use redis::ToSingleRedisArg;

use super::values::Json;
use crate::frame::Frame;

/// Marks one argument where a list is possible too; see [`IntoKeys`].
#[derive(Debug)]
#[non_exhaustive]
pub struct One;

/// Marks a list of arguments; see [`IntoKeys`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Many;

/// One key or a list of keys. A key is text or bytes.
///
/// The compiler infers the parameter `M`, which is [`One`] or [`Many`].
///
/// ```
/// use redis_actix::{Command, commands::keys::Del};
///
/// assert_eq!(Del::new("a").frame().args().count(), 2);
/// assert_eq!(Del::new(["a", "b"]).frame().args().count(), 3);
/// assert_eq!(Del::new((0..3).map(|n| format!("user:{n}"))).frame().args().count(), 4);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a key nor a list of keys",
    label = "expected one key or a list of keys",
    note = "a key is `&str`, `String` or bytes; a list is `[\"a\", \"b\"]`, a `Vec` of keys or any iterator over keys"
)]
pub trait IntoKeys<M> {
    /// Adds the keys to `frame`.
    #[doc(hidden)]
    fn add_keys(self, frame: Frame) -> Frame;
}

impl<K: AsRef<[u8]>> IntoKeys<One> for K {
    fn add_keys(self, frame: Frame) -> Frame {
        frame.key(self)
    }
}

impl<K: AsRef<[u8]>, I: IntoIterator<Item = K>> IntoKeys<Many> for I {
    fn add_keys(self, frame: Frame) -> Frame {
        frame.keys(self)
    }
}

/// One value or a list of values. A value is text, bytes, a number or [`Json`].
///
/// Bytes are one value: `LPush::new("jobs", payload)` adds the payload of type `Vec<u8>`, and not its bytes as numbers.
/// The compiler infers the parameter `M`, which is [`One`] or [`Many`].
///
/// ```
/// use redis_actix::{Command, commands::sets::SAdd};
///
/// assert_eq!(SAdd::new("tags", "new").frame().args().count(), 3);
/// assert_eq!(SAdd::new("tags", ["new", "urgent"]).frame().args().count(), 4);
/// assert_eq!(SAdd::new("tags", vec![1_u8, 2, 3]).frame().args().count(), 3);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a value nor a list of values",
    label = "expected one value or a list of values",
    note = "a value is text, bytes, a number or `Json::new(..)?`; a list is an array, a `Vec` or any iterator over values",
    note = "to use your own type in a list, implement `redis::ToSingleRedisArg` and `redis_actix::commands::Element` for it"
)]
pub trait IntoValues<M> {
    /// Adds the values to `frame`.
    #[doc(hidden)]
    fn add_values(self, frame: Frame) -> Frame;
}

impl<V: ToSingleRedisArg> IntoValues<One> for V {
    fn add_values(self, frame: Frame) -> Frame {
        frame.arg(self)
    }
}

impl<V: Element, I: IntoIterator<Item = V>> IntoValues<Many> for I {
    fn add_values(self, frame: Frame) -> Frame {
        self.into_iter().fold(frame, Frame::arg)
    }
}

/// A value that can be in a list of values. Every type of one value except `u8`, because a list of `u8` is the bytes of
/// one value.
///
/// Implement it for your own types:
///
/// ```
/// use redis_actix::commands::{Element, sets::SAdd};
///
/// struct UserId(u64);
///
/// impl redis::ToRedisArgs for UserId {
///     fn write_redis_args<W: ?Sized + redis::RedisWrite>(&self, out: &mut W) {
///         self.0.write_redis_args(out);
///     }
/// }
/// impl redis::ToSingleRedisArg for UserId {}
/// impl Element for UserId {}
///
/// let friends = SAdd::new("friends", [UserId(1), UserId(2)]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an element of a list of values",
    note = "elements are text, bytes, numbers and `Json`; a list of `u8` is the bytes of one value: map it to another integer",
    note = "for your own type, implement `redis::ToSingleRedisArg` and `redis_actix::commands::Element`"
)]
pub trait Element: ToSingleRedisArg {}

macro_rules! elements {
    ($($kind:ty),* $(,)?) => { $(impl Element for $kind {})* };
}

elements!(i8, i16, u16, i32, u32, i64, u64, i128, u128, isize, usize, f32, f64, bool, String, &str);
elements!(Vec<u8>, &[u8], Box<[u8]>, Arc<[u8]>);

impl<const N: usize> Element for &[u8; N] {}
impl<T> Element for Json<T> {}
impl<T: Element> Element for &T {}
impl<T: Element> Element for Box<T> {}
impl<T: Element> Element for Arc<T> {}
impl Element for Cow<'_, str> {}

/// A score of a sorted set: any number type except 128-bit integers.
///
/// The server stores scores as `f64`: integers beyond 2^53 are rounded. NaN is refused before it is sent.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a score",
    label = "expected a number",
    note = "scores are integers or floating-point numbers"
)]
pub trait Score: Copy {
    /// Adds the score to `frame`.
    #[doc(hidden)]
    fn add_score(self, frame: Frame) -> Frame;
}

macro_rules! integer_scores {
    ($($kind:ty),*) => {
        $(impl Score for $kind {
            fn add_score(self, frame: Frame) -> Frame {
                frame.arg(self)
            }
        })*
    };
}

integer_scores!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

impl Score for f64 {
    fn add_score(self, frame: Frame) -> Frame {
        if self.is_nan() { frame.invalid("a score is NaN; scores must be numbers") } else { frame.arg(self) }
    }
}

impl Score for f32 {
    fn add_score(self, frame: Frame) -> Frame {
        f64::from(self).add_score(frame)
    }
}

/// One pair of score and member, or a list of pairs.
///
/// The compiler infers the parameter `M`, which is [`One`] or [`Many`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a pair of score and member nor a list of pairs",
    label = "expected `(score, member)` or a list of pairs",
    note = "a pair is `(10, \"ada\")`; a list is `[(10, \"ada\"), (7, \"grace\")]`, a `Vec` or any iterator over pairs"
)]
pub trait IntoScored<M> {
    /// Adds the pairs to `frame`.
    #[doc(hidden)]
    fn add_scored(self, frame: Frame) -> Frame;
}

impl<S: Score, V: ToSingleRedisArg> IntoScored<One> for (S, V) {
    fn add_scored(self, frame: Frame) -> Frame {
        self.0.add_score(frame).arg(self.1)
    }
}

impl<S: Score, V: ToSingleRedisArg, I: IntoIterator<Item = (S, V)>> IntoScored<Many> for I {
    fn add_scored(self, frame: Frame) -> Frame {
        self.into_iter().fold(frame, |frame, (score, member)| score.add_score(frame).arg(member))
    }
}
