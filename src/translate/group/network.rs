//! Ports of the containers and the address of the group.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ContainerPort;

use super::features::Network;
use super::review::Review;
use crate::azure::model::{IpAddress, Port, SubnetId};

/// Ports that an address of a container group may open.
const MAX_PORTS: usize = 5;

/// Whether ACI keeps `port` for itself, also inside the containers.
fn is_reserved(port: i32) -> bool {
    matches!(
        port,
        22 | 1025..=1027 | 3389..=3399 | 9999 | 19000 | 19080 | 19100 | 19390 | 20000..=30000 | 49152..=65534
    )
}

/// The ports that container `index` declares, each once.
pub(super) fn ports(declared: &[ContainerPort], index: usize, review: &mut Review) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::with_capacity(declared.len());
    let mut seen = BTreeSet::new();
    for (n, port) in declared.iter().enumerate() {
        let ContainerPort {
            container_port,
            host_ip,
            host_port,
            name: _,
            protocol,
        } = port;
        let place = [index, n];
        let host_port = host_port.is_some_and(|port| port != 0);
        review.field("spec.containers[].ports[].hostPort", host_port, &place);
        let host_ip = host_ip.as_ref().is_some_and(|ip| !ip.is_empty());
        review.field(
            "spec.containers[].ports[].hostIP",
            host_ip && !host_port,
            &place,
        );
        let protocol = protocol.as_deref().unwrap_or("TCP");
        if !matches!(protocol, "TCP" | "UDP") {
            review.field("spec.containers[].ports[].protocol: SCTP", true, &place);
            continue;
        }
        if !(1..=65_535).contains(container_port) {
            let field = format!("spec.containers[{index}].ports[{n}].containerPort");
            review.refuse(field, "a port is a number from 1 to 65535".to_owned());
            continue;
        }
        let reserved = is_reserved(*container_port);
        review.field(
            "spec.containers[].ports[].containerPort: reserved by ACI",
            reserved,
            &place,
        );
        if !reserved && seen.insert((*container_port, protocol)) {
            ports.push(Port {
                port: *container_port,
                protocol: Some(protocol.to_owned()),
            });
        }
    }
    ports
}

/// The address and the subnet of a group whose containers, each under its path in the pod, declare `ports`.
pub(super) fn address(
    ports: &[(String, Vec<Port>)],
    network: &Network,
    review: &mut Review,
) -> (Option<IpAddress>, Vec<SubnetId>) {
    let mut owner: BTreeMap<i32, &str> = BTreeMap::new();
    for (container, port) in ports
        .iter()
        .flat_map(|(place, ports)| ports.iter().map(move |port| (place.as_str(), port)))
    {
        let first = *owner.entry(port.port).or_insert(container);
        if first != container {
            let message = format!(
                "port {} belongs to {first} already; the containers of a group share one network, so that only \
                 one can listen on it",
                port.port
            );
            review.refuse(format!("{container}.ports"), message);
        }
    }
    let subnets: Vec<SubnetId> = network
        .subnet_id
        .iter()
        .map(|id| SubnetId { id: id.clone() })
        .collect();
    let kind = match (&network.subnet_id, network.public_ip) {
        (Some(_), _) => Some("Private"),
        (None, true) => Some("Public"),
        (None, false) => None,
    };
    let ports: Vec<Port> = ports.iter().flat_map(|(_, ports)| ports).cloned().collect();
    let kind = kind.filter(|_| !ports.is_empty());
    if let Some(label) = &network.dns_label
        && kind != Some("Public")
    {
        let why = match (&network.subnet_id, network.public_ip) {
            (Some(_), _) => "the pod is in a subnet, where ACI gives no public name; remove it",
            (None, false) => {
                "the pod has no public address; remove it, or use a connector with publicIP"
            }
            (None, true) => {
                "the pod declares no port, and gets no address without; declare one, or remove it"
            }
        };
        review.refuse(label.place.clone(), why.to_owned());
    }
    let Some(kind) = kind else {
        return (None, subnets);
    };
    if ports.len() > MAX_PORTS {
        let message = format!(
            "{} ports are declared; a group's address opens at most {MAX_PORTS}",
            ports.len()
        );
        review.exceeds("spec.containers".to_owned(), message);
    }
    let label = network.dns_label.as_ref();
    let address = IpAddress {
        kind: kind.to_owned(),
        ports,
        dns_name_label: label.map(|label| label.label.clone()),
        auto_generated_domain_name_label_scope: label
            .and_then(|label| label.scope.map(str::to_owned)),
        ..IpAddress::default()
    };
    (Some(address), subnets)
}
