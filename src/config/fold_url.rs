//! Merges the URL into the draft.

use super::address::host;
use super::draft::{Draft, Given, Origin};
use super::url::{UrlTarget, parse};

/// Replaces the URL of a draft by its settings.
///
/// A URL is a complete address, so it sets host, port and database even if it omits them. Omitted credentials may be
/// set separately, so that the URL needs no password.
pub(super) fn fold_url(draft: &mut Draft) {
    let Some(Given { value: url, origin }) = draft.url.take() else { return };
    let parts = match parse(&url) {
        Ok(parts) => parts,
        Err(words) => return draft.problem(origin.name(), words),
    };
    let lists = [&draft.cluster_hosts, &draft.sentinel_hosts].into_iter().flatten().map(Given::name).next();
    if let Some(list) = lists.or(draft.sentinel_master.as_ref().map(Given::name)) {
        return draft.problem(
            origin.name(),
            format!(
                "cannot be used together with {list}, which sets the addresses of the servers: remove one of the two"
            ),
        );
    }

    let mut disagreeing = Vec::new();
    let tls = match parts.place {
        UrlTarget::Tcp { host: name, port, tls } => {
            if let Some(socket) = draft.unix_socket.take() {
                draft.problem(
                    socket.name(),
                    format!("cannot be used together with {}, which sets a host: remove one of the two", origin.name()),
                );
            }
            let same_host = |given: &String| host(given).is_some_and(|given| given.eq_ignore_ascii_case(&name));
            disagreeing.extend(disagrees(&draft.host, same_host));
            disagreeing.extend(disagrees(&draft.port, |&given| given == port));
            draft.host = Some(Given::new(name, origin));
            draft.port = Some(Given::new(port, origin));
            tls
        }
        UrlTarget::Unix(path) => {
            disagreeing.extend(disagrees(&draft.unix_socket, |given| *given == path));
            draft.unix_socket = Some(Given::new(path, origin));
            false
        }
    };
    disagreeing.extend(disagrees(&draft.db, |&given| given == parts.db));
    draft.db = Some(Given::new(parts.db, origin));
    if let Some(name) = parts.username {
        disagreeing.extend(disagrees(&draft.username, |given| *given == name));
        draft.username = Some(Given::new(name, origin));
    }
    if let Some(password) = parts.password {
        disagreeing.extend(disagrees(&draft.password, |given| given.expose() == password.expose()));
        draft.password = Some(Given::new(password, origin));
    }
    for name in disagreeing {
        let url = origin.name();
        draft.problem(
            name,
            format!(
                "contradicts {url}, which has another value (or the default, if it omits it): remove one of the two"
            ),
        );
    }
    fold_tls(draft, tls, origin);
}

fn fold_tls(draft: &mut Draft, tls: bool, origin: Origin) {
    if let Some(name) = disagrees(&draft.tls, |&given| given == tls) {
        let advice = match (draft.unix_socket.is_some(), tls) {
            (true, _) => "is a unix socket, which does not support TLS: remove one of the two",
            (false, true) => "begins with rediss://, which enables TLS: use redis:// there, or remove this setting",
            (false, false) => "begins with redis://, which disables TLS: use rediss:// there, or remove this setting",
        };
        draft.problem(name, format!("contradicts {}, which {advice}", origin.name()));
    }
    draft.tls = Some(Given::new(tls, origin));
}

/// The name of a setting that is given and is not the `same`.
fn disagrees<T>(given: &Option<Given<T>>, same: impl FnOnce(&T) -> bool) -> Option<&'static str> {
    given.as_ref().filter(|given| !same(&given.value)).map(Given::name)
}
