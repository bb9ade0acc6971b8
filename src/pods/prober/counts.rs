//! How the probes of a node's pods have gone, for its `/metrics/probes`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::translate::{PodKey, ProbeKind};

/// What came of a probe, in a kubelet's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Successful,
    Failed,
    Unknown,
}

/// Container, probe and outcome, and how often.
type OfPod = BTreeMap<(Box<str>, ProbeKind, Outcome), u64>;

/// Counts of the pods that are probed.
#[derive(Debug, Clone, Default)]
pub struct ProbeCounts(Arc<Mutex<BTreeMap<PodKey, OfPod>>>);

impl ProbeCounts {
    pub(super) fn count(&self, key: &PodKey, container: &str, kind: ProbeKind, outcome: Outcome) {
        let mut pods = self.0.lock();
        if !pods.contains_key(key) {
            pods.insert(key.clone(), OfPod::new());
        }
        if let Some(pod) = pods.get_mut(key) {
            *pod.entry((container.into(), kind, outcome)).or_default() += 1;
        }
    }

    pub(super) fn forget(&self, key: &PodKey) {
        self.0.lock().remove(key);
    }

    /// In Prometheus' text format, under a kubelet's name and labels. Names of pods and containers need no escaping.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let pods = self.0.lock();
        if pods.is_empty() {
            return text;
        }
        text.push_str(
            "# HELP prober_probe_total Cumulative number of a liveness, readiness or startup probe for a container by result.\n\
             # TYPE prober_probe_total counter\n",
        );
        for (key, pod) in &*pods {
            for ((container, kind, outcome), times) in pod {
                let outcome = match outcome {
                    Outcome::Successful => "successful",
                    Outcome::Failed => "failed",
                    Outcome::Unknown => "unknown",
                };
                // A String takes all that is written.
                let _ = writeln!(
                    text,
                    "prober_probe_total{{container=\"{container}\",namespace=\"{}\",pod=\"{}\",pod_uid=\"{}\",probe_type=\"{}\",\
                     result=\"{outcome}\"}} {times}",
                    key.namespace,
                    key.name,
                    key.uid,
                    kind.as_str(),
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_as_a_kubelet_tells_them_until_the_pod_is_probed_no_more() {
        let counts = ProbeCounts::default();
        assert_eq!(counts.text(), "");
        let key = PodKey {
            namespace: "ns".into(),
            name: "web".into(),
            uid: "u1".into(),
        };
        for outcome in [Outcome::Failed, Outcome::Successful, Outcome::Successful] {
            counts.count(&key, "main", ProbeKind::Readiness, outcome);
        }
        let labels = "container=\"main\",namespace=\"ns\",pod=\"web\",pod_uid=\"u1\",probe_type=\"Readiness\"";
        let lines: Vec<String> = counts.text().lines().skip(2).map(str::to_owned).collect();
        let line =
            |result, times| format!("prober_probe_total{{{labels},result=\"{result}\"}} {times}");
        assert_eq!(lines, [line("successful", 2), line("failed", 1)]);
        counts.forget(&key);
        assert_eq!(counts.text(), "");
    }
}
