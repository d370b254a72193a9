//! The trust roots of one moment, by name: which can be used, until when they are fresh, and why one cannot be used.
//!
//! A name that is not there, or has no material, gives an `Error` and never a pass. What age does is said here, once: past its time a
//! root counts for nothing, or with a warning, as whoever declared it wants.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{EMBEDDED, FulcioIdentity, RoleName, RoleUnavailable, TrustError, TrustMaterial, TufRoles};
use crate::api::OnStale;

/// The trust roots of a request, by name.
#[derive(Clone, Debug, Default)]
pub struct TrustRoots {
    by_name: BTreeMap<String, State>,
    roles: TufRoles,
}

#[derive(Clone, Debug)]
enum State {
    Usable { material: TrustMaterial, fresh_until: Option<Timestamp>, on_stale: OnStale },
    Unavailable { reason: String },
}

/// A root that is past its time and is used all the same.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StaleWarning {
    /// The root's name.
    pub name: String,
    /// Since when it is stale.
    pub since: Timestamp,
}

/// Why a root cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RootProblem {
    /// There is none of this name.
    #[error("there is no trust root named {name}")]
    Unknown {
        /// The root's name.
        name: String,
    },
    /// It is declared, and nothing that it could be used with is at hand.
    #[error("the trust root {name} cannot be used: {reason}")]
    Unavailable {
        /// The root's name.
        name: String,
        /// Why.
        reason: String,
    },
    /// What it was refreshed with last is older than it may be.
    #[error("the trust root {name} was not refreshed in time; it counted until {since}")]
    Stale {
        /// The root's name.
        name: String,
        /// Since when it is stale.
        since: Timestamp,
    },
}

impl RootProblem {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "TrustRootUnknown",
            Self::Unavailable { .. } => "TrustRootUnavailable",
            Self::Stale { .. } => "TrustRootStale",
        }
    }
}

impl TrustRoots {
    /// The embedded roots.
    ///
    /// # Errors
    /// An embedded root that does not parse, which a test excludes.
    pub fn embedded() -> Result<Self, TrustError> {
        let mut roots = Self::default();
        for name in EMBEDDED {
            roots.insert(TrustMaterial::embedded(name)?);
        }
        Ok(roots)
    }

    /// Adds a root that does not age, in place of one with the same name.
    pub fn insert(&mut self, material: TrustMaterial) {
        self.insert_until(material, None, OnStale::Error);
    }

    /// Adds a root that is fresh up to a moment, in place of one with the same name.
    pub fn insert_until(&mut self, material: TrustMaterial, fresh_until: Option<Timestamp>, on_stale: OnStale) {
        self.by_name.insert(material.name().to_owned(), State::Usable { material, fresh_until, on_stale });
    }

    /// Says why nothing can be judged by a root, in place of one with the same name.
    pub fn insert_unavailable(&mut self, name: &str, reason: &str) {
        self.by_name.insert(name.to_owned(), State::Unavailable { reason: reason.to_owned() });
    }

    /// With who may sign for delegated roles of the roots' repositories.
    #[must_use]
    pub fn with_roles(mut self, roles: TufRoles) -> Self {
        self.roles = roles;
        self
    }

    /// Who may sign for delegated roles.
    pub fn roles(&self) -> &TufRoles {
        &self.roles
    }

    /// The material of this name, whatever its age.
    pub fn find(&self, name: &str) -> Option<&TrustMaterial> {
        match self.by_name.get(name)? {
            State::Usable { material, .. } => Some(material),
            State::Unavailable { .. } => None,
        }
    }

    /// The root of this name, if it may be used now. The moment up to which it is fresh is still fresh.
    ///
    /// # Errors
    /// No such root, none that has material, or one that is too old and must not be used then.
    pub fn usable(&self, name: &str, now: Timestamp) -> Result<(&TrustMaterial, Option<StaleWarning>), RootProblem> {
        let named = || name.to_owned();
        match self.by_name.get(name).ok_or_else(|| RootProblem::Unknown { name: named() })? {
            State::Unavailable { reason } => Err(RootProblem::Unavailable { name: named(), reason: reason.clone() }),
            State::Usable { material, fresh_until, on_stale } => {
                match (fresh_until.filter(|until| *until < now), on_stale) {
                    (None, _) => Ok((material, None)),
                    (Some(since), OnStale::Warn) => Ok((material, Some(StaleWarning { name: named(), since }))),
                    (Some(since), OnStale::Error) => Err(RootProblem::Stale { name: named(), since }),
                }
            }
        }
    }

    /// These roots, with what others have under a name in place of their own. None: it is the same, or the others have no material.
    #[must_use]
    pub fn with_newer(&self, name: &str, others: &Self) -> Option<Self> {
        let newer = others.find(name)?;
        if self.find(name).is_some_and(|own| own.digest() == newer.digest()) {
            return None;
        }
        let state = others.by_name.get(name)?.clone();
        let mut roots = self.clone();
        roots.by_name.insert(name.to_owned(), state);
        Some(roots)
    }

    /// Who may sign for a delegated role. Where its root counts for nothing, because of its age, or because it is declared no longer or
    /// cannot be used, neither does what its repository said of the role.
    ///
    /// # Errors
    /// Nobody can say.
    pub fn role(&self, role: &RoleName, now: Timestamp) -> Result<&[FulcioIdentity], RoleUnavailable> {
        match self.usable(&role.trust_root, now) {
            Err(RootProblem::Stale { since, .. }) => Err(RoleUnavailable::Stale { until: since }),
            Err(problem) => Err(RoleUnavailable::Unverified { reason: problem.to_string() }),
            Ok(_) => self.roles.find(role, now),
        }
    }

    /// The names, with those that cannot be used.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{GITHUB, PUBLIC_GOOD, RoleIdentities, STAGING, instance};

    #[test]
    fn a_root_counts_up_to_its_last_fresh_moment() {
        let material = TrustMaterial::embedded(PUBLIC_GOOD).unwrap();
        let until: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let after = until + jiff::SignedDuration::from_nanos(1);
        let mut roots = TrustRoots::default();
        roots.insert_until(material.clone(), Some(until), OnStale::Error);
        assert!(roots.usable(PUBLIC_GOOD, until).unwrap().1.is_none());
        let stale = roots.usable(PUBLIC_GOOD, after).unwrap_err();
        assert_eq!(
            (stale.code(), stale),
            ("TrustRootStale", RootProblem::Stale { name: PUBLIC_GOOD.into(), since: until })
        );
        roots.insert_until(material.clone(), Some(until), OnStale::Warn);
        let warning = StaleWarning { name: PUBLIC_GOOD.into(), since: until };
        assert_eq!(roots.usable(PUBLIC_GOOD, after).unwrap().1, Some(warning));
        roots.insert(material);
        assert!(roots.usable(PUBLIC_GOOD, Timestamp::MAX).unwrap().1.is_none());
        roots.insert_unavailable(PUBLIC_GOOD, "nothing was delivered yet");
        assert_eq!(roots.usable(PUBLIC_GOOD, until).unwrap_err().code(), "TrustRootUnavailable");
        assert!(roots.find(PUBLIC_GOOD).is_none());
        assert_eq!(roots.usable("other", until).unwrap_err().code(), "TrustRootUnknown");
    }

    #[test]
    fn a_role_counts_no_longer_than_its_root() {
        let name = RoleName { trust_root: "own".to_owned(), role: "release".to_owned() };
        let alice = FulcioIdentity { identity: "alice".to_owned(), issuer: "issuer".to_owned() };
        let until: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let mut known = TufRoles::default();
        known.insert(name.clone(), Ok(RoleIdentities { identities: vec![alice.clone()], until }));
        let mut roots = TrustRoots::default().with_roles(known);
        let said = |roots: &TrustRoots| roots.role(&name, until).map(<[FulcioIdentity]>::to_vec);
        let json = TrustMaterial::embedded_json(STAGING).unwrap();
        roots.insert(TrustMaterial::parse("other", json).unwrap());
        let withdrawn = RoleUnavailable::Unverified { reason: "there is no trust root named own".to_owned() };
        assert_eq!(said(&roots), Err(withdrawn), "another root is none");
        let material = TrustMaterial::parse("own", json).unwrap();
        roots.insert(material.clone());
        assert_eq!(said(&roots), Ok(vec![alice]));
        roots.insert_unavailable("own", "its object is broken");
        assert!(matches!(said(&roots), Err(RoleUnavailable::Unverified { reason }) if reason.contains("is broken")));
        let before = until - jiff::SignedDuration::from_secs(1);
        roots.insert_until(material, Some(before), OnStale::Error);
        assert_eq!(said(&roots), Err(RoleUnavailable::Stale { until: before }));
    }

    #[test]
    fn a_newer_root_takes_the_place_of_its_own_name_only() {
        let embedded = TrustRoots::embedded().unwrap();
        let mut others = TrustRoots::default();
        others.insert_unavailable(STAGING, "nothing was delivered yet");
        others.insert(TrustMaterial::embedded(GITHUB).unwrap());
        let own = TrustMaterial::parse(PUBLIC_GOOD, instance(STAGING).unwrap().embedded_trusted_root_json()).unwrap();
        others.insert(own.clone());
        assert!(["other", STAGING, GITHUB].iter().all(|name| embedded.with_newer(name, &others).is_none()));
        let newer = embedded.with_newer(PUBLIC_GOOD, &others).unwrap();
        assert_eq!(newer.find(PUBLIC_GOOD).unwrap().digest(), own.digest());
        assert_eq!(newer.find(STAGING).unwrap().digest(), embedded.find(STAGING).unwrap().digest());
    }
}
