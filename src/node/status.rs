//! The status of a Node: conditions, addresses, capacity. PURE: time is an argument.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::spec::{NodeSpec, desired_node};
use crate::api::parse_quantity;

/// The Ready condition to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyInput {
    /// Whether pods can run.
    pub ready: bool,
    pub reason: String,
    /// One sentence for people.
    pub message: String,
    /// Whether Azure answers; `None` while that is not known, and then the condition stays as it is.
    pub azure: Option<AzureInput>,
}

/// Type of the condition that says whether Azure answers.
pub const AZURE_REACHABLE: &str = "AzureReachable";

/// What the condition [`AZURE_REACHABLE`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AzureInput {
    pub reachable: bool,
    pub reason: String,
    /// One sentence for people. Nothing that moves by itself.
    pub message: String,
}

/// How the API server reaches the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// Address of this process.
    pub ip: String,
    /// Port of the node's kubelet API, while it is served.
    pub kubelet_port: Option<u16>,
}

/// The whole status. `lastTransitionTime` moves only when a condition's status does; `lastHeartbeatTime` is `now`.
pub fn node_status(
    spec: &NodeSpec,
    kubelet_version: &str,
    endpoint: &Endpoint,
    ready: &ReadyInput,
    previous: Option<&Node>,
    now: Timestamp,
) -> NodeStatus {
    let before = previous
        .and_then(|node| node.status.as_ref())
        .and_then(|status| status.conditions.as_deref());
    let condition = |type_: &str, status: bool, reason: &str, message: &str| {
        let status = if status { "True" } else { "False" };
        let unmoved = before
            .unwrap_or_default()
            .iter()
            .find(|condition| condition.type_ == type_ && condition.status == status)
            .and_then(|condition| condition.last_transition_time.clone());
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: unmoved.or(Some(Time(now))),
        }
    };
    let mut status = desired_node(spec, kubelet_version)
        .status
        .unwrap_or_default();
    if spec.allocatable.is_none() {
        let before = previous.and_then(|node| node.status.as_ref());
        let before = before.and_then(|status| status.allocatable.clone());
        status.allocatable = before.or(status.allocatable);
    }
    let azure = ready.azure.as_ref().map(|azure| {
        condition(
            AZURE_REACHABLE,
            azure.reachable,
            &azure.reason,
            &azure.message,
        )
    });
    let mut conditions = vec![
        condition("Ready", ready.ready, &ready.reason, &ready.message),
        condition(
            "MemoryPressure",
            false,
            "NoPressure",
            "Azure Container Instances provides the memory",
        ),
        condition(
            "DiskPressure",
            false,
            "NoPressure",
            "Azure Container Instances provides the disks",
        ),
        condition(
            "PIDPressure",
            false,
            "NoPressure",
            "Azure Container Instances provides the machines",
        ),
        condition(
            "NetworkUnavailable",
            false,
            "AzureNetwork",
            "Azure Container Instances provides the network",
        ),
    ];
    conditions.extend(azure);
    status.conditions = Some(conditions);
    status.addresses = Some(vec![
        address("InternalIP", &endpoint.ip),
        address("Hostname", &spec.name),
    ]);
    status.daemon_endpoints = Some(NodeDaemonEndpoints {
        kubelet_endpoint: endpoint.kubelet_port.map(|port| DaemonEndpoint {
            port: i32::from(port),
        }),
    });
    // An API server that does not know the field drops it, and one that does not find the feature speaks SPDY.
    status.declared_features = endpoint
        .kubelet_port
        .map(|_| vec!["ExtendWebSocketsToKubelet".to_owned()]);
    status
}

fn address(type_: &str, address: &str) -> NodeAddress {
    NodeAddress {
        type_: type_.to_owned(),
        address: address.to_owned(),
    }
}

/// Whether `live` shows anything else than `wanted`, heartbeat times and other writers' fields apart.
pub fn differs(live: Option<&NodeStatus>, wanted: &NodeStatus) -> bool {
    let Some(live) = live else { return true };
    let facts = |condition: &NodeCondition| {
        (
            condition.status.clone(),
            condition.reason.clone().unwrap_or_default(),
            condition.message.clone().unwrap_or_default(),
        )
    };
    let live_conditions = live.conditions.as_deref().unwrap_or_default();
    let conditions_differ =
        wanted
            .conditions
            .as_deref()
            .unwrap_or_default()
            .iter()
            .any(|condition| {
                live_conditions
                    .iter()
                    .find(|c| c.type_ == condition.type_)
                    .map(facts)
                    != Some(facts(condition))
            });
    let info = |status: &NodeStatus| {
        status
            .node_info
            .as_ref()
            .map(|info| (info.kubelet_version.clone(), info.operating_system.clone()))
    };
    conditions_differ
        || !same_amounts(live.capacity.as_ref(), wanted.capacity.as_ref())
        || !same_amounts(live.allocatable.as_ref(), wanted.allocatable.as_ref())
        || live.addresses != wanted.addresses
        || port(live) != port(wanted)
        || info(live) != info(wanted)
}

/// Equal as numbers: the API server writes `5000` as `5k`.
fn same_amounts(
    live: Option<&BTreeMap<String, Quantity>>,
    wanted: Option<&BTreeMap<String, Quantity>>,
) -> bool {
    let amounts =
        |all: Option<&BTreeMap<String, Quantity>>| -> BTreeMap<String, (Option<u64>, String)> {
            let all = all.into_iter().flatten();
            all.map(|(name, amount)| {
                let number = parse_quantity(&amount.0);
                // What is no number is compared as it is.
                let text = if number.is_some() {
                    String::new()
                } else {
                    amount.0.clone()
                };
                (name.clone(), (number.map(f64::to_bits), text))
            })
            .collect()
        };
    amounts(live) == amounts(wanted)
}

/// The port of the kubelet API; the API server writes 0 for none.
fn port(status: &NodeStatus) -> i32 {
    let endpoints = status.daemon_endpoints.as_ref();
    endpoints
        .and_then(|endpoints| endpoints.kubelet_endpoint.as_ref())
        .map_or(0, |endpoint| endpoint.port)
}

/// The strategic merge patch of the `status` subresource, shaped as a kubelet's: conditions merge by type so that those
/// of other writers stay; addresses are replaced; resources that are gone are set to null.
pub fn status_patch(live: Option<&NodeStatus>, wanted: &NodeStatus) -> Value {
    let resources = |live: Option<&std::collections::BTreeMap<String, _>>,
                     wanted: Option<&std::collections::BTreeMap<String, _>>| {
        let gone = live.into_iter().flatten().map(|(name, _)| name.clone());
        let mut map: serde_json::Map<String, Value> =
            gone.map(|name| (name, Value::Null)).collect();
        map.extend(
            wanted
                .into_iter()
                .flatten()
                .map(|(name, quantity)| (name.clone(), json!(quantity))),
        );
        Value::Object(map)
    };
    let mut addresses = vec![json!({"$patch": "replace"})];
    addresses.extend(
        wanted
            .addresses
            .iter()
            .flatten()
            .map(|address| json!(address)),
    );
    json!({ "status": {
        "capacity": resources(live.and_then(|s| s.capacity.as_ref()), wanted.capacity.as_ref()),
        "allocatable": resources(live.and_then(|s| s.allocatable.as_ref()), wanted.allocatable.as_ref()),
        "conditions": wanted.conditions,
        "addresses": addresses,
        "nodeInfo": wanted.node_info,
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port(wanted)}},
        "declaredFeatures": wanted.declared_features,
    }})
}

#[cfg(test)]
mod tests {
    use super::super::spec::tests::spec;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn input(ready: bool) -> ReadyInput {
        let reason = if ready { "PodsSynced" } else { "Starting" };
        ReadyInput {
            ready,
            reason: reason.to_owned(),
            message: "m".to_owned(),
            azure: None,
        }
    }

    fn endpoint(kubelet_port: Option<u16>) -> Endpoint {
        Endpoint {
            ip: "10.0.0.1".to_owned(),
            kubelet_port,
        }
    }

    #[test]
    fn amounts_are_compared_as_numbers() {
        let with = |cpu: &str| {
            let mut status =
                node_status(&spec(), "v1", &endpoint(None), &input(true), None, at(10));
            let capacity = status.capacity.get_or_insert_default();
            capacity.insert("cpu".to_owned(), Quantity(cpu.to_owned()));
            status
        };
        assert!(!differs(Some(&with("5k")), &with("5000")));
        assert!(!differs(Some(&with("1")), &with("1000m")));
        assert!(differs(Some(&with("5k")), &with("5001")));
    }

    #[test]
    fn the_port_of_the_kubelet_is_part_of_the_status() {
        let with = |port| node_status(&spec(), "v1", &endpoint(port), &input(true), None, at(10));
        assert!(differs(Some(&with(None)), &with(Some(10260))));
        assert!(differs(Some(&with(Some(10260))), &with(Some(10261))));
        assert!(!differs(Some(&with(Some(10260))), &with(Some(10260))));
        for (port, written) in [(Some(10260), 10260), (None, 0)] {
            let patch = status_patch(None, &with(port));
            assert_eq!(
                patch["status"]["daemonEndpoints"],
                json!({"kubeletEndpoint": {"Port": written}})
            );
        }
    }

    fn node(status: NodeStatus) -> Node {
        Node {
            status: Some(status),
            ..Node::default()
        }
    }

    fn ready(status: &NodeStatus) -> NodeCondition {
        status.conditions.as_ref().unwrap()[0].clone()
    }

    #[test]
    fn transition_times_move_only_with_the_status() {
        let first = node_status(&spec(), "v1", &endpoint(None), &input(false), None, at(10));
        assert_eq!(ready(&first).last_transition_time, Some(Time(at(10))));
        let again = node_status(
            &spec(),
            "v1",
            &endpoint(None),
            &input(false),
            Some(&node(first.clone())),
            at(20),
        );
        assert_eq!(ready(&again).last_transition_time, Some(Time(at(10))));
        assert_eq!(ready(&again).last_heartbeat_time, Some(Time(at(20))));
        assert!(
            !differs(Some(&first), &again),
            "a heartbeat alone is no difference"
        );
        let up = node_status(
            &spec(),
            "v1",
            &endpoint(None),
            &input(true),
            Some(&node(again.clone())),
            at(30),
        );
        assert_eq!(ready(&up).last_transition_time, Some(Time(at(30))));
        assert!(differs(Some(&again), &up));
        assert_eq!(
            up.conditions.unwrap()[1].last_transition_time,
            Some(Time(at(10)))
        );
    }

    #[test]
    fn what_is_allocatable_stays_while_it_is_not_known() {
        let with = |cpu: Option<&str>, previous: Option<&Node>| {
            let allocatable = cpu
                .map(|cpu| std::collections::BTreeMap::from([("cpu".to_owned(), cpu.to_owned())]));
            let spec = crate::node::spec::NodeSpec {
                allocatable,
                ..spec()
            };
            node_status(&spec, "v1", &endpoint(None), &input(true), previous, at(10))
        };
        let cpu = |status: &NodeStatus| status.allocatable.as_ref().unwrap()["cpu"].0.clone();
        assert_eq!(cpu(&with(None, None)), "200", "a new Node has its capacity");
        let three = with(Some("3"), None);
        assert_eq!(cpu(&three), "3");
        assert_eq!(three.capacity.as_ref().unwrap()["cpu"].0, "200");
        let live = node(three.clone());
        assert_eq!(cpu(&with(None, Some(&live))), "3");
        assert!(differs(Some(&three), &with(Some("2"), Some(&live))));
    }

    #[test]
    fn what_the_node_lifecycle_controller_wrote_is_a_difference() {
        let wanted = node_status(&spec(), "v1", &endpoint(None), &input(true), None, at(10));
        let mut live = wanted.clone();
        live.conditions.as_mut().unwrap()[0].status = "Unknown".to_owned();
        assert!(differs(Some(&live), &wanted));
        assert!(differs(None, &wanted));
        let mut other = wanted.clone();
        other.conditions.as_mut().unwrap().push(NodeCondition {
            type_: "Foreign".to_owned(),
            ..NodeCondition::default()
        });
        assert!(
            !differs(Some(&other), &wanted),
            "conditions of others are theirs"
        );
    }

    #[test]
    fn whether_azure_answers_is_a_condition_of_its_own() {
        let with = |azure: Option<bool>, previous: Option<&Node>, second| {
            let azure = azure.map(|reachable| AzureInput {
                reachable,
                reason: "R".to_owned(),
                message: "m".to_owned(),
            });
            let input = ReadyInput {
                azure,
                ..input(true)
            };
            node_status(&spec(), "v1", &endpoint(None), &input, previous, at(second))
        };
        let find = |status: &NodeStatus| {
            let all = status.conditions.clone().unwrap();
            all.into_iter().find(|it| it.type_ == AZURE_REACHABLE)
        };
        let up = with(Some(true), None, 10);
        let down = with(Some(false), Some(&node(up.clone())), 20);
        assert!(differs(Some(&up), &down));
        let condition = find(&down).unwrap();
        assert_eq!(condition.status, "False");
        assert_eq!(condition.last_transition_time, Some(Time(at(20))));
        assert_eq!(ready(&down).status, "True", "nothing is evicted");
        let unknown = with(None, Some(&node(down.clone())), 30);
        assert_eq!(find(&unknown), None);
        assert!(
            !differs(Some(&down), &unknown),
            "what is not known stays as it is"
        );
    }

    #[test]
    fn resources_that_are_gone_become_null() {
        let wanted = node_status(&spec(), "v1", &endpoint(None), &input(true), None, at(10));
        let mut live = wanted.clone();
        live.capacity
            .as_mut()
            .unwrap()
            .insert("memory".to_owned(), Quantity("1Gi".to_owned()));
        let patch = status_patch(Some(&live), &wanted);
        assert_eq!(
            patch["status"]["capacity"],
            json!({"cpu": "200", "memory": null, "pods": "250"})
        );
        assert_eq!(
            patch["status"]["addresses"][0],
            json!({"$patch": "replace"})
        );
    }
}
