//! The suite itself: ginkgo over e2e.test.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use xtask::control_plane::Suite;
use xtask::process::Process;

use super::cluster::Cluster;
use super::report::{self, Test};
use super::{Args, images};

/// Names of tests that are not for every cluster: they need a feature, break what they run on, or are known to be unsteady.
const NOT_FOR_ALL: &str = r"\[Disruptive\]|\[Feature:|\[Flaky\]|\[Alpha\]";
/// How often it is said how far it is.
const REPORT_EVERY: Duration = Duration::from_secs(30);

/// Runs the tests that may run beside each other, then those that want to be alone.
pub(super) async fn both(
    args: &Args,
    suite: &Suite,
    cluster: &mut Cluster,
    dir: &Path,
) -> Result<Vec<Test>> {
    for image in images::all() {
        cluster.push(image.name, &image.config).await?;
    }
    let label = args.set.label();
    let part = Part {
        name: "parallel",
        nodes: args.nodes,
        labels: format!("{label} && !Serial"),
    };
    let mut tests = part.run(args, suite, cluster, dir).await?;
    let part = Part {
        name: "serial",
        nodes: 1,
        labels: format!("{label} && Serial"),
    };
    tests.extend(part.run(args, suite, cluster, dir).await?);
    Ok(tests)
}

/// One call of ginkgo.
struct Part {
    name: &'static str,
    nodes: u8,
    labels: String,
}

impl Part {
    async fn run(
        &self,
        args: &Args,
        suite: &Suite,
        cluster: &mut Cluster,
        dir: &Path,
    ) -> Result<Vec<Test>> {
        let registry = cluster.registry();
        // The suite's own way to take its images from another registry.
        let names = dir.join("registries.yaml");
        let registries = json!({
            "promoterE2eRegistry": format!("{registry}/e2e-test-images"),
            "gcRegistry": registry,
        });
        std::fs::write(&names, registries.to_string())?;
        let report = format!("{}.json", self.name);
        let mut command = Command::new(suite.program("ginkgo"));
        command
            .arg(format!("--nodes={}", self.nodes))
            .arg(format!("--label-filter={}", self.labels))
            .arg(format!("--skip={NOT_FOR_ALL}"))
            .args(args.focus.iter().map(|focus| format!("--focus={focus}")))
            .args(args.skip.iter().map(|skip| format!("--skip={skip}")))
            .args(["--no-color", "--timeout=4h"])
            .arg(format!("--output-dir={}", dir.display()))
            .arg(format!("--json-report={report}"))
            .arg(format!("--junit-report={}.xml", self.name))
            .arg(suite.program("e2e.test"))
            .args(["--", "--provider=local"])
            .arg(format!(
                "--kubeconfig={}",
                cluster.plane().kubeconfig().display()
            ))
            .arg(format!(
                "--kubectl-path={}",
                cluster.plane().kubectl().display()
            ))
            .args([
                "--allowed-not-ready-nodes=0",
                "--minStartupPods=0",
                "--node-os-distro=custom",
                "--non-blocking-taints=",
            ])
            .env("KUBE_TEST_REPO_LIST", &names)
            .env("HOME", dir);
        let mut ginkgo = Ginkgo(Process::spawn(self.name, command, dir)?);
        let started = Instant::now();
        let mut next = REPORT_EVERY;
        while ginkgo.0.exited().is_none() {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if started.elapsed() < next {
                continue;
            }
            next += REPORT_EVERY;
            cluster.check()?;
            // A dot for each test that has ended.
            let text = std::fs::read_to_string(ginkgo.0.log()).unwrap_or_default();
            println!(
                "{:6.0}s  {} {} tests have ended, {} have failed",
                started.elapsed().as_secs_f64(),
                text.matches('•').count(),
                self.name,
                text.matches("• [FAILED]").count()
            );
        }
        let report = dir.join(report);
        ensure!(
            report.is_file(),
            "ginkgo has left no report; see {}",
            ginkgo.0.log().display()
        );
        report::read(&report)
    }
}

/// Ginkgo, and the programs that it has started, which would go on without it.
struct Ginkgo(Process);

impl Drop for Ginkgo {
    fn drop(&mut self) {
        if self.0.exited().is_none() {
            // It fails when all have just ended.
            let _ = self.0.signal_all("KILL");
        }
    }
}
