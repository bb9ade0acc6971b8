//! Objects as the API server sends them, with no more of them in memory than is needed, or than there is room for.
//!
//! What is written in fifteen bytes may take three kilobytes here: `{"name":"v"}` in `spec.volumes` is one. The API server takes
//! pods of a megabyte and a half without counting what is in them, so that one pod of anybody could take hundreds of megabytes of
//! a process that serves everybody. So the text of a pod is gone through before it is read, and of one that would take too much
//! the long lists are left out. `metadata.managedFields`, which nobody reads here and which grow as fast, are left out of all.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use futures::AsyncReadExt as _;
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, LocalObjectReference, Pod, PodSpec, Toleration, Volume,
    VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::api::DeleteParams;
use kube::core::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::{
    DeserializeOwned, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::{RawValue, to_raw_value};

/// What is so short takes no megabyte, whatever it is.
const SHORT: usize = 4 << 10;
/// Longest item of a list: the API server takes none of more than three megabytes.
const LONGEST_ITEM: usize = 8 << 20;
/// An entry of a map of texts, with what its parts take on the heap.
const MAP_ENTRY: usize = 128;
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

/// Gives the items of a list to `take` one after the other as they come, each with the length of its text: a list that the API
/// server answers from its memory has no pages, and is as long as all that it is of together.
///
/// # Errors
/// As of any call; also when the list is not whole.
pub async fn each<T: DeserializeOwned>(
    client: &Client,
    list: http::Request<Vec<u8>>,
    mut take: impl FnMut(T, usize),
) -> kube::Result<()> {
    let mut text = Box::pin(client.request_stream(list).await?);
    let (mut items, mut part) = (Items::default(), vec![0; 64 << 10]);
    loop {
        let read = text
            .read(&mut part)
            .await
            .map_err(kube::Error::ReadEvents)?;
        let Some(part) = part.get(..read).filter(|part| !part.is_empty()) else {
            return items.end().map_err(kube::Error::SerdeError);
        };
        let mut item = |text: &[u8]| {
            take(serde_json::from_slice(text)?, text.len());
            Ok(())
        };
        let read = items.read(part, &mut item);
        read.map_err(kube::Error::SerdeError)?;
    }
}

/// Takes a list in JSON apart into its items, whatever the parts in which it comes.
#[derive(Default)]
struct Items {
    /// How many objects and lists are open.
    depth: usize,
    /// Whether the second of them is a list: the only one that a list of the API server has there is `items`. `None` until it came.
    inside: Option<bool>,
    in_text: bool,
    escaped: bool,
    /// The item that is open.
    item: Option<Vec<u8>>,
}

impl Items {
    fn read(
        &mut self,
        part: &[u8],
        take: &mut impl FnMut(&[u8]) -> serde_json::Result<()>,
    ) -> serde_json::Result<()> {
        for &byte in part {
            if let Some(item) = &mut self.item {
                if item.len() >= LONGEST_ITEM {
                    return Err(serde_json::Error::custom("an item of the list is too long"));
                }
                item.push(byte);
            }
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.open(byte),
                b'}' | b']' => {
                    if self.depth == 3
                        && let Some(item) = self.item.take()
                    {
                        take(&item)?;
                    }
                    if self.depth == 2 {
                        self.inside = self.inside.map(|_| false);
                    }
                    self.depth = self.depth.saturating_sub(1);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn open(&mut self, byte: u8) {
        self.depth = self.depth.saturating_add(1);
        if self.depth == 2 && byte == b'[' {
            self.inside = Some(true);
        }
        if self.depth == 3 && self.inside == Some(true) && byte == b'{' {
            self.item = Some(vec![byte]);
        }
    }

    fn end(&self) -> serde_json::Result<()> {
        if self.depth == 0 && self.inside.is_some() && !self.in_text {
            Ok(())
        } else {
            Err(serde_json::Error::custom("the list is not whole"))
        }
    }
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

/// A list, or all lists of one kind, and what each of its entries takes.
#[derive(Debug, Clone, Copy)]
struct List {
    field: &'static str,
    entries: usize,
    each: usize,
}

impl List {
    fn bytes(&self) -> usize {
        self.entries.saturating_mul(self.each)
    }
}

/// How long the lists of a pod are whose entries take more than they are long.
#[derive(Default)]
struct Outline {
    metadata: MetaOutline,
    spec: SpecOutline,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MetaOutline {
    labels: Entries,
    annotations: Entries,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SpecOutline {
    containers: Option<Vec<ContainerOutline>>,
    init_containers: Option<Vec<ContainerOutline>>,
    ephemeral_containers: Option<Vec<ContainerOutline>>,
    volumes: Option<Vec<VolumeOutline>>,
    tolerations: Entries,
    image_pull_secrets: Entries,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ContainerOutline {
    env: Entries,
    ports: Entries,
    volume_mounts: Entries,
    command: Entries,
    args: Entries,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VolumeOutline {
    projected: Option<ProjectedOutline>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ProjectedOutline {
    sources: Entries,
}

impl Outline {
    fn of(parts: &Parts<'_>) -> serde_json::Result<Self> {
        let metadata = parts.metadata.map(|text| serde_json::from_str(text.get()));
        let spec = parts.spec.map(|text| serde_json::from_str(text.get()));
        Ok(Self {
            metadata: metadata.transpose()?.unwrap_or_default(),
            spec: spec.transpose()?.unwrap_or_default(),
        })
    }

    fn lists(&self, text: usize) -> [List; 12] {
        let Self { metadata, spec } = self;
        let lists = [
            &spec.containers,
            &spec.init_containers,
            &spec.ephemeral_containers,
        ];
        let containers = || lists.into_iter().flatten().flatten();
        let sum = |of: fn(&ContainerOutline) -> usize| containers().map(of).sum::<usize>();
        let volumes = || spec.volumes.iter().flatten();
        let sources = volumes().filter_map(|volume| volume.projected.as_ref());
        let list = |field, entries, each| List {
            field,
            entries,
            each,
        };
        [
            list("metadata, spec and status", text, 1),
            list("metadata.labels", metadata.labels.0, MAP_ENTRY),
            list("metadata.annotations", metadata.annotations.0, MAP_ENTRY),
            list(
                "spec.containers",
                containers().count(),
                size_of::<Container>(),
            ),
            list(
                "spec.containers[].env",
                sum(|it| it.env.0),
                size_of::<EnvVar>(),
            ),
            list(
                "spec.containers[].ports",
                sum(|it| it.ports.0),
                size_of::<ContainerPort>(),
            ),
            list(
                "spec.containers[].volumeMounts",
                sum(|it| it.volume_mounts.0),
                size_of::<VolumeMount>(),
            ),
            list(
                "spec.containers[].command",
                sum(|it| it.command.0 + it.args.0),
                size_of::<String>(),
            ),
            list("spec.volumes", volumes().count(), size_of::<Volume>()),
            list(
                "spec.volumes[].projected.sources",
                sources.map(|it| it.sources.0).sum(),
                size_of::<VolumeProjection>(),
            ),
            list(
                "spec.tolerations",
                spec.tolerations.0,
                size_of::<Toleration>(),
            ),
            list(
                "spec.imagePullSecrets",
                spec.image_pull_secrets.0,
                size_of::<LocalObjectReference>(),
            ),
        ]
    }
}

/// How many entries a list or a map has; it has none where it is null.
#[derive(Default)]
struct Entries(usize);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Counted;

        impl<'de> Visitor<'de> for Counted {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list or a map")
            }

            fn visit_unit<E>(self) -> Result<Entries, E> {
                Ok(Entries(0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries, A::Error> {
                let mut entries = 0;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    entries += 1;
                }
                Ok(Entries(entries))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = 0;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    entries += 1;
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_any(Counted)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::{Value, json};

    use super::*;

    const MOST: usize = 1 << 20;

    fn with(change: impl FnOnce(&mut Value)) -> Value {
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-09-01T10:00:00Z", "deletionTimestamp": "2026-09-01T10:00:30Z",
                "deletionGracePeriodSeconds": 30, "generateName": "p-",
                "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["f/g"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "o"}],
            },
            "spec": {
                "nodeName": "node",
                "initContainers": [{"name": "i", "image": "im", "restartPolicy": "Always"}],
                "containers": [{
                    "name": "c", "image": "im", "tty": true, "command": ["sh"], "env": [{"name": "A", "value": "x"}],
                    "ports": [{"name": "http", "containerPort": 80}],
                    "readinessProbe": {"httpGet": {"port": "http"}},
                }],
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
            "status": {"phase": "Running", "podIP": "10.0.0.4"},
        });
        change(&mut pod);
        pod
    }

    fn read(pod: &Value) -> SentPod<MOST> {
        serde_json::from_str(&pod.to_string()).unwrap()
    }

    #[test]
    fn an_ordinary_pod_is_read_whole() {
        let pod = with(|pod| pod["metadata"]["annotations"]["long"] = json!("x".repeat(8 << 10)));
        let sent = read(&pod);
        assert_eq!(sent.excess, None);
        assert_eq!(sent.pod, serde_json::from_value(pod.clone()).unwrap());
        assert!((8 << 10..32 << 10).contains(&sent.bytes), "{}", sent.bytes);
        let managed = with(|pod| {
            pod["metadata"]["managedFields"] =
                json!([{"manager": "m", "fieldsV1": {"f:spec": {}}}]);
        });
        assert_eq!(read(&managed).pod.metadata.managed_fields, None);
    }

    /// A pod of a megabyte and a half, of whatever it is.
    #[test]
    fn what_is_short_and_takes_much_is_left_out() {
        let many = |n: usize, one: fn(usize) -> Value| (0..n).map(one).collect::<Value>();
        let cases: [(&str, &str, Value); 6] = [
            (
                "/spec/volumes",
                "spec.volumes",
                many(60_000, |n| json!({"name": format!("v{n}")})),
            ),
            (
                "/spec/containers/0/env",
                "spec.containers[].env",
                many(60_000, |n| json!({"name": format!("A{n}")})),
            ),
            (
                "/spec/initContainers/0/env",
                "spec.containers[].env",
                many(60_000, |n| json!({"name": format!("A{n}")})),
            ),
            (
                "/spec/volumes",
                "spec.volumes[].projected.sources",
                json!([{"name": "v", "projected": {"sources": many(50_000, |_| json!({"secret": {"name": "s"}}))}}]),
            ),
            (
                "/spec/containers",
                "spec.containers",
                many(20_000, |n| json!({"name": format!("c{n}"), "image": "i"})),
            ),
            (
                "/spec/imagePullSecrets",
                "spec.imagePullSecrets",
                many(300_000, |_| json!({})),
            ),
        ];
        for (at, field, value) in cases {
            let pod = with(|pod| {
                let (parent, name) = at.rsplit_once('/').unwrap();
                pod.pointer_mut(parent).unwrap()[name] = value.clone();
            });
            let sent = read(&pod);
            let excess = sent.excess.unwrap();
            assert_eq!(excess.field, field);
            assert!(excess.bytes > MOST && sent.bytes == excess.bytes, "{at}");
            // What statuses are made of is there.
            let spec = sent.pod.spec.as_ref().unwrap();
            assert!(
                spec.volumes.is_none() && spec.image_pull_secrets.is_none(),
                "{at}"
            );
            assert!(spec.containers.len() <= CONTAINERS);
            assert!(
                spec.containers
                    .iter()
                    .all(|container| container.env.is_none())
            );
            let meta = &sent.pod.metadata;
            assert_eq!(
                (meta.uid.as_deref(), &meta.labels),
                (Some("u"), &None),
                "{at}"
            );
            assert_eq!(spec.node_name.as_deref(), Some("node"));
            assert_eq!(
                sent.pod.status.as_ref().unwrap().phase.as_deref(),
                Some("Running")
            );
            if field != "spec.containers" {
                let container = &spec.containers[0];
                assert!(container.readiness_probe.is_some() && container.ports.is_some());
                assert_eq!(container.tty, Some(true));
            }
        }
    }

    #[test]
    fn it_is_read_from_lists_and_watches_and_is_a_pod() {
        type Sent = SentPod<MOST>;
        let pod = with(|_| {});
        let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "c"}, "items": [pod, pod]});
        let list: ObjectList<Sent> = serde_json::from_str(&list.to_string()).unwrap();
        assert_eq!(list.items.len(), 2);
        assert_eq!(list.metadata.continue_.as_deref(), Some("c"));
        // The API server writes the type first.
        let event = format!(r#"{{"type":"ADDED","object":{pod}}}"#);
        let event: WatchEvent<Sent> = serde_json::from_str(&event).unwrap();
        assert!(
            matches!(event, WatchEvent::Added(it) if it.meta().resource_version.as_deref() == Some("7"))
        );
        assert_eq!(
            Sent::url_path(&(), Some("ns")),
            Pod::url_path(&(), Some("ns"))
        );
        let unread: Unread<Pod> = serde_json::from_str(&with(|_| {}).to_string()).unwrap();
        assert_eq!(unread.meta().name, None);
    }

    #[test]
    fn a_list_is_read_item_by_item_in_whatever_parts_it_comes() {
        let odd = json!({"name": "\"}{][\\", "list": [{"a": {}}, []], "n": null});
        let list = json!({
            "kind": "List", "metadata": {"continue": "[{", "x": {"y": [1, {"z": 2}]}}, "items": [odd, {}, {"a": 1}], "z": 1,
        });
        let text = list.to_string();
        for length in [1, 2, 3, 7, 1_000] {
            let (mut items, mut found) = (Items::default(), Vec::<Value>::new());
            for part in text.as_bytes().chunks(length) {
                let mut take = |text: &[u8]| {
                    found.push(serde_json::from_slice(text)?);
                    Ok(())
                };
                items.read(part, &mut take).unwrap();
            }
            items.end().unwrap();
            assert_eq!(Value::from(found), list["items"]);
        }
        for (broken, at) in [("{}", ""), ("{\"items\":[{}", ""), ("{\"items\":[{]}", "x")] {
            let mut items = Items::default();
            let read = items.read(broken.as_bytes(), &mut |text| {
                serde_json::from_slice::<Value>(text).map(drop)
            });
            assert_eq!(read.is_err(), !at.is_empty(), "{broken}");
            assert!(read.is_err() || items.end().is_err(), "{broken}");
        }
        let empty = r#"{"kind":"PodList","items":[]}"#;
        let mut items = Items::default();
        items.read(empty.as_bytes(), &mut |_| Ok(())).unwrap();
        items.end().unwrap();
    }

    #[test]
    fn null_is_nothing() {
        let nothing = r#"{"metadata":null,"spec":null,"status":null}"#;
        let sent: SentPod<MOST> = serde_json::from_str(nothing).unwrap();
        assert_eq!((sent.pod, sent.excess), (Pod::default(), None));
        let pod = with(|pod| {
            pod["metadata"]["annotations"] = json!({"long": "x".repeat(2 << 20)});
            pod["spec"]["volumes"] = Value::Null;
            pod["spec"]["initContainers"] = Value::Null;
        });
        let sent = read(&pod);
        assert!(sent.excess.is_some());
        assert_eq!(sent.pod.spec.unwrap().init_containers, Some(Vec::new()));
    }
}
