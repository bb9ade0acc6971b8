//! Kubernetes' conformance suite and the programs of its test images, built from the module that the control plane is built of.
//!
//! The suite is built of a copy in which it waits for less long: its patience is for clouds and slow pulls, and a test that fails
//! by waiting would take five minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::assets::{KUBERNETES, KUBERNETES_VERSION, STRIPPED, cache_root, kubernetes_flags};
use super::cache;
use super::go;

const GO_MOD: &str = include_str!("../../control-plane/conformance/go.mod");
const GO_SUM: &str = include_str!("../../control-plane/conformance/go.sum");
const MODULE: &str = "k8s.io/kubernetes";
const NAMES: [&str; 5] = ["e2e.test", "ginkgo", "agnhost", "nonewprivs", "pause"];

/// Files below `test/e2e`, with the seconds that a time-out of minutes is to be.
const PATIENCE: [(&str, &[(&str, u32)]); 7] = [
    (
        "framework/timeouts.go",
        &[
            ("PodStart", 90),
            ("PodStartShort", 45),
            ("PodStartSlow", 180),
            ("PodDelete", 90),
        ],
    ),
    (
        "framework/util.go",
        &[
            ("PodStartTimeout", 90),
            ("PodStartShortTimeout", 45),
            ("PodDeleteTimeout", 90),
            ("PodReadyBeforeTimeout", 90),
        ],
    ),
    (
        "framework/pod/wait.go",
        &[
            ("defaultPodDeletionTimeout", 90),
            ("podRespondingTimeout", 180),
            ("podStartTimeout", 90),
            ("slowPodStartTimeout", 180),
        ],
    ),
    (
        "framework/pod/pod_client.go",
        &[("DefaultPodDeletionTimeout", 90)],
    ),
    ("framework/pod/delete.go", &[("PodDeleteTimeout", 90)]),
    (
        "common/node/container.go",
        &[("ContainerStatusRetryTimeout", 90)],
    ),
    (
        "common/node/container_probe.go",
        &[("defaultObservationTimeout", 100)],
    ),
];

/// The programs of Kubernetes' conformance suite.
#[derive(Debug, Clone)]
pub struct Suite {
    home: PathBuf,
}

impl Suite {
    /// Builds them into the cache at the first call.
    ///
    /// # Errors
    /// The build failed.
    pub fn resolve(mut progress: impl FnMut(&str)) -> Result<Self> {
        let text = format!("{GO_MOD}{GO_SUM}{STRIPPED}{PATIENCE:?}");
        let key = cache::key(KUBERNETES_VERSION, &text);
        let base = cache_root()?.join("conformance");
        let home = cache::built(&base, &key, &NAMES, &mut progress, build)?;
        Ok(Self { home })
    }

    /// The path of one program, such as `e2e.test`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }

    /// The sources of the suite's images: a folder for each.
    pub fn images(&self) -> PathBuf {
        self.home.join("kubernetes/test/images")
    }
}

fn build<P: FnMut(&str)>(work: &Path, progress: &mut P) -> Result<()> {
    let bin = work.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    let copy = work.join("kubernetes");
    copy_module(work, &copy)?;
    for (file, names) in PATIENCE {
        let path = copy.join("test/e2e").join(file);
        let mut text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for (name, seconds) in names {
            text = shortened(&text, name, *seconds)
                .with_context(|| format!("{} has no {name} of minutes", path.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    fs::write(work.join("go.mod"), GO_MOD)?;
    fs::write(work.join("go.sum"), GO_SUM)?;
    let flags = kubernetes_flags();
    let package = "k8s.io/kubernetes/test/e2e";
    go::build_tests(
        work,
        &bin.join("e2e.test"),
        package,
        &flags,
        "e2e.test (1/5)",
        progress,
    )?;
    for (name, package, what) in [
        ("ginkgo", "github.com/onsi/ginkgo/v2/ginkgo", "ginkgo (2/5)"),
        (
            "agnhost",
            "k8s.io/kubernetes/test/images/agnhost",
            "agnhost (3/5)",
        ),
        (
            "nonewprivs",
            "k8s.io/kubernetes/test/images/nonewprivs",
            "nonewprivs (4/5)",
        ),
    ] {
        go::build(work, &bin.join(name), package, STRIPPED, what, progress)?;
    }
    let source = copy.join("build/pause/linux/pause.c");
    let status = Command::new("cc")
        .args(["-Os", "-static", "-o"])
        .arg(bin.join("pause"))
        .arg(&source)
        .status()
        .context("cannot run cc")?;
    ensure!(
        status.success(),
        "cc of {} ended with {status}",
        source.display()
    );
    Ok(())
}

/// The module as it was published, verified by the control plane's `go.sum`, in a folder that may be written to.
fn copy_module(work: &Path, to: &Path) -> Result<()> {
    let pins = work.join("published");
    fs::create_dir_all(&pins)?;
    fs::write(pins.join("go.mod"), KUBERNETES.go_mod)?;
    fs::write(pins.join("go.sum"), KUBERNETES.go_sum)?;
    go::download(&pins, MODULE)?;
    let from = go::module_dir(&pins, MODULE)?;
    let status = Command::new("cp")
        .args(["-r", "--no-preserve=mode"])
        .arg(&from)
        .arg(to)
        .status()
        .context("cannot run cp")?;
    ensure!(
        status.success(),
        "cp of {} ended with {status}",
        from.display()
    );
    Ok(())
}

/// The text of a Go file in which the time-out `name`, a constant or a member, is so many seconds.
fn shortened(text: &str, name: &str, seconds: u32) -> Option<String> {
    let line = text.lines().find(|line| {
        let rest = line.trim_start().strip_prefix(name).map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with([':', '=']) && rest.contains("time.Minute"))
    })?;
    let (start, rest) = line.split_at(line.find([':', '='])? + 1);
    let end = if rest.trim_end().ends_with(',') {
        ","
    } else {
        ""
    };
    Some(text.replacen(line, &format!("{start} {seconds} * time.Second{end}"), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_out_of_minutes_becomes_one_of_seconds() {
        let text = "x = T{\n\tPodStartShort: 2 * time.Minute,\n\tPodStart:   5 * time.Minute,\n}\nconst (\n\twait = time.Minute * 4\n)\n";
        assert_eq!(
            shortened(text, "PodStart", 90).unwrap(),
            text.replace("PodStart:   5 * time.Minute", "PodStart: 90 * time.Second")
        );
        assert_eq!(
            shortened(text, "wait", 9).unwrap(),
            text.replace("time.Minute * 4", "9 * time.Second")
        );
        assert_eq!(shortened(text, "PodDelete", 90), None);
    }

    #[test]
    fn the_suite_is_that_of_the_control_plane() {
        let pin = format!("{MODULE} {KUBERNETES_VERSION}");
        assert!(GO_MOD.contains(&pin), "go.mod does not require {pin}");
    }
}
