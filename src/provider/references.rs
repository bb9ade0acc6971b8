//! What a pod refers to, fetched from the API server as the pod's node.
//!
//! The node's identity limits it: the Node authorizer shows a node only what its own pods refer to. Its graph lags a
//! little behind a binding, so a refusal is a reason to try again, not an answer.

mod services;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus, PersistentVolumeSpec, Pod, Secret, ServiceAccount,
};
use kube::Client;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use self::services::Services;
use super::Failure;
use crate::azure::model::SecretBytes;
use crate::kube::call::{self, KubeError};
use crate::kube::sent::{Meta, Part};
use crate::shares::{Full, Rooms};
use crate::translate::{Object, Reference, Resolved, Service};

const CALL: Duration = Duration::from_secs(10);
/// References of one pod that are fetched at once.
const AT_ONCE: usize = 8;
/// The Node authorizer learns of a binding from its own watch, some milliseconds after we do.
const GRAPH_LAG: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(40),
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
];
/// The one object that is remembered: it is the same for every pod of a namespace, so that a burst of pods reads it once.
const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_TTL: Duration = Duration::from_secs(30);
const ROOT_CAS_CACHED: usize = 256;

/// Objects of all pods that are being read at once, and those of one namespace: one has up to a megabyte and a half, and takes
/// some five times as much until it has been read.
const READ: usize = 16;
const READ_OF_NAMESPACE: usize = 8;
/// How long others may be read first.
const WAIT: Duration = Duration::from_secs(10);
/// Kilobytes of what pods refer to that are in memory until their groups are made: of one pod, of all, and of one namespace. The
/// request for a group has four megabytes; more is read of an object of which one key is used.
const HELD_BY_POD: usize = 16 << 10;
const HELD: usize = 64 << 10;
const HELD_BY_NAMESPACE: usize = HELD / 2;
/// An object that is shorter takes no room.
const SMALL: usize = 16 << 10;

/// The room of this process.
static ROOM: LazyLock<Room> = LazyLock::new(Room::default);

/// What is read of a claim, and of a volume.
#[derive(Debug, Clone, Deserialize)]
struct ClaimPart {
    metadata: Meta,
    spec: Option<PersistentVolumeClaimSpec>,
    status: Option<PersistentVolumeClaimStatus>,
}

#[derive(Debug, Clone, Deserialize)]
struct VolumePart {
    metadata: Meta,
    spec: Option<PersistentVolumeSpec>,
}

/// How much may be read and held.
#[derive(Debug, Clone)]
struct Room {
    read: Rooms<String>,
    held: Rooms<String>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            read: Rooms::new(READ, READ_OF_NAMESPACE),
            held: Rooms::new(HELD, HELD_BY_NAMESPACE),
        }
    }
}

/// What is read of a Secret, and of a `ConfigMap`.
#[derive(Debug, Clone, Deserialize)]
struct SecretPart {
    #[serde(default)]
    metadata: Meta,
    data: Option<BTreeMap<String, ByteString>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMapPart {
    #[serde(default)]
    metadata: Meta,
    data: Option<BTreeMap<String, String>>,
    binary_data: Option<BTreeMap<String, ByteString>>,
}

/// Fetches what a pod's container group must carry a copy of.
#[async_trait]
pub trait References: Send + Sync {
    /// Puts every one of the `references` of `pod` but images into `resolved`, or tells why one could not be had. That an
    /// object does not exist is an answer.
    async fn resolve(
        &self,
        pod: &Pod,
        references: &[Reference],
        resolved: &mut Resolved,
    ) -> Result<(), Failure>;
}

/// References by the API server.
pub struct KubeReferences {
    client: Client,
    root_cas: Mutex<HashMap<String, (Instant, Arc<Object>)>>,
    services: Services,
    room: Room,
}

impl KubeReferences {
    /// Fetches with `client`, which acts as the node. With `api_server` containers are told that instead of the service
    /// `default/kubernetes`.
    pub fn new(client: Client, api_server: Option<Arc<Service>>) -> Self {
        Self {
            services: Services::new(client.clone(), api_server),
            client,
            root_cas: Mutex::new(HashMap::new()),
            room: ROOM.clone(),
        }
    }

    async fn root_ca(&self, namespace: &str) -> Result<Option<Arc<Object>>, Failure> {
        if let Some((read, object)) = self.root_cas.lock().get(namespace)
            && read.elapsed() < ROOT_CA_TTL
        {
            return Ok(Some(object.clone()));
        }
        let found = self.config_map(namespace, ROOT_CA).await?;
        if let Some(object) = &found {
            let mut cache = self.root_cas.lock();
            if cache.len() >= ROOT_CAS_CACHED {
                cache.clear();
            }
            cache.insert(namespace.to_string(), (Instant::now(), object.clone()));
        }
        Ok(found)
    }

    async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Object>>, Failure> {
        let api = Api::<Part<ConfigMap, ConfigMapPart>>::namespaced(self.client.clone(), namespace);
        let answer = patiently(|| call::call("get configmaps", CALL, api.get(name))).await;
        let map = there("ConfigMap", name, answer)?;
        Ok(map.map(|Part { part: map, .. }| {
            let data = map.data.into_iter().flatten();
            let data = data.map(|(key, text)| (key, SecretBytes::new(text.into_bytes())));
            let binary = map.binary_data.into_iter().flatten();
            let binary = binary.map(|(key, bytes)| (key, SecretBytes::new(bytes.0)));
            Arc::new(Object {
                data: data.collect(),
                binary: binary.collect(),
                version: map.metadata.version(),
            })
        }))
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Failure> {
        let answer = self.get_secret(namespace, name).await;
        Ok(there("Secret", name, answer)?.map(entries))
    }

    /// A Secret that no field of the pod names as one. The Node authorizer may not know it, for good.
    async fn secret_in(&self, namespace: &str, name: &str) -> Result<Option<Arc<Object>>, Failure> {
        let answer = self.get_secret(namespace, name).await;
        if answer.as_ref().is_err_and(KubeError::is_forbidden) {
            let message = format!(
                "the node may not read Secret {namespace}/{name}: Kubernetes lets it read only what is named in \
                 nodePublishSecretRef or nodeStageSecretRef of the volume; name it there, or let the node read it by a Role"
            );
            return Err(Failure::reference("ReferenceForbidden", message));
        }
        Ok(there("Secret", name, answer)?.map(entries))
    }

    async fn get_secret(&self, namespace: &str, name: &str) -> Result<SecretPart, KubeError> {
        let api = Api::<Part<Secret, SecretPart>>::namespaced(self.client.clone(), namespace);
        let answer = patiently(|| call::call("get secrets", CALL, api.get(name))).await;
        answer.map(|secret| secret.part)
    }

    async fn claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, Failure> {
        let api = Api::<Part<PersistentVolumeClaim, ClaimPart>>::namespaced(
            self.client.clone(),
            namespace,
        );
        let answer =
            patiently(|| call::call("get persistentvolumeclaims", CALL, api.get(name))).await;
        let claim = there("PersistentVolumeClaim", name, answer)?;
        Ok(claim.map(|Part { part, .. }| {
            Arc::new(PersistentVolumeClaim {
                metadata: part.metadata.into(),
                spec: part.spec,
                status: part.status,
            })
        }))
    }

    async fn volume(&self, name: &str) -> Result<Option<Arc<PersistentVolume>>, Failure> {
        let api = Api::<Part<PersistentVolume, VolumePart>>::all(self.client.clone());
        let answer = patiently(|| call::call("get persistentvolumes", CALL, api.get(name))).await;
        let volume = there("PersistentVolume", name, answer)?;
        Ok(volume.map(|Part { part, .. }| {
            Arc::new(PersistentVolume {
                metadata: part.metadata.into(),
                spec: part.spec,
                status: None,
            })
        }))
    }

    async fn token(
        &self,
        pod: &Pod,
        audience: Option<&str>,
        expiration_seconds: Option<i64>,
    ) -> Result<Arc<Object>, Failure> {
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
            .map(|token| {
                let token = SecretBytes::new(token.into_bytes());
                Arc::new(Object {
                    data: BTreeMap::from([(Reference::TOKEN.to_string(), token)]),
                    ..Object::default()
                })
            })
            .ok_or_else(|| {
                Failure::transient(
                    "TokenMissing",
                    format!("no token for ServiceAccount {account}"),
                )
            })
    }
}

/// What came of one reference.
enum Found {
    Object(Option<Arc<Object>>),
    Claim(Option<Arc<PersistentVolumeClaim>>),
    Volume(Option<Arc<PersistentVolume>>),
    Services(Arc<[Service]>),
    Kubernetes(Option<Arc<Service>>),
    /// It is not the API server's.
    Nothing,
}

impl KubeReferences {
    async fn fetch(&self, pod: &Pod, reference: &Reference) -> Result<Found, Failure> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let deadline = Instant::now() + WAIT;
        let turn = self.room.read.take(namespace.to_owned(), 1, deadline).await;
        let _turn = turn.map_err(|full| no_room(full, "read"))?;
        let object = match reference {
            Reference::Claim(name) => return self.claim(namespace, name).await.map(Found::Claim),
            Reference::Volume(name) => return self.volume(name).await.map(Found::Volume),
            Reference::Services => return self.services.of(namespace).await.map(Found::Services),
            Reference::Kubernetes => {
                return self.services.kubernetes().await.map(Found::Kubernetes);
            }
            Reference::Secret(name) => self.secret(namespace, name).await?,
            Reference::SecretIn { namespace, name } => self.secret_in(namespace, name).await?,
            Reference::ConfigMap(name) if name == ROOT_CA => self.root_ca(namespace).await?,
            Reference::ConfigMap(name) => self.config_map(namespace, name).await?,
            Reference::ServiceAccountToken {
                audience,
                expiration_seconds,
            } => Some(
                self.token(pod, audience.as_deref(), *expiration_seconds)
                    .await?,
            ),
            Reference::Image(_) => return Ok(Found::Nothing),
        };
        Ok(Found::Object(object))
    }
}

impl KubeReferences {
    /// Takes the room that `object` has in memory until the group of `pod` is made.
    fn hold(&self, pod: &Pod, object: &Object, resolved: &mut Resolved) -> Result<(), Failure> {
        let bytes = object.bytes();
        let known = resolved.objects.values().flatten();
        let all = known.fold(bytes, |sum, object| sum.saturating_add(object.bytes()));
        if all > HELD_BY_POD << 10 {
            let most = HELD_BY_POD >> 10;
            return Err(Failure::reference(
                "ReferencesTooLarge",
                format!(
                    "the Secrets and ConfigMaps of the pod have {all} bytes; {most} MB of them are read, and a container group has 4"
                ),
            ));
        }
        if bytes <= SMALL {
            return Ok(());
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let units = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        // Nobody waits here, with what it has: whoever comes again may find room.
        let room = self.room.held.try_take(namespace, units);
        resolved
            .held
            .hold(room.map_err(|full| no_room(full, "kept"))?);
        Ok(())
    }
}

fn no_room(full: Full, done: &str) -> Failure {
    let whose = match full {
        Full::Own => "of this namespace",
        Full::All => "of all namespaces",
    };
    Failure::transient(
        "ReferencesWait",
        format!("too much that pods {whose} refer to is being {done}; it is tried again"),
    )
}

#[async_trait]
impl References for KubeReferences {
    async fn resolve(
        &self,
        pod: &Pod,
        references: &[Reference],
        resolved: &mut Resolved,
    ) -> Result<(), Failure> {
        let fetch = |reference| async move { (reference, self.fetch(pod, reference).await) };
        let fetches: Vec<_> = references.iter().map(fetch).collect();
        // In the pod's order, whatever comes first: of several failures always the same one is told.
        let mut fetches = stream::iter(fetches).buffered(AT_ONCE);
        while let Some((reference, found)) = fetches.next().await {
            match found? {
                Found::Object(object) => {
                    if let Some(object) = &object {
                        self.hold(pod, object, resolved)?;
                    }
                    resolved.objects.insert(reference.clone(), object);
                }
                Found::Claim(claim) => {
                    if let Reference::Claim(name) = reference {
                        resolved.claims.insert(name.clone(), claim);
                    }
                }
                Found::Volume(volume) => {
                    if let Reference::Volume(name) = reference {
                        resolved.volumes.insert(name.clone(), volume);
                    }
                }
                Found::Services(services) => resolved.services = Some(services),
                Found::Kubernetes(service) => resolved.kubernetes = Some(service),
                Found::Nothing => {}
            }
        }
        Ok(())
    }
}

fn entries(secret: SecretPart) -> Arc<Object> {
    let data = secret.data.into_iter().flatten();
    let data = data.map(|(key, bytes)| (key, SecretBytes::new(bytes.0)));
    Arc::new(Object {
        data: data.collect(),
        version: secret.metadata.version(),
        ..Object::default()
    })
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

/// The object, or `None` when there is none.
fn there<T>(what: &str, name: &str, answer: Result<T, KubeError>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(unreadable(what, name, &error)),
    }
}

fn unreadable(what: &str, name: &str, error: &KubeError) -> Failure {
    Failure::transient(
        "ReferenceUnreadable",
        format!("{what} {name} could not be read: {error}"),
    )
}

#[cfg(test)]
mod tests;
