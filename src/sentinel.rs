//! The sentinels that say where the master is, and tell when it is another one.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::WeakAddr;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::Value;
use tokio::time::sleep;

use crate::actors::connection::{Lead, RedisActor};
use crate::config::{Address, HostPort};
use crate::events::{Cause, CauseKind};
use crate::frame::Frame;
use crate::wire::{
    place::{Locate, Looking, LookingForReplicas, Place},
    recipe::Recipe,
    session::{ask_once, listen},
};

/// The next sentinel is asked when the one before has not answered for so long.
const STAGGER: Duration = Duration::from_millis(150);
/// How long one of them may take, if the connect timeout does not say less.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often they are asked without a reason, for those whose announcements do not arrive. Up to a quarter more, so
/// that many clients do not ask at once.
const POLL: Duration = Duration::from_secs(5);
/// Before the next attempt to listen to a sentinel.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// The same, when it refused us: it will for as long as nobody mends something.
const LISTEN_REFUSED: Duration = Duration::from_secs(15);
/// The flags of a replica that is not to be read from.
const DOWN: [&str; 3] = ["s_down", "o_down", "disconnected"];
const SWITCH: &str = "+switch-master";

/// See the module.
pub(crate) struct Sentinels {
    hosts: Vec<HostPort>,
    master: String,
    /// How to speak with them: with users of their own, and without databases.
    recipe: Recipe,
    /// What one of them has announced: the others may not know yet.
    announced: Mutex<Option<Address>>,
}

impl Sentinels {
    pub(crate) fn new(hosts: Vec<HostPort>, master: String, recipe: Recipe) -> Arc<Self> {
        let recipe = Recipe { place: Place::Sentinel, ..recipe };
        Arc::new(Self { hosts, master, recipe, announced: Mutex::default() })
    }

    fn recipe_of(&self, host: &HostPort) -> Arc<Recipe> {
        let recipe = self.recipe.for_server(Address::Tcp(host.clone()));
        Arc::new(Recipe { place: Place::Sentinel, ..recipe })
    }

    /// Where the master is, by the first sentinel that knows it.
    async fn ask(&self) -> Result<Address, Cause> {
        self.ask_first(|host, limit| self.ask_one(host, limit)).await
    }

    /// The first answer that is one, of sentinels that are asked one after the other, a moment apart.
    async fn ask_first<T, F: Future<Output = Result<T, Cause>>>(
        &self,
        ask: impl Fn(HostPort, Duration) -> F,
    ) -> Result<T, Cause> {
        let (limit, ask) = (self.patience(), &ask);
        let mut hosts = self.hosts.clone();
        fastrand::shuffle(&mut hosts);
        let mut answers: FuturesUnordered<_> = hosts
            .into_iter()
            .zip(0..)
            .map(|(host, nth)| async move {
                sleep(STAGGER * nth).await;
                ask(host, limit).await
            })
            .collect();
        let mut why: Option<Cause> = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(found) => return Ok(found),
                // One that is well but has other credentials is worth more than one that is gone.
                Err(cause) if cause.is_refusal() => why = Some(cause),
                Err(cause) => why = why.filter(Cause::is_refusal).or(Some(cause)),
            }
        }
        Err(why.unwrap_or_else(|| Cause::new(CauseKind::Unreachable, "there is no sentinel to ask")))
    }

    fn patience(&self) -> Duration {
        self.recipe.config.connect_timeout().min(PATIENCE)
    }

    async fn ask_one(&self, host: HostPort, limit: Duration) -> Result<Address, Cause> {
        let question = Frame::known("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(self.master.as_str());
        match ask_once(self.recipe_of(&host), question, limit).await? {
            Value::Nil => {
                let words = format!(
                    "the sentinel {host} does not know a master of the name that was configured; check REDIS_SENTINEL_MASTER"
                );
                Err(Cause::new(CauseKind::NotReady, words))
            }
            answer => {
                let address = redis::from_redis_value::<(String, u16)>(answer).map_err(|_| {
                    Cause::new(CauseKind::Protocol, format!("the sentinel {host} did not say where the master is"))
                })?;
                Ok(Address::Tcp(HostPort { host: address.0, port: address.1 }))
            }
        }
    }

    /// The replicas that follow the master, as one sentinel sees them.
    async fn ask_for_replicas(&self, host: HostPort, limit: Duration) -> Result<Vec<HostPort>, Cause> {
        let question = Frame::known("SENTINEL").arg("REPLICAS").arg(self.master.as_str());
        let answer = ask_once(self.recipe_of(&host), question, limit).await?;
        replicas(answer).ok_or_else(|| {
            Cause::new(CauseKind::Protocol, format!("the sentinel {host} did not say where the replicas are"))
        })
    }

    /// Listens to one sentinel, and tells the connection at once what it announces.
    async fn listen(self: Arc<Self>, host: HostPort, connection: WeakAddr<RedisActor>) {
        while connection.upgrade().is_some() {
            let listening = listen(self.recipe_of(&host), SWITCH).await;
            let is_refused = listening.as_ref().is_err_and(Cause::is_refusal);
            if let Ok(mut listener) = listening {
                while let Ok(text) = listener.next().await {
                    let Some(to) = switched(&text, &self.master) else { continue };
                    *self.announced.lock().unwrap_or_else(PoisonError::into_inner) = Some(to.clone());
                    let Some(connection) = connection.upgrade() else { return };
                    connection.do_send(Lead { to, at_once: true });
                }
            }
            sleep(if is_refused { LISTEN_REFUSED } else { LISTEN_AGAIN }).await;
        }
    }

    async fn poll(self: Arc<Self>, connection: WeakAddr<RedisActor>) {
        loop {
            sleep(POLL.mul_f64(1.0 + fastrand::f64() / 4.0)).await;
            let asked = self.ask().await;
            let Some(connection) = connection.upgrade() else { return };
            if let Ok(to) = asked {
                connection.do_send(Lead { to, at_once: false });
            }
        }
    }

    /// Looks after a connection until it ends.
    pub(crate) fn attend(self: &Arc<Self>, connection: &WeakAddr<RedisActor>) -> Attendants {
        let listeners =
            self.hosts.iter().map(|host| actix::spawn(self.clone().listen(host.clone(), connection.clone())));
        let poller = actix::spawn(self.clone().poll(connection.clone()));
        Attendants(listeners.chain([poller]).collect())
    }
}

/// The tasks that listen to sentinels; they end with it.
pub(crate) struct Attendants(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Attendants {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// The new address in `name old-host old-port new-host new-port`, if it is that of our master.
fn switched(text: &str, master: &str) -> Option<Address> {
    let mut words = text.split_ascii_whitespace();
    if words.next()? != master {
        return None;
    }
    let (host, port) = (words.nth(2)?, words.next()?.parse().ok()?);
    Some(Address::Tcp(HostPort { host: host.to_owned(), port }))
}

/// Those of the answer to SENTINEL REPLICAS that can be read from: there, and following their master.
fn replicas(answer: Value) -> Option<Vec<HostPort>> {
    let Value::Array(all) = answer else { return None };
    let mut usable = Vec::new();
    for replica in all {
        let fields: HashMap<String, String> = redis::from_redis_value(replica).ok()?;
        let flags: Vec<&str> = fields.get("flags")?.split(',').collect();
        let is_there = flags.contains(&"slave") && !flags.iter().any(|flag| DOWN.contains(flag));
        if is_there && fields.get("master-link-status")? == "ok" {
            usable.push(HostPort { host: fields.get("ip")?.clone(), port: fields.get("port")?.parse().ok()? });
        }
    }
    Some(usable)
}

impl Locate for Sentinels {
    fn locate(&self) -> Looking<'_> {
        let announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            match announced {
                Some(address) => Ok(address),
                None => self.ask().await,
            }
        })
    }

    fn is_master(&self) -> bool {
        true
    }

    fn replicas(&self) -> LookingForReplicas<'_> {
        Box::pin(self.ask_first(|host, limit| self.ask_for_replicas(host, limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read() {
        let to = Some(Address::Tcp(HostPort { host: "10.0.0.2".to_owned(), port: 6380 }));
        assert_eq!(switched("mymaster 10.0.0.1 6379 10.0.0.2 6380", "mymaster"), to);
        for other in ["yours 10.0.0.1 6379 10.0.0.2 6380", "mymaster 10.0.0.1 6379", "", "mymaster a b c d"] {
            assert_eq!(switched(other, "mymaster"), None, "{other}");
        }
    }

    #[test]
    fn replicas_that_are_down_or_do_not_follow_are_left_out() {
        let replica = |port: &str, flags: &str, link: &str| {
            let fields =
                [("name", "x"), ("ip", "10.0.0.2"), ("port", port), ("flags", flags), ("master-link-status", link)];
            fields.map(|(name, value)| (Value::BulkString(name.into()), Value::BulkString(value.into())))
        };
        let all = [
            replica("1", "slave", "ok"),
            replica("2", "s_down,slave", "ok"),
            replica("3", "slave,disconnected", "ok"),
            replica("4", "slave", "err"),
            replica("5", "slave", "ok"),
        ];
        let in_resp3 = Value::Array(all.iter().map(|fields| Value::Map(fields.to_vec())).collect());
        let flat = |fields: &[(Value, Value); 5]| {
            Value::Array(fields.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect())
        };
        let in_resp2 = Value::Array(all.iter().map(flat).collect());
        for answer in [in_resp3, in_resp2] {
            let ports: Vec<_> = replicas(answer).expect("an answer").iter().map(|replica| replica.port).collect();
            assert_eq!(ports, [1, 5]);
        }
        for wrong in [Value::Nil, Value::Array(vec![Value::Int(1)]), Value::Array(vec![Value::Map(Vec::new())])] {
            assert!(replicas(wrong).is_none());
        }
    }
}
