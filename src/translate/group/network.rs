//! Ports of the containers and the address of the group.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ContainerPort, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::features::Network;
use super::resolved::Reference;
use super::review::Review;
use super::services::Service;
use crate::azure::model::{Container, IpAddress, Port, SubnetId};
use crate::translate::probes::{ContainerProbes, Means, Ports, ProbeKind};

/// Ports that an address of a container group may open.
const MAX_PORTS: usize = 5;

const PRIVATE: &str = "Private";
const PUBLIC: &str = "Public";

const TWICE: &str = "spec.containers[].ports[].containerPort: of another container too";
const TOO_MANY: &str = "spec.containers[].ports[].containerPort: more than five that are opened";

/// Whether ACI keeps `port` for itself.
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

/// Takes a port from all containers but the first that declares it: the containers of a group share one network. `places`
/// are their paths in the pod.
pub(super) fn take_once(containers: &mut [Container], places: &[String], review: &mut Review) {
    let mut owner: BTreeMap<i32, usize> = BTreeMap::new();
    for (n, (container, place)) in containers.iter_mut().zip(places).enumerate() {
        container.properties.ports.retain(|port| {
            let first = *owner.entry(port.port).or_insert(n) == n;
            if !first {
                review.at(TWICE, format!("{place}.ports[{}]", port.port));
            }
            first
        });
    }
}

/// What kind of address a pod in this network has, when it opens a port.
fn kind(network: &Network) -> Option<&'static str> {
    match (&network.subnet_id, network.public_ip) {
        (Some(_), _) => Some(PRIVATE),
        (None, true) => Some(PUBLIC),
        (None, false) => None,
    }
}

/// How the operator can ask the containers of a pod in this network: in a subnet at all ports, at a public address at those
/// that are declared.
pub(super) fn means(spec: &PodSpec, network: &Network) -> Means {
    let inits = spec.init_containers.iter().flatten();
    let declared = spec.containers.iter().chain(inits);
    let declared = declared.flat_map(|it| it.ports.iter().flatten());
    Means::of(match kind(network) {
        Some(PRIVATE) => Ports::All,
        Some(_) => Ports::Some(
            declared
                .filter_map(|port| u16::try_from(port.container_port).ok())
                .collect(),
        ),
        None => Ports::None,
    })
}

/// Gives a group in a subnet that declares no port one that is probed: it has no address without. Nobody else reaches more
/// by that, and at a public address nothing is opened.
pub(super) fn open_for_probes(
    spec: &PodSpec,
    containers: &mut [Container],
    network: &Network,
    review: &Review,
) {
    let declares = |container: &Container| !container.properties.ports.is_empty();
    if kind(network) != Some(PRIVATE) || containers.iter().any(declares) {
        return;
    }
    for (given, container) in spec.containers.iter().zip(containers) {
        let Some(probes) = ContainerProbes::of(given) else {
            continue;
        };
        let run = probes.run_by_operator(&review.means);
        let dialled = ProbeKind::ALL.into_iter().filter(|kind| run.has(*kind));
        let mut ports = dialled.filter_map(|kind| probes.get(kind)?.handler.port());
        if let Some(port) = ports.find(|port| !is_reserved(i32::from(*port))) {
            container.properties.ports.push(Port {
                port: port.into(),
                protocol: Some("TCP".to_owned()),
            });
            return;
        }
    }
}

/// The numbers of the ports of `pod` that `services` send to.
fn targets(pod: &Pod, services: &[Service]) -> BTreeSet<i32> {
    let empty = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    let containers = || pod.spec.iter().flat_map(|spec| &spec.containers);
    let named = |name: &str| {
        let ports = containers().flat_map(|it| it.ports.iter().flatten());
        let found = ports.filter(|port| port.name.as_deref() == Some(name));
        found.map(|port| port.container_port).collect::<Vec<_>>()
    };
    let selects = |service: &&Service| {
        let mut wanted = service.selector.iter();
        !service.selector.is_empty() && wanted.all(|(key, value)| labels.get(key) == Some(value))
    };
    let ports = services.iter().filter(selects).flat_map(|it| &it.ports);
    ports
        .flat_map(|port| match &port.target {
            IntOrString::Int(number) => vec![*number],
            IntOrString::String(name) => named(name),
        })
        .collect()
}

/// The most important of more `ports` than an address opens; each of the others is told.
fn choose(mut ports: Vec<(String, Port)>, pod: &Pod, review: &mut Review) -> Vec<Port> {
    if ports.len() > MAX_PORTS {
        review.want(Reference::Services);
        let services = review.resolved.services.as_deref().unwrap_or_default();
        let targets = targets(pod, services);
        ports.sort_by_key(|(_, port)| !targets.contains(&port.port));
        for (place, port) in ports.drain(MAX_PORTS..) {
            review.at(TOO_MANY, format!("{place}.ports[{}]", port.port));
        }
    }
    ports.into_iter().map(|(_, port)| port).collect()
}

/// The address and the subnet of the group of `pod` with these `containers`, each of which stands at one of the `places` in
/// the pod.
pub(super) fn address(
    pod: &Pod,
    containers: &[Container],
    places: &[String],
    network: &Network,
    review: &mut Review,
) -> (Option<IpAddress>, Vec<SubnetId>) {
    let subnets: Vec<SubnetId> = network
        .subnet_id
        .iter()
        .map(|id| SubnetId { id: id.clone() })
        .collect();
    let of = |(place, container): (&String, &Container)| {
        let ports = container.properties.ports.iter();
        let ports = ports.map(|port| (place.clone(), port.clone()));
        ports.collect::<Vec<_>>()
    };
    let ports: Vec<(String, Port)> = places.iter().zip(containers).flat_map(of).collect();
    let kind = kind(network).filter(|_| !ports.is_empty());
    if let Some(label) = &network.dns_label
        && kind != Some(PUBLIC)
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
    let ports = choose(ports, pod, review);
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

#[cfg(test)]
mod tests;
