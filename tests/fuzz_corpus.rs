//! Every parser of bytes that others write, on what nobody would write: the corpus in `fuzz/corpus`, and mutations of genuine input.
//!
//! `make test` runs a few seeded mutations of each seed, the same every time. `make fuzz` goes on for as many minutes as it is told, from
//! another seed each time, and keeps what takes a new way through the code. `fuzz/README.md` says which door leads to which parser.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests, which fail by panicking"
)]

#[path = "support/virtual_sigstore/mod.rs"]
mod virtual_sigstore;

#[path = "fuzz_corpus/mutate.rs"]
mod mutate;
#[path = "fuzz_corpus/plain.rs"]
mod plain;
#[path = "fuzz_corpus/signed.rs"]
mod signed;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mutate::{Random, mutate, mutate_json};

/// Far above what any input takes without optimization on a busy machine.
const HANG: Duration = Duration::from_secs(10);
/// Mutations of each seed in `make test`.
const ROUNDS: u64 = 60;
/// Inputs that one target keeps in a long session.
const KEPT: usize = 4_000;

/// Takes an input and says what came of it; panics if that must not be.
type Door = Box<dyn Fn(&[u8]) -> String>;

/// A parser behind its door.
struct Target {
    name: &'static str,
    /// Whether its input is JSON, of which parts are changed too.
    json: bool,
    /// Genuine input.
    seeds: Vec<Vec<u8>>,
    run: Door,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[expect(clippy::disallowed_methods, reason = "tests read their data")]
fn read(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn exists(path: &str) -> bool {
    root().join(path).exists()
}

fn targets() -> Vec<Target> {
    let mut targets = plain::targets();
    targets.extend(signed::targets());
    targets
}

/// The files of a target's corpus.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = format!("fuzz/corpus/{}", target.name);
    let entries = root().join(&folder).read_dir().map(|entries| entries.map(|entry| entry.unwrap().file_name()));
    let mut names: Vec<String> = entries.into_iter().flatten().map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names.into_iter().map(|name| read(&format!("{folder}/{name}"))).collect()
}

/// One input through a target: what came of it, or how it failed.
fn execute(target: &Target, input: &[u8]) -> Result<String, String> {
    let started = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = started.elapsed();
    match outcome {
        Ok(_) if took > HANG => Err(format!("it took {took:?}")),
        Ok(outcome) => Ok(outcome),
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "it panicked".to_owned())),
    }
}

/// The next input made of others.
fn next(target: &Target, random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let (input, other) = (random.pick(inputs).clone(), random.pick(inputs));
    let structured = if target.json && random.below(4) > 0 { mutate_json(random, &input, other) } else { None };
    structured.unwrap_or_else(|| mutate(random, &input, other))
}

#[test]
fn the_corpus_and_mutations_of_it_panic_nowhere_and_forge_nothing() {
    let only = only();
    for (number, target) in (0..).zip(targets()) {
        if only.as_ref().is_some_and(|only| only != target.name) {
            continue;
        }
        let inputs = [target.seeds.clone(), corpus(&target)].concat();
        assert!(!inputs.is_empty(), "{} has no seed", target.name);
        let check = |input: &[u8]| {
            if let Err(failure) = execute(&target, input) {
                panic!("{}: {failure}; the input is {}", target.name, input.escape_ascii());
            }
        };
        for input in &inputs {
            check(input);
        }
        let mut random = Random::new(number);
        for _ in 0..ROUNDS * u64::try_from(inputs.len()).unwrap() {
            check(&next(&target, &mut random, &inputs));
        }
    }
}

/// Every folder of the corpus is one of a target's.
#[test]
fn no_corpus_is_forgotten() {
    let names: BTreeSet<&str> = targets().iter().map(|target| target.name).collect();
    for entry in root().join("fuzz/corpus").read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(name.as_str()), "{name} is no target");
    }
}

#[expect(clippy::disallowed_methods, reason = "make fuzz says how long, and what")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn only() -> Option<String> {
    variable("FUZZ_TARGET")
}

/// An outcome without what differs between inputs alike: numbers, and what is quoted.
fn shape(outcome: &str) -> String {
    let mut quoted = false;
    let plain = outcome.replace("\\\"", "");
    let kept = plain.chars().filter(|character| {
        quoted ^= matches!(character, '"' | '`');
        !quoted && !character.is_ascii_digit()
    });
    kept.take(100).collect()
}

#[test]
#[ignore = "make fuzz runs it"]
#[expect(clippy::disallowed_methods, reason = "another seed each time, which is printed")]
fn a_long_session() {
    let minutes: u64 = variable("FUZZ_MINUTES").map_or(1, |minutes| minutes.parse().unwrap());
    let seed = variable("FUZZ_SEED").map_or_else(
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(),
        |seed| seed.parse().unwrap(),
    );
    println!("FUZZ_SEED={seed}");
    let end = Instant::now() + Duration::from_secs(minutes * 60);
    let mut random = Random::new(seed);
    let only = only();
    let chosen = targets().into_iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name));
    let mut sessions: Vec<_> = chosen
        .map(|target| {
            let inputs = [target.seeds.clone(), corpus(&target)].concat();
            (target, inputs, BTreeSet::new(), 0_u64)
        })
        .collect();
    let mut failures: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    while Instant::now() < end {
        for (target, inputs, seen, executions) in &mut sessions {
            let turn = Instant::now() + Duration::from_millis(300);
            while Instant::now() < turn {
                let input = next(target, &mut random, inputs);
                *executions += 1;
                match execute(target, &input) {
                    Ok(outcome) if seen.insert(shape(&outcome)) && inputs.len() < KEPT => inputs.push(input),
                    Ok(_) => {}
                    Err(failure) => {
                        failures.entry(format!("{}: {}", target.name, shape(&failure))).or_insert(input);
                    }
                }
            }
        }
    }
    for (target, inputs, seen, executions) in &sessions {
        println!(
            "{:<20} {executions:>9} executions, {:>4} ways, {:>4} inputs kept",
            target.name,
            seen.len(),
            inputs.len()
        );
    }
    let folder = root().join("fuzz/findings");
    for (failure, input) in &failures {
        std::fs::create_dir_all(&folder).unwrap();
        let name = failure.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '-' });
        let file = folder.join(name.take(80).collect::<String>());
        std::fs::write(&file, input).unwrap();
        println!("{failure}\n  the input is in {}", file.display());
    }
    assert!(failures.is_empty(), "{} findings", failures.len());
}
