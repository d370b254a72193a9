//! Checkpoints (<https://github.com/C2SP/C2SP/blob/main/tlog-checkpoint.md>) as signed notes
//! (<https://github.com/C2SP/C2SP/blob/main/signed-note.md>), with the log's signature and those of witnesses.

use jiff::Timestamp;

use super::key::{Algorithm, Key};
use super::text::{base64, sha256};

/// A checkpoint before it is text. Every field can be replaced.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointParts {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Vec<u8>,
    /// Further lines of the body.
    pub(crate) extensions: Vec<String>,
    /// Who signs, in order.
    pub(crate) signers: Vec<Signer>,
}

/// Who signs a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) name: String,
    pub(crate) key: Key,
    /// The first four bytes say which key it is.
    pub(crate) id: Vec<u8>,
    /// The time of a cosignature; none is a plain signature.
    pub(crate) witnessed: Option<Timestamp>,
}

impl Signer {
    /// The log itself.
    pub(crate) fn log(name: &str, key: &Key) -> Self {
        let id = match key.algorithm() {
            Algorithm::Ed25519 => note_id(name, 1, key),
            _ => key.id(),
        };
        Self { name: name.to_owned(), key: key.clone(), id, witnessed: None }
    }

    /// A witness with a new Ed25519 key, which cosigns at a time
    /// (<https://github.com/C2SP/C2SP/blob/main/tlog-cosignature.md>).
    pub(crate) fn witness(name: &str, at: Timestamp) -> Self {
        let key = Key::generate(Algorithm::Ed25519);
        Self { name: name.to_owned(), id: note_id(name, 4, &key), key, witnessed: Some(at) }
    }
}

/// The id of an Ed25519 key in signed notes: the hash of name, kind of signature and key.
pub(crate) fn note_id(name: &str, kind: u8, key: &Key) -> Vec<u8> {
    sha256(&[name.as_bytes(), b"\n", &[kind], &key.raw()].concat())
}

impl CheckpointParts {
    /// What is signed.
    pub(crate) fn body(&self) -> String {
        let extensions: String = self.extensions.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        format!("{}\n{}\n{}\n{extensions}", self.origin, self.size, base64(&self.root))
    }

    /// The note.
    pub(crate) fn text(&self) -> String {
        let body = self.body();
        let line = |signer: &Signer| {
            let mut bytes = signer.id[..4].to_vec();
            match signer.witnessed {
                None => bytes.extend(signer.key.sign(body.as_bytes())),
                Some(at) => {
                    let seconds = at.as_second();
                    bytes.extend(seconds.to_be_bytes());
                    bytes.extend(signer.key.sign(format!("cosignature/v1\ntime {seconds}\n{body}").as_bytes()));
                }
            }
            format!("\u{2014} {} {}\n", signer.name, base64(&bytes))
        };
        let signatures: String = self.signers.iter().map(line).collect();
        format!("{body}\n{signatures}")
    }
}
