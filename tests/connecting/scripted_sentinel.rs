//! A sentinel that says what a test wants.

use std::sync::{Arc, Mutex};

use redis_actix_test::{Answer, FakeServer};

/// What it says of the master.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) host: &'static str,
    pub(crate) port: u16,
    pub(crate) epoch: u64,
}

/// See the module.
pub(crate) struct ScriptedSentinel {
    pub(crate) server: FakeServer,
    says: Arc<Mutex<Says>>,
    others: Arc<Mutex<Others>>,
}

/// What it says of the sentinels.
#[derive(Default)]
struct Others {
    id: String,
    hides_id: bool,
    peers: Vec<(u16, String)>,
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    fields.into_iter().map(|(name, value)| bulk(name) + &bulk(value)).collect()
}

fn answer(says: &Says, replica: Option<u16>, others: &Others, argv: &[Vec<u8>]) -> Answer {
    let word = |at: usize| argv.get(at).map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default();
    let (host, port) = (bulk(says.host), bulk(&says.port.to_string()));
    match (word(0).as_str(), word(1).as_str()) {
        ("SENTINEL", "GET-MASTER-ADDR-BY-NAME") => Answer::raw(format!("*2\r\n{host}{port}")),
        ("SENTINEL", "MASTER") => {
            let (epoch, name) = (bulk(&says.epoch.to_string()), bulk("mymaster"));
            Answer::raw(format!(
                "%4\r\n{}{name}{}{host}{}{port}{}{epoch}",
                bulk("name"),
                bulk("ip"),
                bulk("port"),
                bulk("config-epoch")
            ))
        }
        ("SENTINEL", "REPLICAS") if replica.is_some() => {
            let replica = replica.unwrap_or_default();
            let port = replica.to_string();
            let replica =
                fields([("ip", says.host), ("port", &port), ("flags", "slave"), ("master-link-status", "ok")]);
            Answer::raw(format!("*1\r\n%4\r\n{replica}"))
        }
        ("SENTINEL", "MYID") if others.hides_id => Answer::raw("-ERR unknown subcommand\r\n"),
        ("SENTINEL", "MYID") => Answer::raw(bulk(&others.id)),
        ("SENTINEL", "SENTINELS") => {
            let peer = |(port, id): &(u16, String)| {
                let port = port.to_string();
                let peer = fields([("ip", "127.0.0.1"), ("port", &port), ("flags", "sentinel"), ("runid", id)]);
                format!("%4\r\n{peer}")
            };
            let peers: String = others.peers.iter().map(peer).collect();
            Answer::raw(format!("*{}\r\n{peers}", others.peers.len()))
        }
        ("SENTINEL", _) => Answer::raw("*0\r\n"),
        ("SUBSCRIBE", _) => Answer::raw(format!(">3\r\n{}{}:1\r\n", bulk("subscribe"), bulk("+switch-master"))),
        _ => Answer::Default,
    }
}

impl ScriptedSentinel {
    pub(crate) fn start(says: Says) -> Self {
        Self::start_with_replica(says, None)
    }

    /// One that names a replica as well, at the host of the master.
    pub(crate) fn start_with_replica(says: Says, replica: Option<u16>) -> Self {
        let says = Arc::new(Mutex::new(says));
        let id = format!("{:040x}", fastrand::u128(..));
        let others = Arc::new(Mutex::new(Others { id, ..Others::default() }));
        let (says_now, others_now) = (says.clone(), others.clone());
        let server = FakeServer::builder()
            .on(move |argv| answer(&says_now.lock().expect("whole"), replica, &others_now.lock().expect("whole"), argv))
            .start()
            .expect("a scripted sentinel");
        Self { server, says, others }
    }

    pub(crate) fn say(&self, says: Says) {
        *self.says.lock().expect("whole") = says;
    }

    /// Names another sentinel, at the address 127.0.0.1.
    pub(crate) fn name_peer(&self, peer: &Self) {
        let id = peer.others.lock().expect("whole").id.clone();
        self.others.lock().expect("whole").peers.push((peer.server.port(), id));
    }

    /// Whether it refuses to say its own id.
    pub(crate) fn hide_id(&self, hides_id: bool) {
        self.others.lock().expect("whole").hides_id = hides_id;
    }

    /// Announces a switch to the master of now.
    pub(crate) fn announce(&self) {
        let says = self.says.lock().expect("whole").clone();
        self.publish('>', &says);
    }

    /// Publishes a switch, in RESP3 (`>`) or in RESP2 (`*`), whatever it says when it is asked.
    pub(crate) fn publish(&self, kind: char, to: &Says) {
        let text = format!("mymaster 10.9.9.9 1 {} {}", to.host, to.port);
        let message = bulk("message") + &bulk("+switch-master") + &bulk(&text);
        self.server.send(format!("{kind}3\r\n{message}").as_bytes());
    }

    /// How often it was asked where the master is.
    pub(crate) fn asked(&self) -> usize {
        let asks = |argv: &&Vec<Vec<u8>>| argv.get(1).is_some_and(|word| word == b"GET-MASTER-ADDR-BY-NAME");
        self.server.received().iter().filter(asks).count()
    }
}
