//! What the operator counts and measures, as `OpenMetrics` text. All names begin with `vkc_`.

mod agents;

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::kube::events;
use crate::{azure, connector, kube, kubelet, ownership, pods, registry};

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ArmCall {
    operation: &'static str,
    code: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ArmOperation {
    operation: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ArmClass {
    class: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiCall {
    verb: &'static str,
    resource: String,
    code: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ApiVerb {
    verb: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Node {
    node: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Connector {
    connector: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Trouble {
    operation: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KubeletRequest {
    route: &'static str,
    code: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KubeletRoute {
    route: &'static str,
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// The registry and its metrics. One for the process.
pub struct Metrics {
    registry: Mutex<Registry>,
    arm_calls: Family<ArmCall, Counter>,
    arm_seconds: Seconds<ArmOperation>,
    arm_waited: Family<ArmClass, Counter<f64, AtomicU64>>,
    api_calls: Family<ApiCall, Counter>,
    api_seconds: Seconds<ApiVerb>,
    status_lag: Histogram,
    create_lag: Histogram,
    waiting: Family<Node, Gauge>,
    running: Family<Node, Gauge>,
    troubles: Family<Trouble, Counter>,
    events_dropped: Counter,
    registry_looks: Family<Outcome, Counter>,
    kubelet_requests: Family<KubeletRequest, Counter>,
    kubelet_seconds: Seconds<KubeletRoute>,
    certificate_expiry: Family<Node, Gauge>,
    credential_expiry: Family<Connector, Gauge>,
    agents: agents::Agents,
    ownership: Ownership,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.002, 2.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        let new = || Seconds::new_with_constructor(seconds as fn() -> Histogram);
        let metrics = Self {
            registry: Mutex::default(),
            arm_calls: Family::default(),
            arm_seconds: Seconds::new_with_constructor(seconds as fn() -> Histogram),
            arm_waited: Family::default(),
            api_calls: Family::default(),
            api_seconds: new(),
            status_lag: seconds(),
            create_lag: seconds(),
            waiting: Family::default(),
            running: Family::default(),
            troubles: Family::default(),
            events_dropped: Counter::default(),
            registry_looks: Family::default(),
            kubelet_requests: Family::default(),
            kubelet_seconds: Seconds::new_with_constructor(seconds as fn() -> Histogram),
            certificate_expiry: Family::default(),
            credential_expiry: Family::default(),
            agents: agents::Agents::default(),
            ownership: Ownership::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = Registry::with_prefix("vkc");
        let r = &mut registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "Version of the operator", build);
        r.register(
            "arm_requests",
            "Exchanges with ARM; code 0 had no answer",
            self.arm_calls.clone(),
        );
        let help = "Duration of exchanges with ARM";
        r.register_with_unit(
            "arm_request_duration",
            help,
            Unit::Seconds,
            self.arm_seconds.clone(),
        );
        let help = "Time that calls to ARM waited for the shared budget";
        r.register_with_unit("arm_waited", help, Unit::Seconds, self.arm_waited.clone());
        r.register(
            "api_requests",
            "Requests to the API server; code 0 had no answer",
            self.api_calls.clone(),
        );
        let help = "Duration of requests to the API server; of watches, until they were answered";
        r.register_with_unit(
            "api_request_duration",
            help,
            Unit::Seconds,
            self.api_seconds.clone(),
        );
        let help = "From an observation to its status in the API server";
        r.register_with_unit(
            "pod_status_lag",
            help,
            Unit::Seconds,
            self.status_lag.clone(),
        );
        let help = "From a pod's event to its create being sent";
        r.register_with_unit(
            "pod_create_lag",
            help,
            Unit::Seconds,
            self.create_lag.clone(),
        );
        r.register(
            "pod_operations_waiting",
            "Operations that wait, due or not",
            self.waiting.clone(),
        );
        r.register(
            "pod_operations_running",
            "Operations that run",
            self.running.clone(),
        );
        r.register(
            "pod_failures",
            "Operations on container groups that failed, by the reason in the pod's status or Event",
            self.troubles.clone(),
        );
        r.register(
            "events_dropped",
            "Events that were lost: too many at once, too many of one object, or refused by the API server",
            self.events_dropped.clone(),
        );
        r.register(
            "registry_looks",
            "Images that were looked up in their registry, for the entry point",
            self.registry_looks.clone(),
        );
        r.register(
            "kubelet_requests",
            "Requests to the kubelet API of the nodes",
            self.kubelet_requests.clone(),
        );
        let help = "Time until the answer to a request to the kubelet API began";
        r.register_with_unit(
            "kubelet_request_duration",
            help,
            Unit::Seconds,
            self.kubelet_seconds.clone(),
        );
        let help = "End of the serving certificate of a node, in seconds of the epoch";
        r.register_with_unit(
            "kubelet_certificate_expiry",
            help,
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        let help =
            "End of the credential of a connector, where it is known, in seconds of the epoch";
        r.register_with_unit(
            "credential_expiry_timestamp",
            help,
            Unit::Seconds,
            self.credential_expiry.clone(),
        );
        self.agents.register(r);
        self.ownership.register(r);
        *self.registry.lock() = registry;
    }

    /// The text of `/metrics`.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let registry = self.registry.lock();
        // The recorders count for themselves; with the lock nobody else brings this up to date.
        let new = events::dropped().saturating_sub(self.events_dropped.get());
        self.events_dropped.inc_by(new);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

impl azure::client::Observer for Metrics {
    fn call(&self, operation: &'static str, status: Option<u16>, elapsed: Duration) {
        self.arm_calls
            .get_or_create(&ArmCall {
                operation,
                code: status.unwrap_or(0),
            })
            .inc();
        self.arm_seconds
            .get_or_create(&ArmOperation { operation })
            .observe(elapsed.as_secs_f64());
    }

    fn throttled(&self, class: &'static str, wait: Duration) {
        self.arm_waited
            .get_or_create(&ArmClass { class })
            .inc_by(wait.as_secs_f64());
    }
}

impl kube::client::Observer for Metrics {
    fn call(&self, verb: &'static str, resource: &str, code: u16, elapsed: Duration) {
        self.api_calls
            .get_or_create(&ApiCall {
                verb,
                resource: resource.to_string(),
                code,
            })
            .inc();
        self.api_seconds
            .get_or_create(&ApiVerb { verb })
            .observe(elapsed.as_secs_f64());
    }
}

impl pods::Observer for Metrics {
    fn failure(&self, operation: &'static str, reason: &'static str) {
        let trouble = Trouble { operation, reason };
        self.troubles.get_or_create(&trouble).inc();
    }

    fn status_lag(&self, lag: Duration) {
        self.status_lag.observe(lag.as_secs_f64());
    }

    fn create_lag(&self, lag: Duration) {
        self.create_lag.observe(lag.as_secs_f64());
    }

    fn queue(&self, node: &str, waiting: usize, running: usize) {
        let node = Node {
            node: node.to_string(),
        };
        self.waiting
            .get_or_create(&node)
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.running
            .get_or_create(&node)
            .set(i64::try_from(running).unwrap_or(i64::MAX));
    }
}

impl registry::Observer for Metrics {
    fn look(&self, outcome: &'static str) {
        self.registry_looks
            .get_or_create(&Outcome { outcome })
            .inc();
    }
}

impl connector::Observer for Metrics {
    fn groups_left(&self, connector: &str, groups: u32) {
        self.agents.groups_left(connector, groups);
    }

    fn credential_expiry(&self, connector: &str, seconds: Option<i64>) {
        let connector = Connector {
            connector: connector.to_string(),
        };
        match seconds {
            Some(seconds) => {
                self.credential_expiry
                    .get_or_create(&connector)
                    .set(seconds);
            }
            None => {
                self.credential_expiry.remove(&connector);
            }
        }
    }
}

/// Who runs which connector: the Leases.
#[derive(Debug, Default)]
struct Ownership {
    held: Gauge,
    replicas: Gauge,
    remaining: Gauge<f64, AtomicU64>,
    changes: Family<Change, Counter>,
    renewals: Family<Outcome, Counter>,
    refused: Family<Write, Counter>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Change {
    change: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Write {
    target: &'static str,
}

impl Ownership {
    fn register(&self, r: &mut Registry) {
        let help = "Connectors whose nodes this replica runs";
        r.register("ownership_connectors", help, self.held.clone());
        let help = "Replicas of the operator that are there, this one included";
        r.register("ownership_replicas", help, self.replicas.clone());
        let help =
            "Time until the first claim lapses unless its Lease is renewed; 0 holds back writes";
        let remaining = self.remaining.clone();
        r.register_with_unit("ownership_claim_remaining", help, Unit::Seconds, remaining);
        let help = "Connectors taken, received, handed_over, released, lost, removed";
        r.register("ownership_changes", help, self.changes.clone());
        let help = "Renewals of the Leases of connectors";
        r.register("ownership_renewals", help, self.renewals.clone());
        let help = "Writes that were not sent because the connector was not held";
        r.register("ownership_refused_writes", help, self.refused.clone());
    }
}

impl ownership::Observer for Metrics {
    fn state(&self, held: usize, replicas: usize, remaining: Option<Duration>) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.ownership.held.set(number(held));
        self.ownership.replicas.set(number(replicas));
        let remaining = remaining.unwrap_or_default().as_secs_f64();
        self.ownership.remaining.set(remaining);
    }

    fn change(&self, change: &'static str) {
        let changes = &self.ownership.changes;
        changes.get_or_create(&Change { change }).inc();
    }

    fn renewal(&self, succeeded: bool) {
        let outcome = if succeeded { "success" } else { "failure" };
        let renewals = &self.ownership.renewals;
        renewals.get_or_create(&Outcome { outcome }).inc();
    }

    fn refused(&self, target: &'static str) {
        let refused = &self.ownership.refused;
        refused.get_or_create(&Write { target }).inc();
    }
}

impl kubelet::Observer for Metrics {
    fn request(&self, route: &'static str, status: u16, elapsed: Duration) {
        self.kubelet_requests
            .get_or_create(&KubeletRequest {
                route,
                code: status,
            })
            .inc();
        self.kubelet_seconds
            .get_or_create(&KubeletRoute { route })
            .observe(elapsed.as_secs_f64());
    }

    fn node_ended(&self, node: &str) {
        let node = Node {
            node: node.to_string(),
        };
        self.waiting.remove(&node);
        self.running.remove(&node);
        self.agents.forget(&node);
        self.certificate_expiry.remove(&node);
    }

    fn certificate_expiry(&self, node: &str, seconds: Option<i64>) {
        let node = Node {
            node: node.to_string(),
        };
        match seconds {
            Some(seconds) => {
                self.certificate_expiry.get_or_create(&node).set(seconds);
            }
            None => {
                self.certificate_expiry.remove(&node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_observed_is_told() {
        let metrics = Metrics::default();
        azure::client::Observer::call(&metrics, "put_group", Some(201), Duration::from_millis(3));
        kube::client::Observer::call(
            &metrics,
            "PATCH",
            "pods/status",
            200,
            Duration::from_millis(3),
        );
        pods::Observer::queue(&metrics, "node", 3, 1);
        registry::Observer::look(&metrics, "not_found");
        kubelet::Observer::request(&metrics, "pods", 200, Duration::from_millis(3));
        kubelet::Observer::certificate_expiry(&metrics, "node", Some(7));
        connector::Observer::credential_expiry(&metrics, "azure", Some(8));
        crate::agent::Observer::part_restarted(&metrics, "pods");
        ownership::Observer::state(&metrics, 2, 3, Some(Duration::from_secs(4)));
        ownership::Observer::change(&metrics, "handed_over");
        ownership::Observer::renewal(&metrics, true);
        ownership::Observer::refused(&metrics, "azure");
        let text = metrics.encode().unwrap();
        for line in [
            "vkc_kubelet_requests_total{route=\"pods\",code=\"200\"} 1",
            "vkc_kubelet_certificate_expiry_seconds{node=\"node\"} 7",
            "vkc_credential_expiry_timestamp_seconds{connector=\"azure\"} 8",
            "vkc_arm_requests_total{operation=\"put_group\",code=\"201\"} 1",
            "vkc_api_requests_total{verb=\"PATCH\",resource=\"pods/status\",code=\"200\"} 1",
            "vkc_pod_operations_waiting{node=\"node\"} 3",
            "vkc_events_dropped_total ",
            "vkc_registry_looks_total{outcome=\"not_found\"} 1",
            "vkc_agent_part_restarts_total{part=\"pods\"} 1",
            "vkc_build_info{version=",
            "vkc_ownership_connectors 2",
            "vkc_ownership_replicas 3",
            "vkc_ownership_claim_remaining_seconds 4.0",
            "vkc_ownership_changes_total{change=\"handed_over\"} 1",
            "vkc_ownership_renewals_total{outcome=\"success\"} 1",
            "vkc_ownership_refused_writes_total{target=\"azure\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        kubelet::Observer::certificate_expiry(&metrics, "node", None);
        kubelet::Observer::node_ended(&metrics, "node");
        connector::Observer::credential_expiry(&metrics, "azure", None);
        let text = metrics.encode().unwrap();
        assert!(
            !text.contains("expiry_seconds{") && !text.contains("timestamp_seconds{"),
            "{text}"
        );
        assert!(!text.contains("node=\"node\""), "{text}");
    }
}
