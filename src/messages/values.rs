//! Values by serde: JSON as one value, structs as the fields of a hash.

use std::{fmt, ops::Deref};

use redis::{FromRedisValue, ParsingError, RedisWrite, ToRedisArgs, ToSingleRedisArg, Value};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    fields_search::from_fields,
    json_check::{Lossy, has_json},
    shape,
};
use crate::error::{Error, Result};

/// A value that is JSON on the server, as one argument or one reply.
///
/// It is written when it is made, so that a value that JSON cannot express is an error there and not a
/// surprise when it is sent. A value that was read keeps its text: sent again, it is the same bytes.
///
/// ```
/// use redis_actix::{Command, Get, Json, Set};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct User {
///     name: String,
/// }
///
/// let user = User { name: "ada".into() };
/// let set = Set::new("user:1", Json::new(&user)?);
/// assert_eq!(set.frame().args().last(), Some(&br#"{"name":"ada"}"#[..]));
/// let get = Get::<Json<User>>::new("user:1");
/// # Ok::<(), redis_actix::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Json<T> {
    value: T,
    text: Vec<u8>,
}

impl<T> Json<T> {
    /// Writes `value`, which may be a reference.
    ///
    /// # Errors
    /// When JSON cannot express it, as NaN, an infinity or a map whose names are no text, or when its `Serialize` fails.
    pub fn new(value: T) -> Result<Self>
    where
        T: Serialize,
    {
        if let Err(lossy @ Lossy::NotFinite) = has_json(&value) {
            return Err(Error::invalid_command(format!("the value cannot be written as JSON: {lossy}")));
        }
        match serde_json::to_vec(&value) {
            Ok(text) => Ok(Self { value, text }),
            Err(_) => Err(Error::invalid_command(
                "the value cannot be written as JSON: its maps need text as names, or its own Serialize failed",
            )),
        }
    }

    /// The value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.value
    }

    /// The value as it is on the server.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Json").field(&self.value).finish()
    }
}

impl<T> ToRedisArgs for Json<T> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        out.write_arg(&self.text);
    }
}

impl<T> ToSingleRedisArg for Json<T> {}

/// Writes the value alone, so that a `Json` may be part of a document.
impl<T: Serialize> Serialize for Json<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: DeserializeOwned> FromRedisValue for Json<T> {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let text = shape::bytes(value)?;
        match serde_json::from_slice(&text) {
            Ok(value) => Ok(Self { value, text }),
            Err(error) if error.is_data() => {
                Err(Error::decode("the value is JSON, but not of the requested type").into())
            }
            Err(_) => Err(Error::decode("the value is not JSON").into()),
        }
    }
}

/// A struct or a map by serde, read from the fields of a hash as [`from_fields`] does.
///
/// ```
/// use redis_actix::{HGetAll, Struct};
///
/// #[derive(serde::Deserialize)]
/// struct User {
///     name: String,
///     age: Option<u32>,
/// }
///
/// // The reply is None when there is no such key.
/// let message = HGetAll::<Option<Struct<User>>>::new("user:1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Struct<T>(pub T);

impl<T> Struct<T> {
    /// The value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Struct<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: DeserializeOwned> FromRedisValue for Struct<T> {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        if value == Value::Nil {
            return Err(Error::decode("there is no such hash; ask for Option<Struct<..>> to get None then").into());
        }
        let pairs = shape::pairs(value)?.into_iter();
        let fields = pairs.map(|(name, text)| Ok((shape::bytes(name)?, shape::bytes(text)?)));
        Ok(Self(from_fields(&fields.collect::<Result<Vec<_>>>()?)?))
    }
}
