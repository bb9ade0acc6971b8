//! What is to be: the objects of one connector, from the arguments, the cluster and what is there already. PURE.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value, json};

use super::args::{CloudArgs, InstallArgs};
use super::facts::Facts;
use super::identity::Choice;
use crate::api::names::{LABEL_CONNECTOR, secret_keys};
use crate::api::{
    Cloud, CredentialsType, CustomCloud, Os, OsType, VirtualKubeletConnector,
    VirtualKubeletConnectorSpec, node_name,
};
use crate::azure::ManagedCluster;
use crate::azure::model::SecretText;
use crate::azure::resources::normal_region;

/// Label of what these commands have made, so that the removal takes nothing else.
pub(super) const MADE_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "vkc");
/// Label of roles that become a part of the operator's rights.
const NODE_NAMES: &str = "virtual-kubelet.io/node-names";
/// The minor version of Kubernetes since which a role names nodes by constrained impersonation.
pub(super) const CONSTRAINED_SINCE: u32 = 36;
/// A connector's name and region together, so that its nodes' names fit into 63 characters.
const NAME_AND_REGION: usize = 38;

/// What the operator's Secret holds.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    pub(super) client_id: String,
    pub(super) secret: SecretText,
}

/// What is known besides the arguments.
pub(super) struct Known<'a> {
    pub(super) facts: &'a Facts,
    pub(super) choice: &'a Choice,
    /// With [`Choice::ServicePrincipal`].
    pub(super) principal: Option<Principal>,
    pub(super) tenant: Option<String>,
    pub(super) subscription: Option<String>,
    pub(super) existing: Option<&'a VirtualKubeletConnector>,
    /// PEM of `--ca-file`.
    pub(super) ca: Option<Vec<u8>>,
    /// Whether an existing connector gets the operating systems that it lacks.
    pub(super) adds: bool,
}

/// The objects of a connector.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) secret: Option<Secret>,
    /// The nodes that it may act as.
    pub(super) nodes: Vec<(Os, String)>,
    pub(super) connector: Change,
    /// What the spec will be.
    pub(super) spec: VirtualKubeletConnectorSpec,
}

/// What happens to the connector.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Create(Value),
    /// A merge patch; `{}` changes nothing.
    Patch(Value),
}

impl Change {
    /// Whether the connector stays as it is.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Change::Patch(patch) if *patch == json!({}))
    }
}

/// Why there is no plan. Nothing was written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    #[error("{}", missing(.0))]
    Missing(Vec<&'static str>),
    #[error(
        "give {0} (or {1} in the environment), or log in to the Azure CLI, which knows it: az login"
    )]
    NoLogin(&'static str, &'static str),
    #[error("--location {0:?} names no region; write it like eastus or \"East US\"")]
    Region(String),
    #[error(
        "the connector's name and its region together have {0} characters, and {NAME_AND_REGION} fit into the names of its nodes; choose a shorter --connector-name"
    )]
    TooLong(usize),
    #[error(
        "connector {name} has {field} {is}, not {wanted}, and that cannot be changed; give another --connector-name"
    )]
    Immutable {
        name: String,
        field: &'static str,
        is: String,
        wanted: String,
    },
    #[error("connector {0} has no {1} node; install-connector --os-type {1} adds one")]
    NoSuchNode(String, &'static str),
    #[error(
        "--cloud Custom needs --resource-manager-endpoint and --authority-host, and they are for --cloud Custom only"
    )]
    Cloud,
    #[error("what the arguments make is no connector: {0}")]
    Spec(String),
}

const NO_TENANT: PlanError = PlanError::NoLogin("--tenant", secret_keys::TENANT_ID);
const NO_SUBSCRIPTION: PlanError =
    PlanError::NoLogin("--subscription", secret_keys::SUBSCRIPTION_ID);

fn missing(flags: &[&str]) -> String {
    format!(
        "give {}, or the cluster that has them by --name and --resource-group",
        flags.join(" and ")
    )
}

/// Makes the plan.
///
/// # Errors
/// The first thing that the arguments lack or get wrong.
pub(super) fn plan(args: &InstallArgs, known: &Known<'_>) -> Result<Plan, PlanError> {
    let name = &args.target.connector_name;
    let (connector, spec) = match known.existing {
        Some(existing) => changed(args, known, existing)?,
        None => created(args, known)?,
    };
    let length = name.len() + spec.region.len();
    if length > NAME_AND_REGION {
        return Err(PlanError::TooLong(length));
    }
    let secret_name = spec
        .credentials
        .as_ref()
        .and_then(|credentials| credentials.secret_ref.as_ref())
        .map(|reference| reference.name.clone());
    let secret = known
        .principal
        .as_ref()
        .zip(secret_name)
        .map(|(principal, secret)| self::secret(args, known, &spec, principal, secret));
    let node = |os: Os| (os, node_name(name, os, &spec.region));
    Ok(Plan {
        name: name.clone(),
        namespace: args.target.namespace.clone(),
        secret,
        nodes: spec.operating_systems().into_iter().map(node).collect(),
        connector,
        spec,
    })
}

fn created(
    args: &InstallArgs,
    known: &Known<'_>,
) -> Result<(Change, VirtualKubeletConnectorSpec), PlanError> {
    let cluster = known.facts.cluster.as_ref();
    let location = args.location.clone();
    let location = location.or_else(|| cluster.map(|it| it.location.clone()));
    let group = args.aci_resource_group.clone();
    let group = group.or_else(|| cluster.map(|it| it.properties.node_resource_group.clone()));
    let (Some(location), Some(group)) = (&location, &group) else {
        let flags = [("--location", &location), ("--aci-resource-group", &group)];
        let missing = flags.iter().filter(|(_, given)| given.is_none());
        return Err(PlanError::Missing(missing.map(|(flag, _)| *flag).collect()));
    };
    let mut spec = Map::new();
    spec.insert("osType".to_owned(), json!(args.os_type));
    let (cloud, custom) = cloud(&args.cloud, known.ca.as_deref())?;
    if cloud != Cloud::default() {
        spec.insert("cloud".to_owned(), json!(cloud));
    }
    if let Some(custom) = custom {
        spec.insert("customCloud".to_owned(), json!(custom));
    }
    spec.insert("region".to_owned(), json!(region(location)?));
    spec.insert("aciResourceGroup".to_owned(), json!(group));
    // A Secret of ours says it too; an identity without one says nothing.
    if known.principal.is_none()
        && let Some(subscription) = &known.subscription
    {
        spec.insert("subscriptionID".to_owned(), json!(subscription));
    }
    if let Some(subnet) = args.subnet.as_ref().or(known.facts.subnet_id()) {
        spec.insert("subnetID".to_owned(), json!(subnet));
    } else if !args.no_public_ip {
        spec.insert("publicIP".to_owned(), json!(true));
    }
    let network = cluster.map(|it| network(it, spec.contains_key("subnetID")));
    if let Some(network) = network.filter(|it| !it.is_empty()) {
        spec.insert("network".to_owned(), json!(network));
    }
    if let Some(credentials) = credentials(args, known, None)? {
        spec.insert("credentials".to_owned(), credentials);
    }
    let connector = json!({
        "apiVersion": "virtual-kubelet.io/v1alpha1", "kind": "VirtualKubeletConnector",
        "metadata": {"name": args.target.connector_name},
        "spec": spec,
    });
    let typed = typed(&Value::Object(spec))?;
    Ok((Change::Create(connector), typed))
}

/// What containers are told of a managed cluster. Only those in a subnet can ask its DNS.
fn network(cluster: &ManagedCluster, in_subnet: bool) -> Map<String, Value> {
    let mut network = Map::new();
    let dns = &cluster.properties.network_profile.dns_service_ip;
    if in_subnet && !dns.is_empty() {
        network.insert("clusterDNS".to_owned(), json!([dns]));
    }
    if let Some(host) = cluster.hosts().next() {
        network.insert("kubernetesServiceHost".to_owned(), json!(host));
    }
    network
}

/// What an existing connector gets: only what was asked for.
fn changed(
    args: &InstallArgs,
    known: &Known<'_>,
    existing: &VirtualKubeletConnector,
) -> Result<(Change, VirtualKubeletConnectorSpec), PlanError> {
    let name = &args.target.connector_name;
    let is = &existing.spec;
    let fixed = |field: &'static str, is: &str, wanted: &str| {
        if is.eq_ignore_ascii_case(wanted) {
            return Ok(());
        }
        Err(PlanError::Immutable {
            name: name.clone(),
            field,
            is: is.to_owned(),
            wanted: wanted.to_owned(),
        })
    };
    if let Some(location) = &args.location {
        fixed("region", &is.region, &region(location)?)?;
    }
    if let Some(group) = &args.aci_resource_group {
        fixed("aciResourceGroup", &is.aci_resource_group, group)?;
    }
    if let (Some(was), Some(wanted)) = (&is.subscription_id, &args.target.subscription) {
        fixed("subscriptionID", was, wanted)?;
    }
    let mut patch = Map::new();
    let has = is.operating_systems();
    let lacks = args
        .os_type
        .operating_systems()
        .into_iter()
        .find(|os| !has.contains(os));
    match lacks {
        Some(os) if !known.adds => {
            return Err(PlanError::NoSuchNode(name.clone(), os.arm()));
        }
        Some(_) => {
            // One of each: whichever it had, it has both now.
            patch.insert("osType".to_owned(), json!(OsType::Both));
        }
        None => {}
    }
    if let Some(subnet) = &args.subnet {
        patch.insert("subnetID".to_owned(), json!(subnet));
        patch.insert("publicIP".to_owned(), json!(false));
    } else if args.no_public_ip {
        patch.insert("publicIP".to_owned(), json!(false));
    }
    if let Some(credentials) = credentials(args, known, Some(is))? {
        patch.insert("credentials".to_owned(), credentials);
    }
    let mut merged = json!(is);
    patch.retain(|field, value| merged.get(field.as_str()) != Some(value));
    if let Some(fields) = merged.as_object_mut() {
        fields.extend(patch.clone());
    }
    let typed = typed(&merged)?;
    let patch = if patch.is_empty() {
        json!({})
    } else {
        json!({"spec": patch})
    };
    Ok((Change::Patch(patch), typed))
}

fn typed(spec: &Value) -> Result<VirtualKubeletConnectorSpec, PlanError> {
    serde_json::from_value(spec.clone()).map_err(|error| PlanError::Spec(error.to_string()))
}

fn region(text: &str) -> Result<String, PlanError> {
    let region = normal_region(text);
    if region.is_empty() {
        return Err(PlanError::Region(text.to_owned()));
    }
    Ok(region)
}

/// The cloud that the arguments name; `ca` is what `--ca-file` holds.
///
/// # Errors
/// [`PlanError::Cloud`].
pub(super) fn cloud(
    args: &CloudArgs,
    ca: Option<&[u8]>,
) -> Result<(Cloud, Option<CustomCloud>), PlanError> {
    let endpoints = args
        .resource_manager_endpoint
        .clone()
        .zip(args.authority_host.clone());
    match (args.cloud, endpoints) {
        // Endpoints say enough.
        (Cloud::AzurePublicCloud | Cloud::Custom, Some((manager, authority))) => Ok((
            Cloud::Custom,
            Some(CustomCloud {
                resource_manager_endpoint: manager,
                authority_host: authority,
                audience: args.audience.clone(),
                ca_bundle: ca.map(|pem| STANDARD.encode(pem)),
            }),
        )),
        (Cloud::Custom, None) | (_, Some(_)) => Err(PlanError::Cloud),
        (named, None) => Ok((named, None)),
    }
}

/// `credentials` of the spec; `None` leaves them as they are.
fn credentials(
    args: &InstallArgs,
    known: &Known<'_>,
    existing: Option<&VirtualKubeletConnectorSpec>,
) -> Result<Option<Value>, PlanError> {
    let secret = |name: &str| json!({"type": CredentialsType::ServicePrincipal, "secretRef": {"name": name}});
    Ok(match known.choice {
        Choice::Unchanged | Choice::Operator => None,
        Choice::ServicePrincipal(_) => {
            if known.tenant.is_none() {
                return Err(NO_TENANT);
            }
            if known.subscription.is_none() {
                return Err(NO_SUBSCRIPTION);
            }
            // A new secret goes to where the connector looks for it.
            let named = existing
                .and_then(|spec| spec.credentials.as_ref())
                .filter(|it| it.type_ == CredentialsType::ServicePrincipal);
            match named {
                Some(_) => None,
                None => Some(secret(&format!(
                    "{}-credentials",
                    args.target.connector_name
                ))),
            }
        }
        Choice::Secret(name) => Some(secret(name)),
        Choice::Workload(client) => {
            let Some(tenant) = &known.tenant else {
                return Err(NO_TENANT);
            };
            Some(
                json!({"type": CredentialsType::WorkloadIdentity, "clientID": client, "tenantID": tenant}),
            )
        }
        Choice::Managed(client) => {
            let kind = CredentialsType::ManagedIdentity;
            Some(match client {
                Some(client) => json!({"type": kind, "clientID": client}),
                None => json!({"type": kind}),
            })
        }
    })
}

fn secret(
    args: &InstallArgs,
    known: &Known<'_>,
    spec: &VirtualKubeletConnectorSpec,
    principal: &Principal,
    name: String,
) -> Secret {
    let mut data = vec![
        (secret_keys::CLIENT_ID, principal.client_id.clone()),
        (
            secret_keys::CLIENT_SECRET,
            principal.secret.expose().to_owned(),
        ),
    ];
    data.extend(known.tenant.clone().map(|id| (secret_keys::TENANT_ID, id)));
    let subscription = spec.subscription_id.clone();
    let subscription = subscription.or_else(|| known.subscription.clone());
    data.extend(subscription.map(|id| (secret_keys::SUBSCRIPTION_ID, id)));
    // It goes to no other custom cloud than the one that it names.
    if let Some(custom) = &spec.custom_cloud {
        data.push((secret_keys::AUTHORITY_HOST, custom.authority_host.clone()));
        let manager = custom.resource_manager_endpoint.clone();
        data.push((secret_keys::RESOURCE_MANAGER_ENDPOINT, manager));
    }
    let bytes = |(key, text): (&str, String)| (key.to_owned(), ByteString(text.into_bytes()));
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(args.target.namespace.clone()),
            labels: Some(labels(&args.target.connector_name)),
            ..ObjectMeta::default()
        },
        data: Some(data.into_iter().map(bytes).collect()),
        ..Secret::default()
    }
}

/// Labels of what these commands make for a connector.
fn labels(connector: &str) -> std::collections::BTreeMap<String, String> {
    [MADE_BY, (LABEL_CONNECTOR, connector)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

/// Name of the `ClusterRole` with a connector's nodes.
pub(super) fn role_name(connector: &str) -> String {
    format!("vkc-nodes-{connector}")
}

impl Plan {
    /// The right to act as its nodes; `constrained` since Kubernetes 1.36 (KEP-5284). Never both: an API server that may
    /// impersonate in either way remembers the one that worked last.
    pub(super) fn role(&self, constrained: bool) -> ClusterRole {
        let names = self.nodes.iter().map(|(_, node)| node.clone());
        let rule = |group: &str, resource: &str, names: Vec<String>, verb: &str| PolicyRule {
            api_groups: Some(vec![group.to_owned()]),
            resources: Some(vec![resource.to_owned()]),
            resource_names: Some(names),
            verbs: vec![verb.to_owned()],
            ..PolicyRule::default()
        };
        let rules = if constrained {
            let names = names.collect();
            vec![rule(
                "authentication.k8s.io",
                "nodes",
                names,
                "impersonate:arbitrary-node",
            )]
        } else {
            let users = names.map(|node| format!("system:node:{node}")).collect();
            let groups = vec!["system:nodes".to_owned()];
            vec![
                rule("", "users", users, "impersonate"),
                rule("", "groups", groups, "impersonate"),
            ]
        };
        let mut labels = labels(&self.name);
        labels.insert(NODE_NAMES.to_owned(), "true".to_owned());
        ClusterRole {
            metadata: ObjectMeta {
                name: Some(role_name(&self.name)),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            rules: Some(rules),
            ..ClusterRole::default()
        }
    }
}

#[cfg(test)]
mod tests;
