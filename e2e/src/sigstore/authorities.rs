//! The keys and certificates of one Sigstore instance, made anew at each start.
//!
//! Every instance uses the same names: only keys tell them apart.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};

/// `SEQUENCE { OBJECT IDENTIFIER id-kp-timeStamping }`
const TIME_STAMPING: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08];
const EXTENDED_KEY_USAGE: [u64; 4] = [2, 5, 29, 37];

/// A certificate authority: what it issues with, and its certificate as PEM.
type Authority = (Issuer<'static, KeyPair>, String);

/// Writes the files with which the services start:
/// - `fulcio.key`, `fulcio-chain.pem`, `fulcio-root.pem`: an intermediate of Fulcio, and its root,
/// - `timestamps.key`, `timestamps-chain.pem`: a timestamping certificate, its intermediate and its root,
/// - `ct-log.key`, `ct-log.pub`: ECDSA on P-256, the private key in the form of RFC 5915, which `TesseraCT` reads,
/// - `log.key`, `log.pub`: Ed25519.
pub(super) fn write(folder: &Path) -> Result<()> {
    let (root, root_certificate) = authority("fulcio-root", None, None)?;
    let code_signing = ExtendedKeyUsagePurpose::CodeSigning;
    let (intermediate, certificate) = authority("fulcio-intermediate", Some(code_signing), Some(&root))?;
    let fulcio_chain = format!("{certificate}{root_certificate}");
    let fulcio_root = root_certificate;

    let (root, root_certificate) = authority("timestamp-root", None, None)?;
    let time_stamping = ExtendedKeyUsagePurpose::TimeStamping;
    let (issuer, certificate) = authority("timestamp-intermediate", Some(time_stamping), Some(&root))?;
    let timestamp_key = KeyPair::generate()?;
    let leaf = timestamping_certificate(&timestamp_key, &issuer)?;
    let timestamp_chain = format!("{leaf}{certificate}{root_certificate}");

    let (ct_log, log) = (KeyPair::generate()?, KeyPair::generate_for(&PKCS_ED25519)?);
    for (name, content) in [
        ("fulcio.key", intermediate.key().serialize_pem()),
        ("fulcio-chain.pem", fulcio_chain),
        ("fulcio-root.pem", fulcio_root),
        ("timestamps.key", timestamp_key.serialize_pem()),
        ("timestamps-chain.pem", timestamp_chain),
        ("ct-log.key", rfc5915(&ct_log)?),
        ("ct-log.pub", ct_log.public_key_pem()),
        ("log.key", log.serialize_pem()),
        ("log.pub", log.public_key_pem()),
    ] {
        fs::write(folder.join(name), content).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}

/// A self-signed authority, or one below `issuer`, limited to a usage.
fn authority(
    name: &str,
    usage: Option<ExtendedKeyUsagePurpose>,
    issuer: Option<&Issuer<'static, KeyPair>>,
) -> Result<Authority> {
    let key = KeyPair::generate()?;
    let mut params = params(name);
    params.is_ca =
        IsCa::Ca(if issuer.is_some() { BasicConstraints::Constrained(0) } else { BasicConstraints::Unconstrained });
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = usage.into_iter().collect();
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    let certificate = certificate.with_context(|| format!("cannot make the authority {name}"))?.pem();
    Ok((Issuer::new(params, key), certificate))
}

/// RFC 3161 wants the extended key usage critical, and no other usage beside it.
fn timestamping_certificate(key: &KeyPair, issuer: &Issuer<'static, KeyPair>) -> Result<String> {
    let mut params = params("timestamp-authority");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let mut usage = CustomExtension::from_oid_content(&EXTENDED_KEY_USAGE, TIME_STAMPING.to_vec());
    usage.set_criticality(true);
    params.custom_extensions = vec![usage];
    Ok(params.signed_by(key, issuer)?.pem())
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "private-sigstore");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

fn rfc5915(key: &KeyPair) -> Result<String> {
    let rejected = |_| anyhow!("a generated key is refused");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der())
        .map_err(|error| anyhow!("a generated key is refused: {error}"))?;
    let der = pair.private_key().as_der().map_err(rejected)?;
    Ok(format!(
        "-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n",
        BASE64_STANDARD.encode(der.as_ref())
    ))
}
