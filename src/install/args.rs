//! The arguments of the three commands: the names, meanings and defaults of `az aks install-connector`, and what it lacked.

#![allow(
    clippy::doc_markdown,
    reason = "--help shows the doc comments as they are"
)]

use std::path::PathBuf;
use std::time::Duration;

use crate::api::{Cloud, OsType, is_guid, parse_duration};

/// The name that `az aks` gave a connector without one.
const CONNECTOR_NAME: &str = "aci-connector";

/// Which connector, and where.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// Name of the connector
    #[arg(long, value_name = "NAME", default_value = CONNECTOR_NAME, value_parser = connector_name)]
    pub connector_name: String,

    /// Managed cluster (AKS) that the connector is for: its region, resource group of nodes, identity, network and DNS are the
    /// defaults
    #[arg(
        long,
        short = 'n',
        value_name = "CLUSTER",
        requires = "resource_group",
        help_heading = "Cluster"
    )]
    pub name: Option<String>,

    /// Resource group of the managed cluster
    #[arg(
        long,
        short = 'g',
        value_name = "GROUP",
        requires = "name",
        help_heading = "Cluster"
    )]
    pub resource_group: Option<String>,

    /// Azure subscription, a GUID [env: AZURE_SUBSCRIPTION_ID] [default: that of the Azure CLI]
    #[arg(long, value_name = "ID", value_parser = guid, help_heading = "Cluster")]
    pub subscription: Option<String>,

    /// Kubeconfig [default: as kubectl finds it]
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig [default: the current one]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,

    /// Namespace of the operator
    #[arg(
        long,
        value_name = "NAMESPACE",
        default_value = "vkc-system",
        help_heading = "Cluster"
    )]
    pub namespace: String,

    /// Do not compare the kubeconfig's server with that of the managed cluster: it is reached through a proxy
    #[arg(long, requires = "name", help_heading = "Cluster")]
    pub any_server: bool,

    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
}

/// `vkc install-connector` and `vkc upgrade-connector`.
#[derive(Debug, clap::Args)]
pub struct InstallArgs {
    #[command(flatten)]
    pub target: Target,

    /// Operating systems of the nodes: Linux, Windows or Both
    #[arg(long, value_name = "OS", default_value = "Linux", value_parser = os_type)]
    pub os_type: OsType,

    /// Resource group of the container groups; it must exist [default with -n: the resource group of the cluster's nodes]
    #[arg(long, value_name = "GROUP")]
    pub aci_resource_group: Option<String>,

    /// Region of the container groups, `eastus` or `East US` [default with -n: that of the cluster]
    #[arg(long, short = 'l', value_name = "REGION")]
    pub location: Option<String>,

    /// Subnet of the pods, an ARM ID [default with -n: the one of the cluster's network that is delegated to container groups]
    #[arg(long, value_name = "ID", conflicts_with = "no_public_ip")]
    pub subnet: Option<String>,

    /// Give pods no public address where they are in no subnet
    #[arg(long)]
    pub no_public_ip: bool,

    #[command(flatten)]
    pub identity: IdentityArgs,

    #[command(flatten)]
    pub operator: OperatorArgs,

    #[command(flatten)]
    pub cloud: CloudArgs,

    /// Write nothing: print the Secret, the rights and the connector, for Git or kubectl
    #[arg(long, help_heading = "For Git")]
    pub dry_run: bool,

    /// How --dry-run prints
    #[arg(
        long,
        short = 'o',
        value_name = "FORMAT",
        value_enum,
        default_value = "yaml",
        help_heading = "For Git"
    )]
    pub output: Output,

    /// With --dry-run: the version of the cluster, which decides how the rights are written
    #[arg(long, value_name = "VERSION", default_value = "1.36", value_parser = minor, help_heading = "For Git")]
    pub kubernetes_version: u32,
}

/// Format of what `--dry-run` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    Yaml,
}

/// Whose identity the operator uses towards Azure.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Identity towards Azure")]
pub struct IdentityArgs {
    /// Application (client) ID of a service principal [env: AZURE_CLIENT_ID]
    #[arg(
        long,
        value_name = "ID",
        value_parser = guid,
        conflicts_with_all = ["workload_identity", "managed_identity", "credentials_secret"]
    )]
    pub service_principal: Option<String>,

    /// Its secret. Others on this machine can read it here: give a file, the variable AZURE_CLIENT_SECRET, or nothing and be
    /// asked
    #[arg(long, value_name = "SECRET", conflicts_with = "client_secret_file")]
    pub client_secret: Option<String>,

    /// File with the secret; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub client_secret_file: Option<PathBuf>,

    /// Its Microsoft Entra tenant [env: AZURE_TENANT_ID] [default: that of the Azure CLI]
    #[arg(long, value_name = "ID", value_parser = guid)]
    pub tenant: Option<String>,

    /// Client ID of an identity that trusts the operator's service account (Microsoft Entra Workload ID)
    #[arg(
        long,
        value_name = "ID",
        value_parser = guid,
        conflicts_with_all = ["managed_identity", "credentials_secret"]
    )]
    pub workload_identity: Option<String>,

    /// Client ID of a managed identity of the cluster's machines, or `system`
    #[arg(long, value_name = "ID", conflicts_with = "credentials_secret")]
    pub managed_identity: Option<String>,

    /// Secret of the operator's namespace that has the credentials already
    #[arg(long, value_name = "NAME")]
    pub credentials_secret: Option<String>,
}

/// With one of these the operator is installed too, by helm.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Operator")]
pub struct OperatorArgs {
    /// Chart of the operator: a folder, an archive, or oci://…; installs or upgrades it by helm
    #[arg(long, value_name = "URL")]
    pub chart_url: Option<String>,

    /// Tag of the operator's image; installs or upgrades it by helm
    #[arg(long, value_name = "TAG")]
    pub image_tag: Option<String>,
}

/// Another cloud than Azure's public one.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Cloud")]
pub struct CloudArgs {
    /// AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud, or Custom with the endpoints below
    #[arg(long, value_name = "CLOUD", value_parser = cloud, default_value = "AzurePublicCloud")]
    pub cloud: Cloud,

    /// Azure Resource Manager of a custom cloud, https://…
    #[arg(long, value_name = "URL", requires = "authority_host")]
    pub resource_manager_endpoint: Option<String>,

    /// Token service of a custom cloud, https://…
    #[arg(long, value_name = "URL", requires = "resource_manager_endpoint")]
    pub authority_host: Option<String>,

    /// Audience of its tokens [default: the resource manager endpoint]
    #[arg(long, value_name = "URL", requires = "resource_manager_endpoint")]
    pub audience: Option<String>,

    /// File with the certificates that signed its own, PEM
    #[arg(long, value_name = "FILE", requires = "resource_manager_endpoint")]
    pub ca_file: Option<PathBuf>,
}

/// `vkc remove-connector`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    pub target: Target,

    /// Operating systems to remove: Linux, Windows or Both
    #[arg(long, value_name = "OS", default_value = "Linux", value_parser = os_type)]
    pub os_type: OsType,

    /// Region of the connector, to be sure that it is the right one
    #[arg(long, short = 'l', value_name = "REGION")]
    pub location: Option<String>,

    /// Evict the pods, as disruption budgets allow it; without, they are deleted at once
    #[arg(long)]
    pub graceful: bool,
}

fn connector_name(text: &str) -> Result<String, String> {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = text
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits && ends(text.chars().next()) && ends(text.chars().last()) {
        Ok(text.to_owned())
    } else {
        Err(
            "use lower-case letters, digits and hyphens: it becomes a part of node names"
                .to_owned(),
        )
    }
}

fn os_type(text: &str) -> Result<OsType, String> {
    match text.to_ascii_lowercase().as_str() {
        "linux" => Ok(OsType::Linux),
        "windows" => Ok(OsType::Windows),
        "both" => Ok(OsType::Both),
        _ => Err("it is Linux, Windows or Both".to_owned()),
    }
}

fn cloud(text: &str) -> Result<Cloud, String> {
    serde_json::from_value(text.into()).map_err(|_| {
        "it is AzurePublicCloud, AzureUSGovernmentCloud, AzureChinaCloud or Custom".to_owned()
    })
}

fn guid(text: &str) -> Result<String, String> {
    if is_guid(text) {
        Ok(text.to_owned())
    } else {
        Err("it is a GUID, like 11111111-2222-3333-4444-555555555555".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write it like 90s, 5m or 1h30m".to_owned())
}

/// The minor version of `1.36`, `v1.36.3` or `36`.
fn minor(text: &str) -> Result<u32, String> {
    let text = text.trim_start_matches('v');
    let minor = match text.split_once('.') {
        Some(("1", rest)) => rest.split('.').next().unwrap_or_default(),
        Some(_) => "",
        None => text,
    };
    minor.parse().map_err(|_| "write it like 1.36".to_owned())
}
