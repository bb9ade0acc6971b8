//! The one `vkc` process of this test binary. It serves every connector of the cluster, so a test that ends it has to be
//! alone for as long as that takes.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use xtask::control_plane::{Assets, ControlPlane, Options, stderr_progress};
use xtask::process::Process;
use xtask::stack::Operator;

const NAMESPACE: &str = "vkc-system";
const ACCOUNT: &str = "vkc";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static OPERATOR: RwLock<Option<Operator>> = RwLock::const_new(None);

/// Runs a test on the runtime that all of them share: what a test leaves to be cleaned up still finds its emulator.
pub(crate) fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

fn path(relative: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(relative)
        .display()
        .to_string()
}

/// The one control plane of this test binary, with the operator's manifests, which let it act as any node.
pub(crate) async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE
        .get_or_init(|| async {
            let assets = Assets::resolve(stderr_progress).unwrap();
            let options = Options {
                audit_log: true,
                ..Options::default()
            };
            let plane = ControlPlane::start(&assets, options).await.unwrap();
            for args in [
                vec!["apply", "--server-side", "-k", &path("config/any-node")],
                vec![
                    "wait",
                    "--for=condition=Established",
                    "--timeout=30s",
                    "crd/virtualkubeletconnectors.virtual-kubelet.io",
                ],
            ] {
                plane.kubectl_run(&args).await.unwrap().ok().unwrap();
            }
            plane
        })
        .await
}

/// Where the log of `vkc` is, through all of its restarts.
pub(crate) async fn log() -> PathBuf {
    plane().await.dir().join("vkc.log")
}

async fn start() -> Operator {
    let plane = plane().await;
    let kubeconfig = plane
        .kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
        .await
        .unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_vkc"));
    // Everything it can say: a secret must not be in there either.
    let args = ["--log", "debug,vkc=trace", "--cluster-dns", "10.0.0.10"];
    // When it was killed it starts again as a container does in its pod, and need not wait for its own Leases to expire.
    let pod = [("POD_UID", "the-pod-of-these-tests".to_owned())];
    Operator::start_in(program, plane.dir(), &kubeconfig, NAMESPACE, &args, &pod)
        .await
        .unwrap()
}

/// A promise that the operator runs and stays.
pub(crate) struct Shared(RwLockReadGuard<'static, Option<Operator>>);

/// A promise that no other test needs the operator now.
pub(crate) struct Alone(RwLockWriteGuard<'static, Option<Operator>>);

/// The operator runs.
pub(crate) trait Runs {
    fn metrics_url(&self) -> String;
}

/// The operator, together with other tests.
pub(crate) async fn shared() -> Shared {
    loop {
        let guard = OPERATOR.read().await;
        if guard.is_some() {
            return Shared(guard);
        }
        drop(guard);
        let mut guard = OPERATOR.write().await;
        if guard.is_none() {
            *guard = Some(start().await);
        }
    }
}

/// The operator, for a test that ends it.
pub(crate) async fn alone() -> Alone {
    let mut guard = OPERATOR.write().await;
    if guard.is_none() {
        *guard = Some(start().await);
    }
    Alone(guard)
}

impl Runs for Shared {
    fn metrics_url(&self) -> String {
        self.0.as_ref().unwrap().metrics_url().to_owned()
    }
}

impl Runs for Alone {
    fn metrics_url(&self) -> String {
        self.0.as_ref().unwrap().metrics_url().to_owned()
    }
}

impl Alone {
    /// Ends it as the kernel does when memory is short.
    pub(crate) fn kill(&mut self) {
        self.process().kill();
        self.0.take();
    }

    /// The process that runs.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.0.as_mut().unwrap().process()
    }

    /// Ends it as Kubernetes does, and says how long it took. It must end by itself, with success.
    pub(crate) async fn terminate(&mut self) -> Duration {
        let begun = Instant::now();
        self.0.take().unwrap().stop().await.unwrap();
        begun.elapsed()
    }

    /// Starts it again.
    pub(crate) async fn start(&mut self) {
        *self.0 = Some(start().await);
    }

    /// Lets the other tests go on; the operator stays.
    pub(crate) fn share(self) -> Shared {
        Shared(self.0.downgrade())
    }
}
