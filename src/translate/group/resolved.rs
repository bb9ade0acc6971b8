//! What a container group carries a copy of: which objects, and what they hold.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::services::Service;
use crate::azure::model::SecretBytes;

/// Something outside the pod to be fetched before the PUT; in the pod's namespace where it says no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// A `Secret` of this name.
    Secret(String),
    /// A `ConfigMap` of this name.
    ConfigMap(String),
    /// A token of the pod's service account, by `TokenRequest` bound to the pod; its object has the one key `token`.
    ServiceAccountToken {
        /// Audience; absent means the API server's own.
        audience: Option<String>,
        /// Wanted lifetime; absent means the API server's default.
        expiration_seconds: Option<i64>,
    },
    /// A `Secret` that no field of the pod names as one: the attributes of a CSI volume do, or a `PersistentVolume`.
    SecretIn { namespace: String, name: String },
    /// A `PersistentVolumeClaim` of this name.
    Claim(String),
    /// The `PersistentVolume` of this name.
    Volume(String),
    /// The services of the pod's namespace.
    Services,
    /// The service of the API server.
    Kubernetes,
    /// The configuration of an image, by the image's name as the pod has it; not of the API server.
    Image(String),
}

impl Reference {
    /// The key of a token's object.
    pub const TOKEN: &'static str = "token";

    /// The name of the image, if it is one.
    pub fn image(&self) -> Option<&str> {
        match self {
            Self::Image(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it is a token, which is made when it is asked for.
    pub fn is_token(&self) -> bool {
        matches!(self, Self::ServiceAccountToken { .. })
    }

    /// What a kubelet calls it in its messages, its name, and what it calls a key of it; `None` of what has no keys.
    pub(super) fn object(&self) -> Option<(&'static str, String, &'static str)> {
        match self {
            Self::Secret(name) => Some(("Secret", name.clone(), "secret key")),
            Self::SecretIn { namespace, name } => {
                Some(("Secret", format!("{namespace}/{name}"), "secret key"))
            }
            Self::ConfigMap(name) => Some(("ConfigMap", name.clone(), "config key")),
            _ => None,
        }
    }

    /// Reason of a refusal because it is not there, where a kubelet has none.
    pub(super) fn missing(&self) -> &'static str {
        match self {
            Self::Claim(_) => "PersistentVolumeClaimNotFound",
            Self::Volume(_) => "PersistentVolumeNotFound",
            _ => "MissingReference",
        }
    }

    /// Reasons of the Events about it, and about a key of it, that is optional and not there, as Virtual Kubelet has them.
    pub(super) fn optional(&self) -> [&'static str; 2] {
        match self {
            Self::ConfigMap(_) => ["OptionalConfigMapNotFound", "OptionalConfigMapKeyNotFound"],
            _ => ["OptionalSecretNotFound", "OptionalSecretKeyNotFound"],
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
            Self::ServiceAccountToken { .. } => f.write_str("the service account's token"),
            Self::SecretIn { namespace, name } => write!(f, "Secret {namespace}/{name}"),
            Self::Claim(name) => write!(f, "PersistentVolumeClaim {name}"),
            Self::Volume(name) => write!(f, "PersistentVolume {name}"),
            Self::Services => f.write_str("the services of the namespace"),
            Self::Kubernetes => f.write_str("the service of the API server"),
            Self::Image(name) => write!(f, "image {name}"),
        }
    }
}

/// The entries of a `Secret` or `ConfigMap`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// `data`.
    pub data: BTreeMap<String, SecretBytes>,
    /// `binaryData` of a `ConfigMap`: for files only, not for the environment.
    pub binary: BTreeMap<String, SecretBytes>,
    /// `metadata.resourceVersion`; empty of a token.
    pub version: Box<str>,
}

impl Object {
    /// Bytes of it.
    pub fn bytes(&self) -> usize {
        let Self {
            data,
            binary,
            version: _,
        } = self;
        let entries = data.iter().chain(binary);
        entries
            .map(|(key, content)| key.len() + content.expose().len())
            .sum()
    }
}

/// What an image says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// `ENTRYPOINT`.
    pub entry_point: Vec<String>,
    /// `CMD`.
    pub command: Vec<String>,
    /// `USER`: a name or a number, and a group behind a colon; empty for root.
    pub user: String,
    /// `WORKDIR`; empty for the root.
    pub working_dir: String,
}

/// What is given back when the last copy of this is dropped, of whatever kind: the room that objects have in memory.
#[derive(Clone, Default)]
pub struct Held(Vec<Arc<dyn Any + Send + Sync>>);

impl Held {
    /// Holds `room` as well.
    pub fn hold(&mut self, room: impl Any + Send + Sync) {
        self.0.push(Arc::new(room));
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} held", self.0.len())
    }
}

/// What is known outside the pod.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// Address of the virtual node.
    pub node_ip: Option<String>,
    /// Secrets, `ConfigMap`s and tokens that were fetched; `None` for an object that does not exist.
    pub objects: BTreeMap<Reference, Option<Arc<Object>>>,
    pub held: Held,
    /// Likewise the claims, by name.
    pub claims: BTreeMap<String, Option<Arc<PersistentVolumeClaim>>>,
    /// Likewise the volumes, by name.
    pub volumes: BTreeMap<String, Option<Arc<PersistentVolume>>>,
    /// The services of the pod's namespace that have an address, by name; `None` until they were looked up.
    pub services: Option<Arc<[Service]>>,
    /// The service of the API server; `None` until it was looked up, `Some(None)` when there is none.
    pub kubernetes: Option<Option<Arc<Service>>>,
    /// What images say about themselves, by name.
    pub images: BTreeMap<String, Arc<Image>>,
}

impl Resolved {
    /// Whether `reference` was looked up, with whatever result.
    pub fn knows(&self, reference: &Reference) -> bool {
        match reference {
            Reference::Claim(name) => self.claims.contains_key(name),
            Reference::Volume(name) => self.volumes.contains_key(name),
            Reference::Services => self.services.is_some(),
            Reference::Kubernetes => self.kubernetes.is_some(),
            Reference::Image(name) => self.images.contains_key(name),
            other => self.objects.contains_key(other),
        }
    }
}

/// A look at something that the pod refers to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a, T> {
    /// Not fetched: the pod is only reviewed.
    Unknown,
    /// Not there: left out when it is optional, else refused already.
    Absent,
    Here(&'a T),
}

impl<'a, T> Found<'a, T> {
    /// The outcome of a look into what was fetched.
    pub(super) fn of(looked_up: Option<&'a Option<Arc<T>>>) -> Self {
        match looked_up {
            None => Self::Unknown,
            Some(None) => Self::Absent,
            Some(Some(object)) => Self::Here(object),
        }
    }
}

impl<T> Clone for Found<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Found<'_, T> {}
