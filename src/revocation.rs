//! Revocations: what is no longer to be believed, whatever a policy says.
//!
//! Artifacts are struck out by digest. Evidence is struck out by its signer, key, certificate or log entry, and loses what distrusted
//! services said in it. Judged from verified facts in every request, so that it acts on cached evidence, and only ever takes away: no
//! revocation can make evidence satisfy a policy that it did not satisfy before. Fetches nothing and knows no time of day.
//!
//! Time: a bounded entry bites if any verified time may lie in its span, or if nobody who is believed dates the signature. What a
//! distrusted service said counts only where other services, none of them distrusted, date the signature, and all of them before.

mod entry;
mod object;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use self::entry::{Service, SignerNames};
use crate::image::Digest;
use crate::verify::{Evidence, ServiceKind, ServiceNames, Signer, VerifiedTime, Word};

pub use entry::EntryError;
pub use object::{DESCENDANTS_LIMIT, InvalidEntry, Revocation, RevocationError};

/// The revocations of one moment. Cloning shares them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Revocations(Arc<Index>);

/// The revocations that act, by what is looked up.
#[derive(Debug, Default, Eq, PartialEq)]
struct Index {
    all: Vec<Arc<Revocation>>,
    artifacts: BTreeMap<Digest, Arc<Revocation>>,
    keys: BTreeMap<Digest, Arc<Revocation>>,
    services: BTreeMap<Digest, Vec<(Service, Arc<Revocation>)>>,
}

/// Why something is struck out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revoked {
    /// What is struck out, for people, behind the word for how: `revokes sha256:...`, `distrusts the log ...`.
    pub what: String,
    /// The revocation's name.
    pub by: String,
    /// The reason that it gives.
    pub reason: String,
    /// Where to read more.
    pub reference: Option<String>,
}

impl Revoked {
    fn new(what: impl fmt::Display, by: &Revocation) -> Self {
        Self::told(format!("revokes {what}"), by)
    }

    fn told(what: String, by: &Revocation) -> Self {
        Self {
            what,
            by: by.name().to_owned(),
            reason: by.reason().to_owned(),
            reference: by.reference().map(str::to_owned),
        }
    }
}

impl fmt::Display for Revoked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, by, reason, reference } = self;
        write!(formatter, "SignatureRevocation {by} {what}: {reason}")?;
        match reference {
            Some(reference) => write!(formatter, " ({reference})"),
            None => Ok(()),
        }
    }
}

impl Revocations {
    /// The empty set.
    pub fn none() -> Self {
        Self::default()
    }

    /// These revocations. Those that are suspended do not act.
    pub fn new(revocations: Vec<Arc<Revocation>>) -> Self {
        Self::with_below(revocations, &BTreeMap::new())
    }

    /// These revocations, which strike out also what is known to be below the indexes that they name, by the digest of the index.
    pub fn with_below(revocations: Vec<Arc<Revocation>>, below: &BTreeMap<Digest, Vec<Digest>>) -> Self {
        let mut index = Index::default();
        for revocation in revocations.into_iter().filter(|revocation| !revocation.is_suspended()) {
            let below = revocation.artifacts().iter().filter_map(|digest| below.get(digest)).flatten();
            for digest in revocation.artifacts().iter().chain(revocation.descendants()).chain(below) {
                index.artifacts.entry(digest.clone()).or_insert_with(|| Arc::clone(&revocation));
            }
            for key in &revocation.keys {
                index.keys.entry(key.clone()).or_insert_with(|| Arc::clone(&revocation));
            }
            for service in &revocation.services {
                let known = index.services.entry(service.name.clone()).or_default();
                known.push((service.clone(), Arc::clone(&revocation)));
            }
            index.all.push(revocation);
        }
        Self(Arc::new(index))
    }

    /// Whether it is one and the same set, and not merely equal.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether any artifact is struck out, so that what an index holds must be known.
    pub fn names_artifacts(&self) -> bool {
        !self.0.artifacts.is_empty()
    }

    /// Whether this artifact is struck out.
    pub fn artifact(&self, digest: &Digest) -> Option<Revoked> {
        let by = self.0.artifacts.get(digest)?;
        Some(if by.artifacts().contains(digest) {
            Revoked::new(digest, by)
        } else {
            Revoked::new(format_args!("{digest}, which an index that it names holds"), by)
        })
    }

    /// What of this evidence counts: all of it, or it without what distrusted services said.
    ///
    /// # Errors
    /// Its signer, key, certificate, log entry, or the authority that issued its certificate is struck out.
    pub fn judge<'a>(&self, evidence: &'a Evidence) -> Result<Cow<'a, Evidence>, Revoked> {
        if let Some(revoked) = self.by_name(evidence) {
            return Err(revoked);
        }
        let heard = self.heard(evidence)?;
        let Some(signer) = SignerNames::of(evidence.signer()) else { return Ok(heard) };
        let named = |revocation: &Revocation| {
            let mut identities = revocation.identities.iter().filter(|identity| identity.names(&signer));
            let identity = identities.find(|identity| identity.bites(evidence.times(), heard.times()))?;
            Some(Revoked::new(identity, revocation))
        };
        match self.0.all.iter().find_map(|revocation| named(revocation)) {
            Some(revoked) => Err(revoked),
            None => Ok(heard),
        }
    }

    /// The first service of which this evidence is not to be believed what it said; none: every one is.
    pub fn distrusted(&self, evidence: &Evidence) -> Option<Revoked> {
        let vouched = self.vouched(evidence);
        services(evidence).find_map(|(kind, names)| self.silenced(kind, names, &vouched))
    }

    /// What is struck out whenever it was signed.
    fn by_name(&self, evidence: &Evidence) -> Option<Revoked> {
        let keys = match evidence.signer() {
            Signer::Key { sha256 } => Some(sha256.digest()),
            Signer::Certificate { .. } => evidence.certificate().map(|certificate| &certificate.key),
        };
        if let Some((key, by)) = keys.and_then(|key| Some((key, self.0.keys.get(key)?))) {
            return Some(Revoked::new(format_args!("the key {key}"), by));
        }
        // What it is about, and the manifest that carries it.
        if let Some(revoked) = self.artifact(evidence.image()).or_else(|| self.artifact(&evidence.origin().manifest)) {
            return Some(revoked);
        }
        let found = |revocation: &Revocation| {
            let mut certificates = revocation.certificates.iter();
            if let Some(facts) = evidence.certificate()
                && let Some(name) = certificates.find(|name| name.names(facts))
            {
                return Some(Revoked::new(name, revocation));
            }
            let entry = entry::logged(&revocation.log_entries, evidence)?;
            Some(Revoked::new(entry, revocation))
        };
        self.0.all.iter().find_map(|revocation| found(revocation))
    }

    fn heard<'a>(&self, evidence: &'a Evidence) -> Result<Cow<'a, Evidence>, Revoked> {
        let touched = || services(evidence).any(|(kind, names)| self.entries(kind, names).next().is_some());
        if self.0.services.is_empty() || !touched() {
            return Ok(Cow::Borrowed(evidence));
        }
        let vouched = self.vouched(evidence);
        if let Some(certificate) = evidence.certificate()
            && let Some(revoked) = self.silenced(ServiceKind::CertificateAuthority, certificate.authority(), &vouched)
        {
            return Err(revoked);
        }
        Ok(Cow::Owned(evidence.heard(|kind, names| {
            if self.entries(kind, names).next().is_none() {
                Word::Believed
            } else if self.silenced(kind, names, &vouched).is_none() {
                Word::Formerly
            } else {
                Word::Silenced
            }
        })))
    }

    /// Why a service is not believed, given what undistrusted ones vouch for.
    fn silenced(&self, kind: ServiceKind, names: &ServiceNames, vouched: &[&VerifiedTime]) -> Option<Revoked> {
        let (service, by) = self.entries(kind, names).find(|(service, _)| !service.is_excused(vouched))?;
        Some(Revoked::told(format!("distrusts {service}"), by))
    }

    /// The times that services give which nothing here distrusts, whenever.
    fn vouched<'a>(&self, evidence: &'a Evidence) -> Vec<&'a VerifiedTime> {
        let trusted = |time: &&VerifiedTime| self.entries(time.source.service(), &time.names).next().is_none();
        evidence.times().iter().filter(trusted).collect()
    }

    fn entries(&self, kind: ServiceKind, names: &ServiceNames) -> impl Iterator<Item = &(Service, Arc<Revocation>)> {
        let known = names.iter().filter_map(|name| self.0.services.get(name)).flatten();
        known.filter(move |(service, _)| service.is(kind))
    }
}

/// The services whose word evidence is made of.
fn services(evidence: &Evidence) -> impl Iterator<Item = (ServiceKind, &ServiceNames)> {
    let authority = evidence.certificate().map(|facts| (ServiceKind::CertificateAuthority, facts.authority()));
    let times = evidence.times().iter().map(|time| (time.source.service(), &time.names));
    let logs = evidence.logs().iter().map(|proof| (ServiceKind::Log, &proof.names));
    let certificate_logs = evidence.certificate_logs().iter().map(|proof| (ServiceKind::CertificateLog, &proof.names));
    authority.into_iter().chain(times).chain(logs).chain(certificate_logs)
}

#[cfg(test)]
mod tests;
