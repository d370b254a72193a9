//! The proofs that a signature must carry besides its signer: log entries, timestamps, certificate transparency, age.
//!
//! The one home of the defaults. Logs and timestamp authorities are counted by who operates them, never by entries, tokens or keys
//! (GHSA-9vcr-p3rj-q5q6): what one operator says twice is said once.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::PolicyError;
use super::window::duration;
use crate::api;
use crate::trust::{GITHUB, Operator};
use crate::verify::{Evidence, LogProof, TimeSource};

/// Operators that a policy may ask for.
const LIMIT: u8 = 8;
/// The code of evidence, or of a candidate, that lacks an entry in a log.
const LOG_MISSING: &str = "LogMissing";
/// The code of evidence that nothing dates, or too few.
const TIMESTAMP_MISSING: &str = "TimestampMissing";
/// The code of evidence that lacks nothing but the word of its logs.
pub(super) const UNCONFIRMED: &str = "LogNotConfirmed";

/// What a signature must prove.
#[expect(clippy::struct_excessive_bools, reason = "each is a demand by itself, as it is in the resource")]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proofs {
    logs: usize,
    timestamps: usize,
    inclusion_proof: bool,
    /// Whether the logs must confirm while the request is judged.
    online: bool,
    certificate_transparency: bool,
    /// Whether a verified time of any kind must be there.
    dated: bool,
    max_age: Option<SignedDuration>,
}

/// What a signature does not prove.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Lacking {
    /// Too few logs.
    #[error("log entries of {found} operators, {wanted} are wanted")]
    Logs {
        /// Operators of logs that hold an entry.
        found: usize,
        /// Operators that are wanted.
        wanted: usize,
    },
    /// Enough logs, but too few that prove it.
    #[error("proofs of inclusion in the logs of {found} operators, {wanted} are wanted")]
    InclusionProofs {
        /// Operators of logs that prove inclusion.
        found: usize,
        /// Operators that are wanted.
        wanted: usize,
    },
    /// Enough logs, but too few that confirmed it when they were asked. Never a fail: why they did not is a problem of its own.
    #[error("the confirmation of the logs of {found} operators, {wanted} are wanted")]
    Confirmations {
        /// Operators of logs that confirmed an entry.
        found: usize,
        /// Operators that are wanted.
        wanted: usize,
    },
    /// Too few timestamp authorities.
    #[error("timestamps of {found} operators, {wanted} are wanted")]
    Timestamps {
        /// Operators of authorities that dated the signature.
        found: usize,
        /// Operators that are wanted.
        wanted: usize,
    },
    /// No verified time.
    #[error("no verified time")]
    Undated,
    /// No certificate transparency.
    #[error("no proof of certificate transparency: {reason}")]
    CertificateTransparency {
        /// Why not, from the verifier.
        reason: String,
    },
    /// Too long ago.
    #[error("the verified time {earliest}, which is more than {maximum:#} ago")]
    Age {
        /// The earliest moment at which it may have been made.
        earliest: Timestamp,
        /// How long ago it may be.
        maximum: SignedDuration,
    },
}

impl Lacking {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Logs { .. } => LOG_MISSING,
            Self::InclusionProofs { .. } => "InclusionProofMissing",
            Self::Confirmations { .. } => UNCONFIRMED,
            Self::Timestamps { .. } | Self::Undated => TIMESTAMP_MISSING,
            Self::CertificateTransparency { .. } => "CertificateTransparencyMissing",
            Self::Age { .. } => "SignatureTooOld",
        }
    }
}

/// What kind of signer the proofs are asked of: it decides what is usual and what there can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind<'a> {
    /// A certificate of the Sigstore instance with this name.
    Keyless(&'a str),
    /// A key, and a trust root that dates what it signed.
    DatedKeys,
    /// A key by itself.
    BareKeys,
    /// A certificate of an own authority.
    Certificates,
}

impl Proofs {
    /// What a keyless signature must prove under a trust root if a policy asks for nothing else: an entry in one log, certificate
    /// transparency, a verified time. Under GitHub's root, which has neither log, a timestamp.
    pub fn keyless(trust_root: &str) -> Self {
        Self::usual(Kind::Keyless(trust_root))
    }

    /// What a signature by a key must prove if a policy asks for nothing else: where a trust root dates it, an entry in one log and
    /// a verified time; else nothing.
    pub fn keys(dated: bool) -> Self {
        Self::usual(if dated { Kind::DatedKeys } else { Kind::BareKeys })
    }

    fn usual(kind: Kind<'_>) -> Self {
        let (logs, timestamps, certificate_transparency) = match kind {
            Kind::Keyless(GITHUB) | Kind::Certificates => (0, 1, false),
            Kind::Keyless(_) => (1, 0, true),
            Kind::DatedKeys => (1, 0, false),
            Kind::BareKeys => (0, 0, false),
        };
        let dated = kind != Kind::BareKeys;
        Self { logs, timestamps, inclusion_proof: false, online: false, certificate_transparency, dated, max_age: None }
    }

    /// These proofs without log entries, for an instance that has no log.
    #[must_use]
    pub fn without_logs(self) -> Self {
        Self { logs: 0, inclusion_proof: false, online: false, ..self }
    }

    /// These proofs without certificate transparency, for an instance that does not log its certificates.
    #[must_use]
    pub fn without_certificate_transparency(self) -> Self {
        Self { certificate_transparency: false, ..self }
    }

    /// Parses `evidence` of an authority over what is usual for its kind.
    ///
    /// # Errors
    /// Numbers out of bounds; demands that nothing can meet, and those that have no effect.
    pub(super) fn parse(field: &str, spec: Option<&api::Proofs>, kind: Kind<'_>) -> Result<Self, PolicyError> {
        let usual = Self::usual(kind);
        let Some(spec) = spec else { return Ok(usual) };
        let count = |part: &str, number: Option<u8>, usual: usize| match number {
            None => Ok(usual),
            Some(number) if number <= LIMIT => Ok(usize::from(number)),
            Some(number) => Err(PolicyError::Count {
                field: format!("{field}.{part}"),
                found: usize::from(number),
                minimum: 0,
                maximum: usize::from(LIMIT),
            }),
        };
        let max_age = spec.max_age.as_deref().map(|text| duration(&format!("{field}.maxAge"), text)).transpose()?;
        let proofs = Self {
            logs: count("logs", spec.logs, usual.logs)?,
            timestamps: count("timestamps", spec.timestamps, usual.timestamps)?,
            inclusion_proof: spec.inclusion_proof.unwrap_or(usual.inclusion_proof),
            online: spec.online.unwrap_or(usual.online),
            certificate_transparency: spec.certificate_transparency.unwrap_or(usual.certificate_transparency),
            dated: usual.dated,
            max_age,
        };
        match proofs.useless(kind) {
            None => Ok(proofs),
            Some((part, reason)) => Err(PolicyError::Useless { field: format!("{field}.{part}"), reason }),
        }
    }

    /// A demand that nothing can meet, or one without effect.
    fn useless(&self, kind: Kind<'_>) -> Option<(&'static str, &'static str)> {
        let demands = [
            ("logs", self.logs > 0),
            ("online", self.online),
            ("timestamps", self.timestamps > 0),
            ("certificateTransparency", self.certificate_transparency),
            ("maxAge", self.max_age.is_some()),
        ];
        let (impossible, reason): (&[&str], &str) = match kind {
            Kind::Keyless(GITHUB) => {
                (&["logs", "online", "certificateTransparency"], "this trust root has no log to meet it")
            }
            Kind::Keyless(_) => (&[], ""),
            Kind::DatedKeys | Kind::Certificates => {
                (&["certificateTransparency"], "only certificates of a Sigstore instance can meet it")
            }
            Kind::BareKeys => (
                &["logs", "online", "timestamps", "certificateTransparency", "maxAge"],
                "keys cannot meet it without trustRoot, whose logs and timestamp authorities would be asked",
            ),
        };
        if let Some((part, _)) = demands.into_iter().find(|(part, asked)| *asked && impossible.contains(part)) {
            return Some((part, reason));
        }
        if self.inclusion_proof && self.logs == 0 {
            return Some(("inclusionProof", "it has no effect where no log is asked for"));
        }
        if self.online && self.logs == 0 {
            return Some(("online", "it has no effect where no log is asked for"));
        }
        if kind == Kind::Certificates && self.logs == 0 && self.timestamps == 0 {
            return Some(("timestamps", "certificates need a timestamp or a log entry"));
        }
        None
    }

    /// Whether evidence carries these proofs.
    ///
    /// # Errors
    /// The first that it lacks.
    pub fn check(&self, evidence: &Evidence, now: Timestamp) -> Result<(), Lacking> {
        let logged = operators(evidence.logs().iter().map(|proof| &proof.operator));
        if logged < self.logs {
            return Err(Lacking::Logs { found: logged, wanted: self.logs });
        }
        if self.inclusion_proof {
            let proved = evidence.logs().iter().filter(|proof| proof.inclusion_proof);
            let found = operators(proved.map(|proof| &proof.operator));
            if found < self.logs {
                return Err(Lacking::InclusionProofs { found, wanted: self.logs });
            }
        }
        if self.certificate_transparency && !evidence.certificate_transparency() {
            let reason = evidence.no_certificate_transparency().unwrap_or("nothing was proved").to_owned();
            return Err(Lacking::CertificateTransparency { reason });
        }
        let stamped = evidence.times().iter().filter(|time| time.source == TimeSource::TimestampAuthority);
        let found = operators(stamped.map(|time| &time.operator));
        if found < self.timestamps {
            return Err(Lacking::Timestamps { found, wanted: self.timestamps });
        }
        if (self.dated || self.max_age.is_some()) && evidence.times().is_empty() {
            return Err(Lacking::Undated);
        }
        if let Some(maximum) = self.max_age
            && let Some(old) = evidence.times().iter().find(|time| now.duration_since(time.earliest) > maximum)
        {
            return Err(Lacking::Age { earliest: old.earliest, maximum });
        }
        Ok(())
    }
}

impl Proofs {
    /// The code of a candidate that the verifier refused. It knows no policy: where nothing dates a certificate it misses the log entry, and
    /// who asks for none would be told to log what a timestamp is wanted for.
    pub(super) fn code_of_refusal(&self, code: &'static str) -> &'static str {
        if code == LOG_MISSING && self.logs == 0 { TIMESTAMP_MISSING } else { code }
    }

    /// Whether logs must be asked.
    pub(super) fn wants_online(&self) -> bool {
        self.online
    }

    /// Whether the logs confirmed what they have to. To be asked last, so that only what would satisfy the authority is asked about.
    ///
    /// # Errors
    /// Too few that did.
    pub(super) fn check_online(&self, evidence: &Evidence) -> Result<(), Lacking> {
        let counts = |proof: &&LogProof| proof.online && (proof.inclusion_proof || !self.inclusion_proof);
        let found = operators(evidence.logs().iter().filter(counts).map(|proof| &proof.operator));
        if self.online && found < self.logs.max(1) {
            return Err(Lacking::Confirmations { found, wanted: self.logs.max(1) });
        }
        Ok(())
    }
}

/// How many different people operate these services for certain. One that does not say who operates it may be operated by any of the
/// others, so that all of them together count only where nobody else does.
fn operators<'a>(services: impl Iterator<Item = &'a Operator>) -> usize {
    let (stated, silent): (BTreeSet<&Operator>, BTreeSet<&Operator>) =
        services.partition(|operator| operator.is_stated());
    if stated.is_empty() { silent.len() } else { stated.len() }
}
