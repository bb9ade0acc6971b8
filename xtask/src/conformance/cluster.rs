//! What the suite runs against: a control plane whose only node is the Linux node of a connector, over container groups that
//! really run.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use xtask::control_plane::{API_SERVICE_IP, Assets, ControlPlane, Options, cache_root};
use xtask::stack::{Emulator, Operator, Principal, apply};
use xtask::workspace::Programs;

use super::ShimMode;

const NAMESPACE: &str = "vkc-system";
/// The operator's service account: `config/rbac` binds its rights to it.
const ACCOUNT: &str = "vkc";
const SECRET: &str = "aci-credentials";
/// The connector whose node names are in `config/rbac`.
const CONNECTOR: &str = "virtual-kubelet";
/// From the connector's creation to its node Ready.
const NODE_DEADLINE: &str = "--timeout=100s";
/// The provider's counters stop a burst of pods; Azure raises them on request.
const PROVIDER_REQUESTS: &str = "100000";

pub(super) struct Cluster {
    // Fields drop in this order: what depends on others first.
    operator: Operator,
    front: JoinHandle<()>,
    emulator: Emulator,
    plane: ControlPlane,
}

impl Cluster {
    /// Starts everything and waits until the node is Ready.
    pub(super) async fn start(
        assets: &Assets,
        programs: &Programs,
        images: &Path,
        (dir, shim): (&Path, ShimMode),
    ) -> Result<Self> {
        let options = Options {
            dir: Some(dir.join("control-plane")),
            ..Options::default()
        };
        let plane = ControlPlane::start(assets, options).await?;
        let emulator = start_emulator(programs, images, dir).await?;
        let network = network(&emulator).await?;
        let front = front(&network.bridge, &plane.url()).await?;
        let kubeconfig = install(&plane, &emulator).await?;
        // The API server refuses to proxy to a node or a pod at a loopback address.
        let address = network.address.to_string();
        let operator = Operator::start_in(
            &programs.vkc,
            dir,
            &kubeconfig,
            NAMESPACE,
            &["--node-ip", &address],
            &[("POD_NAME", "vkc".to_owned())],
        )
        .await?;
        let mut cluster = Self {
            operator,
            front,
            emulator,
            plane,
        };
        apply(&cluster.plane, &connector(&cluster.emulator, shim).await?).await?;
        cluster.node_is_ready().await?;
        Ok(cluster)
    }

    async fn node_is_ready(&mut self) -> Result<()> {
        let name = format!("vkc/{CONNECTOR}");
        let args = ["wait", "--for=condition=Ready", NODE_DEADLINE, &name];
        let waited = self.plane.kubectl_run(&args).await?.ok();
        self.check()?;
        waited.map(drop).context("the node is not ready")
    }

    /// Fails when one of the processes has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.plane.check()?;
        self.emulator.process().check()?;
        ensure!(
            !self.front.is_finished(),
            "the address of the service kubernetes has gone"
        );
        self.operator.process().check()
    }

    pub(super) fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Tells the emulator's registry of an image: the operator asks there for entry points and users.
    pub(super) async fn push(&self, name: &str, config: &Value) -> Result<()> {
        let of = |member: &str| config.get(member).cloned().unwrap_or_default();
        let text = |member: &str| config.get(member).and_then(Value::as_str).unwrap_or("");
        let image = json!({
            "name": name,
            "platforms": [{
                "os": "linux",
                "entrypoint": of("Entrypoint"),
                "cmd": of("Cmd"),
                "user": text("User"),
                "workingDir": text("WorkingDir"),
            }],
        });
        self.emulator.tell("images", &image).await
    }

    /// The registry, as names of its images begin.
    pub(super) fn registry(&self) -> &str {
        self.emulator.registry()
    }

    /// Ends everything, the operator by its own shutdown.
    pub(super) async fn stop(mut self) -> Result<()> {
        let ended = self.operator.stop().await;
        self.front.abort();
        let ended = ended.and(self.emulator.stop().await);
        self.plane.stop().await;
        ended
    }
}

async fn start_emulator(programs: &Programs, images: &Path, dir: &Path) -> Result<Emulator> {
    let principal = Principal {
        tenant_id: "72f988bf-0000-4000-8000-2d7cd011db47".into(),
        client_id: "11111111-1111-4111-8111-111111111111".into(),
        client_secret: "a-secret-of-the-suite".into(),
        subscription_id: "00000000-0000-4000-8000-000000000001".into(),
    };
    let images = images.display().to_string();
    // One place for all runs: what one that was killed has left, the next removes.
    let state = cache_root()?.join("conformance-run").display().to_string();
    let arguments = [
        "--run",
        "--images",
        &images,
        "--state-dir",
        &state,
        "--start-delay",
        "0",
        "--provider-requests-5m",
        PROVIDER_REQUESTS,
        "--provider-requests-1h",
        PROVIDER_REQUESTS,
        "--quota-groups",
        "1000",
        "--quota-cores",
        "1000",
    ];
    Emulator::start(&programs.aci_emulator, dir, principal, &arguments).await
}

/// Where this machine is in the network of the groups.
struct Network {
    bridge: String,
    address: Ipv4Addr,
}

async fn network(emulator: &Emulator) -> Result<Network> {
    let state = emulator.ask("state").await?;
    let of = |member: &str| {
        state
            .pointer(&format!("/network/{member}"))
            .and_then(Value::as_str)
            .with_context(|| format!("the emulator does not tell the {member} of its network"))
    };
    Ok(Network {
        bridge: of("bridge")?.to_owned(),
        address: of("address")?.parse()?,
    })
}

/// Answers at the cluster IP of `default/kubernetes`, where pods look for the API server: there is no kube-proxy. The address is
/// the bridge's and goes with it.
async fn front(bridge: &str, url: &str) -> Result<JoinHandle<()>> {
    let ip = Ipv4Addr::from(API_SERVICE_IP);
    let added = Command::new("ip")
        .args(["addr", "add", &format!("{ip}/32"), "dev", bridge])
        .output()
        .context("cannot run ip")?;
    ensure!(
        added.status.success(),
        "ip addr add of {ip}: {}",
        String::from_utf8_lossy(&added.stderr)
    );
    let listener = TcpListener::bind((ip, 443))
        .await
        .with_context(|| format!("cannot listen at {ip}:443"))?;
    let server = url.trim_start_matches("https://").to_owned();
    Ok(tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                if let Ok(mut to) = TcpStream::connect(server).await {
                    // Whichever side ends it, nobody is left to be told.
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    }))
}

/// What an administrator installs: CRD, namespace, RBAC, credentials. Gives the operator's kubeconfig.
async fn install(plane: &ControlPlane, emulator: &Emulator) -> Result<std::path::PathBuf> {
    xtask::stack::install(plane).await?;
    apply(plane, &emulator.principal().secret(NAMESPACE, SECRET)).await?;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match plane
            .kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
            .await
        {
            Ok(kubeconfig) => return Ok(kubeconfig),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A connector in a subnet, so that pods have addresses, whose node takes every pod, as the suite's have no tolerations.
async fn connector(emulator: &Emulator, shim: ShimMode) -> Result<Value> {
    let subnet = json!({
        "resourceGroup": "net", "network": "v", "name": "aci", "location": "eastus", "prefix": "10.213.0.0/16",
    });
    emulator.tell("subnets", &subnet).await?;
    let subscription = &emulator.principal().subscription_id;
    let spec = json!({
        "osType": "Linux",
        "region": "eastus",
        "aciResourceGroup": "aci-rg",
        "subnetID": format!("/subscriptions/{subscription}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/aci"),
        "credentials": { "type": "ServicePrincipal", "secretRef": { "name": SECRET } },
        // Ready follows a probe by command only when the operator runs it.
        "probes": { "exec": "Operator" },
        // A pod does not say that it writes a termination message, or that its process 1 ignores SIGTERM.
        "shim": { "mode": shim.as_str() },
        "node": { "taints": [], "capacity": { "cpu": "1000", "memory": "4000Gi", "pods": "110" } },
    });
    emulator.connector(CONNECTOR, spec)
}
