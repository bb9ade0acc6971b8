//! What a container group has besides its containers: from the connector, and from the pod's annotations, which win.
//!
//! Rules that ACI has across these members are checked here, before the call (Azure Container Instances: service limits,
//! Spot containers, confidential containers, virtual network scenarios).

use std::collections::BTreeMap;

use super::annotations::{
    Asked, DNS_LABEL, DNS_LABEL_SCOPE, IMAGE_CACHE, KUBE_PROXY, LOG_ANALYTICS, LOG_TYPE, PRIORITY,
    PUBLIC_IP, REALTIME_METRICS, STANDBY_POOL, SUBNET, TAGS, ZONE,
};
use super::fields::Fields;
use super::resources::Ceiling;
use super::review::Review;
use crate::api::{ContainerGroupSku, Os, Priority};
use crate::azure::model::{
    Confidential, Container, ContainerGroup, Diagnostics, Encryption, Extension,
    ExtensionProperties, Identity, InitContainer, LogAnalytics,
};
use crate::translate::defaults::GroupDefaults;
use crate::translate::identity::PodKey;

mod identity;
mod protection;
mod vault;

use vault::Vault;

/// Reason of a refusal that is retried: the connector's Secret.
const NO_WORKSPACE_KEY: &str = "LogAnalyticsKeyMissing";

/// Tags that a pod may ask for, and ARM's limits on their names and values, in characters.
const MAX_TAGS: usize = 10;
const MAX_TAG_NAME: usize = 512;
const MAX_TAG_VALUE: usize = 256;
/// Tags of a connector, of the 50 that ARM takes: the rest is for the operator.
const CONNECTOR_TAGS: usize = 39;

/// A setting and where it comes from.
#[derive(Debug, Clone)]
struct Setting<T> {
    value: T,
    place: String,
}

impl<T> Setting<T> {
    /// The connector says so.
    fn connector(value: T, field: &str) -> Self {
        let place = format!("connector.spec.containerGroup.{field}");
        Self { value, place }
    }
}

/// A name of the public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DnsLabel {
    pub(super) label: String,
    pub(super) scope: Option<&'static str>,
    /// Where the pod says so.
    pub(super) place: String,
}

/// What the group's address may be.
#[derive(Debug, Clone, Default)]
pub(super) struct Network {
    pub(super) subnet_id: Option<String>,
    /// Whether declared ports get a public address.
    pub(super) public_ip: bool,
    /// Name of the public address.
    pub(super) dns_label: Option<DnsLabel>,
}

/// What the group of one pod is to have.
#[derive(Debug)]
pub(super) struct Features {
    pub(super) network: Network,
    identity: Option<Identity>,
    zone: Option<String>,
    /// All ARM tags but the operator's.
    pub(super) tags: BTreeMap<String, String>,
    priority: Setting<Priority>,
    sku: Setting<ContainerGroupSku>,
    cce_policy: Option<String>,
    encryption: Option<Encryption>,
    diagnostics: Option<Diagnostics>,
    extensions: Vec<Extension>,
    vault: Vault,
}

impl Features {
    /// Puts together what the connector says and what the pod has `asked` for.
    pub(super) fn read(asked: &Asked<'_>, fields: &Fields<'_>, review: &mut Review) -> Self {
        let defaults = fields.defaults;
        unavailable(asked, review);
        let identity = identity::identity(asked, &defaults.identity_ids, review);
        let network = network(asked, fields, review);
        let (sku, cce_policy) = protection::sku(asked, defaults.sku, review);
        Self {
            vault: Vault::read(asked, identity.as_ref(), review),
            encryption: protection::encryption(asked, identity.as_ref(), review),
            identity,
            zone: zone(asked, defaults, review),
            tags: tags(asked, &defaults.tags, review),
            priority: priority(asked, defaults.priority, review),
            sku,
            cce_policy,
            diagnostics: diagnostics(asked, fields, review),
            extensions: extensions(asked, &network, review),
            network,
        }
    }

    /// The largest group of this kind.
    pub(super) fn ceiling(&self) -> Ceiling {
        match (self.priority.value, self.sku.value) {
            (Priority::Spot, _) => Ceiling::SPOT,
            (_, ContainerGroupSku::Confidential) => Ceiling::CONFIDENTIAL,
            _ => Ceiling::STANDARD,
        }
    }

    /// Refuses what ACI does not take together. `addressed`: the group is to have an address.
    pub(super) fn check(&self, addressed: bool, review: &mut Review) {
        let windows = review.os == Os::Windows;
        let spot = self.priority.value == Priority::Spot;
        let confidential = self.sku.value == ContainerGroupSku::Confidential;
        let (priority, sku) = (&self.priority.place, &self.sku.place);
        for (place, wrong, why) in [
            (
                priority,
                spot && windows,
                "Spot container groups are for Linux; use Regular",
            ),
            (
                priority,
                spot && self.sku.value != ContainerGroupSku::Standard,
                "Spot container groups have the SKU Standard; use Regular, or that SKU",
            ),
            (
                priority,
                spot && self.network.subnet_id.is_some(),
                "Spot container groups cannot be in a subnet; use Regular, or a connector without subnetID",
            ),
            (
                priority,
                spot && self.network.subnet_id.is_none() && addressed,
                "Spot container groups have no IP address; use Regular, remove the ports, or set the annotation \
                 virtual-kubelet.io/public-ip to false",
            ),
            (
                sku,
                confidential && windows,
                "confidential container groups are for Linux; use Standard",
            ),
        ] {
            if wrong {
                review.refuse(place.clone(), why.to_owned());
            }
        }
    }

    /// Gives the containers the variables whose values ACI reads itself.
    pub(super) fn add_key_vault_variables(
        &self,
        containers: &mut [Container],
        inits: &mut [InitContainer],
        review: &mut Review,
    ) {
        self.vault.add_variables(containers, inits, review);
    }

    /// Puts all but the network into `group`, which has its registry credentials.
    pub(super) fn write_into(self, group: &mut ContainerGroup) {
        let credentials = group.properties.image_registry_credentials.iter();
        let pullers = credentials.filter_map(|it| it.identity.as_deref());
        group.identity = identity::with_pullers(self.identity, pullers);
        group.zones = self.zone.into_iter().collect();
        let properties = &mut group.properties;
        properties.sku = Some(self.sku.value.as_str().to_owned());
        properties.priority = (self.priority.value == Priority::Spot).then(|| "Spot".to_owned());
        properties.confidential_compute_properties = self
            .cce_policy
            .map(|cce_policy| Confidential { cce_policy });
        properties.encryption_properties = self.encryption;
        properties.diagnostics = self.diagnostics;
        properties.extensions = self.extensions;
        properties.secret_references = self.vault.into_references();
    }
}

/// Refuses what there is no way to have.
fn unavailable(asked: &Asked<'_>, review: &mut Review) {
    for (key, why) in [
        (
            KUBE_PROXY,
            "ACI's kube-proxy needs a credential for the cluster inside the pod's container group, and the operator gives \
             its own to nobody; set it to false",
        ),
        (
            IMAGE_CACHE,
            "there are no pools that keep images; set it to false",
        ),
    ] {
        if asked.flag(key, review) == Some(true)
            && let Some(written) = asked.get(key)
        {
            review.refuse(written.path(), why.to_owned());
        }
    }
    if let Some(written) = asked.get(STANDBY_POOL) {
        let why = "a connector cannot yet say which standby pools its pods may use; remove it";
        review.refuse(written.path(), why.to_owned());
    }
}

/// The first of the zones that are preferred which is not full; the first, when all are.
fn zone(asked: &Asked<'_>, defaults: &GroupDefaults, review: &mut Review) -> Option<String> {
    let preferred: Vec<&str> = if asked.get(ZONE).is_some() {
        asked.words(ZONE, &["1", "2", "3", "none"], review)
    } else {
        defaults.zones.iter().map(String::as_str).collect()
    };
    let full = |zone: &str| defaults.full_zones.iter().any(|it| it == zone);
    let zone = preferred.iter().find(|zone| !full(zone));
    let zone = zone.or(preferred.first()).copied();
    zone.filter(|zone| *zone != "none").map(str::to_owned)
}

/// The ARM tags of the group that are not the operator's: the connector's, and those of the pod that it has not itself.
fn tags(
    asked: &Asked<'_>,
    of_connector: &BTreeMap<String, String>,
    review: &mut Review,
) -> BTreeMap<String, String> {
    let mut tags = of_connector.clone();
    let Some(written) = asked.get(TAGS) else {
        return tags;
    };
    let entries = written.value.split(';').map(str::trim);
    let entries: Vec<&str> = entries.filter(|entry| !entry.is_empty()).collect();
    let pairs = entries.iter().map(|entry| {
        let (name, value) = entry.split_once(['=', ':'])?;
        let (name, value) = (name.trim(), value.trim());
        let fits = (1..=MAX_TAG_NAME).contains(&name.chars().count())
            && !name.contains(|c: char| "<>%&\\?/".contains(c) || c.is_control())
            && value.chars().count() <= MAX_TAG_VALUE;
        fits.then_some((name, value))
    });
    let pairs: Option<Vec<(&str, &str)>> = pairs.collect();
    let Some(pairs) = pairs.filter(|pairs| (1..=MAX_TAGS).contains(&pairs.len())) else {
        written.invalid(
            "at most 10 of NAME=VALUE, separated by semicolons: names of 512 characters without < > % & \\ ? /, values of 256",
            review,
        );
        return tags;
    };
    // What ARM takes beside the operator's own is the connector's first.
    let room = CONNECTOR_TAGS.saturating_sub(of_connector.len());
    let known = |name: &str| of_connector.keys().any(|it| it.eq_ignore_ascii_case(name));
    for (name, value) in pairs
        .into_iter()
        .filter(|(name, _)| !known(name))
        .take(room)
    {
        tags.insert(name.to_owned(), value.to_owned());
    }
    tags
}

fn priority(asked: &Asked<'_>, default: Priority, review: &mut Review) -> Setting<Priority> {
    match (
        asked.get(PRIORITY),
        asked.word(PRIORITY, &["Regular", "Spot"], review),
    ) {
        (Some(written), Some(word)) => Setting {
            value: if word == "Spot" {
                Priority::Spot
            } else {
                Priority::Regular
            },
            place: written.path(),
        },
        _ => Setting::connector(default, "priority"),
    }
}

/// Where the group is and how it is reached: never more than the connector gives.
fn network(asked: &Asked<'_>, fields: &Fields<'_>, review: &mut Review) -> Network {
    let defaults = fields.defaults;
    if let Some(written) = asked.get(SUBNET) {
        // ARM IDs are case-insensitive.
        let same = defaults
            .subnet_id
            .as_ref()
            .is_some_and(|id| id.eq_ignore_ascii_case(written.value));
        if !same {
            let has = defaults.subnet_id.as_ref().map_or_else(
                || "the connector has none".to_owned(),
                |id| format!("the connector's is {id}"),
            );
            let message =
                format!("a pod cannot choose another subnet, and {has}; use another connector");
            written.not_allowed(message, review);
        }
    }
    let public = asked.flag(PUBLIC_IP, review);
    if public == Some(true)
        && !defaults.public_ip
        && let Some(written) = asked.get(PUBLIC_IP)
    {
        let message =
            "the connector gives no public addresses; only its publicIP can change that".to_owned();
        written.not_allowed(message, review);
    }
    Network {
        subnet_id: defaults.subnet_id.clone(),
        public_ip: defaults.public_ip && public != Some(false),
        dns_label: dns_label(asked, review),
    }
}

fn dns_label(asked: &Asked<'_>, review: &mut Review) -> Option<DnsLabel> {
    let scopes = [
        "Unsecure",
        "TenantReuse",
        "SubscriptionReuse",
        "ResourceGroupReuse",
        "Noreuse",
    ];
    let scope = asked.word(DNS_LABEL_SCOPE, &scopes, review);
    let Some(written) = asked.get(DNS_LABEL) else {
        if let Some(written) = asked.get(DNS_LABEL_SCOPE) {
            let why =
                format!("without effect unless {DNS_LABEL} is set; set it, or remove this one");
            review.refuse(written.path(), why);
        }
        return None;
    };
    let label = written.value;
    let fits = (5..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-');
    if !fits {
        written.invalid(
            "5 to 63 lower-case letters, digits and hyphens, none of these first or last",
            review,
        );
        return None;
    }
    Some(DnsLabel {
        label: label.to_owned(),
        scope,
        place: written.path(),
    })
}

fn diagnostics(asked: &Asked<'_>, fields: &Fields<'_>, review: &mut Review) -> Option<Diagnostics> {
    let off = asked.word(LOG_ANALYTICS, &["off"], review).is_some();
    let log_type = asked.word(
        LOG_TYPE,
        &["ContainerInsights", "ContainerInstanceLogs"],
        review,
    );
    let Some(workspace) = fields.defaults.log_analytics.as_ref().filter(|_| !off) else {
        if let Some(written) = asked.get(LOG_TYPE) {
            let why = if off {
                "the pod has switched its logs off"
            } else {
                "the connector has no logAnalytics"
            };
            review.refuse(written.path(), format!("{why}; remove it"));
        }
        return None;
    };
    if workspace.key.is_none() {
        review.refuse_until_present(
            NO_WORKSPACE_KEY,
            "connector.spec.containerGroup.logAnalytics.secretRef".to_owned(),
            "the key of the Log Analytics workspace is missing; the connector's status says what to do, and then the pod \
             starts"
                .to_owned(),
        );
    }
    Some(Diagnostics {
        log_analytics: LogAnalytics {
            workspace_id: workspace.id.clone(),
            workspace_key: workspace.key.clone().unwrap_or_default(),
            log_type: log_type.map(str::to_owned),
            metadata: metadata(fields),
        },
    })
}

/// Which pod a record in the workspace is of.
fn metadata(fields: &Fields<'_>) -> BTreeMap<String, String> {
    let Some(key) = PodKey::of(fields.pod) else {
        return BTreeMap::new();
    };
    [
        ("pod-namespace", key.namespace),
        ("pod-name", key.name),
        ("pod-uuid", key.uid),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn extensions(asked: &Asked<'_>, network: &Network, review: &mut Review) -> Vec<Extension> {
    let Some(written) = asked
        .get(REALTIME_METRICS)
        .filter(|_| asked.flag(REALTIME_METRICS, review) == Some(true))
    else {
        return Vec::new();
    };
    if review.os == Os::Windows || network.subnet_id.is_none() {
        let why = "the extension serves metrics on the pod's private address, of Linux containers; use a Linux node whose \
                   connector has a subnetID, or set it to false";
        review.refuse(written.path(), why.to_owned());
        return Vec::new();
    }
    // Name and version of the specification's own example, ContainerGroupExtensions.
    vec![Extension {
        name: "vk-realtime-metrics".to_owned(),
        properties: ExtensionProperties {
            extension_type: "realtime-metrics".to_owned(),
            version: "1.0".to_owned(),
        },
    }]
}
