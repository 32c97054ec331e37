//! A command that runs a script: by digest if the server has the script, else with its source.

use std::sync::Arc;

use redis::Value;

use super::{Extra, Frame, arguments::Words};

/// A script in both forms, each encoded as the first two arguments of a command.
pub(crate) struct Source {
    digest: [u8; 20],
    /// `EVALSHA digest`
    short: Vec<u8>,
    /// `EVAL source`
    long: Vec<u8>,
}

impl Source {
    pub(crate) fn new(source: &str, read_only: bool) -> Self {
        let digest = sha1_smol::Sha1::from(source).digest();
        let (by_digest, by_source) = if read_only { ("EVALSHA_RO", "EVAL_RO") } else { ("EVALSHA", "EVAL") };
        let short = Frame::known(by_digest).arg(digest.to_string()).encoded;
        let long = Frame::known(by_source).arg(source).encoded;
        Self { digest: digest.bytes(), short, long }
    }

    pub(crate) fn digest(&self) -> &[u8; 20] {
        &self.digest
    }

    /// Replaces the first [`short_len`](Self::short_len) bytes if the server may not have the script.
    pub(super) fn long(&self) -> &[u8] {
        &self.long
    }

    /// The source of the script.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        Words(&self.long).nth(1)
    }

    pub(super) fn short_len(&self) -> usize {
        self.short.len()
    }
}

impl Frame {
    /// The beginning of a command that runs this script. The number of its keys comes next.
    pub(crate) fn of_script(script: &Arc<Extra>) -> Self {
        let Extra::Script(source) = &**script else { return Self::default().invalid("needs a script") };
        let encoded = source.short.clone();
        Self { encoded, arguments: 2, extra: Some(script.clone()), ..Self::known_empty() }
    }

    /// The script, if the command runs it by digest.
    pub(crate) fn script(&self) -> Option<&Source> {
        match self.extra() {
            Some(Extra::Script(source)) => Some(source),
            _ => None,
        }
    }

    /// The same command with the source of its script, which works on every server.
    pub(super) fn with_source(&self) -> Self {
        let Some(source) = self.script() else { return self.clone() };
        let arguments = self.encoded.get(source.short_len()..).unwrap_or_default();
        // The source is longer than its digest, except for a tiny script.
        let (short, long) = (source.short_len() as u32, source.long.len() as u32);
        let marks = self.marks.iter().map(|mark| mark.shifted(long).back(short));
        Self {
            encoded: [source.long(), arguments].concat(),
            marks: marks.collect(),
            extra: None,
            arguments: self.arguments,
            timeout: self.timeout,
            hold: self.hold,
            traits: self.traits,
            fault: self.fault.clone(),
        }
    }

    /// The command to send again if the server did not know a script, as decided by `is_unknown`. That reply proves
    /// that the command did not run. Also returns the indices of the replies in those of the unit.
    pub(crate) fn rerun(&self, answer: &Value, is_unknown: fn(&Value) -> bool) -> Option<(Self, Vec<usize>)> {
        match self.extra()? {
            Extra::Origin(_) => None,
            Extra::Script(_) => is_unknown(answer).then(|| (self.with_source(), Vec::new())),
            Extra::Unit(unit) if unit.is_atomic() || self.is_pinned() => None,
            Extra::Unit(unit) => {
                let Value::Array(replies) = answer else { return None };
                let unknown = replies.iter().enumerate().filter(|(_, reply)| is_unknown(reply));
                let (places, commands): (Vec<_>, Vec<_>) =
                    unknown.filter_map(|(place, _)| Some((place, unit.script_command(place)?.with_source()))).unzip();
                (!places.is_empty()).then(|| (Self::join(commands), places))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_unknown(reply: &Value) -> bool {
        matches!(reply, Value::ServerError(error) if error.code() == "NOSCRIPT")
    }
    use crate::prefix::KeyPrefix;
    use bytes::BytesMut;

    fn cas(key: &str) -> Frame {
        let script = Arc::new(Extra::Script(Source::new("return 1", false)));
        Frame::of_script(&script).arg(1).key(key).arg("old")
    }

    fn sealed(frame: &Frame) -> String {
        let prefix = KeyPrefix::new("p:").expect("valid");
        let mut out = BytesMut::new();
        prefix.seal(frame).expect("valid").encode(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn unknown() -> Value {
        redis::parse_redis_value(b"-NOSCRIPT No matching script\r\n").expect("an error reply")
    }

    const LONG: &str = "*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$3\r\np:k\r\n$3\r\nold\r\n";

    #[test]
    fn a_script_is_encoded_by_digest_or_with_its_source() {
        let short = sealed(&cas("k"));
        assert!(
            short.starts_with("*5\r\n$7\r\nEVALSHA\r\n$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n"),
            "{short}"
        );
        assert!(short.ends_with("$1\r\n1\r\n$3\r\np:k\r\n$3\r\nold\r\n"), "{short}");
        assert_eq!(sealed(&cas("k").with_source()), LONG);
    }

    #[test]
    fn the_first_use_in_a_unit_has_the_source_and_commands_can_be_rebuilt() {
        let large = "x".repeat(5000);
        let unit = Frame::join([cas("k"), Frame::known("GET").key("g"), cas("k").arg(&large), cas("l"), cas("m")]);
        let names: Vec<_> = (0..5).map(|n| unit.unit().expect("a unit").name_of(n)).collect();
        assert_eq!(names, ["EVAL", "GET", "EVALSHA", "EVALSHA", "EVALSHA"]);
        let answer = Value::Array(vec![Value::Int(1), unknown(), unknown(), Value::Int(1), unknown()]);
        let (again, places) = unit.rerun(&answer, is_unknown).expect("two to run again");
        assert_eq!(places, [2, 4]);
        let parts: Vec<_> = [2, 4].iter().map(|n| unit.unit().and_then(|unit| unit.script_command(*n))).collect();
        assert_eq!(sealed(&parts[0].as_ref().expect("a script").with_source()).len(), LONG.len() + 5009);
        assert_eq!(sealed(&parts[1].as_ref().expect("a script").with_source()), LONG.replace("p:k", "p:m"));
        assert_eq!(
            again.unit().map(|unit| (unit.len(), unit.name_of(0), unit.name_of(1))),
            Some((2, "EVAL".into(), "EVAL".into()))
        );
        assert!(unit.rerun(&Value::Array(vec![Value::Int(1); 5]), is_unknown).is_none());
        assert!(cas("k").rerun(&Value::Int(1), is_unknown).is_none());
        assert!(cas("k").rerun(&unknown(), is_unknown).is_some());
    }
}
