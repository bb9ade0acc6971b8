//! What the region leaves to a connector's nodes and pods. PURE.
//!
//! A quota is the subscription's in the region: our container groups use it, and so do others. What is allocatable on a
//! node is what others leave: what is free, and what the node's own pods ask for, which is what the scheduler takes off
//! again. A pod that asks for less than its container group has costs the node the difference. The nodes of a connector
//! share what is free: each shows all of it, so that a node is not full while Azure has room, and what one takes is off
//! the other at the next look.
//!
//! Of two looks the lower counts, so that a neighbour's coming and going writes no Node, and freed quota is believed when
//! it is still free at the second look.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::api::{Os, parse_quantity};
use crate::azure::model::ContainerGroup;
use crate::azure::resources::{CONTAINER_GROUPS, SPOT_CORES, STANDARD_CORES, normal_region};
use crate::azure::{Capability, Usage};
use crate::translate::{Largest, ownership};

/// Every group has at least one core (ACI's minimum, to which the translation pads).
const GROUP_MILLICORES: i64 = 1000;

/// Amounts of what has a quota; `None` where Azure names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a core.
    pub millicores: Option<i64>,
    /// Container groups, each of which is one pod.
    pub pods: Option<i64>,
}

impl Amounts {
    fn with(self, other: Self, of: impl Fn(i64, i64) -> i64) -> Self {
        let both = |a: Option<i64>, b: Option<i64>| match (a, b) {
            (Some(a), Some(b)) => Some(of(a, b)),
            (a, b) => a.or(b),
        };
        Self {
            millicores: both(self.millicores, other.millicores),
            pods: both(self.pods, other.pods),
        }
    }

    /// `capacity` with at most these amounts of `cpu` and `pods`; what fits stays as the user wrote it.
    pub fn bound(self, mut capacity: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut at_most = |name: &str, most: Option<i64>, per: i64| {
            let (Some(most), Some(text)) = (most, capacity.get_mut(name)) else {
                return;
            };
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let above = parse_quantity(text).is_none_or(|amount| amount * per as f64 > most as f64);
            if above {
                *text = if most % per == 0 {
                    (most / per).to_string()
                } else {
                    format!("{most}m")
                };
            }
        };
        at_most("cpu", self.millicores, 1000);
        at_most("pods", self.pods, 1);
        capacity
    }
}

/// What the quota leaves, at one look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// To each node, with what its own pods ask for.
    pub nodes: BTreeMap<Os, Amounts>,
    /// To the connector, with what all its pods use.
    pub all: Amounts,
}

impl Room {
    /// The lower of two looks, amount by amount.
    #[must_use]
    pub fn lower(&self, other: &Self) -> Self {
        let nodes = self.nodes.iter().map(|(os, amounts)| {
            let other = other.nodes.get(os).copied().unwrap_or_default();
            (*os, amounts.with(other, i64::min))
        });
        Self {
            nodes: nodes.collect(),
            all: self.all.with(other.all, i64::min),
        }
    }
}

/// What is known of the quota.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Quota {
    /// Azure has not answered yet: nodes stay as they are.
    #[default]
    NotAsked,
    /// Azure does not tell it to this identity, or has none: the capacity of the spec stands.
    Untold,
    Left(Room),
}

/// What Azure has said of the region, as far as nodes and pods depend on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Region {
    /// The quota, where the connector follows it.
    pub quota: Quota,
    /// The largest container group of each operating system; absent where that is not known.
    pub largest: BTreeMap<Os, Largest>,
}

impl Region {
    /// What is allocatable on the node of `os` whose spec says `capacity`; `None` while that is not known.
    pub fn allocatable(
        &self,
        os: Os,
        capacity: BTreeMap<String, String>,
    ) -> Option<BTreeMap<String, String>> {
        match &self.quota {
            Quota::NotAsked => None,
            Quota::Untold => Some(capacity),
            Quota::Left(room) => {
                let amounts = room.nodes.get(&os).copied().unwrap_or_default();
                Some(amounts.bound(capacity))
            }
        }
    }
}

/// Thousandths of a core that pods ask for, by their UIDs.
pub type Requests = BTreeMap<String, i64>;

/// Whose container groups are ours.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// UID of the cluster.
    pub cluster: &'a str,
    /// UID of the connector.
    pub connector: &'a str,
    /// Names of its nodes.
    pub nodes: &'a BTreeMap<Os, String>,
    /// The pods that have not ended, with what they ask for. The scheduler counts no others, and so their container groups
    /// are as lost as those of others.
    pub pods: &'a Requests,
    pub region: &'a str,
    /// Its groups are Spot ones.
    pub spot: bool,
}

/// What `usages` leave to our nodes, whose container groups are among `groups`; `None` when Azure names no quota that we
/// need.
pub fn room(usages: &[Usage], groups: &[ContainerGroup], scope: &Scope<'_>) -> Option<Room> {
    let free = |quota: &str, per: f64| {
        let usage = usages
            .iter()
            .find(|usage| usage.name.value.eq_ignore_ascii_case(quota))?;
        Some(whole((usage.limit? - usage.current_value?) * per))
    };
    let cores = if scope.spot {
        SPOT_CORES
    } else {
        STANDARD_CORES
    };
    let free = Amounts {
        millicores: free(cores, 1000.0),
        pods: free(CONTAINER_GROUPS, 1.0),
    };
    if free == Amounts::default() {
        return None;
    }
    // Cores are gone before groups where pods ask for less than a group's minimum.
    let by_cores = free
        .millicores
        .map(|cores| cores.div_euclid(GROUP_MILLICORES));
    let free = Amounts {
        pods: [free.pods, by_cores].into_iter().flatten().min(),
        ..free
    };
    let left = |millicores: i64, pods: i64| Amounts {
        millicores: free.millicores.map(|free| (free + millicores).max(0)),
        pods: free.pods.map(|free| (free + pods).max(0)),
    };
    let (mut cores, mut pods) = (0, 0);
    let mut nodes = BTreeMap::new();
    for (os, node) in scope.nodes {
        let (mut asked, mut own) = (0, 0);
        for (group, request) in ours(groups, node, scope) {
            own += 1;
            asked += request;
            cores += millicores(group);
        }
        pods += own;
        nodes.insert(*os, left(asked, own));
    }
    let all = left(cores, pods);
    Some(Room { nodes, all })
}

/// The container groups in the region of the live pods of a node, with what the pods ask for.
fn ours<'g>(
    groups: &'g [ContainerGroup],
    node: &str,
    scope: &Scope<'_>,
) -> impl Iterator<Item = (&'g ContainerGroup, i64)> {
    groups.iter().filter_map(move |group| {
        let here = normal_region(group.location.as_deref()?) == normal_region(scope.region);
        let owner = ownership(&group.tags)?;
        let ours = owner.cluster_uid == scope.cluster
            && owner.connector_uid == scope.connector
            && owner.node == node;
        let request = scope.pods.get(&owner.key.uid)?;
        (here && ours).then_some((group, *request))
    })
}

/// Thousandths of a core that a container group has.
fn millicores(group: &ContainerGroup) -> i64 {
    let containers = group.properties.containers.iter();
    let cores = containers.filter_map(|container| {
        let resources = container.properties.resources.as_ref()?;
        Some(resources.requests.cpu)
    });
    whole(cores.sum::<f64>() * 1000.0)
}

/// Thousandths of a core that the scheduler takes off a node for `pod`: the sum over its containers (those among the init
/// containers that stay, too), or its largest init container, and the overhead.
pub fn request(pod: &Pod) -> i64 {
    let Some(spec) = &pod.spec else { return 0 };
    let cpu = |map: Option<&BTreeMap<String, Quantity>>| {
        let text = map.and_then(|map| map.get("cpu"));
        let amount = text.and_then(|text| parse_quantity(&text.0));
        amount.map_or(0, |cores| whole((cores * 1000.0).ceil()))
    };
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        cpu(resources.and_then(|it| it.requests.as_ref()))
    };
    let inits = || spec.init_containers.iter().flatten();
    let stays = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let containers: i64 = spec.containers.iter().map(of).sum();
    let sidecars: i64 = inits().filter(stays).map(of).sum();
    let largest = inits().filter(|it| !stays(it)).map(of).max().unwrap_or(0);
    (containers + sidecars).max(largest) + cpu(spec.overhead.as_ref())
}

/// Rounded down; what is less than a thousandth below a whole number is noise of the fraction.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast saturates, and quotas are small"
)]
fn whole(amount: f64) -> i64 {
    (amount + 0.001).floor() as i64
}

/// The largest container group of each operating system, without GPUs (ACI retired them in 2025) and with the kind of
/// address that the connector's groups have, where the region tells them apart.
pub fn largest(capabilities: &[Capability], subnet: bool) -> BTreeMap<Os, Largest> {
    let address = if subnet { "Private" } else { "Public" };
    let of = |os: Os| {
        let plain = |it: &&Capability| {
            let no_gpu = it.gpu.is_empty() || it.gpu.eq_ignore_ascii_case("None");
            no_gpu && it.os_type.eq_ignore_ascii_case(os.arm())
        };
        let all: Vec<&Capability> = capabilities.iter().filter(plain).collect();
        let same = |it: &&&Capability| it.ip_address_type.eq_ignore_ascii_case(address);
        let among: Vec<&Capability> = match all.iter().filter(same).copied().collect::<Vec<_>>() {
            same if same.is_empty() => all,
            same => same,
        };
        let most = |amount: fn(&Capability) -> Option<f64>| {
            let amounts = among.iter().filter_map(|it| amount(it));
            amounts.filter(|it| *it > 0.0).reduce(f64::max)
        };
        Some(Largest {
            cpu: most(|it| it.capabilities.max_cpu)?,
            memory_gb: most(|it| it.capabilities.max_memory_in_gb)?,
        })
    };
    [Os::Linux, Os::Windows]
        .into_iter()
        .filter_map(|os| Some((os, of(os)?)))
        .collect()
}

#[cfg(test)]
mod tests;
