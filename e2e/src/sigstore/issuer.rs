//! An OpenID Connect issuer: it serves its discovery document and its key, and mints identity tokens in memory.
//!
//! Four issuers in one, by the first part of the path: Fulcio makes another kind of name of each. Nobody logs in.
//!
//! Specification: <https://openid.net/specs/openid-connect-discovery-1_0.html>

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Whom tokens are for: the name by which every Sigstore client goes.
const AUDIENCE: &str = "sigstore";
const KEY_ID: &str = "e2e";
/// A client that connects and says nothing is left alone after this.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The domain of which Fulcio takes users and workloads; for users it must be the issuer's own host.
const USER_DOMAIN: &str = "127.0.0.1";
const TRUST_DOMAIN: &str = "acme.test";

/// A running issuer. Its thread ends with the process.
#[derive(Debug)]
pub struct Issuer {
    address: String,
    key: EcdsaKeyPair,
}

/// Somebody who can sign.
#[derive(Clone, Copy, Debug)]
pub enum Account<'a> {
    /// A person, by e-mail address.
    Person(&'a str),
    /// A GitHub workflow: `OWNER/REPOSITORY/.github/workflows/FILE@REF`.
    Workflow(&'a str),
    /// A user without an e-mail address, by name; in the certificate an `otherName`.
    User(&'a str),
    /// A workload: the path of a SPIFFE ID.
    Workload(&'a str),
}

/// An account as certificates name it, and a fresh token to get one by.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The issuer in the certificate.
    pub issuer: String,
    /// The subject alternative name in the certificate.
    pub subject: String,
    /// The identity token, good for some minutes.
    pub token: String,
}

impl Issuer {
    /// Starts the issuer on a port that the system chooses.
    pub fn start() -> Result<Self> {
        let rejected = |error| anyhow!("cannot make the issuer's key: {error}");
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(rejected)?;
        let listener = TcpListener::bind("127.0.0.1:0").context("no port for the issuer")?;
        let issuer = Self { address: format!("http://{}", listener.local_addr()?), key };
        let documents = issuer.documents()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever does not get an answer asks again.
                let _ = answer(stream, &documents);
            }
        });
        Ok(issuer)
    }

    /// The account's identity with a fresh token.
    pub fn identity(&self, account: Account<'_>) -> Result<Identity> {
        let issuer = format!("{}/{}", self.address, account.kind());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut claims = account.claims()?;
        let common = json!({"iss": issuer, "aud": AUDIENCE, "iat": now, "nbf": now - 5, "exp": now + 600});
        if let (Some(claims), Value::Object(common)) = (claims.as_object_mut(), common) {
            claims.extend(common);
        }
        Ok(Identity { issuer, subject: account.subject(), token: self.token(&claims)? })
    }

    /// An issuer's URL that no account of these tests has.
    pub fn other_url(&self) -> String {
        format!("{}/other", self.address)
    }

    /// The URL at which people would log in.
    pub(super) fn login_url(&self) -> String {
        format!("{}/{}", self.address, Account::Person("").kind())
    }

    /// The configuration with which Fulcio takes the tokens; for workflows as the public instance has it for GitHub.
    pub(super) fn fulcio_configuration(&self) -> Value {
        let issuer = |account: Account<'_>, kind: &str, further: Value| {
            let url = format!("{}/{}", self.address, account.kind());
            let mut entry = json!({"IssuerURL": url, "ClientID": AUDIENCE, "Type": kind});
            if let (Some(entry), Value::Object(further)) = (entry.as_object_mut(), further) {
                entry.extend(further);
            }
            (url, entry)
        };
        let issuers: serde_json::Map<String, Value> = [
            issuer(Account::Person(""), "email", json!({})),
            issuer(Account::Workflow(""), "ci-provider", json!({"CIProvider": "github-workflow"})),
            issuer(Account::User(""), "username", json!({"SubjectDomain": USER_DOMAIN})),
            issuer(Account::Workload(""), "spiffe", json!({"SPIFFETrustDomain": TRUST_DOMAIN})),
        ]
        .into_iter()
        .collect();
        json!({"OIDCIssuers": issuers, "CIIssuerMetadata": {"github-workflow": {
            "DefaultTemplateValues": {"url": "https://github.com"},
            "SubjectAlternativeNameTemplate": "{{ .url }}/{{ .job_workflow_ref }}",
            "ExtensionTemplates": {
                "GithubWorkflowTrigger": "event_name",
                "GithubWorkflowSHA": "sha",
                "GithubWorkflowName": "workflow",
                "GithubWorkflowRepository": "repository",
                "GithubWorkflowRef": "ref",
                "BuildSignerURI": "{{ .url }}/{{ .job_workflow_ref }}",
                "BuildSignerDigest": "job_workflow_sha",
                "RunnerEnvironment": "runner_environment",
                "SourceRepositoryURI": "{{ .url }}/{{ .repository }}",
                "SourceRepositoryDigest": "sha",
                "SourceRepositoryRef": "ref",
                "SourceRepositoryIdentifier": "repository_id",
                "SourceRepositoryOwnerURI": "{{ .url }}/{{ .repository_owner }}",
                "SourceRepositoryOwnerIdentifier": "repository_owner_id",
                "BuildConfigURI": "{{ .url }}/{{ .workflow_ref }}",
                "BuildConfigDigest": "workflow_sha",
                "BuildTrigger": "event_name",
                "RunInvocationURI": "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}",
                "SourceRepositoryVisibilityAtSigning": "repository_visibility",
            },
        }}})
    }

    /// The path of each document, and the document.
    fn documents(&self) -> Result<Vec<(String, String)>> {
        let point = self.key.public_key().as_ref();
        // An uncompressed point: 4, x, y.
        let (x, y) =
            point.get(1..).context("an empty public key")?.split_at_checked(32).context("a short public key")?;
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let key = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID, "x": encode(x), "y": encode(y)});
        let mut documents = Vec::new();
        for account in [Account::Person(""), Account::Workflow(""), Account::User(""), Account::Workload("")] {
            let path = format!("/{}", account.kind());
            let url = format!("{}{path}", self.address);
            let discovery = json!({
                "issuer": url, "jwks_uri": format!("{url}/keys"),
                "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
                "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            documents.push((format!("{path}/.well-known/openid-configuration"), discovery.to_string()));
            documents.push((format!("{path}/keys"), json!({"keys": [key]}).to_string()));
        }
        Ok(documents)
    }

    fn token(&self, claims: &Value) -> Result<String> {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({"alg": "ES256", "typ": "JWT", "kid": KEY_ID})), encode(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes());
        let signature = signature.map_err(|error| anyhow!("cannot sign a token: {error}"))?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Account<'_> {
    /// The path of its issuer.
    fn kind(self) -> &'static str {
        match self {
            Self::Person(_) => "people",
            Self::Workflow(_) => "workflows",
            Self::User(_) => "users",
            Self::Workload(_) => "workloads",
        }
    }

    /// What Fulcio makes of the claims.
    fn subject(self) -> String {
        match self {
            Self::Person(address) => address.to_owned(),
            Self::Workflow(workflow) => format!("https://github.com/{workflow}"),
            Self::User(name) => format!("{name}!{USER_DOMAIN}"),
            Self::Workload(path) => format!("spiffe://{TRUST_DOMAIN}/{path}"),
        }
    }

    fn claims(self) -> Result<Value> {
        Ok(match self {
            Self::Person(address) => json!({"sub": address, "email": address, "email_verified": true}),
            Self::User(name) => json!({"sub": name}),
            Self::Workload(_) => json!({"sub": self.subject()}),
            Self::Workflow(workflow) => {
                let (file, reference) = workflow.split_once('@').context("a workflow without @")?;
                let mut parts = file.split('/');
                let (owner, name) = parts.next().zip(parts.next()).context("a workflow without a repository")?;
                let (repository, commit) = (format!("{owner}/{name}"), "a".repeat(40));
                json!({
                    "sub": format!("repo:{repository}:ref:{reference}"),
                    "repository": repository, "repository_owner": owner, "repository_id": "1001",
                    "repository_owner_id": "2002", "repository_visibility": "private",
                    "workflow": "release", "workflow_ref": workflow, "workflow_sha": commit,
                    "job_workflow_ref": workflow, "job_workflow_sha": commit,
                    "ref": reference, "ref_type": "branch", "ref_protected": "true", "head_ref": "", "base_ref": "",
                    "sha": commit, "event_name": "push",
                    "run_id": "42", "run_number": "7", "run_attempt": "1", "actor": "alice", "actor_id": "3003",
                    "runner_environment": "self-hosted",
                })
            }
        })
    }
}

/// One request, one answer: GET of a document, or nothing to be found.
fn answer(mut stream: TcpStream, documents: &[(String, String)]) -> Result<()> {
    stream.set_read_timeout(Some(REQUEST_LIMIT))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().context("no request")??;
    while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
    let path = request.split(' ').nth(1).context("no path")?;
    let document = documents.iter().find(|(known, _)| known == path);
    let (status, body) = document.map_or(("404 Not Found", ""), |(_, document)| ("200 OK", document));
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
