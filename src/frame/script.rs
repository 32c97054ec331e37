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

    /// The digest in hexadecimal digits.
    fn short_digest(&self) -> &[u8] {
        Words(&self.short).nth(1).unwrap_or_default()
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

    /// The commands that the server refused because it does not know their scripts, as decided by `is_unknown`.
    pub(crate) fn unknown_scripts(&self, answer: &Value, is_unknown: fn(&Value) -> bool) -> Vec<UnknownScript> {
        let unknown = |position: usize, command: &Self| {
            let digest = command.script()?.short_digest().to_vec();
            Some(UnknownScript { position, digest, with_source: command.with_source() })
        };
        match (self.extra(), answer) {
            (Some(Extra::Script(_)), reply) if is_unknown(reply) => unknown(0, self).into_iter().collect(),
            (Some(Extra::Unit(unit)), Value::Array(replies)) if !unit.is_atomic() && !self.is_pinned() => {
                let refused = replies.iter().enumerate().filter(|(_, reply)| is_unknown(reply));
                refused.filter_map(|(position, _)| unknown(position, &unit.script_command(position)?)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// A command whose script a server does not know.
pub(crate) struct UnknownScript {
    /// The position of the command in its pipeline.
    pub(crate) position: usize,
    /// In hexadecimal digits.
    pub(crate) digest: Vec<u8>,
    pub(crate) with_source: Frame,
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
        let unknown_scripts = unit.unknown_scripts(&answer, is_unknown);
        assert_eq!(unknown_scripts.iter().map(|script| script.position).collect::<Vec<_>>(), [2, 4]);
        assert!(unknown_scripts.iter().all(|script| script.digest == b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db"));
        assert_eq!(sealed(&unknown_scripts[0].with_source).len(), LONG.len() + 5009);
        assert_eq!(sealed(&unknown_scripts[1].with_source), LONG.replace("p:k", "p:m"));
        assert!(unit.unknown_scripts(&Value::Array(vec![Value::Int(1); 5]), is_unknown).is_empty());
        assert!(cas("k").unknown_scripts(&Value::Int(1), is_unknown).is_empty());
        assert_eq!(cas("k").unknown_scripts(&unknown(), is_unknown).len(), 1);
    }
}
