//! The replicas: each with a token of its own, by which the audit log tells them apart.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use xtask::control_plane::{ControlPlane, kubeconfig};
use xtask::stack::Operator;

use crate::support::fixture::text;
use crate::support::site::{self, ACCOUNT, NAMESPACE, Runs};

/// Replicas serve every connector of the cluster, so one test at a time has them.
static TURN: Mutex<()> = Mutex::const_new(());

/// Runs a test alone.
pub(crate) fn run(test: impl AsyncFnOnce(&MutexGuard<'static, ()>)) {
    site::run(async {
        let turn = TURN.lock().await;
        test(&turn).await;
    });
}

/// A control plane for all of these tests.
pub(crate) async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE.get_or_init(site::installed_with_audit_log).await
}

/// One replica.
pub(crate) struct Replica {
    plane: &'static ControlPlane,
    pub(crate) name: String,
    operator: Operator,
    /// How the audit log calls its token.
    credential: String,
}

impl Runs for Replica {
    fn metrics_url(&self) -> String {
        self.operator.metrics_url().to_owned()
    }

    fn plane(&self) -> &'static ControlPlane {
        self.plane
    }
}

impl Replica {
    /// Starts one more. No two have the same name.
    pub(crate) async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let plane = plane().await;
        let name = format!("vkc-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = plane.dir().join(&name);
        std::fs::create_dir_all(&dir).unwrap();
        let config = dir.join("kubeconfig");
        kubeconfig::for_service_account(plane.kubeconfig(), &config, NAMESPACE, ACCOUNT)
            .await
            .unwrap();
        let credential = credential(&std::fs::read_to_string(&config).unwrap());
        let program = Path::new(env!("CARGO_BIN_EXE_vkc"));
        let environment = [
            ("POD_NAME", name.clone()),
            ("POD_UID", format!("uid-of-{name}")),
        ];
        let args = ["--log", "info,vkc=debug", "--kubelet-port-range", "0"];
        let operator = Operator::start_in(program, &dir, &config, NAMESPACE, &args, &environment)
            .await
            .unwrap();
        Self {
            plane,
            name,
            operator,
            credential,
        }
    }

    pub(crate) fn signal(&mut self, signal: &str) {
        self.operator.process().signal(signal).unwrap();
    }

    /// Ends it as Kubernetes does, and waits for the end. It must end by itself, with success.
    pub(crate) async fn stop(mut self) {
        self.operator.stop().await.unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.operator.process().kill();
    }

    /// The value of one of its metrics.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let url = format!("{}/metrics", self.metrics_url());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let text = client.get(url).send().await.unwrap().text().await.unwrap();
        let values = text
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }
}

/// `JTI=<id of the token>`, as the API server's audit log has it.
fn credential(kubeconfig: &str) -> String {
    let config: Value = serde_json::from_str(kubeconfig).unwrap();
    let token = text(&config["users"][0]["user"]["token"]);
    let claims = token.split('.').nth(1).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    format!("JTI={}", text(&claims["jti"]))
}

/// The connector's Lease.
pub(crate) async fn lease(connector: &str) -> Value {
    let leases = Api::<Lease>::namespaced(plane().await.client().await.unwrap(), NAMESPACE);
    let lease = leases.get_opt(&format!("vkc-connector-{connector}")).await;
    serde_json::to_value(lease.unwrap()).unwrap()
}

/// Name of the replica that holds the connector and has accepted it.
pub(crate) async fn holder(connector: &str) -> Option<String> {
    let lease = lease(connector).await;
    let (name, _) = text(&lease["spec"]["holderIdentity"]).rsplit_once('-')?;
    lease["spec"]["acquireTime"]
        .is_string()
        .then(|| name.to_owned())
}

/// What the API server was asked to write since some moment.
pub(crate) struct Written(usize);

impl Written {
    async fn log() -> String {
        std::fs::read_to_string(plane().await.audit_log()).unwrap()
    }

    pub(crate) async fn start() -> Self {
        Self(Self::log().await.len())
    }

    /// Writes of anything but Leases that succeeded, as `verb resource/part name`, by replica.
    pub(crate) async fn by(&self, replica: &Replica) -> Vec<String> {
        let entries = self.entries().await;
        let by_it = entries
            .iter()
            .filter(|entry| is_by(entry, replica) && entry["objectRef"]["resource"] != "leases");
        by_it.map(describe).collect()
    }

    /// Which of the replicas have written the status or the lease of a Node.
    pub(crate) async fn writers_of(&self, node: &str, replicas: &[&Replica]) -> BTreeSet<String> {
        let entries = self.entries().await;
        let of_node = entries.iter().filter(|entry| {
            let object = &entry["objectRef"];
            object["name"] == node
                && (object["resource"] == "nodes" || object["resource"] == "leases")
        });
        let writers = of_node.flat_map(|entry| {
            let writers = replicas.iter().filter(|replica| is_by(entry, replica));
            writers.map(|replica| replica.name.clone())
        });
        writers.collect()
    }

    async fn entries(&self) -> Vec<Value> {
        let log = Self::log().await.split_off(self.0);
        let entries = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let writes = entries.filter(|entry| {
            let code = entry["responseStatus"]["code"].as_u64().unwrap_or_default();
            let resource = text(&entry["objectRef"]["resource"]);
            matches!(
                text(&entry["verb"]),
                "create" | "update" | "patch" | "delete" | "deletecollection"
            ) && (200..300).contains(&code)
                && !resource.ends_with("reviews")
        });
        writes.collect()
    }
}

fn is_by(entry: &Value, replica: &Replica) -> bool {
    let ids = &entry["user"]["extra"]["authentication.kubernetes.io/credential-id"];
    let mut ids = ids.as_array().into_iter().flatten();
    ids.any(|id| *id == replica.credential)
}

fn describe(entry: &Value) -> String {
    let object = &entry["objectRef"];
    format!(
        "{} {}/{} {}",
        text(&entry["verb"]),
        text(&object["resource"]),
        text(&object["subresource"]),
        text(&object["name"])
    )
}
