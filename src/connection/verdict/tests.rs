use super::*;

fn judge(line: &str, frame: &Frame) -> ErrorVerdict {
    let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error");
    of_reply(&reply, CommandFacts::of(frame)).expect("an error")
}

fn eval() -> Frame {
    Frame::known("EVAL").arg("return 1").arg(1).key("k")
}

/// The texts of Redis 2.8 to 8.4, Valkey 8.1 and KeyDB.
const TEXTS: &[(&str, ServerRefusal)] = &[
    ("LOADING Redis is loading the dataset in memory", ServerRefusal::Loading),
    ("LOADING Valkey is loading the dataset in memory", ServerRefusal::Loading),
    ("LOADING KeyDB is loading the dataset in memory", ServerRefusal::Loading),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", ServerRefusal::Busy),
    ("BUSY Valkey is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.", ServerRefusal::Busy),
    ("BUSY Redis is busy running a module command.", ServerRefusal::Busy),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", ServerRefusal::MasterDown),
    ("MASTERDOWN Link with MASTER is down and slave-serve-stale-data is set to 'no'.", ServerRefusal::MasterDown),
    (
        "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not set on the script.",
        ServerRefusal::MasterDown,
    ),
    ("TRYAGAIN Multiple keys request during rehashing of slot", ServerRefusal::TryAgain),
    ("CLUSTERDOWN The cluster is down", ServerRefusal::ClusterDown),
    ("CLUSTERDOWN The cluster is down and only accepts read commands", ServerRefusal::ClusterDown),
    ("CLUSTERDOWN Hash slot not served", ServerRefusal::ClusterDown),
    ("MOVED 3999 127.0.0.1:6381", ServerRefusal::Moved),
    ("MOVED 0 :6381", ServerRefusal::Moved),
    ("ASK 7 fe80::1:6381", ServerRefusal::Ask),
    ("NOSCRIPT No matching script. Please use EVAL.", ServerRefusal::NoScript),
    ("NOSCRIPT No matching script.", ServerRefusal::NoScript),
    ("READONLY Can not run script with write flag on readonly replica", ServerRefusal::ReadOnly),
    ("NOAUTH Authentication required.", ServerRefusal::NoAuth),
];

#[test]
fn texts_of_servers_prove_that_nothing_ran() {
    for (line, refusal) in TEXTS {
        for frame in [eval(), Frame::known("INCR").key("k"), Frame::new("NOSUCH").key("k")] {
            let slot = line.split(' ').nth(1).and_then(|slot| slot.parse().ok());
            let facts = CommandFacts::of(&frame).in_slot(slot);
            let (code, text) = line.split_once(' ').expect("a code");
            assert_eq!(verdict(code, text, facts), ErrorVerdict::NotRun(*refusal), "{line} to {frame:?}");
        }
    }
}

/// Ablation: without the comparison of slots the first assertion finds `NotRun(Moved)`.
#[test]
fn a_redirect_of_another_slot_is_what_a_script_wrote() {
    for code in ["MOVED", "ASK"] {
        let judged = |frame: &Frame, slot| verdict(code, "3999 127.0.0.1:6381", CommandFacts::of(frame).in_slot(slot));
        for frame in [eval(), Frame::known("FCALL").arg("f").arg(0), Frame::new("NOSUCH").key("k")] {
            assert_eq!(judged(&frame, Some(3998)), ErrorVerdict::MayHaveRun, "{code} to {frame:?}");
            assert_eq!(judged(&frame, None), ErrorVerdict::MayHaveRun, "{code} to {frame:?}");
            assert!(matches!(judged(&frame, Some(3999)), ErrorVerdict::NotRun(_)), "{code} to {frame:?}");
        }
        for frame in [Frame::known("INCR").key("k"), Frame::known("EVAL_RO").arg("x").arg(0).read_only()] {
            assert!(matches!(judged(&frame, None), ErrorVerdict::NotRun(_)), "{code} to {frame:?}");
        }
    }
}

/// Ablation: with the code alone as a proof the first assertion finds `NotRun(Loading)`.
#[test]
fn codes_with_other_texts_prove_nothing() {
    for (line, refusal) in TEXTS {
        let code = line.split(' ').next().expect("a code");
        let text = line.split_once(' ').expect("a text").1;
        for other in [code.to_owned(), format!("{code} the lock is taken"), format!("{line} script: 1, on @user:1.")] {
            for frame in [eval(), eval().idempotent(), Frame::known("FCALL").arg("f").arg(0), Frame::known("JSON.SET")]
            {
                assert_eq!(judge(&other, &frame), ErrorVerdict::MayHaveRun, "{other} to {frame:?}");
            }
            assert_eq!(judge(&other, &Frame::known("INCR").key("k")), ErrorVerdict::MayHaveRun, "{other}: {text}");
            assert_eq!(
                judge(&other, &Frame::known("GET").key("k").read_only()),
                ErrorVerdict::NotRun(*refusal),
                "{other}"
            );
            assert_eq!(judge(&other, &Frame::known("SET").key("k").idempotent()), ErrorVerdict::MayHaveRun, "{other}");
        }
    }
    for line in ["MOVED 1 h", "MOVED x h:1", "ASK 1 h:0", "MOVED 1 h:1 and more", "BUSY Redis is busy running"] {
        assert_eq!(judge(line, &eval()), ErrorVerdict::MayHaveRun, "{line}");
    }
}

/// Ablation: with every other error taken for a refusal `WRONGTYPE` of a script is `Rejected`.
#[test]
fn errors_of_user_code_may_come_from_the_middle_of_it() {
    for line in [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR value is not an integer or out of range",
        "OOM command not allowed when used memory > 'maxmemory'.",
        "READONLY You can't write against a read only replica.",
        "NOPERM ACL failure in script: User x has no permissions to run the 'set' command",
        "ERR wrong number of arguments for 'set' command",
        "NOREPLICAS Not enough good replicas to write.",
        "ERR user_script:1: Script attempted to access nonexistent global variable 'x'",
    ] {
        for frame in [eval(), Frame::known("FCALL").arg("f").arg(0), Frame::new("NOSUCH").key("k")] {
            assert_eq!(judge(line, &frame), ErrorVerdict::MayHaveRun, "{line} to {frame:?}");
        }
        assert_eq!(judge(line, &Frame::known("INCR").key("k")).fate(), Fate::Rejected, "{line}");
        assert_eq!(judge(line, &Frame::known("EVAL_RO").arg("x").arg(0).read_only()).fate(), Fate::Rejected, "{line}");
    }
    assert_eq!(
        judge("IOERR error or timeout reading to target instance", &Frame::known("MIGRATE")),
        ErrorVerdict::MayHaveRun
    );
}

#[test]
fn user_code_that_was_not_started_is_rejected() {
    for (name, line) in [
        ("EVAL", "ERR Error compiling script (new function): user_script:1: '=' expected near '<eof>'"),
        ("EVAL", "ERR Number of keys can't be greater than number of args"),
        ("EVAL", "ERR wrong number of arguments for 'eval' command"),
        ("FCALL", "ERR Function not found"),
        ("NOSUCH", "ERR unknown command 'NOSUCH', with args beginning with: 'k' "),
        ("NOSUCH", "ERR unknown command `NOSUCH`, with args beginning with: `k` "),
        ("EVAL", "NOPERM this user has no permissions to run the 'eval' command"),
        ("EVAL", "NOPERM User app has no permissions to run the 'eval' command"),
        ("EVAL", "CROSSSLOT Keys in request don't hash to the same slot"),
        ("EVAL", "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"),
    ] {
        assert_eq!(judge(line, &Frame::known(name).key("k")), ErrorVerdict::Rejected, "{line}");
    }
}

/// Ablation: with the code alone `READONLY account is frozen` of a script ends the link of all callers.
#[test]
fn only_servers_end_a_link() {
    let leaves = |line: &str, frame: &Frame| {
        let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error");
        leaves_link(&reply, CommandFacts::of(frame).in_slot(Some(1)))
    };
    for line in ["READONLY account is frozen", "NOAUTH who are you", "MOVED out of town", "BUSY x", "LOADING"] {
        assert_eq!(leaves(line, &eval()), None, "{line}");
    }
    let old = "ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica. ";
    assert_eq!(leaves(old, &eval()), Some(ServerRefusal::ReadOnly));
    let set = Frame::known("SET").key("k");
    for (line, refusal) in [
        ("READONLY You can't write against a read only replica.", ServerRefusal::ReadOnly),
        (
            "READONLY You can't write against a read only replica. script: 1, on @user_script:1.",
            ServerRefusal::ReadOnly,
        ),
        ("READONLY Can not run script with write flag on readonly replica", ServerRefusal::ReadOnly),
        ("NOAUTH Authentication required.", ServerRefusal::NoAuth),
        ("MOVED 1 h:1", ServerRefusal::Moved),
    ] {
        assert_eq!((leaves(line, &eval()), leaves(line, &set)), (Some(refusal), Some(refusal)), "{line}");
    }
    assert_eq!(leaves("MOVED 2 h:1", &eval()), None, "its keys are in slot 1");
    assert_eq!(leaves("READONLY in other words", &set), Some(ServerRefusal::ReadOnly), "a server executes SET itself");
    assert_eq!(leaves("BUSY x", &set), None);
}

#[test]
fn replies_to_a_unit_are_judged_by_their_own_commands() {
    let error = |line: &str| redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an error");
    let judged = |frame: &Frame, replies: &[Value]| -> Vec<_> {
        let unit = frame.unit().expect("a unit");
        unit_errors(unit, replies).filter_map(|(reply, facts)| of_reply(reply, facts)).collect()
    };
    let parts = || [Frame::known("INCR").key("k"), eval(), Frame::known("GET").key("k").read_only()];
    let replies = ["WRONGTYPE x", "WRONGTYPE x", "BUSY x"].map(error);
    let expected = [ErrorVerdict::Rejected, ErrorVerdict::MayHaveRun, ErrorVerdict::NotRun(ServerRefusal::Busy)];
    assert_eq!(judged(&Frame::join(parts()), &replies), expected);
    let queued = [Value::Okay, error("BUSY x"), error("BUSY x"), Value::Int(1), error("EXECABORT x")];
    assert_eq!(
        judged(&Frame::atomic(parts()), &queued)[..2],
        [ErrorVerdict::NotRun(ServerRefusal::Busy); 2],
        "nothing runs while it is queued"
    );
    let unguarded = [error("NOPERM x"), error("BUSY x"), error("BUSY x"), Value::Int(1), error("ERR x")];
    assert_eq!(
        judged(&Frame::atomic(parts()), &unguarded)[1..3],
        [ErrorVerdict::MayHaveRun; 2],
        "without MULTI each runs by itself"
    );
}

/// Every command of the table, answered with every code that this crate acts on, in the server's words and in others: what may
/// change something is sent again for the server's own words only, and nothing else is called `Rejected`.
#[test]
fn no_command_of_the_table_is_repeated_for_a_code_alone() {
    for entry in table::COMMANDS {
        let facts =
            CommandFacts::named(entry.name.as_bytes(), runs_user_code(entry.name.as_bytes()), entry.pure_read());
        for (line, refusal) in TEXTS {
            let (code, text) = line.split_once(' ').expect("a text");
            let facts = facts.in_slot(slot_in(text));
            assert_eq!(verdict(code, text, facts), ErrorVerdict::NotRun(*refusal), "{} {line}", entry.name);
            let judged = verdict(code, "in other words", facts);
            if entry.pure_read() {
                assert_eq!(judged.fate(), Fate::Rejected, "{} {code}", entry.name);
            } else {
                assert_eq!(judged, ErrorVerdict::MayHaveRun, "{} {code}", entry.name);
            }
        }
    }
}
