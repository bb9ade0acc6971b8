//! Environment variables that tell a container of the services of its namespace, as a kubelet makes them
//! (`pkg/kubelet/envvars`): `<NAME>_SERVICE_HOST` and `_SERVICE_PORT`, and those of Docker's links.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::names;
use super::resolved::Reference;
use super::review::Review;

/// The service of the API server itself: every container is told of it, whatever `enableServiceLinks` says.
pub const KUBERNETES: &str = "kubernetes";
/// The namespace of [`KUBERNETES`].
pub const KUBERNETES_NAMESPACE: &str = "default";
const LINKS: &str = "spec.enableServiceLinks";
/// Reason of a note.
const SKIPPED: &str = "ServiceVariablesSkipped";
/// Variables that a container gets at most: Azure states no limit, but a request must not grow with the namespace.
const MAX_VARIABLES: usize = 1000;
/// Names told in the note.
const TOLD: usize = 3;

/// What is needed of a `Service` for its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    /// Address that the containers are told: `spec.clusterIP`.
    pub host: String,
    /// `spec.ports`, in order; never empty.
    pub ports: Vec<ServicePort>,
    /// `spec.selector`; empty when somebody else says which pods it is.
    pub selector: BTreeMap<String, String>,
}

/// A port of a [`Service`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Name, empty when it has none.
    pub name: String,
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `targetPort`, of the pods: a number or a name.
    pub target: IntOrString,
}

impl Service {
    /// The facts of `service`; `None` when it has no address of its own (headless, `ExternalName`).
    pub fn of(service: &core::Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let host = spec.cluster_ip.as_deref()?;
        let ports: Vec<ServicePort> = spec.ports.iter().flatten().map(port).collect();
        if host.is_empty() || host == "None" || ports.is_empty() {
            return None;
        }
        Some(Self {
            name: service.metadata.name.clone()?,
            host: host.to_owned(),
            ports,
            selector: spec.selector.clone().unwrap_or_default(),
        })
    }

    /// The service of an API server that containers reach at `host` and `port`.
    pub fn kubernetes(host: &str, port: u16) -> Self {
        Self {
            name: KUBERNETES.to_owned(),
            host: host.to_owned(),
            ports: vec![ServicePort {
                name: "https".to_owned(),
                port: i32::from(port),
                protocol: "TCP".to_owned(),
                target: IntOrString::Int(i32::from(port)),
            }],
            selector: BTreeMap::new(),
        }
    }

    /// Its variables, in a kubelet's order.
    fn variables(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let mut add = |name: String, value: String| out.push((name, value));
        let prefix = spelled(&self.name);
        let host = &self.host;
        add(format!("{prefix}_SERVICE_HOST"), host.clone());
        for port in self.ports.iter().take(1) {
            add(format!("{prefix}_SERVICE_PORT"), port.port.to_string());
        }
        for port in self.ports.iter().filter(|port| !port.name.is_empty()) {
            let name = spelled(&port.name);
            let number = port.port.to_string();
            add(format!("{prefix}_SERVICE_PORT_{name}"), number);
        }
        for (n, port) in self.ports.iter().enumerate() {
            let number = port.port;
            let protocol = port.protocol.to_lowercase();
            let authority = if host.contains(':') {
                format!("[{host}]:{number}")
            } else {
                format!("{host}:{number}")
            };
            let url = format!("{protocol}://{authority}");
            if n == 0 {
                add(format!("{prefix}_PORT"), url.clone());
            }
            let prefix = format!("{prefix}_PORT_{number}_{}", port.protocol.to_uppercase());
            add(prefix.clone(), url);
            add(format!("{prefix}_PROTO"), protocol);
            add(format!("{prefix}_PORT"), number.to_string());
            add(format!("{prefix}_ADDR"), host.clone());
        }
        out
    }
}

fn port(port: &core::ServicePort) -> ServicePort {
    let protocol = port.protocol.as_deref().filter(|it| !it.is_empty());
    ServicePort {
        name: port.name.clone().unwrap_or_default(),
        port: port.port,
        protocol: protocol.unwrap_or("TCP").to_owned(),
        target: port
            .target_port
            .clone()
            .unwrap_or(IntOrString::Int(port.port)),
    }
}

/// A name as a part of a variable's name.
fn spelled(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

/// What a pod's containers are told of services.
#[derive(Debug, Default)]
pub(super) struct ServiceVariables {
    /// All of them: what `$(NAME)` may name.
    all: Vec<(String, String)>,
    places: HashMap<String, usize>,
    /// Where those are that ACI takes as variables.
    taken: Vec<usize>,
}

impl ServiceVariables {
    /// Of two that make one name, as the service `a-service` and the first port of `a` do, the later counts.
    fn set(&mut self, name: String, value: String) {
        let known = self.places.get(&name);
        if let Some((_, earlier)) = known.and_then(|place| self.all.get_mut(*place)) {
            *earlier = value;
            return;
        }
        let place = self.all.len();
        if self.taken.len() < MAX_VARIABLES && names::is_env(&name) {
            self.taken.push(place);
        }
        self.places.insert(name.clone(), place);
        self.all.push((name, value));
    }

    /// The value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.all.get(*self.places.get(name)?)?;
        Some(value)
    }

    /// Those that ACI takes as variables.
    pub(super) fn taken(&self) -> impl Iterator<Item = &(String, String)> {
        self.taken.iter().filter_map(|place| self.all.get(*place))
    }
}

/// The variables of services in `namespace` for a pod that wants the `links` to them, and of the API server.
pub(super) fn variables(namespace: &str, links: bool, review: &mut Review<'_>) -> ServiceVariables {
    review.want(Reference::Kubernetes);
    if links {
        review.want(Reference::Services);
    }
    let resolved = review.resolved;
    let kubernetes = resolved.kubernetes.iter().flatten();
    let others = resolved.services.iter().flat_map(|services| &**services);
    // In its own namespace the API server's service is in both.
    let others = others.filter(|service| {
        links && (namespace != KUBERNETES_NAMESPACE || service.name != KUBERNETES)
    });
    let mut out = ServiceVariables::default();
    for service in kubernetes.map(|service| &**service).chain(others) {
        for (name, value) in service.variables() {
            out.set(name, value);
        }
    }
    let taken = out.taken.len();
    if taken < out.all.len() {
        let bad = out.all.iter().filter(|(name, _)| !names::is_env(name));
        let bad: Vec<&str> = bad.take(TOLD).map(|(name, _)| name.as_str()).collect();
        let such = if bad.is_empty() {
            String::new()
        } else {
            format!(", such as {}", bad.join(", "))
        };
        let message = format!(
            "{} variables of services are left out{such}: ACI takes names of 1-63 letters, digits and _, and a container \
             gets {MAX_VARIABLES} of them at most; name what is needed in env",
            out.all.len() - taken
        );
        review.note(SKIPPED, LINKS, message);
    }
    out
}

#[cfg(test)]
mod tests;
