//! The calls themselves.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::{Client, Resource};
use kube_runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use super::Calls;
use super::plan::{Kind, ObjectName};
use crate::kube::backoff::jitter;
use crate::kube::call::{self, KubeError};
use crate::kube::sent::Unread;
use crate::kube::watches::steady;
use crate::pods::read_pod;
use crate::provider::{Aci, Failure, MadeWith, UpdateWanted, VolumesBrought};
use crate::translate::{PodKey, VolumesUpdated};

const CALL: Duration = call::TIMEOUT;
/// Objects of a node that are watched. Each watch is a connection to the API server; what is beyond is asked for.
const WATCHED: usize = 64;
/// How often that is, as a kubelet without watches does it.
const ASKED: Duration = Duration::from_mins(1);

pub(super) struct Live {
    node: Client,
    provider: Arc<Aci>,
    watches: Semaphore,
}

impl Live {
    /// `node` acts as the node.
    pub(super) fn new(node: Client, provider: Arc<Aci>) -> Self {
        Self {
            node,
            provider,
            watches: Semaphore::new(WATCHED),
        }
    }

    async fn follow_kind<K>(&self, object: ObjectName, changes: mpsc::Sender<ObjectName>)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        // Of a Secret only this is read.
        let api = Api::<PartialObjectMeta<K>>::namespaced(self.node.clone(), &object.namespace);
        let mut versions = Versions::default();
        if let Ok(_slot) = self.watches.try_acquire() {
            let config =
                watcher::Config::default().fields(&format!("metadata.name={}", object.name));
            let mut events = steady(watcher(api, config));
            while let Some(event) = events.next().await {
                let Ok(event) = event else { continue };
                if versions.saw(event) && changes.send(object.clone()).await.is_err() {
                    return;
                }
            }
            return;
        }
        loop {
            let asked = call::call("get metadata", CALL, api.get_opt(&object.name)).await;
            if let Ok(found) = asked
                && versions.is(found.and_then(|it| it.metadata.resource_version))
                && changes.send(object.clone()).await.is_err()
            {
                return;
            }
            tokio::time::sleep(jitter(ASKED, 0.2)).await;
        }
    }
}

/// The version of an object that was seen last.
#[derive(Debug, Default)]
struct Versions {
    /// Whether there was a look.
    known: bool,
    /// `None` of an object that is not there.
    last: Option<String>,
    listed: Option<String>,
}

impl Versions {
    /// Whether this is another version than that seen last.
    fn is(&mut self, version: Option<String>) -> bool {
        let changed = self.known && self.last != version;
        (self.known, self.last) = (true, version);
        changed
    }

    fn saw<K>(&mut self, event: Event<PartialObjectMeta<K>>) -> bool {
        match event {
            Event::Init => {
                self.listed = None;
                false
            }
            Event::InitApply(object) => {
                self.listed = object.metadata.resource_version;
                false
            }
            Event::InitDone => {
                let listed = self.listed.take();
                self.is(listed)
            }
            Event::Apply(object) => self.is(object.metadata.resource_version),
            Event::Delete(_) => self.is(None),
        }
    }
}

#[async_trait]
impl Calls for Live {
    fn made(&self, key: &PodKey) -> MadeWith {
        self.provider.volumes_made_with(key)
    }

    async fn update(&self, key: &PodKey, wanted: &UpdateWanted) -> Result<VolumesBrought, Failure> {
        let pod = Arc::new(read_pod(&self.node, key).await?);
        let provider = &self.provider;
        provider.bring_volumes_up_to_date(key, &pod, wanted).await
    }

    async fn record(&self, key: &PodKey, version: &str, at: Timestamp) -> Result<(), KubeError> {
        let api = Api::<Unread<Pod>>::namespaced(self.node.clone(), &key.namespace);
        let condition = json!({
            "type": VolumesUpdated::CONDITION,
            "status": "True",
            "reason": "Updated",
            "message": version,
            "lastTransitionTime": format!("{at:.0}"),
        });
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": key.uid},
            "status": {"conditions": [condition]},
        }));
        let params = PatchParams::default();
        let request = api.patch_status(&key.name, &params, &patch);
        match call::call("patch pods/status", CALL, request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn follow(&self, object: ObjectName, changes: mpsc::Sender<ObjectName>) {
        match object.kind {
            Kind::Secret => self.follow_kind::<Secret>(object, changes).await,
            Kind::ConfigMap => self.follow_kind::<ConfigMap>(object, changes).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    #[test]
    fn only_another_version_is_a_change() {
        let mut versions = Versions::default();
        let object = |version: &str| PartialObjectMeta::<Secret> {
            metadata: ObjectMeta {
                resource_version: Some(version.to_owned()),
                ..ObjectMeta::default()
            },
            ..PartialObjectMeta::default()
        };
        for (event, changed) in [
            (Event::Init, false),
            (Event::InitApply(object("1")), false),
            (Event::InitDone, false),
            (Event::Apply(object("1")), false),
            (Event::Apply(object("2")), true),
            // A list after a watch that broke.
            (Event::Init, false),
            (Event::InitApply(object("2")), false),
            (Event::InitDone, false),
            (Event::Init, false),
            (Event::InitApply(object("3")), false),
            (Event::InitDone, true),
            (Event::Delete(object("3")), true),
            (Event::Init, false),
            (Event::InitDone, false),
            (Event::Apply(object("4")), true),
        ] {
            let told = format!("{event:?}");
            assert_eq!(versions.saw(event), changed, "{told}");
        }
    }
}
