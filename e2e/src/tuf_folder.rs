//! A TUF repository in a folder, written here: one key for each role, and targets as a case wants them.
//!
//! It serves as the mirror of a `SignatureTrustRoot` at `file://`. It shares no code with the client that reads it; the format is that of
//! <https://theupdateframework.github.io/specification/latest/#document-formats>.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];
/// A year after which nothing of these cases plays.
const EXPIRES: &str = "2090-01-01T00:00:00Z";

/// A repository in a folder.
#[derive(Debug)]
pub struct TufRepository {
    folder: PathBuf,
    keys: BTreeMap<&'static str, Ed25519KeyPair>,
    version: u64,
}

impl TufRepository {
    /// A repository in this folder, with its first root and nothing else.
    pub fn new(folder: &Path) -> Result<Self> {
        let key = |role| Ok((role, Ed25519KeyPair::generate().map_err(|_| anyhow!("no Ed25519 key"))?));
        let keys = ROLES.into_iter().map(key).collect::<Result<BTreeMap<_, _>>>()?;
        fs::create_dir_all(folder.join("targets"))?;
        let repository = Self { folder: folder.to_owned(), keys, version: 0 };
        repository.write("1.root.json", &repository.sign("root", &repository.root_value()?)?)?;
        Ok(repository)
    }

    /// The first root, for whoever pins it.
    pub fn root(&self) -> Result<String> {
        fs::read_to_string(self.folder.join("1.root.json")).context("the root")
    }

    /// Where it is.
    pub fn mirror(&self) -> String {
        format!("file://{}", self.folder.display())
    }

    /// Publishes the next version, with these targets.
    pub fn publish(&mut self, targets: &BTreeMap<&str, &[u8]>) -> Result<()> {
        self.version += 1;
        let mut listed = BTreeMap::new();
        for (path, content) in targets {
            fs::write(self.folder.join("targets").join(path), content)?;
            listed.insert(*path, json!({"length": content.len(), "hashes": {"sha256": sha256(content)}}));
        }
        let version = json!({"version": self.version});
        for (role, fields) in [
            ("targets", json!({"targets": listed})),
            ("snapshot", json!({"meta": {"targets.json": version}})),
            ("timestamp", json!({"meta": {"snapshot.json": version}})),
        ] {
            // In the order in which a reader that comes in between does no harm.
            self.write(&format!("{role}.json"), &self.sign(role, &signed(role, self.version, fields))?)?;
        }
        Ok(())
    }

    /// Everything that is published now.
    pub fn files(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut files = Vec::new();
        for folder in [self.folder.clone(), self.folder.join("targets")] {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_file() {
                    files.push((path.clone(), fs::read(path)?));
                }
            }
        }
        Ok(files)
    }

    /// Puts back what was published once, as a mirror that lies would.
    pub fn put_back(&self, files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
        files.iter().try_for_each(|(path, bytes)| Ok(fs::write(path, bytes)?))
    }

    fn root_value(&self) -> Result<Value> {
        let (mut keys, mut roles) = (BTreeMap::new(), BTreeMap::new());
        for role in ROLES {
            let (id, key) = self.key(role)?;
            roles.insert(role, json!({"keyids": [id], "threshold": 1}));
            keys.insert(id, key);
        }
        Ok(signed("root", 1, json!({"consistent_snapshot": false, "keys": keys, "roles": roles})))
    }

    /// The id of a role's key, and the key.
    fn key(&self, role: &str) -> Result<(String, Value)> {
        let pair = self.keys.get(role).context("no such role")?;
        let public = hex(pair.public_key().as_ref());
        let key = json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}});
        Ok((sha256(canonical(&key).as_bytes()), key))
    }

    fn sign(&self, role: &str, signed: &Value) -> Result<Value> {
        let (id, _) = self.key(role)?;
        let pair = self.keys.get(role).context("no such role")?;
        let signature = hex(pair.sign(canonical(signed).as_bytes()).as_ref());
        Ok(json!({"signed": signed, "signatures": [{"keyid": id, "sig": signature}]}))
    }

    /// Whole, or not at all.
    fn write(&self, name: &str, content: &Value) -> Result<()> {
        let (path, temporary) = (self.folder.join(name), self.folder.join(format!(".{name}")));
        fs::write(&temporary, content.to_string())?;
        fs::rename(temporary, path).context("a file of the repository")
    }
}

/// The part of a role's metadata that is signed.
fn signed(role: &str, version: u64, fields: Value) -> Value {
    let mut signed = json!({"_type": role, "spec_version": "1.0.31", "version": version, "expires": EXPIRES});
    if let (Some(signed), Value::Object(fields)) = (signed.as_object_mut(), fields) {
        signed.extend(fields);
    }
    signed
}

/// The canonical form that signatures are over (OLPC): sorted names, no blanks, nothing escaped but `"` and `\`.
fn canonical(value: &Value) -> String {
    let text = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields: Vec<String> =
                sorted.into_iter().map(|(name, value)| format!("{}:{}", text(name), canonical(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
