//! What is expected to fail, and why: `expected.yaml` beside this file.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::json;

use super::report::Test;

const FILE: &str = include_str!("expected.yaml");

/// Tests that fail for one reason.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    reason: String,
    tests: Vec<String>,
}

/// The reason of each test that is expected to fail.
pub(super) struct Expected(BTreeMap<String, String>);

impl Expected {
    pub(super) fn read() -> Result<Self> {
        Self::from(FILE).context("expected.yaml")
    }

    fn from(text: &str) -> Result<Self> {
        let groups: Vec<Group> = serde_saphyr::from_str(text)?;
        let mut reasons = BTreeMap::new();
        for group in groups {
            for test in group.tests {
                ensure!(
                    !reasons.contains_key(&test),
                    "it has two reasons for {test}"
                );
                reasons.insert(test, group.reason.clone());
            }
        }
        Ok(Self(reasons))
    }

    /// Tells failures from what was expected.
    pub(super) fn compare(&self, tests: &[Test]) -> Verdict {
        let mut verdict = Verdict::default();
        for test in tests {
            match (&test.failure, self.0.get(&test.name)) {
                (None, None) => verdict.passed.push(test.name.clone()),
                (None, Some(_)) => {
                    verdict.passed.push(test.name.clone());
                    verdict.better.push(test.name.clone());
                }
                (Some(why), None) => verdict.failed.push((test.name.clone(), why.clone())),
                (Some(_), Some(reason)) => {
                    verdict.expected.push((test.name.clone(), reason.clone()));
                }
            }
        }
        verdict
    }
}

/// What came of a run.
#[derive(Default)]
pub(super) struct Verdict {
    passed: Vec<String>,
    /// Passed, though expected to fail.
    better: Vec<String>,
    /// With the reason that is expected.
    expected: Vec<(String, String)>,
    /// With the first words of the failure.
    pub(super) failed: Vec<(String, String)>,
}

impl Verdict {
    pub(super) fn json(&self) -> String {
        let pairs = |pairs: &[(String, String)]| -> Vec<_> {
            pairs
                .iter()
                .map(|(test, why)| json!({"test": test, "reason": why}))
                .collect()
        };
        json!({
            "passed": self.passed,
            "passedUnexpectedly": self.better,
            "expectedToFail": pairs(&self.expected),
            "failed": pairs(&self.failed),
        })
        .to_string()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut by_reason: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, reason) in &self.expected {
            *by_reason.entry(reason).or_default() += 1;
        }
        for (reason, count) in by_reason {
            writeln!(f, "as expected, {count} failed: {reason}")?;
        }
        for test in &self.better {
            writeln!(f, "PASSED, though expected to fail: {test}")?;
        }
        for (test, why) in &self.failed {
            writeln!(f, "FAILED {test}\n    {why}")?;
        }
        let ran = self.passed.len() + self.expected.len() + self.failed.len();
        writeln!(
            f,
            "{} of {ran} passed, {} failed as expected, {} failed",
            self.passed.len(),
            self.expected.len(),
            self.failed.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, failure: Option<&str>) -> Test {
        Test {
            name: name.to_owned(),
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn failures_are_told_from_what_was_expected() {
        let text = "- reason: no host\n  tests: [a, b]\n- reason: no tmpfs\n  tests: [c]\n";
        let expected = Expected::from(text).unwrap();
        let verdict = expected.compare(&[
            test("a", Some("x")),
            test("b", None),
            test("d", Some("broken")),
            test("e", None),
        ]);
        assert_eq!(verdict.passed, ["b", "e"]);
        assert_eq!(verdict.better, ["b"]);
        assert_eq!(verdict.expected, [("a".to_owned(), "no host".to_owned())]);
        assert_eq!(verdict.failed, [("d".to_owned(), "broken".to_owned())]);
        let text = verdict.to_string();
        assert!(
            text.ends_with("2 of 4 passed, 1 failed as expected, 1 failed\n"),
            "{text}"
        );
    }

    #[test]
    fn a_test_has_one_reason() {
        let text = "- reason: x\n  tests: [a]\n- reason: y\n  tests: [a]\n";
        assert!(Expected::from(text).is_err());
    }

    /// The page for people names every reason, with the number of its tests.
    #[test]
    fn the_page_has_the_reasons() {
        let page = include_str!("../../../docs/conformance.md");
        let groups: Vec<Group> = serde_saphyr::from_str(FILE).unwrap();
        for group in groups {
            let row = format!("| {} | {} |", group.reason, group.tests.len());
            assert!(page.contains(&row), "docs/conformance.md lacks {row:?}");
        }
    }
}
