//! An API server for tests of this module: keeps objects, counts versions, refuses old ones. Nothing else about it is true to the real
//! one, which the end-to-end tests ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use kube::Client;
use serde_json::{Value, json};

#[derive(Clone, Debug, Default)]
pub(super) struct FakeCluster {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By path.
    objects: BTreeMap<String, Value>,
    version: u64,
    /// What every question is answered with.
    failing: Option<u16>,
    /// What others write between a read and a write, first come first.
    meddling: Vec<(String, Value)>,
    requests: Vec<String>,
}

impl FakeCluster {
    pub(super) fn client(&self) -> Client {
        let this = self.clone();
        let answer = async move |method: Method, uri: Uri, body: Bytes| this.answer(&method, uri.path(), &body);
        Client::new(Router::new().fallback(answer), "default")
    }

    /// Puts an object below a path.
    pub(super) fn put(&self, folder: &str, name: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        object["metadata"]["name"] = json!(name);
        object["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.objects.insert(format!("{folder}/{name}"), object);
    }

    pub(super) fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().unwrap().objects.is_empty()
    }

    pub(super) fn fail(&self, code: u16) {
        self.state.lock().unwrap().failing = Some(code);
    }

    /// The next writer of this object finds that another was faster, and put these fields into its status.
    pub(super) fn meddle(&self, path: &str, status: Value) {
        self.state.lock().unwrap().meddling.push((path.to_owned(), status));
    }

    /// Method and path of every question so far.
    pub(super) fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> impl IntoResponse + use<> {
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let (code, body) = self.state.lock().unwrap().handle(method, path, sent);
        let code = StatusCode::from_u16(code).unwrap();
        (code, [(header::CONTENT_TYPE, "application/json")], body.to_string())
    }
}

impl State {
    fn handle(&mut self, method: &Method, path: &str, sent: Value) -> (u16, Value) {
        self.requests.push(format!("{method} {path}"));
        let refuse = |code: u16| {
            // The client tells by the reason what is not there.
            let reason = if code == 404 { "NotFound" } else { "Fake" };
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": "no"}),
            )
        };
        if let Some(code) = self.failing {
            return refuse(code);
        }
        let object = path.strip_suffix("/status").unwrap_or(path).to_owned();
        if *method != Method::GET
            && let Some(position) = self.meddling.iter().position(|(path, _)| *path == object)
        {
            let (_, status) = self.meddling.remove(position);
            self.version += 1;
            let known = self.objects.get_mut(&object).unwrap();
            merge(&mut known["status"], &status);
            known["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        let written = match (method, self.objects.get(&object)) {
            (&Method::GET, found) => return found.map_or_else(|| refuse(404), |found| (200, found.clone())),
            (&Method::POST, _) => {
                let object = format!("{path}/{}", sent["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&object) {
                    return refuse(409);
                }
                (object, sent)
            }
            (_, None) => return refuse(404),
            (_, Some(known)) if version(&sent).is_string() && version(&sent) != version(known) => return refuse(409),
            (&Method::PATCH, Some(known)) => {
                let mut known = known.clone();
                merge(&mut known, &sent);
                (object, known)
            }
            (_, Some(_)) => (object, sent),
        };
        self.version += 1;
        let (path, mut object) = written;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path, object.clone());
        (200, object)
    }
}

/// A merge patch of RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}
