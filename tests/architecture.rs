//! Holds the module map of `src/lib.rs`: who may import whom, what the pure half may touch, who may name the Sigstore crates.
//!
//! Reads source text, not the compiler's view: `crate::module` wherever it stands outside tests. The map itself is the only copy
//! of the rule.

#![expect(clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module of the map.
#[derive(Debug)]
struct Module {
    pure: bool,
    may_use: BTreeSet<String>,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "a test reads the source")]
fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The map in the header of `src/lib.rs`.
fn map() -> BTreeMap<String, Module> {
    let header = read(&root().join("src/lib.rs"));
    let block = header.split("```text").nth(1).and_then(|rest| rest.split("```").next()).expect("a text block");
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    let mut pure = true;
    for line in block.lines().map(|line| line.trim_start_matches("//!").trim()).filter(|line| !line.is_empty()) {
        if line.starts_with("PURE") || line.starts_with("EFFECTS") {
            pure = line.starts_with("PURE");
            continue;
        }
        let name = line.split_whitespace().next().expect("a name").to_owned();
        let uses = line.split("uses:").nth(1).unwrap_or("-").trim();
        let above = |pure_only: bool| {
            let listed = modules.iter().filter(move |(_, module)| module.pure || !pure_only);
            listed.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let may_use = uses
            .split(',')
            .flat_map(|item| match item.trim() {
                "-" => Vec::new(),
                "all" => above(false),
                "pure half" | "pure modules above" => above(true),
                names => names.split_whitespace().map(str::to_owned).collect(),
            })
            .collect();
        modules.insert(name, Module { pure, may_use });
    }
    modules
}

/// Every source file with the name of its module, without its tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let source = root().join("src");
    let mut paths = Vec::new();
    walk(&source, &mut paths);
    let is_test = |path: &Path| {
        path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "fixtures.rs" || part == "vectors.rs")
    };
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| {
            let inside = path.strip_prefix(&source).expect("inside src");
            if is_test(inside) {
                return None;
            }
            let first = inside.iter().next()?.to_str()?.trim_end_matches(".rs").to_owned();
            let text = read(&path);
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            Some((first, path.clone(), lines.collect::<Vec<_>>().join("\n")))
        })
        .filter(|(module, ..)| module != "lib" && module != "main")
        .collect()
}

/// The modules that a text names after `crate::`, also inside braces.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let list = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest
                .split(|character: char| !character.is_alphanumeric() && character != '_')
                .next()
                .unwrap_or_default(),
        };
        for item in list.split(',') {
            let name: String =
                item.trim().chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
            if !name.is_empty() {
                names.insert(name);
            }
        }
    }
    names
}

#[test]
fn every_module_imports_only_what_the_map_says() {
    let map = map();
    assert!(map.len() >= 15 && map["api"].pure && !map["registry"].pure, "the map was read: {map:?}");
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for (module, path, text) in sources() {
        seen.insert(module.clone());
        let Some(rule) = map.get(&module) else {
            broken.push(format!("{} belongs to no module of the map", path.display()));
            continue;
        };
        for name in named(&text) {
            if name != module && map.contains_key(&name) && !rule.may_use.contains(&name) {
                broken.push(format!("{}: `{module}` must not use `{name}`", path.display()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
    assert_eq!(seen, map.into_keys().collect(), "the map and the folders name the same modules");
}

#[test]
fn the_pure_half_has_no_async_no_io_no_clock_and_no_logging() {
    const FORBIDDEN: [&str; 16] = [
        "async fn",
        "async move",
        ".await",
        "tokio::",
        "futures::",
        "std::fs",
        "TcpStream",
        "TcpListener",
        "ToSocketAddrs",
        "std::env",
        "std::io",
        "tracing::",
        "reqwest::",
        "Timestamp::now",
        "SystemTime",
        "Instant",
    ];
    let map = map();
    let mut broken = Vec::new();
    for (module, path, text) in sources().into_iter().filter(|(module, ..)| map[module].pure) {
        for word in FORBIDDEN.iter().filter(|word| text.contains(**word)) {
            broken.push(format!("{} ({module}): {word}", path.display()));
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn sigstore_crates_are_named_only_where_evidence_is_read_and_verified() {
    const ALLOWED: [&str; 4] = ["evidence", "trust", "trust_store", "verify"];
    let named: BTreeSet<String> =
        sources().into_iter().filter(|(_, _, text)| text.contains("sigstore_")).map(|(module, ..)| module).collect();
    assert_eq!(named, ALLOWED.map(str::to_owned).into());
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<PathBuf> =
        sources().into_iter().map(|(_, path, _)| path).filter(|path| !read(path).starts_with("//!")).collect();
    assert_eq!(silent, Vec::<PathBuf>::new());
}
