//! Why evidence does not satisfy an authority, and how near it came.

/// How near a candidate came to satisfying an authority: who signed, what was signed, when, with which proofs. Only for the order of
/// messages.
pub(super) const WHO: u8 = 2;
pub(super) const ISSUER: u8 = 3;
pub(super) const CLAIM: u8 = 4;
pub(super) const WHAT: u8 = 5;
pub(super) const WHEN: u8 = 6;
pub(super) const PROOF: u8 = 7;
pub(super) const REVOKED: u8 = 8;
pub(super) const CONFIRMED: u8 = 9;

/// Why evidence does not satisfy an authority.
#[derive(Debug)]
pub(super) enum Miss {
    /// It was verified under another root, key or authority, which is none of this authority's business.
    Elsewhere,
    /// It is the authority's business, and one thing is wrong.
    Near {
        /// A stable code.
        code: &'static str,
        /// What was found, for people.
        found: String,
        /// How near it came; greater is nearer.
        nearness: u8,
    },
}

impl Miss {
    pub(super) fn near(code: &'static str, nearness: u8, found: impl Into<String>) -> Self {
        Self::Near { code, found: found.into(), nearness }
    }

    /// How near it came.
    pub(super) fn nearness(&self) -> u8 {
        match self {
            Self::Elsewhere => 0,
            Self::Near { nearness, .. } => *nearness,
        }
    }
}
