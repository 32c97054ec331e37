//! Maps the addresses that servers announce to addresses that are reachable from this machine.

use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
    sync::Arc,
};

use super::address::{HostPort, host, port};

const WORDS: &str = "must list announced=reachable,announced=reachable, each as host or host:port with a port from 1 to 65535 \
     and IPv6 addresses in brackets";

type Mapping = dyn Fn(&HostPort) -> HostPort + Send + Sync;

/// The configured mapping. Cloning is cheap.
#[derive(Clone)]
pub(super) enum AddressMap {
    Listed(Arc<[Entry]>),
    Computed(Arc<Mapping>),
}

/// One replacement. A missing port matches any port on the left, and keeps the announced port on the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    announced: MappedAddress,
    reachable: MappedAddress,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct MappedAddress {
    host: String,
    port: Option<u16>,
}

impl AddressMap {
    pub(super) fn computed(mapping: impl Fn(&HostPort) -> HostPort + Send + Sync + 'static) -> Self {
        Self::Computed(Arc::new(mapping))
    }

    /// The address to dial. An entry with a port takes precedence over one without.
    pub(super) fn apply(&self, announced: HostPort) -> HostPort {
        match self {
            // This is user code on the connection's thread, so a panic must not reach the connection.
            Self::Computed(mapping) => catch_unwind(AssertUnwindSafe(|| mapping(&announced))).unwrap_or(announced),
            Self::Listed(entries) => {
                let of_port = |port: Option<u16>| entries.iter().find(|entry| entry.is_for(&announced, port));
                match of_port(Some(announced.port)).or_else(|| of_port(None)) {
                    Some(Entry { reachable, .. }) => {
                        HostPort { host: reachable.host.clone(), port: reachable.port.unwrap_or(announced.port) }
                    }
                    None => announced,
                }
            }
        }
    }
}

/// Two closures cannot be compared, so a new one counts as different.
impl PartialEq for AddressMap {
    fn eq(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Listed(one), Self::Listed(other)) if one == other)
    }
}

impl fmt::Display for AddressMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Listed(entries) = self else { return f.write_str("(by code)") };
        for (index, entry) in entries.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}={}", entry.announced, entry.reachable)?;
        }
        Ok(())
    }
}

impl fmt::Debug for AddressMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Entry {
    fn is_for(&self, address: &HostPort, port: Option<u16>) -> bool {
        self.announced.port == port && self.announced.host.eq_ignore_ascii_case(&address.host)
    }
}

impl fmt::Display for MappedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => HostPort { host: self.host.clone(), port }.fmt(f),
            None if self.host.contains(':') => write!(f, "[{}]", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl MappedAddress {
    fn of(text: &str) -> Option<Self> {
        let (name, number) = match text.rsplit_once(':') {
            Some((name, number)) if !number.ends_with(']') => (name, Some(port(number)?)),
            _ => (text, None),
        };
        // `::1` is ambiguous without brackets: it could be a host and a port.
        if name.contains(':') && !name.starts_with('[') {
            return None;
        }
        Some(Self { host: host(name)?.to_owned(), port: number })
    }
}

impl FromStr for AddressMap {
    type Err = Cow<'static, str>;

    /// Errors do not quote the value, because it may be a secret.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, entry) in text.split(',').enumerate() {
            let places = entry.split_once('=').and_then(|(announced, reachable)| {
                Some(Entry {
                    announced: MappedAddress::of(announced.trim())?,
                    reachable: MappedAddress::of(reachable.trim())?,
                })
            });
            let Some(entry) = places else {
                return Err(format!("{WORDS}; entry {} is invalid", index + 1).into());
            };
            let same = |other: &Entry| {
                other.announced.port == entry.announced.port
                    && other.announced.host.eq_ignore_ascii_case(&entry.announced.host)
            };
            if entries.iter().any(same) {
                return Err(
                    format!("maps the announced address of entry {} twice: remove one of the two", index + 1).into()
                );
            }
            entries.push(entry);
        }
        Ok(Self::Listed(entries.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(map: &str, host: &str, port: u16) -> String {
        let map: AddressMap = map.parse().unwrap_or_else(|error| panic!("{map}: {error}"));
        map.apply(HostPort { host: host.to_owned(), port }).to_string()
    }

    #[test]
    fn an_entry_with_a_port_takes_precedence() {
        const MAP: &str = "10.0.0.1=gateway, 10.0.0.1:7001 = localhost:17001,[::1]:1=[::2],Node-1=[fe80::1]:5";
        assert_eq!(mapped(MAP, "10.0.0.1", 7001), "localhost:17001");
        assert_eq!(mapped(MAP, "10.0.0.1", 7002), "gateway:7002");
        assert_eq!(mapped(MAP, "10.0.0.2", 7001), "10.0.0.2:7001");
        assert_eq!(mapped(MAP, "::1", 1), "[::2]:1");
        assert_eq!(mapped(MAP, "node-1", 9), "[fe80::1]:5");
        let shown = "10.0.0.1=gateway,10.0.0.1:7001=localhost:17001,[::1]:1=[::2],Node-1=[fe80::1]:5";
        assert_eq!(MAP.parse::<AddressMap>().map(|map| map.to_string()).as_deref(), Ok(shown));
    }

    #[test]
    fn invalid_maps_are_refused_without_quoting_them() {
        for (map, words) in [
            ("SECRET", "entry 1 is invalid"),
            ("a=b,redis://:SECRET@h=b", "entry 2 is invalid"),
            ("a:0=b", "entry 1 is invalid"),
            ("a=b:x", "entry 1 is invalid"),
            ("::1=b", "entry 1 is invalid"),
            ("a=b,", "entry 2 is invalid"),
            ("a=b,A=c", "entry 2 twice"),
            ("a:1=b,a:1=b", "entry 2 twice"),
        ] {
            let error = map.parse::<AddressMap>().expect_err(map);
            assert!(error.contains(words) && !error.contains("SECRET"), "{map}: {error}");
        }
    }

    /// Ablation: without `catch_unwind` the panic ends the actor of the connection.
    #[test]
    fn a_mapping_that_panics_keeps_the_address() {
        let panics = AddressMap::computed(|_| panic!("injected: no mapping"));
        assert_eq!(panics.apply(HostPort { host: "a".to_owned(), port: 1 }).to_string(), "a:1");
    }
}
