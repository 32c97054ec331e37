//! The names of connections, and the prefix of keys.

use super::describe::Description;
use super::draft::{Draft, Given, Origin, PrefixChoice};
use crate::prefix::KeyPrefix;

const DEFAULT_ENVIRONMENT: &str = "development";
const DEFAULT_NAMESPACE: &str = "whatsapp";

/// The name of the environment, such as `test` or `production`.
pub(super) fn environment(draft: &mut Draft, rows: &mut Description) -> Given<String> {
    let given = draft.environment.take().unwrap_or_else(|| Given::new(DEFAULT_ENVIRONMENT.to_owned(), Origin::Default));
    draft.holds_url_or_key(&given);
    rows.row("environment", given.value.clone(), given.origin);
    given
}

/// The prefix: the whole one if given, else `{namespace}:{environment}:`.
pub(super) fn key_prefix(draft: &mut Draft, environment: &Given<String>, rows: &mut Description) -> KeyPrefix {
    let (namespace, default_namespace) = (draft.key_namespace.take(), draft.default_key_namespace.take());
    let Some(Given { value: choice, origin }) = draft.key_prefix.take() else {
        if draft.reported("REDIS_KEY_PREFIX") {
            return KeyPrefix::none();
        }
        let namespace = namespace
            .or(default_namespace)
            .unwrap_or_else(|| Given::new(DEFAULT_NAMESPACE.to_owned(), Origin::Default));
        draft.holds_url_or_key(&namespace);
        return composed(draft, &namespace, environment, rows);
    };
    if let Some(namespace) = namespace {
        draft.problem(
            namespace.name(),
            format!("cannot be used together with {}, which is the whole prefix: remove one of the two", origin.name()),
        );
    }
    if let PrefixChoice::Plain(text) | PrefixChoice::HashTag(text) = &choice {
        draft.holds_url_or_key(&Given::new(text.clone(), origin));
    }
    let prefix = match &choice {
        PrefixChoice::Plain(prefix) => KeyPrefix::new(prefix),
        PrefixChoice::HashTag(prefix) => KeyPrefix::with_hash_tag(prefix),
        PrefixChoice::None => Ok(KeyPrefix::none()),
    };
    let prefix = prefix.unwrap_or_else(|error| {
        draft.problem(origin.name(), error.reason());
        KeyPrefix::none()
    });
    let shown = if prefix.as_str().is_empty() { "(none)" } else { prefix.as_str() };
    rows.row("key prefix", shown, origin);
    prefix
}

fn composed(
    draft: &mut Draft,
    namespace: &Given<String>,
    environment: &Given<String>,
    rows: &mut Description,
) -> KeyPrefix {
    let before = draft.problems.len();
    for part in [namespace, environment] {
        if draft.reported(part.name()) {
            continue;
        }
        if part.value.is_empty() {
            draft.problem(part.name(), "must not be empty: it is a part of the key prefix");
        } else if let Err(error) = KeyPrefix::new(format!("{}:", part.value)) {
            draft.problem(part.name(), format!("is a part of the key prefix and {}", error.reason()));
        }
    }
    if draft.problems.len() > before {
        return KeyPrefix::none();
    }
    let prefix = KeyPrefix::new(format!("{}:{}:", namespace.value, environment.value)).unwrap_or_else(|error| {
        // Each part is valid by itself, so the combination is too long.
        let longer = if namespace.value.len() > environment.value.len() { namespace } else { environment };
        draft.problem(longer.name(), format!("makes a key prefix that {}", error.reason()));
        KeyPrefix::none()
    });
    let origin = match (namespace.origin, environment.origin) {
        (Origin::Default, environment) => environment.to_string(),
        (namespace, Origin::Default) => namespace.to_string(),
        (namespace, environment) if namespace.to_string() == environment.to_string() => namespace.to_string(),
        (namespace, environment) => format!("{namespace}, {environment}"),
    };
    rows.row("key prefix", prefix.as_str(), origin);
    prefix
}

/// The name of the connection in `CLIENT LIST`.
pub(super) fn client_name(draft: &mut Draft, rows: &mut Description) -> Option<String> {
    let Some(name) = draft.client_name.take() else {
        rows.row("client name", "(none)", Origin::Default);
        return None;
    };
    // The characters that CLIENT SETNAME accepts.
    if !draft.holds_url_or_key(&name)
        && (name.value.is_empty() || !name.value.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        draft.problem(name.name(), "must consist of printable ASCII characters, without spaces");
    }
    rows.row("client name", name.value.clone(), name.origin);
    Some(name.value)
}
