//! `cargo xtask lint`: what linters of others say of what ships. The chart as helm renders it, with its defaults and with everything
//! that its values can switch on, the folders of `config/`, the Dockerfile and the workflows.
//!
//! Tools are built from pinned Go modules or installed from the Python Package Index, once. One that cannot be had is named and passed
//! over: a machine without a network checks less, and says so.

mod checkov;
mod schemas;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use xtask::control_plane::{Assets, ControlPlane, Linters, Options, stderr_progress};
use xtask::workspace;

const CHART: &str = "charts/virtual-kubelet-connector";
/// What is rendered for, and whose schemas are asked.
const KUBERNETES: &str = "1.36.3";
const SAMPLES: &str = "config/samples";
const FOLDERS: [&str; 6] = [
    "config/default",
    "config/any-node",
    "config/before-1.36",
    "config/requests",
    "config/prometheus",
    SAMPLES,
];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fail when a tool cannot be had
    #[arg(long)]
    required: bool,
}

/// What has been found, and what could not be looked at.
#[derive(Default)]
struct Report {
    failed: Vec<String>,
    unchecked: Vec<String>,
}

impl Report {
    fn result(&mut self, what: &str, result: Result<String>) {
        match result {
            Ok(said) => println!("ok: {what}: {said}"),
            Err(error) => {
                println!("FAILED: {what}: {error:#}");
                self.failed.push(what.to_owned());
            }
        }
    }

    fn unchecked(&mut self, what: &str, error: &anyhow::Error) {
        println!("passed over: {what}: {error:#}");
        self.unchecked.push(what.to_owned());
    }
}

/// A file with the objects of one way to install.
struct Rendered {
    name: String,
    file: PathBuf,
}

impl Rendered {
    /// Whether it is for production. The samples are the workloads of 2019 as they were, which have neither limits nor probes.
    fn is_ours(&self) -> bool {
        self.name != SAMPLES
    }
}

pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    let root = workspace::root()?;
    let dir = tempfile::tempdir().context("no temporary directory")?;
    let assets = Assets::resolve(stderr_progress)?;
    let helm = assets.helm(stderr_progress)?;
    let mut report = Report::default();

    let everything = dir.path().join("everything.yaml");
    fs::write(&everything, all_values().to_string())?;
    for values in [None, Some(&everything)] {
        let mut command = tool(&helm, &root, dir.path());
        command.args(["lint", "--strict", CHART, "--kube-version", KUBERNETES]);
        command.args(values.map(|file| format!("--values={}", file.display())));
        let name = values.map_or("", |_| ", with all that the values can switch on");
        let said = call(&mut command).map(|_| "nothing".to_owned());
        report.result(&format!("helm lint --strict{name}"), said);
    }
    let rendered = render(&assets, &helm, &root, dir.path(), &everything)?;

    match Assets::linters(stderr_progress) {
        Ok(linters) => {
            for one in rendered.iter().filter(|one| one.is_ours()) {
                report.result(
                    &format!("kube-score: {}", one.name),
                    kube_score(&linters, one),
                );
            }
            let workflows = workflows(&linters, &root);
            report.result("actionlint: .github/workflows", workflows);
            let schemas = dir.path().join("schemas");
            let plane = ControlPlane::start(&assets, Options::default()).await?;
            let written = schemas::write(&plane, &root.join("crds"), &schemas).await;
            plane.stop().await;
            println!("{} schemas of the API server", written?);
            for one in &rendered {
                let said = kubeconform(&linters, &schemas, one);
                report.result(&format!("kubeconform: {}", one.name), said);
            }
        }
        Err(error) => report.unchecked("kube-score, kubeconform, actionlint", &error),
    }
    match checkov::program() {
        Ok(checkov) => {
            let ours = rendered.iter().filter(|one| one.is_ours());
            let objects = ours.map(|one| ("kubernetes", one.name.as_str(), one.file.as_path()));
            let dockerfile = root.join("Dockerfile");
            let more = [
                ("dockerfile", "Dockerfile", dockerfile.as_path()),
                ("github_actions", ".github/workflows", root.as_path()),
            ];
            for (framework, name, path) in objects.chain(more) {
                let said = checkov::check(&checkov, framework, path);
                report.result(&format!("checkov: {name}"), said);
            }
        }
        Err(error) => report.unchecked("checkov", &error),
    }

    for what in &report.unchecked {
        println!("NOT CHECKED: {what}");
    }
    ensure!(
        report.failed.is_empty(),
        "failed: {}",
        report.failed.join(", ")
    );
    ensure!(
        !args.required || report.unchecked.is_empty(),
        "not checked: {}",
        report.unchecked.join(", ")
    );
    Ok(ExitCode::SUCCESS)
}

/// Values that switch on what is off by default.
fn all_values() -> serde_json::Value {
    let on = json!({"enabled": true});
    json!({
        "connectors": {
            "virtual-kubelet": {"osType": "Both", "region": "eastus", "aciResourceGroup": "aci-rg", "publicIP": true},
        },
        "credentials": {
            "existingSecret": "aci-credentials",
            "externalSecret": {"enabled": true, "secretStoreRef": {"name": "store", "kind": "ClusterSecretStore"}},
            "workloadIdentity": {"enabled": true, "clientID": "99999999-8888-7777-6666-555555555555"},
        },
        "policies": {"allowedNamespaces": "Warn", "operator": "Warn", "requests": "AsBilled", "unsupported": "Deny"},
        "clusterDNS": ["10.0.0.10"],
        "kubernetesServiceHost": "api.example.com:6443",
        "kubeletServingCert": "files",
        "kubeletCertSecret": "serving",
        "networkPolicy": {"egress": on},
        "metrics": {"podMonitor": on, "serviceMonitor": on, "prometheusRule": on, "dashboard": on},
        "uninstall": {"connectors": "All"},
    })
}

fn render(
    assets: &Assets,
    helm: &Path,
    root: &Path,
    dir: &Path,
    everything: &Path,
) -> Result<Vec<Rendered>> {
    let values = format!("--values={}", everything.display());
    let template = [
        "template",
        "vkc",
        CHART,
        "--namespace=vkc-system",
        "--include-crds",
    ];
    let version = ["--kube-version", KUBERNETES];
    let mut made = Vec::new();
    let mut keep = |name: &str, command: &mut Command| {
        let text = call(command)?;
        let file = dir.join(format!("{}.yaml", name.replace(['/', ' '], "-")));
        fs::write(&file, text)?;
        made.push(Rendered {
            name: name.to_owned(),
            file,
        });
        anyhow::Ok(())
    };
    keep(
        "chart by default",
        tool(helm, root, dir).args(template).args(version),
    )?;
    keep(
        "chart with everything",
        tool(helm, root, dir)
            .args(template)
            .args(version)
            .arg(&values),
    )?;
    let older = ["--kube-version", "1.35.0"];
    keep(
        "chart before 1.36",
        tool(helm, root, dir).args(template).args(older),
    )?;
    for folder in FOLDERS {
        let kubectl = assets.program("kubectl");
        keep(
            folder,
            tool(&kubectl, root, dir).args(["kustomize", folder]),
        )?;
    }
    Ok(made)
}

/// A program that works in the repository, without a cluster and with a home of its own.
fn tool(program: &Path, root: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(root)
        .env("HOME", home)
        .env("KUBECONFIG", home.join("no-kubeconfig"))
        .stdin(Stdio::null());
    command
}

/// Standard output of a command, or both of one that failed.
fn call(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{name} ended with {}:\n{stdout}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(stdout)
}

/// Ends in an error when something is critical.
fn kube_score(linters: &Linters, one: &Rendered) -> Result<String> {
    let mut command = Command::new(&linters.kube_score);
    command
        .args(["score", "--output-format=ci", "--kubernetes-version=v1.36"])
        .arg(&one.file)
        .stdin(Stdio::null());
    let text = call(&mut command)?;
    let warnings: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("[WARNING]"))
        .collect();
    for warning in &warnings {
        println!("    {warning}");
    }
    let passed = text.lines().filter(|line| line.starts_with("[OK]")).count();
    Ok(format!(
        "{passed} ok, 0 critical, {} warnings",
        warnings.len()
    ))
}

fn workflows(linters: &Linters, root: &Path) -> Result<String> {
    let folder = root.join(".github/workflows");
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder)? {
        files.push(entry?.path());
    }
    call(
        Command::new(&linters.actionlint)
            .current_dir(root)
            .args(&files),
    )?;
    let shell = workspace::on_path("shellcheck").map_or("without", |_| "with");
    Ok(format!(
        "{} files, {shell} shellcheck for their scripts",
        files.len()
    ))
}

fn kubeconform(linters: &Linters, schemas: &Path, one: &Rendered) -> Result<String> {
    let location = format!(
        "{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        schemas.display()
    );
    let mut command = Command::new(&linters.kubeconform);
    command
        .args([
            "-strict",
            "-summary",
            "-ignore-missing-schemas",
            "-schema-location",
        ])
        .arg(location)
        .arg(&one.file)
        .stdin(Stdio::null());
    let text = call(&mut command)?;
    let summary = text.lines().find(|line| line.starts_with("Summary"));
    Ok(summary.unwrap_or(&text).trim().to_owned())
}
