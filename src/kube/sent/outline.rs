//! How much memory a pod takes, by its text. PURE.

use std::fmt;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, LocalObjectReference, Toleration, Volume, VolumeMount,
    VolumeProjection,
};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Parts;

/// An entry of a map of texts, with what its parts take on the heap.
const MAP_ENTRY: usize = 128;

/// A list, or all lists of one kind, and what each of its entries takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct List {
    pub(super) field: &'static str,
    pub(super) entries: usize,
    each: usize,
}

impl List {
    pub(super) fn bytes(&self) -> usize {
        self.entries.saturating_mul(self.each)
    }
}

/// How long the lists of a pod are whose entries take more than they are long.
#[derive(Default)]
pub(super) struct Outline {
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
    pub(super) fn of(parts: &Parts<'_>) -> serde_json::Result<Self> {
        let metadata = parts.metadata.map(|text| serde_json::from_str(text.get()));
        let spec = parts.spec.map(|text| serde_json::from_str(text.get()));
        Ok(Self {
            metadata: metadata.transpose()?.unwrap_or_default(),
            spec: spec.transpose()?.unwrap_or_default(),
        })
    }

    pub(super) fn lists(&self, text: usize) -> [List; 12] {
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
