//! The entries of a revocation: what each names, and how it is compared with what was verified.
//!
//! Lenient where policies are strict: letters count in either case, digits may be grouped by colons, any name of a certificate matches,
//! whatever trust root it was verified under. Who writes a revocation is in a hurry, and what escapes it is admitted.

use std::fmt;

use jiff::Timestamp;

use crate::api;
use crate::image::Digest;
use crate::verify::{CertificateFacts, Evidence, LogProof, ServiceKind, Signer, VerifiedTime};

/// Bytes of somebody else's text that an error repeats.
const EXCERPT: usize = 80;
/// Bytes of a name or glob.
const LENGTH_LIMIT: usize = 1_024;
/// Hexadecimal digits of a SHA-256 digest.
const DIGEST_DIGITS: usize = 64;
/// Hexadecimal digits that a log puts in front of an entry's hash to tell its trees apart.
const TREE_DIGITS: usize = 16;

/// Why an entry does nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// Another kind of JSON than the field has, or a field that the entry does not have.
    #[error("{reason}")]
    Shape {
        /// What is wrong.
        reason: String,
    },
    /// A field that the object does not have.
    #[error("there is no such field")]
    UnknownField,
    /// A list that is longer than lists may be.
    #[error("a list has at most {maximum} entries, and this one has {found}; those behind the last of them do nothing")]
    TooMany {
        /// Its length.
        found: usize,
        /// The length that it may have.
        maximum: usize,
    },
    /// Nothing where something is required.
    #[error("it is missing")]
    Missing,
    /// An empty text, or one that is too long.
    #[error("a text has 1 to {LENGTH_LIMIT} bytes, this one has {found}")]
    Length {
        /// Its length in bytes.
        found: usize,
    },
    /// No SHA-256 digest.
    #[error("{DIGEST_DIGITS} hexadecimal digits are wanted, with or without sha256: in front, not {found:?}")]
    Digest {
        /// The start of what was found.
        found: String,
    },
    /// No serial number.
    #[error("a serial number in hexadecimal digits is wanted, not {found:?}")]
    Serial {
        /// The start of what was found.
        found: String,
    },
    /// No identifier of a log's entry.
    #[error(
        "an entry's identifier has {DIGEST_DIGITS} hexadecimal digits, or {TREE_DIGITS} more in front, with or without sha256:, unlike {found:?}"
    )]
    Uuid {
        /// The start of what was found.
        found: String,
    },
    /// No name of an issuer.
    #[error("an issuer is written as in CN=name,O=organisation, not {found:?}")]
    IssuerName {
        /// The start of what was found.
        found: String,
    },
    /// A number below nought.
    #[error("an index is no less than 0, and {found} is")]
    Index {
        /// The number.
        found: i64,
    },
    /// No time of RFC 3339.
    #[error("{field}: a time such as 2026-11-25T08:00:00Z is wanted, not {found:?}")]
    Time {
        /// The field.
        field: &'static str,
        /// The start of what was found.
        found: String,
    },
    /// A span that ends before it starts.
    #[error("signedAfter is later than signedBefore")]
    Inverted,
    /// Not exactly one way to name something.
    #[error("exactly one of {ways} is wanted, {found} are given")]
    NotOneOf {
        /// The ways.
        ways: &'static str,
        /// How many are given.
        found: usize,
    },
}

/// The start of a text.
pub(super) fn excerpt(text: &str) -> String {
    let end = (0..=text.len().min(EXCERPT)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

/// A SHA-256 digest as people write it.
pub(super) fn digest(text: &str) -> Result<Digest, EntryError> {
    let digits = text.trim().to_ascii_lowercase();
    let digits = digits.strip_prefix("sha256:").unwrap_or(&digits).replace(':', "");
    Digest::parse(&format!("sha256:{digits}")).map_err(|_| EntryError::Digest { found: excerpt(text) })
}

pub(super) fn artifact(spec: &api::RevokedArtifact) -> Result<Digest, EntryError> {
    digest(&spec.digest)
}

pub(super) fn key(spec: &api::RevokedKey) -> Result<Digest, EntryError> {
    digest(&spec.sha256)
}

/// The names of a certificate's signer in lower case, for all identities that are compared with them.
pub(super) struct SignerNames {
    issuer: Option<String>,
    subjects: Vec<String>,
}

impl SignerNames {
    /// Those of a signer; none: it is a key. A certificate without a name that is read has an empty one, so that a glob over all that an
    /// issuer vouched for misses nothing.
    pub(super) fn of(signer: &Signer) -> Option<Self> {
        let Signer::Certificate { issuer, subjects, .. } = signer else { return None };
        let mut subjects: Vec<String> = subjects.iter().map(|subject| subject.as_str().to_lowercase()).collect();
        if subjects.is_empty() {
            subjects.push(String::new());
        }
        Some(Self { issuer: issuer.as_deref().map(str::to_lowercase), subjects })
    }
}

/// A signer by identity, and when it must have signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Identity {
    /// In lower case; none: any.
    issuer: Option<String>,
    subject: SubjectPattern,
    span: Span,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum SubjectPattern {
    /// In lower case.
    Exact(String),
    /// In lower case; `*` stands for any characters.
    Glob(String),
}

impl Identity {
    pub(super) fn parse(spec: &api::RevokedIdentity) -> Result<Self, EntryError> {
        let issuer = spec.issuer.as_deref().map(lower_case).transpose()?;
        let subject = match (&spec.subject.exact, &spec.subject.glob) {
            (Some(exact), None) => SubjectPattern::Exact(lower_case(exact)?),
            (None, Some(glob)) => SubjectPattern::Glob(lower_case(glob)?),
            (exact, glob) => {
                let found = usize::from(exact.is_some()) + usize::from(glob.is_some());
                return Err(EntryError::NotOneOf { ways: "exact and glob", found });
            }
        };
        Ok(Self { issuer, subject, span: Span::parse(spec.signed_after.as_deref(), spec.signed_before.as_deref())? })
    }

    /// Whether it is this signer, whenever it signed.
    pub(super) fn names(&self, signer: &SignerNames) -> bool {
        if self.issuer.is_some() && self.issuer != signer.issuer {
            return false;
        }
        signer.subjects.iter().any(|name| match &self.subject {
            SubjectPattern::Exact(wanted) => name == wanted,
            SubjectPattern::Glob(glob) => glob_matches(glob, name),
        })
    }

    /// Whether a signature with these verified times is struck out, of which `believed` are left once distrusted services are not heard.
    pub(super) fn bites(&self, times: &[VerifiedTime], believed: &[VerifiedTime]) -> bool {
        self.span.bites(times, believed)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            SubjectPattern::Exact(subject) => write!(formatter, "the signer {subject}")?,
            SubjectPattern::Glob(glob) => write!(formatter, "the signers {glob}")?,
        }
        if let Some(issuer) = &self.issuer {
            write!(formatter, " (issuer {issuer})")?;
        }
        match (self.span.after, self.span.before) {
            (None, None) => Ok(()),
            (Some(after), None) => write!(formatter, ", from {after} on"),
            (None, Some(before)) => write!(formatter, ", up to {before}"),
            (Some(after), Some(before)) => write!(formatter, ", from {after} to {before}"),
        }
    }
}

fn lower_case(text: &str) -> Result<String, EntryError> {
    if (1..=LENGTH_LIMIT).contains(&text.len()) {
        return Ok(text.trim().to_lowercase());
    }
    Err(EntryError::Length { found: text.len() })
}

/// Whether a glob matches a whole text. The parts between wildcards are looked for once each, from left to right.
fn glob_matches(glob: &str, text: &str) -> bool {
    let Some((first, rest)) = glob.split_once('*') else { return glob == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, behind)) => left = behind,
            None => return false,
        }
    }
    left.ends_with(last)
}

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Span {
    after: Option<Timestamp>,
    before: Option<Timestamp>,
}

impl Span {
    fn parse(after: Option<&str>, before: Option<&str>) -> Result<Self, EntryError> {
        let (after, before) = (time("signedAfter", after)?, time("signedBefore", before)?);
        match (after, before) {
            (Some(after), Some(before)) if after > before => Err(EntryError::Inverted),
            _ => Ok(Self { after, before }),
        }
    }

    /// Whether any of the times may lie in the span. A signature that nobody who is believed dates may have been made in any.
    fn bites(&self, times: &[VerifiedTime], believed: &[VerifiedTime]) -> bool {
        let touches = |time: &VerifiedTime| {
            self.after.is_none_or(|after| time.latest >= after)
                && self.before.is_none_or(|before| time.earliest <= before)
        };
        believed.is_empty() || times.iter().any(touches)
    }
}

fn time(field: &'static str, text: Option<&str>) -> Result<Option<Timestamp>, EntryError> {
    let parse = |text: &str| text.trim().parse().map_err(|_| EntryError::Time { field, found: excerpt(text) });
    text.map(parse).transpose()
}

/// A certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CertificateName {
    /// By its digest, or that of one above it: what that one issued falls with it.
    Sha256(Digest),
    /// By its number and who gave it.
    Serial {
        /// In lower case, without zeros in front.
        serial: String,
        /// The parts of the name, sorted.
        issuer: Vec<String>,
    },
}

impl CertificateName {
    pub(super) fn parse(spec: &api::RevokedCertificate) -> Result<Self, EntryError> {
        match (&spec.sha256, &spec.serial, &spec.issuer) {
            (Some(sha256), None, None) => Ok(Self::Sha256(digest(sha256)?)),
            (None, Some(serial), Some(issuer)) => {
                let parts = name_parts(issuer);
                // With slashes, as OpenSSL once wrote names, all of it would be one part, which no certificate has.
                let attribute = |part: &String| {
                    part.split_once('=').is_some_and(|(kind, _)| !kind.is_empty() && !kind.starts_with('/'))
                };
                if parts.is_empty() || !parts.iter().all(attribute) {
                    return Err(EntryError::IssuerName { found: excerpt(issuer) });
                }
                Ok(Self::Serial { serial: serial_number(serial)?, issuer: parts })
            }
            (sha256, serial, issuer) => {
                let found = usize::from(sha256.is_some()) + usize::from(serial.is_some() || issuer.is_some());
                Err(EntryError::NotOneOf { ways: "sha256 and (serial with issuer)", found })
            }
        }
    }

    /// Whether it is this certificate, or stands above it.
    pub(super) fn names(&self, certificate: &CertificateFacts) -> bool {
        match self {
            Self::Sha256(digest) => {
                certificate.digests().chain(certificate.authority().iter()).any(|named| named == digest)
            }
            Self::Serial { serial, issuer } => {
                *serial == certificate.serial && *issuer == name_parts(&certificate.issuer)
            }
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(formatter, "the certificate {digest}"),
            Self::Serial { serial, issuer } => {
                write!(formatter, "the certificate {serial} of {}", issuer.join(","))
            }
        }
    }
}

fn serial_number(text: &str) -> Result<String, EntryError> {
    let digits: String = text.trim().to_ascii_lowercase().split([':', ' ']).collect();
    let digits = digits.strip_prefix("0x").unwrap_or(&digits);
    if digits.is_empty() || digits.len() > DIGEST_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(EntryError::Serial { found: excerpt(text) });
    }
    let digits = digits.trim_start_matches('0');
    Ok(if digits.is_empty() { "0".to_owned() } else { digits.to_owned() })
}

/// The parts of a distinguished name, whatever their order, spaces, case and quotes: tools write them in many ways.
fn name_parts(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut escaped, mut quoted) = (Vec::new(), String::new(), false, false);
    for character in text.chars() {
        match character {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => quoted = !quoted,
            ',' | '+' | ';' if !escaped && !quoted => parts.push(std::mem::take(&mut part)),
            _ => {
                part.extend(character.to_lowercase());
                escaped = false;
            }
        }
    }
    parts.push(part);
    let tidy = |part: &String| match part.split_once('=') {
        Some((kind, value)) => format!("{}={}", kind.trim(), value.trim()),
        None => part.trim().to_owned(),
    };
    let mut parts: Vec<String> = parts.iter().map(tidy).filter(|part| !part.is_empty()).collect();
    parts.sort_unstable();
    parts
}

/// An entry of a log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LoggedEntry {
    log: Digest,
    entry: EntryName,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum EntryName {
    Index(u64),
    /// The hash of the entry's leaf.
    Uuid(Digest),
}

impl LoggedEntry {
    pub(super) fn parse(spec: &api::RevokedLogEntry) -> Result<Self, EntryError> {
        let entry = match (spec.index, &spec.uuid) {
            (Some(index), None) => {
                EntryName::Index(u64::try_from(index).map_err(|_| EntryError::Index { found: index })?)
            }
            (None, Some(uuid)) => EntryName::Uuid(leaf_hash(uuid)?),
            (index, uuid) => {
                let found = usize::from(index.is_some()) + usize::from(uuid.is_some());
                return Err(EntryError::NotOneOf { ways: "index and uuid", found });
            }
        };
        Ok(Self { log: digest(&spec.log)?, entry })
    }

    /// Whether it may be this entry. An index that its log did not sign is whatever the registry wrote, and says only what the place in
    /// the tree, which counts no earlier trees, leaves open.
    pub(super) fn names(&self, proof: &LogProof) -> bool {
        if !proof.names.iter().any(|name| *name == self.log) {
            return false;
        }
        match &self.entry {
            EntryName::Uuid(leaf) => proof.uuid == *leaf,
            EntryName::Index(index) => {
                proof.index == *index
                    || proof.tree_index == Some(*index)
                    || (!proof.index_signed && proof.tree_index.is_none_or(|place| place <= *index))
            }
        }
    }
}

impl fmt::Display for LoggedEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            EntryName::Index(index) => write!(formatter, "the entry {index}")?,
            EntryName::Uuid(uuid) => write!(formatter, "the entry {}", uuid.hex())?,
        }
        write!(formatter, " of the log {}", self.log.hex())
    }
}

fn leaf_hash(text: &str) -> Result<Digest, EntryError> {
    let malformed = || EntryError::Uuid { found: excerpt(text) };
    // `sha256:` in front, as in the facts that are printed of evidence.
    let digits = text.trim().to_ascii_lowercase();
    let digits = digits.strip_prefix("sha256:").unwrap_or(&digits);
    let leaf = match digits.len().checked_sub(DIGEST_DIGITS) {
        Some(0) => digits,
        Some(TREE_DIGITS) => {
            let (tree, leaf) = digits.split_at_checked(TREE_DIGITS).ok_or_else(malformed)?;
            crate::image::from_hexadecimal(tree).ok_or_else(malformed)?;
            leaf
        }
        _ => return Err(malformed()),
    };
    digest(leaf).map_err(|_| malformed())
}

/// A service that is distrusted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Service {
    pub(super) kind: ServiceKind,
    pub(super) name: Digest,
    /// From when on; none: it was never to be trusted.
    after: Option<Timestamp>,
}

impl Service {
    pub(super) fn parse(spec: &api::DistrustedService) -> Result<Self, EntryError> {
        let named = [
            (ServiceKind::Log, &spec.log),
            (ServiceKind::CertificateAuthority, &spec.ca),
            (ServiceKind::TimestampAuthority, &spec.timestamp_authority),
            (ServiceKind::CertificateLog, &spec.ct_log),
        ];
        let named: Vec<(ServiceKind, &String)> =
            named.into_iter().filter_map(|(kind, name)| Some((kind, name.as_ref()?))).collect();
        let [(kind, name)] = named.as_slice() else {
            return Err(EntryError::NotOneOf { ways: "log, ca, timestampAuthority and ctLog", found: named.len() });
        };
        Ok(Self { kind: *kind, name: digest(name)?, after: time("after", spec.after.as_deref())? })
    }

    /// Whether a service of this kind, which bears the name, is meant. What issues certificates can issue those of timestamp authorities.
    pub(super) fn is(&self, kind: ServiceKind) -> bool {
        self.kind == kind || (self.kind, kind) == (ServiceKind::CertificateAuthority, ServiceKind::TimestampAuthority)
    }

    /// Whether what it said counts all the same: every time that undistrusted services give lies before the distrust, and there is one.
    pub(super) fn is_excused(&self, vouched: &[&VerifiedTime]) -> bool {
        !vouched.is_empty() && self.after.is_some_and(|after| vouched.iter().all(|time| time.latest < after))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ServiceKind::Log => "the log",
            ServiceKind::CertificateAuthority => "the certificate authority",
            ServiceKind::TimestampAuthority => "the timestamp authority",
            ServiceKind::CertificateLog => "the log of certificates",
        };
        write!(formatter, "{kind} {}", self.name.hex())?;
        match self.after {
            Some(after) => write!(formatter, ", from {after} on"),
            None => Ok(()),
        }
    }
}

/// Whether evidence stands in one of these entries.
pub(super) fn logged<'a>(entries: &'a [LoggedEntry], evidence: &Evidence) -> Option<&'a LoggedEntry> {
    entries.iter().find(|entry| evidence.logs().iter().any(|proof| entry.names(proof)))
}
