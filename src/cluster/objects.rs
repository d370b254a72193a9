//! The objects of one kind as a watch has seen them.
//!
//! No client and no clock: events in, entries out. One object that does not parse never hides the others and is never dropped: it stays
//! known as what it is, with its last good form beside it if it had one. A list replaces what was known when it is complete, and never
//! before.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::watcher::Event;
use serde_json::Value;

/// What is known of an object besides its meaning.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Meta {
    /// Its name.
    pub(super) name: String,
    /// Its namespace, if its kind lives in one.
    pub(super) namespace: Option<String>,
    /// Tells an object that was deleted and created again from one that was changed.
    pub(super) uid: String,
    /// The generation of its `spec`.
    pub(super) generation: i64,
    /// Its `status`, null if it has none.
    pub(super) status: Arc<Value>,
}

impl Meta {
    /// What an object says of itself.
    pub(super) fn of(object: &Value) -> Self {
        let metadata = |field: &str| object.pointer(&format!("/metadata/{field}"));
        let text = |field: &str| metadata(field).and_then(Value::as_str).map(str::to_owned);
        Self {
            name: text("name").unwrap_or_default(),
            namespace: text("namespace"),
            uid: text("uid").unwrap_or_default(),
            generation: metadata("generation").and_then(Value::as_i64).unwrap_or_default(),
            status: Arc::new(object.get("status").cloned().unwrap_or_default()),
        }
    }

    /// The name by which a kind's objects differ.
    fn key(&self) -> String {
        self.namespace.as_ref().map_or_else(|| self.name.clone(), |namespace| format!("{namespace}/{}", self.name))
    }
}

/// An object as a watch brought it, parsed before anything is locked.
#[derive(Debug)]
pub(super) struct Seen<F, E> {
    /// What it is.
    pub(super) meta: Meta,
    /// What it means, or why nobody can say.
    pub(super) parsed: Result<F, E>,
}

/// An object and what it means.
#[derive(Debug)]
pub(super) struct Entry<F, E> {
    /// What it is.
    pub(super) meta: Meta,
    /// What it means.
    pub(super) form: Form<F, E>,
}

/// What an object means.
#[derive(Debug)]
pub(super) enum Form<F, E> {
    /// It parses.
    Valid(Arc<F>),
    /// It does not: what it says now, and its last good form if it had one.
    Invalid(Arc<E>, Option<Arc<F>>),
}

impl<F, E> Form<F, E> {
    /// What is in force: what it says, or else what it said last.
    pub(super) fn in_force(&self) -> Option<&Arc<F>> {
        match self {
            Self::Valid(form) => Some(form),
            Self::Invalid(_, last_good) => last_good.as_ref(),
        }
    }

    /// Why it does not parse.
    pub(super) fn flaw(&self) -> Option<&Arc<E>> {
        match self {
            Self::Valid(_) => None,
            Self::Invalid(flaw, _) => Some(flaw),
        }
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Objects<F, E> {
    known: BTreeMap<String, Entry<F, E>>,
    /// A list that is still coming in.
    listed: BTreeMap<String, Entry<F, E>>,
}

impl<F, E> Default for Objects<F, E> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), listed: BTreeMap::new() }
    }
}

impl<F, E> Objects<F, E> {
    /// Takes in an event of the watch.
    pub(super) fn take(&mut self, event: Event<Seen<F, E>>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(seen) => {
                let entry = self.entry(seen);
                self.listed.insert(entry.meta.key(), entry);
            }
            Event::InitDone => self.known = std::mem::take(&mut self.listed),
            Event::Apply(seen) => {
                let entry = self.entry(seen);
                self.known.insert(entry.meta.key(), entry);
            }
            Event::Delete(seen) => {
                self.known.remove(&seen.meta.key());
            }
        }
    }

    /// All objects, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<F, E>> {
        self.known.values()
    }

    fn entry(&self, seen: Seen<F, E>) -> Entry<F, E> {
        let Seen { meta, parsed } = seen;
        let form = match parsed {
            Ok(form) => Form::Valid(Arc::new(form)),
            Err(flaw) => {
                let before = self.known.get(&meta.key()).filter(|known| known.meta.uid == meta.uid);
                Form::Invalid(Arc::new(flaw), before.and_then(|known| known.form.in_force().cloned()))
            }
        };
        Entry { meta, form }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(name: &str, uid: &str, parsed: Result<u8, u8>) -> Seen<u8, u8> {
        Seen { meta: Meta::of(&json!({"metadata": {"name": name, "uid": uid, "generation": 3}})), parsed }
    }

    /// Name, what is in force, and the flaw, of all.
    fn all(objects: &Objects<u8, u8>) -> Vec<(&str, Option<u8>, Option<u8>)> {
        let entry =
            |entry: &'_ Entry<u8, u8>| (entry.form.in_force().map(|form| **form), entry.form.flaw().map(|f| **f));
        objects.iter().map(|found| (found.meta.name.as_str(), entry(found).0, entry(found).1)).collect()
    }

    #[test]
    fn the_last_good_form_is_kept_for_the_same_object_only() {
        let mut objects = Objects::default();
        objects.take(Event::Apply(seen("a", "1", Ok(1))));
        objects.take(Event::Apply(seen("b", "2", Err(9))));
        assert_eq!(all(&objects), [("a", Some(1), None), ("b", None, Some(9))]);
        // However often it changes without parsing.
        for flaw in [7, 8] {
            objects.take(Event::Apply(seen("a", "1", Err(flaw))));
            assert_eq!(all(&objects)[0], ("a", Some(1), Some(flaw)));
        }
        objects.take(Event::Apply(seen("a", "3", Err(7))));
        assert_eq!(all(&objects)[0], ("a", None, Some(7)), "another object of that name");
        objects.take(Event::Delete(seen("a", "3", Err(7))));
        assert_eq!(all(&objects), [("b", None, Some(9))]);
    }

    #[test]
    fn a_list_replaces_only_when_it_is_complete_and_remembers_what_was_good() {
        let mut objects = Objects::default();
        objects.take(Event::Apply(seen("kept", "1", Ok(1))));
        objects.take(Event::Apply(seen("gone", "2", Ok(2))));
        objects.take(Event::Init);
        objects.take(Event::InitApply(seen("kept", "1", Err(9))));
        assert_eq!(all(&objects).len(), 2);
        // The list breaks off and begins anew: nothing of its first part counts.
        objects.take(Event::InitApply(seen("half", "4", Ok(4))));
        objects.take(Event::Init);
        objects.take(Event::InitApply(seen("kept", "1", Err(9))));
        objects.take(Event::InitDone);
        assert_eq!(all(&objects), [("kept", Some(1), Some(9))]);
    }

    #[test]
    fn objects_of_two_namespaces_may_share_a_name() {
        let mut objects = Objects::default();
        for (namespace, form) in [("x", 1), ("y", 2)] {
            let meta = Meta::of(&json!({"metadata": {"name": "a", "namespace": namespace, "uid": namespace}}));
            objects.take(Event::Apply(Seen { meta, parsed: Ok::<u8, u8>(form) }));
        }
        assert_eq!(objects.iter().count(), 2);
    }
}
