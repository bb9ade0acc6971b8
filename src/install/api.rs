//! The API server, as the person's kubeconfig reaches it: what is there, and the writes.

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Config, ResourceExt};
use serde_json::json;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::ClusterRole;

use super::args::Target;
use super::plan::{CONSTRAINED_SINCE, Change, MADE_BY, Plan, role_name};
use crate::api::VirtualKubeletConnector;
use crate::api::names::LABEL_CONNECTOR;
use crate::kube::call::{KubeError, TIMEOUT, call, optional};

/// Field manager of what the commands write.
pub(super) const FIELD_MANAGER: &str = "vkc-install-connector";
/// Managers that bring an object back to what Git says.
const GIT_OPS: [&str; 5] = [
    "kustomize-controller",
    "helm-controller",
    "argocd-controller",
    "argocd-application-controller",
    "helm",
];

/// What the cluster objects to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(String),
    #[error(
        "the kubeconfig's server is {server}, and cluster {cluster} is at {wanted}; give the right --context (az aks get-credentials makes one), or --any-server where a proxy is in between"
    )]
    OtherCluster {
        server: String,
        cluster: String,
        wanted: String,
    },
    #[error(
        "the cluster does not know VirtualKubeletConnectors: no operator is installed; add --image-tag TAG or --chart-url URL, which install it by helm, or see docs/install.md"
    )]
    NoKind,
    #[error(
        "namespace {0} does not exist: the operator is elsewhere (--namespace), or not installed (--image-tag TAG installs it)"
    )]
    NoNamespace(String),
    #[error(
        "Secret {namespace}/{name} belongs to {owner}, which would undo a change; change the credentials there"
    )]
    Owned {
        namespace: String,
        name: String,
        owner: String,
    },
    #[error(transparent)]
    Kube(#[from] KubeError),
}

/// A cluster, and the namespace of the operator in it.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    namespace: String,
    /// Host of the API server.
    server: String,
}

/// How an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The API server checks everything and stores nothing.
    Try,
    Write,
}

impl Cluster {
    /// Reads the kubeconfig and asks nobody yet.
    pub(super) async fn connect(target: &Target) -> Result<Self, ApiError> {
        let unusable = |error: &(dyn std::error::Error + 'static)| {
            ApiError::Kubeconfig(crate::causes::chain(error))
        };
        let options = KubeConfigOptions {
            context: target.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &target.kubeconfig {
            Some(file) => {
                let file = Kubeconfig::read_from(file).map_err(|error| unusable(&error))?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None => Config::from_kubeconfig(&options).await,
        };
        let config = config.map_err(|error| unusable(&error))?;
        let server = match &config.tls_server_name {
            Some(name) => name.clone(),
            None => config.cluster_url.host().unwrap_or_default().to_owned(),
        };
        let client = Client::try_from(config).map_err(|error| unusable(&error))?;
        Ok(Self {
            client,
            namespace: target.namespace.clone(),
            server,
        })
    }

    /// That it is this managed cluster, and not whichever the kubeconfig happens to name.
    pub(super) fn is_at<'a>(
        &self,
        cluster: &str,
        hosts: impl Iterator<Item = &'a str>,
    ) -> Result<(), ApiError> {
        let hosts: Vec<&str> = hosts.collect();
        if hosts.is_empty() || hosts.iter().any(|it| it.eq_ignore_ascii_case(&self.server)) {
            return Ok(());
        }
        Err(ApiError::OtherCluster {
            server: self.server.clone(),
            cluster: cluster.to_owned(),
            wanted: hosts.join(" or "),
        })
    }

    /// Whether it has constrained impersonation: since 1.36.
    pub(super) async fn is_constrained(&self) -> Result<bool, ApiError> {
        let asked = self.client.apiserver_version();
        let version = call("read the API server's version", TIMEOUT, asked).await?;
        let minor = version.minor.trim_end_matches('+').parse::<u32>();
        Ok(version.major != "1" || minor.is_ok_and(|minor| minor >= CONSTRAINED_SINCE))
    }

    pub(super) fn connectors(&self) -> Api<VirtualKubeletConnector> {
        Api::all(self.client.clone())
    }

    pub(super) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn roles(&self) -> Api<ClusterRole> {
        Api::all(self.client.clone())
    }

    /// The connector, if there is one. That the kind is missing is no error: helm may bring it.
    pub(super) async fn connector(
        &self,
        name: &str,
    ) -> Result<Option<VirtualKubeletConnector>, ApiError> {
        let api = self.connectors();
        Ok(optional("read the connector", TIMEOUT, api.get(name)).await?)
    }

    /// The names of all connectors.
    pub(super) async fn connector_names(&self) -> Result<Vec<String>, ApiError> {
        let api = self.connectors();
        let all = ListParams::default();
        let listed = optional("list the connectors", TIMEOUT, api.list(&all)).await?;
        let listed = listed.ok_or(ApiError::NoKind)?;
        Ok(listed.items.iter().map(ResourceExt::name_any).collect())
    }

    /// A Secret of the operator's namespace.
    pub(super) async fn secret(&self, name: &str) -> Result<Option<Secret>, ApiError> {
        let api = self.secrets();
        Ok(optional("read the Secret", TIMEOUT, api.get(name)).await?)
    }

    /// That an operator's namespace and the kind are there.
    pub(super) async fn check_installed(&self) -> Result<(), ApiError> {
        self.connector_names().await?;
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = optional("read the namespace", TIMEOUT, api.get(&self.namespace)).await?;
        match found {
            Some(_) => Ok(()),
            None => Err(ApiError::NoNamespace(self.namespace.clone())),
        }
    }

    /// Writes the Secret, the rights, and last the connector, so that whoever sees a connector finds all that it needs.
    pub(super) async fn write(
        &self,
        plan: &Plan,
        constrained: bool,
        mode: Mode,
    ) -> Result<(), ApiError> {
        if let Some(secret) = &plan.secret {
            self.write_secret(secret, mode).await?;
        }
        let role = plan.role(constrained);
        let apply = Patch::Apply(&role);
        let params = patch(mode);
        let params = PatchParams {
            force: true,
            ..params
        };
        let roles = self.roles();
        let name = role_name(&plan.name);
        let asked = roles.patch(&name, &params, &apply);
        call("write the ClusterRole", TIMEOUT, asked).await?;
        self.write_connector(&plan.name, &plan.connector, mode)
            .await
    }

    async fn write_secret(&self, secret: &Secret, mode: Mode) -> Result<(), ApiError> {
        let api = self.secrets();
        let name = secret.name_any();
        let Some(existing) = self.secret(&name).await? else {
            call(
                "create the Secret",
                TIMEOUT,
                api.create(&post(mode), secret),
            )
            .await?;
            return Ok(());
        };
        if let Some(owner) = existing.owner_references().first() {
            return Err(ApiError::Owned {
                namespace: self.namespace.clone(),
                name,
                owner: format!("{} {}", owner.kind, owner.name),
            });
        }
        // Only the values: whose it is stays as it was.
        let data = Patch::Merge(json!({"data": secret.data}));
        let params = patch(mode);
        let asked = api.patch(&name, &params, &data);
        call("change the Secret", TIMEOUT, asked).await?;
        Ok(())
    }

    async fn write_connector(
        &self,
        name: &str,
        change: &Change,
        mode: Mode,
    ) -> Result<(), ApiError> {
        if change.is_none() {
            return Ok(());
        }
        let params = patch(mode);
        match change {
            // As it is: a typed one would store the defaults, too.
            Change::Create(object) => {
                let kind = ApiResource::erase::<VirtualKubeletConnector>(&());
                let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
                let object = Patch::Apply(object);
                let asked = api.patch(name, &params, &object);
                call("create the connector", TIMEOUT, asked).await?;
            }
            Change::Patch(fields) => {
                let api = self.connectors();
                let fields = Patch::Merge(fields);
                let asked = api.patch(name, &params, &fields);
                call("change the connector", TIMEOUT, asked).await?;
            }
        }
        Ok(())
    }

    /// Changes fields of a connector.
    pub(super) async fn patch_connector(
        &self,
        name: &str,
        fields: serde_json::Value,
    ) -> Result<(), ApiError> {
        let change = Change::Patch(fields);
        self.write_connector(name, &change, Mode::Write).await
    }

    /// Deletes what the commands have made besides the connector; whether there was anything.
    pub(super) async fn delete_rest(&self, connector: &str) -> Result<bool, ApiError> {
        let (key, value) = MADE_BY;
        let ours = format!("{key}={value},{LABEL_CONNECTOR}={connector}");
        let ours = ListParams::default().labels(&ours);
        let roles = self.roles();
        let names = call("list the ClusterRoles", TIMEOUT, roles.list(&ours)).await?;
        let names: Vec<String> = names.items.iter().map(ResourceExt::name_any).collect();
        let secrets = self.secrets();
        let held = call("list the Secrets", TIMEOUT, secrets.list(&ours)).await?;
        let held: Vec<String> = held.items.iter().map(ResourceExt::name_any).collect();
        let gone = DeleteParams::default();
        for name in &names {
            let asked = roles.delete(name, &gone);
            optional("delete the ClusterRole", TIMEOUT, asked).await?;
        }
        for name in &held {
            let asked = secrets.delete(name, &gone);
            optional("delete the Secret", TIMEOUT, asked).await?;
        }
        Ok(!names.is_empty() || !held.is_empty())
    }
}

fn post(mode: Mode) -> PostParams {
    PostParams {
        dry_run: mode == Mode::Try,
        field_manager: Some(FIELD_MANAGER.to_owned()),
    }
}

fn patch(mode: Mode) -> PatchParams {
    PatchParams {
        dry_run: mode == Mode::Try,
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// Who brings the connector back to what Git says, if anybody does.
pub(super) fn kept_by(connector: &VirtualKubeletConnector) -> Option<&str> {
    let managers = connector.managed_fields().iter();
    let names = managers.filter_map(|entry| entry.manager.as_deref());
    names.into_iter().find(|name| GIT_OPS.contains(name))
}
