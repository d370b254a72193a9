//! How long an answer is worth keeping, by what it says. Pure: a table.
//!
//! Content under its digest never changes; what does is who may read it, so it is asked for anew after a while. What a tag names and
//! what a listing holds is kept for seconds. That something is *not* there is kept for less, because that is what the author of an
//! image mends next. A registry that cannot be reached has said nothing, and nothing is kept.

use std::time::Duration;

use crate::registry::RegistryError;

/// Content by its digest.
const CONTENT: Duration = Duration::from_mins(10);
/// The longest for what is not there, is empty, or is refused for what it is.
const ABSENT: Duration = Duration::from_secs(2);
/// The longest for credentials that a registry turns down.
const REFUSED: Duration = Duration::from_secs(1);
/// What a registry that limits the rate of requests is spared if it does not say.
const LIMITED: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is kept to: past it, the registry may say so again.
const LONGEST_LIMITED: Duration = Duration::from_secs(30);
/// Longer than any of them, for the shelf's own tidying.
pub(super) const LONGEST: Duration = CONTENT;

/// How long answers of one kind are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Lifetime {
    found: Duration,
    is_immutable: bool,
}

impl Lifetime {
    /// Of manifests and blobs by digest.
    pub(super) const CONTENT: Self = Self { found: CONTENT, is_immutable: true };

    /// Of resolutions or listings; zero keeps nothing at all.
    pub(super) fn of_answers(found: Duration) -> Self {
        Self { found: found.min(LONGEST), is_immutable: false }
    }

    /// Whether what was found stays true for ever.
    pub(super) fn is_immutable(self) -> bool {
        self.is_immutable
    }

    /// How long this answer is kept, given how much it holds.
    pub(super) fn of(self, answer: Result<Holds, &RegistryError>) -> Duration {
        let Self { found, .. } = self;
        if found.is_zero() {
            return Duration::ZERO;
        }
        match answer {
            Ok(Holds::Something) => found,
            Err(RegistryError::RateLimited { retry_after, .. }) => retry_after.unwrap_or(LIMITED).min(LONGEST_LIMITED),
            Err(RegistryError::Unauthorized { .. }) => found.min(REFUSED),
            // Another caller may have another cap.
            Err(RegistryError::TooLarge { .. }) => Duration::ZERO,
            // Nothing was decided: one lost connection must not become everybody's.
            Err(error) if error.is_undecided() => Duration::ZERO,
            Ok(Holds::Nothing) | Err(_) => found.min(ABSENT),
        }
    }
}

/// Whether an answer tells of anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Holds {
    Something,
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    #[test]
    fn what_is_missing_is_kept_shorter_than_what_is_there_and_what_is_unknown_not_at_all() {
        let host = || "reg.io".to_owned();
        let seconds = Duration::from_secs;
        let limited = |wait: Option<u64>| RegistryError::RateLimited { host: host(), retry_after: wait.map(seconds) };
        let digest = || Digest::of(b"");
        let table: Vec<(Result<Holds, RegistryError>, u64, u64)> = vec![
            // The answer; seconds as content, and as an answer of ten seconds.
            (Ok(Holds::Something), 600, 10),
            (Ok(Holds::Nothing), 2, 2),
            (Err(limited(None)), 1, 1),
            (Err(limited(Some(5))), 5, 5),
            (Err(limited(Some(86_400))), 30, 30),
            (Err(RegistryError::Unauthorized { host: host(), repository: "reg.io/app".into() }), 1, 1),
            (Err(RegistryError::TooLarge { what: "blob", cap: 1 }), 0, 0),
            (Err(RegistryError::Timeout { host: host(), what: "blob" }), 0, 0),
            (Err(RegistryError::Unavailable { host: host(), reason: "status 503".into() }), 0, 0),
            (Err(RegistryError::UnexpectedStatus { host: host(), status: 418 }), 0, 0),
            (Err(RegistryError::DigestMismatch { expected: digest(), found: digest() }), 2, 2),
            (Err(RegistryError::Malformed { what: "manifest", reason: "it is no JSON".into() }), 2, 2),
            (Err(RegistryError::TooMany { what: "entries", cap: 1 }), 2, 2),
        ];
        for (answer, content, listing) in table {
            let of = |lifetime: Lifetime| lifetime.of(answer.as_ref().map(|holds| *holds));
            assert_eq!(of(Lifetime::CONTENT), seconds(content), "{answer:?}");
            assert_eq!(of(Lifetime::of_answers(seconds(10))), seconds(listing), "{answer:?}");
            assert_eq!(of(Lifetime::of_answers(Duration::ZERO)), Duration::ZERO, "{answer:?}");
            if !matches!(answer, Err(RegistryError::RateLimited { .. })) {
                assert!(
                    of(Lifetime::of_answers(Duration::from_millis(500))) <= Duration::from_millis(500),
                    "{answer:?}"
                );
            }
        }
    }
}
