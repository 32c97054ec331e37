//! Proof 6: in a line built by hand, exactly the arguments that take the prefix may be marked.

use redis_actix_corpus::{Line, Role};

use super::LINES;
use crate::error::Result;
use crate::frame::Frame;
use crate::prefix::policy::{Policy, policy};
use crate::prefix::positions::positions;

/// How the caller marks an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marking {
    Nothing,
    Key,
    Pattern,
    Channel,
    ChannelPattern,
}

impl Marking {
    fn right(role: Role, arg: &[u8]) -> Self {
        match role {
            Role::Plain => Self::Nothing,
            // The server compares C strings, which end at the first NUL.
            Role::Template if !arg.split(|byte| *byte == 0).next().is_some_and(|text| text.contains(&b'*')) => {
                Self::Nothing
            }
            Role::Key | Role::Template => Self::Key,
            Role::Glob => Self::Pattern,
            Role::Channel => Self::Channel,
            Role::ChannelPattern => Self::ChannelPattern,
        }
    }
}

/// Builds the line with the right mark on each argument, except for `wrong` on the argument at `at`.
fn judged(line: &Line, at: usize, wrong: Option<Marking>) -> Result<()> {
    let name = String::from_utf8_lossy(&line.argv[0]).into_owned();
    let mut frame = Frame::new(&name);
    for (index, (arg, role)) in line.argv.iter().zip(&line.roles).enumerate().skip(1) {
        let said = wrong.filter(|_| index == at).unwrap_or(Marking::right(*role, arg));
        frame = match said {
            Marking::Nothing => frame.arg(arg.as_slice()),
            Marking::Key => frame.key(arg),
            Marking::Pattern => frame.pattern(arg),
            Marking::Channel => frame.channel(arg),
            Marking::ChannelPattern => frame.channel_pattern(arg),
        };
    }
    frame.hold(std::time::Duration::from_secs(1)).check()
}

/// Ablation: `compare` without its check of marks that the table does not have accepts 9 of 10 wrong marks.
#[test]
fn exactly_the_keys_of_a_line_may_be_marked() {
    const WRONG: [Marking; 4] = [Marking::Key, Marking::Pattern, Marking::Channel, Marking::ChannelPattern];
    let (mut lines, mut extra, mut missing) = (0, 0, 0);
    for (round, line) in LINES.iter().enumerate() {
        let sent = matches!(policy(&line.argv), Policy::Allowed | Policy::Blocking);
        if !sent || !positions(&line.argv).is_ok_and(|found| !found.lacks_match) || judged(line, 0, None).is_err() {
            continue;
        }
        lines += 1;
        for (at, (arg, role)) in line.argv.iter().zip(&line.roles).enumerate().skip(1) {
            // Names shared by all services take no prefix, in any role.
            if arg.starts_with(b"__") {
                continue;
            }
            let right = Marking::right(*role, arg);
            let wrong = if right == Marking::Nothing { WRONG[(round + at) % WRONG.len()] } else { Marking::Nothing };
            let error = judged(line, at, Some(wrong)).expect_err(&line.show()).to_string();
            let (start, counted) = match wrong {
                Marking::Nothing => (format!("argument {at} is a"), &mut missing),
                _ => (format!("argument {at} of "), &mut extra),
            };
            assert!(error.contains(&start), "{}: {error}", line.show());
            *counted += 1;
        }
    }
    assert!(lines > 10_000 && extra > 10_000 && missing > 10_000, "{lines} {extra} {missing}");
}
