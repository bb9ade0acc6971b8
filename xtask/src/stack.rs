//! The emulator and the operator as child processes, as `dev` and `bench` run them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::ports::free_port;
use crate::process::{POLL, Process};
use crate::workspace::{self, without_proxy};

/// Start of one of our own programs.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// The operator promises to end within 10 s of SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(12);
/// One question to the emulator.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// A service principal that the emulator knows.
#[derive(Clone)]
pub struct Principal {
    /// Tenant.
    pub tenant_id: String,
    /// Application.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Subscription that it may use.
    pub subscription_id: String,
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Principal")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl Principal {
    /// The credentials Secret, under the keys that the operator reads.
    pub fn secret(&self, namespace: &str, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": namespace },
            "stringData": {
                "AZURE_TENANT_ID": self.tenant_id,
                "AZURE_CLIENT_ID": self.client_id,
                "AZURE_CLIENT_SECRET": self.client_secret,
                "AZURE_SUBSCRIPTION_ID": self.subscription_id,
            },
        })
    }
}

/// What an administrator installs: CRD, namespace, RBAC.
///
/// # Errors
/// The API server refuses some of it.
pub async fn install(plane: &ControlPlane) -> Result<()> {
    let root = workspace::root()?;
    let path = |file: &str| root.join(file).to_string_lossy().into_owned();
    for args in [
        &["apply", "-k", &path("config/crd")][..],
        &[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd/virtualkubeletconnectors.virtual-kubelet.io",
        ],
        &["apply", "-f", &path("config/manager/namespace.yaml")],
        &["apply", "-k", &path("config/rbac")],
    ] {
        plane.kubectl_run(args).await?.ok()?;
    }
    Ok(())
}

/// Applies a manifest as the administrator.
///
/// # Errors
/// The API server refuses it.
pub async fn apply(plane: &ControlPlane, manifest: &Value) -> Result<()> {
    let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let output = plane
        .kubectl_as(plane.kubeconfig(), &args, &manifest.to_string())
        .await?;
    output.ok().map(drop)
}

/// What the emulator prints when it is ready.
#[derive(Debug, Clone, Deserialize)]
struct Ready {
    url: String,
    /// The file with its CA.
    ca: PathBuf,
}

/// A running `aci-emulator`.
#[derive(Debug)]
pub struct Emulator {
    process: Process,
    ready: Ready,
    ca_pem: String,
    principal: Principal,
    client: reqwest::Client,
}

impl Emulator {
    /// Starts the program on a free port and waits until it is ready. `args` are more flags for it.
    ///
    /// # Errors
    /// It cannot be started, ended, or was not ready in 30 s.
    pub async fn start(
        program: &Path,
        dir: &Path,
        principal: Principal,
        args: &[&str],
    ) -> Result<Self> {
        crate::control_plane::install_tls_provider();
        let stdout = dir.join("aci-emulator.ready");
        let mut command = Command::new(program);
        if !args.contains(&"--state-dir") {
            command.arg("--state-dir").arg(dir.join("aci-emulator"));
        }
        command
            .args(["--listen", "127.0.0.1:0"])
            .args(["--tenant-id", &principal.tenant_id])
            .args(["--client-id", &principal.client_id])
            .args(["--subscription-id", &principal.subscription_id])
            .args(args)
            // Not in the arguments, which every user of the machine can read.
            .env("EMULATOR_CLIENT_SECRET", &principal.client_secret);
        without_proxy(&mut command);
        let mut process = Process::spawn_with_stdout("aci-emulator", command, dir, &stdout)?;
        let deadline = Instant::now() + START_DEADLINE;
        let ready = loop {
            let text = std::fs::read_to_string(&stdout).unwrap_or_default();
            // A whole line: the rest of a half-written one is still to come.
            if let Some((line, _)) = text.split_once('\n') {
                break serde_json::from_str::<Ready>(line)
                    .with_context(|| format!("aci-emulator printed {line:?}"))?;
            }
            process.check()?;
            ensure!(
                Instant::now() < deadline,
                "aci-emulator printed no ready line in {} s",
                START_DEADLINE.as_secs()
            );
            tokio::time::sleep(POLL).await;
        };
        let ca_pem = std::fs::read_to_string(&ready.ca)
            .with_context(|| format!("cannot read the emulator's CA {}", ready.ca.display()))?;
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca_pem.as_bytes())?])
            .timeout(ASK_TIMEOUT)
            .no_proxy()
            .build()?;
        Ok(Self {
            process,
            ready,
            ca_pem,
            principal,
            client,
        })
    }

    /// Base address of all its endpoints.
    pub fn url(&self) -> &str {
        self.ready.url.trim_end_matches('/')
    }

    /// Its container registry, as the names of images in it begin: `127.0.0.1:PORT`.
    pub fn registry(&self) -> &str {
        self.url().trim_start_matches("https://")
    }

    /// The CA that signed its certificate, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The file with it.
    pub fn ca_file(&self) -> &Path {
        &self.ready.ca
    }

    /// The principal given at the start.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The process, for its log, ID and memory.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What to merge into a connector so that it uses this emulator.
    pub fn connector_patch(&self) -> Result<Value> {
        // A ByteString serialises as base64, which is what caBundle holds.
        let ca = serde_json::to_value(k8s_openapi::ByteString(self.ca_pem.clone().into_bytes()))?;
        Ok(json!({ "spec": {
            "cloud": "Custom",
            "customCloud": {
                "resourceManagerEndpoint": self.url(),
                "authorityHost": self.url(),
                "audience": self.url(),
                "caBundle": ca,
            },
        } }))
    }

    /// A connector that uses this emulator, and has this `spec` besides.
    ///
    /// # Errors
    /// `spec` is no object.
    pub fn connector(&self, name: &str, mut spec: Value) -> Result<Value> {
        let patch = self.connector_patch()?;
        let ours = patch.get("spec").and_then(Value::as_object);
        let ours = ours.context("the emulator's patch has no spec")?.clone();
        let members = spec.as_object_mut().context("the spec is no object")?;
        members.extend(ours);
        Ok(json!({
            "apiVersion": "virtual-kubelet.io/v1alpha1",
            "kind": "VirtualKubeletConnector",
            "metadata": { "name": name },
            "spec": spec,
        }))
    }

    /// GET of one of its `/_emulator/` endpoints, as JSON.
    ///
    /// # Errors
    /// No answer in 10 s, not a success, or not JSON.
    pub async fn ask(&self, path: &str) -> Result<Value> {
        let url = format!("{}/_emulator/{path}", self.url());
        let response = self
            .client
            .get(&url)
            .send()
            .await
            .with_context(|| format!("no answer from {url}"))?;
        let response = response.error_for_status()?;
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }

    /// POST of JSON to one of its `/_emulator/` endpoints.
    ///
    /// # Errors
    /// No answer in 10 s, or not a success.
    pub async fn tell(&self, path: &str, body: &Value) -> Result<()> {
        let url = format!("{}/_emulator/{path}", self.url());
        let response = self
            .client
            .post(&url)
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send()
            .await
            .with_context(|| format!("no answer from {url}"))?;
        response.error_for_status()?;
        Ok(())
    }

    /// DELETE of one of its `/_emulator/` endpoints.
    ///
    /// # Errors
    /// As [`Emulator::tell`].
    pub async fn remove(&self, path: &str) -> Result<()> {
        let url = format!("{}/_emulator/{path}", self.url());
        let answer = self.client.delete(&url).send().await;
        answer
            .with_context(|| format!("no answer from {url}"))?
            .error_for_status()?;
        Ok(())
    }

    /// Forgets the requests counted and kept so far.
    ///
    /// # Errors
    /// As [`Emulator::tell`].
    pub async fn forget_requests(&self) -> Result<()> {
        self.remove("requests").await
    }

    /// Names of the container groups that exist now.
    ///
    /// # Errors
    /// As [`Emulator::ask`].
    pub async fn group_names(&self) -> Result<Vec<String>> {
        let state = self.ask("state").await?;
        let groups = state
            .get("groups")
            .and_then(Value::as_array)
            .context("the emulator's state has no groups")?;
        Ok(groups
            .iter()
            .filter_map(|group| group.get("name").and_then(Value::as_str))
            .map(str::to_owned)
            .collect())
    }

    /// Ends it.
    ///
    /// # Errors
    /// It could not be signalled.
    pub async fn stop(&mut self) -> Result<()> {
        self.process
            .terminate(Duration::from_secs(3))
            .await
            .map(drop)
    }
}

/// A running `vkc run`.
#[derive(Debug)]
pub struct Operator {
    process: Process,
    metrics: String,
}

impl Operator {
    /// Starts the operator under `kubeconfig` and waits until its `/readyz` says so. `args` are more flags for it.
    ///
    /// # Errors
    /// It cannot be started, ended, or was not ready in 30 s.
    pub async fn start(
        program: &Path,
        dir: &Path,
        kubeconfig: &Path,
        namespace: &str,
        args: &[&str],
    ) -> Result<Self> {
        Self::start_in(program, dir, kubeconfig, namespace, args, &[]).await
    }

    /// The same with these variables in its environment.
    ///
    /// # Errors
    /// As [`Operator::start`].
    pub async fn start_in(
        program: &Path,
        dir: &Path,
        kubeconfig: &Path,
        namespace: &str,
        args: &[&str],
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let mut operator = Self::spawn(program, dir, kubeconfig, namespace, args, environment)?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .no_proxy()
            .build()?;
        let url = format!("{}/readyz", operator.metrics);
        let process = &mut operator.process;
        let deadline = Instant::now() + START_DEADLINE;
        while !client
            .get(&url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            process.check()?;
            ensure!(
                Instant::now() < deadline,
                "vkc is not ready after {} s; its log {} ends:\n{}",
                START_DEADLINE.as_secs(),
                process.log().display(),
                process.log_tail(15)
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(operator)
    }

    /// Starts the operator and does not wait for anything.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(
        program: &Path,
        dir: &Path,
        kubeconfig: &Path,
        namespace: &str,
        args: &[&str],
        environment: &[(&str, String)],
    ) -> Result<Self> {
        let metrics = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args([
                "--namespace",
                namespace,
                "--metrics-addr",
                &metrics,
                "--metrics-plain-http",
                // The emulator, which every connector here names as its cloud.
                "--allowed-authority",
                "127.0.0.1",
                // Its registry.
                "--allowed-registry-network",
                "127.0.0.0/8",
            ])
            .args(args)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env_remove("KUBECONFIG");
        if !args.contains(&"--node-ip") {
            command.args(["--node-ip", "127.0.0.1"]);
        }
        without_proxy(&mut command);
        let process = Process::spawn("vkc", command, dir)?;
        let metrics = format!("http://{metrics}");
        Ok(Self { process, metrics })
    }

    /// Base address of `/metrics`, `/livez` and `/readyz`.
    pub fn metrics_url(&self) -> &str {
        &self.metrics
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The process, for its log, ID and memory.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends it with SIGTERM, as Kubernetes would. Fails when it did not end by itself.
    ///
    /// # Errors
    /// It had to be killed after 12 s, or ended with a failure.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate(STOP_GRACE).await?;
        let status = status.with_context(|| {
            format!(
                "vkc did not end within {} s of SIGTERM",
                STOP_GRACE.as_secs()
            )
        })?;
        ensure!(
            status.success(),
            "vkc ended with {status} after SIGTERM; see {}",
            self.process.log().display()
        );
        Ok(())
    }
}

/// The largest resident set that a process has had and has now, in KiB, from `/proc` (Linux only).
pub fn resident_kib(pid: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
    let read = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    };
    Some((read("VmHWM:")?, read("VmRSS:")?))
}
