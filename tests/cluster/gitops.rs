//! Connectors out of Git, by Flux's own controllers as `config/flux` sets them up.

mod flux;
mod git;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aci_emulator::{Config, Emulator};
use serde_json::{Value, json};
use xtask::control_plane::{Assets, ControlPlane, Options, stderr_progress};
use xtask::ports::free_port;
use xtask::process::Process;
use xtask::stack::Operator;

use crate::support::fixture::{credentials, quick_azure};
use crate::support::site::{self, ACCOUNT, NAMESPACE, path};
use crate::support::tools::{answer, apply};
use git::Git;

const FLUX: &str = "flux-system";
const PATIENCE: Duration = Duration::from_secs(60);
/// The Secret that the connectors name.
const SECRET: &str = "aci-credentials";

/// A cluster with Flux and nothing else, a Git server with this project in it, and an Azure.
struct Stage {
    controllers: [Process; 2],
    plane: ControlPlane,
    git: Git,
    azure: Emulator,
    config: Config,
}

impl Stage {
    async fn new() -> Self {
        let assets = Assets::resolve(stderr_progress).unwrap();
        let flux = tokio::task::spawn_blocking(|| Assets::flux(stderr_progress));
        let flux = flux.await.unwrap().unwrap();
        let plane = ControlPlane::start(&assets, Options::default())
            .await
            .unwrap();
        for crds in &flux.crds {
            let crds = crds.display().to_string();
            let args = ["apply", "--server-side", "-f", &crds];
            plane.kubectl_run(&args).await.unwrap().ok().unwrap();
        }
        let args = ["create", "namespace", FLUX];
        plane.kubectl_run(&args).await.unwrap().ok().unwrap();
        let config = quick_azure();
        let controllers = [
            controller(&plane, "source-controller", &flux.source_controller),
            controller(&plane, "kustomize-controller", &flux.kustomize_controller),
        ];
        Self {
            controllers,
            plane,
            git: Git::start().await,
            azure: Emulator::start(config.clone()).await.unwrap(),
            config,
        }
    }

    async fn apply(&self, object: &Value) {
        apply(&self.plane, object).await;
    }

    async fn kubectl(&self, words: &str) -> Result<String, String> {
        let args: Vec<&str> = words.split_whitespace().collect();
        answer(&self.plane, &args).await
    }

    /// An object as JSON; null when there is none.
    async fn get(&self, what: &str) -> Value {
        match self
            .kubectl(&format!("get {what} -o json --show-managed-fields"))
            .await
        {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(error) if error.contains("NotFound") => Value::Null,
            Err(error) => panic!("{what}: {error}"),
        }
    }

    /// Looks at an object until it is as it should be.
    async fn until(&self, what: &str, why: &str, good: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.get(what).await;
            if good(&seen) {
                return seen;
            }
            assert!(
                Instant::now() < deadline,
                "never: {what}: {why}; last seen {}\n{}",
                seen["status"],
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn log_tail(&self) -> String {
        let tail = |process: &Process| process.log_tail(15);
        self.controllers
            .iter()
            .map(tail)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The operator, under the account that Flux made.
    async fn operator(&self) -> Operator {
        site::operator(&self.plane, NAMESPACE, ACCOUNT).await
    }

    /// A connector and the right to act as its nodes, as `vkc install-connector` prints them for Git.
    fn manifest(&self, name: &str) -> String {
        let ca = self.plane.dir().join("azure.pem");
        std::fs::write(&ca, self.azure.ca_pem()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_vkc"))
            .args(["install-connector", "--dry-run", "--connector-name", name])
            .args(["--location", "eastus", "--aci-resource-group", "aci-rg"])
            .args(["--credentials-secret", SECRET])
            .args(["--resource-manager-endpoint", self.azure.url()])
            .args(["--authority-host", self.azure.url()])
            .arg("--ca-file")
            .arg(&ca)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn create_secret(&self) {
        self.apply(&credentials(NAMESPACE, SECRET, &self.config))
            .await;
    }

    /// Has Flux look at Git, and then apply what is there, now.
    async fn reconcile(&self, names: &[&str]) {
        let now = format!("{:?}", Instant::now()).replace(' ', "");
        for what in names {
            self.kubectl(&format!(
                "annotate --overwrite -n {FLUX} {what} reconcile.fluxcd.io/requestedAt={now}"
            ))
            .await
            .unwrap();
            self.until(&format!("-n {FLUX} {what}"), "it is reconciled", |it| {
                it["status"]["lastHandledReconcileAt"] == now.as_str()
            })
            .await;
        }
    }
}

/// One of Flux's controllers, as the administrator: who may do what is not what is tested.
fn controller(plane: &ControlPlane, name: &str, program: &Path) -> Process {
    let mut command = Command::new(program);
    command
        .env("KUBECONFIG", plane.kubeconfig())
        .env("RUNTIME_NAMESPACE", FLUX)
        .args(["--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"]);
    if name == "source-controller" {
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let storage = plane.dir().join("artifacts");
        std::fs::create_dir_all(&storage).unwrap();
        command
            .arg(format!("--storage-addr={address}"))
            .arg(format!("--storage-adv-addr={address}"))
            .arg(format!("--storage-path={}", storage.display()));
    } else {
        command.arg("--requeue-dependency=1s");
    }
    Process::spawn(name, command, plane.dir()).unwrap()
}

/// `config/flux` at this Git server. There is no machine that would run the Deployment, so it has no replicas.
fn sync(url: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path("config/flux/sync.yaml")).unwrap();
    let documents = text.split("\n---\n");
    let mut objects: Vec<Value> = documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect();
    for object in &mut objects {
        if object["kind"] == "GitRepository" {
            object["spec"]["url"] = json!(url);
            object["spec"]["ref"] = json!({"branch": "main"});
        } else if object["metadata"]["name"] == "vkc" {
            object["spec"]["patches"] = json!([{
                "target": {"kind": "Deployment"},
                "patch": "[{\"op\": \"replace\", \"path\": \"/spec/replicas\", \"value\": 0}]",
            }]);
        }
    }
    // The repository of the fleet, which Flux has from its own installation.
    let mut fleet = objects[0].clone();
    fleet["metadata"]["name"] = json!(FLUX);
    objects.insert(0, fleet);
    objects
}
