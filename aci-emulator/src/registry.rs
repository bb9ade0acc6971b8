//! A container registry (OCI distribution specification 1.1, the part that a pull reads), for clients that must know
//! what an image says about itself.
//!
//! It does what makes real registries hard to read: a token service with a challenge, Basic, anonymous tokens, an index
//! for several platforms, and blobs that are redirected to a store under another host, which refuses credentials. The
//! store is the same listener under the name `localhost`. Layers do not exist.

use std::collections::{BTreeMap, HashMap};

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use base64::Engine as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{arm::parameter, shared::Shared};

const API: &str = "/v2/";
const TOKENS: &str = "/registry/token";
/// Where blobs are kept.
const STORE: &str = "/registry/store/";
/// Tokens kept before all are forgotten.
const MAX_TOKENS: usize = 10_000;
/// For whom tokens are.
const SERVICE: &str = "emulator-registry";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const BLOB: &str = "application/octet-stream";

/// An image of the registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// `repository:tag`, without a host.
    pub name: String,
    /// Who may read it, and every other image of the repository.
    #[serde(default)]
    pub access: Access,
    /// What it is on each platform; more than one makes an index.
    pub platforms: Vec<ImagePlatform>,
}

/// Who may read a repository.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Access {
    /// Everybody.
    #[default]
    Anonymous,
    /// Everybody who has got a token.
    Token,
    /// Who has a token for this user.
    Bearer {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// Who sends this user name and password.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Token => "Token",
            Self::Bearer { .. } => "Bearer",
            Self::Basic { .. } => "Basic",
        })
    }
}

/// An image on one platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImagePlatform {
    /// `linux` or `windows`.
    pub os: String,
    /// `amd64` when absent.
    #[serde(default = "amd64")]
    pub architecture: String,
    /// Version of Windows.
    #[serde(default)]
    pub os_version: Option<String>,
    /// `ENTRYPOINT`.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// `CMD`.
    #[serde(default)]
    pub cmd: Option<Vec<String>>,
    /// `USER`; empty for root.
    #[serde(default)]
    pub user: String,
    /// `WORKDIR`; empty for the root.
    #[serde(default)]
    pub working_dir: String,
}

fn amd64() -> String {
    "amd64".to_owned()
}

impl ImagePlatform {
    /// `os`/amd64 with this entry point.
    pub fn new(os: &str, entrypoint: &[&str]) -> Self {
        Self {
            os: os.to_owned(),
            architecture: amd64(),
            os_version: None,
            entrypoint: Some(entrypoint.iter().map(|word| (*word).to_owned()).collect()),
            cmd: None,
            user: String::new(),
            working_dir: String::new(),
        }
    }
}

impl Image {
    /// `hello:1`, with an entry point on Linux and another on Windows.
    pub fn hello() -> Self {
        let windows = ImagePlatform {
            os_version: Some("10.0.20348.2700".to_owned()),
            ..ImagePlatform::new("windows", &["C:\\hello.exe"])
        };
        Self {
            name: "hello:1".to_owned(),
            access: Access::Anonymous,
            platforms: vec![ImagePlatform::new("linux", &["/hello", "--say"]), windows],
        }
    }
}

/// What the registry holds. No `Debug`: it holds passwords.
pub(crate) struct Registry {
    /// Who may read a repository.
    access: HashMap<String, Access>,
    /// Digests by `repository:tag`.
    tags: BTreeMap<String, String>,
    /// Media type and content by `repository@digest`.
    contents: HashMap<String, (&'static str, Vec<u8>)>,
    /// Repositories by the tokens for them.
    tokens: HashMap<String, String>,
}

impl Registry {
    pub(crate) fn new(images: &[Image]) -> Self {
        let mut registry = Self {
            access: HashMap::new(),
            tags: BTreeMap::new(),
            contents: HashMap::new(),
            tokens: HashMap::new(),
        };
        for image in images {
            registry.push(image);
        }
        registry
    }

    /// The digest of the manifest or index.
    pub(crate) fn push(&mut self, image: &Image) -> String {
        let (repository, tag) = image
            .name
            .split_once(':')
            .unwrap_or((&image.name, "latest"));
        self.access
            .insert(repository.to_owned(), image.access.clone());
        let mut entries = Vec::new();
        for platform in &image.platforms {
            let (os, architecture) = (&platform.os, &platform.architecture);
            let config = json!({
                "os": os, "architecture": architecture, "os.version": platform.os_version,
                "config": {
                    "Entrypoint": platform.entrypoint,
                    "Cmd": platform.cmd,
                    "User": platform.user,
                    "WorkingDir": platform.working_dir,
                },
                "rootfs": {"type": "layers", "diff_ids": []},
            });
            let config = self.keep(repository, CONFIG, &config);
            let manifest =
                json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
            let mut entry = self.keep(repository, MANIFEST, &manifest);
            if let Some(fields) = entry.as_object_mut() {
                let place = json!({"os": os, "architecture": architecture, "os.version": platform.os_version});
                fields.insert("platform".to_owned(), place);
            }
            entries.push(entry);
        }
        let top = if let [only] = entries.as_slice() {
            only.clone()
        } else {
            let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
            self.keep(repository, INDEX, &index)
        };
        let digest = text(&top, "digest").to_owned();
        self.tags
            .insert(format!("{repository}:{tag}"), digest.clone());
        digest
    }

    /// Keeps a content and describes it.
    fn keep(&mut self, repository: &str, media_type: &'static str, content: &Value) -> Value {
        let bytes = content.to_string().into_bytes();
        let digest = format!("sha256:{:x}", Sha256::digest(&bytes));
        let descriptor = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        self.contents
            .insert(format!("{repository}@{digest}"), (media_type, bytes));
        descriptor
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.tags.keys().cloned().collect()
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether a path belongs to this module.
pub(crate) fn is_registry_path(path: &str) -> bool {
    path.starts_with(API) || path.starts_with("/registry/")
}

/// Answers a request whose path belongs to this module.
pub(crate) fn answer(shared: &Shared, parts: &Parts) -> Response {
    let path = parts.uri.path();
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED");
    }
    let mut response = if path == TOKENS {
        token(shared, parts)
    } else if let Some(blob) = path.strip_prefix(STORE) {
        store(shared, &parts.headers, blob)
    } else {
        api(shared, parts, path.strip_prefix(API).unwrap_or_default())
    };
    if parts.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

/// `path` is what stands behind `/v2/`.
fn api(shared: &Shared, parts: &Parts, path: &str) -> Response {
    let unknown = || refuse(StatusCode::NOT_FOUND, "NAME_UNKNOWN");
    let (repository, kind, reference) = match path.rsplit_once('/') {
        Some((rest, reference)) => match rest.rsplit_once('/') {
            Some((repository, kind)) => (repository, kind, reference),
            None => return unknown(),
        },
        // The base: clients ask it whether this is a registry.
        None => return Json(json!({})).into_response(),
    };
    let registry = shared.registry.lock();
    if let Some(refusal) = registry.gate(shared, &parts.headers, repository) {
        return refusal;
    }
    match kind {
        "manifests" => {
            let tag = format!("{repository}:{reference}");
            let digest = registry.tags.get(&tag).map_or(reference, String::as_str);
            match registry.contents.get(&format!("{repository}@{digest}")) {
                Some((media_type, bytes)) => {
                    let mut response = content(media_type, bytes);
                    if let Ok(digest) = HeaderValue::from_str(digest) {
                        response
                            .headers_mut()
                            .insert("docker-content-digest", digest);
                    }
                    response
                }
                None => refuse(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
            }
        }
        "blobs" => {
            let key = format!("{repository}@{reference}");
            if !registry.contents.contains_key(&key) {
                return refuse(StatusCode::NOT_FOUND, "BLOB_UNKNOWN");
            }
            let host = shared.url.replace("127.0.0.1", "localhost");
            let target = format!("{host}{STORE}{key}?sig=emulator");
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, target)]).into_response()
        }
        _ => unknown(),
    }
}

/// The blob store. As with Azure Storage, a signed address and an `Authorization` header are too much.
fn store(shared: &Shared, headers: &HeaderMap, key: &str) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        return refuse(StatusCode::BAD_REQUEST, "InvalidAuthenticationInfo");
    }
    match shared.registry.lock().contents.get(key) {
        Some((_, bytes)) => content(BLOB, bytes),
        None => refuse(StatusCode::NOT_FOUND, "BlobNotFound"),
    }
}

fn content(media_type: &'static str, bytes: &[u8]) -> Response {
    ([(header::CONTENT_TYPE, media_type)], bytes.to_vec()).into_response()
}

/// An error as the specification has it.
fn refuse(status: StatusCode, code: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": code.to_lowercase().replace('_', " "), "detail": null}]});
    (status, Json(body)).into_response()
}

impl Registry {
    /// The challenge or refusal of a request for `repository`, or nothing when it may read. A repository that does not
    /// exist wants a token like any other: it is not told apart from one that is hidden.
    fn gate(&self, shared: &Shared, headers: &HeaderMap, repository: &str) -> Option<Response> {
        let sent = authorization(headers);
        let (allowed, challenge) = match self.access.get(repository) {
            Some(Access::Anonymous) => (true, String::new()),
            Some(Access::Basic { username, password }) => (
                sent == Some(("Basic", basic(username, password).as_str())),
                "Basic realm=\"emulator\"".to_owned(),
            ),
            None | Some(Access::Token | Access::Bearer { .. }) => (
                matches!(sent, Some(("Bearer", token))
                    if self.tokens.get(token).is_some_and(|it| it == repository)),
                format!(
                    "Bearer realm=\"{}{TOKENS}\",service=\"{SERVICE}\",scope=\"repository:{repository}:pull\"",
                    shared.url
                ),
            ),
        };
        if allowed {
            return None;
        }
        let mut response = refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        Some(response)
    }
}

/// The token service.
fn token(shared: &Shared, parts: &Parts) -> Response {
    let query = parts.uri.query().unwrap_or_default();
    let scope = parameter(query, "scope").unwrap_or_default();
    let repository = scope
        .strip_prefix("repository:")
        .and_then(|rest| rest.strip_suffix(":pull"));
    let for_us = parameter(query, "service").as_deref() == Some(SERVICE);
    let (Some(repository), true) = (repository, for_us) else {
        return refuse(StatusCode::BAD_REQUEST, "UNSUPPORTED");
    };
    let mut registry = shared.registry.lock();
    let sent = authorization(&parts.headers);
    let allowed = match registry.access.get(repository) {
        Some(Access::Bearer { username, password }) => {
            sent == Some(("Basic", basic(username, password).as_str()))
        }
        _ => sent.is_none(),
    };
    if !allowed {
        return refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
    }
    let token = uuid::Uuid::new_v4().to_string();
    if registry.tokens.len() >= MAX_TOKENS {
        registry.tokens.clear();
    }
    registry.tokens.insert(token.clone(), repository.to_owned());
    Json(json!({"token": token, "expires_in": 300})).into_response()
}

/// Scheme and credentials of a request.
fn authorization(headers: &HeaderMap) -> Option<(&str, &str)> {
    headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')
}

fn basic(username: &str, password: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"))
}
