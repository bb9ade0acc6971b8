//! A release from its installation to its end, at a real API server. There is no machine that runs its Deployment, so the operator
//! runs here, under the account that the chart made and with no other right; so do the commands of its hooks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use aci_emulator::Emulator;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use xtask::control_plane::{Assets, ControlPlane, Options, stderr_progress};
use xtask::stack::Operator;

use super::helm::{chart, file, get, helm, path};
use crate::support::fixture::{credentials, quick_azure};
use crate::support::site;
use crate::support::tools::{answer, apply};

/// Not the one of `config/`: nothing may depend on its name.
const NAMESPACE: &str = "azure";
const RELEASE: &str = "burst";
const CRD: &str = "crd/virtualkubeletconnectors.virtual-kubelet.io";
const CRD_FILE: &str =
    "charts/virtual-kubelet-connector/crds/virtual-kubelet.io_virtualkubeletconnectors.yaml";
const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    plane: ControlPlane,
    azure: Emulator,
}

impl Stage {
    /// A cluster without the kind, with a namespace that enforces the restricted profile, and an Azure.
    async fn new() -> Self {
        let assets = Assets::resolve(stderr_progress).unwrap();
        let plane = ControlPlane::start(&assets, Options::default())
            .await
            .unwrap();
        let config = quick_azure();
        let azure = Emulator::start(config.clone()).await.unwrap();
        let stage = Self { plane, azure };
        stage.apply(&json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        })).await;
        stage.apply(&credentials(NAMESPACE, "aci", &config)).await;
        stage
    }

    async fn apply(&self, object: &Value) {
        apply(&self.plane, object).await;
    }

    /// A CRD that lacks something, as helm would have made it.
    async fn older_crd(&self) {
        let text = std::fs::read_to_string(path(CRD_FILE)).unwrap();
        let mut crd: Value = serde_saphyr::from_str(&text).unwrap();
        let version = crd["spec"]["versions"][0].as_object_mut().unwrap();
        assert!(version.remove("selectableFields").is_some());
        let args = ["apply", "--server-side", "--field-manager=helm", "-f", "-"];
        let (admin, text) = (self.plane.kubeconfig(), crd.to_string());
        let output = self.plane.kubectl_as(admin, &args, &text).await;
        output.unwrap().ok().unwrap();
    }

    async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        answer(&self.plane, args).await
    }

    fn helm(&self, args: &[&str]) -> Result<String, String> {
        tokio::task::block_in_place(|| helm(Some(self.plane.kubeconfig()), args))
    }

    /// Values with these connectors at this Azure.
    fn values(&self, connectors: &[(&str, &str)]) -> Value {
        let url = self.azure.url();
        let ca = ByteString(self.azure.ca_pem().as_bytes().to_vec());
        let connectors: serde_json::Map<String, Value> = connectors.iter().map(|(name, os)| {
            ((*name).to_owned(), json!({
                "osType": os, "region": "eastus", "aciResourceGroup": "aci-rg", "publicIP": true, "cloud": "Custom",
                "customCloud": {"resourceManagerEndpoint": url, "authorityHost": url, "audience": url, "caBundle": ca},
            }))
        }).collect();
        json!({"credentials": {"existingSecret": "aci"}, "connectors": connectors})
    }

    /// helm install or upgrade.
    fn release(&self, verb: &str, values: &Value, more: &[&str]) -> Result<String, String> {
        let values = file(values);
        let values = values.path().display().to_string();
        let chart = chart();
        let mut args = vec![
            verb,
            RELEASE,
            &chart,
            "--namespace",
            NAMESPACE,
            "--values",
            &values,
        ];
        args.extend(more);
        self.helm(&args)
    }

    async fn operator(&self) -> Operator {
        let name = format!("{RELEASE}-vkc");
        site::operator(&self.plane, NAMESPACE, &name).await
    }

    /// Runs the commands of a hook one after the other, under the account that it has and with no other right.
    async fn run_hook(&self, job: &str) {
        let text = self.helm(&["get", "hooks", RELEASE, "--namespace", NAMESPACE]);
        let hooks: Vec<Value> = serde_saphyr::from_multiple(&text.unwrap()).unwrap();
        let job = get(&hooks, &format!("Job/{job}"));
        let annotation = |hook: &Value| hook["metadata"]["annotations"]["helm.sh/hook"].clone();
        for hook in &hooks {
            if hook["kind"] != "Job" && annotation(hook) == annotation(job) {
                self.apply(hook).await;
            }
        }
        let pod = &job["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().unwrap();
        let kubeconfig = self
            .plane
            .kubeconfig_for_service_account(NAMESPACE, account)
            .await
            .unwrap();
        let containers = [&pod["initContainers"], &pod["containers"]];
        for container in containers
            .into_iter()
            .flat_map(|list| list.as_array().unwrap())
        {
            let args = container["args"].as_array().unwrap();
            let args: Vec<&str> = args.iter().map(|arg| arg.as_str().unwrap()).collect();
            let output = self.plane.kubectl_as(&kubeconfig, &args, "").await.unwrap();
            if let Err(error) = output.ok() {
                panic!(
                    "{} {}: {error:#}",
                    job["metadata"]["name"], container["name"]
                );
            }
        }
    }

    /// A machine that nothing runs on, without a zone.
    async fn machine(&self, name: &str, cpu: &str, memory: &str) {
        let room =
            json!({"cpu": cpu, "memory": memory, "ephemeral-storage": "100Gi", "pods": "110"});
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
            "status": {
                "capacity": room, "allocatable": room,
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "it is"}],
            },
        });
        // An apply would leave the status out.
        let (admin, text) = (self.plane.kubeconfig(), node.to_string());
        let output = self.plane.kubectl_as(admin, &["create", "-f", "-"], &text);
        output.await.unwrap().ok().unwrap();
    }

    async fn until(
        &self,
        what: &str,
        args: &[&str],
        good: impl Fn(&Result<String, String>) -> bool,
    ) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.kubectl(args).await;
            if good(&seen) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "never: {what}; last seen {seen:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ready(&self, connector: &str) {
        let args = [
            "get",
            "vkc",
            connector,
            "-o",
            "jsonpath={.status.conditions[0]}",
        ];
        let good = |seen: &Result<String, String>| {
            seen.as_ref().is_ok_and(|text| text.contains("NodesReady"))
        };
        self.until(&format!("{connector} is Ready"), &args, good)
            .await;
    }

    async fn gone(&self, kind: &str, name: &str) {
        let good = |seen: &Result<String, String>| {
            seen.as_ref().is_err_and(|text| text.contains("NotFound"))
        };
        self.until(
            &format!("{kind} {name} is gone"),
            &["get", kind, name],
            good,
        )
        .await;
    }

    /// A pod that runs on the node of a connector.
    async fn pod(&self, connector: &str) {
        self.plane.namespace_ready("default").await.unwrap();
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": connector, "namespace": "default"},
            "spec": {
                "nodeSelector": {"virtual-kubelet.io/connector": connector},
                "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
                "containers": [{"name": "main", "image": "mcr.microsoft.com/azuredocs/aci-helloworld:latest"}],
            },
        })).await;
        let args = [
            "get",
            "pod",
            connector,
            "-n",
            "default",
            "-o",
            "jsonpath={.status.phase}",
        ];
        let good = |seen: &Result<String, String>| seen.as_deref() == Ok("Running");
        self.until(&format!("pod {connector} runs"), &args, good)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_installs_all_and_one_edit_adds_or_removes_a_connector() {
    let stage = Stage::new().await;
    let notes = stage
        .release("install", &stage.values(&[("first", "Linux")]), &[])
        .unwrap();
    assert!(
        notes.contains("kubectl wait --for=condition=Ready vkc/first"),
        "{notes}"
    );
    let again = stage
        .kubectl(&["get", "deployment", "burst-vkc", "-n", NAMESPACE])
        .await;
    again.expect("the Deployment is there");
    let mut operator = stage.operator().await;
    stage.ready("first").await;
    stage.run_hook("burst-vkc-test").await;
    stage.pod("first").await;

    // One edit: another connector.
    let both = stage.values(&[("first", "Linux"), ("second", "Both")]);
    stage.release("upgrade", &both, &[]).unwrap();
    stage.ready("second").await;
    stage.pod("second").await;

    // An older CRD, as an older release had it, is brought up to date by an upgrade and not by hand.
    stage.older_crd().await;
    stage.release("upgrade", &both, &[]).unwrap();
    let fields = stage.kubectl(&[
        "get",
        CRD,
        "-o",
        "jsonpath={.spec.versions[0].selectableFields}",
    ]);
    assert!(fields.await.unwrap().contains("spec.region"));
    let unchanged = stage.kubectl(&[
        "get",
        "pod",
        "first",
        "second",
        "-n",
        "default",
        "-o",
        "jsonpath={.items[*].status.phase}",
    ]);
    assert_eq!(unchanged.await.unwrap(), "Running Running");

    // One edit: it goes, drained, though its names are granted no more.
    stage
        .release("upgrade", &stage.values(&[("first", "Linux")]), &[])
        .unwrap();
    stage.gone("vkc", "second").await;
    stage
        .gone("node", "virtual-kubelet-second-linux-eastus")
        .await;
    stage.ready("first").await;
    let groups = stage.azure.control().groups();
    assert_eq!(groups.len(), 1, "{groups:?}");

    // The end, as the hook keeps it where there is a machine to run it.
    stage.run_hook("burst-vkc-uninstall").await;
    assert!(stage.azure.control().groups().is_empty());
    operator.stop().await.unwrap();
    stage
        .helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--no-hooks"])
        .unwrap();
    stage.gone("clusterrole", "burst-vkc-manager").await;
    stage.kubectl(&["get", CRD]).await.expect("the CRD stays");

    // Under another name, with the kind from before.
    let values = file(&stage.values(&[("third", "Linux")]));
    let values = values.path().display().to_string();
    let chart = chart();
    stage
        .helm(&[
            "install",
            "other",
            &chart,
            "--namespace",
            NAMESPACE,
            "--values",
            &values,
        ])
        .unwrap();
    stage.kubectl(&["get", "vkc", "third"]).await.unwrap();
}

/// Also where one of them has so much more room that the scheduler would put both there, and none has the label of a zone: then it heeds
/// no topologySpreadConstraints that name one.
#[tokio::test(flavor = "multi_thread")]
async fn the_replicas_are_on_different_machines() {
    let stage = Stage::new().await;
    stage.machine("small", "1", "1Gi").await;
    stage.machine("large", "64", "256Gi").await;
    stage.release("install", &stage.values(&[]), &[]).unwrap();
    let args = [
        "get",
        "pods",
        "-n",
        NAMESPACE,
        "-o",
        "jsonpath={.items[*].spec.nodeName}",
    ];
    let both = |seen: &Result<String, String>| {
        seen.as_ref()
            .is_ok_and(|text| text.split_whitespace().count() == 2)
    };
    stage
        .until("both replicas have a machine", &args, both)
        .await;
    let seen = stage.kubectl(&args).await.unwrap();
    let machines: BTreeSet<&str> = seen.split_whitespace().collect();
    assert_eq!(machines, BTreeSet::from(["large", "small"]));
}
