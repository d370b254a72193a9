//! The task of one delegated role: who may sign for it, by the keys that the role's repository delegates to (TAP 18).
//!
//! What was verified counts until its metadata expires, whatever fails since; that the role is delegated no more, or to nobody by a Fulcio
//! identity, or that its root is declared no more, counts at once. Another pinned root begins with a task and record of its own. Format: <https://github.com/theupdateframework/taps/blob/master/tap18.md>.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::jittered;
use super::store::{FeedStore, Record, RoleProgress};
use super::task::{is_verified_absence, until_new};
use crate::trust::{FulcioIdentity, RoleIdentities, RoleName, RoleUnavailable};
use crate::trust_store::{RefreshError, RoleKey, RoleKeys, TrustStore, backoff};

/// `keytype` and `scheme` of a Fulcio identity.
const FULCIO: (&str, &str) = ("sigstore-oidc", "Fulcio");
/// Identities of one role.
const LIMIT: usize = 64;
/// Bytes of an identity or issuer.
const LENGTH: usize = 1_024;

/// The task of one role.
pub(super) struct RoleTask {
    store: Weak<FeedStore>,
    trust: Weak<TrustStore>,
    role: RoleName,
    record: Arc<Record<RoleProgress>>,
    failures: u32,
}

impl RoleTask {
    pub(super) fn new(store: &Arc<FeedStore>, role: RoleName, record: Arc<Record<RoleProgress>>) -> Self {
        let trust = Arc::downgrade(&store.trust);
        Self { store: Arc::downgrade(store), trust, role, record, failures: 0 }
    }

    pub(super) async fn run(mut self) {
        while let Some(wait) = self.fetch().await {
            let fetched = Instant::now();
            if until_new(&self.trust, &self.role.trust_root, wait).await.is_none() {
                return;
            }
            tokio::time::sleep_until(fetched + Duration::from_secs(1).min(wait)).await;
        }
    }

    /// Asks once, and says when to come back. None: the store is gone.
    async fn fetch(&mut self) -> Option<Duration> {
        let store = self.store.upgrade()?;
        let RoleName { trust_root, role } = &self.role;
        let deadline = Instant::now() + store.options.fetch_timeout;
        let is_declared = store.pinned(trust_root).is_some();
        let answer = if is_declared {
            store.trust.role_keys(trust_root, role, deadline).await
        } else {
            Err(RefreshError::NotDeclared { name: trust_root.clone() })
        };
        let found = match &answer {
            Ok(keys) => identities(keys),
            Err(error) => Err(RoleUnavailable::Unverified { reason: error.to_string() }),
        };
        // A root that is declared and not known has just been declared anew, by the same pinned metadata: that says nothing of the role.
        let is_told = !is_declared || answer.as_ref().err().is_none_or(is_verified_absence);
        match &found {
            Ok(_) => self.failures = 0,
            Err(reason) => {
                self.failures = self.failures.saturating_add(1);
                tracing::warn!(role = %self.role, %reason, "it is not known who signs for a role");
            }
        }
        {
            let mut record = self.record.lock();
            // What was verified before counts until it expires, unless the repository says now that it does not.
            if is_told || !matches!(*record, Some(Ok(_))) {
                *record = Some(found);
            }
        }
        store.publish();
        Some(jittered(backoff(self.failures, store.options.first_backoff, store.options.interval)))
    }
}

/// The Fulcio identities among a role's keys.
fn identities(keys: &RoleKeys) -> Result<RoleIdentities, RoleUnavailable> {
    let unverified = |reason: &str| RoleUnavailable::Unverified { reason: reason.to_owned() };
    let fulcio = |key: &&RoleKey| (key.kind.as_str(), key.scheme.as_str()) == FULCIO;
    let found: Option<Vec<_>> = keys.keys.iter().filter(fulcio).map(identity).collect();
    // A key of which one half cannot be read might be the one that was meant; a guess is none.
    let identities = found.ok_or_else(|| unverified("a Fulcio identity of it has no identity or no issuer"))?;
    if identities.is_empty() {
        return Err(unverified("no Fulcio identity signs for it"));
    }
    if identities.len() > LIMIT {
        return Err(unverified("too many Fulcio identities sign for it"));
    }
    Ok(RoleIdentities { identities, until: keys.expires })
}

fn identity(key: &RoleKey) -> Option<FulcioIdentity> {
    let text = |field: &str| {
        let text = key.value.get(field)?.as_str()?;
        (!text.is_empty() && text.len() <= LENGTH).then(|| text.to_owned())
    };
    Some(FulcioIdentity { identity: text("identity")?, issuer: text("issuer")? })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn identities_are_read_from_fulcio_keys_only() {
        let key = |kind: &str, scheme: &str, value: &Value| RoleKey {
            kind: kind.into(),
            scheme: scheme.into(),
            value: value.clone(),
        };
        let whole = json!({"identity": "a@b.c", "issuer": "https://issuer", "public": ""});
        let read = |keys: Vec<RoleKey>| {
            let expires = jiff::Timestamp::UNIX_EPOCH;
            identities(&RoleKeys { threshold: 1, keys, expires }).map(|found| found.identities.len())
        };
        let fulcio = || key("sigstore-oidc", "Fulcio", &whole);
        assert_eq!(read(vec![fulcio()]), Ok(1));
        assert_eq!(read(vec![fulcio(), key("ed25519", "ed25519", &json!({"public": "x"}))]), Ok(1));
        let refused = [
            ("nobody", vec![]),
            ("a key alone", vec![key("ed25519", "ed25519", &whole)]),
            ("another scheme", vec![key("sigstore-oidc", "fulcio", &whole)]),
            ("no issuer", vec![key("sigstore-oidc", "Fulcio", &json!({"identity": "a@b.c"})), fulcio()]),
            ("no identity", vec![key("sigstore-oidc", "Fulcio", &json!({"issuer": "i"})), fulcio()]),
            ("an empty one", vec![key("sigstore-oidc", "Fulcio", &json!({"identity": "", "issuer": "i"}))]),
            ("no text", vec![key("sigstore-oidc", "Fulcio", &json!({"identity": ["a"], "issuer": "i"}))]),
            ("endless", vec![key("sigstore-oidc", "Fulcio", &json!({"identity": "a".repeat(1_025), "issuer": "i"}))]),
            ("too many", (0..65).map(|_| fulcio()).collect()),
        ];
        for (what, keys) in refused {
            assert!(matches!(read(keys), Err(RoleUnavailable::Unverified { .. })), "{what}");
        }
    }
}
