//! Which agents should run, and the steps from those that do. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::capacity::Region;
use crate::agent::AgentSpec;
use crate::api::{
    CapacitySource, Network, OrphanPolicy, Os, VirtualKubeletConnector,
    VirtualKubeletConnectorSpec, node_name,
};
use crate::azure::model::SecretText;
use crate::node::spec::NodeSpec;
use crate::tenure::Tenure;
use crate::translate::{ClusterDns, GroupDefaults, Service, Workspace};

/// The facts beside the spec that an agent is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectorIdentity {
    pub name: String,
    pub uid: String,
    /// UID of the `kube-system` namespace.
    pub cluster_uid: String,
    /// The cluster's DNS, as the operator was told it.
    pub cluster_dns: ClusterDns,
    /// Key of the Log Analytics workspace; `None` when the spec names none, or its Secret does not give it.
    pub workspace_key: Option<SecretText>,
    /// Login that the shim's image is pulled with, likewise.
    pub shim_login: Option<(String, SecretText)>,
    /// What Azure has said of the region.
    pub region: Region,
    /// The value of the annotation that agrees to the deletion of many groups without a pod.
    pub approved_orphans: Option<String>,
    /// Whose time with the connector it is.
    pub tenure: Option<Arc<Tenure>>,
}

/// The agent of one operating system. `retiring`: its node is on its way out, takes no pods and makes no groups.
pub fn agent_spec(
    identity: &ConnectorIdentity,
    spec: &VirtualKubeletConnectorSpec,
    os: Os,
    retiring: bool,
) -> AgentSpec {
    let spec = &spec.on(os);
    let requests = spec.container_requests();
    let template = &spec.container_group;
    let quiet = retiring || spec.suspend;
    let capacity = spec.capacity();
    let allocatable = match spec.node.capacity_source {
        CapacitySource::Static => Some(capacity.clone()),
        CapacitySource::Quota => identity.region.allocatable(os, capacity.clone()),
    };
    AgentSpec {
        connector: identity.name.clone(),
        connector_uid: identity.uid.clone(),
        cluster_uid: identity.cluster_uid.clone(),
        resource_group: spec.aci_resource_group.clone(),
        node: NodeSpec {
            name: node_name(&identity.name, os, &spec.region),
            os,
            region: spec.region.clone(),
            connector: identity.name.clone(),
            connector_uid: identity.uid.clone(),
            labels: labels(&spec.node.labels),
            annotations: spec.node.annotations.clone(),
            taints: spec.taints(),
            capacity,
            allocatable,
            unschedulable: quiet,
        },
        groups: GroupDefaults {
            os,
            region: spec.region.clone(),
            subnet_id: spec.subnet_id.clone(),
            public_ip: spec.public_ip,
            zones: spec.zones.clone(),
            full_zones: Vec::new(),
            tags: spec.tags.clone(),
            default_cpu: requests.cpu,
            default_memory_gb: requests.memory_gb,
            sku: template.sku,
            priority: template.priority,
            identity_ids: template.identity_ids.clone(),
            log_analytics: template.log_analytics.as_ref().map(|workspace| Workspace {
                id: workspace.workspace_id.clone(),
                key: identity.workspace_key.clone(),
            }),
            cluster_dns: cluster_dns(&identity.cluster_dns, &spec.network),
            api_server: spec
                .network
                .api_server()
                .map(|address| Arc::new(Service::kubernetes(&address.host, address.port))),
            registry_identity_id: template.registry_identity_id.clone(),
            largest: identity.region.largest.get(&os).copied(),
            compatibility: spec.compatibility,
            shim: spec.shim.clone(),
            shim_login: identity.shim_login.clone(),
            daemon_sets: spec.daemon_sets,
            probes: spec.probes,
        },
        suspended: quiet,
        delete_orphans: spec.orphan_policy == OrphanPolicy::Delete,
        approved_orphans: identity.approved_orphans.clone(),
        allowed_namespaces: spec.allowed_namespaces.clone().map(Arc::new),
        tenure: identity.tenure.clone(),
    }
}

/// The cluster's DNS, as the operator was told it unless the connector says else.
fn cluster_dns(operator: &ClusterDns, network: &Network) -> ClusterDns {
    let mut dns = operator.clone();
    if !network.cluster_dns.is_empty() {
        dns.servers = network.dns_servers();
    }
    if let Some(domain) = &network.cluster_domain {
        dns.domain.clone_from(domain);
    }
    dns
}

/// An agent that runs, as the plan sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningAgentSnapshot {
    /// What it was last told.
    pub spec: AgentSpec,
    /// Which ARM client it uses: another number is another client.
    pub arm: u64,
    /// False when its tasks have ended by themselves.
    pub alive: bool,
}

/// What to do about one operating system.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Start(AgentSpec),
    /// Tell a running agent its new spec.
    Update(AgentSpec),
    /// Stop the agent and start it again: it died, or its ARM client is not the one in use.
    Restart(AgentSpec),
}

/// The operating systems of a connector, sorted by what is to become of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSets {
    /// The spec asks for them.
    pub wanted: BTreeSet<Os>,
    /// They were asked for once and are not any more.
    pub retiring: BTreeSet<Os>,
}

/// Sorts the operating systems. Those that were ever registered are known from the running agents and, after a restart
/// of the operator, from the connector's status.
pub fn desired_nodes(
    connector: &VirtualKubeletConnector,
    running: impl IntoIterator<Item = Os>,
) -> NodeSets {
    let deleting = connector.metadata.deletion_timestamp.is_some();
    let asked: BTreeSet<Os> = connector.spec.operating_systems().into_iter().collect();
    let listed = connector
        .status
        .iter()
        .flat_map(|status| status.nodes.iter().map(|node| node.os_type));
    let known: BTreeSet<Os> = listed.chain(running).collect();
    if deleting {
        return NodeSets {
            wanted: BTreeSet::new(),
            retiring: known,
        };
    }
    NodeSets {
        retiring: known.difference(&asked).copied().collect(),
        wanted: asked,
    }
}

/// The step for each operating system whose agent is not as it should be. `arm` is the ARM client in use, `None` when
/// there is none: then nothing is started, and what runs goes on with the client it has.
pub fn steps(
    desired: &BTreeMap<Os, AgentSpec>,
    running: &BTreeMap<Os, RunningAgentSnapshot>,
    arm: Option<u64>,
    may_start: impl Fn(Os) -> bool,
) -> BTreeMap<Os, Step> {
    let step = |os: &Os, spec: &AgentSpec| match (running.get(os), arm) {
        (None, Some(_)) => may_start(*os).then(|| Step::Start(spec.clone())),
        (None, None) => None,
        (Some(seen), Some(arm)) if !seen.alive || seen.arm != arm => {
            Some(Step::Restart(spec.clone()))
        }
        (Some(seen), _) => (seen.spec != *spec).then(|| Step::Update(spec.clone())),
    };
    desired
        .iter()
        .filter_map(|(os, spec)| Some((*os, step(os, spec)?)))
        .collect()
}

/// Workloads are kept apart by these labels, which no node may give itself (admission plugin `NodeRestriction`).
const NODE_RESTRICTION: &str = "node-restriction.kubernetes.io";

/// The labels of a template. A connector that is older than its schema may have some that are refused now.
fn labels(template: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let restricted = |key: &str| {
        let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
        let above = prefix.strip_suffix(NODE_RESTRICTION);
        above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    };
    let labels = template.iter().filter(|(key, _)| !restricted(key));
    labels
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::validate::tests::spec;
    use super::*;
    use crate::api::{VirtualKubeletConnectorStatus, VirtualNodeStatus};
    use crate::connector::capacity::{Amounts, Quota, Room};
    use serde_json::json;

    pub(in crate::connector) fn identity() -> ConnectorIdentity {
        ConnectorIdentity {
            name: "vk".to_owned(),
            uid: "uid-1".to_owned(),
            cluster_uid: "cluster".to_owned(),
            cluster_dns: ClusterDns::default(),
            workspace_key: None,
            shim_login: None,
            region: Region::default(),
            approved_orphans: None,
            tenure: None,
        }
    }

    pub(in crate::connector) fn connector(more: &serde_json::Value) -> VirtualKubeletConnector {
        let mut connector = VirtualKubeletConnector::new("vk", spec(more));
        connector.metadata.uid = Some("uid-1".to_owned());
        connector.metadata.generation = Some(3);
        connector
    }

    #[test]
    fn labels_that_isolate_workloads_are_for_administrators() {
        let template = json!({"node": {"labels": {
            "node-restriction.kubernetes.io/trusted": "true",
            "team.node-restriction.kubernetes.io/pci": "true",
            "not-node-restriction.kubernetes.io/x": "y",
            "node-restriction.kubernetes.io": "a name",
            "team": "platform",
        }}});
        let made = labels(&spec(&template).node.labels);
        let made: Vec<&str> = made.keys().map(String::as_str).collect();
        assert_eq!(
            made,
            [
                "node-restriction.kubernetes.io",
                "not-node-restriction.kubernetes.io/x",
                "team"
            ]
        );
    }

    fn with_nodes(mut connector: VirtualKubeletConnector, nodes: &[Os]) -> VirtualKubeletConnector {
        let node = |os: &Os| VirtualNodeStatus {
            name: node_name("vk", *os, "eastus"),
            os_type: *os,
            ready: None,
            pods: None,
            container_groups: None,
            drain_seconds: None,
        };
        connector.status = Some(VirtualKubeletConnectorStatus {
            nodes: nodes.iter().map(node).collect(),
            ..VirtualKubeletConnectorStatus::default()
        });
        connector
    }

    #[test]
    fn the_spec_of_an_agent() {
        let spec = spec(
            &json!({"containerGroup": {"requests": {"memory": "2G"}}, "node": {"capacity": {"cpu": "8"}}}),
        );
        let agent = agent_spec(&identity(), &spec, Os::Windows, false);
        assert_eq!(agent.node.name, "virtual-kubelet-vk-windows-eastus");
        assert!(
            (agent.groups.default_cpu - 1.0).abs() < 1e-9
                && (agent.groups.default_memory_gb - 2.0).abs() < 1e-9
        );
        assert_eq!(agent.node.capacity["cpu"], "8");
        assert_eq!((agent.suspended, agent.node.unschedulable), (false, false));
        let leaving = agent_spec(&identity(), &spec, Os::Windows, true);
        assert_eq!(
            (leaving.suspended, leaving.node.unschedulable),
            (true, true)
        );
    }

    #[test]
    fn each_node_has_its_own_settings() {
        let spec = spec(&json!({
            "zones": ["1"],
            "linux": {"zones": ["2"], "node": {"capacity": {"cpu": "64"}, "taints": []}, "containerGroup": {"priority": "Spot"}},
            "windows": {"containerGroup": {"requests": {"cpu": "4"}}},
        }));
        let of = |os| agent_spec(&identity(), &spec, os, false);
        let (linux, windows) = (of(Os::Linux), of(Os::Windows));
        assert_eq!(linux.groups.zones, ["2"]);
        assert_eq!(windows.groups.zones, ["1"]);
        assert_eq!(linux.groups.priority, crate::api::Priority::Spot);
        assert_eq!(windows.groups.priority, crate::api::Priority::Regular);
        assert_eq!((linux.node.taints.len(), windows.node.taints.len()), (0, 2));
        assert_eq!(
            (
                linux.node.capacity["cpu"].as_str(),
                windows.node.capacity["cpu"].as_str()
            ),
            ("64", "100")
        );
        assert!((windows.groups.default_cpu - 4.0).abs() < 1e-9);
        assert!((linux.groups.default_cpu - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_connector_s_network_wins_over_the_operators() {
        let told = ClusterDns {
            servers: vec!["10.0.0.10".parse().unwrap()],
            domain: "cluster.local".to_owned(),
        };
        let of = |network: serde_json::Value| {
            let identity = ConnectorIdentity {
                cluster_dns: told.clone(),
                ..identity()
            };
            let spec = spec(&json!({"network": network}));
            agent_spec(&identity, &spec, Os::Linux, false).groups
        };
        let none = of(json!({}));
        assert_eq!((&none.cluster_dns, none.api_server), (&told, None));
        let all = of(json!({
            "clusterDNS": ["10.1.0.10"], "clusterDomain": "k8s.example.com", "kubernetesServiceHost": "api.example.com:6443",
        }));
        assert_eq!(
            all.cluster_dns.servers,
            ["10.1.0.10".parse::<std::net::IpAddr>().unwrap()]
        );
        assert_eq!(all.cluster_dns.domain, "k8s.example.com");
        let api_server = all.api_server.unwrap();
        assert_eq!(
            (api_server.host.as_str(), api_server.ports[0].port),
            ("api.example.com", 6443)
        );
        assert_eq!(
            of(json!({"clusterDomain": "other"})).cluster_dns.servers,
            told.servers
        );
    }

    #[test]
    fn the_quota_decides_what_is_allocatable_where_the_spec_says_so() {
        let asked = |source: &str, region: Region| {
            let spec = spec(&json!({"node": {"capacity": {"cpu": "8"}, "capacitySource": source}}));
            let identity = ConnectorIdentity {
                region,
                ..identity()
            };
            let node = agent_spec(&identity, &spec, Os::Linux, false).node;
            assert_eq!(node.capacity["cpu"], "8");
            node.allocatable.map(|it| it["cpu"].clone())
        };
        let three = Amounts {
            millicores: Some(3_000),
            pods: Some(3),
        };
        let left = Region {
            quota: Quota::Left(Room {
                nodes: BTreeMap::from([(Os::Linux, three)]),
                all: three,
            }),
            ..Region::default()
        };
        assert_eq!(asked("Static", left.clone()).as_deref(), Some("8"));
        assert_eq!(asked("Quota", left).as_deref(), Some("3"));
        assert_eq!(asked("Quota", Region::default()), None);
    }

    #[test]
    fn an_edit_retires_exactly_one() {
        use Os::{Linux, Windows};
        let set = |list: &[Os]| list.iter().copied().collect::<BTreeSet<_>>();
        let both = connector(&json!({}));
        let linux = connector(&json!({"osType": "Linux"}));
        assert_eq!(
            desired_nodes(&both, []),
            NodeSets {
                wanted: set(&[Linux, Windows]),
                retiring: set(&[])
            }
        );
        assert_eq!(
            desired_nodes(&linux, [Linux, Windows]),
            NodeSets {
                wanted: set(&[Linux]),
                retiring: set(&[Windows])
            }
        );
        let restarted = with_nodes(linux, &[Linux, Windows]);
        assert_eq!(
            desired_nodes(&restarted, []).retiring,
            set(&[Windows]),
            "known from the status"
        );
        let mut deleted = with_nodes(both, &[Linux]);
        deleted.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                k8s_openapi::jiff::Timestamp::UNIX_EPOCH,
            ));
        assert_eq!(
            desired_nodes(&deleted, [Windows]),
            NodeSets {
                wanted: set(&[]),
                retiring: set(&[Linux, Windows])
            }
        );
    }

    #[test]
    fn steps_table() {
        let desired = |json: &serde_json::Value| {
            BTreeMap::from([(
                Os::Linux,
                agent_spec(&identity(), &spec(json), Os::Linux, false),
            )])
        };
        let seen = |arm, alive| {
            BTreeMap::from([(
                Os::Linux,
                RunningAgentSnapshot {
                    spec: desired(&json!({}))[&Os::Linux].clone(),
                    arm,
                    alive,
                },
            )])
        };
        let name = |steps: BTreeMap<Os, Step>| match steps.get(&Os::Linux) {
            None => "nothing",
            Some(Step::Start(_)) => "start",
            Some(Step::Update(_)) => "update",
            Some(Step::Restart(_)) => "restart",
        };
        let same = desired(&json!({}));
        let edited = desired(&json!({"tags": {"a": "b"}}));
        let none = BTreeMap::new();
        assert_eq!(name(steps(&same, &none, Some(1), |_| true)), "start");
        assert_eq!(
            name(steps(&same, &none, Some(1), |_| false)),
            "nothing",
            "a check failed"
        );
        assert_eq!(
            name(steps(&same, &none, None, |_| true)),
            "nothing",
            "no credentials"
        );
        assert_eq!(
            name(steps(&same, &seen(1, true), Some(1), |_| true)),
            "nothing",
            "idle"
        );
        assert_eq!(
            name(steps(&edited, &seen(1, true), Some(1), |_| false)),
            "update"
        );
        assert_eq!(
            name(steps(&edited, &seen(1, true), None, |_| false)),
            "update",
            "goes on with what it has"
        );
        assert_eq!(
            name(steps(&same, &seen(1, true), Some(2), |_| false)),
            "restart",
            "another cloud"
        );
        assert_eq!(
            name(steps(&same, &seen(1, false), Some(1), |_| false)),
            "restart",
            "it died"
        );
        assert_eq!(
            name(steps(&same, &seen(1, false), None, |_| false)),
            "nothing"
        );
    }
}
