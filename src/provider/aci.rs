//! The provider over ARM.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use parking_lot::RwLock;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::failure::follows;
use super::shims::Shims;
use super::zones::FullZones;
use super::{
    Deleted, Ensured, Failure, FailureKind, GroupSummary, Images, Listing, References,
    RefreshRequests, Slot, image_names,
};
use crate::api::Os;
use crate::azure::client::{ArmClient, Deletion};
use crate::azure::model::ContainerGroup;
use crate::azure::throttle::{CallPriority, Class, PollDemand, PollInterval};
use crate::azure::{AzureError, ErrorClass};
use crate::tenure::{Maker, Mark, Tenure};
use crate::translate::{
    GroupDefaults, GroupPhase, Ownership, PodKey, Reference, Refusals, Resolved, SHIM_NOT_PULLED,
    Translation, container_group, group_name, group_phase, ownership, provisioning_failure,
    shim_not_pulled, shim_of, small_group,
};

/// Steps from a pod to what it refers to, from there on, and so forth: a claim leads to a volume, that to a Secret. Then come
/// the images, and the tokens last.
const ROUNDS: usize = 7;

/// Large pods of this process that are translated at once. The threads that run everything else, such as leases and the
/// answers to probes, share the same few cores, and are not to meet many of these there.
static LARGE: Semaphore = Semaphore::const_new(2);

/// Runs `work` on a thread where nobody waits for it. Whoever no longer waits for the result leaves it to end by itself,
/// which is soon, and until then it counts.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let broken = |what: String| {
        let message = format!("the pod's translation broke off: {what}");
        Failure::transient("TranslationBroken", message)
    };
    let permit = LARGE.acquire().await;
    let permit = permit.map_err(|error| broken(error.to_string()))?;
    let run = spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    run.await.map_err(|error| {
        // Not the panic's own words: they may hold what came from a Secret.
        let what = if error.is_panic() {
            "a defect of the operator; please report it"
        } else {
            "the operator ends"
        };
        broken(what.to_owned())
    })
}

/// The translation of `pod`, and what it was made from. A small pod's is made here: one thread's way to another takes
/// longer, and such a pod does not stand in line behind large ones. What is small the translation finds out itself: it gives
/// up when the pod turns out to be larger, which it does before much is built, and is begun again elsewhere.
pub(super) async fn translated(
    pod: &Arc<Pod>,
    defaults: &Arc<GroupDefaults>,
    owner: &Arc<Ownership>,
    resolved: Resolved,
) -> Result<(Result<Translation, Refusals>, Resolved), Failure> {
    if let Some(done) = small_group(pod, defaults, owner, &resolved) {
        return Ok((done, resolved));
    }
    let (pod, defaults, owner) = (Arc::clone(pod), Arc::clone(defaults), Arc::clone(owner));
    apart(move || {
        let done = container_group(&pod, &defaults, &owner, &resolved);
        (done, resolved)
    })
    .await
}

/// What `translation` refers to that is not known yet.
pub(super) fn unknown<'t>(
    translation: &'t Translation,
    resolved: &'t Resolved,
) -> impl Iterator<Item = &'t Reference> {
    let all = translation.references.iter();
    all.filter(|reference| !resolved.knows(reference))
}

/// That what a pod refers to is not known after so many rounds.
pub(super) fn unsettled(rounds: usize) -> Failure {
    Failure::transient(
        "ReferencesUnsettled",
        format!("what the pod refers to leads on and on, after {rounds} rounds"),
    )
}

/// Whether provisioning of `group` has failed because the zone, or the region, has no capacity.
fn has_no_capacity(group: &ContainerGroup) -> bool {
    group_phase(group) == GroupPhase::ProvisioningFailed
        && provisioning_failure(group).0 == follows(ErrorClass::Capacity).reason
}

/// The failure of a create: what Azure says of the shim's image is not about one of the pod's.
fn of_shim(error: AzureError, translation: &Translation) -> Failure {
    let image = shim_of(&translation.group).map(|init| init.properties.image.as_str());
    let is_about = |image: &&str| {
        matches!(error.class, ErrorClass::Image | ErrorClass::Registry)
            && error.message.contains(&format!("'{image}'"))
    };
    let Some(image) = image.filter(is_about) else {
        return error.into();
    };
    let message = shim_not_pulled(image, &error.discreet());
    let Failure { retry_after, .. } = Failure::from(error);
    Failure {
        kind: FailureKind::Slow,
        reason: SHIM_NOT_PULLED,
        message,
        retry_after,
        faults: None,
    }
}

/// Whose groups these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupOwner {
    pub resource_group: String,
    pub cluster_uid: String,
    pub connector_uid: String,
    /// Name of the node.
    pub node: String,
    /// Address of the node.
    pub node_ip: IpAddr,
    /// Whose time it is; `None` where no Lease says so.
    pub tenure: Option<Arc<Tenure>>,
}

impl GroupOwner {
    pub(super) fn ownership(&self, key: PodKey, restarts: i32) -> Ownership {
        Ownership {
            cluster_uid: self.cluster_uid.clone(),
            connector_uid: self.connector_uid.clone(),
            node: self.node.clone(),
            key,
            restarts,
            mark: self.tenure.as_ref().map(|tenure| Mark {
                by: tenure.holder.clone(),
                at: Timestamp::now(),
            }),
        }
    }

    fn maker(&self, owner: &Ownership) -> Maker {
        if owner.connector_uid != self.connector_uid {
            return Maker::Predecessor;
        }
        let tenure = self.tenure.as_ref();
        tenure.map_or(Maker::Former, |tenure| tenure.maker(owner.mark.as_ref()))
    }

    /// Whose a group is whose tags name our cluster and node. A Node's name belongs to one connector of a cluster, so a
    /// group of another connector's UID was made for one that is gone and was made again under its name.
    fn owner(&self, tags: &BTreeMap<String, String>) -> Option<Ownership> {
        let owner = ownership(tags)?;
        let ours = owner.cluster_uid == self.cluster_uid && owner.node == self.node;
        ours.then_some(owner)
    }
}

/// Container groups of one virtual node.
pub struct Aci {
    pub(super) arm: Arc<ArmClient>,
    pub(super) references: Arc<dyn References>,
    images: Arc<dyn Images>,
    pub(super) scope: GroupOwner,
    pub(super) defaults: RwLock<Arc<GroupDefaults>>,
    pub(super) refreshes: Arc<RefreshRequests>,
    /// Groups that are ours and have other names than we would give them, as the last list shows them.
    adopted: RwLock<HashMap<PodKey, String>>,
    full_zones: FullZones,
    pub(super) shims: Shims,
    /// Asks containers for probes and hooks.
    pub(super) client: super::probe::Client,
}

impl Aci {
    /// A provider of the groups of `scope`.
    pub fn new(
        arm: Arc<ArmClient>,
        references: Arc<dyn References>,
        images: Arc<dyn Images>,
        scope: GroupOwner,
        defaults: GroupDefaults,
    ) -> Self {
        Self {
            arm,
            references,
            images,
            scope,
            defaults: RwLock::new(Arc::new(defaults)),
            refreshes: Arc::default(),
            adopted: RwLock::default(),
            full_zones: FullZones::default(),
            shims: Shims::default(),
            client: super::probe::Client::new(),
        }
    }

    /// Groups made from now on follow `defaults`; existing ones stay as they are.
    pub fn set_defaults(&self, defaults: GroupDefaults) {
        *self.defaults.write() = Arc::new(defaults);
    }

    /// Pods whose containers were not as their status says when somebody used them.
    pub fn refreshes(&self) -> Arc<RefreshRequests> {
        Arc::clone(&self.refreshes)
    }

    /// The operating system of the containers.
    pub(super) fn os(&self) -> Os {
        self.defaults.read().os
    }

    /// Translates `pod` for the group `name`, fetching what it refers to, and what that refers to in turn. Refusals come first: a
    /// pod that cannot run costs no call. Tokens come when it is the create's turn: one that waits for it asks for none.
    async fn translate(
        &self,
        name: &str,
        pod: &Arc<Pod>,
        defaults: &Arc<GroupDefaults>,
        owner: Ownership,
        slot: &dyn Slot,
    ) -> Result<Translation, Failure> {
        let owner = Arc::new(owner);
        let mut resolved = self.known(defaults);
        for _ in 0..ROUNDS {
            let (translation, looked_up) = translated(pod, defaults, &owner, resolved).await?;
            let translation = translation?;
            image_names::check(pod)?;
            resolved = looked_up;
            let unknown: Vec<Reference> = unknown(&translation, &resolved).cloned().collect();
            if unknown.is_empty() {
                return Ok(translation);
            }
            let (tokens, others): (Vec<_>, Vec<_>) =
                unknown.into_iter().partition(Reference::is_token);
            let (images, objects): (Vec<_>, Vec<_>) = others
                .into_iter()
                .partition(|reference| reference.image().is_some());
            let resource_group = &self.scope.resource_group;
            if !objects.is_empty() {
                let mut now = objects;
                // Where no create waits there is one round less to wait for.
                if !tokens.is_empty() && images.is_empty() {
                    let turn = self.arm.line_up(resource_group, name).now_or_never();
                    now.extend(tokens.into_iter().filter(|_| matches!(turn, Some(Ok(())))));
                }
                self.references.resolve(pod, &now, &mut resolved).await?;
                continue;
            }
            if images.is_empty() {
                self.arm.line_up(resource_group, name).await?;
                self.references.resolve(pod, &tokens, &mut resolved).await?;
                continue;
            }
            let images: Vec<&str> = images.iter().filter_map(Reference::image).collect();
            // Only now are the pull secrets known.
            let credentials = &translation.group.properties.image_registry_credentials;
            // A registry may take half a minute, or never answer: others' operations do not wait for that.
            slot.leave();
            let read = self
                .images
                .resolve(pod, defaults.os, &images, credentials, &mut resolved)
                .await;
            slot.again().await;
            read?;
        }
        Err(unsettled(ROUNDS))
    }

    /// What need not be asked for.
    pub(super) fn known(&self, defaults: &GroupDefaults) -> Resolved {
        Resolved {
            node_ip: Some(self.scope.node_ip.to_string()),
            // The connector may say it.
            kubernetes: defaults.api_server.clone().map(Some),
            ..Resolved::default()
        }
    }

    /// The existing group, if it is really that pod's.
    pub(super) async fn existing(
        &self,
        name: &str,
        key: &PodKey,
    ) -> Result<Option<ContainerGroup>, Failure> {
        let Some(group) = self.arm.get_group(&self.scope.resource_group, name).await? else {
            return Ok(None);
        };
        self.shims.note(name, &group);
        let owner = self.scope.owner(&group.tags);
        if owner.is_some_and(|owner| owner.key == *key) {
            return Ok(Some(group));
        }
        Err(Failure {
            kind: FailureKind::Slow,
            reason: "AciNameTaken",
            message: format!("container group {name} exists and is not ours; delete or rename it"),
            retry_after: None,
            faults: None,
        })
    }
}

impl Aci {
    /// Creates the container group `name` of `pod` once. With `look_first` a GET precedes the PUT and an existing group is
    /// adopted, which is needed whenever a group may exist that nobody saw.
    pub async fn ensure(
        &self,
        name: &str,
        pod: &Arc<Pod>,
        look_first: bool,
        restarts: i32,
        slot: &dyn Slot,
    ) -> Result<Ensured, Failure> {
        let Some(key) = PodKey::of(pod) else {
            return Err(Failure::transient(
                "PodIncomplete",
                "the pod has no name, namespace or UID".to_string(),
            ));
        };
        if look_first && let Some(group) = self.existing(name, &key).await? {
            return Ok(Ensured::adopted(group));
        }
        let mut defaults = self.defaults.read().clone();
        let full_zones = self.full_zones.at(Instant::now());
        if !full_zones.is_empty() {
            Arc::make_mut(&mut defaults).full_zones = full_zones;
        }
        let owner = self.scope.ownership(key, restarts);
        let translation = self.line_up_with(name, pod, &defaults, owner, slot).await?;
        self.put(name, translation).await
    }

    /// The translation of `pod`, for a PUT whose turn has come.
    pub(super) async fn line_up_with(
        &self,
        name: &str,
        pod: &Arc<Pod>,
        defaults: &Arc<GroupDefaults>,
        owner: Ownership,
        slot: &dyn Slot,
    ) -> Result<Translation, Failure> {
        let translation = self.translate(name, pod, defaults, owner, slot).await;
        translation.inspect_err(|failure| {
            if failure.kind != FailureKind::Queued {
                self.arm.leave_line(&self.scope.resource_group, name);
            }
        })
    }

    pub(super) async fn put(
        &self,
        name: &str,
        translation: Translation,
    ) -> Result<Ensured, Failure> {
        let resource_group = &self.scope.resource_group;
        let put = self.arm.put_group(resource_group, name, &translation.group);
        let put = put.await;
        if put
            .as_ref()
            .is_err_and(|error| error.class == ErrorClass::Capacity)
        {
            let zones = &translation.group.zones;
            self.full_zones.note(zones, Instant::now());
        }
        let group = put.map_err(|error| of_shim(error, &translation))?;
        self.shims.note(name, &translation.group);
        Ok(Ensured {
            group: Box::new(group),
            adopted: false,
            notes: translation.notes,
        })
    }

    /// The failure of a create of `name` that waits for Azure's limit; `None` when it is to be tried.
    pub fn queue_position(&self, name: &str) -> Option<Failure> {
        let waiting = self
            .arm
            .queue_position(&self.scope.resource_group, name, Class::Create);
        waiting.map(Failure::from)
    }

    /// Notes what polls of the running pods of this node would cost, and says how often to poll: the reads are shared by all
    /// nodes of a subscription and principal.
    pub fn plan(&self, demand: PollDemand) -> PollInterval {
        self.arm.plan(&self.scope.node, demand)
    }

    /// The group `name` with its instance view; `None` only when ARM says that the group does not exist.
    pub async fn observe(
        &self,
        name: &str,
        priority: CallPriority,
    ) -> Result<Option<Box<ContainerGroup>>, Failure> {
        let group = self
            .arm
            .look_at_group(&self.scope.resource_group, name, priority)
            .await?;
        match &group {
            Some(group) => self.shims.note(name, group),
            None => self.shims.forget(name),
        }
        if let Some(group) = &group
            && has_no_capacity(group)
        {
            self.full_zones.note(&group.zones, Instant::now());
        }
        Ok(group.map(Box::new))
    }

    /// Deletes the group `name`.
    pub async fn delete(&self, name: &str) -> Result<Deleted, Failure> {
        let resource_group = &self.scope.resource_group;
        self.shims.forget(name);
        match self.arm.delete_group(resource_group, name).await {
            Ok(Deletion::Absent) => Ok(Deleted::Absent),
            Ok(Deletion::Accepted) => Ok(Deleted::Accepted(None)),
            Ok(Deletion::Deleted(last)) => Ok(Deleted::Accepted(last)),
            // ARM deletes a resource group after all that is in it: there is nothing left to delete.
            Err(error) if error.class == ErrorClass::ResourceGroupNotFound => Ok(Deleted::Absent),
            Err(error) => Err(error.into()),
        }
    }

    /// Stops what runs in the group `name`; the group stays. A group that does not exist is stopped.
    pub async fn stop(&self, name: &str) -> Result<(), Failure> {
        Ok(self
            .arm
            .stop_group(&self.scope.resource_group, name)
            .await?)
    }

    /// Starts the containers of the group `name` anew.
    pub async fn restart(&self, name: &str) -> Result<(), Failure> {
        let resource_group = &self.scope.resource_group;
        Ok(self.arm.restart_group(resource_group, name).await?)
    }

    /// Every group in the resource group that belongs to this node, at most `max_age` ago: complete, or an error.
    pub async fn list(&self, max_age: Duration) -> Result<Listing, Failure> {
        let listing = self
            .arm
            .list_groups_within(&self.scope.resource_group, max_age)
            .await?;
        let ours = listing.groups.iter().filter_map(|group| {
            let owner = self.scope.owner(&group.tags)?;
            Some(GroupSummary {
                maker: self.scope.maker(&owner),
                key: owner.key,
                name: group.name.clone(),
                provisioning_state: group.provisioning_state.clone(),
            })
        });
        let groups: Vec<GroupSummary> = ours.collect();
        let named_else = |group: &&GroupSummary| group.name != self.own_name(&group.key);
        let adopted = groups.iter().filter(named_else);
        *self.adopted.write() = adopted
            .map(|group| (group.key.clone(), group.name.clone()))
            .collect();
        Ok(Listing {
            groups,
            all: listing.groups.len(),
            age: listing.age,
        })
    }

    /// The name of the group of `key`: the one it has in Azure when that was adopted under another name.
    pub fn group_name(&self, key: &PodKey) -> String {
        let adopted = self.adopted.read().get(key).cloned();
        adopted.unwrap_or_else(|| self.own_name(key))
    }

    fn own_name(&self, key: &PodKey) -> String {
        group_name(&self.scope.cluster_uid, key)
    }
}

#[cfg(test)]
mod tests;
