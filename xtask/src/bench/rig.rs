//! One control plane, one emulator and one operator for one scenario.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use xtask::control_plane::{ControlPlane, Options};
use xtask::process::StateDir;
use xtask::stack::{Emulator, Operator, Principal, apply, resident_kib};
use xtask::workspace::{self, Programs};

use super::Bench;
use super::audit::Audit;
use super::machine::cpu_seconds;
use super::pods::{Pods, now};

pub(super) const NAMESPACE: &str = "vkc-system";
/// The only container of each pod.
pub(super) const CONTAINER: &str = "aci-helloworld";
/// Where the emulator has the groups.
pub(super) const RESOURCE_GROUP: &str = "aci-rg";
/// The operator's service account: `config/rbac` binds its rights to it.
const ACCOUNT: &str = "vkc";
/// Its name in the audit log.
pub(super) const USER: &str = "system:serviceaccount:vkc-system:vkc";
const SECRET: &str = "aci-credentials";
/// The connector whose node names are in `config/rbac`.
const CONNECTOR: &str = "virtual-kubelet";
const REGION: &str = "eastus";
/// From the connectors' creation to all of their nodes Ready.
const NODES_DEADLINE: Duration = Duration::from_mins(3);
/// A new control plane is busy with itself for some seconds.
const WARM_UP: Duration = Duration::from_secs(10);
/// Far above the provider's 100 PUT and DELETE in five minutes and 300 in an hour, which would stop a burst of 100
/// pods in the middle: these are the limits that Azure raises on request. ARM's own buckets stay as they are.
const PROVIDER_REQUESTS: &str = "100000";

/// What differs from scenario to scenario.
pub(super) struct Setup {
    /// Write an audit log.
    pub(super) audit: bool,
    /// Seconds added to every ARM call.
    pub(super) latency: f64,
    /// Seconds from PUT to running containers.
    pub(super) start_delay: f64,
    /// Connectors, each with two nodes.
    pub(super) connectors: usize,
    /// Pods that fit on a node.
    pub(super) capacity: usize,
    /// exec runs its command really, on this machine.
    pub(super) host_shell: bool,
    /// The groups answer at their ports.
    pub(super) pages: bool,
    /// The containers really run, from the images of this folder.
    pub(super) images: Option<PathBuf>,
    /// The readiness probe of every pod.
    pub(super) readiness: Option<Value>,
    /// The provider's PUT and DELETE in five minutes and in an hour; far above any scenario's need without.
    pub(super) provider_requests: Option<(usize, usize)>,
}

impl Default for Setup {
    /// One connector, 110 pods, everything at once.
    fn default() -> Self {
        Self {
            audit: false,
            latency: 0.0,
            start_delay: 0.0,
            connectors: 1,
            capacity: 110,
            host_shell: false,
            pages: false,
            images: None,
            readiness: None,
            provider_requests: None,
        }
    }
}

pub(super) struct Rig {
    // Fields drop in this order: what depends on others first.
    pub(super) pods: Pods,
    pub(super) operator: Operator,
    pub(super) emulator: Emulator,
    pub(super) plane: ControlPlane,
    pub(super) client: Client,
    programs: Programs,
    kubeconfig: PathBuf,
    template: PodSpec,
    latency: f64,
    /// Somebody wants to look at the logs afterwards.
    keep: bool,
    dir: StateDir,
}

impl Rig {
    /// Starts everything and waits until all nodes are Ready.
    pub(super) async fn start(bench: &Bench, name: &str, setup: &Setup) -> Result<Self> {
        let dir = match &bench.logs {
            Some(logs) => StateDir::kept(&logs.join(format!("{name}-{}", now().timestamp())))?,
            None => StateDir::temporary("vkc-bench")?,
        };
        let options = Options {
            dir: Some(dir.path().join("control-plane")),
            audit_log: setup.audit,
            ..Options::default()
        };
        let plane = ControlPlane::start(&bench.assets, options).await?;
        let client = plane.client().await?;
        let emulator = start_emulator(bench, &dir, setup).await?;
        install(&plane, &emulator, setup.connectors).await?;
        let kubeconfig = plane
            .kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
            .await?;
        let operator = start_operator(&bench.programs, &dir, &kubeconfig).await?;
        for index in 0..setup.connectors {
            let manifest = connector(index, setup.capacity, &emulator)?;
            apply(&plane, &manifest).await?;
        }
        let mut rig = Self {
            pods: Pods::start(client.clone()).await?,
            operator,
            emulator,
            plane,
            client,
            programs: bench.programs.clone(),
            kubeconfig,
            template: template(setup.readiness.as_ref())?,
            latency: setup.latency,
            keep: bench.logs.is_some(),
            dir,
        };
        rig.nodes_ready(setup.connectors * 2).await?;
        tokio::time::sleep(WARM_UP).await;
        Ok(rig)
    }

    async fn nodes_ready(&mut self, want: usize) -> Result<()> {
        let nodes = Api::<Node>::all(self.client.clone());
        let deadline = Instant::now() + NODES_DEADLINE;
        loop {
            let list = nodes.list(&ListParams::default()).await?;
            let ready = list.items.iter().filter(|node| is_ready(node)).count();
            if ready == want {
                return Ok(());
            }
            self.check()?;
            if Instant::now() > deadline {
                let connectors = self.plane.kubectl_run(&["get", "vkc", "-o", "wide"]).await;
                bail!(
                    "{ready} of {want} nodes are Ready after {} s\n{}",
                    NODES_DEADLINE.as_secs(),
                    connectors.map(|out| out.stdout).unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Fails when one of the processes has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.plane.check()?;
        self.emulator.process().check()?;
        self.operator.process().check()
    }

    /// Ends everything, the operator by its own shutdown.
    pub(super) async fn stop(mut self) -> Result<()> {
        if self.keep {
            self.write_details().await?;
        }
        let ended = self.operator.stop().await;
        let ended = ended.and(self.emulator.stop().await);
        self.plane.stop().await;
        ended
    }

    /// What explains the numbers: the operator's own metrics, and every request that the emulator remembers.
    async fn write_details(&self) -> Result<()> {
        let dir = self.dir.path();
        let requests = self.emulator.ask("requests").await?;
        std::fs::write(dir.join("requests.json"), requests.to_string())?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .no_proxy()
            .build()?;
        let url = format!("{}/metrics", self.operator.metrics_url());
        let metrics = client.get(url).send().await?.error_for_status()?;
        std::fs::write(dir.join("metrics.txt"), metrics.bytes().await?)?;
        Ok(())
    }

    /// kill -9 of the operator.
    pub(super) fn kill_operator(&mut self) {
        self.operator.process().kill();
    }

    /// Starts one more replica of the operator, in a pod of its own of this name.
    pub(super) async fn start_replica(&self, name: &str) -> Result<Operator> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let pod = [("POD_NAME", name.to_owned()), ("POD_UID", name.to_owned())];
        let args = ["--kubelet-port-range", "0"];
        Operator::start_in(
            &self.programs.vkc,
            &dir,
            &self.kubeconfig,
            NAMESPACE,
            &args,
            &pod,
        )
        .await
    }

    /// Puts another replica in the place of the first, whose end is not waited for.
    pub(super) fn replace_operator(&mut self, operator: Operator) -> Operator {
        std::mem::replace(&mut self.operator, operator)
    }

    /// Starts the operator again after [`Rig::kill_operator`].
    pub(super) async fn start_operator(&mut self) -> Result<()> {
        self.operator = start_operator(&self.programs, &self.dir, &self.kubeconfig).await?;
        Ok(())
    }

    /// What `vkc` uses: resident MiB now, and CPU seconds since its start.
    pub(super) fn usage(&mut self) -> Result<(f64, f64)> {
        self.check()?;
        let pid = self.operator.process().id();
        let (_, kib) = resident_kib(pid).context("no VmRSS of vkc")?;
        let cpu = cpu_seconds(pid).context("no CPU time of vkc")?;
        Ok((f64::from(u32::try_from(kib)?) / 1024.0, cpu))
    }

    /// The largest resident set that `vkc` has had, in MiB.
    pub(super) fn peak(&mut self) -> Result<f64> {
        self.check()?;
        let (kib, _) = resident_kib(self.operator.process().id()).context("no VmHWM of vkc")?;
        Ok(f64::from(u32::try_from(kib)?) / 1024.0)
    }

    pub(super) fn audit(&self) -> Result<Audit> {
        Audit::from_now(self.plane.audit_log())
    }

    /// Creates pods at once and gives the time at which each create was sent. They find their node by the scheduler.
    pub(super) async fn create(
        &self,
        names: &[String],
        restart_policy: &str,
    ) -> Result<HashMap<String, DateTime<Utc>>> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), "default");
        let creates = names.iter().map(|name| {
            let (pods, name) = (pods.clone(), name.clone());
            let pod = self.pod(&name, restart_policy);
            async move {
                let sent = now();
                pods.create(&PostParams::default(), &pod)
                    .await
                    .with_context(|| format!("cannot create pod {name}"))?;
                Ok((name, sent))
            }
        });
        // More at once than the API server answers would only queue there.
        let done: Vec<Result<_>> = futures::stream::iter(creates)
            .buffer_unordered(100)
            .collect()
            .await;
        done.into_iter().collect()
    }

    /// A pod of the template.
    pub(super) fn pod(&self, name: &str, restart_policy: &str) -> Pod {
        Pod {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                restart_policy: Some(restart_policy.to_owned()),
                ..self.template.clone()
            }),
            status: None,
        }
    }

    /// Deletes a pod as `kubectl delete` does: with the default grace period.
    pub(super) async fn delete(&self, name: &str) -> Result<DateTime<Utc>> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), "default");
        let sent = now();
        pods.delete(name, &kube::api::DeleteParams::default())
            .await
            .with_context(|| format!("cannot delete pod {name}"))?;
        Ok(sent)
    }

    /// Requests to ARM since they were last forgotten: by operation, and those answered 429.
    pub(super) async fn arm_counts(&self) -> Result<(HashMap<String, f64>, f64)> {
        let counts = self.emulator.ask("counts").await?;
        let by = |key: &str| counts.get(key).and_then(Value::as_object).cloned();
        let operations = by("byOperation").context("the emulator counts no operations")?;
        let refused = by("byStatus").and_then(|by| by.get("429").and_then(Value::as_f64));
        let operations = operations
            .into_iter()
            .filter_map(|(name, count)| Some((name, count.as_f64()?)))
            .collect();
        Ok((operations, refused.unwrap_or_default()))
    }

    /// Reads of ARM since they were last forgotten.
    pub(super) async fn arm_reads(&self) -> Result<f64> {
        let (arm, _) = self.arm_counts().await?;
        Ok(reads(&arm))
    }

    /// Every PUT of a group: the pod's name, when the emulator had it, and its status.
    pub(super) async fn puts(&self) -> Result<Vec<(String, DateTime<Utc>, u64)>> {
        let requests = self.emulator.ask("requests").await?;
        let requests = requests.as_array().context("the emulator has no log")?;
        // The emulator notes when it answers, which is its latency later.
        let latency = chrono::TimeDelta::from_std(Duration::from_secs_f64(self.latency))?;
        let text = |request: &Value, key: &str| {
            request
                .get(key)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .context("a logged request lacks a member")
        };
        let mut puts = Vec::new();
        for request in requests {
            let path = text(request, "path")?;
            if text(request, "method")? != "PUT" || !path.contains("containerGroups") {
                continue;
            }
            let at: DateTime<Utc> = text(request, "at")?.parse()?;
            let status = request.get("status").and_then(Value::as_u64).unwrap_or(0);
            let group = path.rsplit('/').next().unwrap_or_default();
            puts.push((pod_of(group).to_owned(), at - latency, status));
        }
        Ok(puts)
    }

    /// The group of each pod by the pod's name.
    pub(super) async fn groups(&self) -> Result<HashMap<String, String>> {
        let names = self.emulator.group_names().await?;
        Ok(names
            .into_iter()
            .map(|group| (pod_of(&group).to_owned(), group))
            .collect())
    }
}

/// The reads among these operations.
pub(super) fn reads(operations: &HashMap<String, f64>) -> f64 {
    let reads = operations.iter();
    let reads = reads.filter(|(operation, _)| operation.starts_with("GET"));
    reads.map(|(_, count)| count).sum()
}

/// A group's name is its pod's and a hash: our pods' names are short and plain enough to stand there as they are.
fn pod_of(group: &str) -> &str {
    group.rsplit_once('-').map_or(group, |(pod, _)| pod)
}

/// `<prefix>-0000` and on.
pub(super) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n:04}")).collect()
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref());
    conditions
        .unwrap_or_default()
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
        && !node.name_any().is_empty()
}

async fn start_emulator(bench: &Bench, dir: &StateDir, setup: &Setup) -> Result<Emulator> {
    let principal = Principal {
        tenant_id: "72f988bf-0000-4000-8000-2d7cd011db47".into(),
        client_id: "11111111-1111-4111-8111-111111111111".into(),
        client_secret: "a-secret-of-the-bench".into(),
        subscription_id: "00000000-0000-4000-8000-000000000001".into(),
    };
    let (short, hour) = match setup.provider_requests {
        Some((short, hour)) => (short.to_string(), hour.to_string()),
        None => (PROVIDER_REQUESTS.to_owned(), PROVIDER_REQUESTS.to_owned()),
    };
    let (latency, start_delay) = (setup.latency.to_string(), setup.start_delay.to_string());
    let mut arguments = vec![
        "--latency",
        &latency,
        "--start-delay",
        &start_delay,
        "--provider-requests-5m",
        &short,
        "--provider-requests-1h",
        &hour,
        "--quota-groups",
        "5000",
        "--quota-cores",
        "5000",
    ];
    if setup.host_shell {
        arguments.push("--host-shell");
    }
    let images = setup.images.as_ref().map(|it| it.to_string_lossy());
    if let Some(images) = &images {
        arguments.extend(["--run", "--images", images]);
    } else if !setup.pages {
        arguments.push("--no-pages");
    }
    Emulator::start(
        &bench.programs.aci_emulator,
        dir.path(),
        principal,
        &arguments,
    )
    .await
}

async fn start_operator(
    programs: &Programs,
    dir: &StateDir,
    kubeconfig: &std::path::Path,
) -> Result<Operator> {
    // One pod, whose container starts again after `kill_operator`.
    let pod = [("POD_UID", "the-operators-pod".to_owned())];
    Operator::start_in(&programs.vkc, dir.path(), kubeconfig, NAMESPACE, &[], &pod).await
}

/// What an administrator installs: CRD, namespace, RBAC, credentials.
async fn install(plane: &ControlPlane, emulator: &Emulator, connectors: usize) -> Result<()> {
    xtask::stack::install(plane).await?;
    if connectors > 1 {
        // As an administrator would add the names of more connectors to config/rbac/node_names.yaml.
        let names = more_names(connectors).to_string();
        let args = [
            "patch",
            "clusterrole",
            "vkc-node-names",
            "--type=json",
            "-p",
            &names,
        ];
        plane.kubectl_run(&args).await?.ok()?;
    }
    apply(plane, &emulator.principal().secret(NAMESPACE, SECRET)).await
}

fn connector_name(index: usize) -> String {
    if index == 0 {
        CONNECTOR.to_owned()
    } else {
        format!("bench-{index:02}")
    }
}

/// Adds the nodes of all connectors but the first to the list of the role.
fn more_names(connectors: usize) -> Value {
    let nodes = (1..connectors).flat_map(|index| {
        ["linux", "windows"].map(|os| {
            let name = connector_name(index);
            format!("virtual-kubelet-{name}-{os}-{REGION}")
        })
    });
    nodes
        .map(|node| json!({ "op": "add", "path": "/rules/0/resourceNames/-", "value": node }))
        .collect()
}

fn connector(index: usize, capacity: usize, emulator: &Emulator) -> Result<Value> {
    let spec = json!({
        "osType": "Both",
        "region": REGION,
        "aciResourceGroup": RESOURCE_GROUP,
        "publicIP": true,
        "credentials": { "type": "ServicePrincipal", "secretRef": { "name": SECRET } },
        "node": { "capacity": { "cpu": "5000", "memory": "20000Gi", "pods": capacity.to_string() } },
    });
    emulator.connector(&connector_name(index), spec)
}

/// The pod of the sample Deployment: one container `microsoft/aci-helloworld`, port 80, selector and toleration.
fn template(readiness: Option<&Value>) -> Result<PodSpec> {
    let file = workspace::root()?.join("config/samples/aci-helloworld.yaml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let deployment: Deployment = serde_saphyr::from_str(&text)?;
    let spec = deployment.spec.and_then(|spec| spec.template.spec);
    let mut spec = spec.with_context(|| format!("{} has no pod", file.display()))?;
    ensure!(
        spec.containers.len() == 1,
        "{} has not one container",
        file.display()
    );
    for container in &mut spec.containers {
        let probe = readiness.cloned().map(serde_json::from_value);
        container.readiness_probe = probe.transpose()?;
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_tell_their_pods() {
        assert_eq!(pod_of("burst-0042-0f3a"), "burst-0042");
    }

    #[test]
    fn the_names_of_both_nodes_are_added_to_the_rule() {
        let patch = more_names(2);
        assert_eq!(patch.as_array().unwrap().len(), 2);
        assert_eq!(
            patch.pointer("/1/value").unwrap(),
            "virtual-kubelet-bench-01-windows-eastus"
        );
    }

    #[test]
    fn the_sample_is_the_template() {
        let container = template(None).unwrap().containers.remove(0);
        assert_eq!(container.image.as_deref(), Some("microsoft/aci-helloworld"));
    }
}
