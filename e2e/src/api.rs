//! The API server by plain HTTP: `kubectl proxy`, for what is asked many times, or must be timed.
//!
//! A question takes a few milliseconds here, and starts no program.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::countersign::WEBHOOK_NAME;
use crate::http::client;
use crate::kubectl::Kubectl;
use crate::process::{Process, Readiness};

const START_LIMIT: Duration = Duration::from_secs(20);

/// The API server, with the rights of the kubectl it was started by. Ended when dropped.
#[derive(Debug)]
pub struct Api {
    _proxy: Process,
    url: String,
}

/// What became of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It would be admitted, with these warnings.
    Admitted(Vec<String>),
    /// Our webhook denied it, in these words.
    Denied(String),
    /// Somebody else refused it.
    Refused(String),
}

impl Answer {
    /// Whether it would be admitted.
    pub fn is_admitted(&self) -> bool {
        matches!(self, Self::Admitted(_))
    }

    /// Whether our webhook denied it in words that hold all `parts`.
    pub fn is_denied(&self, parts: &[&str]) -> bool {
        matches!(self, Self::Denied(message) if parts.iter().all(|part| message.contains(part)))
    }
}

impl Api {
    /// Starts the proxy.
    pub fn start(kubectl: &Kubectl, logs: &Path) -> Result<Self> {
        let mut process = Process::start("kubectl-proxy", &kubectl.command(&["proxy", "--port=0"]), logs)?;
        let mut url = None;
        let log = logs.join("kubectl-proxy.log");
        let readiness = process.wait_until(START_LIMIT, || {
            let log = std::fs::read_to_string(&log)?;
            let address = log.lines().find_map(|line| line.strip_prefix("Starting to serve on "));
            url = address.map(|address| format!("http://{address}"));
            url.as_ref().map(drop).context("it does not say where it listens")
        })?;
        match readiness {
            Readiness::Ready => Ok(Self { _proxy: process, url: url.context("no address")? }),
            Readiness::Ended(error) => Err(error),
        }
    }

    /// An object or a list; none: there is nothing at this path.
    pub fn get(&self, path: &str) -> Result<Option<Value>> {
        let request = client().get(format!("{}{path}", self.url)).config().http_status_as_error(false).build();
        let mut response = request.call().with_context(|| format!("GET {path}"))?;
        let (status, body) = (response.status().as_u16(), response.body_mut().read_to_string()?);
        match status {
            200 => Ok(Some(serde_json::from_str(&body).with_context(|| format!("GET {path}"))?)),
            404 => Ok(None),
            _ => anyhow::bail!("GET {path}: {status}: {body}"),
        }
    }

    /// What would become of a Pod in this namespace.
    pub fn try_pod(&self, namespace: &str, pod: &Value) -> Result<Answer> {
        self.post(&format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), pod)
    }

    /// Creates an object in the collection at this path.
    pub fn post(&self, path: &str, object: &Value) -> Result<Answer> {
        let request = client().post(format!("{}{path}", self.url)).header("Content-Type", "application/json");
        let request = request.config().http_status_as_error(false).build();
        let mut response = request.send(object.to_string()).with_context(|| format!("POST {path}"))?;
        let warnings = response.headers().get_all("Warning").iter();
        let warnings = warnings.map(|warning| String::from_utf8_lossy(warning.as_bytes()).into_owned()).collect();
        let (status, body) = (response.status(), response.body_mut().read_to_string()?);
        if status.is_success() {
            return Ok(Answer::Admitted(warnings));
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        let message = answer.get("message").and_then(Value::as_str).unwrap_or(&body).to_owned();
        let ours = message.contains(&format!("admission webhook \"{WEBHOOK_NAME}\" denied the request: "));
        Ok(if ours { Answer::Denied(message) } else { Answer::Refused(format!("{status}: {message}")) })
    }
}
