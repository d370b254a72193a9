//! What a signature carries, read from the bundle that cosign attached: what a revocation can name.
//!
//! Nothing is verified here, and no more of the formats is known than these facts need.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::registry::{PushedImage, Registry, hex, hexadecimal, sha256};

/// What the one bundle of an image says about its signature.
#[derive(Clone, Debug)]
pub struct Facts {
    bundle: Value,
}

impl Facts {
    /// Reads the one bundle of an image in a registry with the referrers API.
    pub fn read(registry: &Registry, path: &str, image: &PushedImage) -> Result<Self> {
        let referrers = registry.get(&format!("{path}/referrers/{}", image.digest))?;
        let referrer = text(&parsed(&referrers)?, "/manifests/0/digest")?;
        let (_, manifest) = registry.manifest(path, &referrer)?;
        let layer = text(&parsed(&manifest)?, "/layers/0/digest")?;
        let bundle = parsed(&registry.get(&format!("{path}/blobs/{layer}"))?)?;
        Ok(Self { bundle })
    }

    /// SHA-256 of the signer's certificate, in hexadecimal digits.
    pub fn certificate(&self) -> Result<String> {
        digest_of(&self.certificate_der()?)
    }

    /// The certificate's serial number, in hexadecimal digits.
    pub fn serial(&self) -> Result<String> {
        // Certificate, TBSCertificate, [0] version, INTEGER.
        let der = self.certificate_der()?;
        let tbs = contents(contents(&der)?)?;
        let serial = contents(after(tbs)?)?;
        Ok(hexadecimal(serial))
    }

    /// The key id of the log that has the entry, in hexadecimal digits.
    pub fn log(&self) -> Result<String> {
        key_id(&self.bundle, "/verificationMaterial/tlogEntries/0/logId/keyId")
    }

    /// The entry's index in the log.
    pub fn log_index(&self) -> Result<u64> {
        // The first one is left out, as the JSON of protocol buffers does with zeros.
        match self.bundle.pointer("/verificationMaterial/tlogEntries/0/logIndex") {
            None => Ok(0),
            Some(index) => index.as_str().and_then(|index| index.parse().ok()).context("no index"),
        }
    }

    /// The entry's leaf hash, in hexadecimal digits.
    pub fn leaf_hash(&self) -> Result<String> {
        let body = decoded(&self.bundle, "/verificationMaterial/tlogEntries/0/canonicalizedBody")?;
        digest_of(&[&[0], body.as_slice()].concat())
    }

    fn certificate_der(&self) -> Result<Vec<u8>> {
        decoded(&self.bundle, "/verificationMaterial/certificate/rawBytes")
    }
}

/// The key id at this place of a trusted root, in hexadecimal digits.
pub fn key_id(root: &Value, pointer: &str) -> Result<String> {
    Ok(hexadecimal(&decoded(root, pointer)?))
}

/// SHA-256 of the certificate at this place of a trusted root, in hexadecimal digits.
pub fn certificate(root: &Value, pointer: &str) -> Result<String> {
    digest_of(&decoded(root, pointer)?)
}

/// SHA-256 of a public key that is given as PEM, in hexadecimal digits.
pub fn public_key(pem: &str) -> Result<String> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    digest_of(&BASE64_STANDARD.decode(body)?)
}

fn parsed(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).context("no JSON")
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    Ok(found.with_context(|| format!("no {pointer} in {value}"))?.to_owned())
}

fn decoded(value: &Value, pointer: &str) -> Result<Vec<u8>> {
    BASE64_STANDARD.decode(text(value, pointer)?).with_context(|| format!("{pointer} is no base64"))
}

fn digest_of(bytes: &[u8]) -> Result<String> {
    Ok(hex(&sha256(bytes))?.to_owned())
}

/// The contents of the first element of this DER.
fn contents(der: &[u8]) -> Result<&[u8]> {
    let (header, length) = header(der)?;
    der.get(header..header + length).context("cut DER")
}

/// What stands after the first element of this DER.
fn after(der: &[u8]) -> Result<&[u8]> {
    let (header, length) = header(der)?;
    der.get(header + length..).context("cut DER")
}

/// The lengths of the first element's tag with its length, and of its contents.
fn header(der: &[u8]) -> Result<(usize, usize)> {
    let first = usize::from(*der.get(1).context("cut DER")?);
    let Some(bytes) = first.checked_sub(0x80) else { return Ok((2, first)) };
    let length = der.get(2..2 + bytes).context("cut DER")?;
    Ok((2 + bytes, length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))))
}
