//! Asking the nodes for the topology.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{
    future::{Either, select},
    stream::{FuturesUnordered, StreamExt},
};
use tokio::time::sleep;

use crate::cluster::slot_map::Map;
use crate::cluster::topology_vote::{NodeHealth, NodeView, Tally, TopologyVote};
use crate::config::{Address, HostPort};
use crate::connection::params::ConnectParams;
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::protocol::auxiliary::Auxiliary;

/// The next node is asked when the ones before have not answered for so long: a frozen one must not hold it up.
const STAGGER: Duration = Duration::from_millis(150);
/// How long the others may take to confirm or to contradict what there is.
const CONFIRMATION: Duration = Duration::from_millis(250);
/// How long one node may take, if the connect timeout does not say less.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// How long it may take to answer CLUSTER INFO, without which its other answer counts as well.
const HEALTH_TIME_LIMIT: Duration = Duration::from_millis(500);

/// The topology that `nodes` vote for. The first `at_once` of them are asked together.
///
/// # Errors
/// The most telling reason why there is none.
pub(super) async fn refresh_topology(
    connect_params: Arc<ConnectParams>,
    nodes: Vec<HostPort>,
    at_once: u32,
    mut vote: TopologyVote,
) -> Result<Map, Cause> {
    let limit = connect_params.config.connect_timeout().min(TIME_LIMIT);
    let mut answers: FuturesUnordered<_> = nodes
        .into_iter()
        .zip(1_u32..)
        .map(|(node, nth)| {
            let connect_params = Arc::new(connect_params.for_server(Address::Tcp(node.clone())));
            async move {
                sleep(STAGGER * nth.saturating_sub(at_once)).await;
                ask(&connect_params, node, limit).await
            }
        })
        .collect();
    let (mut worst, mut closes_at): (Option<Cause>, Option<Instant>) = (None, None);
    loop {
        let closes = async {
            match closes_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let answer = match select(answers.next(), pin!(closes)).await {
            Either::Left((Some(answer), _)) => answer,
            Either::Left((None, _)) | Either::Right(((), _)) => break,
        };
        match answer {
            Ok(view) => match vote.add(view) {
                Tally::Decided(map) => return Ok(map),
                Tally::Contested => closes_at = closes_at.or_else(|| Some(Instant::now() + CONFIRMATION)),
                Tally::Open => {}
            },
            // One that is well but has other credentials, or other certificates, is worth more than one that is gone.
            Err(cause) if cause.is_refusal() => worst = Some(cause),
            Err(cause) => worst = worst.or(Some(cause)),
        }
    }
    let unknown = || Cause::new(CauseKind::Unreachable, "no node of the cluster is known");
    vote.close().ok_or_else(|| worst.unwrap_or_else(unknown))
}

async fn ask(connect_params: &ConnectParams, node: HostPort, limit: Duration) -> Result<NodeView, Cause> {
    let config = &connect_params.config;
    let link = Auxiliary::connect(connect_params, limit).await?;
    let (link, answer) = link.ask(&Frame::known("CLUSTER SLOTS"), limit).await?;
    let answer = answer.map_err(|error| link.refusal("CLUSTER SLOTS", &error))?;
    let map = Map::read(&answer, &node, |announced| config.map_address(announced))
        .map_err(|why| Cause::new(CauseKind::Protocol, format!("{node}: {why}; is it a node of a cluster?")))?;
    if map.is_empty() {
        let words = format!("{node} is a node of a cluster, but knows of no slot that anybody owns");
        return Err(Cause::new(CauseKind::NotReady, words));
    }
    // Users may be allowed no more than CLUSTER SLOTS, and proxies may know nothing else.
    let info = link.ask(&Frame::known("CLUSTER INFO"), limit.min(HEALTH_TIME_LIMIT)).await;
    let text = info.ok().and_then(|(_, answer)| redis::from_redis_value::<String>(answer.ok()?).ok());
    Ok(NodeView { map, health: text.and_then(|text| NodeHealth::read(&text)) })
}
