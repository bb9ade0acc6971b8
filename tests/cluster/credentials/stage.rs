//! A control plane for all tests; for each test an emulator and a `vkc` process with an environment of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aci_emulator::{Config, Emulator, Exchange, Proof, Request};
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use vkc::api::VirtualKubeletConnector;
use xtask::control_plane::{ControlPlane, Options};
use xtask::stack::Operator;

use crate::support::site::{ACCOUNT, installed};
pub(crate) use crate::support::site::{NAMESPACE, run};
pub(crate) use crate::support::wait::{condition, eventually};

/// Of the pods.
pub(crate) const PODS: &str = "credentials";
/// Client IDs, by the proof that Entra ID knows of each.
pub(crate) const SECRET: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const CERTIFICATE: &str = "22222222-2222-4222-8222-222222222222";
pub(crate) const FEDERATED: &str = "33333333-3333-4333-8333-333333333333";
pub(crate) const USER: &str = "44444444-4444-4444-8444-444444444444";
pub(crate) const SYSTEM: &str = "55555555-5555-4555-8555-555555555555";
/// A certificate with its key.
pub(crate) const PEM: &str = include_str!("../../../src/azure/credential/certificate/good.pem");

/// One operator at a time: each would work on the connectors of the others.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) async fn plane() -> &'static ControlPlane {
    static PLANE: OnceCell<ControlPlane> = OnceCell::const_new();
    PLANE
        .get_or_init(|| async {
            let plane = installed(Options::default()).await;
            let namespace = json!({"metadata": {"name": PODS}});
            let namespace: Namespace = serde_json::from_value(namespace).unwrap();
            Api::all(plane.client().await.unwrap())
                .create(&PostParams::default(), &namespace)
                .await
                .unwrap();
            plane.namespace_ready(PODS).await.unwrap();
            plane
        })
        .await
}

/// Which identity the environment of the operator has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Federated,
    Secret,
    UserAssigned,
    SystemAssigned,
}

pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) azure: Emulator,
    pub(crate) config: Config,
    /// The federated token of the operator.
    pub(crate) token_file: PathBuf,
    pub(crate) token: String,
    pub(crate) operator: Operator,
    /// Of the operators of all tests.
    pub(crate) log: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

/// A token of the operator's service account, as the kubelet projects it.
async fn federated_token(client: &Client) -> String {
    let request =
        json!({"spec": {"audiences": ["api://AzureADTokenExchange"], "expirationSeconds": 3600}});
    let request: TokenRequest = serde_json::from_value(request).unwrap();
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
    let made = accounts
        .create_token_request(ACCOUNT, &PostParams::default(), &request)
        .await;
    made.unwrap().status.unwrap().token.unwrap()
}

/// `iss` and `sub` of a token.
fn subject(token: &str) -> (String, String) {
    use base64::Engine as _;
    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap());
    let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
    let text = |name: &str| claims[name].as_str().unwrap().to_owned();
    (text("iss"), text("sub"))
}

impl Stage {
    pub(crate) async fn start(own: Own) -> Self {
        Self::start_with(own, "stage-secret").await
    }

    /// The same, where the application has this client secret.
    pub(crate) async fn start_with(own: Own, secret: &str) -> Self {
        let turn = TURN.lock().await;
        let plane = plane().await;
        let client = plane.client().await.unwrap();
        let token = federated_token(&client).await;
        let (issuer, subject) = subject(&token);
        assert_eq!(subject, "system:serviceaccount:vkc-system:vkc");
        let config = Config {
            client_id: SECRET.to_owned(),
            client_secret: secret.to_owned(),
            federated: vec![(issuer, subject)],
            start_delay: Duration::from_millis(200),
            throttle: false,
            serve_pages: false,
            // Exec runs a real shell: the played one knows no end of its input.
            host_shell: true,
            ..Config::default()
        };
        let azure = Emulator::start(config.clone()).await.unwrap();
        let control = azure.control();
        assert!(control.set_certificates(CERTIFICATE, PEM));
        control.add_client(FEDERATED, "another secret");
        control.assign_identities(Some(SYSTEM), &[USER]);

        let token_file = plane.dir().join("federated-token");
        // The kubelet writes no line end; other tools do.
        std::fs::write(&token_file, format!("{token}\n")).unwrap();
        let mut environment = vec![
            ("AZURE_SUBSCRIPTION_ID", config.subscription_id.clone()),
            (
                "AZURE_POD_IDENTITY_AUTHORITY_HOST",
                azure.metadata_url().to_owned(),
            ),
        ];
        let file = token_file.display().to_string();
        environment.extend(match own {
            Own::Federated => vec![
                ("AZURE_TENANT_ID", config.tenant_id.clone()),
                ("AZURE_CLIENT_ID", FEDERATED.to_owned()),
                ("AZURE_FEDERATED_TOKEN_FILE", file),
                // Not to be used: the file goes first.
                ("AZURE_CLIENT_SECRET", "another secret".to_owned()),
            ],
            Own::Secret => vec![
                ("AZURE_TENANT_ID", config.tenant_id.clone()),
                ("AZURE_CLIENT_ID", SECRET.to_owned()),
                ("AZURE_CLIENT_SECRET", secret.to_owned()),
            ],
            Own::UserAssigned => vec![("AZURE_CLIENT_ID", USER.to_owned())],
            Own::SystemAssigned => vec![],
        });
        let kubeconfig = plane
            .kubeconfig_for_service_account(NAMESPACE, ACCOUNT)
            .await
            .unwrap();
        // Everything it can say: a secret must not be in there either.
        let args = [
            "--log",
            "trace",
            "--cluster-dns",
            "10.0.0.10",
            // What tokens are asked for here besides the emulator itself.
            "--allowed-authority",
            "management.azure.com,management.example.com,vault.azure.net",
        ];
        let program = Path::new(env!("CARGO_BIN_EXE_vkc"));
        let operator = Operator::start_in(
            program,
            plane.dir(),
            &kubeconfig,
            NAMESPACE,
            &args,
            &environment,
        )
        .await
        .unwrap();
        Self {
            client,
            azure,
            config,
            token_file,
            token,
            operator,
            log: plane.dir().join("vkc.log"),
            _turn: turn,
        }
    }

    /// Removes these connectors and ends the operator.
    pub(crate) async fn finish(mut self, connectors: &[&str]) {
        for name in connectors {
            let background = DeleteParams::background();
            self.connectors().delete(name, &background).await.unwrap();
        }
        for name in connectors {
            eventually("the connector is gone", 60, || async {
                match self.connectors().get_opt(name).await.unwrap() {
                    None => Ok(()),
                    Some(connector) => Err(format!("{:?}", connector.status)),
                }
            })
            .await;
        }
        self.operator.stop().await.unwrap();
        self.azure.stop().await;
    }

    pub(crate) fn connectors(&self) -> Api<VirtualKubeletConnector> {
        Api::all(self.client.clone())
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), PODS)
    }

    /// A Secret of the operator's namespace, with this data and no other.
    pub(crate) async fn write_secret(&self, name: &str, data: &[(&str, &[u8])]) {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
        let secret = Secret {
            metadata: kube::core::ObjectMeta {
                name: Some(name.to_owned()),
                ..Default::default()
            },
            data: Some(data.collect()),
            ..Secret::default()
        };
        let secrets = self.secrets();
        if secrets.get_opt(name).await.unwrap().is_some() {
            secrets
                .replace(name, &PostParams::default(), &secret)
                .await
                .unwrap();
        } else {
            secrets
                .create(&PostParams::default(), &secret)
                .await
                .unwrap();
        }
    }

    /// The emulator as a cloud.
    pub(crate) fn custom_cloud(&self) -> Value {
        json!({
            "resourceManagerEndpoint": self.azure.url(),
            "authorityHost": self.azure.url(),
            "audience": self.azure.url(),
            "caBundle": ByteString(self.azure.ca_pem().as_bytes().to_vec()),
        })
    }

    /// Creates a connector with these credentials, null for none; its resource group is `<name>-rg`.
    pub(crate) async fn connect(&self, name: &str, credentials: Value) {
        self.connect_with(name, credentials, json!({})).await;
    }

    /// The same with more members of the spec.
    pub(crate) async fn connect_with(&self, name: &str, credentials: Value, more: Value) {
        let group = format!("{name}-rg");
        self.azure.control().add_resource_group(&group, "eastus");
        let mut connector = json!({
            "apiVersion": "virtual-kubelet.io/v1alpha1",
            "kind": "VirtualKubeletConnector",
            "metadata": {"name": name},
            "spec": {
                "osType": "Linux",
                "region": "eastus",
                "aciResourceGroup": group,
                "publicIP": true,
                "cloud": "Custom",
                "customCloud": self.custom_cloud(),
            },
        });
        if !credentials.is_null() {
            connector["spec"]["credentials"] = credentials;
        }
        for (member, value) in more.as_object().unwrap() {
            connector["spec"][member] = value.clone();
        }
        let connector: VirtualKubeletConnector = serde_json::from_value(connector).unwrap();
        self.connectors()
            .create(&PostParams::default(), &connector)
            .await
            .unwrap();
    }

    pub(crate) async fn connector(&self, name: &str) -> Value {
        let connector = self.connectors().get(name).await.unwrap();
        serde_json::to_value(connector).unwrap()
    }

    /// Waits until a condition of the connector has this status; its message.
    pub(crate) async fn condition_is(&self, name: &str, kind: &str, status: &str) -> String {
        let what = format!("{kind} of {name} is {status}");
        eventually(&what, 60, || async {
            let connector = self.connector(name).await;
            let found = condition(&connector, kind);
            if found["status"] == status {
                Ok(found["message"].as_str().unwrap().to_owned())
            } else {
                Err(connector["status"].to_string())
            }
        })
        .await
    }

    /// Has the connector ask Azure now.
    pub(crate) async fn ask_now(&self, name: &str, when: &str) {
        let ask = json!({"metadata": {"annotations": {"virtual-kubelet.io/requestedAt": when}}});
        let patch = Patch::Merge(&ask);
        let connectors = self.connectors();
        connectors
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Creates a pod for the connector's node and waits until it runs.
    pub(crate) async fn run_pod(&self, connector: &str) -> Value {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": connector},
            "spec": {
                "containers": [{"name": "main", "image": "example.com/web"}],
                "nodeSelector": {"virtual-kubelet.io/connector": connector},
                "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
            },
        }))
        .unwrap();
        self.pods()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap();
        self.pod_runs(connector).await
    }

    /// Waits until a pod runs.
    pub(crate) async fn pod_runs(&self, name: &str) -> Value {
        eventually(&format!("pod {name} runs"), 60, || async {
            let pod = self.pod(name).await;
            if pod["status"]["phase"] == "Running" && condition(&pod, "Ready")["status"] == "True" {
                Ok(pod)
            } else {
                Err(pod["status"].to_string())
            }
        })
        .await
    }

    pub(crate) async fn pod(&self, name: &str) -> Value {
        serde_json::to_value(self.pods().get(name).await.unwrap()).unwrap()
    }

    /// Calls to ARM about the resource group of a connector, oldest first.
    pub(crate) fn calls(&self, connector: &str) -> Vec<Request> {
        let group = format!("/resourcegroups/{connector}-rg");
        let mut calls = self.azure.control().requests();
        calls.retain(|call| call.path.to_lowercase().contains(&group));
        calls
    }

    /// Tokens that a client got.
    pub(crate) fn tokens(&self, client_id: &str) -> Vec<Exchange> {
        let mut tokens = self.azure.control().exchanges();
        tokens.retain(|exchange| exchange.client_id == client_id);
        tokens
    }

    /// All calls of the connector were made with tokens of this client, and all of those were had by this proof and are
    /// for this cloud.
    pub(crate) fn acted_as(&self, connector: &str, client_id: &str, proof: Proof) {
        let tokens = self.tokens(client_id);
        assert!(!tokens.is_empty(), "{connector}: no token of {client_id}");
        for token in &tokens {
            assert_eq!(
                (token.proof, token.audience.as_str()),
                (proof, self.azure.url()),
                "{connector}"
            );
        }
        let calls = self.calls(connector);
        assert!(calls.iter().any(|call| call.method == "PUT"), "{connector}");
        for call in calls {
            let known = tokens.iter().any(|token| call.token == Some(token.token));
            assert!(known, "{connector}: {call:?}");
        }
    }
}
