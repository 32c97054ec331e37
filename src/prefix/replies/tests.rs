use super::*;

const PREFIX: &[u8] = b"app:";

fn text(text: &str) -> Value {
    Value::BulkString(text.into())
}

fn list(items: &[&str]) -> Value {
    Value::Array(items.iter().map(|item| text(item)).collect())
}

fn array<const N: usize>(items: [Value; N]) -> Value {
    Value::Array(items.into())
}

fn error(line: &str) -> Value {
    redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap_or_default()
}

#[test]
fn the_key_of_a_pop_loses_its_prefix_or_the_reply_is_dropped() {
    let (value, leaked) = strip(ReplyKeys::First, PREFIX, list(&["app:k", "app:v"]));
    assert_eq!((value, leaked), (list(&["k", "app:v"]), 0));
    let (value, leaked) = strip(ReplyKeys::First, PREFIX, list(&["other:k", "v"]));
    assert_eq!((value, leaked), (Value::Nil, 1));
    let (value, leaked) = strip(ReplyKeys::First, PREFIX, Value::Nil);
    assert_eq!((value, leaked), (Value::Nil, 0));
}

#[test]
fn only_the_first_prefix_of_a_key_is_removed() {
    let (value, _) = strip(ReplyKeys::Each, PREFIX, list(&["app:app:k", "app:"]));
    assert_eq!(value, list(&["app:k", ""]));
}

#[test]
fn a_scan_page_keeps_its_cursor_and_drops_names_without_the_prefix() {
    let page = array([text("17"), list(&["app:a", "ap:b", "app:c"])]);
    let (value, leaked) = strip(ReplyKeys::ScanPage, PREFIX, page);
    assert_eq!((value, leaked), (array([text("17"), list(&["a", "c"])]), 1));
}

#[test]
fn stream_names_lose_the_prefix_in_both_protocols() {
    let entries = || array([array([text("1-1"), list(&["f", "app:v"])])]);
    let (value, _) = strip(ReplyKeys::Streams, PREFIX, array([array([text("app:s"), entries()])]));
    assert_eq!(value, array([array([text("s"), entries()])]));
    let (value, leaked) =
        strip(ReplyKeys::Streams, PREFIX, Value::Map(vec![(text("app:s"), entries()), (text("x"), entries())]));
    assert_eq!((value, leaked), (Value::Map(vec![(text("s"), entries())]), 1));
}

#[test]
fn channels_lose_the_prefix_by_the_channel_rule() {
    let names = list(&["app:c", "__keyspace@0__:app:k", "__keyspace@0__:k", "c"]);
    let (value, leaked) = strip(ReplyKeys::Channels, PREFIX, names);
    assert_eq!((value, leaked), (list(&["c", "__keyspace@0__:k"]), 2));
    let counts = array([text("app:c"), Value::Int(2), text("d"), Value::Int(1)]);
    let (value, leaked) = strip(ReplyKeys::ChannelCounts, PREFIX, counts);
    assert_eq!((value, leaked), (array([text("c"), Value::Int(2)]), 1));
}

#[test]
fn source_and_rules_of_a_time_series_lose_the_prefix() {
    let rule = |name| array([text(name), Value::Int(60), text("AVG")]);
    let reply = array([
        text("sourceKey"),
        text("app:s"),
        text("labels"),
        list(&["app:l"]),
        text("rules"),
        array([rule("app:r"), rule("x:r")]),
    ]);
    let (value, leaked) = strip(ReplyKeys::TimeSeries, PREFIX, reply);
    let wanted =
        array([text("sourceKey"), text("s"), text("labels"), list(&["app:l"]), text("rules"), array([rule("r")])]);
    assert_eq!((value, leaked), (wanted, 1));
    let reply = Value::Map(vec![
        (text("sourceKey"), text("x:s")),
        (text("rules"), Value::Map(vec![(text("app:r"), Value::Nil)])),
    ]);
    let wanted =
        Value::Map(vec![(text("sourceKey"), Value::Nil), (text("rules"), Value::Map(vec![(text("r"), Value::Nil)]))]);
    assert_eq!(strip(ReplyKeys::TimeSeries, PREFIX, reply), (wanted, 1));
}

#[test]
fn nogroup_errors_lose_the_prefix_of_the_quoted_key() {
    for (said, wanted, leaks) in [
        (
            "NOGROUP No such key 'app:s' or consumer group 'app:g' in XREADGROUP with GROUP option",
            "NOGROUP No such key 's' or consumer group 'app:g' in XREADGROUP with GROUP option",
            0,
        ),
        (
            "NOGROUP No such consumer group 'No such key 'app:x' for key name 'app:s'",
            "NOGROUP No such consumer group 'No such key 'app:x' for key name 's'",
            0,
        ),
        ("NOGROUP No such key 'x:s' or consumer group 'g'", "NOGROUP no such key or consumer group", 1),
        // The code decides: the same text with another code is unchanged.
        ("ERR No such key 'app:s'", "ERR No such key 'app:s'", 0),
        ("NOGROUP something new 'app:s'", "NOGROUP something new 'app:s'", 0),
    ] {
        let (value, leaked) = strip(ReplyKeys::None, PREFIX, error(said));
        assert_eq!((value, leaked), (error(wanted), leaks), "{said}");
    }
}

#[test]
fn each_reply_of_a_transaction_uses_the_rule_of_its_command() {
    let kinds = [ReplyKeys::None, ReplyKeys::First];
    let reply = array([text("app:v"), list(&["app:k", "app:v"]), text("app:extra")]);
    let (value, leaked) = strip_each(kinds, PREFIX, reply);
    let wanted = array([text("app:v"), list(&["k", "app:v"]), text("app:extra")]);
    assert_eq!((value, leaked), (wanted, 0));
    assert_eq!(strip_each(kinds, PREFIX, Value::Nil), (Value::Nil, 0));
}

#[test]
fn messages_without_the_prefix_are_not_delivered() {
    for (message, wanted, leaks) in [
        (&["message", "app:c", "app:p"][..], Some(&["message", "c", "app:p"][..]), 0),
        (&["message", "c", "p"], None, 1),
        (&["pmessage", "app:*", "app:c", "p"], Some(&["pmessage", "*", "c", "p"]), 0),
        (&["smessage", "app:c", "p"], Some(&["smessage", "c", "p"]), 0),
        (&["message", "__keyspace@0__:app:k", "set"], Some(&["message", "__keyspace@0__:k", "set"]), 0),
        (&["pmessage", "__keyspace@*__:app:*", "__keyspace@0__:other__:app:x", "set"], None, 1),
        (&["message", "__keyevent@0__:del", "app:k"], Some(&["message", "__keyevent@0__:del", "k"]), 0),
        (&["message", "__keyevent@0__:del", "k"], None, 0),
        (&["message", "short"], None, 1),
    ] {
        let (value, leaked) = strip_push(PREFIX, list(message));
        assert_eq!((value, leaked), (wanted.map(list), leaks), "{message:?}");
    }
}

#[test]
fn a_pattern_is_returned_unescaped() {
    let prefix = b"a*[b:";
    let message = Value::Push { kind: PushKind::PSubscribe, data: vec![text("a\\*\\[b:x*"), Value::Int(1)] };
    let wanted = Value::Push { kind: PushKind::PSubscribe, data: vec![text("x*"), Value::Int(1)] };
    assert_eq!(strip_push(prefix, message), (Some(wanted), 0));
    let nothing = array([text("punsubscribe"), Value::Nil, Value::Int(0)]);
    assert_eq!(strip_push(prefix, nothing.clone()), (Some(nothing), 0));
}

#[test]
fn an_invalidation_keeps_keys_with_the_prefix_or_all_keys() {
    let push = |keys| Value::Push { kind: PushKind::Invalidate, data: vec![keys] };
    assert_eq!(strip_push(PREFIX, push(list(&["app:a", "b"]))), (Some(push(list(&["a"]))), 1));
    assert_eq!(strip_push(PREFIX, push(list(&["b"]))), (None, 1));
    assert_eq!(strip_push(PREFIX, push(Value::Nil)), (Some(push(Value::Nil)), 0));
}
