//! What is signed, and who signs it: the two halves of a bundle that no service makes.

use serde_json::{Value, json};

use super::key::{Hash, Key};
use super::text::{self, base64, hex, sha256};

/// The payload type of in-toto statements.
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The predicate type of the statements with which cosign 3 signs images.
pub(crate) const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// What is to be signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    /// The signature is over these bytes.
    Message(Vec<u8>),
    /// The signature is over the pre-authentication encoding (PAE) of type and payload.
    Envelope { payload_type: String, payload: Vec<u8> },
}

impl Subject {
    /// A manifest, or other artifact, by itself.
    pub(crate) fn manifest(bytes: &[u8]) -> Self {
        Self::Message(bytes.to_vec())
    }

    /// The simple signing payload of a manifest, with cosign's type.
    pub(crate) fn simple_signing(manifest: &[u8]) -> Self {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": "registry.example/app"},
                "image": {"docker-manifest-digest": format!("sha256:{}", hex(&sha256(manifest)))},
                "type": "cosign container image signature",
            },
            "optional": null,
        });
        Self::Message(payload.to_string().into_bytes())
    }

    /// An in-toto statement about a manifest. `Value::Null` leaves the predicate out.
    pub(crate) fn attestation(manifest: &[u8], predicate_type: &str, predicate: Value) -> Self {
        let mut statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "registry.example/app", "digest": {"sha256": hex(&sha256(manifest))}}],
            "predicateType": predicate_type,
        });
        if !predicate.is_null() {
            statement["predicate"] = predicate;
        }
        Self::statement(&statement)
    }

    /// The statement with which cosign 3 signs an image, which has no predicate.
    pub(crate) fn cosign_sign(manifest: &[u8]) -> Self {
        Self::attestation(manifest, COSIGN_SIGN, Value::Null)
    }

    /// Any in-toto statement.
    pub(crate) fn statement(statement: &Value) -> Self {
        Self::Envelope { payload_type: IN_TOTO.to_owned(), payload: statement.to_string().into_bytes() }
    }
}

/// What was signed, with the signature. Every field can be replaced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    Message(Message),
    Envelope(Envelope),
}

/// A signed message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Message {
    pub(crate) payload: Vec<u8>,
    /// The `messageDigest` of a bundle: the algorithm's name and the digest.
    pub(crate) digest: Option<(String, Vec<u8>)>,
    pub(crate) signature: Vec<u8>,
}

/// A DSSE envelope (<https://github.com/secure-systems-lab/dsse/blob/master/envelope.md>).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) payload_type: String,
    pub(crate) payload: Vec<u8>,
    /// Key ids, empty if there are none, with signatures.
    pub(crate) signatures: Vec<(String, Vec<u8>)>,
}

impl Content {
    /// Signs a subject with a function of what is to be signed. `hash` is named as the digest's of a message.
    pub(crate) fn sign(subject: &Subject, hash: Hash, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Self {
        match subject {
            Subject::Message(payload) => {
                let digest = Some((hash.name().to_owned(), hash.of(payload)));
                Self::Message(Message { payload: payload.clone(), digest, signature: sign(payload) })
            }
            Subject::Envelope { payload_type, payload } => {
                let signature = sign(&pae(payload_type, payload));
                let (payload_type, payload) = (payload_type.clone(), payload.clone());
                Self::Envelope(Envelope { payload_type, payload, signatures: vec![(String::new(), signature)] })
            }
        }
    }

    /// The bytes that were signed.
    pub(crate) fn signed(&self) -> Vec<u8> {
        match self {
            Self::Message(message) => message.payload.clone(),
            Self::Envelope(envelope) => pae(&envelope.payload_type, &envelope.payload),
        }
    }

    /// The payload.
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Message(message) => &mut message.payload,
            Self::Envelope(envelope) => &mut envelope.payload,
        }
    }

    /// The signature; of an envelope the first.
    pub(crate) fn signature(&self) -> &[u8] {
        match self {
            Self::Message(message) => &message.signature,
            Self::Envelope(envelope) => &envelope.signatures[0].1,
        }
    }

    /// The signature, to replace it.
    pub(crate) fn signature_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Message(message) => &mut message.signature,
            Self::Envelope(envelope) => &mut envelope.signatures[0].1,
        }
    }

    /// The envelope, where it is one.
    pub(crate) fn envelope(&self) -> &Envelope {
        match self {
            Self::Message(_) => panic!("a message has no envelope"),
            Self::Envelope(envelope) => envelope,
        }
    }

    /// The envelope, to change it.
    pub(crate) fn envelope_mut(&mut self) -> &mut Envelope {
        match self {
            Self::Message(_) => panic!("a message has no envelope"),
            Self::Envelope(envelope) => envelope,
        }
    }
}

impl Envelope {
    pub(crate) fn json(&self) -> Value {
        let signatures = self.signatures.iter().map(|(id, signature)| match id.as_str() {
            "" => json!({"sig": base64(signature)}),
            id => json!({"keyid": id, "sig": base64(signature)}),
        });
        json!({
            "payload": base64(&self.payload),
            "payloadType": self.payload_type,
            "signatures": signatures.collect::<Vec<_>>(),
        })
    }

    /// The envelope as a file or layer has it.
    pub(crate) fn text(&self) -> Vec<u8> {
        self.json().to_string().into_bytes()
    }
}

/// The pre-authentication encoding of DSSE.
pub(crate) fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Who signed, as the bundle says it.
#[derive(Clone, Debug)]
pub(crate) enum Material {
    /// A leaf certificate, and the certificates above it where the format carries them.
    Certificate { leaf: Vec<u8>, chain: Vec<Vec<u8>>, key: Key },
    /// A key that the verifier has to know.
    Key { hint: String, key: Key },
}

impl Material {
    /// The certificate, if there is one.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Certificate { leaf, .. } => Some(leaf),
            Self::Key { .. } => None,
        }
    }

    /// The certificate, to replace it.
    pub(crate) fn certificate_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Certificate { leaf, .. } => leaf,
            Self::Key { .. } => panic!("a key has no certificate"),
        }
    }

    /// The certificates above the leaf.
    pub(crate) fn chain_mut(&mut self) -> &mut Vec<Vec<u8>> {
        match self {
            Self::Certificate { chain, .. } => chain,
            Self::Key { .. } => panic!("a key has no chain"),
        }
    }

    /// The certificate or the key as PEM.
    pub(crate) fn pem(&self) -> String {
        match self {
            Self::Certificate { leaf, .. } => text::pem("CERTIFICATE", leaf),
            Self::Key { key, .. } => key.pem(),
        }
    }

    /// The signer's `SubjectPublicKeyInfo`.
    pub(crate) fn spki(&self) -> Vec<u8> {
        self.key().spki()
    }

    /// The signer's key pair.
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Certificate { key, .. } | Self::Key { key, .. } => key,
        }
    }

    pub(crate) fn key_details(&self) -> &'static str {
        self.key().details()
    }
}
