use super::*;
use crate::prefix::KeyPrefix;
use bytes::BytesMut;

fn sealed(frame: &Frame, prefix: &KeyPrefix) -> String {
    let mut out = BytesMut::new();
    prefix.seal(frame).map(|sealed| sealed.encode(&mut out)).map_err(|e| e.to_string()).unwrap_or_default();
    String::from_utf8_lossy(&out).into_owned()
}

#[test]
fn only_keys_take_the_prefix() {
    let prefix = KeyPrefix::new("a?b:").expect("valid");
    let frame = Frame::known("SORT").key("list").arg("LIMIT").arg(0).arg(10).pattern("x*");
    assert_eq!(
        sealed(&frame, &prefix),
        "*6\r\n$4\r\nSORT\r\n$8\r\na?b:list\r\n$5\r\nLIMIT\r\n$1\r\n0\r\n$2\r\n10\r\n$7\r\na\\?b:x*\r\n"
    );
    assert_eq!(frame.args().count(), 6);
}

#[test]
fn a_keyspace_channel_takes_the_prefix_after_its_colon() {
    let prefix = KeyPrefix::new("p:").expect("valid");
    let frame = Frame::known("SSUBSCRIBE").channel("__keyspace@0__:k");
    assert!(sealed(&frame, &prefix).ends_with("$18\r\n__keyspace@0__:p:k\r\n"));
}

#[test]
fn the_error_of_an_invalid_frame_names_the_command_but_no_arguments() {
    let frame = Frame::known("DEL").arg("secret").invalid("needs at least one key");
    let error = frame.check().expect_err("invalid");
    assert_eq!(error.to_string(), "DEL: needs at least one key");
    assert!(!format!("{frame:?}").contains("secret"));
}
