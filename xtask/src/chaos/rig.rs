//! Everything that a run works on: control plane, emulator, operators, connector.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use xtask::control_plane::{Assets, ControlPlane, Options};
use xtask::process::StateDir;
use xtask::stack::{Emulator, Principal, apply};
use xtask::workspace::Programs;

use super::canary::Canaries;
use super::history::History;
use super::manifests;
use super::operators::Operators;

pub(super) const NAMESPACE: &str = "vkc-system";
/// Of the operator: `config/rbac` binds its rights to it.
const ACCOUNT: &str = "vkc";
pub(super) const SECRET: &str = "aci-credentials";
/// The connector whose node names are in `config/rbac`.
pub(super) const CONNECTOR: &str = "virtual-kubelet";
pub(super) const RESOURCE_GROUP: &str = "aci-rg";
pub(super) const REGION: &str = "eastus";
/// Where the pods are.
pub(super) const NAMESPACES: [&str; 2] = ["chaos-0", "chaos-1"];
/// Groups of others in our resource group.
pub(super) const FOREIGN: [&str; 2] = ["somebody-else", "another-cluster"];
/// A client of Azure that is not us.
const OTHER_CLIENT: &str = "99999999-9999-4999-8999-999999999999";
const NODES_DEADLINE: Duration = Duration::from_mins(2);

/// The stage. Clones of its parts are given to the lanes.
pub(super) struct Rig {
    // Fields drop in this order: what depends on others first.
    pub(super) history: History,
    keeper: JoinHandle<()>,
    pub(super) operators: Arc<Mutex<Operators>>,
    pub(super) emulator: Emulator,
    pub(super) plane: ControlPlane,
    pub(super) client: Client,
    pub(super) canaries: Lock<Canaries>,
    pub(super) dir: PathBuf,
    state: Option<Lock<StateDir>>,
}

impl Rig {
    /// Starts everything and waits until the connector is Ready.
    pub(super) async fn start(
        assets: &Assets,
        programs: &Programs,
        seed: u64,
        replicas: u64,
        dir: Option<&Path>,
    ) -> Result<Arc<Self>> {
        let mut state = match dir {
            Some(dir) => StateDir::kept(dir)?,
            None => StateDir::temporary("vkc-chaos")?,
        };
        let dir = state.path().to_owned();
        match Self::start_in(dir.clone(), assets, programs, seed, replicas).await {
            Ok(mut rig) => {
                rig.state = Some(Lock::new(state));
                Ok(Arc::new(rig))
            }
            Err(error) => {
                state.keep();
                Err(error.context(format!("not started; see the logs in {}", dir.display())))
            }
        }
    }

    async fn start_in(
        dir: PathBuf,
        assets: &Assets,
        programs: &Programs,
        seed: u64,
        replicas: u64,
    ) -> Result<Self> {
        let options = Options {
            dir: Some(dir.join("control-plane")),
            ..Options::default()
        };
        let plane = ControlPlane::start(assets, options).await?;
        let client = plane.client().await?;
        let canaries = Canaries::new(seed);
        let emulator = start_emulator(programs, &dir, canaries.client_secret()).await?;
        for name in FOREIGN {
            put_foreign(&emulator, name).await?;
        }
        install(&plane, &emulator, &canaries).await?;
        let kubeconfig = plane
            .kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
            .await?;
        let mut operators = Operators::new(&programs.vkc, &kubeconfig, &dir.join("operators"));
        for _ in 0..replicas {
            operators.add()?;
        }
        let operators = Arc::new(Mutex::new(operators));
        let rig = Self {
            history: History::start(&client),
            keeper: Operators::keep(&operators),
            operators,
            emulator,
            plane,
            client,
            canaries: Lock::new(canaries),
            dir,
            state: None,
        };
        let manifest = manifests::connector(&rig.emulator)?;
        rig.apply(&manifest).await?;
        rig.connector_ready().await?;
        Ok(rig)
    }

    /// Server-side apply as the administrator.
    pub(super) async fn apply(&self, manifest: &Value) -> Result<()> {
        apply(&self.plane, manifest).await
    }

    async fn connector_ready(&self) -> Result<()> {
        let deadline = Instant::now() + NODES_DEADLINE;
        loop {
            let connector = super::collect::connector(&self.client).await?;
            let conditions = connector
                .pointer("/status/conditions")
                .and_then(Value::as_array);
            let ready = conditions.into_iter().flatten().any(|condition| {
                condition.get("type").and_then(Value::as_str) == Some("Ready")
                    && condition.get("status").and_then(Value::as_str) == Some("True")
            });
            if ready {
                return Ok(());
            }
            self.plane.check()?;
            if let Some(ended) = self
                .operators
                .lock()
                .await
                .seen()
                .into_iter()
                .find_map(|it| it.ended)
            {
                bail!("an operator ended: {ended}");
            }
            ensure!(
                Instant::now() < deadline,
                "the connector is not Ready after {} s: {}",
                NODES_DEADLINE.as_secs(),
                connector.get("status").unwrap_or(&Value::Null)
            );
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Keeps the state directory.
    pub(super) fn keep_dir(&self) {
        if let Some(state) = &self.state {
            state.lock().unwrap_or_else(PoisonError::into_inner).keep();
        }
    }

    /// Ends the operators with SIGTERM; what was wrong with that.
    pub(super) async fn stop_operators(&self) -> Vec<String> {
        self.keeper.abort();
        let mut all = self.operators.lock().await;
        let mut problems = Vec::new();
        for number in all.numbers() {
            if let Ok(Some(operator)) = all.take(number) {
                let problem = super::operators::stop(operator).await;
                problems.extend(problem.map(|problem| format!("vkc-{number}: {}", problem.text)));
            }
        }
        problems
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn start_emulator(programs: &Programs, dir: &Path, secret: String) -> Result<Emulator> {
    let principal = Principal {
        tenant_id: "72f988bf-0000-4000-8000-2d7cd011db47".into(),
        client_id: "11111111-1111-4111-8111-111111111111".into(),
        client_secret: secret,
        subscription_id: "00000000-0000-4000-8000-000000000001".into(),
    };
    // ARM's own buckets stay; the provider's 100 creates and deletes in five minutes would soon be all that happens.
    let arguments = [
        "--no-pages",
        "--provider-requests-5m",
        "100000",
        "--provider-requests-1h",
        "100000",
        "--quota-groups",
        "5000",
        "--quota-cores",
        "5000",
    ];
    let emulator = Emulator::start(&programs.aci_emulator, dir, principal, &arguments).await?;
    // Long enough for somebody to come in between.
    let settings = json!({"exitAfter": 3.0, "startDelay": 1.0, "crashBackoff": 2.0});
    emulator.tell("settings", &settings).await?;
    Ok(emulator)
}

/// Somebody else's container group: one without tags, and one of another cluster's operator.
async fn put_foreign(emulator: &Emulator, name: &str) -> Result<()> {
    let secret = "the-secret-of-somebody-else";
    let client = json!({"clientId": OTHER_CLIENT, "secret": secret});
    emulator.tell("clients", &client).await?;
    let http = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(
            emulator.ca_pem().as_bytes(),
        )?])
        .timeout(Duration::from_secs(10))
        .no_proxy()
        .build()?;
    let principal = emulator.principal();
    let url = emulator.url();
    let form = format!(
        "grant_type=client_credentials&client_id={OTHER_CLIENT}&client_secret={secret}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
    );
    let token = http
        .post(format!("{url}/{}/oauth2/v2.0/token", principal.tenant_id))
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await?
        .error_for_status()?;
    let token: Value = serde_json::from_slice(&token.bytes().await?)?;
    let token = token.get("access_token").and_then(Value::as_str);
    let token = token.context("no token for the foreign group")?;
    let path = format!(
        "{url}/subscriptions/{}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.ContainerInstance/containerGroups/{name}?api-version=2023-05-01",
        principal.subscription_id
    );
    http.put(path)
        .header("Authorization", format!("Bearer {token}"))
        .header("Content-Type", "application/json")
        .body(manifests::foreign_group(name).to_string())
        .send()
        .await?
        .error_for_status()
        .with_context(|| format!("the foreign group {name} was refused"))?;
    Ok(())
}

/// What an administrator installs, and the namespaces of the pods.
async fn install(plane: &ControlPlane, emulator: &Emulator, canaries: &Canaries) -> Result<()> {
    xtask::stack::install(plane).await?;
    apply(plane, &emulator.principal().secret(NAMESPACE, SECRET)).await?;
    for namespace in NAMESPACES {
        apply(plane, &manifests::namespace(namespace)).await?;
        apply(plane, &manifests::words(namespace, &canaries.word())).await?;
        plane.namespace_ready(namespace).await?;
    }
    Ok(())
}
