//! A source that remembers what it was told: [`Cached`] around any [`ImageSource`].
//!
//! It asks what the caller asked and nothing else: no request is made ahead, none is repeated, none is turned into another. An
//! answer is remembered under all that it may depend on, the length cap excepted, which is compared with what is found.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use moka::sync::Cache;
use tokio::time::Instant;

use super::StoreSettings;
use super::flight::{Flights, Landed};
use super::lifetime::{Holds, LONGEST, Lifetime};
use super::shelf::{Figures, Shelf};
use crate::image::{Digest, Repository};
use crate::registry::{
    CredentialKey, Credentialed, Descriptor, ImageSource, ManifestSelector, RawManifest, RegistryError, index_entries,
};

/// Repositories of which it is remembered that something failed.
const FORGOTTEN: u64 = 10_000;

type Answer<T> = Result<Option<T>, RegistryError>;

/// A question, with everything that its answer may depend on.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Key {
    repository: Repository,
    credential: CredentialKey,
    about: About,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum About {
    Digest(Digest),
    Tag(String),
}

/// Answers of one kind, and what is being asked at the moment.
#[derive(Debug)]
pub(super) struct Answered<T> {
    lifetime: Lifetime,
    shelf: Shelf<Key, Answer<T>>,
    under_way: Flights<(Key, u64), Answer<T>>,
    /// What a document over its cap is called.
    what: &'static str,
}

impl<T: Clone + Send + Sync + 'static> Answered<T> {
    fn new(what: &'static str, bytes: u64, lifetime: Lifetime) -> Self {
        Self { lifetime, shelf: Shelf::new(bytes, LONGEST), under_way: Flights::default(), what }
    }

    pub(super) fn figures(&self) -> Figures {
        self.shelf.figures()
    }
}

/// What every source over one store remembers.
pub(super) struct Answers {
    pub(super) blobs: Answered<Arc<Vec<u8>>>,
    pub(super) listings: Answered<Arc<Vec<Descriptor>>>,
    pub(super) manifests: Answered<Arc<RawManifest>>,
    pub(super) resolutions: Answered<Arc<RawManifest>>,
    pub(super) signature_tags: Answered<Arc<RawManifest>>,
    /// Since when answers about a repository are out of date, whatever their age.
    forgotten: Cache<(Repository, CredentialKey), Instant>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Answers")
    }
}

impl Answers {
    /// Answers of so many bytes together.
    pub(super) fn new(settings: StoreSettings, bytes: u64) -> Self {
        let StoreSettings { resolution_lifetime, listing_lifetime, .. } = settings;
        let (resolution, listing) = (Lifetime::of_answers(resolution_lifetime), Lifetime::of_answers(listing_lifetime));
        // In twelfths; a layer may be the largest document of all.
        let share = |twelfths: u64| bytes / 12 * twelfths;
        Self {
            blobs: Answered::new("blob", share(6), Lifetime::CONTENT),
            listings: Answered::new("referrers", share(1), listing),
            manifests: Answered::new("manifest", share(2), Lifetime::CONTENT),
            resolutions: Answered::new("manifest", share(2), resolution),
            signature_tags: Answered::new("manifest", share(1), listing),
            forgotten: Cache::builder().max_capacity(FORGOTTEN).time_to_live(LONGEST).build(),
        }
    }

    /// The answer to a question of before, if it still holds.
    fn remembered<T: Held>(&self, answered: &Answered<T>, key: &Key, cap: u64) -> Option<Answer<T>> {
        let entry = answered.shelf.get(key)?;
        let is_for_ever = matches!(entry.value, Ok(Some(_))) && answered.lifetime.is_immutable();
        if entry.value.is_ok() && !is_for_ever {
            let forgotten = self.forgotten.get(&(key.repository.clone(), key.credential.clone()));
            if forgotten.is_some_and(|since| entry.asked <= since) {
                return None;
            }
        }
        match entry.value {
            Ok(Some(found)) if found.length() > cap => Some(Err(RegistryError::TooLarge { what: answered.what, cap })),
            answer => Some(answer),
        }
    }

    /// The answer to a question: a remembered one, that of whoever is asking it already, or a new one.
    async fn ask<T: Held>(
        &self,
        answered: &Answered<T>,
        key: Key,
        cap: u64,
        question: impl Future<Output = Answer<T>> + Send,
    ) -> Answer<T> {
        let Answered { lifetime, shelf, under_way, .. } = answered;
        if let Some(answer) = self.remembered(answered, &key, cap) {
            shelf.hit();
            return answer;
        }
        let work = async {
            // Whoever asked before may have been answered in between.
            if let Some(answer) = self.remembered(answered, &key, cap) {
                shelf.hit();
                return answer;
            }
            shelf.miss();
            let asked = Instant::now();
            let answer = question.await;
            let (holds, bytes) = match &answer {
                Ok(Some(found)) if !found.is_empty() => (Ok(Holds::Something), found.bytes()),
                Ok(_) => (Ok(Holds::Nothing), 0),
                Err(error) => (Err(error), 0),
            };
            let lifetime = lifetime.of(holds);
            shelf.put(key.clone(), answer.clone(), bytes + key.bytes(), asked, lifetime);
            answer
        };
        // Time that ran out was the asker's; whoever still has some asks for themselves.
        let is_for_all = |answer: &Answer<T>| !matches!(answer, Err(RegistryError::Timeout { .. }));
        let Landed { value, led } = under_way.run((key.clone(), cap), is_for_all, work).await;
        if !led {
            shelf.hit();
        }
        value
    }
}

/// A source that remembers, for its own credentials alone.
#[derive(Debug)]
pub struct Cached<S> {
    source: S,
    answers: Arc<Answers>,
}

impl<S: ImageSource + Credentialed> Cached<S> {
    pub(super) fn new(source: S, answers: Arc<Answers>) -> Self {
        Self { source, answers }
    }

    fn key(&self, repository: &Repository, about: About) -> Key {
        Key { repository: repository.clone(), credential: self.source.credential(repository), about }
    }
}

/// The source's futures hold a whole exchange of HTTP and are moved several times on the way to where they run; in boxes they do not
/// fill the stack, and none is made for what is remembered.
impl<S: ImageSource + Credentialed> ImageSource for Cached<S> {
    async fn manifest(
        &self,
        repository: &Repository,
        selector: ManifestSelector<'_>,
        cap: u64,
    ) -> Result<Option<RawManifest>, RegistryError> {
        let Answers { manifests, resolutions, signature_tags, .. } = &*self.answers;
        let (answered, about) = match selector {
            ManifestSelector::Digest(digest) => (manifests, About::Digest(digest.clone())),
            ManifestSelector::Tag(tag) if holds_signatures(tag) => (signature_tags, About::Tag(tag.to_owned())),
            ManifestSelector::Tag(tag) => (resolutions, About::Tag(tag.to_owned())),
        };
        let question = async {
            let asked = Instant::now();
            let found = Box::pin(self.source.manifest(repository, selector, cap)).await?.map(Arc::new);
            if let (ManifestSelector::Tag(_), Some(found)) = (selector, &found) {
                // What a tag names now is content too, and will be asked for by its digest.
                let key = self.key(repository, About::Digest(found.digest().clone()));
                let (bytes, lifetime) = (found.bytes() + key.bytes(), Lifetime::CONTENT.of(Ok(Holds::Something)));
                manifests.shelf.put(key, Ok(Some(Arc::clone(found))), bytes, asked, lifetime);
            }
            Ok(found)
        };
        let answer = self.answers.ask(answered, self.key(repository, about), cap, question).await;
        answer.map(|found| found.map(Arc::unwrap_or_clone))
    }

    async fn blob(&self, repository: &Repository, digest: &Digest, cap: u64) -> Result<Option<Vec<u8>>, RegistryError> {
        let key = self.key(repository, About::Digest(digest.clone()));
        let question = async { Ok(Box::pin(self.source.blob(repository, digest, cap)).await?.map(Arc::new)) };
        let answer = self.answers.ask(&self.answers.blobs, key, cap, question).await;
        answer.map(|found| found.map(Arc::unwrap_or_clone))
    }

    async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let key = self.key(repository, About::Digest(digest.clone()));
        let question = async { Ok(Box::pin(self.source.referrers(repository, digest)).await?.map(Arc::new)) };
        let answer = self.answers.ask(&self.answers.listings, key, u64::MAX, question).await;
        answer.map(|found| found.map(Arc::unwrap_or_clone))
    }

    fn forget(&self, repository: &Repository) {
        let key = (repository.clone(), self.source.credential(repository));
        self.answers.forgotten.insert(key, Instant::now());
        self.source.forget(repository);
    }
}

/// Whether a tag is one of those under which signatures are kept, `sha256-<hex>` with or without an ending.
fn holds_signatures(tag: &str) -> bool {
    let rest = tag.strip_prefix("sha256-").and_then(|rest| rest.split_at_checked(64));
    rest.is_some_and(|(hex, ending)| {
        hex.bytes().all(|byte| byte.is_ascii_hexdigit()) && (ending.is_empty() || ending.starts_with('.'))
    })
}

impl Key {
    /// The text in it. What is shared with others is counted all the same.
    fn bytes(&self) -> usize {
        let about = match &self.about {
            About::Digest(digest) => digest.hex().len(),
            About::Tag(tag) => tag.len(),
        };
        self.repository.host().len() + self.repository.path().len() + about
    }
}

/// Something that answers hold.
trait Held: Clone + Send + Sync + 'static {
    /// Bytes in memory, roughly.
    fn bytes(&self) -> usize;

    /// Bytes that a cap is about.
    fn length(&self) -> u64 {
        0
    }

    /// Whether it tells of nothing.
    fn is_empty(&self) -> bool;
}

impl Held for Arc<RawManifest> {
    fn bytes(&self) -> usize {
        RawManifest::bytes(self).len()
    }

    fn length(&self) -> u64 {
        Held::bytes(self) as u64
    }

    /// An index without entries: what a fallback tag names from which the last referrer was taken.
    fn is_empty(&self) -> bool {
        self.is_index() && index_entries(RawManifest::bytes(self), usize::MAX).is_ok_and(|entries| entries.is_empty())
    }
}

impl Held for Arc<Vec<u8>> {
    fn bytes(&self) -> usize {
        self.len()
    }

    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn is_empty(&self) -> bool {
        false
    }
}

impl Held for Arc<Vec<Descriptor>> {
    fn bytes(&self) -> usize {
        let text = |entry: &Descriptor| {
            let annotations = entry.annotations.iter().map(|(key, value)| key.len() + value.len() + 96);
            let kinds = entry.media_type.len() + entry.artifact_type.as_ref().map_or(0, String::len);
            size_of::<Descriptor>() + 128 + kinds + annotations.sum::<usize>()
        };
        self.iter().map(text).sum()
    }

    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_signatures_are_told_from_those_of_images() {
        let hex = "0123456789abcdef".repeat(4);
        for (tag, expected) in [
            (format!("sha256-{hex}"), true),
            (format!("sha256-{hex}.sig"), true),
            (format!("sha256-{hex}.att"), true),
            (format!("sha256-{hex}0"), false),
            (format!("sha256-{}", hex.replace('f', "g")), false),
            (format!("sha256-{}", hex.replacen('0', "é", 1)), false),
            (format!("sha512-{hex}"), false),
            ("sha256-".to_owned(), false),
            ("latest".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(holds_signatures(&tag), expected, "{tag}");
        }
    }
}
