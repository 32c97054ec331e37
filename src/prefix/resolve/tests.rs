use super::*;

fn word(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn set(words: &str) -> Value {
    Value::Set(words.split_whitespace().map(|flag| Value::SimpleString(flag.to_owned())).collect())
}

fn info(name: &str, arity: i64, flags: &str, keys: [i64; 3], categories: &str, subcommands: Vec<Value>) -> Value {
    let [first, last, step] = keys.map(Value::Int);
    let nothing = || Value::Array(Vec::new());
    Value::Array(vec![
        word(name),
        Value::Int(arity),
        set(flags),
        first,
        last,
        step,
        set(categories),
        nothing(),
        nothing(),
        Value::Array(subcommands),
    ])
}

fn line(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn indices(positions: &Positions) -> Vec<usize> {
    positions.marks.iter().map(|mark| mark.index).collect()
}

fn class(outcome: Result<(CommandKeys, bool)>) -> Option<RefusalClass> {
    outcome.expect_err("refused").refusal()
}

#[test]
fn fixed_key_positions_need_no_further_request() {
    for (keys, text, wanted) in [
        ([1, 1, 1], "m.add a b c", vec![1]),
        ([1, -1, 1], "m.add a b c", vec![1, 2, 3]),
        ([1, -1, 2], "m.add a b c d", vec![1, 3]),
        ([2, -2, 1], "m.add a b c", vec![2]),
        ([1, 9, 1], "m.add a b", vec![1, 2]),
        ([3, -1, 1], "m.add a b", vec![]),
    ] {
        let answer = Value::Array(vec![info("m.add", -2, "write", keys, "@write", Vec::new())]);
        let (command_keys, of_subcommand) = command_keys(answer, &line(text)).unwrap();
        let positions = command_keys.positions(&line(text)).unwrap().unwrap();
        assert_eq!((indices(&positions), of_subcommand, command_keys.only_reads), (wanted, false, false), "{keys:?}");
        assert!(command_keys.positions(&line("m.add")).is_err());
    }
}

#[test]
fn movable_keys_are_requested_for_each_line() {
    let answer = Value::Array(vec![info("m.union", -3, "readonly movablekeys", [0, 0, 0], "@read", Vec::new())]);
    let (command_keys, _) = command_keys(answer, &line("m.union 2 a b")).unwrap();
    assert!(command_keys.only_reads);
    assert_eq!(command_keys.positions(&line("m.union 2 a b")).unwrap(), None);
    let keys = |names: &str| Value::Array(names.split(' ').map(word).collect());
    assert_eq!(indices(&named(keys("a b"), &line("m.union 2 a b x")).unwrap()), [2, 3]);
    assert_eq!(indices(&named(keys("a a"), &line("m.union 2 a a")).unwrap()), [2, 3]);
    for (names, text) in [("a", "m.union 1 a LIMIT a"), ("2", "m.union 1 2 2"), ("z", "m.union 1 a"), ("", "m.union 0")]
    {
        let answer = if names.is_empty() { Value::Array(Vec::new()) } else { keys(names) };
        assert!(named(answer, &line(text)).is_err(), "{text}");
    }
}

#[test]
fn a_subcommand_uses_its_own_entry() {
    let sub = info("m|get", -3, "readonly", [2, 2, 1], "@read", Vec::new());
    let answer = || Value::Array(vec![info("m", -2, "", [0, 0, 0], "@slow", vec![sub.clone()])]);
    let (keys_of_get, of_subcommand) = command_keys(answer(), &line("M GET a")).unwrap();
    assert_eq!((indices(&keys_of_get.positions(&line("M GET a")).unwrap().unwrap()), of_subcommand), (vec![2], true));
    assert_eq!(class(command_keys(answer(), &line("m set a"))), Some(RefusalClass::Unknown));
    assert_eq!(class(command_keys(answer(), &line("m"))), Some(RefusalClass::Unknown));
}

#[test]
fn commands_with_unsafe_flags_or_categories_are_refused() {
    for (flags, categories, wanted) in [
        ("", "@connection", RefusalClass::ConnectionState),
        ("", "@transaction", RefusalClass::ConnectionState),
        ("pubsub", "", RefusalClass::Subscribe),
        ("blocking", "", RefusalClass::Blocking),
        ("admin", "", RefusalClass::Administration),
        ("", "@dangerous", RefusalClass::Wide),
    ] {
        let answer = Value::Array(vec![info("m.x", 2, flags, [1, 1, 1], categories, Vec::new())]);
        assert_eq!(class(command_keys(answer, &line("m.x a"))), Some(wanted), "{flags}{categories}");
    }
    let without_keys = Value::Array(vec![info("m.x", 2, "", [0, 0, 0], "", Vec::new())]);
    assert_eq!(class(command_keys(without_keys, &line("m.x a"))), Some(RefusalClass::Unknown));
    for nothing in [Value::Array(vec![Value::Nil]), Value::Array(Vec::new()), Value::Nil, Value::Array(vec![word("x")])]
    {
        assert_eq!(class(command_keys(nothing, &line("m.x a"))), Some(RefusalClass::Unknown));
    }
}
