//! Entries of transparency logs: their bodies by kind, and what a log hands back for one.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::content::{Content, Material};
use super::key::Hash;
use super::text::{base64, hex, sha256};

/// A kind and version of body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// `hashedrekord` 0.0.1 of Rekor v1.
    HashedRekord,
    /// `dsse` 0.0.1 of Rekor v1.
    Dsse,
    /// `intoto` 0.0.1 of Rekor v1, as of 2021 to 2023: no signature is in it.
    Intoto001,
    /// `intoto` 0.0.2 of Rekor v1.
    Intoto002,
    /// `hashedrekord` 0.0.2 of Rekor v2, for messages and for envelopes.
    HashedRekord002,
}

impl Kind {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::HashedRekord | Self::HashedRekord002 => "hashedrekord",
            Self::Dsse => "dsse",
            Self::Intoto001 | Self::Intoto002 => "intoto",
        }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::HashedRekord | Self::Dsse | Self::Intoto001 => "0.0.1",
            Self::Intoto002 | Self::HashedRekord002 => "0.0.2",
        }
    }

    /// The body for what was signed, under which hash, and by whom. The log verifies the signature over the hash that it names.
    pub(crate) fn body(self, content: &Content, hash: Hash, material: &Material) -> Value {
        let spec = match self {
            Self::HashedRekord => hashed_rekord(content, hash, material),
            Self::Dsse => dsse(content, material),
            Self::Intoto001 => intoto_001(content, material),
            Self::Intoto002 => intoto_002(content, material),
            Self::HashedRekord002 => hashed_rekord_002(content, hash, material),
        };
        json!({"apiVersion": self.version(), "kind": self.kind(), "spec": spec})
    }
}

fn hashed(bytes: &[u8]) -> Value {
    json!({"algorithm": "sha256", "value": hex(&sha256(bytes))})
}

fn verifier(material: &Material) -> String {
    base64(material.pem().as_bytes())
}

fn hashed_rekord(content: &Content, hash: Hash, material: &Material) -> Value {
    json!({
        "data": {"hash": {"algorithm": hash.rekor_name(), "value": hex(&hash.of(&content.signed()))}},
        "signature": {"content": base64(content.signature()), "publicKey": {"content": verifier(material)}},
    })
}

fn dsse(content: &Content, material: &Material) -> Value {
    let envelope = content.envelope();
    let signatures = envelope.signatures.iter();
    let signatures = signatures.map(|(_, sig)| json!({"signature": base64(sig), "verifier": verifier(material)}));
    json!({
        "envelopeHash": hashed(&envelope.text()),
        "payloadHash": hashed(&envelope.payload),
        "signatures": signatures.collect::<Vec<_>>(),
    })
}

fn intoto_001(content: &Content, material: &Material) -> Value {
    let envelope = content.envelope();
    json!({
        "content": {"hash": hashed(&envelope.text()), "payloadHash": hashed(&envelope.payload)},
        "publicKey": verifier(material),
    })
}

fn intoto_002(content: &Content, material: &Material) -> Value {
    let envelope = content.envelope();
    let signatures = envelope.signatures.iter();
    // The log keeps the signature's base64 as bytes, and so encodes it once more.
    let signatures =
        signatures.map(|(_, sig)| json!({"publicKey": verifier(material), "sig": base64(base64(sig).as_bytes())}));
    json!({"content": {
        "envelope": {"payloadType": envelope.payload_type, "signatures": signatures.collect::<Vec<_>>()},
        "hash": hashed(&envelope.text()),
        "payloadHash": hashed(&envelope.payload),
    }})
}

fn hashed_rekord_002(content: &Content, hash: Hash, material: &Material) -> Value {
    let mut verifier = json!({"keyDetails": material.key_details()});
    match material.certificate() {
        Some(certificate) => verifier["x509Certificate"] = json!({"rawBytes": base64(certificate)}),
        None => verifier["publicKey"] = json!({"rawBytes": base64(&material.spki())}),
    }
    json!({"hashedRekordV002": {
        "data": {"algorithm": hash.name(), "digest": base64(&hash.of(&content.signed()))},
        "signature": {"content": base64(content.signature()), "verifier": verifier},
    }})
}

/// JSON with sorted keys and no spaces (RFC 8785, as far as these documents need it).
pub(crate) fn canonical(value: &Value) -> Vec<u8> {
    let text = match value {
        Value::Object(members) => {
            let mut keys: Vec<&String> = members.keys().collect();
            keys.sort();
            let members: Vec<String> = keys
                .into_iter()
                .map(|key| {
                    let value = String::from_utf8(canonical(&members[key])).unwrap();
                    format!("{}:{value}", Value::String(key.clone()))
                })
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(elements) => {
            let elements: Vec<String> =
                elements.iter().map(|element| String::from_utf8(canonical(element)).unwrap()).collect();
            format!("[{}]", elements.join(","))
        }
        scalar => scalar.to_string(),
    };
    text.into_bytes()
}

/// What a log says of an entry, as bundles and annotations carry it. Every field can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) kind: String,
    pub(crate) version: String,
    pub(crate) body: Vec<u8>,
    pub(crate) log_index: u64,
    pub(crate) log_id: Vec<u8>,
    pub(crate) integrated_time: Option<Timestamp>,
    /// The signed entry timestamp.
    pub(crate) set: Option<Vec<u8>>,
    pub(crate) proof: Option<Proof>,
}

/// An inclusion proof.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Proof {
    pub(crate) log_index: u64,
    pub(crate) tree_size: u64,
    pub(crate) root: Vec<u8>,
    pub(crate) hashes: Vec<Vec<u8>>,
    pub(crate) checkpoint: Option<String>,
}

impl Entry {
    /// The proof, which has to be there.
    pub(crate) fn proof(&mut self) -> &mut Proof {
        self.proof.as_mut().unwrap()
    }

    /// The body as JSON, edited. Nothing is signed or hashed anew.
    pub(crate) fn edit_body(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        edit(&mut body);
        self.body = canonical(&body);
    }

    /// The `TransparencyLogEntry` of bundles.
    pub(crate) fn json(&self) -> Value {
        let mut entry = json!({
            "logIndex": self.log_index.to_string(),
            "logId": {"keyId": base64(&self.log_id)},
            "kindVersion": {"kind": self.kind, "version": self.version},
            "canonicalizedBody": base64(&self.body),
        });
        if let Some(at) = self.integrated_time {
            entry["integratedTime"] = at.as_second().to_string().into();
        }
        if let Some(set) = &self.set {
            entry["inclusionPromise"] = json!({"signedEntryTimestamp": base64(set)});
        }
        if let Some(proof) = &self.proof {
            entry["inclusionProof"] = proof.json();
        }
        entry
    }
}

impl Proof {
    fn json(&self) -> Value {
        let hashes: Vec<String> = self.hashes.iter().map(|hash| base64(hash)).collect();
        let mut proof = json!({
            "logIndex": self.log_index.to_string(),
            "treeSize": self.tree_size.to_string(),
            "rootHash": base64(&self.root),
            "hashes": hashes,
        });
        if let Some(checkpoint) = &self.checkpoint {
            proof["checkpoint"] = json!({"envelope": checkpoint});
        }
        proof
    }
}
