//! Input that no parser should follow to its end: nested, endless or contradictory certificates and timestamps.

use jiff::Timestamp;

use super::certificate::{CERTIFICATE_SIGN, CertificateParts, Certified, Extension, Name, TIME_STAMPING};
use super::cms::{SIGNED_DATA, TokenParts};
use super::der;
use super::key::{Algorithm, Key};

/// A token whose content is a `SignedData` whose content is a `SignedData`, `depth` times.
pub(crate) fn nested_token(depth: usize) -> Vec<u8> {
    (0..depth).fold(der::octets(&[]), |inner, _| {
        let content = der::sequence(&[der::oid(SIGNED_DATA), der::context(0, &der::octets(&inner))]);
        let signed_data = der::sequence(&[der::integer(3), der::set(&[]), content, der::set(&[])]);
        der::sequence(&[der::oid(SIGNED_DATA), der::context(0, &signed_data)])
    })
}

/// A token of the right type with a `SEQUENCE` of this depth in the place of its `TSTInfo`.
pub(crate) fn nested_info(token: &mut TokenParts, depth: usize) {
    token.info = Some(der::nested(depth));
}

/// Certificates that certify one another in a ring, the last of which certifies a leaf for `key` with an extended key usage. No
/// chain through them ends.
pub(crate) fn ring(length: usize, key: &Key, usage: &str, valid: (Timestamp, Timestamp)) -> (Certified, Vec<Vec<u8>>) {
    let keys: Vec<Key> = (0..length).map(|_| Key::generate(Algorithm::P256)).collect();
    let name = |index: usize| Name::new("ring.example", &format!("ring {}", index % length));
    let certified = |index: usize| {
        let mut parts = CertificateParts::new(name(index), keys[index].spki(), valid);
        parts.set(Extension::basic_constraints(true, None));
        parts.set(Extension::key_usage(CERTIFICATE_SIGN));
        parts.issuer = name(index + 1);
        let certificate = parts.sign(&keys[(index + 1) % length]);
        Certified { parts, key: keys[index].clone(), certificate }
    };
    let ring: Vec<Certified> = (0..length).map(certified).collect();
    let mut leaf = CertificateParts::new(Name::new("ring.example", "leaf"), key.spki(), valid);
    leaf.set(Extension::extended_key_usage(true, &[usage]));
    let leaf = ring[0].issue(leaf, key, |_| ());
    (leaf, ring.into_iter().map(|certified| certified.certificate).collect())
}

/// Makes a token's signer the leaf of a ring of authorities, all of which travel with it.
pub(crate) fn in_a_ring(token: &mut TokenParts, length: usize) {
    let valid = (token.signer.parts.not_before, token.signer.parts.not_after);
    let (leaf, ring) = ring(length, &token.signer.key, TIME_STAMPING, valid);
    token.certificates = ring;
    token.certificates.push(leaf.certificate.clone());
    token.signing_certificate = Some(leaf.certificate.clone());
    token.signer = leaf;
}

/// As many certificates of the same name and key as asked for, each of which could have issued any other.
pub(crate) fn same_names(count: usize, valid: (Timestamp, Timestamp)) -> Vec<Vec<u8>> {
    let key = Key::generate(Algorithm::P256);
    let certificate = |_| {
        let mut parts = CertificateParts::new(Name::new("same.example", "authority"), key.spki(), valid);
        parts.set(Extension::basic_constraints(true, None));
        Certified::self_signed(parts, &key, |_| ()).certificate
    };
    (0..count).map(certificate).collect()
}

/// As many certificates of one name as asked for, each with a key of its own and issued by that name: by any of the others, for all
/// that a name tells. Paths through them are without number.
pub(crate) fn equal_names(count: usize, name: &Name, valid: (Timestamp, Timestamp)) -> Vec<Vec<u8>> {
    issued_by_name(count, name, name, valid)
}

/// As many certificates of one name as asked for, each with a key of its own, which say that `issuer` issued them.
pub(crate) fn issued_by_name(count: usize, name: &Name, issuer: &Name, valid: (Timestamp, Timestamp)) -> Vec<Vec<u8>> {
    let certificate = |_| {
        let key = Key::generate(Algorithm::P256);
        let mut parts = CertificateParts::new(name.clone(), key.spki(), valid);
        parts.set(Extension::basic_constraints(true, None));
        Certified::self_signed(parts, &key, |parts| parts.issuer = issuer.clone()).certificate
    };
    (0..count).map(certificate).collect()
}

/// DER that says it is longer than it is, for every prefix of a document in `step`s.
pub(crate) fn prefixes(document: &[u8], step: usize) -> impl Iterator<Item = &[u8]> {
    (0..document.len()).step_by(step.max(1)).map(move |end| &document[..end])
}
