//! Everything that exists in the emulated subscription.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{
    clusters::ManagedClusters, errors::ApiError, lifecycle::Life, network::Subnets, rules,
};
use crate::{
    clock::{Time, plus},
    config::{Config, Settings},
    journal::{Journal, Kind},
};

/// Operations kept for their status; older ones are forgotten.
const OPERATIONS: usize = 10_000;

/// Names are case-insensitive in ARM: both parts are lower-cased.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) resource_group: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(resource_group: &str, name: &str) -> Self {
        Self {
            resource_group: resource_group.to_lowercase(),
            name: name.to_lowercase(),
        }
    }
}

/// A resource group.
#[derive(Debug, Clone)]
pub(crate) struct ResourceGroup {
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) tags: Map<String, Value>,
}

/// A container group. No `Debug`: the body holds secrets.
// `resource_group` is the thing's name, not a repetition of the struct's.
#[allow(clippy::struct_field_names)]
#[derive(Clone)]
pub(crate) struct Group {
    pub(crate) resource_group: String,
    pub(crate) name: String,
    pub(crate) location: String,
    /// What answers show of the last PUT: no secret in it.
    pub(crate) echo: Value,
    /// The last PUT as sent.
    pub(crate) body: Arc<Value>,
    pub(crate) cores: f64,
    pub(crate) life: Life,
    pub(crate) operation: String,
    /// The HTTP status of its page.
    pub(crate) page_status: u16,
}

impl Group {
    /// `Linux` or `Windows`.
    pub(crate) fn os(&self) -> &str {
        self.body
            .pointer("/properties/osType")
            .and_then(Value::as_str)
            .unwrap_or("Linux")
    }

    /// TCP ports of the group's address.
    pub(crate) fn tcp_ports(&self) -> Vec<u16> {
        let address = self
            .body
            .pointer("/properties/ipAddress")
            .unwrap_or(&Value::Null);
        rules::items(address, "ports")
            .iter()
            .filter(|port| rules::text(port, "protocol").is_none_or(|protocol| protocol == "TCP"))
            .filter_map(|port| port.get("port").and_then(Value::as_u64))
            .filter_map(|port| u16::try_from(port).ok())
            .collect()
    }
}

/// An operation somebody may ask the status of.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) key: Key,
    pub(crate) location: String,
    pub(crate) started: Time,
}

/// Status of operations by id, bounded.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    by_id: HashMap<String, Operation>,
    order: VecDeque<String>,
}

impl Operations {
    /// Remembers an operation and gives its id.
    pub(crate) fn start(&mut self, operation: Operation) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.by_id.insert(id.clone(), operation);
        self.order.push_back(id.clone());
        if self.order.len() > OPERATIONS {
            self.order
                .pop_front()
                .and_then(|old| self.by_id.remove(&old));
        }
        id
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Operation> {
        self.by_id.get(&id.to_lowercase())
    }
}

/// Registration of the resource provider.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    pub(crate) state: String,
    /// When `Registering` becomes `Registered`.
    pub(crate) registered_at: Option<Time>,
}

/// The state of the subscription.
pub(crate) struct World {
    pub(crate) resource_groups: BTreeMap<String, ResourceGroup>,
    pub(crate) groups: BTreeMap<Key, Group>,
    pub(crate) operations: Operations,
    pub(crate) provider: Provider,
    pub(crate) subnets: Subnets,
    pub(crate) managed_clusters: ManagedClusters,
    /// PUTs that are to fail for lack of capacity, with the time of their late start.
    pub(crate) no_capacity: VecDeque<Option<Duration>>,
    pub(crate) journal: Journal,
    next_ip: u32,
}

impl World {
    pub(crate) fn new(config: &Config) -> Self {
        let mut world = Self {
            resource_groups: BTreeMap::new(),
            groups: BTreeMap::new(),
            operations: Operations::default(),
            provider: Provider {
                state: config.provider_state.clone(),
                registered_at: None,
            },
            subnets: Subnets::new(),
            managed_clusters: ManagedClusters::new(),
            no_capacity: VecDeque::new(),
            journal: Journal::default(),
            next_ip: 0,
        };
        for (name, location) in &config.resource_groups {
            world.add_resource_group(name, location, Map::new());
        }
        world
    }

    pub(crate) fn add_resource_group(
        &mut self,
        name: &str,
        location: &str,
        tags: Map<String, Value>,
    ) {
        self.resource_groups.insert(
            name.to_lowercase(),
            ResourceGroup {
                name: name.to_owned(),
                location: location.to_owned(),
                tags,
            },
        );
    }

    /// Removes a resource group and what is in it; false when there is none.
    pub(crate) fn remove_resource_group(&mut self, name: &str, now: Time) -> bool {
        let lower = name.to_lowercase();
        self.advance_all(now);
        let groups = self.groups.iter();
        for (_, group) in groups.filter(|(key, _)| key.resource_group == lower) {
            self.journal.note(now, Kind::Vanished, group, None);
        }
        self.groups.retain(|key, _| key.resource_group != lower);
        self.resource_groups.remove(&lower).is_some()
    }

    pub(crate) fn resource_group(&self, name: &str) -> Result<&ResourceGroup, ApiError> {
        self.resource_groups
            .get(&name.to_lowercase())
            .ok_or_else(|| ApiError::resource_group_not_found(name))
    }

    /// `registrationState` at `now`.
    pub(crate) fn provider_state(&mut self, now: Time) -> &str {
        if self.provider.registered_at.is_some_and(|at| at <= now) {
            self.provider.registered_at = None;
            "Registered".clone_into(&mut self.provider.state);
        }
        &self.provider.state
    }

    /// Starts the registration unless it is there or on its way.
    pub(crate) fn register(&mut self, now: Time, delay: Duration) {
        if !matches!(self.provider_state(now), "Registered" | "Registering") {
            "Registering".clone_into(&mut self.provider.state);
            self.provider.registered_at = Some(plus(now, delay));
        }
    }

    /// The group, brought up to `now`; `None` when it does not exist (any more).
    pub(crate) fn group(&mut self, key: &Key, now: Time) -> Option<&mut Group> {
        if self
            .groups
            .get(key)?
            .life
            .gone_at
            .is_some_and(|at| at <= now)
        {
            self.groups.remove(key);
            return None;
        }
        let group = self.groups.get_mut(key)?;
        group.life.advance(now);
        Some(group)
    }

    /// The group or the right flavour of 404.
    pub(crate) fn existing(
        &mut self,
        resource_group: &str,
        name: &str,
        now: Time,
    ) -> Result<&mut Group, ApiError> {
        self.resource_group(resource_group)?;
        self.group(&Key::new(resource_group, name), now)
            .ok_or_else(|| ApiError::resource_not_found(resource_group, name))
    }

    /// Brings everything up to `now`.
    pub(crate) fn advance_all(&mut self, now: Time) {
        self.groups
            .retain(|_, group| group.life.gone_at.is_none_or(|at| at > now));
        for group in self.groups.values_mut() {
            group.life.advance(now);
        }
    }

    /// The next loopback address of 127.64.0.0/10, without `.0` and `.255`.
    pub(crate) fn allocate_ip(&mut self) -> Ipv4Addr {
        const USABLE: u32 = 254;
        const NETS: u32 = 1 << 14;
        let n = self.next_ip;
        self.next_ip = (n + 1) % (USABLE * NETS);
        let base = u32::from(Ipv4Addr::new(127, 64, 0, 0));
        Ipv4Addr::from(base + (n / USABLE) * 256 + n % USABLE + 1)
    }

    /// Refuses what is above the quota of a region.
    pub(crate) fn check_quota(
        &mut self,
        key: &Key,
        location: &str,
        cores: f64,
        settings: &Settings,
        now: Time,
    ) -> Result<(), ApiError> {
        self.advance_all(now);
        let region = normal(location);
        let quota = (settings.quota_groups, settings.quota_cores);
        let (mut groups, mut used) = (settings.others_groups, settings.others_cores);
        for (_, group) in self
            .groups
            .iter()
            .filter(|(other, group)| *other != key && normal(&group.location) == region)
        {
            groups += 1;
            if group.life.uses_cores() {
                used += group.cores;
            }
        }
        let refuse = |kind: &str, limit: String, usage: String, requested: String| {
            Err(ApiError::bad(
                "ContainerGroupQuotaReached",
                format!(
                    "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota '{kind}' exceeded in region '{region}'. Limit: '{limit}', Usage: '{usage}' Requested: '{requested}'."
                ),
            ))
        };
        if groups >= quota.0 {
            return refuse(
                "ContainerGroups",
                quota.0.to_string(),
                groups.to_string(),
                "1".to_owned(),
            );
        }
        if used + cores > quota.1 + 1e-6 {
            return refuse(
                "StandardCores",
                quota.1.to_string(),
                used.to_string(),
                cores.to_string(),
            );
        }
        Ok(())
    }
}

/// A region's short form: "East US" is `eastus`.
pub(crate) fn normal(location: &str) -> String {
    location
        .chars()
        .filter(|c| *c != ' ')
        .flat_map(char::to_lowercase)
        .collect()
}

/// A region's display form, as the provider lists it.
pub(crate) fn display(region: &str) -> String {
    const WORDS: [&str; 22] = [
        "southeast",
        "northeast",
        "australia",
        "germany",
        "central",
        "sweden",
        "france",
        "canada",
        "brazil",
        "europe",
        "north",
        "south",
        "japan",
        "korea",
        "india",
        "west",
        "east",
        "asia",
        "uae",
        "us",
        "uk",
        "norway",
    ];
    let mut rest = region;
    let mut parts: Vec<String> = Vec::new();
    while !rest.is_empty() {
        let Some((word, after)) = WORDS
            .iter()
            .find_map(|word| Some((*word, rest.strip_prefix(word)?)))
        else {
            // A number, or a name this table does not know: kept as it is.
            parts.push(rest.to_owned());
            break;
        };
        parts.push(match word {
            "us" | "uk" | "uae" => word.to_uppercase(),
            _ => {
                let (head, tail) = word.split_at(1);
                format!("{}{tail}", head.to_uppercase())
            }
        });
        rest = after;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_have_two_forms() {
        for (short, long) in [
            ("eastus", "East US"),
            ("westus2", "West US 2"),
            ("westeurope", "West Europe"),
            ("uksouth", "UK South"),
            ("germanywestcentral", "Germany West Central"),
            ("southeastasia", "Southeast Asia"),
            ("mars", "mars"),
        ] {
            assert_eq!(display(short), long);
            assert_eq!(normal(long), short);
        }
    }

    #[test]
    fn addresses_are_loopback_and_distinct() {
        let mut world = World::new(&Config::default());
        let first: Vec<Ipv4Addr> = (0..600).map(|_| world.allocate_ip()).collect();
        assert_eq!(first.first(), Some(&Ipv4Addr::new(127, 64, 0, 1)));
        assert_eq!(first.get(253), Some(&Ipv4Addr::new(127, 64, 0, 254)));
        assert_eq!(first.get(254), Some(&Ipv4Addr::new(127, 64, 1, 1)));
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert_eq!(distinct.len(), 600);
    }
}
