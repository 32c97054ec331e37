//! The command line.

use std::ffi::OsString;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Demo(Vec<OsString>),
    Test { quick: bool },
    Bench(Vec<OsString>),
    Help,
}

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Task, String> {
    let mut args = args.into_iter().peekable();
    let Some(command) = args.next() else {
        return Err("no command given".to_owned());
    };
    match command.to_str() {
        Some("demo") => {
            // `cargo run -- args` is common; the demo has no positional arguments.
            args.next_if(|arg| arg == "--");
            Ok(Task::Demo(args.collect()))
        }
        Some("test") => {
            let mut quick = false;
            for arg in args {
                match arg.to_str() {
                    Some("--quick") => quick = true,
                    Some("--help" | "-h") => return Ok(Task::Help),
                    _ => return Err(format!("test does not know {arg:?}: only --quick")),
                }
            }
            Ok(Task::Test { quick })
        }
        Some("bench") => Ok(Task::Bench(args.collect())),
        Some("help" | "--help" | "-h") => Ok(Task::Help),
        _ => Err(format!("unknown command {command:?}: demo, test, bench or help")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Task, String> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn commands_are_known() {
        assert_eq!(parsed(&["test"]), Ok(Task::Test { quick: false }));
        assert_eq!(parsed(&["test", "--quick"]), Ok(Task::Test { quick: true }));
        for help in ["help", "--help", "-h"] {
            assert_eq!(parsed(&[help]), Ok(Task::Help));
        }
        assert_eq!(parsed(&["test", "--help"]), Ok(Task::Help));
    }

    #[test]
    fn the_demo_gets_its_arguments_as_they_are() {
        let args = ["--messages", "10", "--help", "--"].map(OsString::from).to_vec();
        assert_eq!(parsed(&["demo", "--messages", "10", "--help", "--"]), Ok(Task::Demo(args.clone())));
        assert_eq!(parsed(&["demo", "--", "--messages", "10", "--help", "--"]), Ok(Task::Demo(args)));
        assert_eq!(parsed(&["demo"]), Ok(Task::Demo(Vec::new())));
    }

    #[test]
    fn unknown_commands_are_named_in_the_error() {
        assert!(parsed(&[]).is_err());
        assert!(parsed(&["tset"]).is_err_and(|e| e.contains("tset")));
        assert!(parsed(&["test", "--fast"]).is_err_and(|e| e.contains("--fast")));
    }
}
