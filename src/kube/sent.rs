//! Objects as the API server sends them, with no more of them in memory than is needed, or than there is room for.
//!
//! What is written in fifteen bytes may take three kilobytes here: `{"name":"v"}` in `spec.volumes` is one. The API server takes
//! pods of a megabyte and a half without counting what is in them, so that one pod of anybody could take hundreds of megabytes of
//! a process that serves everybody. So the text of a pod is gone through before it is read, and of one that would take too much
//! the long lists are left out. `metadata.managedFields`, which nobody reads here and which grow as fast, are left out of all.

mod list;
mod outline;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::api::DeleteParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny};
use serde_json::value::{RawValue, to_raw_value};

pub use self::list::{each, list_text};
use self::outline::{List, Outline};

/// What is so short takes no megabyte, whatever it is.
const SHORT: usize = 4 << 10;
/// Containers that are read of a pod of which not everything is. A container group has 60 at most.
const CONTAINERS: usize = 200;
/// What is left out of such a pod, beside labels: nothing of it is in a status.
const OF_SPEC: [&str; 7] = [
    "volumes",
    "tolerations",
    "imagePullSecrets",
    "affinity",
    "topologySpreadConstraints",
    "hostAliases",
    "dnsConfig",
];
const OF_CONTAINER: [&str; 6] = [
    "env",
    "envFrom",
    "command",
    "args",
    "volumeMounts",
    "volumeDevices",
];

/// Most bytes of memory of a [`SmallPod`].
pub const SMALL_POD: usize = 1 << 20;

/// A pod that is read without its long lists when it takes more than most do: for whom they do not matter.
pub type SmallPod = SentPod<SMALL_POD>;

/// A pod that is whole when it takes `MOST` bytes of memory or less.
#[derive(Debug, Clone)]
pub struct SentPod<const MOST: usize> {
    pub pod: Pod,
    /// About how many bytes the whole takes.
    pub bytes: usize,
    /// Why it is not whole.
    pub excess: Option<Excess>,
}

/// What has made a pod too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entries} entries; the pod would take {bytes} bytes in memory to be read, and gets {most}"
)]
pub struct Excess {
    /// The list that takes most, as a path into the pod.
    pub field: &'static str,
    entries: usize,
    bytes: usize,
    most: usize,
}

impl<const MOST: usize> SentPod<MOST> {
    fn read(text: &str) -> serde_json::Result<Self> {
        let parts: Parts<'_> = serde_json::from_str(text)?;
        let outline = if text.len() > SHORT {
            Outline::of(&parts)?
        } else {
            Outline::default()
        };
        let lists = outline.lists(text.len());
        let bytes = lists.iter().map(List::bytes).sum();
        let longest = lists.iter().max_by_key(|list| list.bytes());
        let excess = longest.filter(|_| bytes > MOST).map(|list| Excess {
            field: list.field,
            entries: list.entries,
            bytes,
            most: MOST,
        });
        let pod = if excess.is_some() {
            parts.without_lists()?
        } else {
            parts.whole()?
        };
        Ok(Self { pod, bytes, excess })
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for SentPod<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Self::read(text.get()).map_err(D::Error::custom)
    }
}

impl<const MOST: usize> Resource for SentPod<MOST> {
    type DynamicType = ();
    type Scope = <Pod as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.pod.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.pod.metadata
    }
}

/// What `T` reads of an object of kind `K`; with [`IgnoredAny`] only that it is one.
#[derive(Debug, Clone)]
pub struct Part<K, T> {
    pub part: T,
    nothing: ObjectMeta,
    kind: PhantomData<fn() -> K>,
}

/// An object of kind `K` of which nothing is read.
pub type Unread<K> = Part<K, IgnoredAny>;

impl<'de, K, T: Deserialize<'de>> Deserialize<'de> for Part<K, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            part: T::deserialize(deserializer)?,
            nothing: ObjectMeta::default(),
            kind: PhantomData,
        })
    }
}

impl<K: Resource<DynamicType = ()>, T> Resource for Part<K, T> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.nothing
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.nothing
    }
}

/// Deletes a pod. The API server answers with the pod, of which kube makes two copies that take more than itself.
///
/// # Errors
/// As of any call.
pub async fn delete_pod(
    client: &Client,
    namespace: &str,
    name: &str,
    params: &DeleteParams,
) -> kube::Result<()> {
    let pods = Request::new(Pod::url_path(&(), Some(namespace)));
    let mut request = pods
        .delete(name, params)
        .map_err(kube::Error::BuildRequest)?;
    request.extensions_mut().insert("delete");
    client.request::<IgnoredAny>(request).await?;
    Ok(())
}

#[derive(Deserialize)]
struct Parts<'a> {
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    spec: Option<&'a RawValue>,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

impl Parts<'_> {
    fn whole(&self) -> serde_json::Result<Pod> {
        let metadata = self.metadata.map(|text| serde_json::from_str(text.get()));
        let metadata: Option<Meta> = metadata.transpose()?;
        let spec = self.spec.map(|text| serde_json::from_str(text.get()));
        self.pod(metadata, spec.transpose()?)
    }

    fn without_lists(&self) -> serde_json::Result<Pod> {
        let metadata = self.metadata.map(|text| {
            let rest = without(text.get(), &["labels", "managedFields"])?;
            serde_json::from_str(&serde_json::to_string(&rest)?)
        });
        let spec = self.spec.map(|text| short_spec(text.get()));
        self.pod(metadata.transpose()?, spec.transpose()?)
    }

    fn pod(&self, metadata: Option<Meta>, spec: Option<PodSpec>) -> serde_json::Result<Pod> {
        let status = self.status.map(|text| serde_json::from_str(text.get()));
        Ok(Pod {
            metadata: metadata.unwrap_or_default().into(),
            spec,
            status: status.transpose()?,
        })
    }
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The members of an object but some.
fn without<'a>(text: &'a str, some: &[&str]) -> serde_json::Result<Members<'a>> {
    let mut members: Members<'_> = serde_json::from_str(text)?;
    members.retain(|name, _| !some.contains(&name.as_str()));
    Ok(members)
}

fn short_spec(text: &str) -> serde_json::Result<PodSpec> {
    let mut spec = without(text, &OF_SPEC)?;
    let mut short = Vec::new();
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let Some(containers) = spec.remove(list) else {
            continue;
        };
        let containers: Option<Vec<&RawValue>> = serde_json::from_str(containers.get())?;
        let containers = containers.iter().flatten().take(CONTAINERS);
        let containers = containers.map(|text| without(text.get(), &OF_CONTAINER));
        let containers: Vec<Members<'_>> = containers.collect::<Result<_, _>>()?;
        short.push((list.to_owned(), to_raw_value(&containers)?));
    }
    spec.extend(short.iter().map(|(list, text)| (list.clone(), &**text)));
    serde_json::from_str(&serde_json::to_string(&spec)?)
}

/// [`ObjectMeta`] without `managedFields`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
}

impl Meta {
    /// `metadata.resourceVersion`.
    pub fn version(self) -> Box<str> {
        self.resource_version.unwrap_or_default().into()
    }
}

impl From<Meta> for ObjectMeta {
    fn from(meta: Meta) -> Self {
        Self {
            name: meta.name,
            generate_name: meta.generate_name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            generation: meta.generation,
            creation_timestamp: meta.creation_timestamp,
            deletion_timestamp: meta.deletion_timestamp,
            deletion_grace_period_seconds: meta.deletion_grace_period_seconds,
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: meta.owner_references,
            finalizers: meta.finalizers,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests;
