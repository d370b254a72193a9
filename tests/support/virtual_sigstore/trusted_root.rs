//! The instance's `trusted_root.json`
//! (<https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_trustroot.proto>), out of parts that can be replaced.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::ct::CtLog;
use super::fulcio::CertificateAuthority;
use super::key::Key;
use super::rekor_v1::RekorV1;
use super::rekor_v2::RekorV2;
use super::text::base64;
use super::tsa::TimestampAuthority;
use super::{VirtualSigstore, Window};

/// A log in a trust root. Every field can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct TrustedLog {
    pub(crate) base_url: String,
    pub(crate) operator: String,
    pub(crate) public_key: Vec<u8>,
    pub(crate) key_details: String,
    pub(crate) valid_for: Window,
    pub(crate) log_id: Vec<u8>,
}

/// An authority in a trust root. Every field can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct TrustedAuthority {
    pub(crate) organization: String,
    pub(crate) common_name: String,
    pub(crate) uri: String,
    pub(crate) operator: String,
    /// From the certificate that signs up to the root.
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) valid_for: Window,
}

/// A trust root before it is text. Every field can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct TrustedRoot {
    pub(crate) media_type: String,
    pub(crate) logs: Vec<TrustedLog>,
    pub(crate) certificate_authorities: Vec<TrustedAuthority>,
    pub(crate) ct_logs: Vec<TrustedLog>,
    pub(crate) timestamp_authorities: Vec<TrustedAuthority>,
}

impl TrustedLog {
    fn new(base_url: &str, operator: &str, key: &Key, log_id: Vec<u8>, valid_for: Window) -> Self {
        Self {
            base_url: base_url.to_owned(),
            operator: operator.to_owned(),
            public_key: key.spki(),
            key_details: key.details().to_owned(),
            valid_for,
            log_id,
        }
    }

    fn json(&self) -> Value {
        let mut log = json!({
            "baseUrl": self.base_url,
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": base64(&self.public_key),
                "keyDetails": self.key_details,
                "validFor": self.valid_for.json(),
            },
            "logId": {"keyId": base64(&self.log_id)},
        });
        if !self.operator.is_empty() {
            log["operator"] = self.operator.clone().into();
        }
        log
    }
}

impl From<&RekorV1> for TrustedLog {
    fn from(log: &RekorV1) -> Self {
        Self::new(&log.base_url, &log.operator, &log.key, log.key.id(), log.valid_for)
    }
}

impl From<&RekorV2> for TrustedLog {
    fn from(log: &RekorV2) -> Self {
        Self::new(&log.base_url, &log.operator, &log.key, log.id(), log.valid_for)
    }
}

impl From<&CtLog> for TrustedLog {
    fn from(log: &CtLog) -> Self {
        Self::new(&log.base_url, &log.operator, &log.key, log.key.id(), log.valid_for)
    }
}

impl TrustedAuthority {
    fn json(&self) -> Value {
        let certificates: Vec<Value> =
            self.chain.iter().map(|certificate| json!({"rawBytes": base64(certificate)})).collect();
        let mut authority = json!({
            "subject": {"organization": self.organization, "commonName": self.common_name},
            "uri": self.uri,
            "certChain": {"certificates": certificates},
            "validFor": self.valid_for.json(),
        });
        if !self.operator.is_empty() {
            authority["operator"] = self.operator.clone().into();
        }
        authority
    }
}

impl From<&CertificateAuthority> for TrustedAuthority {
    fn from(authority: &CertificateAuthority) -> Self {
        Self {
            organization: authority.organization.clone(),
            common_name: "root".to_owned(),
            uri: authority.uri.clone(),
            operator: authority.organization.clone(),
            chain: authority.chain(),
            valid_for: authority.valid_for,
        }
    }
}

impl From<&TimestampAuthority> for TrustedAuthority {
    fn from(authority: &TimestampAuthority) -> Self {
        Self {
            organization: authority.organization.clone(),
            common_name: "tsa-root".to_owned(),
            uri: authority.uri.clone(),
            operator: authority.organization.clone(),
            chain: authority.chain(),
            valid_for: authority.valid_for,
        }
    }
}

impl TrustedRoot {
    /// Everything that the instance has.
    pub(crate) fn of(sigstore: &VirtualSigstore) -> Self {
        let v1 = sigstore.logs_v1.iter().map(TrustedLog::from);
        Self {
            media_type: "application/vnd.dev.sigstore.trustedroot+json;version=0.1".to_owned(),
            logs: v1.chain(sigstore.logs_v2.iter().map(TrustedLog::from)).collect(),
            certificate_authorities: sigstore.authorities.iter().map(TrustedAuthority::from).collect(),
            ct_logs: sigstore.ct_logs.iter().map(TrustedLog::from).collect(),
            timestamp_authorities: sigstore.timestamp_authorities.iter().map(TrustedAuthority::from).collect(),
        }
    }

    pub(crate) fn without_logs(mut self) -> Self {
        self.logs.clear();
        self
    }

    pub(crate) fn without_ct_logs(mut self) -> Self {
        self.ct_logs.clear();
        self
    }

    pub(crate) fn without_timestamp_authorities(mut self) -> Self {
        self.timestamp_authorities.clear();
        self
    }

    pub(crate) fn without_certificate_authorities(mut self) -> Self {
        self.certificate_authorities.clear();
        self
    }

    /// Changed by a function.
    pub(crate) fn with(mut self, edit: impl FnOnce(&mut Self)) -> Self {
        edit(&mut self);
        self
    }

    /// The document, for edits that no field is for.
    pub(crate) fn value(&self) -> Value {
        let logs = |logs: &[TrustedLog]| logs.iter().map(TrustedLog::json).collect::<Vec<_>>();
        let authorities = |list: &[TrustedAuthority]| list.iter().map(TrustedAuthority::json).collect::<Vec<_>>();
        json!({
            "mediaType": self.media_type,
            "tlogs": logs(&self.logs),
            "certificateAuthorities": authorities(&self.certificate_authorities),
            "ctlogs": logs(&self.ct_logs),
            "timestampAuthorities": authorities(&self.timestamp_authorities),
        })
    }

    /// The text of `trusted_root.json`.
    pub(crate) fn json(&self) -> String {
        self.value().to_string()
    }
}

impl Window {
    fn json(&self) -> Value {
        let mut window = json!({"start": self.start.unwrap_or(Timestamp::UNIX_EPOCH).to_string()});
        if let Some(end) = self.end {
            window["end"] = end.to_string().into();
        }
        window
    }
}
