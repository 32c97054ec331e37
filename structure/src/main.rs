//! `cargo xtask structure`: checks that the modules of `src` import one way and that pure modules use no socket and no clock.
//!
//! The edges of a module are the paths in its code: `use` trees and paths in expressions, types and patterns. Test modules
//! are skipped.
//!
//! It is no part of xtask, whose first build would take longer with syn.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use syn::visit::{self, Visit};

/// Modules that decide: pure code with the clock as an argument. Each stands for the modules in it, too.
const PURE: &[&str] = &[
    "cluster::merge",
    "cluster::redirect",
    "cluster::refresh",
    "cluster::route",
    "cluster::slot",
    "cluster::slot_map",
    "cluster::key_split",
    "cluster::slot_queue",
    "connection::admission",
    "connection::busy_poll",
    "connection::deadline_queue",
    "connection::error_rate",
    "connection::link_state",
    "connection::liveness",
    "connection::retry",
    "connection::verdict",
    "dedicated::compensate",
    "frame",
    "histogram",
    "prefix",
    "protocol::decode",
    "pubsub::backlog",
    "pubsub::machine",
    "replicas::verdict",
    "sentinel::replies",
    "sentinel::state",
    "sentinel::view",
    "streams::machine",
];

/// Modules that still import each other: dedicated connections and those of threads are handles themselves, and a handle has
/// such connections.
const KNOWN_CYCLE: &[&str] =
    &["client", "client::builder", "client::per_thread", "dedicated::blocking", "dedicated::pool", "pubsub"];

/// The crates of actors and sockets.
const IMPURE: &[&str] = &["actix", "actix_rt", "tokio"];

type Module = Vec<String>;

fn main() -> ExitCode {
    match check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../src")) {
        Ok(faults) if faults.is_empty() => {
            println!("no import cycle but the known one, {} pure modules", PURE.len());
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            faults.iter().for_each(|fault| eprintln!("{fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("structure: cannot read the sources: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The faults of the modules in `src`, one line each.
fn check(src: &Path) -> Result<Vec<String>, String> {
    let mut files = Vec::new();
    collect(src, &mut files).map_err(|error| error.to_string())?;
    let modules: BTreeMap<Module, PathBuf> =
        files.into_iter().filter_map(|file| Some((module_of(src, &file)?, file))).collect();
    let (mut graph, mut faults) = (BTreeMap::new(), Vec::new());
    for (module, file) in &modules {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parsed = syn::parse_file(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut paths = Paths::default();
        paths.visit_file(&parsed);
        let name = module.join("::");
        if is_pure(&name) {
            faults
                .extend(paths.found.iter().filter_map(|path| impurity(path)).map(|what| format!("{name} uses {what}")));
        }
        let targets = paths.found.iter().filter_map(|path| resolve(module, path, &modules));
        graph.insert(module.clone(), targets.filter(|target| target != module).collect::<BTreeSet<_>>());
    }
    for cycle in cycles(&graph) {
        if cycle.iter().any(|name| !KNOWN_CYCLE.contains(&name.as_str())) {
            faults.push(format!("import cycle: {}", cycle.join(", ")));
        }
    }
    Ok(faults)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The module that a file holds. `None` for tests, benchmarks and the root, which names everything.
fn module_of(src: &Path, file: &Path) -> Option<Module> {
    let relative = file.strip_prefix(src).ok()?.with_extension("");
    let module: Module = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let is_test = |part: &String| part.ends_with("tests") || part == "proof";
    let is_left_out = module.iter().any(is_test) || module == ["lib"] || module == ["bench"] || module == ["prelude"];
    (!is_left_out).then_some(module)
}

fn is_pure(name: &str) -> bool {
    PURE.iter().any(|pure| name.strip_prefix(pure).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")))
}

fn impurity(path: &[String]) -> Option<String> {
    let is_clock = matches!(path, [.., clock, now] if now == "now" && (clock == "Instant" || clock == "SystemTime"));
    let is_impure = path.first().is_some_and(|first| IMPURE.contains(&first.as_str()));
    (is_clock || is_impure).then(|| path.join("::"))
}

/// The module that a path leads to: the longest part of it that names one.
fn resolve(module: &Module, path: &[String], modules: &BTreeMap<Module, PathBuf>) -> Option<Module> {
    let ups = path.iter().take_while(|part| *part == "super").count();
    let mut target: Module = match path.first()?.as_str() {
        "crate" => path.get(1..)?.to_vec(),
        "super" => [module.get(..module.len().checked_sub(ups)?)?, path.get(ups..)?].concat(),
        "self" => [module, path.get(1..)?].concat(),
        _ => [module, path].concat(),
    };
    let is_relative = !matches!(path.first().map(String::as_str), Some("crate" | "super" | "self"));
    while !target.is_empty() && !modules.contains_key(&target) {
        target.pop();
    }
    // A path that begins with a name of another crate or of the module itself leads nowhere else.
    let is_own = is_relative && target.len() <= module.len();
    (!target.is_empty() && !is_own).then_some(target)
}

/// The paths of a file without its tests.
#[derive(Default)]
struct Paths {
    found: Vec<Vec<String>>,
}

impl Paths {
    fn add_tree(&mut self, tree: &syn::UseTree, mut path: Vec<String>) {
        match tree {
            syn::UseTree::Path(tree_path) => {
                path.push(tree_path.ident.to_string());
                self.add_tree(&tree_path.tree, path);
            }
            syn::UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.found.push(path);
            }
            syn::UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.found.push(path);
            }
            syn::UseTree::Glob(_) => self.found.push(path),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, path.clone())),
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // The declaration of a module is no import.
        if item.content.is_some() && !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        // A public re-export is how a module shows its parts; a test import is none of the code.
        if !is_test(&item.attrs) {
            self.add_tree(&item.tree, Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.found.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}

/// Groups of modules that reach each other (Kosaraju), as names. A parent and its own children may know each other.
fn cycles(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<String>> {
    let is_family = |one: &Module, other: &Module| one.starts_with(other) || other.starts_with(one);
    let edges: BTreeMap<&Module, Vec<&Module>> =
        graph.iter().map(|(from, to)| (from, to.iter().filter(|to| !is_family(from, to)).collect())).collect();
    let mut reversed: BTreeMap<&Module, Vec<&Module>> = BTreeMap::new();
    for (from, to) in &edges {
        to.iter().for_each(|to| reversed.entry(to).or_default().push(from));
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for module in edges.keys() {
        walk(module, &edges, &mut seen, &mut order);
    }
    let (mut seen, mut groups) = (BTreeSet::new(), Vec::new());
    for module in order.into_iter().rev() {
        let mut group = Vec::new();
        walk(module, &reversed, &mut seen, &mut group);
        if group.len() > 1 {
            group.sort();
            groups.push(group.into_iter().map(|module| module.join("::")).collect());
        }
    }
    groups
}

/// Adds to `order` what can be reached from `from` and was not seen, children first.
fn walk<'a>(
    from: &'a Module,
    edges: &BTreeMap<&'a Module, Vec<&'a Module>>,
    seen: &mut BTreeSet<&'a Module>,
    order: &mut Vec<&'a Module>,
) {
    if seen.insert(from) {
        for to in edges.get(from).into_iter().flatten() {
            walk(to, edges, seen, order);
        }
        order.push(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crate_imports_one_way_and_decides_without_clocks() {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
        assert_eq!(check(&src), Ok(Vec::new()));
    }

    #[test]
    fn a_cycle_and_a_clock_are_found() -> std::io::Result<()> {
        let dir = std::env::temp_dir().join(format!("structure-{}", std::process::id()));
        fs::create_dir_all(dir.join("prefix"))?;
        fs::write(dir.join("one.rs"), "use crate::two::Two;\n#[cfg(test)]\nmod tests { use crate::three::X; }\n")?;
        fs::write(dir.join("two.rs"), "fn f() -> crate::three::Three { todo!() }")?;
        fs::write(dir.join("three.rs"), "use super::one::One;")?;
        fs::write(
            dir.join("prefix/inner.rs"),
            "use tokio::sync::Mutex;\nfn f() { let _ = std::time::Instant::now(); }",
        )?;
        let faults = check(&dir);
        fs::remove_dir_all(&dir)?;
        let expected = [
            "prefix::inner uses tokio::sync::Mutex",
            "prefix::inner uses std::time::Instant::now",
            "import cycle: one, three, two",
        ];
        assert_eq!(faults, Ok(expected.map(str::to_owned).to_vec()));
        Ok(())
    }
}
