//! What came of a run: read from ginkgo's report, and compared with what is expected to fail.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The Event of a pod that ACI cannot run.
const REFUSED: &str = "NotSupportedOnAci: ";
/// Characters of a reason that are shown.
const LONGEST: usize = 240;

/// One test that was run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) name: String,
    /// Why it has failed; `None` when it has passed.
    pub(super) failure: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SuiteReport {
    #[serde(default)]
    spec_reports: Option<Vec<SpecReport>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SpecReport {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    #[serde(default)]
    leaf_node_text: String,
    state: String,
    #[serde(default)]
    failure: Option<Failure>,
    #[serde(default)]
    captured_ginkgo_writer_output: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Failure {
    message: String,
}

/// The tests of a report of ginkgo (`--json-report`) that were run.
pub(super) fn read(report: &Path) -> Result<Vec<Test>> {
    let text = fs::read(report).with_context(|| format!("cannot read {}", report.display()))?;
    tests(&text).with_context(|| format!("{} is no report of ginkgo", report.display()))
}

fn tests(text: &[u8]) -> Result<Vec<Test>> {
    let suites: Vec<SuiteReport> = serde_json::from_slice(text)?;
    let specs = suites
        .into_iter()
        .flat_map(|suite| suite.spec_reports.unwrap_or_default());
    Ok(specs
        .filter(|spec| spec.leaf_node_type == "It")
        .filter(|spec| !matches!(spec.state.as_str(), "skipped" | "pending"))
        .map(|spec| {
            let mut words = spec.container_hierarchy_texts.unwrap_or_default();
            words.push(spec.leaf_node_text);
            let message = spec.failure.unwrap_or_default().message;
            let failure = (spec.state != "passed")
                .then(|| first_reason(&message, &spec.captured_ginkgo_writer_output));
            Test {
                name: words.join(" "),
                failure,
            }
        })
        .collect())
}

/// A failure in one line: why the pod was refused, where the test has seen that in the events, else what the test says.
fn first_reason(message: &str, output: &str) -> String {
    let refused = output
        .lines()
        .find_map(|line| line.find(REFUSED).and_then(|at| line.get(at..)));
    let line = refused.unwrap_or(message).split_whitespace();
    let line = line.collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_run_and_why_it_failed() {
        let report = r#"[{"SuitePath": "e2e", "SpecReports": [
            {"ContainerHierarchyTexts": null, "LeafNodeType": "SynchronizedBeforeSuite", "LeafNodeText": "", "State": "passed"},
            {"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeType": "It", "LeafNodeText": "should run", "State": "passed"},
            {"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeType": "It", "LeafNodeText": "is not asked for", "State": "skipped"},
            {"ContainerHierarchyTexts": ["[sig-node] Pods"], "LeafNodeType": "It", "LeafNodeText": "should wait", "State": "timedout",
             "Failure": {"Message": "Timed out after 90s.\nExpected\n  pod"}},
            {"ContainerHierarchyTexts": ["[sig-node]", "Pods"], "LeafNodeType": "It", "LeafNodeText": "should share", "State": "failed",
             "Failure": {"Message": "Timed out"},
             "CapturedGinkgoWriterOutput": "x\nAt 0001 - event for p: { } NotSupportedOnAci: spec.hostNetwork: no host\ny"}
        ]}, {"SpecReports": null}]"#;
        let tests = tests(report.as_bytes()).unwrap();
        let all: Vec<_> = tests
            .iter()
            .map(|test| (test.name.as_str(), test.failure.as_deref()))
            .collect();
        assert_eq!(
            all,
            [
                ("[sig-node] Pods should run", None),
                (
                    "[sig-node] Pods should wait",
                    Some("Timed out after 90s. Expected pod")
                ),
                (
                    "[sig-node] Pods should share",
                    Some("NotSupportedOnAci: spec.hostNetwork: no host")
                ),
            ]
        );
    }
}
