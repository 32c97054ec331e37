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
}

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn answer(says: &Says, replica: Option<u16>, id: &str, argv: &[Vec<u8>]) -> Answer {
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
            let fields =
                [("ip", says.host), ("port", &replica.to_string()), ("flags", "slave"), ("master-link-status", "ok")];
            let fields: String = fields.iter().map(|(name, value)| bulk(name) + &bulk(value)).collect();
            Answer::raw(format!("*1\r\n%4\r\n{fields}"))
        }
        ("SENTINEL", "MYID") => Answer::raw(bulk(id)),
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
        let (told, id) = (says.clone(), format!("{:040x}", fastrand::u128(..)));
        let server = FakeServer::builder()
            .on(move |argv| answer(&told.lock().expect("whole"), replica, &id, argv))
            .start()
            .expect("a scripted sentinel");
        Self { server, says }
    }

    pub(crate) fn say(&self, says: Says) {
        *self.says.lock().expect("whole") = says;
    }

    /// Announces a switch to the master of now.
    pub(crate) fn announce(&self) {
        let says = self.says.lock().expect("whole").clone();
        let text = format!("mymaster 10.9.9.9 1 {} {}", says.host, says.port);
        self.server.send(format!(">3\r\n{}{}{}", bulk("message"), bulk("+switch-master"), bulk(&text)).as_bytes());
    }

    /// How often it was asked where the master is.
    pub(crate) fn asked(&self) -> usize {
        let asks = |argv: &&Vec<Vec<u8>>| argv.get(1).is_some_and(|word| word == b"GET-MASTER-ADDR-BY-NAME");
        self.server.received().iter().filter(asks).count()
    }
}
