//! `cargo xtask crds`: the generated files follow the types in `src/api` and the table in `src/translate/support`.

mod schema;

use std::fs;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use xtask::workspace;

/// For kubectl, for kustomize, which reads nothing outside of its folder, and for Helm, which packs nothing outside of a chart.
const CRDS: [&str; 3] = [
    "crds/virtual-kubelet.io_virtualkubeletconnectors.yaml",
    "config/crd/virtual-kubelet.io_virtualkubeletconnectors.yaml",
    "charts/virtual-kubelet-connector/crds/virtual-kubelet.io_virtualkubeletconnectors.yaml",
];
/// What ACI refuses, as a policy.
const CONFIG_POLICY: &str = "config/policy/unsupported.yaml";
const CHART_POLICY: &str = "charts/virtual-kubelet-connector/templates/policy-unsupported.yaml";
const VALUES_SCHEMA: &str = "charts/virtual-kubelet-connector/values.schema.json";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; fail when a file is not what would be written
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let crd = vkc(&["crd"])?;
    let schema = schema::values_schema(&crd)?;
    let policies = [
        (CONFIG_POLICY, vkc(&["pod-policy"])?),
        (CHART_POLICY, vkc(&["pod-policy", "--template"])?),
    ];
    let files = CRDS.iter().map(|file| (*file, &crd));
    let more = [(VALUES_SCHEMA, &schema)].into_iter();
    let policies = policies.iter().map(|(file, text)| (*file, text));
    let root = workspace::root()?;
    let mut stale = Vec::new();
    for (file, text) in files.chain(more).chain(policies) {
        let path = root.join(file);
        if fs::read_to_string(&path).is_ok_and(|present| present == *text) {
            continue;
        }
        if args.check {
            stale.push(file);
            continue;
        }
        let dir = path.parent().context("a file has a directory")?;
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {file}");
    }
    ensure!(
        stale.is_empty(),
        "not what the types say: {}; run `cargo xtask crds` and commit the result",
        stale.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}

/// What the operator's program prints.
fn vkc(args: &[&str]) -> Result<String> {
    let output = workspace::cargo()?
        .args([
            "run",
            "--quiet",
            "--package=virtual-kubelet-connector",
            "--bin=vkc",
            "--",
        ])
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    let command = args.join(" ");
    ensure!(
        output.status.success(),
        "vkc {command} ended with {}",
        output.status
    );
    ensure!(!output.stdout.is_empty(), "vkc {command} printed nothing");
    String::from_utf8(output.stdout).with_context(|| format!("vkc {command} printed no text"))
}
