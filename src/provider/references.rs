//! What a pod refers to, fetched from the API server as the pod's node.
//!
//! The node's identity limits it: the Node authorizer shows a node only what its own pods refer to. Its graph lags a
//! little behind a binding, so a refusal is a reason to try again, not an answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Failure;
use crate::azure::model::SecretText;
use crate::kube::call::{self, KubeError};
use crate::translate::group::KeyFile;
use crate::translate::{Reference, Resolved};

const CALL: Duration = Duration::from_secs(10);
/// The Node authorizer learns of a binding from its own watch, some milliseconds after we do.
const GRAPH_LAG: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
];
/// `kube-root-ca.crt` is the same for every pod of a namespace: a burst of pods reads it once.
const CONFIG_MAP_TTL: Duration = Duration::from_secs(30);
const CONFIG_MAPS_CACHED: usize = 256;

/// Fetches what a pod's container group must carry a copy of.
#[async_trait]
pub trait References: Send + Sync {
    /// Every reference of `pod`, or why one could not be had.
    async fn resolve(&self, pod: &Pod, references: &[Reference]) -> Result<Resolved, Failure>;
}

type Data = Arc<BTreeMap<String, String>>;

/// References by the API server.
pub struct KubeReferences {
    client: Client,
    config_maps: Mutex<HashMap<(String, String), (Instant, Data)>>,
}

impl KubeReferences {
    /// Fetches with `client`, which acts as the node.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            config_maps: Mutex::new(HashMap::new()),
        }
    }

    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Data>, Failure> {
        let key = (namespace.to_string(), name.to_string());
        if let Some((read, data)) = self.config_maps.lock().get(&key)
            && read.elapsed() < CONFIG_MAP_TTL
        {
            return Ok(Some(data.clone()));
        }
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        match patiently(|| call::call("get configmaps", CALL, api.get(name))).await {
            Ok(found) => {
                let data: Data = Arc::new(found.data.unwrap_or_default());
                let mut cache = self.config_maps.lock();
                if cache.len() >= CONFIG_MAPS_CACHED {
                    cache.clear();
                }
                cache.insert(key, (Instant::now(), data.clone()));
                Ok(Some(data))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(unreadable("ConfigMap", name, &error)),
        }
    }

    async fn token(
        &self,
        pod: &Pod,
        audience: Option<&str>,
        expiration_seconds: Option<i64>,
    ) -> Result<SecretText, Failure> {
        let account = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.service_account_name.as_deref())
            .filter(|name| !name.is_empty())
            .unwrap_or("default");
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: audience.map(|audience| vec![audience.to_string()]),
                expiration_seconds,
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_string()),
                    kind: Some("Pod".to_string()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            }),
            ..TokenRequest::default()
        };
        let api = Api::<ServiceAccount>::namespaced(self.client.clone(), namespace);
        let params = PostParams::default();
        let answer = patiently(|| {
            let request = api.create_token_request(account, &params, &request);
            call::call("create token", CALL, request)
        })
        .await
        .map_err(|error| unreadable("token of ServiceAccount", account, &error))?;
        answer
            .status
            .and_then(|status| status.token)
            .map(SecretText::new)
            .ok_or_else(|| {
                Failure::transient(
                    "TokenMissing",
                    format!("no token for ServiceAccount {account}"),
                )
            })
    }
}

#[async_trait]
impl References for KubeReferences {
    async fn resolve(&self, pod: &Pod, references: &[Reference]) -> Result<Resolved, Failure> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut resolved = Resolved::default();
        for reference in references {
            match reference {
                Reference::ServiceAccountToken {
                    volume,
                    path,
                    audience,
                    expiration_seconds,
                } => {
                    let token = self
                        .token(pod, audience.as_deref(), *expiration_seconds)
                        .await?;
                    resolved
                        .files
                        .entry(volume.clone())
                        .or_default()
                        .insert(path.clone(), token);
                }
                Reference::ConfigMap {
                    volume,
                    name,
                    items,
                    optional,
                } => {
                    let files = resolved.files.entry(volume.clone()).or_default();
                    match self.config_map(namespace, name).await? {
                        Some(data) => copy(&data, items, *optional, name, files)?,
                        None if *optional => {}
                        None => return Err(missing(name)),
                    }
                }
            }
        }
        Ok(resolved)
    }
}

/// Asks again, a few times and quickly, while the answer is that the node has nothing to do with the object.
async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, KubeError>
where
    F: Future<Output = Result<T, KubeError>>,
{
    for wait in GRAPH_LAG {
        match ask().await {
            Err(error) if error.is_forbidden() => tokio::time::sleep(wait).await,
            answer => return answer,
        }
    }
    ask().await
}

fn copy(
    data: &BTreeMap<String, String>,
    items: &[KeyFile],
    optional: bool,
    name: &str,
    files: &mut BTreeMap<String, SecretText>,
) -> Result<(), Failure> {
    if items.is_empty() {
        files.extend(
            data.iter()
                .map(|(key, value)| (key.clone(), SecretText::new(value.clone()))),
        );
        return Ok(());
    }
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                files.insert(item.path.clone(), SecretText::new(value.clone()));
            }
            None if optional => {}
            None => {
                return Err(Failure::reference(
                    "ConfigMapKeyNotFound",
                    format!(
                        "ConfigMap {name} has no key {}; add it and the pod starts",
                        item.key
                    ),
                ));
            }
        }
    }
    Ok(())
}

fn missing(name: &str) -> Failure {
    Failure::reference(
        "MandatoryConfigMapNotFound",
        format!("ConfigMap {name} does not exist; create it and the pod starts"),
    )
}

fn unreadable(what: &str, name: &str, error: &KubeError) -> Failure {
    Failure::transient(
        "ReferenceUnreadable",
        format!("{what} {name} could not be read: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::FailureKind;

    fn data() -> BTreeMap<String, String> {
        BTreeMap::from([
            ("ca.crt".to_string(), "PEM".to_string()),
            ("other".to_string(), "x".to_string()),
        ])
    }

    fn item(key: &str, path: &str) -> KeyFile {
        KeyFile {
            key: key.to_string(),
            path: path.to_string(),
        }
    }

    fn forbidden() -> KubeError {
        KubeError::Api {
            op: "create token",
            code: 403,
            reason: "Forbidden".into(),
            message: "no relationship found".into(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_passes_is_waited_out_and_one_that_stays_is_told() {
        let asked = std::sync::atomic::AtomicU32::new(0);
        let ask = |until: u32| {
            let asked = &asked;
            move || async move {
                let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if before < until {
                    Err(forbidden())
                } else {
                    Ok(before)
                }
            }
        };
        assert_eq!(patiently(ask(2)).await, Ok(2));
        asked.store(0, std::sync::atomic::Ordering::Relaxed);
        assert!(patiently(ask(100)).await.unwrap_err().is_forbidden());
    }

    #[test]
    fn without_items_every_key_is_a_file() {
        let mut files = BTreeMap::new();
        copy(&data(), &[], false, "cm", &mut files).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["ca.crt", "other"]);
    }

    #[test]
    fn items_choose_and_rename() {
        let mut files = BTreeMap::new();
        copy(
            &data(),
            &[item("ca.crt", "pki/root.pem")],
            false,
            "cm",
            &mut files,
        )
        .unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["pki/root.pem"]);
    }

    #[test]
    fn a_missing_key_is_a_reference_failure_unless_optional() {
        let mut files = BTreeMap::new();
        let failure = copy(&data(), &[item("nope", "x")], false, "cm", &mut files).unwrap_err();
        assert_eq!(
            (failure.kind, failure.reason),
            (FailureKind::Reference, "ConfigMapKeyNotFound")
        );
        copy(&data(), &[item("nope", "x")], true, "cm", &mut files).unwrap();
        assert!(files.is_empty());
    }
}
