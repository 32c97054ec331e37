//! Blocking commands: the server may delay their replies by design.

use std::time::Duration;

use super::origin::Origin;
use super::{Frame, Traits, millis};
use crate::error::Error;
use crate::prefix::refusal::RefusalClass;
use crate::prefix::waits::{Latest, Wait, latest, wait};

const IN_A_PIPELINE: &str = "a pipeline cannot hold a blocking command, because later commands would wait too: send it by itself, or in a transaction, where it does not block";

impl Frame {
    /// The timeout in its arguments, if it is a known blocking command.
    pub(crate) fn wait(&self) -> Option<Wait> {
        if self.is_unit() { None } else { wait(&self.argv()).ok().flatten() }
    }

    /// The maximum time for which the server may delay the reply.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.wait().map_or_else(|| self.longest_hold(), |wait| wait.longest)
    }

    /// Whether it waits for the replication of earlier writes of the same connection, so that it has no meaning by
    /// itself.
    pub(crate) fn waits_for_writes(&self) -> bool {
        !self.is_unit() && matches!(self.name().as_str(), "WAIT" | "WAITAOF")
    }

    /// The streams that it reads from an id determined by the server; see [`latest`].
    pub(crate) fn latest(&self) -> Vec<Latest> {
        if self.is_unit() { Vec::new() } else { latest(&self.argv()) }
    }

    /// The command that reads the last entry of one of these streams.
    pub(crate) fn last_entry(&self, of: Latest) -> Self {
        let argv = self.argv();
        let key = argv.get(of.key).copied().unwrap_or_default();
        let question = Self::known("XREVRANGE").key(key).arg("+").arg("-").arg("COUNT").arg(1);
        if self.is_unprefixed() { question.unprefixed() } else { question }
    }

    /// The same command with these ids.
    pub(crate) fn with_ids(&self, ids: &[(Latest, String)]) -> Self {
        let mut line: Vec<Vec<u8>> = self.argv().iter().map(|word| word.to_vec()).collect();
        for (of, id) in ids {
            if let Some(word) = line.get_mut(of.id) {
                *word = id.as_bytes().to_vec();
            }
        }
        let mut frame = Self::of_line(&line, &self.marked());
        let origin = if self.is_unprefixed() { Origin::RawKeyspace } else { Origin::Known };
        frame.traits = Traits { origin, reply_keys: self.keys_in_reply(), ..self.traits };
        (frame.hold, frame.timeout) = (self.hold, self.timeout);
        frame
    }

    /// The same command with a wait of `longest` and the given deadline. It was checked before.
    pub(crate) fn waiting(&self, wait: Option<&Wait>, longest: Duration, deadline: Duration) -> Self {
        let mut frame = match wait {
            Some(wait) if wait.divisible => Self::of_line(&wait.shortened(&self.argv(), longest), &self.marked()),
            _ => self.clone(),
        };
        let origin = if self.is_unprefixed() { Origin::RawKeyspace } else { Origin::Known };
        frame.traits = Traits { origin, reply_keys: self.keys_in_reply(), ..self.traits };
        frame.hold = millis(longest);
        frame.timeout(deadline)
    }

    /// Checks whether it may be part of a pipeline, on a connection with other commands.
    pub(super) fn may_be_joined(&self) -> Result<(), Error> {
        if self.waits() && !self.waits_for_writes() {
            return Err(Error::refused(RefusalClass::Blocking, IN_A_PIPELINE).of_command(self.name()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::ReplyKeys;
    use crate::prefix::KeyPrefix;
    use bytes::BytesMut;

    #[test]
    fn changing_the_wait_keeps_all_other_arguments() {
        let prefix = KeyPrefix::new("p:").expect("valid");
        let second = Duration::from_secs(1);
        let frame = Frame::new("blpop").key("a").key("b").arg(0);
        assert!(frame.waits() && frame.check().is_ok());
        let wait = frame.wait().expect("waits");
        let sliced = frame.waiting(Some(&wait), second * 3, second * 9);
        let mut out = BytesMut::new();
        prefix.seal(&sliced).expect("sealed").encode(&mut out);
        assert_eq!(&out[..], b"*4\r\n$5\r\nblpop\r\n$3\r\np:a\r\n$3\r\np:b\r\n$1\r\n3\r\n");
        assert_eq!((sliced.longest_hold(), sliced.own_timeout()), (second * 3, Some(second * 9)));
        assert_eq!(sliced.keys_in_reply(), ReplyKeys::First);
        let operators = Frame::new("BLPOP").arg("a").arg(0).unprefixed();
        let sliced = operators.waiting(operators.wait().as_ref(), second, second);
        assert!(operators.waits() && sliced.is_unprefixed() && sliced.check().is_ok());
    }

    #[test]
    fn the_only_blocking_commands_in_pipelines_are_wait_and_waitaof() {
        let set = || Frame::known("SET").key("a").arg(1);
        let wait = |ms: u64| Frame::new("WAIT").arg(1).arg(ms);
        let pop = || Frame::new("BLPOP").key("a").arg(1);
        let unit = Frame::join([set(), wait(30), set(), wait(40)]);
        assert_eq!((unit.check().is_ok(), unit.waits()), (true, true));
        assert_eq!(unit.longest_wait(), Duration::from_millis(70), "one after the other");
        let error = Frame::join([set(), pop()]).check().expect_err("refused");
        assert!(error.to_string().starts_with("BLPOP: a pipeline cannot hold"), "{error}");
        let unit = Frame::atomic([set(), pop(), wait(0)]);
        assert_eq!((unit.check().is_ok(), unit.waits()), (true, false), "inside MULTI nothing blocks");
    }
}
