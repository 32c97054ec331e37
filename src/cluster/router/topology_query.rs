//! Asking the nodes how the cluster looks.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::sleep;

use crate::cluster::slot_map::Map;
use crate::config::{Address, HostPort};
use crate::connection::params::ConnectParams;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::protocol::auxiliary::ask_once;

/// The next node is asked when the one before has not answered for so long: a frozen one must not hold it up.
const STAGGER: Duration = Duration::from_millis(150);
/// How long one node may take, if the connect timeout does not say less.
const TIME_LIMIT: Duration = Duration::from_secs(3);

/// The picture that the first of `nodes` has which knows an owner for every slot, or the best there is.
///
/// # Errors
/// The most telling reason why there is none.
pub(super) async fn refresh_topology(connect_params: Arc<ConnectParams>, nodes: Vec<HostPort>) -> Result<Map, Cause> {
    let limit = connect_params.config.connect_timeout().min(TIME_LIMIT);
    let mut answers: FuturesUnordered<_> = nodes
        .into_iter()
        .zip(0..)
        .map(|(node, nth)| {
            let connect_params = Arc::new(connect_params.for_server(Address::Tcp(node.clone())));
            async move {
                sleep(STAGGER * nth).await;
                ask(connect_params, node, limit).await
            }
        })
        .collect();
    let (mut best, mut worst): (Option<Map>, Option<Cause>) = (None, None);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(map) if map.is_whole() => return Ok(map),
            Ok(map) => best = best.or(Some(map)),
            // One that is well but has other credentials, or other certificates, is worth more than one that is gone.
            Err(cause) if cause.is_refusal() => worst = Some(cause),
            Err(cause) => worst = worst.or(Some(cause)),
        }
    }
    best.ok_or_else(|| worst.unwrap_or_else(|| Cause::new(CauseKind::Unreachable, "no node of the cluster is known")))
}

async fn ask(connect_params: Arc<ConnectParams>, node: HostPort, limit: Duration) -> Result<Map, Cause> {
    let config = connect_params.config.clone();
    let answer = ask_once(connect_params, Frame::known("CLUSTER SLOTS"), limit).await?;
    let map = Map::read(&answer, &node, |announced| config.map_address(announced))
        .map_err(|why| Cause::new(CauseKind::Protocol, format!("{node}: {why}; is it a node of a cluster?")))?;
    if map.is_empty() {
        let words = format!("{node} is a node of a cluster, but knows of no slot that anybody owns");
        return Err(Cause::new(CauseKind::NotReady, words));
    }
    Ok(map)
}
