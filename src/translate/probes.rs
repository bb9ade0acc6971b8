//! What a container's probes ask for, and which of them the operator runs.
//!
//! A kubelet runs all probes. Azure Container Instances runs liveness probes by HTTP and by command, does not tell what
//! readiness probes show, and has no others. The operator runs the rest as far as it reaches the container.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerPort, ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::{ProbedBy, Probes};

/// Which of a container's three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

impl ProbeKind {
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// A kubelet's word for it in Events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// Something for each of a container's three probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ByProbe<T> {
    pub startup: T,
    pub liveness: T,
    pub readiness: T,
}

impl<T> ByProbe<T> {
    pub fn get(&self, kind: ProbeKind) -> &T {
        match kind {
            ProbeKind::Startup => &self.startup,
            ProbeKind::Liveness => &self.liveness,
            ProbeKind::Readiness => &self.readiness,
        }
    }

    pub fn get_mut(&mut self, kind: ProbeKind) -> &mut T {
        match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Liveness => &mut self.liveness,
            ProbeKind::Readiness => &mut self.readiness,
        }
    }
}

/// How a container is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    Http {
        https: bool,
        port: u16,
        /// With its query; begins with a slash.
        path: Box<str>,
        headers: Box<[(Box<str>, Box<str>)]>,
    },
    Tcp {
        port: u16,
    },
    Grpc {
        port: u16,
        service: Box<str>,
    },
    Exec(Box<[String]>),
}

impl Handler {
    /// The port that is dialled.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Http { port, .. } | Self::Tcp { port } | Self::Grpc { port, .. } => Some(*port),
            Self::Exec(_) => None,
        }
    }

    /// `None` when it has none that a container could answer.
    fn of(probe: &Probe, ports: &[ContainerPort]) -> Option<Self> {
        if let Some(ExecAction { command }) = &probe.exec {
            return Some(Self::Exec(command.clone()?.into()));
        }
        if let Some(action) = &probe.http_get {
            return Self::http(action, ports);
        }
        if let Some(socket) = &probe.tcp_socket {
            let named = socket.host.as_deref().is_some_and(|host| !host.is_empty());
            let port = port_number(&socket.port, ports).filter(|_| !named)?;
            return Some(Self::Tcp { port });
        }
        let grpc = probe.grpc.as_ref()?;
        Some(Self::Grpc {
            port: u16::try_from(grpc.port).ok().filter(|port| *port != 0)?,
            service: grpc.service.as_deref().unwrap_or_default().into(),
        })
    }

    fn http(action: &HTTPGetAction, ports: &[ContainerPort]) -> Option<Self> {
        let named = action.host.as_deref().is_some_and(|host| !host.is_empty());
        let path = action.path.as_deref().unwrap_or_default();
        let headers = action.http_headers.iter().flatten();
        Some(Self::Http {
            https: action.scheme.as_deref() == Some("HTTPS"),
            port: port_number(&action.port, ports).filter(|_| !named)?,
            path: format!("/{}", path.trim_start_matches('/')).into(),
            headers: headers
                .map(|it| (it.name.as_str().into(), it.value.as_str().into()))
                .collect(),
        })
    }
}

/// A probe with its times, by the API server's defaults where the pod has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSpec {
    pub handler: Handler,
    /// From the start of the container to the first.
    pub initial_delay: Duration,
    /// From one to the next.
    pub period: Duration,
    pub timeout: Duration,
    /// Successes in a row that count.
    pub success_threshold: u32,
    /// Failures in a row that count.
    pub failure_threshold: u32,
    /// What a container that fails has to end by itself, where the probe says that.
    pub grace: Option<Duration>,
}

impl ProbeSpec {
    fn of(probe: &Probe, ports: &[ContainerPort]) -> Option<Self> {
        let seconds = |given: Option<i32>, default: u32, least: u32| {
            let given = given.and_then(|it| u32::try_from(it).ok());
            Duration::from_secs(given.unwrap_or(default).max(least).into())
        };
        let times = |given: Option<i32>, default: u32| {
            let given = given.and_then(|it| u32::try_from(it).ok());
            given.unwrap_or(default).max(1)
        };
        let grace = probe
            .termination_grace_period_seconds
            .and_then(|it| u64::try_from(it).ok());
        Some(Self {
            handler: Handler::of(probe, ports)?,
            initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 10, 1),
            timeout: seconds(probe.timeout_seconds, 1, 1),
            success_threshold: times(probe.success_threshold, 1),
            failure_threshold: times(probe.failure_threshold, 3),
            grace: grace.map(Duration::from_secs),
        })
    }
}

/// The probes of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerProbes(ByProbe<Option<ProbeSpec>>);

impl ContainerProbes {
    /// Those of `container`; `None` when it has none.
    pub fn of(container: &Container) -> Option<Arc<Self>> {
        let ports = container.ports.as_deref().unwrap_or_default();
        let read = |probe: &Option<Probe>| ProbeSpec::of(probe.as_ref()?, ports);
        let probes = Self(ByProbe {
            startup: read(&container.startup_probe),
            liveness: read(&container.liveness_probe),
            readiness: read(&container.readiness_probe),
        });
        (probes != Self::default()).then(|| Arc::new(probes))
    }

    pub fn get(&self, kind: ProbeKind) -> Option<&ProbeSpec> {
        self.0.get(kind).as_ref()
    }

    /// Those that the operator runs where it can do what `means` say. A liveness probe that Azure runs is left to it, unless
    /// it has to wait for a startup probe, which Azure does not know.
    pub fn run_by_operator(&self, means: &Means) -> Kinds {
        let can = |probe: &Option<ProbeSpec>| {
            let handler = probe.as_ref().map(|probe| &probe.handler);
            handler.is_some_and(|handler| means.suffice(handler))
        };
        let Self(probes) = self;
        let startup = can(&probes.startup);
        let azures = probes
            .liveness
            .as_ref()
            .is_some_and(|probe| matches!(probe.handler, Handler::Http { .. } | Handler::Exec(_)));
        Kinds {
            startup,
            liveness: can(&probes.liveness) && (startup || !azures),
            readiness: can(&probes.readiness),
        }
    }
}

/// Which probes of a container are run.
pub type Kinds = ByProbe<bool>;

impl Kinds {
    pub fn has(self, kind: ProbeKind) -> bool {
        *self.get(kind)
    }

    pub fn any(self) -> bool {
        self.startup || self.liveness || self.readiness
    }
}

/// What the operator can do to ask a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Means {
    /// Run commands in it.
    pub exec: bool,
    pub network: Ports,
}

/// Which ports of a pod can be dialled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ports {
    #[default]
    None,
    /// Those that its address opens.
    Some(BTreeSet<u16>),
    All,
}

impl Means {
    /// What can be done to containers whose pod can be dialled at these ports.
    pub fn of(network: Ports) -> Self {
        Self {
            exec: true,
            network,
        }
    }

    fn suffice(&self, handler: &Handler) -> bool {
        match (handler.port(), &self.network) {
            (None, _) => self.exec,
            (Some(_), Ports::None) => false,
            (Some(port), Ports::Some(open)) => open.contains(&port),
            (Some(_), Ports::All) => true,
        }
    }

    /// What of them `probes` leave to the operator.
    #[must_use]
    pub fn within(self, probes: Probes) -> Self {
        Self {
            exec: self.exec && probes.exec == ProbedBy::Operator,
            network: match probes.network {
                ProbedBy::Operator => self.network,
                ProbedBy::Azure => Ports::None,
            },
        }
    }
}

/// The port of a probe or hook as a number; `None` when it is none. A kubelet looks for a name among the ports of the same
/// container, and reads it as a number when none has it.
pub fn port_number(port: &IntOrString, ports: &[ContainerPort]) -> Option<u16> {
    let number = match port {
        IntOrString::Int(port) => Some(*port),
        IntOrString::String(name) => ports
            .iter()
            .find(|port| !name.is_empty() && port.name.as_deref() == Some(name))
            .map(|port| port.container_port)
            .or_else(|| name.parse().ok()),
    };
    number
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn probes(container: &Value) -> Option<Arc<ContainerProbes>> {
        let mut all = json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]});
        all.as_object_mut()
            .unwrap()
            .extend(container.as_object().unwrap().clone());
        ContainerProbes::of(&serde_json::from_value(all).unwrap())
    }

    #[test]
    fn a_probe_has_the_api_servers_defaults() {
        let given = probes(&json!({"readinessProbe": {"tcpSocket": {"port": "web"}}})).unwrap();
        let seconds = Duration::from_secs;
        assert_eq!(
            given.get(ProbeKind::Readiness),
            Some(&ProbeSpec {
                handler: Handler::Tcp { port: 8080 },
                initial_delay: seconds(0),
                period: seconds(10),
                timeout: seconds(1),
                success_threshold: 1,
                failure_threshold: 3,
                grace: None,
            })
        );
        let hostile = json!({"readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": -1, "timeoutSeconds": 0,
            "failureThreshold": 0, "successThreshold": -5, "initialDelaySeconds": -7, "terminationGracePeriodSeconds": -3}});
        let hostile = probes(&hostile).unwrap();
        let probe = hostile.get(ProbeKind::Readiness).unwrap();
        assert_eq!(
            (probe.period, probe.timeout, probe.initial_delay),
            (seconds(10), seconds(1), seconds(0))
        );
        assert_eq!((probe.failure_threshold, probe.success_threshold), (1, 1));
        assert_eq!(probe.grace, None);
    }

    #[test]
    fn handlers_are_read() {
        let read = |handler: Value| {
            let probes = probes(&json!({"livenessProbe": handler}))?;
            Some(probes.get(ProbeKind::Liveness)?.handler.clone())
        };
        let http = |path: &str| Handler::Http {
            https: true,
            port: 8080,
            path: path.into(),
            headers: [("Host".into(), "a".into())].into(),
        };
        let headers = json!([{"name": "Host", "value": "a"}]);
        for (path, read_as) in [("up?x=1", "/up?x=1"), ("//a", "/a"), ("", "/")] {
            let given = json!({"httpGet": {"scheme": "HTTPS", "port": "web", "path": path, "httpHeaders": headers}});
            assert_eq!(read(given), Some(http(read_as)));
        }
        let grpc = json!({"grpc": {"port": 5000, "service": "x"}});
        let service = "x".into();
        assert_eq!(
            read(grpc),
            Some(Handler::Grpc {
                port: 5000,
                service
            })
        );
        let exec = json!({"exec": {"command": ["true"]}});
        assert_eq!(read(exec), Some(Handler::Exec(["true".to_owned()].into())));
        for none in [
            json!({}),
            json!({"exec": {}}),
            json!({"httpGet": {"port": "none"}}),
            // The operator dials the pod and nobody else.
            json!({"httpGet": {"port": 1, "host": "10.0.0.1"}}),
            json!({"tcpSocket": {"port": 1, "host": "10.0.0.1"}}),
            json!({"tcpSocket": {"port": 70_000}}),
            json!({"grpc": {"port": 0}}),
        ] {
            assert_eq!(read(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn the_operator_runs_what_it_can_and_azure_does_not() {
        let (http, tcp) = (
            json!({"httpGet": {"port": 80}}),
            json!({"tcpSocket": {"port": 81}}),
        );
        let exec = json!({"exec": {"command": ["true"]}});
        let all = Means {
            exec: true,
            network: Ports::All,
        };
        let dial = Means {
            exec: false,
            network: Ports::All,
        };
        let one = Means {
            exec: false,
            network: Ports::Some([80].into()),
        };
        let none = Means::default();
        // Startup, liveness and readiness probes; what there is; which of them are run.
        let table = [
            ([None, Some(&http), Some(&http)], &dial, "..R"),
            ([None, Some(&tcp), Some(&tcp)], &dial, ".LR"),
            ([Some(&http), Some(&http), Some(&http)], &dial, "SLR"),
            ([Some(&exec), Some(&http), Some(&exec)], &dial, "..."),
            ([Some(&exec), Some(&exec), Some(&exec)], &all, "SLR"),
            ([None, Some(&exec), Some(&exec)], &all, "..R"),
            ([Some(&http), Some(&tcp), Some(&tcp)], &one, "S.."),
            ([Some(&http), Some(&tcp), Some(&tcp)], &none, "..."),
        ];
        for ([startup, liveness, readiness], means, run) in table {
            let mut given = json!({});
            let names = ["startupProbe", "livenessProbe", "readinessProbe"];
            for (name, probe) in names.into_iter().zip([startup, liveness, readiness]) {
                if let Some(probe) = probe {
                    given[name] = probe.clone();
                }
            }
            let kinds = probes(&given).unwrap().run_by_operator(means);
            let letter = |kind, letter| if kinds.has(kind) { letter } else { '.' };
            let found: String = ProbeKind::ALL
                .into_iter()
                .zip(['S', 'L', 'R'])
                .map(|(kind, it)| letter(kind, it))
                .collect();
            assert_eq!(found, run, "{given} {means:?}");
        }
        assert_eq!(probes(&json!({})), None);
        let azure = Probes {
            network: ProbedBy::Azure,
            exec: ProbedBy::Azure,
        };
        assert_eq!(all.clone().within(azure), Means::default());
        assert_eq!(all.within(Probes::default()), dial);
    }
}
