//! What revoked indexes hold. Each replica finds it out where it has seen them, and judges by it at once; the one that holds the Lease also
//! writes what it found into `status.descendants`, by which all judge.
//!
//! A revocation names a digest and no repository, so that only what was seen somewhere can be looked into; of the others the condition
//! `Expanding` tells. It can only strike out more: what is listed stays listed until all that the spec names has been looked into. Until then
//! also what an artifact holds that was taken out of the spec: nobody can tell any more which of the listed digests are of which artifact.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::Instant;

use super::conditions::{Condition, Truth, Wanted};
use super::objects::Meta;
use super::watched::State;
use crate::image::Digest;
use crate::revocation::{DESCENDANTS_LIMIT, Revocation};

/// Whether what revoked indexes hold is not known yet.
const EXPANDING: &str = "Expanding";
/// Digests that are looked into at a time, and in one turn.
const AT_ONCE: usize = 4;
const IN_ONE_TURN: usize = 256;
/// Time for one of them.
const ANSWER: Duration = Duration::from_secs(10);
/// How long one that could not be had is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// Knows what indexes hold.
pub trait Indexes: Send + Sync {
    /// The digests of all that this artifact holds; nothing, if it is no index. None: nobody knows where it is. An error says why it cannot
    /// be looked into.
    fn below<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Option<Vec<Digest>>, String>>;
}

/// What is known of one artifact.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Known {
    /// What it holds.
    Below(Vec<Digest>),
    /// It was seen nowhere, when it was asked for last.
    Nowhere,
    /// Why it could not be had, and when.
    Failed(String, Instant),
}

/// What is known of revoked artifacts.
#[derive(Debug, Default)]
pub(super) struct Expansion {
    known: BTreeMap<Digest, Known>,
    /// The last one that was looked into: the next turn begins behind it.
    last: Option<Digest>,
}

/// The revocations that strike out artifacts.
pub(super) fn expandable(state: &State) -> Vec<(Meta, Arc<Revocation>)> {
    let acting = |revocation: &&Arc<Revocation>| !revocation.is_suspended() && !revocation.artifacts().is_empty();
    let entries = state.revocations.objects.iter();
    entries.filter_map(|entry| Some((entry.meta.clone(), Arc::clone(entry.form.in_force().filter(acting)?)))).collect()
}

impl Expansion {
    /// Looks into what is not known yet.
    pub(super) async fn look(&mut self, revocations: &[(Meta, Arc<Revocation>)], indexes: &dyn Indexes) {
        let named: BTreeSet<&Digest> = revocations.iter().flat_map(|(_, revocation)| revocation.artifacts()).collect();
        self.known.retain(|digest, _| named.contains(digest));
        let is_open = |digest: &&Digest| match self.known.get(digest) {
            Some(Known::Below(_)) => false,
            Some(Known::Failed(_, at)) => at.elapsed() >= TRY_AGAIN,
            Some(Known::Nowhere) | None => true,
        };
        let (before, behind): (Vec<&Digest>, Vec<&Digest>) = named
            .into_iter()
            .filter(is_open)
            .partition(|digest| self.last.as_ref().is_some_and(|last| *digest <= last));
        let open: Vec<Digest> = behind.into_iter().chain(before).take(IN_ONE_TURN).cloned().collect();
        self.last = open.last().cloned().or(self.last.take());
        let looks = open.into_iter().map(async |digest| {
            let known = match tokio::time::timeout(ANSWER, indexes.below(&digest)).await {
                Ok(Ok(Some(below))) => Known::Below(below),
                Ok(Ok(None)) => Known::Nowhere,
                Ok(Err(reason)) => Known::Failed(reason, Instant::now()),
                Err(_late) => Known::Failed("no answer in time".to_owned(), Instant::now()),
            };
            (digest, known)
        });
        self.known.extend(stream::iter(looks).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await);
    }

    /// What was found below each index that is named.
    pub(super) fn below(&self) -> BTreeMap<Digest, Vec<Digest>> {
        let found = self.known.iter().filter_map(|(digest, known)| match known {
            Known::Below(below) if !below.is_empty() => Some((digest.clone(), below.clone())),
            _ => None,
        });
        found.collect()
    }

    /// What the status of a revocation should say.
    pub(super) fn wanted(&self, revocation: &Revocation) -> Wanted {
        // Whoever leads now need not have seen what another replica looked into, be it for this spec or for one before.
        let is_known = |digest: &Digest| matches!(self.known.get(digest), Some(Known::Below(_)));
        let all_known = revocation.artifacts().iter().all(is_known);
        let before: &[Digest] = if all_known { &[] } else { revocation.descendants() };
        let mut descendants: BTreeSet<&Digest> = before.iter().collect();
        let mut unknown = Vec::new();
        for digest in revocation.artifacts() {
            match self.known.get(digest) {
                Some(Known::Below(below)) => descendants.extend(below),
                Some(Known::Failed(reason, _)) => unknown.push((digest, Some(reason.as_str()))),
                Some(Known::Nowhere) | None => unknown.push((digest, None)),
            }
        }
        let found = descendants.len();
        let condition = if found > DESCENDANTS_LIMIT {
            let message = format!(
                "what it strikes out holds {found} images, {DESCENDANTS_LIMIT} are listed; name indexes in several revocations"
            );
            Condition::new(Truth::True, "DescendantsTooMany", message)
        } else if let Some((digest, reason)) = unknown.first() {
            let reason = reason.unwrap_or("the replica that leads has seen it in no repository");
            let count = unknown.len();
            let message = format!(
                "{count} of its artifacts could not be looked into, such as {digest}: {reason}; \
                 if one is an index, the images in it are not struck out by themselves, only where the index is named"
            );
            Condition::new(Truth::True, "ArtifactNotSeen", message)
        } else {
            Condition::new(Truth::False, "Expanded", "everything that its artifacts hold is struck out")
        };
        let listed: Vec<String> = descendants.iter().take(DESCENDANTS_LIMIT).map(ToString::to_string).collect();
        let listed = (!listed.is_empty()).then(|| json!(listed));
        Wanted::default().condition(EXPANDING, condition).field("descendants", listed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt as _;
    use kube::runtime::watcher::Event;
    use serde_json::Value;

    use super::super::kinds;
    use super::*;

    fn digest(letter: char) -> Digest {
        Digest::parse(&format!("sha256:{}", letter.to_string().repeat(64))).unwrap()
    }

    /// An index `a` that holds `b` and `c`, an image `d`, and something that cannot be had.
    #[derive(Default)]
    struct Seen(Mutex<Vec<Digest>>);

    impl Indexes for Seen {
        fn below<'a>(&'a self, asked: &'a Digest) -> BoxFuture<'a, Result<Option<Vec<Digest>>, String>> {
            self.0.lock().unwrap().push(asked.clone());
            let answer = match asked {
                asked if *asked == digest('a') => Ok(Some(vec![digest('b'), digest('c')])),
                asked if *asked == digest('d') => Ok(Some(Vec::new())),
                asked if *asked == digest('e') => Err("the registry is down".to_owned()),
                _ => Ok(None),
            };
            async { answer }.boxed()
        }
    }

    fn object(generation: i64, artifacts: &[char]) -> Value {
        let artifacts: Vec<Value> =
            artifacts.iter().map(|letter| json!({"digest": digest(*letter).to_string()})).collect();
        json!({"apiVersion": "policy.countersign.dev/v1alpha1", "kind": "SignatureRevocation",
            "metadata": {"name": "r", "uid": "u", "generation": generation}, "spec": {"reason": "leaked", "artifacts": artifacts}})
    }

    /// What is wanted of the only revocation: its descendants, and truth and reason of the condition.
    async fn expanded(expansion: &mut Expansion, seen: &Seen, object: &Value) -> (Value, Truth, &'static str) {
        let mut state = State::default();
        state.revocations.objects.take(Event::Apply(kinds::revocation(object)));
        let revocations = expandable(&state);
        expansion.look(&revocations, seen).await;
        let wanted = expansion.wanted(&revocations[0].1);
        let condition = &wanted.conditions[EXPANDING];
        (wanted.fields["descendants"].clone(), condition.truth, condition.reason)
    }

    #[tokio::test]
    async fn what_an_index_holds_is_listed_and_asked_for_once() {
        let (mut expansion, seen) = (Expansion::default(), Seen::default());
        let below = json!([digest('b').to_string(), digest('c').to_string()]);
        for _ in 0..2 {
            let found = expanded(&mut expansion, &seen, &object(1, &['a', 'd'])).await;
            assert_eq!(found, (below.clone(), Truth::False, "Expanded"));
        }
        assert_eq!(*seen.0.lock().unwrap(), [digest('a'), digest('d')]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_looked_into_is_told_and_asked_for_again() {
        let (mut expansion, seen) = (Expansion::default(), Seen::default());
        let asked = |seen: &Seen| std::mem::take(&mut *seen.0.lock().unwrap());
        let unknown = (Value::Null, Truth::True, "ArtifactNotSeen");
        assert_eq!(expanded(&mut expansion, &seen, &object(1, &['d', 'e'])).await, unknown);
        assert_eq!(asked(&seen), [digest('d'), digest('e')]);
        // A registry that failed is left alone for a while; memory is asked every time.
        assert_eq!(expanded(&mut expansion, &seen, &object(1, &['d', 'e', 'f'])).await, unknown);
        assert_eq!(asked(&seen), [digest('f')]);
        tokio::time::advance(TRY_AGAIN).await;
        assert_eq!(expanded(&mut expansion, &seen, &object(1, &['d', 'e', 'f'])).await, unknown);
        assert_eq!(asked(&seen), [digest('e'), digest('f')]);
    }

    #[tokio::test]
    async fn no_artifact_waits_for_ever_behind_others() {
        let (mut expansion, seen) = (Expansion::default(), Seen::default());
        let artifacts: Vec<Value> = (0..700).map(|number| json!({"digest": format!("sha256:{number:064}")})).collect();
        let mut object = object(1, &[]);
        object["spec"]["artifacts"] = json!(artifacts);
        for _ in 0..3 {
            expanded(&mut expansion, &seen, &object).await;
        }
        let asked: BTreeSet<Digest> = seen.0.lock().unwrap().iter().cloned().collect();
        assert_eq!((asked.len(), seen.0.lock().unwrap().len()), (700, 3 * IN_ONE_TURN));
    }

    #[tokio::test]
    async fn what_another_replica_found_stays_until_all_of_the_spec_is_known() {
        let (mut expansion, seen) = (Expansion::default(), Seen::default());
        let before = json!([digest('0').to_string()]);
        let revocation = |generation: i64, artifacts: &[char]| {
            let mut object = object(generation, artifacts);
            object["status"] =
                json!({"descendants": before, "conditions": [{"type": EXPANDING, "observedGeneration": 1}]});
            object
        };
        let kept = (before.clone(), Truth::True, "ArtifactNotSeen");
        assert_eq!(expanded(&mut expansion, &seen, &revocation(1, &['f'])).await, kept);
        // A digest is added, or an artifact taken out and another put in, while one is unknown to this replica.
        for artifacts in [&['f', 'd'][..], &['e'], &['d', 'e']] {
            assert_eq!(expanded(&mut expansion, &seen, &revocation(2, artifacts)).await, kept, "{artifacts:?}");
        }
        let below = json!([digest('b').to_string(), digest('c').to_string()]);
        let known = (below, Truth::False, "Expanded");
        assert_eq!(expanded(&mut expansion, &seen, &revocation(3, &['a', 'd'])).await, known);
    }

    #[tokio::test]
    async fn suspending_and_resuming_takes_nothing_from_what_is_listed() {
        let (mut expansion, seen) = (Expansion::default(), Seen::default());
        let before = json!([digest('0').to_string()]);
        let mut object = object(3, &['f']);
        object["spec"]["suspended"] = json!(false);
        object["status"] = json!({"descendants": before, "conditions": [{"type": EXPANDING, "observedGeneration": 1}]});
        assert_eq!(expanded(&mut expansion, &seen, &object).await.0, before);
    }

    #[test]
    fn what_is_suspended_or_names_no_artifact_is_left_alone() {
        let mut suspended = object(1, &['a']);
        suspended["spec"]["suspended"] = json!(true);
        for object in [suspended, object(1, &[])] {
            let mut state = State::default();
            state.revocations.objects.take(Event::Apply(kinds::revocation(&object)));
            assert!(expandable(&state).is_empty());
        }
    }
}
