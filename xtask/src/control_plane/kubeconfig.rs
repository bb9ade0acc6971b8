//! Kubeconfig files: one cluster, one user, one context, as JSON (which every YAML reader takes).

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::pki::{Pair, write_secret};

/// How the user proves who they are.
pub(super) enum Login<'a> {
    Certificate(&'a Pair),
    Token(&'a str),
}

/// Writes a kubeconfig for `server` to `path`, readable by its owner only.
pub(super) fn write(
    path: &Path,
    server: &str,
    ca: &Path,
    login: &Login<'_>,
    namespace: &str,
) -> Result<()> {
    let user: Value = match login {
        Login::Certificate(pair) => {
            json!({ "client-certificate": pair.cert, "client-key": pair.key })
        }
        Login::Token(token) => json!({ "token": token }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "dev", "cluster": { "server": server, "certificate-authority": ca } }],
        "users": [{ "name": "dev", "user": user }],
        "contexts": [{ "name": "dev", "context": { "cluster": "dev", "user": "dev", "namespace": namespace } }],
        "current-context": "dev",
    });
    write_secret(path, &serde_json::to_string_pretty(&config)?)
}
