//! Before anything is written: the secret, who is logged in, the cluster, and the plan that comes of them.

use anyhow::{Context as _, bail};

use super::args::{InstallArgs, Target};
use super::azure;
use super::facts::{self, Facts, Login};
use super::identity::{self, Choice};
use super::plan::{self, Known, Plan, Principal};
use super::progress::warn;
use crate::api::VirtualKubeletConnector;
use crate::azure::{ArmClient, Endpoints};
use crate::connector::identity::Environment;
use crate::connector::validate;

/// All that was found out, and the plan that came of it.
pub(super) struct Looked {
    pub(super) facts: Facts,
    pub(super) choice: Choice,
    /// Who reads Azure, where anybody can.
    pub(super) arm: Option<ArmClient>,
    pub(super) endpoints: Endpoints,
    pub(super) plan: Plan,
}

impl Looked {
    /// Whether anything is to be written.
    pub(super) fn changes(&self) -> bool {
        !self.plan.connector.is_none() || self.plan.secret.is_some()
    }
}

/// Reads secret, login and cluster, and plans.
///
/// # Errors
/// What is missing or wrong; nothing was written. `adds` lets an existing connector get a node that it lacks.
pub(super) async fn look(
    args: &InstallArgs,
    existing: Option<&VirtualKubeletConnector>,
    adds: bool,
) -> anyhow::Result<Looked> {
    let environment = Environment::read(|name| std::env::var(name).ok());
    if args.identity.client_secret.is_some() {
        warn(
            "--client-secret is visible to others on this machine; use AZURE_CLIENT_SECRET or --client-secret-file",
        );
    }
    let ca = match &args.cloud.ca_file {
        Some(file) => {
            let pem = tokio::fs::read(file).await;
            Some(pem.with_context(|| format!("cannot read {}", file.display()))?)
        }
        None => None,
    };
    let (cloud, custom) = match existing {
        Some(existing) => (existing.spec.cloud, existing.spec.custom_cloud.clone()),
        None => plan::cloud(&args.cloud, ca.as_deref())?,
    };
    let endpoints = validate::endpoints(cloud, custom.as_ref())
        .map_err(|problem| anyhow::anyhow!(problem.message))?;
    let subscription = args.target.subscription.clone();
    let subscription = subscription.or_else(|| environment.subscription_id.clone());
    // The Azure CLI is logged in to one of Azure's own clouds, and knows nothing of others.
    let login = match &custom {
        Some(_) => None,
        None => facts::login(subscription.as_deref()).await,
    };
    let subscription = subscription.or_else(|| login.as_ref().map(|login| login.id.clone()));
    let tenant = args.identity.tenant.clone();
    let tenant = tenant.or_else(|| environment.tenant_id.clone());
    let tenant = tenant.or_else(|| login.as_ref().map(|login| login.tenant_id.clone()));

    // Once without the cluster: its principal may be the one that reads it.
    let exists = existing.is_some();
    let first = identity::choose(&args.identity, &environment, None, exists);
    let principal = |choice: &Choice| match choice {
        Choice::ServicePrincipal(client) => {
            let secret = identity::secret(client, &args.identity, &environment)?;
            let client_id = client.clone();
            Ok::<_, anyhow::Error>(Some(Principal { client_id, secret }))
        }
        _ => Ok(None),
    };
    let mut given = match &first {
        Ok(choice) => principal(choice)?,
        Err(_) => None,
    };
    let arm = azure::reader(
        &endpoints,
        login.as_ref(),
        given.as_ref(),
        tenant.as_deref(),
        subscription.as_deref(),
    )?;
    let facts = read_cluster(args, arm.as_ref(), login.as_ref()).await?;
    let choice = identity::choose(&args.identity, &environment, facts.cluster.as_ref(), exists)?;
    if given.is_none() {
        given = principal(&choice)?;
    }
    let known = Known {
        facts: &facts,
        choice: &choice,
        principal: given,
        tenant,
        subscription,
        existing,
        ca,
        adds,
    };
    let plan = plan::plan(args, &known)?;
    Ok(Looked {
        facts,
        choice,
        arm,
        endpoints,
        plan,
    })
}

async fn read_cluster(
    args: &InstallArgs,
    arm: Option<&ArmClient>,
    login: Option<&Login>,
) -> anyhow::Result<Facts> {
    let Target {
        name: Some(name),
        resource_group: Some(group),
        ..
    } = &args.target
    else {
        return Ok(Facts::default());
    };
    let Some(arm) = arm else {
        bail!(
            "cluster {name} cannot be read: {}",
            if login.is_some() {
                "the Azure CLI's login is for Azure's own clouds; give --service-principal, its secret, --tenant and --subscription"
            } else {
                "run az login, or give --service-principal, its secret, --tenant and --subscription"
            }
        );
    };
    let wants_subnet = args.subnet.is_none() && !args.no_public_ip;
    Ok(facts::read(arm, group, name, wants_subnet).await?)
}
