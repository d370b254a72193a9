//! Certificates in PEM (RFC 7468), as annotations and log entries hold them.
//!
//! A candidate holds up to ten. The form that everybody writes is read here, at a third of the cost; whatever is written otherwise is the
//! library's to read or to refuse.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sigstore_types::DerCertificate;

/// The DER of one certificate.
///
/// # Errors
/// Text that holds none.
pub(crate) fn certificate(text: &str) -> Result<Vec<u8>, sigstore_types::Error> {
    match usual(text) {
        Some(der) => Ok(der),
        None => DerCertificate::from_pem(text).map(|certificate| certificate.as_bytes().to_vec()),
    }
}

/// One block without headers, lines ended by a line feed.
fn usual(text: &str) -> Option<Vec<u8>> {
    let block =
        text.trim().strip_prefix("-----BEGIN CERTIFICATE-----\n")?.strip_suffix("\n-----END CERTIFICATE-----")?;
    // A blank line would end headers.
    if block.starts_with('\n') || block.contains("\n\n") {
        return None;
    }
    STANDARD.decode(block.bytes().filter(|byte| *byte != b'\n').collect::<Vec<_>>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_readers_read_alike() {
        let pem = DerCertificate::from(vec![0x5a; 100]).to_pem().replace("\r\n", "\n");
        let table = [
            (pem.clone(), true),
            (format!("\n {pem}\n\n"), true),
            (pem.replace('\n', "\r\n"), false),
            (format!("a comment\n{pem}"), false),
            (pem.replacen('\n', "\nname: value\n\n", 1), false),
        ];
        for (text, is_usual) in table {
            let library = DerCertificate::from_pem(&text).unwrap().as_bytes().to_vec();
            assert_eq!((certificate(&text).unwrap(), usual(&text).is_some()), (library, is_usual), "{text}");
        }
        let spoilt = [
            pem.replace("Wlpa", "Wl?a"),
            pem.replace("CERTIFICATE", "PUBLIC KEY"),
            pem.replacen('-', "", 1),
            String::new(),
        ];
        for text in spoilt {
            assert!(certificate(&text).is_err() && DerCertificate::from_pem(&text).is_err(), "{text}");
        }
    }
}
