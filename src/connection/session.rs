//! From an address to a link on which commands may flow: dial, handshake, log in, and ask whether the server is
//! ready. Everything a new link needs is restored here, so that no caller has to know there was an old one.

use std::{cell::OnceCell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use super::endpoint::Endpoint;
use super::params::{ConnectParams, Replica};
use crate::cache::ClientCache;
use crate::config::Address;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::protocol::framed::Wire;
use crate::protocol::handshake::{Handshake, dial_cause};
use crate::protocol::optional_steps::{Omitted, OptionalStep};
use crate::protocol::server_info::ServerInfo;
use crate::transport::dial::{Target, dial};

/// A link that has answered PING.
pub(crate) struct Session {
    pub(crate) wire: Wire,
    pub(crate) server_info: ServerInfo,
    /// Where it leads.
    pub(crate) address: Address,
    /// The address of the server at its other end; `None` of a unix socket.
    pub(crate) peer: Option<SocketAddr>,
}

/// Why an attempt failed, and in which optional step the server hung up, if it was in one.
struct Failure {
    cause: Cause,
    hung_up_in: Option<OptionalStep>,
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, hung_up_in: None }
    }
}

/// How long an attempt may take.
#[derive(Clone, Copy)]
struct Limits {
    /// Dial and handshake. The time that credentials take is added.
    until: Instant,
    /// All of it.
    at_most: Instant,
}

/// Dials and does the handshake, within the connect timeout. Where the dial leads is written down in `located`.
pub(crate) async fn establish(
    connect_params: Arc<ConnectParams>,
    located: Rc<OnceCell<Address>>,
) -> Result<Session, Cause> {
    let limit = connect_params.config.connect_timeout();
    establish_within(&connect_params, limit, |address| drop(located.set(address.clone()))).await
}

/// Dials and does the handshake within `limit`, to which the time that credentials take is added, up to the connect
/// timeout.
pub(crate) async fn establish_within(
    connect_params: &ConnectParams,
    limit: Duration,
    on_located: impl FnOnce(&Address),
) -> Result<Session, Cause> {
    let now = Instant::now();
    let limits = Limits { until: now + limit, at_most: now + limit.max(connect_params.config.connect_timeout()) };
    let late = || Cause::new(CauseKind::Stalled, "timed out while asking where the server is");
    let target = timeout_at(limits.until, connect_params.locate()).await.map_err(|_| late())??;
    on_located(&target.address);
    let dialled = dial_target(connect_params, &target, limits).await;
    connect_params.dialled(&target.address, dialled.as_ref().err().map(Cause::kind));
    dialled
}

/// Dials and does the handshake, and once more without the optional steps if the server hangs up on one of them.
async fn dial_target(connect_params: &ConnectParams, target: &Target, limits: Limits) -> Result<Session, Cause> {
    let now = std::time::Instant::now();
    let omitted = connect_params.optional.omitted(&connect_params.config, now);
    let failure = match attempt(connect_params, target, omitted, limits).await {
        Ok(session) => {
            connect_params.optional.passed(omitted);
            return Ok(session);
        }
        Err(failure) => failure,
    };
    let Some(step) = failure.hung_up_in.filter(|step| connect_params.optional.hung_up(*step)) else {
        return Err(failure.cause);
    };
    // It hangs up on this step again and again. At once, so that a success says that the step is to blame, and not that
    // the server has come back.
    match attempt(connect_params, target, Omitted::ALL, limits).await {
        Ok(session) => {
            let (address, step_name) = (&target.address, step.name());
            tracing::warn!(event = "connection.step_omitted", %address, step = step_name, "the server hangs up on an optional step: it is left out from now on");
            connect_params.optional.omit(step, now);
            Ok(session)
        }
        Err(_) => Err(failure.cause),
    }
}

async fn attempt(
    connect_params: &ConnectParams,
    target: &Target,
    omitted: Omitted,
    limits: Limits,
) -> Result<Session, Failure> {
    let left = limits.until.saturating_duration_since(Instant::now());
    let transport = dial(target, left).await.map_err(|error| dial_cause(&error))?;
    let peer = transport.peer_addr();
    let is_sentinel = matches!(connect_params.place, Endpoint::Sentinel);
    let asked = Instant::now();
    let login = match connect_params.place {
        Endpoint::Sentinel => connect_params.sentinel_login(),
        Endpoint::Fixed | Endpoint::Found(_) => {
            connect_params.login(limits.at_most.saturating_duration_since(asked)).await?
        }
    };
    let until = (limits.until + asked.elapsed()).min(limits.at_most);
    let mut handshake = Handshake::new(Wire::new(transport), target, is_sentinel, omitted, until);
    match converse(&mut handshake, connect_params, login.as_ref()).await {
        Ok(server_info) => Ok(Session { wire: handshake.wire, server_info, address: target.address.clone(), peer }),
        Err(cause) => {
            let hung_up_in = handshake.step.filter(|_| cause.kind() == CauseKind::Unreachable);
            Err(Failure { cause, hung_up_in })
        }
    }
}

/// CLIENT TRACKING without NOLOOP: a script may write keys that are not among its arguments.
fn tracking_request(cache: &ClientCache) -> Frame {
    let on = Frame::known("CLIENT TRACKING").arg("ON");
    match (cache.is_broadcast(), cache.prefix().as_str()) {
        (false, _) => on.arg("OPTIN"),
        (true, "") => on.arg("BCAST"),
        (true, prefix) => on.arg("BCAST").arg("PREFIX").arg(prefix),
    }
}

async fn converse(
    handshake: &mut Handshake<'_>,
    connect_params: &ConnectParams,
    login: Option<&crate::protocol::login::Login>,
) -> Result<ServerInfo, Cause> {
    let mut server_info = handshake.hello(login).await?;
    if !handshake.is_sentinel {
        handshake.select(connect_params.config.db()).await?;
    }
    handshake.introduce(connect_params, &mut server_info).await?;
    if let Some(cache) = connect_params.cache.as_ref().filter(|_| connect_params.tracks) {
        server_info.tracking = Some(handshake.track(&tracking_request(cache), server_info.protocol).await?);
    }
    handshake.until_ready().await?;
    if connect_params.place.is_master() {
        handshake.verify_master(&server_info).await?;
    }
    match connect_params.replica {
        Some(Replica::InCluster) => handshake.read_only().await?,
        Some(Replica::Named) => handshake.verify_replica(&server_info).await?,
        None => {}
    }
    Ok(server_info)
}
