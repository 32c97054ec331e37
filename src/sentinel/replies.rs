//! What sentinels answer and announce.

use std::collections::HashMap;

use redis::Value;

use crate::config::HostPort;

/// The flags of a server or a sentinel that cannot be used.
const DOWN: [&str; 3] = ["s_down", "o_down", "disconnected"];

/// Another sentinel of the same master.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: HostPort,
    pub(super) id: String,
}

/// The new address in `name old-host old-port new-host new-port`, if it is that of our master.
pub(super) fn switched(text: &str, master: &str) -> Option<HostPort> {
    let mut words = text.split_ascii_whitespace();
    if words.next()? != master {
        return None;
    }
    let (host, port) = (words.nth(2)?, words.next()?.parse().ok()?);
    Some(HostPort { host: host.to_owned(), port })
}

/// The answer to SENTINEL GET-MASTER-ADDR-BY-NAME.
pub(super) fn address(answer: Value) -> Option<HostPort> {
    let (host, port) = redis::from_redis_value::<(String, u16)>(answer).ok()?;
    (!host.is_empty() && port != 0).then_some(HostPort { host, port })
}

/// The configuration epoch in the answer to SENTINEL MASTER.
pub(super) fn epoch(answer: Value) -> Option<u64> {
    fields(answer)?.get("config-epoch")?.parse().ok()
}

/// The usable sentinels in the answer to SENTINEL SENTINELS.
pub(super) fn peers(answer: Value) -> Option<Vec<Peer>> {
    let Value::Array(all) = answer else { return None };
    let peers = all.into_iter().filter_map(|peer| {
        let fields = fields(peer)?;
        let address = listed_address(&fields)?;
        let id = fields.get("runid").cloned().unwrap_or_default();
        (!is_down(&fields)).then_some(Peer { address, id })
    });
    Some(peers.collect())
}

/// Those of the answer to SENTINEL REPLICAS that can be read from: there, and following their master. An entry that
/// cannot be read is skipped.
pub(super) fn replicas(answer: Value) -> Option<Vec<HostPort>> {
    let Value::Array(all) = answer else { return None };
    let usable = all.into_iter().filter_map(|replica| {
        let fields = fields(replica)?;
        let is_replica = fields.get("flags")?.split(',').any(|flag| flag == "slave");
        let follows = is_replica && !is_down(&fields) && fields.get("master-link-status")? == "ok";
        listed_address(&fields).filter(|_| follows)
    });
    Some(usable.collect())
}

fn fields(answer: Value) -> Option<HashMap<String, String>> {
    redis::from_redis_value(answer).ok()
}

fn is_down(fields: &HashMap<String, String>) -> bool {
    fields.get("flags").is_none_or(|flags| flags.split(',').any(|flag| DOWN.contains(&flag)))
}

fn listed_address(fields: &HashMap<String, String>) -> Option<HostPort> {
    let port = fields.get("port")?.parse().ok().filter(|&port| port != 0)?;
    let host = fields.get("ip").filter(|host| !host.is_empty())?.clone();
    Some(HostPort { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> Vec<(Value, Value)> {
        let bulk = |text: &str| Value::BulkString(text.into());
        fields.iter().map(|(name, value)| (bulk(name), bulk(value))).collect()
    }

    fn flat(fields: &[(Value, Value)]) -> Value {
        Value::Array(fields.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect())
    }

    /// Both protocols' forms of a list of maps.
    fn lists(all: &[Vec<(Value, Value)>]) -> [Value; 2] {
        let in_resp3 = Value::Array(all.iter().map(|fields| Value::Map(fields.clone())).collect());
        [in_resp3, Value::Array(all.iter().map(|fields| flat(fields)).collect())]
    }

    #[test]
    fn announcements_are_read() {
        let to = Some(HostPort { host: "10.0.0.2".to_owned(), port: 6380 });
        assert_eq!(switched("mymaster 10.0.0.1 6379 10.0.0.2 6380", "mymaster"), to);
        for other in ["yours 10.0.0.1 6379 10.0.0.2 6380", "mymaster 10.0.0.1 6379", "", "mymaster a b c d"] {
            assert_eq!(switched(other, "mymaster"), None, "{other}");
        }
    }

    #[test]
    fn replicas_that_are_down_or_do_not_follow_are_left_out() {
        let replica = |port: &str, flags: &str, link: &str| {
            map(&[("name", "x"), ("ip", "10.0.0.2"), ("port", port), ("flags", flags), ("master-link-status", link)])
        };
        let all = [
            replica("1", "slave", "ok"),
            replica("2", "s_down,slave", "ok"),
            replica("3", "slave,disconnected", "ok"),
            replica("4", "slave", "err"),
            // A node that listens with TLS only may announce no port: that spoils no other entry.
            replica("0", "slave", "ok"),
            map(&[("name", "x")]),
            replica("5", "slave", "ok"),
        ];
        for answer in lists(&all) {
            let ports: Vec<_> = replicas(answer).expect("an answer").iter().map(|replica| replica.port).collect();
            assert_eq!(ports, [1, 5]);
        }
        assert!(replicas(Value::Nil).is_none());
    }

    #[test]
    fn epochs_and_other_sentinels_are_read_in_both_protocols() {
        let master = map(&[("name", "m"), ("ip", "10.0.0.2"), ("config-epoch", "12")]);
        assert_eq!(epoch(Value::Map(master.clone())), Some(12));
        assert_eq!(epoch(flat(&master)), Some(12));
        assert_eq!(epoch(Value::Nil), None);
        let peer = |port: &str, flags: &str| {
            map(&[("name", "x"), ("ip", "10.0.0.3"), ("port", port), ("runid", "abc"), ("flags", flags)])
        };
        for answer in lists(&[peer("1", "sentinel"), peer("2", "s_down,sentinel"), peer("0", "sentinel")]) {
            let address = HostPort { host: "10.0.0.3".to_owned(), port: 1 };
            assert_eq!(peers(answer), Some(vec![Peer { address, id: "abc".to_owned() }]));
        }
    }

    #[test]
    fn no_master_address_without_host_and_port() {
        let answer = |host: &str, port: &str| {
            address(Value::Array(vec![Value::BulkString(host.into()), Value::BulkString(port.into())]))
        };
        assert_eq!(answer("h", "1"), Some(HostPort { host: "h".to_owned(), port: 1 }));
        assert_eq!((answer("", "1"), answer("h", "0"), address(Value::Nil)), (None, None, None));
    }
}
