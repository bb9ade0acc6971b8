//! A connector with an Azure of its own, and looks at both sides.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aci_emulator::{Config, Control, Emulator, Fault, Request};
use k8s_openapi::ByteString;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, ObjectList, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vkc::api::VirtualKubeletConnector;

use super::site::Runs;
pub(crate) use super::wait::{condition, eventually, merge, text};

/// The machine may be busy; what is to be quick says so itself.
pub(crate) const PATIENCE: u64 = 30;
const NAMESPACE: &str = "vkc-system";
/// What every client secret begins with: nothing else holds this word.
pub(crate) const CANARY: &str = "Kanarienvogel";

/// Emulators outlive their tests: the operator cleans up after them in the background.
static EMULATORS: Mutex<Vec<Emulator>> = Mutex::new(Vec::new());

pub(crate) struct Fixture {
    pub(crate) client: Client,
    pub(crate) control: Control,
    /// Of the connector and of the namespace; the resource group is `<name>-rg`.
    pub(crate) name: String,
    /// The emulator's address and CA.
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    pub(crate) config: Config,
}

pub(crate) fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running" && condition(pod, "Ready")["status"] == "True"
}

/// Lines of the file that hooks write to.
pub(crate) fn lines(file: &tempfile::NamedTempFile) -> usize {
    std::fs::read_to_string(file.path())
        .unwrap()
        .lines()
        .count()
}

/// The reason for which the first container waits.
pub(crate) fn waiting(pod: &Value) -> &str {
    text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"])
}

/// An Azure with the resource group `aci-rg`, whose container groups start at once and answer nothing.
pub(crate) fn quick_azure() -> Config {
    Config {
        resource_groups: vec![("aci-rg".to_owned(), "eastus".to_owned())],
        start_delay: Duration::from_millis(200),
        throttle: false,
        serve_pages: false,
        ..Config::default()
    }
}

/// The Secret with the credentials of an emulator's service principal.
pub(crate) fn credentials(namespace: &str, name: &str, config: &Config) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {
            "AZURE_TENANT_ID": config.tenant_id,
            "AZURE_CLIENT_ID": config.client_id,
            "AZURE_CLIENT_SECRET": config.client_secret,
            "AZURE_SUBSCRIPTION_ID": config.subscription_id,
        },
    })
}

impl Fixture {
    /// Brings up an emulator and a connector of the operating system(s) `os`, and waits until it is ready.
    pub(crate) async fn start(operator: &impl Runs, name: &str, os: &str) -> Self {
        Self::start_with(operator, name, os, &json!({})).await
    }

    /// The same with `patch` merged into the connector's spec.
    pub(crate) async fn start_with(
        operator: &impl Runs,
        name: &str,
        os: &str,
        patch: &Value,
    ) -> Self {
        Self::start_at(operator, name, os, patch, |_| {}).await
    }

    /// The same at an Azure that was changed before.
    pub(crate) async fn start_at(
        operator: &impl Runs,
        name: &str,
        os: &str,
        patch: &Value,
        change: impl FnOnce(&Control),
    ) -> Self {
        let config = Config {
            serve_pages: false,
            ..Config::default()
        };
        Self::start_from(operator, (name, os), patch, change, config).await
    }

    /// A connector for Linux whose groups answer at the ports that they declare.
    pub(crate) async fn start_answering(operator: &impl Runs, name: &str, patch: &Value) -> Self {
        let config = Config {
            serve_pages: true,
            ..Config::default()
        };
        Self::start_from(operator, (name, "Linux"), patch, |_| {}, config).await
    }

    async fn start_from(
        operator: &impl Runs,
        (name, os): (&str, &str),
        patch: &Value,
        change: impl FnOnce(&Control),
        config: Config,
    ) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        assert!(!operator.metrics_url().is_empty());
        let plane = operator.plane();
        let client = plane.client().await.unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let config = Config {
            client_id: format!("11111111-1111-4111-8111-{number:012}"),
            client_secret: format!("{CANARY}-{name}-{number}"),
            subscription_id: format!("00000000-0000-4000-8000-{number:012}"),
            resource_groups: vec![(format!("{name}-rg"), "eastus".to_owned())],
            start_delay: Duration::from_millis(300),
            throttle: false,
            host_shell: true,
            ..config
        };
        let emulator = Emulator::start(config.clone()).await.unwrap();
        let fixture = Self {
            client,
            control: emulator.control(),
            name: name.to_owned(),
            url: emulator.url().to_owned(),
            ca_pem: emulator.ca_pem().to_owned(),
            config,
        };
        change(&fixture.control);
        EMULATORS.lock().unwrap().push(emulator);
        let namespace: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        Api::all(fixture.client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .unwrap();
        fixture.create_connector(os, patch).await;
        plane.namespace_ready(name).await.unwrap();
        fixture.connector_is_ready().await;
        fixture
    }

    async fn create_connector(&self, os: &str, patch: &Value) {
        let (name, config) = (&self.name, &self.config);
        let secret: Secret = serde_json::from_value(credentials(NAMESPACE, name, config)).unwrap();
        Api::<Secret>::namespaced(self.client.clone(), NAMESPACE)
            .create(&PostParams::default(), &secret)
            .await
            .unwrap();
        let mut connector = json!({
            "apiVersion": "virtual-kubelet.io/v1alpha1",
            "kind": "VirtualKubeletConnector",
            "metadata": {"name": name},
            "spec": {
                "osType": os,
                "region": "eastus",
                "aciResourceGroup": format!("{name}-rg"),
                "publicIP": true,
                "cloud": "Custom",
                "customCloud": {
                    "resourceManagerEndpoint": self.url,
                    "authorityHost": self.url,
                    "audience": self.url,
                    "caBundle": ByteString(self.ca_pem.clone().into_bytes()),
                },
                "credentials": {"type": "ServicePrincipal", "secretRef": {"name": name}},
            },
        });
        merge(&mut connector["spec"], patch);
        let connector: VirtualKubeletConnector = serde_json::from_value(connector).unwrap();
        self.connectors()
            .create(&PostParams::default(), &connector)
            .await
            .unwrap();
    }

    pub(crate) fn connectors(&self) -> Api<VirtualKubeletConnector> {
        Api::all(self.client.clone())
    }

    pub(crate) async fn connector(&self) -> Value {
        let connector = self.connectors().get(&self.name).await.unwrap();
        serde_json::to_value(connector).unwrap()
    }

    pub(crate) async fn connector_is_ready(&self) {
        eventually("the connector is Ready", 60, || async {
            let connector = self.connector().await;
            if condition(&connector, "Ready")["status"] == "True" {
                Ok(())
            } else {
                Err(connector["status"].to_string())
            }
        })
        .await;
    }

    /// Leaves the rest to the operator and the garbage collector.
    pub(crate) async fn finish(self) {
        self.control.clear_faults();
        let background = DeleteParams::background();
        self.connectors()
            .delete(&self.name, &background)
            .await
            .unwrap();
        Api::<Namespace>::all(self.client.clone())
            .delete(&self.name, &background)
            .await
            .unwrap();
    }

    pub(crate) fn node_name(&self, os: &str) -> String {
        format!("virtual-kubelet-{}-{os}-eastus", self.name)
    }

    pub(crate) fn nodes(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    /// An API of the fixture's namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    async fn list<K>(&self) -> ObjectList<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api = self.api::<K>();
        api.list(&ListParams::default()).await.unwrap()
    }

    pub(crate) async fn create<K>(&self, object: &Value) -> Value
    where
        K: Resource<Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object.clone()).unwrap();
        let api = self.api::<K>();
        let made = api.create(&PostParams::default(), &object).await;
        serde_json::to_value(made.unwrap()).unwrap()
    }

    /// A `StatefulSet` of one pod, `<name>-0`.
    pub(crate) async fn create_stateful_set(&self, name: &str) {
        self.create::<StatefulSet>(&json!({
            "metadata": {"name": name},
            "spec": {
                "serviceName": name,
                "replicas": 1,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": self.pod_spec(&format!("example.com/{name}")),
                },
            },
        }))
        .await;
    }

    /// The least spec of a pod that the scheduler puts on the fixture's node.
    pub(crate) fn pod_spec(&self, image: &str) -> Value {
        json!({
            "containers": [{"name": "main", "image": image}],
            "nodeSelector": {"virtual-kubelet.io/connector": self.name},
            "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
        })
    }

    /// Creates a pod; `patch` is merged into its spec.
    pub(crate) async fn create_pod(&self, name: &str, image: &str, patch: Value) -> Value {
        let mut spec = self.pod_spec(image);
        merge(&mut spec, &patch);
        self.create::<Pod>(&json!({"metadata": {"name": name}, "spec": spec}))
            .await
    }

    /// Creates a pod and waits until it runs.
    pub(crate) async fn run_pod(&self, name: &str) -> Value {
        self.create_pod(name, "example.com/web", json!({})).await;
        self.pod_until(name, "it runs", PATIENCE, is_running).await
    }

    /// The pod, or null.
    pub(crate) async fn pod(&self, name: &str) -> Value {
        let pod = self.api::<Pod>().get_opt(name).await.unwrap();
        serde_json::to_value(pod).unwrap()
    }

    pub(crate) async fn pods(&self) -> Vec<Value> {
        let pods = self.list::<Pod>().await.items;
        pods.into_iter()
            .map(|pod| serde_json::to_value(pod).unwrap())
            .collect()
    }

    /// The resource version of the list of pods now.
    pub(crate) async fn pods_version(&self) -> String {
        let pods = self.list::<Pod>().await;
        pods.metadata.resource_version.unwrap()
    }

    pub(crate) async fn node_version(&self, os: &str) -> String {
        let node = self.nodes().get(&self.node_name(os)).await.unwrap();
        node.metadata.resource_version.unwrap()
    }

    pub(crate) async fn pod_until(
        &self,
        name: &str,
        what: &str,
        limit: u64,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(&format!("pod {name}: {what}"), limit, || async {
            let pod = self.pod(name).await;
            if is_so(&pod) {
                Ok(pod)
            } else {
                Err(pod["status"].to_string())
            }
        })
        .await
    }

    pub(crate) async fn delete_pod(&self, name: &str) {
        self.api::<Pod>()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// Container groups that were made for `pod`, as GET shows them.
    pub(crate) fn groups_of(&self, pod: &Value) -> Vec<Value> {
        let uid = &pod["metadata"]["uid"];
        assert!(uid.is_string());
        let mut groups = self.control.groups();
        groups.retain(|group| group["tags"]["vkc-uid"] == *uid);
        groups
    }

    /// The name of the one container group of `pod`.
    pub(crate) fn group_of(&self, pod: &Value) -> String {
        let groups = self.groups_of(pod);
        assert_eq!(groups.len(), 1, "groups of {}", pod["metadata"]["name"]);
        text(&groups[0]["name"]).to_owned()
    }

    /// Requests about the container groups whose name starts with `prefix`: method and status, oldest first.
    pub(crate) fn calls(&self, prefix: &str) -> Vec<(String, u16)> {
        let requests = self.requests(prefix).into_iter();
        requests
            .map(|request| (request.method, request.status))
            .collect()
    }

    pub(crate) fn requests(&self, prefix: &str) -> Vec<Request> {
        let part = format!("/containergroups/{prefix}");
        let mut requests = self.control.requests();
        requests.retain(|request| request.path.to_lowercase().contains(&part));
        requests
    }

    /// How many of the calls about groups that start with `prefix` have this method.
    pub(crate) fn count(&self, method: &str, prefix: &str) -> usize {
        let calls = self.calls(prefix);
        calls.iter().filter(|(used, _)| used == method).count()
    }

    /// Events about `pod` with this reason.
    pub(crate) async fn events(&self, pod: &Value, reason: &str) -> Vec<Value> {
        let events = self.list::<Event>().await.items.into_iter();
        let mut events: Vec<Value> = events
            .map(|event| serde_json::to_value(event).unwrap())
            .collect();
        events.retain(|event| {
            event["regarding"]["uid"] == pod["metadata"]["uid"] && event["reason"] == reason
        });
        events
    }

    /// Waits for an Event about `pod` with this reason.
    pub(crate) async fn event(&self, pod: &Value, reason: &str) -> Value {
        eventually(&format!("an Event {reason}"), 10, || async {
            self.events(pod, reason).await.pop().ok_or(String::new())
        })
        .await
    }

    /// A fault of the calls about container groups whose name starts with `prefix`.
    pub(crate) fn fault(method: &str, prefix: &str) -> Fault {
        Fault {
            method: Some(method.to_owned()),
            path_contains: Some(format!("/containerGroups/{prefix}")),
            ..Fault::default()
        }
    }
}
