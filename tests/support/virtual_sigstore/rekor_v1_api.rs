//! How a Rekor v1 log answers (<https://github.com/sigstore/rekor/blob/main/openapi.yaml>): method, path and body to JSON.
//!
//! No server: a test that needs one puts these answers behind it. Entries are not accepted; use [`RekorV1::log`].

use serde_json::{Value, json};

use super::checkpoint::CheckpointParts;
use super::merkle;
use super::rekor_v1::{Logged, RekorV1};
use super::text::{base64, hex, sha256};

impl RekorV1 {
    /// The answer to a GET of a path with its query, as `/api/v1/log`. None is 404.
    pub(crate) fn get(&self, target: &str) -> Option<Value> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let number = |name: &str| {
            let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
            value.parse::<u64>().ok()
        };
        match path.strip_prefix("/api/v1/")? {
            "log" => Some(self.log_info()),
            "log/publicKey" => Some(self.key.pem().into()),
            "log/proof" => self.consistency(number("firstSize").unwrap_or(1), number("lastSize")?),
            "log/entries" => self.entry_at(number("logIndex")?.checked_sub(self.offset)?),
            path => self.entry_at(self.index_of(path.strip_prefix("log/entries/")?)?),
        }
    }

    /// The answer to a POST of a body. None is 404.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Option<Value> {
        match path.strip_prefix("/api/v1/")? {
            "index/retrieve" => Some(self.search(body)),
            "log/entries/retrieve" => {
                let texts = body["entryUUIDs"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let ids = texts.filter_map(|id| self.index_of(id));
                let numbers = body["logIndexes"].as_array().into_iter().flatten().filter_map(Value::as_u64);
                let indexes = numbers.filter_map(|number| number.checked_sub(self.offset));
                Some(ids.chain(indexes).filter_map(|index| self.entry_at(index)).collect())
            }
            _ => None,
        }
    }

    /// The id of an entry, with the id of its tree.
    pub(crate) fn uuid(&self, index: u64) -> Option<String> {
        let leaf = merkle::leaf(&self.logged(index)?.body);
        Some(format!("{:016x}{}", self.tree_id, hex(&leaf)))
    }

    /// The answer for the leaf of this index, proved in the tree as it is now.
    pub(crate) fn entry_at(&self, index: u64) -> Option<Value> {
        let Logged { body, integrated_time } = self.logged(index)?;
        let log_index = self.offset + index;
        let proof = self.proof(index, self.size());
        let hashes: Vec<String> = proof.hashes.iter().map(|hash| hex(hash)).collect();
        let entry = json!({
            "body": base64(&body),
            "integratedTime": integrated_time.as_second(),
            "logID": hex(&self.key.id()),
            "logIndex": log_index,
            "verification": {
                "inclusionProof": {
                    "checkpoint": proof.checkpoint,
                    "hashes": hashes,
                    "logIndex": proof.log_index,
                    "rootHash": hex(&proof.root),
                    "treeSize": proof.tree_size,
                },
                "signedEntryTimestamp": base64(&self.promise(&body, log_index, integrated_time)),
            },
        });
        Some(json!({self.uuid(index)?: entry}))
    }

    fn log_info(&self) -> Value {
        let size = self.size();
        let checkpoint = self.checkpoint(size);
        // The entries of earlier shards are nowhere; only their number is needed.
        let earlier = CheckpointParts {
            origin: format!("{} - {}", self.name, self.tree_id - 1),
            size: self.offset,
            root: sha256(b"an earlier shard"),
            extensions: Vec::new(),
            signers: vec![self.signer()],
        };
        json!({
            "inactiveShards": [{
                "rootHash": hex(&earlier.root),
                "signedTreeHead": earlier.text(),
                "treeID": (self.tree_id - 1).to_string(),
                "treeSize": earlier.size,
            }],
            "rootHash": hex(&checkpoint.root),
            "signedTreeHead": checkpoint.text(),
            "treeID": self.tree_id.to_string(),
            "treeSize": size,
        })
    }

    /// The proof between two sizes.
    fn consistency(&self, first: u64, last: u64) -> Option<Value> {
        if first == 0 || first > last || last > self.size() {
            return None;
        }
        let leaves = self.leaves(last);
        let hashes = merkle::consistency(&leaves, usize::try_from(first).ok()?);
        let hashes: Vec<String> = hashes.iter().map(|hash| hex(hash)).collect();
        Some(json!({"rootHash": hex(&merkle::root(&leaves)), "hashes": hashes}))
    }

    /// The index of the leaf with this id, with or without the tree's.
    fn index_of(&self, uuid: &str) -> Option<u64> {
        (0..self.size()).find(|index| self.uuid(*index).is_some_and(|id| id == uuid || id[16..] == *uuid))
    }

    /// The ids of the entries with a hash, an e-mail address or a public key in them.
    fn search(&self, query: &Value) -> Value {
        let found = (0..self.size()).filter(|index| {
            let body: Value = self
                .logged(*index)
                .map_or(Value::Null, |entry| serde_json::from_slice(&entry.body).unwrap_or_default());
            let hash = query["hash"].as_str().map(|hash| hash.trim_start_matches("sha256:"));
            let key = query["publicKey"]["content"].as_str();
            hash.is_some_and(|hash| mentions(&body, &|text| text == hash))
                || key.is_some_and(|key| mentions(&body, &|text| text == key))
                || query["email"].as_str().is_some_and(|email| mentions(&body, &|text| certifies(text, email)))
        });
        found.filter_map(|index| self.uuid(index)).collect()
    }
}

/// Whether some text of a document passes a test.
fn mentions(value: &Value, passes: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => passes(text),
        Value::Array(elements) => elements.iter().any(|element| mentions(element, passes)),
        Value::Object(members) => members.values().any(|member| mentions(member, passes)),
        _ => false,
    }
}

/// Whether a text is the base64 of a PEM certificate with these bytes in it.
fn certifies(text: &str, name: &str) -> bool {
    use base64::Engine as _;
    let unbase64 = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    let document = String::from_utf8(unbase64(text)).unwrap_or_default();
    let body: String = document.lines().filter(|line| !line.starts_with("-----")).collect();
    unbase64(&body).windows(name.len()).any(|window| window == name.as_bytes())
}
