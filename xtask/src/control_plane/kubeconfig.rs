//! Kubeconfig files and clients from them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use super::install_tls_provider;
use super::pki::{Pair, write_secret};

/// Of the tokens in kubeconfigs of service accounts: longer than any run of tests.
const TOKEN_LIFE: Duration = Duration::from_hours(24);

/// Writes a kubeconfig for `server` with a client certificate to `path`, readable by its owner only.
///
/// All files of a plane are JSON, which every YAML reader takes.
pub(super) fn write(path: &Path, server: &str, ca: &Path, login: &Pair) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "dev", "cluster": { "server": server, "certificate-authority": ca } }],
        "users": [{ "name": "dev", "user": { "client-certificate": login.cert, "client-key": login.key } }],
        "contexts": [{ "name": "dev", "context": { "cluster": "dev", "user": "dev", "namespace": "default" } }],
        "current-context": "dev",
    });
    write_secret(path, &serde_json::to_string_pretty(&config)?)
}

/// A new client for a kubeconfig's current context. It belongs to the runtime it is made in.
///
/// # Errors
/// The file cannot be read or used.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    install_tls_provider();
    let file = kubeconfig.display();
    let kubeconfig =
        Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read {file}"))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("cannot use {file}"))?;
    if config.cluster_url.host() == Some("127.0.0.1") {
        // A proxy of the machine has no business on loopback.
        config.proxy_url = None;
    }
    Ok(Client::try_from(config)?)
}

/// Writes a kubeconfig for the cluster of `admin` that logs in as a service account, by a token of the
/// `TokenRequest` API that lasts a day, or as long as the cluster allows.
///
/// # Errors
/// The service account does not exist, or a file cannot be read or written.
pub async fn for_service_account(
    admin: &Path,
    to: &Path,
    namespace: &str,
    name: &str,
) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client(admin).await?, namespace);
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(i64::try_from(TOKEN_LIFE.as_secs())?),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("no token for service account {namespace}/{name}"))?
        .status
        .and_then(|status| status.token)
        .context("the token request was answered without a token")?;

    let config = Kubeconfig::read_from(admin)?;
    let current = config.current_context.as_deref().unwrap_or_default();
    let cluster = config
        .contexts
        .iter()
        .find(|context| context.name == current)
        .and_then(|context| context.context.as_ref())
        .and_then(|context| {
            config
                .clusters
                .iter()
                .find(|cluster| cluster.name == context.cluster)
        })
        .with_context(|| format!("{} has no cluster for its current context", admin.display()))?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [{ "name": name, "user": { "token": token } }],
        "contexts": [{ "name": name, "context": { "cluster": cluster.name, "user": name, "namespace": namespace } }],
        "current-context": name,
    });
    write_secret(to, &serde_json::to_string_pretty(&config)?)
}
