//! Scripts and libraries of functions on the server, which belong to the server and not to a prefix.

use redis::Value;

use super::operators::{Facts, facts, operator, operator_with};
use super::shape;
use crate::error::Result;
use crate::frame::Frame;

command! {
    /// `SCRIPT EXISTS`: for each digest whether the server has the script. A read.
    ScriptExists => Vec<bool>
}

impl ScriptExists {
    /// Checks for scripts by their SHA-1 digests in hexadecimal digits, at least one.
    pub fn new<M>(digests: impl super::arguments::IntoValues<M>) -> Self {
        Self::of(super::some_values(Frame::known("SCRIPT EXISTS"), digests, "needs at least one digest"))
    }
}

command! {
    /// `SCRIPT LOAD`: gives a script to the server. The reply is its digest. [`Script`](crate::Script) does this itself.
    ScriptLoad => String
}

impl ScriptLoad {
    /// Loads `source`.
    pub fn new(source: impl AsRef<[u8]>) -> Self {
        Self::of(Frame::known("SCRIPT LOAD").arg(source.as_ref()).idempotent())
    }
}

operator! {
    /// `SCRIPT FLUSH`: deletes all scripts of the server.
    ScriptFlush, "SCRIPT FLUSH" => ();
    /// `SCRIPT KILL`: ends the script that runs, if it has not written yet.
    ScriptKill, "SCRIPT KILL" => ();
    /// `FUNCTION DUMP`: all libraries, serialized. Needs Redis 7.0, like all messages about functions.
    FunctionDump, "FUNCTION DUMP" => Vec<u8>;
    /// `FUNCTION FLUSH`: deletes all libraries.
    FunctionFlush, "FUNCTION FLUSH" => ();
    /// `FUNCTION KILL`: ends the function that runs, if it has not written yet.
    FunctionKill, "FUNCTION KILL" => ();
    /// `FUNCTION STATS`: the function that runs, and the number of libraries by engine.
    FunctionStats, "FUNCTION STATS" => Facts, by facts;
    /// `FUNCTION LIST`: all libraries with their functions.
    FunctionList, "FUNCTION LIST" => Vec<Facts>, by libraries;
}

operator_with! {
    /// `FUNCTION DELETE`: deletes a library.
    FunctionDelete, "FUNCTION DELETE", library: &str => ();
    /// `SCRIPT SHOW`: the source of a script, by its digest. Needs Valkey 8.0.
    ScriptShow, "SCRIPT SHOW", digest: &str => String;
}

fn libraries(value: Value) -> Result<Vec<Facts>> {
    shape::items(value)?.into_iter().map(facts).collect()
}

/// What [`FunctionRestore`] does with existing libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RestorePolicy {
    /// Keeps them; a library of the same name is an error.
    #[default]
    Append,
    /// Deletes them first.
    Flush,
    /// Replaces those of the same name.
    Replace,
}

command! {
    /// `FUNCTION RESTORE`: loads the libraries of a [`FunctionDump`].
    FunctionRestore => ()
}

impl FunctionRestore {
    /// Loads `libraries`. Send it with [`Redis::unprefixed`](crate::Redis::unprefixed).
    pub fn new(libraries: impl AsRef<[u8]>, policy: RestorePolicy) -> Self {
        let word = match policy {
            RestorePolicy::Append => "APPEND",
            RestorePolicy::Flush => "FLUSH",
            RestorePolicy::Replace => "REPLACE",
        };
        Self::of(Frame::new("FUNCTION RESTORE").arg(libraries.as_ref()).arg(word))
    }
}
