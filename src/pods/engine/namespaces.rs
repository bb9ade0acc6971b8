//! Pods of namespaces that the connector does not allow: nothing is made for them, and what runs already goes on. PURE.

use std::sync::Arc;

use super::record::Record;
use super::stage::Stage;
use super::{Effect, Engine, Now};
use crate::api::AllowedNamespaces;
use crate::kube::namespaces::Namespaces;
use crate::translate::status_waiting;

const NOT_ALLOWED: &str = "NamespaceNotAllowed";
const UNKNOWN: &str = "NamespaceUnknown";

/// Which namespaces' pods may have container groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Tenants {
    #[default]
    All,
    /// Those whose labels are selected.
    Selected {
        /// `spec.allowedNamespaces` of the connector.
        selector: Arc<AllowedNamespaces>,
        /// What is known of their labels.
        namespaces: Namespaces,
    },
}

/// What is to be said of a namespace.
enum Verdict {
    Allowed,
    NotAllowed,
    /// Its labels are not known, and why not.
    Unknown(Option<String>),
}

impl Tenants {
    fn verdict(&self, namespace: &str) -> Verdict {
        let Self::Selected {
            selector,
            namespaces,
        } = self
        else {
            return Verdict::Allowed;
        };
        match namespaces.labels(namespace) {
            Some(labels) if selector.selects(labels) => Verdict::Allowed,
            Some(_) => Verdict::NotAllowed,
            None => Verdict::Unknown(namespaces.problem().map(str::to_owned)),
        }
    }

    /// Whether a container group may be made for a pod of this namespace. What is not known is not allowed.
    pub(super) fn allow(&self, namespace: &str) -> bool {
        matches!(self.verdict(namespace), Verdict::Allowed)
    }

    fn selector(&self) -> String {
        match self {
            Self::All => String::new(),
            Self::Selected { selector, .. } => selector.to_string(),
        }
    }
}

impl Engine {
    pub(super) fn set_tenants(&mut self, tenants: Tenants) {
        if self.node.tenants != tenants {
            self.node.tenants = tenants;
            self.touch_all();
        }
    }
}

impl Record {
    /// Tells the pod's owner that its namespace is not allowed: once, and again after it was allowed in between.
    pub(super) fn tell_namespace(
        &mut self,
        tenants: &Tenants,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let waits = match self.stage {
            Stage::Creating => true,
            Stage::Starting { .. } | Stage::Running { .. } => false,
            _ => return,
        };
        let Some(pod) = &mut self.pod else { return };
        let namespace = &self.key.namespace;
        let (reason, message) = match tenants.verdict(namespace) {
            Verdict::Allowed => {
                pod.namespace_told = false;
                return;
            }
            // Its labels are about to arrive.
            Verdict::Unknown(None) => return,
            Verdict::Unknown(Some(problem)) => (
                UNKNOWN,
                format!(
                    "the connector allows some namespaces only, and the operator cannot read their labels: {problem}"
                ),
            ),
            Verdict::NotAllowed => (NOT_ALLOWED, not_allowed(namespace, tenants, waits)),
        };
        if waits {
            let host_ip = pod.host_ip.clone();
            let status = status_waiting(&pod.facts, reason, &message, host_ip.as_deref(), now.wall);
            pod.write(status, effects);
        }
        // What runs is no business of a watch that fails.
        let worth_an_event = waits || reason == NOT_ALLOWED;
        if worth_an_event && !std::mem::replace(&mut pod.namespace_told, true) {
            effects.push(pod.event(true, reason, message));
        }
    }
}

fn not_allowed(namespace: &str, tenants: &Tenants, waits: bool) -> String {
    let selector = tenants.selector();
    let advice = if waits {
        "have its labels changed, and the pod starts at once; or delete the pod and run it on other nodes"
    } else {
        "this pod goes on, but another one in its place would not start; have the labels changed, or move the workload to \
         other nodes"
    };
    format!(
        "the connector of this node takes pods only of namespaces whose labels match {selector} (spec.allowedNamespaces), and \
         those of {namespace} do not: {advice}"
    )
}
