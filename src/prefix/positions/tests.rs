//! Hand-written lines for which the server's own answer is missing or wrong. The corpus covers the others.

use super::*;
use crate::prefix::marks::{Form, Mark};

/// A line in which `<k>` takes the prefix, `<~k>` takes it escaped, and `<%k>` is a SORT pattern.
fn check(line: &str) {
    let mut argv = Vec::new();
    let mut wanted = Vec::new();
    for (index, word) in line.split(' ').enumerate() {
        let Some((before, rest)) = word.split_once('<') else {
            argv.push(word.to_owned());
            continue;
        };
        let (form, rest) = match (rest.strip_prefix('~'), rest.strip_prefix('%')) {
            (Some(rest), _) => (Form::Pattern, rest),
            (_, Some(rest)) => (Form::Template, rest),
            _ => (Form::Key, rest),
        };
        let offset = before.len();
        wanted.push(Mark { index, offset, form });
        argv.push(format!("{before}{}", rest.trim_end_matches('>')));
    }
    let found = positions(&argv).map(|positions| positions.marks.to_vec());
    assert_eq!(found, Ok(wanted), "{line}");
}

fn refused(line: &str) {
    let argv: Vec<&str> = line.split(' ').collect();
    let found = positions(&argv);
    assert!(matches!(found, Err(Refusal::Arguments { .. })), "{line}: {found:?}");
}

#[test]
fn options_are_parsed_in_order() {
    for line in [
        "SORT <k> BY <%w_*> GET # GET <%o_*->f> LIMIT 0 1 STORE <d> ALPHA STORE <e>",
        "SORT <STORE> BY nosort GET STORE STORE <BY>",
        "sort_ro <k> by <%get_*> get <%*>",
        "GEORADIUS <k> 1 2 3 m STORE <a> COUNT 1 ANY STOREDIST <b> STORE <c>",
        "GEORADIUSBYMEMBER <STORE> STORE 3 m WITHDIST STOREDIST <STORE>",
        "XREAD COUNT 1 BLOCK 5 STREAMS <STREAMS> <b> 0 0",
        "XREADGROUP GROUP STREAMS STREAMS COUNT 2 NOACK CLAIM 5 STREAMS <s> >",
        "MIGRATE h 1 <k> 0 1 COPY AUTH KEYS",
        "MIGRATE h 1  0 1 AUTH2 KEYS KEYS KEYS <a> <KEYS>",
        "MIGRATE h 1 < 0 1 REPLACE",
        "PFMERGE <d>",
        "PFMERGE <d> <a> <b>",
        "KEYS <~*>",
        "SCAN 0 MATCH <~a*> COUNT 5 TYPE match match <~b>",
        "PUBLISH <c> m",
        "PUBLISH __keyspace@0__:<k> set",
        "SUBSCRIBE <a> __keyspace@0__:<k> __keyevent@0__:del",
        "PSUBSCRIBE <~a*> __keyspace@*__:<~k*>",
        "PUBSUB NUMSUB <a> <b>",
        "PUBSUB SHARDCHANNELS <~*>",
        "PUBSUB CHANNELS",
        "CLUSTER KEYSLOT <{a}b>",
        "EVAL KEYS[1] 2 <a> <b> c",
        "FCALL f 0 c",
        "ZUNIONSTORE <d> 2 <a> <b> WEIGHTS 1 2",
        "MSETEX 2 <a> 1 <b> 2 EX 5",
        "JSON.MSET <a> $ 1 <b> $ 2",
        "JSON.MGET <a> <b> $",
        "JSON.DEBUG MEMORY <k>",
        "TDIGEST.MERGE <d> 2 <a> <b> OVERRIDE",
        "BLMPOP 0 1 <k> LEFT COUNT 1",
        "LCS <a> <b> LEN",
        "CLIENT KILL TYPE normal",
    ] {
        check(line);
    }
}

#[test]
fn ambiguous_lines_are_refused() {
    for line in [
        "SORT k BY",
        "SORT k LIMIT 0",
        "SORT k NOSUCH",
        "SORT_RO k STORE d",
        "GEORADIUS k 1 2 3 m STORE",
        "GEORADIUS k 1 2 3 m NOSUCH STORE d",
        "XREAD COUNT STREAMS s 0",
        "XREAD STREAMS a b 0",
        "XREAD NOSUCH STREAMS s 0",
        "XREADGROUP GROUP g c COUNT 1 BLOCK 0 NOACK",
        "MIGRATE h 1 k 0 1 AUTH",
        "SCAN 0 MATCH",
        "SCAN 0 NOSUCH x",
        "PSUBSCRIBE __key*__:*",
        "PUBLISH __keyevent@0__:del k",
        "SUBSCRIBE __subkeyevent@0__:hset",
        "GET",
        "GET a b",
        "CLIENT",
    ] {
        refused(line);
    }
}

#[test]
fn only_a_canonical_key_count_is_accepted() {
    for count in [
        "2.0",
        "2e0",
        " 2",
        "2 ",
        "+2",
        "02",
        "0x2",
        "-1",
        "-0",
        "",
        "4",
        "0",
        "99999999999999999999",
        "4294967298",
        "2\0",
    ] {
        let argv = ["ZUNION", count, "a", "b", "c"];
        assert!(positions(&argv).is_err(), "{count:?}");
        let argv = ["EVAL", "s", count, "a", "b", "c"];
        assert_eq!(positions(&argv).is_ok(), count == "0", "{count:?}");
    }
    assert!(positions(&["MSETEX", "2", "a", "1", "b"]).is_err());
}

/// The server compares option words as C strings.
#[test]
fn an_option_word_ends_at_its_first_nul() {
    let marked = |argv: &[&[u8]]| {
        let marks = positions(argv).map(|positions| positions.marks);
        marks.map(|marks| marks.iter().map(|mark| mark.index).collect::<Vec<_>>())
    };
    assert_eq!(marked(&[b"SORT", b"k", b"store\0x", b"d"]), Ok(vec![1, 3]));
    assert_eq!(marked(&[b"SCAN", b"0", b"MATCH\0", b"p"]), Ok(vec![3]));
    assert_eq!(marked(&[b"SORT", b"k", b"BY", b"x\0*"]), Ok(vec![1]));
    assert_eq!(marked(&[b"XREAD", b"STREAMS\0\0", b"s", b"0"]), Ok(vec![2]));
}

#[test]
fn an_unknown_command_is_quoted_and_truncated() {
    let long = "x".repeat(1_000_000);
    let refusal = positions(&[long.as_str(), "secret"]).map_err(|refusal| refusal.to_string());
    let words = refusal.err().unwrap_or_default();
    assert!(words.len() < 200 && words.contains("`xxx") && !words.contains("secret"), "{words}");
    let refusal = positions(&["client", "nosuch\n", "secret"]).map_err(|refusal| refusal.to_string());
    assert!(refusal.is_err_and(|words| words.starts_with("`client nosuch\\n` has unknown")));
    let nothing: [&str; 0] = [];
    assert!(matches!(positions(&nothing), Err(Refusal::Unknown { .. })));
}

#[test]
fn every_command_that_needs_a_rule_has_one() {
    for entry in crate::prefix::table::COMMANDS {
        let argv = vec![entry.name; 12];
        let lacks = entry.needs_rule() && {
            let words = positions(&argv).map_err(|refusal| refusal.to_string());
            words.is_err_and(|words| words.contains("unknown to this version"))
        };
        assert!(!lacks, "{}", entry.name);
    }
}
