//! A control plane with one `vkc` process on it. The process serves every connector of the cluster, so a test that ends it
//! has to be alone for as long as that takes.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard, RwLockWriteGuard};
use xtask::control_plane::{Assets, ControlPlane, Options, stderr_progress};
use xtask::process::Process;
use xtask::stack::Operator;

pub(crate) const NAMESPACE: &str = "vkc-system";
pub(crate) const ACCOUNT: &str = "vkc";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
/// The one that most tests share.
static SITE: Site = Site::new();

/// Runs a test on the runtime that all of them share: what a test leaves to be cleaned up still finds its emulator.
pub(crate) fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

/// A path of the repository.
pub(crate) fn path(relative: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(relative)
        .display()
        .to_string()
}

/// A control plane with the operator's manifests, which let it act as any node.
pub(crate) async fn installed(options: Options) -> ControlPlane {
    let assets = Assets::resolve(stderr_progress).unwrap();
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
}

/// The same with an audit log.
pub(crate) async fn installed_with_audit_log() -> ControlPlane {
    installed(Options {
        audit_log: true,
        ..Options::default()
    })
    .await
}

/// An operator that a test has for itself, under the service account that the test has installed.
pub(crate) async fn operator(plane: &ControlPlane, namespace: &str, account: &str) -> Operator {
    let kubeconfig = plane.kubeconfig_for_service_account(namespace, account);
    let kubeconfig = kubeconfig.await.unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_vkc"));
    let args = ["--kubelet-port-range", "0"];
    Operator::start(program, plane.dir(), &kubeconfig, namespace, &args)
        .await
        .unwrap()
}

/// See the module. Both start when they are needed.
pub(crate) struct Site {
    plane: OnceCell<ControlPlane>,
    operator: RwLock<Option<Operator>>,
}

impl Site {
    pub(crate) const fn new() -> Self {
        Self {
            plane: OnceCell::const_new(),
            operator: RwLock::const_new(None),
        }
    }

    pub(crate) async fn plane(&'static self) -> &'static ControlPlane {
        self.plane.get_or_init(installed_with_audit_log).await
    }

    async fn start(&'static self) -> Operator {
        let plane = self.plane().await;
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

    /// The operator, together with other tests.
    pub(crate) async fn shared(&'static self) -> Shared {
        let plane = self.plane().await;
        loop {
            let guard = self.operator.read().await;
            if guard.is_some() {
                return Shared(guard, plane);
            }
            drop(guard);
            let mut guard = self.operator.write().await;
            if guard.is_none() {
                *guard = Some(self.start().await);
            }
        }
    }

    /// The operator, for a test that ends it.
    pub(crate) async fn alone(&'static self) -> Alone {
        let mut guard = self.operator.write().await;
        if guard.is_none() {
            *guard = Some(self.start().await);
        }
        Alone(guard, self)
    }
}

/// The control plane that most tests share.
pub(crate) async fn plane() -> &'static ControlPlane {
    SITE.plane().await
}

/// The operator there, together with other tests.
pub(crate) async fn shared() -> Shared {
    SITE.shared().await
}

/// The operator there, for a test that ends it.
pub(crate) async fn alone() -> Alone {
    SITE.alone().await
}

/// Where the log of `vkc` is, through all of its restarts.
pub(crate) async fn log() -> PathBuf {
    plane().await.dir().join("vkc.log")
}

/// A promise that the operator runs and stays.
pub(crate) struct Shared(
    RwLockReadGuard<'static, Option<Operator>>,
    &'static ControlPlane,
);

/// A promise that no other test needs the operator now.
pub(crate) struct Alone(RwLockWriteGuard<'static, Option<Operator>>, &'static Site);

/// The operator runs.
pub(crate) trait Runs {
    fn metrics_url(&self) -> String;

    /// Where it runs.
    fn plane(&self) -> &'static ControlPlane;
}

impl Runs for Shared {
    fn metrics_url(&self) -> String {
        self.0.as_ref().unwrap().metrics_url().to_owned()
    }

    fn plane(&self) -> &'static ControlPlane {
        self.1
    }
}

impl Runs for Alone {
    fn metrics_url(&self) -> String {
        self.0.as_ref().unwrap().metrics_url().to_owned()
    }

    fn plane(&self) -> &'static ControlPlane {
        self.1.plane.get().unwrap()
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
        *self.0 = Some(self.1.start().await);
    }

    /// Lets the other tests go on; the operator stays.
    pub(crate) fn share(self) -> Shared {
        let plane = self.plane();
        Shared(self.0.downgrade(), plane)
    }
}
