//! Services that an object lists one by one, as the `trusted_root.json` that they amount to.
//!
//! There is one reader of trusted roots; what is listed here goes through it.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::spec::{check_length, material};
use super::{PublicKey, RootSpecError, pki};
use crate::api::{InlineAuthority, InlineLog, InlineRoot, ServiceWindow};

/// Services of one kind.
const LIMIT: usize = 32;

/// The trusted root of these services.
pub(super) fn trusted_root(services: &InlineRoot) -> Result<String, RootSpecError> {
    let InlineRoot { certificate_authorities, logs, ct_logs, timestamp_authorities } = services;
    let root = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "certificateAuthorities": list("spec.inline.certificateAuthorities", certificate_authorities, authority)?,
        "tlogs": list("spec.inline.logs", logs, log)?,
        "ctlogs": list("spec.inline.ctLogs", ct_logs, log)?,
        "timestampAuthorities": list("spec.inline.timestampAuthorities", timestamp_authorities, authority)?,
    });
    Ok(root.to_string())
}

fn list<T>(
    field: &str,
    services: &[T],
    read: impl Fn(&str, &T) -> Result<Value, RootSpecError>,
) -> Result<Vec<Value>, RootSpecError> {
    if services.len() > LIMIT {
        let reason = format!("it has {} entries, at most {LIMIT} are read", services.len());
        return Err(RootSpecError::Field { field: field.to_owned(), reason });
    }
    services.iter().enumerate().map(|(position, service)| read(&format!("{field}[{position}]"), service)).collect()
}

fn authority(field: &str, authority: &InlineAuthority) -> Result<Value, RootSpecError> {
    let InlineAuthority { uri, operator, chain, valid_for } = authority;
    let chain_field = format!("{field}.chain");
    check_length(&chain_field, chain, 65_536)?;
    let chain = pki::certificates(chain).map_err(|source| material(&chain_field, source))?;
    let certificates: Vec<Value> = chain.iter().map(|der| json!({"rawBytes": STANDARD.encode(der)})).collect();
    let mut service = json!({"uri": uri.as_deref().unwrap_or_default(), "certChain": {"certificates": certificates}});
    if let Some(window) = valid_for {
        insert(&mut service, "validFor", span(window));
    }
    if let Some(operator) = operator {
        check_length(&format!("{field}.operator"), operator, 253)?;
        insert(&mut service, "operator", json!(operator));
    }
    Ok(service)
}

fn log(field: &str, log: &InlineLog) -> Result<Value, RootSpecError> {
    let InlineLog { uri, operator, key, key_id, valid_for } = log;
    check_length(&format!("{field}.uri"), uri, 1024)?;
    let key_field = format!("{field}.key");
    check_length(&key_field, key, 8192)?;
    let spki = PublicKey::parse_pem(key).map_err(|source| material(&key_field, source))?;
    let spki = spki.spki();
    let key_id = match key_id {
        None => digest(&SHA256, spki).as_ref().to_vec(),
        Some(text) => bytes(text).ok_or_else(|| RootSpecError::Field {
            field: format!("{field}.keyId"),
            reason: "64 lower-case hexadecimal digits are needed".to_owned(),
        })?,
    };
    // The reader tells the algorithm from the key itself.
    let mut public = json!({"rawBytes": STANDARD.encode(spki), "keyDetails": "PUBLIC_KEY_DETAILS_UNSPECIFIED"});
    if let Some(window) = valid_for {
        insert(&mut public, "validFor", span(window));
    }
    let mut service = json!({
        "baseUrl": uri,
        "hashAlgorithm": "SHA2_256",
        "publicKey": public,
        "logId": {"keyId": STANDARD.encode(key_id)},
    });
    if let Some(operator) = operator {
        check_length(&format!("{field}.operator"), operator, 253)?;
        insert(&mut service, "operator", json!(operator));
    }
    Ok(service)
}

/// A window in the format's words, which wants a start.
fn span(window: &ServiceWindow) -> Value {
    let mut span = Map::new();
    span.insert("start".to_owned(), json!(window.start.as_deref().unwrap_or("1970-01-01T00:00:00Z")));
    if let Some(end) = &window.end {
        span.insert("end".to_owned(), json!(end));
    }
    Value::Object(span)
}

fn insert(object: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(field.to_owned(), value);
    }
}

/// 32 bytes of lower-case hexadecimal digits.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .map(|digit| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    (pairs.len() == 32 && rest.is_empty()).then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}
