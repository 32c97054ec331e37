//! Scripts and functions that run on the server.

use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

use redis::ToRedisArgs;

use super::Rest;
use crate::frame::{Extra, Frame, Source};

/// A Lua script, and the type of its reply. Store it in a `static`.
///
/// The server runs it by digest. The source is sent with the first call on each connection, and again if the server
/// does not know the script, after SCRIPT FLUSH, a restart or a failover. Callers do not notice this. In a pipeline
/// or a transaction the first call of each script always contains the source, which preserves the order of the
/// commands.
///
/// ```
/// # async fn example(redis: redis_actix::Redis) -> redis_actix::Result<()> {
/// use redis_actix::prelude::*;
///
/// static CAS: Script<bool> = Script::new(
///     "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
///      redis.call('SET', KEYS[1], ARGV[2])
///      return 1",
/// );
///
/// let swapped: bool = redis.send(CAS.invoke().key("k").arg("old").arg("new")).await?;
/// # Ok(())
/// # }
/// ```
///
/// A script can access any key that it names itself. Only keys added with [`key`](Invocation::key) have the prefix.
///
/// Errors of a script are passed on with their code, and do not repeat it. A script that replies with exactly the text of a server
/// that is loading, busy or without a master is sent again only if the server refuses the next command as well, or a PING; one
/// that replies with the text of CLUSTERDOWN or TRYAGAIN, only if the node refuses an empty script with the same keys. Otherwise
/// the error has [`Fate::Unknown`](crate::Fate::Unknown), because the script has run. One that replies with the text of NOSCRIPT is
/// sent again only if the server does not have the script, according to SCRIPT EXISTS, or refuses that question.
pub struct Script<T> {
    source: &'static str,
    read_only: bool,
    forms: OnceLock<Arc<Extra>>,
    reply: PhantomData<fn() -> T>,
}

impl<T> Script<T> {
    /// Creates a script that may write.
    pub const fn new(source: &'static str) -> Self {
        Self { source, read_only: false, forms: OnceLock::new(), reply: PhantomData }
    }

    /// Creates a read-only script: the server refuses its writes, it runs on replicas too, and it is retried if the
    /// link breaks before its reply arrives. Needs Redis 7.0.
    pub const fn read_only(source: &'static str) -> Self {
        Self { source, read_only: true, forms: OnceLock::new(), reply: PhantomData }
    }

    /// Creates a call without keys and arguments.
    pub fn invoke(&self) -> Invocation<T> {
        let forms = self.forms.get_or_init(|| Arc::new(Extra::Script(Source::new(self.source, self.read_only))));
        let frame = Frame::of_script(forms);
        Invocation::of(if self.read_only { frame.read_only() } else { frame })
    }
}

impl<T> fmt::Debug for Script<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("bytes", &self.source.len()).field("read_only", &self.read_only).finish()
    }
}

/// The keys and arguments of a call. Their encoding starts with the number of keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    keys: Frame,
    arguments: Frame,
}

impl Rest for Parameters {
    fn finish(self, head: Frame) -> Frame {
        head.arg(self.keys.len()).concat(self.keys).concat(self.arguments)
    }
}

/// The methods of every call.
macro_rules! parameters {
    ($name:ident) => {
        impl<T> $name<T> {
            /// Adds a key. It gets the prefix, and is an element of `KEYS`.
            pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
                self.rest.keys = self.rest.keys.key(key);
                self
            }

            /// Adds keys. Each gets the prefix.
            pub fn keys<K: AsRef<[u8]>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
                self.rest.keys = self.rest.keys.keys(keys);
                self
            }

            /// Adds `value` as one or more arguments.
            pub fn arg(mut self, value: impl ToRedisArgs) -> Self {
                self.rest.arguments = self.rest.arguments.arg(value);
                self
            }
        }
    };
}

command! {
    /// A call of a [`Script`], created by [`Script::invoke`].
    Invocation<T>, rest Parameters => T
}

parameters!(Invocation);

command! {
    /// `FCALL`: calls a function of a library on the server; see [`FunctionLoad`]. Needs Redis 7.0.
    ///
    /// Like a script it can access any key that it names itself.
    FCall<T>, rest Parameters => T
}

parameters!(FCall);

impl<T> FCall<T> {
    /// Calls `function`.
    pub fn new(function: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("FCALL").arg(function.as_ref()))
    }

    /// Calls `function`, which is read-only: the server refuses its writes, and the call is retried if the link
    /// breaks before its reply arrives.
    pub fn read_only(function: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("FCALL_RO").arg(function.as_ref()).read_only())
    }
}

command! {
    /// `FUNCTION LOAD`: loads a library. The reply is its name. Needs Redis 7.0.
    ///
    /// Libraries belong to the whole server and have no prefix. The server persists and replicates them.
    FunctionLoad, rest Frame => String
}

impl FunctionLoad {
    /// The code of the library, beginning with `#!lua name=...`. An error if a library of this name exists.
    pub fn new(code: impl AsRef<[u8]>) -> Self {
        let mut load = Self::of(Frame::known("FUNCTION LOAD"));
        load.rest = Frame::default().arg(code.as_ref());
        load
    }

    /// Replaces a library of the same name.
    pub fn replace(mut self) -> Self {
        self.frame = self.frame.arg("REPLACE").idempotent();
        self
    }
}
