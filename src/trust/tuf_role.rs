//! Who may sign for a delegated role of a TUF repository by a Fulcio identity (TAP 18), so that who may sign an image is itself
//! delivered by TUF.
//!
//! Only what was found, and until when it may be believed: `trust_store` reads and verifies the metadata. A role that is not here is
//! not known, and nobody may sign for it. Format: <https://github.com/theupdateframework/taps/blob/master/tap18.md>.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

/// A delegated role, by the trust root whose repository delegates it.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RoleName {
    /// The trust root's name.
    pub trust_root: String,
    /// The role's name.
    pub role: String,
}

impl fmt::Display for RoleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trust_root, role } = self;
        write!(formatter, "the TUF role {role} of the trust root {trust_root}")
    }
}

/// An identity that Fulcio certifies. Both parts are compared exactly.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FulcioIdentity {
    /// The certificate's subject alternative name.
    pub identity: String,
    /// The OpenID Connect issuer that vouched for it.
    pub issuer: String,
}

/// Who may sign for a role.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleIdentities {
    /// The identities, at least one; any of them.
    pub identities: Vec<FulcioIdentity>,
    /// The last moment at which the metadata that says so may be believed.
    pub until: Timestamp,
}

/// Why nobody can say who may sign for a role.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RoleUnavailable {
    /// It was not looked up, or the root is none that comes through TUF.
    #[error("it is not known who signs for it")]
    Unknown,
    /// It could not be read or verified.
    #[error("{reason}")]
    Unverified {
        /// Why not.
        reason: String,
    },
    /// What was last verified may no longer be believed.
    #[error("what says who signs for it was to be believed until {until}")]
    Stale {
        /// Until when it was.
        until: Timestamp,
    },
}

/// What is known of delegated roles.
#[derive(Clone, Debug, Default)]
pub struct TufRoles {
    by_name: BTreeMap<RoleName, Result<RoleIdentities, RoleUnavailable>>,
}

impl TufRoles {
    /// Says what is known of a role now, in place of what was known before.
    pub fn insert(&mut self, role: RoleName, found: Result<RoleIdentities, RoleUnavailable>) {
        self.by_name.insert(role, found);
    }

    /// Who may sign for a role.
    ///
    /// # Errors
    /// Nobody can say: it is unknown, could not be verified, is stale, or names nobody.
    pub fn find(&self, role: &RoleName, now: Timestamp) -> Result<&[FulcioIdentity], RoleUnavailable> {
        match self.by_name.get(role) {
            None => Err(RoleUnavailable::Unknown),
            Some(Err(reason)) => Err(reason.clone()),
            Some(Ok(found)) if found.until < now => Err(RoleUnavailable::Stale { until: found.until }),
            Some(Ok(found)) if found.identities.is_empty() => {
                Err(RoleUnavailable::Unverified { reason: "no Fulcio identity signs for it".to_owned() })
            }
            Some(Ok(found)) => Ok(&found.identities),
        }
    }
}
