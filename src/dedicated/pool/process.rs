//! Which server process is behind a link. Client numbers, blocked clients and scan cursors mean something to that process
//! only, and an address may lead to another one after every dial.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use actix::Addr;
use redis::Value;
use tokio::sync::oneshot;

use super::Links;
use crate::actors::connection::{RedisActor, SubmitOn};
use crate::client::gone;
use crate::client::submit_queue::Submit;
use crate::connection::request::Waiter;
use crate::error::{ErrorKind, Result};
use crate::frame::Frame;
use crate::messages::internal::Internal;

/// Links whose process is remembered: more than there are nodes in most clusters.
const REMEMBERED: usize = 64;

/// The `run_id` of a server process. `None`: the server does not tell it, as one where INFO is forbidden.
pub(crate) type ProcessId = Option<Arc<str>>;

/// The processes behind the links of the shared connection, each asked for once.
#[derive(Debug, Default)]
pub(super) struct Processes(Mutex<VecDeque<(u64, ProcessId)>>);

/// Asks for it.
pub(crate) fn question() -> Frame {
    Frame::known("INFO").arg("server").pinned().own()
}

/// Reads the answer.
///
/// # Errors
/// When the link was lost before the answer came: another link may lead to another process.
pub(crate) fn answered(answer: Result<Value>) -> Result<ProcessId> {
    let text = match answer {
        Ok(value) => redis::from_redis_value::<String>(value).unwrap_or_default(),
        Err(error) if error.kind() == ErrorKind::Server => String::new(),
        Err(error) => return Err(error),
    };
    let id = text.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::trim);
    Ok(id.filter(|id| !id.is_empty()).map(Arc::from))
}

/// Whether both are known and the same.
pub(crate) fn is_same(one: &ProcessId, other: &ProcessId) -> bool {
    one.is_some() && one == other
}

impl Links {
    /// The process behind a link of the shared connection, as [`main_link`](Self::main_link) names it. `slot` is that of the
    /// node in a cluster.
    ///
    /// # Errors
    /// When that link is not there any more.
    pub(crate) async fn main_process(
        &self,
        main: &Addr<RedisActor>,
        link: u64,
        slot: Option<u16>,
    ) -> Result<ProcessId> {
        let known = |(of, _): &&(u64, ProcessId)| *of == link;
        let lock = || self.processes.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, process)) = lock().iter().find(known) {
            return Ok(process.clone());
        }
        let question = match slot {
            Some(slot) => question().on_slot(slot),
            None => question(),
        };
        let (reply, answer) = oneshot::channel();
        let ticket = Box::new(Waiter::<Internal, _>::new(question, reply));
        main.do_send(SubmitOn::new(link, Submit { ticket, asked: Instant::now() }));
        let process = answered(answer.await.unwrap_or_else(|_| Err(gone())))?;
        let mut processes = lock();
        if processes.len() >= REMEMBERED {
            processes.pop_front();
        }
        processes.push_back((link, process.clone()));
        Ok(process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Fate};

    #[test]
    fn the_process_is_read_from_info_and_unknown_where_it_is_forbidden() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc123\r\ntcp_port:1\r\n";
        let known = answered(Ok(Value::BulkString(info.into()))).expect("answered");
        assert_eq!(known.as_deref(), Some("abc123"));
        let forbidden = answered(Err(Error::server("NOPERM", Some("no")))).expect("answered");
        assert!(forbidden.is_none() && !is_same(&forbidden, &None), "two unknown processes are not the same");
        assert!(answered(Err(Error::new(ErrorKind::Disconnected, Fate::Unknown, "lost"))).is_err());
    }
}
