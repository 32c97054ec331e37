//! What a reply means: for the one who asked, and for the link it came by.

use redis::Value;

use crate::cluster::route::{slot_of, slot_of_view};
use crate::cluster::slot::Slots;
use crate::config::Mode;
use crate::connection::params::ConnectParams;
use crate::connection::request::BoxedTicket;
use crate::connection::verdict::{
    CommandFacts, ErrorVerdict, ServerRefusal, leaves_link, unit_errors, unit_errors_in, verdict,
};
use crate::error::Error;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::prefix::KeyPrefix;

/// The answer to a frame, its names without the prefix.
#[inline]
pub(super) fn strip(frame: &Frame, value: Value, prefix: &KeyPrefix) -> Value {
    match frame.unit() {
        None => prefix.strip_reply(frame.keys_in_reply(), value),
        Some(unit) => unit.strip_replies(prefix, value),
    }
}

/// Gives an answer to the one who asked: an error, or the replies to several commands. Returns why this link is of no more use,
/// if the answer says so; any other reply says nothing of the link.
pub(super) fn answer(
    ticket: BoxedTicket,
    value: Value,
    prefix: &KeyPrefix,
    connect_params: &ConnectParams,
) -> Option<Cause> {
    let frame = ticket.frame();
    let slots = || Slots::new(prefix.as_str().as_bytes());
    let (outcome, refusal) = match value {
        Value::ServerError(error) => {
            let facts = CommandFacts::of(frame);
            let facts = if facts.may_forge() { facts.in_slot(slot_of(frame, &slots())) } else { facts };
            let judged = verdict(error.code(), error.details().unwrap_or_default(), facts);
            let said = if frame.is_unprefixed() {
                Error::server(error.code(), error.details())
            } else {
                prefix.strip_error(&error)
            };
            let said = match judged {
                ErrorVerdict::NotRun(ServerRefusal::Moved) if is_single(connect_params) => {
                    said.with_advice(NODE_OF_A_CLUSTER)
                }
                _ => said,
            };
            (Err(said.with_fate(judged.final_fate(facts))), leaves_link(&Value::ServerError(error), facts))
        }
        value => {
            let refusal = match (&value, frame.unit()) {
                (Value::Array(replies), Some(unit)) => {
                    let slot_of = |at| slot_of_view(&unit.view(at)?, &slots());
                    unit_errors_in(unit, replies, slot_of).find_map(|(reply, facts)| leaves_link(reply, facts))
                }
                _ => None,
            };
            (Ok(value), refusal)
        }
    };
    ticket.complete(outcome);
    refusal.and_then(|refusal| of_no_more_use(refusal, connect_params))
}

const NODE_OF_A_CLUSTER: &str =
    "this server is a node of a cluster: set REDIS_CLUSTER_HOSTS, or RedisConfigBuilder::cluster_hosts in code";

/// Whether this reply says that the server has taken a write. Commands without keys, such as PING, are none.
pub(super) fn is_accepted_write(frame: &Frame, reply: &Value) -> bool {
    let is_accepted = match (reply, frame.unit()) {
        (Value::Array(replies), Some(unit)) => unit_errors(unit, replies).next().is_none(),
        (reply, _) => !matches!(reply, Value::ServerError(_)),
    };
    is_accepted && !frame.is_read() && frame.view().names().next().is_some()
}

fn is_single(connect_params: &ConnectParams) -> bool {
    matches!(connect_params.config.mode(), Mode::Single(_))
}

fn of_no_more_use(refusal: ServerRefusal, connect_params: &ConnectParams) -> Option<Cause> {
    match refusal {
        // After a failover the same address may lead to a replica: ask the resolver again.
        ServerRefusal::ReadOnly if connect_params.replica.is_none() => {
            Some(Cause::new(CauseKind::ReadOnly, "the server has become a read-only replica"))
        }
        // The next dial finds out where to.
        ServerRefusal::Moved if connect_params.place.is_found() => {
            Some(Cause::new(CauseKind::Broken, "the slot is at another node now"))
        }
        // The login was taken away while we were there; a new one uses the credentials of now.
        ServerRefusal::NoAuth => Some(Cause::new(CauseKind::Broken, "the server has forgotten our login")),
        _ => None,
    }
}
