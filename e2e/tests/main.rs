//! The end-to-end cases: one stack for all, one line of output for each.
//!
//! ```text
//! make e2e                                     all cases
//! cargo test -p countersign-e2e -- keyless     cases whose name contains one of the words (with the environment that `tools` names)
//! cargo test -p countersign-e2e -- --list      names only
//! ```
//!
//! A harness of its own, since the standard one neither shares a stack nor ends it. Two cases run at a time: each has a namespace and
//! policies for itself, and most of the time it waits. A case that fails keeps the logs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test harness reports on standard output and standard error"
)]

mod certificates;
mod configuration;
mod controllers;
mod failure;
mod feeds;
mod keyless;
mod keys;
mod monitor;
mod online;
mod own_repository;
mod policies;
mod private_sigstore;
mod proofs;
mod registries;
mod revocations;
mod trust_roots;
#[path = "../../tests/support/tuf_writer.rs"]
mod tuf_writer;
mod updates;
mod workloads;

use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use countersign_e2e::process::indent;
use countersign_e2e::stack::{Sandbox, Stack};

/// A case: what it is called, and what it does.
pub(crate) type Case = (&'static str, Run);

/// A case that was asked for: its full name, its namespace, and what it does.
type Selected = (String, String, Run);

/// Cases at a time.
const WORKERS: usize = 2;

/// What a case needs.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// A namespace of its own, judged by countersign.
    Admission(fn(&Sandbox<'_>) -> Result<()>),
    /// The same, while no other case runs: it changes what holds for the whole cluster, or has a second installation, which writes the
    /// status of everybody's objects too.
    Alone(fn(&Sandbox<'_>) -> Result<()>),
    /// Only the tools: shows that the test's own parts do what the other cases take for granted.
    Stack(fn(&Stack) -> Result<()>),
}

/// In this order, so that those that wait long do so beside those that do not, and those that read Events come before there are many.
const FEATURES: &[(&str, &[Case])] = &[
    ("registries", registries::CASES),
    ("controllers", controllers::CASES),
    ("trust roots", trust_roots::CASES),
    ("feeds", feeds::CASES),
    ("keyless", keyless::CASES),
    ("keys", keys::CASES),
    ("private sigstore", private_sigstore::CASES),
    ("private proofs", proofs::CASES),
    ("private certificates", certificates::CASES),
    ("private log online", online::CASES),
    ("workloads", workloads::CASES),
    ("updates", updates::CASES),
    ("policies", policies::CASES),
    ("configuration", configuration::CASES),
    ("revocations", revocations::CASES),
    ("monitor", monitor::CASES),
    ("failure", failure::CASES),
];

fn main() -> ExitCode {
    let mut words = Vec::new();
    let mut list = false;
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--list" => list = true,
            flag if flag.starts_with('-') => {
                eprintln!("unknown flag {flag}; known: --list, and words that select cases");
                return ExitCode::from(2);
            }
            _ => words.push(argument),
        }
    }
    let cases: Vec<Selected> = FEATURES
        .iter()
        .flat_map(|(feature, cases)| cases.iter().map(move |(name, run)| (feature, name, run)))
        .map(|(feature, name, run)| (format!("{feature}: {name}"), namespace(feature, name), *run))
        .filter(|(name, ..)| words.is_empty() || words.iter().any(|word| name.contains(word.as_str())))
        .collect();
    if list {
        for (name, ..) in &cases {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    if cases.is_empty() {
        eprintln!("no case is named like {words:?}");
        return ExitCode::from(2);
    }

    let start = Instant::now();
    let stack = match Stack::start() {
        Ok(stack) => stack,
        Err(error) => {
            eprintln!("the stack did not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("etcd, kube-apiserver and four registries are up ({:.1} s)", start.elapsed().as_secs_f64());
    let failed = run_all(&stack, &cases);

    let seconds = start.elapsed().as_secs_f64();
    println!("{} of {} cases passed in {seconds:.0} s", cases.len() - failed.len(), cases.len());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    for name in failed {
        println!("failed: {name}");
    }
    println!("logs: {}", stack.keep().display());
    ExitCode::FAILURE
}

/// Runs cases, [`WORKERS`] at a time, and then those that must be alone; returns the names of those that failed.
fn run_all<'c>(stack: &Stack, cases: &'c [Selected]) -> Vec<&'c str> {
    let (alone, together): (Vec<&Selected>, Vec<&Selected>) =
        cases.iter().partition(|(_, _, run)| matches!(run, Run::Alone(_)));
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let run = |(name, namespace, run): &'c Selected| {
        if !run_one(stack, name, namespace, *run) {
            failed.lock().unwrap_or_else(PoisonError::into_inner).push(name.as_str());
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(case);
                }
            });
        }
    });
    alone.into_iter().for_each(run);
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a case and says how it fared.
fn run_one(stack: &Stack, name: &str, namespace: &str, run: Run) -> bool {
    let start = Instant::now();
    let result = match run {
        Run::Admission(case) | Run::Alone(case) => Sandbox::new(stack, namespace).and_then(|sandbox| case(&sandbox)),
        Run::Stack(case) => case(stack),
    };
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(()) => println!("ok      {name} ({seconds:.1} s)"),
        Err(error) => {
            let log = stack.countersign_log().map(|log| format!("\n{log}")).unwrap_or_default();
            println!("FAILED  {name} ({seconds:.1} s)\n{}{log}", indent(&format!("{error:#}")));
        }
    }
    result.is_ok()
}

/// Held by cases that want to know what the rules of the cluster say of images that nobody governs.
pub(crate) static RULES: Mutex<()> = Mutex::new(());

/// Prints a figure that a case measured.
pub(crate) fn say(text: &str) {
    println!("        {text}");
}

/// A namespace named after the case.
fn namespace(feature: &str, name: &str) -> String {
    let mut words: String = format!("{feature} {name}")
        .to_lowercase()
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join("-");
    words.truncate(50); // leaves room for `Sandbox::with_instance`
    words.trim_end_matches('-').to_owned()
}
