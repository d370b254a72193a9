//! Who may have signed with a certificate: issuer, name, claims and time, as one condition.
//!
//! Claims have the names of Fulcio's table of extensions
//! (<https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md>). One that the certificate does not make matches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use super::matcher::StringMatcher;
use super::miss::{CLAIM, ISSUER, Miss, WHO};
use super::parse::{check_count, check_length};
use super::window::SigningWindow;
use super::{PolicyError, describe};
use crate::api;
use crate::trust::{FulcioIdentity, RoleName, TrustRoots};
use crate::verify::{Evidence, Subject, claim_names};

/// The claim that is no extension: the user name among the certificate's names.
const OTHER_NAME: &str = "otherName";
/// Shorter names that stand for Fulcio's.
const ALIASES: [(&str, &str); 2] = [
    ("sourceRepositoryID", "sourceRepositoryIdentifier"),
    ("sourceRepositoryOwnerID", "sourceRepositoryOwnerIdentifier"),
];

/// A signer who is known by a certificate. Every part must hold for one and the same certificate.
#[derive(Debug)]
pub(super) struct Identity {
    who: Who,
    claims: Vec<ClaimRule>,
    signed: Option<SigningWindow>,
}

/// Issuer and name of a signer.
#[derive(Debug)]
enum Who {
    /// As the policy says.
    Matching {
        /// None: an own authority vouches, and no issuer is asked for.
        issuer: Option<StringMatcher>,
        subject: StringMatcher,
    },
    /// As the Fulcio identities of a delegated TUF role say.
    Role(RoleName),
}

#[derive(Debug)]
struct ClaimRule {
    name: &'static str,
    value: StringMatcher,
}

impl Identity {
    /// Parses an identity of a Sigstore instance.
    pub(super) fn keyless(field: &str, spec: &api::Identity) -> Result<Self, PolicyError> {
        let who = match (&spec.issuer, &spec.subject, &spec.tuf_role) {
            (Some(issuer), Some(subject), None) => Who::Matching {
                issuer: Some(matcher(&format!("{field}.issuer"), issuer)?),
                subject: matcher(&format!("{field}.subject"), subject)?,
            },
            (None, None, Some(role)) => {
                check_length(&format!("{field}.tufRole.trustRoot"), &role.trust_root, 253)?;
                check_length(&format!("{field}.tufRole.role"), &role.role, 253)?;
                Who::Role(RoleName { trust_root: role.trust_root.clone(), role: role.role.clone() })
            }
            _ => {
                let choices = "issuer with subject, and tufRole";
                return Err(PolicyError::NotOneOf { field: field.to_owned(), choices });
            }
        };
        Self::parse(field, who, spec.claims.as_deref(), spec.signed.as_ref())
    }

    /// Parses an identity of an own authority.
    pub(super) fn certificate(field: &str, spec: &api::CertificateIdentity) -> Result<Self, PolicyError> {
        let who = Who::Matching { issuer: None, subject: matcher(&format!("{field}.subject"), &spec.subject)? };
        Self::parse(field, who, spec.claims.as_deref(), spec.signed.as_ref())
    }

    fn parse(
        field: &str,
        who: Who,
        claims: Option<&[api::ClaimMatch]>,
        signed: Option<&api::SigningWindow>,
    ) -> Result<Self, PolicyError> {
        let window = |spec: &api::SigningWindow| {
            let field = format!("{field}.signed");
            SigningWindow::parse(&field, spec.not_before.as_deref(), spec.not_after.as_deref())?
                .ok_or(PolicyError::Useless { field, reason: "neither notBefore nor notAfter is given" })
        };
        Ok(Self {
            who,
            claims: claims.map_or_else(|| Ok(Vec::new()), |claims| claim_rules(&format!("{field}.claims"), claims))?,
            signed: signed.map(window).transpose()?,
        })
    }

    /// Whether a certificate has this identity's names, whatever its claims and time. A role that is not known has none.
    pub(super) fn names(&self, issuer: Option<&str>, subjects: &[Subject], roots: &TrustRoots, now: Timestamp) -> bool {
        match &self.who {
            Who::Matching { issuer: wanted, subject } => {
                let vouched = |wanted: &StringMatcher| issuer.is_some_and(|issuer| wanted.matches(issuer));
                wanted.as_ref().is_none_or(vouched) && subjects.iter().any(|found| subject.matches(found.as_str()))
            }
            Who::Role(role) => roots.role(role, now).is_ok_and(|identities| {
                let named = |identity: &FulcioIdentity| {
                    issuer == Some(identity.issuer.as_str())
                        && subjects.iter().any(|found| found.as_str() == identity.identity)
                };
                identities.iter().any(named)
            }),
        }
    }

    /// The delegated role whose identities are meant, if one is.
    pub(super) fn tuf_role(&self) -> Option<&RoleName> {
        match &self.who {
            Who::Matching { .. } => None,
            Who::Role(role) => Some(role),
        }
    }

    /// The issuer that is asked for, if one is named by this identity itself.
    pub(super) fn issuer(&self) -> Option<&StringMatcher> {
        match &self.who {
            Who::Matching { issuer, .. } => issuer.as_ref(),
            Who::Role(_) => None,
        }
    }

    /// Whether a certificate is this identity's, and at the right time. A certificate without an issuer, or without a name that is
    /// read, matches nothing that asks for one. Any of its names may be the wanted one.
    pub(super) fn admit(
        &self,
        issuer: Option<&str>,
        subjects: &[Subject],
        claims: &BTreeMap<&'static str, String>,
        evidence: &Evidence,
        roots: &TrustRoots,
        now: Timestamp,
    ) -> Result<(), Miss> {
        self.who.admit(issuer, subjects, evidence, roots, now)?;
        for rule in &self.claims {
            rule.check(subjects, claims, evidence)?;
        }
        self.signed.map_or(Ok(()), |window| window.check(evidence))
    }
}

impl Who {
    fn admit(
        &self,
        issuer: Option<&str>,
        subjects: &[Subject],
        evidence: &Evidence,
        roots: &TrustRoots,
        now: Timestamp,
    ) -> Result<(), Miss> {
        let of_role = |role: &RoleName| {
            roots.role(role, now).map_err(|reason| {
                Miss::near("TufRoleUnavailable", WHO, format!("{}; of {role}: {reason}", describe(evidence)))
            })
        };
        let (named, vouched) = match self {
            Self::Matching { issuer: wanted, subject } => {
                let named = subjects.iter().any(|found| subject.matches(found.as_str()));
                let vouched = |wanted: &StringMatcher| issuer.is_some_and(|issuer| wanted.matches(issuer));
                (named, wanted.as_ref().is_none_or(vouched))
            }
            // Exactly, and both of one and the same key of the role.
            Self::Role(role) => {
                let is_named =
                    |identity: &&FulcioIdentity| subjects.iter().any(|subject| subject.as_str() == identity.identity);
                let mut named = of_role(role)?.iter().filter(is_named).peekable();
                let any = named.peek().is_some();
                (any, named.any(|identity| issuer == Some(identity.issuer.as_str())))
            }
        };
        if !named {
            return Err(Miss::near("IdentityMismatch", WHO, describe(evidence)));
        }
        if !vouched {
            return Err(Miss::near("IssuerMismatch", ISSUER, describe(evidence)));
        }
        Ok(())
    }
}

impl ClaimRule {
    fn check(
        &self,
        subjects: &[Subject],
        claims: &BTreeMap<&'static str, String>,
        evidence: &Evidence,
    ) -> Result<(), Miss> {
        let values: Vec<&str> = if self.name == OTHER_NAME {
            subjects
                .iter()
                .filter_map(|subject| match subject {
                    Subject::OtherName(name) => Some(name.as_str()),
                    Subject::Email(_) | Subject::Uri(_) => None,
                })
                .collect()
        } else {
            claims.get(self.name).map(String::as_str).into_iter().collect()
        };
        if values.iter().any(|value| self.value.matches(value)) {
            return Ok(());
        }
        let value = if values.is_empty() { "(none)".to_owned() } else { values.join(", ") };
        let found = format!("{} with {} {value}, not {}", describe(evidence), self.name, self.value);
        Err(Miss::near("ClaimMismatch", CLAIM, found))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Matching { issuer: None, subject } => write!(formatter, "{subject}")?,
            Who::Matching { issuer: Some(issuer), subject } => write!(formatter, "{subject} (issuer {issuer})")?,
            Who::Role(role) => write!(formatter, "a Fulcio identity of {role}")?,
        }
        for (position, rule) in self.claims.iter().enumerate() {
            let joined = if position == 0 { "with" } else { "and" };
            write!(formatter, " {joined} {} {}", rule.name, rule.value)?;
        }
        match &self.signed {
            Some(window) => write!(formatter, ", signed {window}"),
            None => Ok(()),
        }
    }
}

fn matcher(field: &str, spec: &api::StringMatch) -> Result<StringMatcher, PolicyError> {
    StringMatcher::parse(spec).map_err(|source| PolicyError::Matcher { field: field.to_owned(), source })
}

fn claim_rules(field: &str, claims: &[api::ClaimMatch]) -> Result<Vec<ClaimRule>, PolicyError> {
    check_count(field, claims.len(), 1, 16)?;
    let mut seen = BTreeSet::new();
    let mut rules = Vec::new();
    for (position, claim) in claims.iter().enumerate() {
        let at = format!("{field}[{position}]");
        check_length(&format!("{at}.name"), &claim.name, 63)?;
        let name = claim_name(&format!("{at}.name"), &claim.name)?;
        if !seen.insert(name) {
            return Err(PolicyError::DuplicateName { field: field.to_owned(), name: name.to_owned() });
        }
        let spec =
            api::StringMatch { exact: claim.exact.clone(), glob: claim.glob.clone(), regex: claim.regex.clone() };
        rules.push(ClaimRule { name, value: matcher(&at, &spec)? });
    }
    Ok(rules)
}

/// The name under which the verifier reports a claim.
fn claim_name(field: &str, name: &str) -> Result<&'static str, PolicyError> {
    let all = || claim_names().chain([OTHER_NAME]);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, full)| *full);
    if let Some(known) = alias.or_else(|| all().find(|known| *known == name)) {
        return Ok(known);
    }
    let distance = |known: &str| strsim::levenshtein(&known.to_lowercase(), &name.to_lowercase());
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    let nearest = all().chain(aliases).min_by_key(|known| distance(known)).unwrap_or(OTHER_NAME);
    Err(PolicyError::UnknownClaim { field: field.to_owned(), name: name.to_owned(), nearest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_have_fulcios_names_and_a_mistake_gets_a_suggestion() {
        for name in claim_names().chain([OTHER_NAME]) {
            assert_eq!(claim_name("f", name).unwrap(), name);
        }
        for (alias, name) in ALIASES {
            assert_eq!(claim_name("f", alias).unwrap(), name);
            assert!(claim_names().any(|known| known == name));
        }
        let table = [
            ("runnerEnviroment", "runnerEnvironment"),
            ("SourceRepositoryURI", "sourceRepositoryURI"),
            ("sourceRepositoryOwnerId", "sourceRepositoryOwnerID"),
            ("othername", "otherName"),
        ];
        for (name, expected) in table {
            let error = claim_name("f", name).unwrap_err();
            assert!(matches!(error, PolicyError::UnknownClaim { nearest, .. } if nearest == expected), "{error}");
        }
    }
}
