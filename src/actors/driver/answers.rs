//! What a reply means: for the one who asked, and for the link it came by.

use redis::Value;

use crate::actors::ticket::BoxedTicket;
use crate::error::Error;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::prefix::KeyPrefix;
use crate::wire::recipe::Recipe;

/// The answer to a frame, its names without the prefix.
pub(super) fn strip(frame: &Frame, value: Value, prefix: &KeyPrefix) -> Value {
    match frame.unit() {
        None => prefix.strip_reply(frame.keys_in_reply(), value),
        Some(unit) => unit.strip_replies(prefix, value),
    }
}

/// Gives an answer to the one who asked. Returns why this link is of no more use, if the answer says so.
pub(super) fn answer(ticket: BoxedTicket, value: Value, prefix: &KeyPrefix, recipe: &Recipe) -> Option<Cause> {
    let cause = match &value {
        Value::Array(replies) if ticket.frame().is_unit() => {
            replies.iter().find_map(|reply| of_no_more_use(reply, recipe))
        }
        value => of_no_more_use(value, recipe),
    };
    let unprefixed = ticket.frame().is_unprefixed();
    ticket.complete(match value {
        Value::ServerError(error) if unprefixed => Err(Error::server(error.code(), error.details())),
        Value::ServerError(error) => Err(prefix.strip_error(&error)),
        value => Ok(value),
    });
    cause
}

fn of_no_more_use(answer: &Value, recipe: &Recipe) -> Option<Cause> {
    let Value::ServerError(error) = answer else { return None };
    match error.code() {
        // After a failover the same address may lead to a replica: ask the resolver again.
        "READONLY" if recipe.replica.is_none() => {
            Some(Cause::new(CauseKind::ReadOnly, "the server has become a read-only replica"))
        }
        // The next dial finds out where to.
        "MOVED" if recipe.place.is_found() => Some(Cause::new(CauseKind::Broken, "the slot is at another node now")),
        // The login was taken away while we were there; a new one uses the credentials of now.
        "NOAUTH" => Some(Cause::new(CauseKind::Broken, "the server has forgotten our login")),
        _ => None,
    }
}
