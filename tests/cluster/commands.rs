//! `vkc install-connector`, `upgrade-connector` and `remove-connector`, as processes at a real API server with an operator.

mod managed_cluster;
mod operator;
mod refusals;
mod walk;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use aci_emulator::{Config, Emulator};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client};
use serde_json::Value;
use vkc::api::VirtualKubeletConnector;

use crate::support::site::{self, NAMESPACE, Runs as _, Shared};

/// No command waits longer for what does not come.
const LIMIT: Duration = Duration::from_mins(2);

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// That it succeeded; gives standard output.
    #[track_caller]
    fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.err);
        &self.out
    }

    /// That it failed, and said so in these words.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in {}", self.err);
        }
    }
}

/// An Azure of its own and the shared cluster.
struct Fixture {
    operator: Shared,
    client: Client,
    azure: Emulator,
    config: Config,
    /// Programs besides those of the machine: none of the Azure CLI or of helm unless a test puts one here.
    path: tempfile::TempDir,
    ca: tempfile::NamedTempFile,
    name: &'static str,
}

impl Fixture {
    async fn new(name: &'static str) -> Self {
        let operator = site::shared().await;
        let config = Config {
            client_secret: format!("{}-{name}", crate::support::fixture::CANARY),
            resource_groups: vec![(format!("{name}-rg"), "eastus".to_owned())],
            serve_pages: false,
            throttle: false,
            ..Config::default()
        };
        let azure = Emulator::start(config.clone()).await.unwrap();
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), azure.ca_pem()).unwrap();
        Self {
            client: operator.plane().client().await.unwrap(),
            operator,
            azure,
            config,
            path: tempfile::tempdir().unwrap(),
            ca,
            name,
        }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.operator.plane().kubeconfig().to_owned()
    }

    fn name_flag(&self) -> [String; 2] {
        ["--connector-name", self.name].map(String::from)
    }

    /// The flags of the connector, the service principal and the emulator, whose secret is in the environment.
    fn flags(&self) -> Vec<String> {
        let principal = [
            ("--service-principal", self.config.client_id.as_str()),
            ("--tenant", &self.config.tenant_id),
            ("--subscription", &self.config.subscription_id),
        ];
        let cloud = self.cloud();
        let flags = principal.iter().flat_map(|(flag, value)| [*flag, *value]);
        let flags = flags.map(ToOwned::to_owned).chain(cloud);
        self.name_flag().into_iter().chain(flags).collect()
    }

    /// The same for an install in the emulator's region and resource group.
    fn install_flags(&self) -> Vec<String> {
        let group = format!("{}-rg", self.name);
        let place = ["-l", "eastus", "--aci-resource-group", &group];
        let mut flags = self.flags();
        flags.extend(place.map(String::from));
        flags
    }

    fn cloud(&self) -> Vec<String> {
        let url = self.azure.url();
        let ca = self.ca.path().display().to_string();
        [
            ("--resource-manager-endpoint", url),
            ("--authority-host", url),
            ("--audience", url),
            ("--ca-file", &ca),
        ]
        .iter()
        .flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()])
        .collect()
    }

    /// Runs `vkc` with `words`, separated by blanks, and `more`.
    async fn vkc(&self, words: &str, more: &[String]) -> Ran {
        let secret = self.config.client_secret.clone();
        self.vkc_with(words, more, &[("AZURE_CLIENT_SECRET", secret)])
            .await
    }

    async fn vkc_with(&self, words: &str, more: &[String], env: &[(&str, String)]) -> Ran {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_vkc"));
        command
            .args(words.split_whitespace())
            .args(more)
            .env_clear()
            .env("PATH", self.path.path())
            .env("KUBECONFIG", self.kubeconfig())
            .envs(env.iter().map(|(name, value)| (*name, value.as_str())))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output());
        let output = output.await.expect("it ends by itself").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        assert!(
            !ran.err.contains(&self.config.client_secret),
            "the secret is shown: {}",
            ran.err
        );
        ran
    }

    fn connectors(&self) -> Api<VirtualKubeletConnector> {
        Api::all(self.client.clone())
    }

    async fn connector(&self) -> Option<VirtualKubeletConnector> {
        self.connectors().get_opt(self.name).await.unwrap()
    }

    /// The spec as it is stored.
    async fn spec(&self) -> Value {
        serde_json::to_value(self.connector().await.expect("a connector").spec).unwrap()
    }

    async fn secret(&self) -> Option<Secret> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = format!("{}-credentials", self.name);
        api.get_opt(&name).await.unwrap()
    }

    async fn role(&self) -> Option<ClusterRole> {
        let api: Api<ClusterRole> = Api::all(self.client.clone());
        api.get_opt(&format!("vkc-nodes-{}", self.name))
            .await
            .unwrap()
    }

    /// That nothing of the connector is in the cluster.
    async fn nothing_is_there(&self, after: &str) {
        assert!(
            self.connector().await.is_none(),
            "a connector after {after}"
        );
        assert!(self.secret().await.is_none(), "a Secret after {after}");
        assert!(self.role().await.is_none(), "a ClusterRole after {after}");
    }

    fn node(&self, os: &str) -> String {
        format!("virtual-kubelet-{}-{os}-eastus", self.name)
    }

    /// A program that the commands find by this name.
    fn put(&self, program: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let file = self.path.path().join(program);
        std::fs::write(&file, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}
