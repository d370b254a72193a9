//! Pods that are admitted all the time, while something else changes: every answer is kept, so that none can be wrong in between.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::api::Answer;
use crate::process::eventually;
use crate::stack::Sandbox;

/// Between two rounds of one namespace.
const PAUSE: Duration = Duration::from_millis(50);
/// Until an answer changes that should: longer than evidence has to wait for a refresh.
const LIMIT: Duration = Duration::from_mins(1);

/// Pods, each tried in each of some namespaces all the time.
#[derive(Debug)]
pub struct Load<'l, 's> {
    sandboxes: &'l [&'l Sandbox<'s>],
    pods: &'l [Value],
    answers: Mutex<Vec<Asked>>,
    stop: AtomicBool,
}

/// One answer.
#[derive(Clone, Debug)]
struct Asked {
    sandbox: usize,
    pod: usize,
    at: Instant,
    answer: Answer,
}

impl<'l, 's> Load<'l, 's> {
    /// Tries every Pod in every namespace until `during` ends.
    pub fn run(
        sandboxes: &'l [&'l Sandbox<'s>],
        pods: &'l [Value],
        during: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        let load = Self { sandboxes, pods, answers: Mutex::default(), stop: AtomicBool::new(false) };
        thread::scope(|scope| {
            let askers: Vec<_> = (0..sandboxes.len())
                .map(|sandbox| (scope, &load, sandbox))
                .map(|(scope, load, sandbox)| scope.spawn(move || load.ask(sandbox)))
                .collect();
            let result = during(&load);
            load.stop.store(true, Ordering::SeqCst);
            let asked = askers.into_iter().map(|asker| asker.join().map_err(|_| anyhow!("an asker panicked"))?);
            result.and(asked.collect::<Result<()>>())
        })
    }

    fn ask(&self, sandbox: usize) -> Result<()> {
        let place = self.sandboxes.get(sandbox).context("no such namespace")?;
        while !self.stop.load(Ordering::SeqCst) {
            for (pod, object) in self.pods.iter().enumerate() {
                let at = Instant::now();
                let answer = place.try_pod(object)?;
                self.lock().push(Asked { sandbox, pod, at, answer });
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Waits until this Pod gets such an answer in every namespace; how long that took from `since` on, one for each.
    pub fn until(&self, pod: usize, since: Instant, wanted: impl Fn(&Answer) -> bool) -> Result<Vec<Duration>> {
        (0..self.sandboxes.len())
            .map(|sandbox| {
                let what = format!("Pod {pod} in namespace {sandbox}");
                let found = eventually(&what, LIMIT, || {
                    let answers = self.lock();
                    let mut asked = answers.iter().filter(|asked| (asked.sandbox, asked.pod) == (sandbox, pod));
                    Ok(asked.find(|asked| asked.at >= since && wanted(&asked.answer)).map(|asked| asked.at - since))
                });
                found.with_context(|| format!("{:?}", self.last(sandbox, pod)))
            })
            .collect()
    }

    /// Every answer for this Pod so far is of these kinds, one after the other and never back. At least one is of each.
    pub fn went(&self, pod: usize, kinds: &[&dyn Fn(&Answer) -> bool]) -> Result<()> {
        for sandbox in 0..self.sandboxes.len() {
            let mut stages = kinds.iter();
            let mut stage = stages.next().context("no answers are expected")?;
            let mut seen = false;
            for asked in self.lock().iter().filter(|asked| (asked.sandbox, asked.pod) == (sandbox, pod)) {
                if seen && !stage(&asked.answer) {
                    stage = stages.next().with_context(|| format!("Pod {pod} in {sandbox}: {:?}", asked.answer))?;
                }
                ensure!(stage(&asked.answer), "Pod {pod} in namespace {sandbox}: {:?}", asked.answer);
                seen = true;
            }
            ensure!(seen && stages.next().is_none(), "Pod {pod} in namespace {sandbox} was not answered otherwise");
        }
        Ok(())
    }

    /// How many answers there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn last(&self, sandbox: usize, pod: usize) -> Option<Answer> {
        let answers = self.lock();
        let last = answers.iter().rev().find(|asked| (asked.sandbox, asked.pod) == (sandbox, pod));
        last.map(|asked| asked.answer.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Asked>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
