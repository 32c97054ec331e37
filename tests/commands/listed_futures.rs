//! The list of public futures in `futures.rs` is complete: the sources say what there is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{config, hasty, server};

/// With tests of their own in `futures.rs`; `close_redis` is `Redis::shutdown` of the connection of the process.
const ELSEWHERE: [&str; 3] = ["Redis::shutdown", "Watched::send", "close_redis"];

/// All files of the library, without its unit tests.
fn sources() -> Vec<String> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                None => folders.push(path),
                Some(extension) if extension == "rs" => files.push(path),
                Some(_) => {}
            }
        }
    }
    files.into_iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// The first word of a text that begins with one.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The type that an `impl` block is for.
fn implementor(header: &str) -> &str {
    let header = header.trim_start_matches("impl");
    // Generic parameters, which may have bounds with parameters of their own.
    let mut depth = 0_u32;
    let end = header.char_indices().find_map(|(at, c)| {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(if c == '>' { at + 1 } else { at })
    });
    let of = header[end.unwrap_or_default()..].trim_start();
    word(of.split_once(" for ").map_or(of, |(_, of)| of))
}

/// Types that are futures or become such.
fn future_types(source: &str) -> impl Iterator<Item = &str> {
    let headers = source.lines().filter(|line| line.starts_with("impl"));
    headers.filter(|header| header.contains("Future for ")).map(implementor)
}

/// `Type::function` of each public function that is async or returns a future.
fn functions(source: &str, types: &BTreeSet<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let mut of = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("impl") {
            of = format!("{}::", implementor(line));
        } else if line.starts_with('}') {
            of.clear();
        }
        let Some(declared) = line.trim_start().strip_prefix("pub ") else { continue };
        let mut signature = declared.to_owned();
        while declared.contains("fn ") && !signature.contains(['{', ';']) {
            signature += lines.next().unwrap_or(";");
        }
        let Some((qualifiers, rest)) = signature.split_once("fn ") else { continue };
        let returned = rest.split_once("-> ").map(|(_, returned)| returned).unwrap_or_default();
        if qualifiers == "async " || returned.starts_with("impl Future") || types.contains(word(returned)) {
            found.push(format!("{of}{}", word(rest)));
        }
    }
    found
}

/// Ablation: without `Redis::lost` in the list fails with "not in the list: Redis::lost".
#[actix::test]
async fn every_public_future_is_in_the_list() {
    let server = server();
    let redis = hasty(config(server.port())).start().unwrap();
    let listed: BTreeSet<_> = crate::futures::names(&redis).await.into_iter().chain(ELSEWHERE).collect();
    let sources = sources();
    let types: BTreeSet<_> = sources.iter().flat_map(|source| future_types(source)).collect();
    assert!(types.contains("SendFuture"), "{types:?}");
    let public: BTreeSet<_> = sources.iter().flat_map(|source| functions(source, &types)).collect();
    let missing: Vec<_> = public.iter().filter(|name| !listed.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "not in the list: {missing:?}");
    let gone: Vec<_> = listed.iter().filter(|name| !public.contains(**name)).collect();
    assert!(gone.is_empty(), "not in the sources: {gone:?}");
}
