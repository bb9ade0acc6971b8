//! `vkc install-connector`, `upgrade-connector` and `remove-connector`: the commands of `az aks` for people at a terminal.
//!
//! Everything that can be known before is asked before: arguments, the cluster, Azure, and the API server by a dry run.
//! Then a Secret, the rights and a connector are written; the operator does the rest. A second run finishes what the first
//! could not. [`plan`] and [`manifest`] are pure.

mod api;
pub mod args;
mod azure;
mod facts;
mod helm;
mod identity;
mod look;
mod manifest;
mod plan;
mod progress;
mod remove;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Secret;

use crate::api::VirtualKubeletConnector;
use crate::azure::SubnetPath;
use api::{Cluster, Mode, kept_by};
use args::{InstallArgs, Target};
use facts::Facts;
use identity::Choice;
use look::{Looked, look};
use plan::Change;
use progress::{Terminal, node_table, until_ready, warn};

pub use remove::remove;

/// Whether a connector is to be there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Install,
    Upgrade,
}

/// Makes a connector, or gives an existing one what it lacks; waits until it is ready.
pub async fn install(args: InstallArgs) -> anyhow::Result<()> {
    Box::pin(run(Verb::Install, args)).await
}

/// Brings the operator or an existing connector up to date; waits until it is ready.
pub async fn upgrade(args: InstallArgs) -> anyhow::Result<()> {
    if args.dry_run {
        bail!("--dry-run is for install-connector");
    }
    Box::pin(run(Verb::Upgrade, args)).await
}

async fn run(verb: Verb, args: InstallArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    // A dry run knows no cluster: it is for Git.
    let cluster = if args.dry_run {
        None
    } else {
        Some(Cluster::connect(&args.target).await?)
    };
    let existing = match &cluster {
        Some(cluster) => cluster.connector(&args.target.connector_name).await?,
        None => None,
    };
    if verb == Verb::Upgrade && existing.is_none() {
        bail!(
            "there is no connector {} to upgrade; install-connector makes one",
            args.target.connector_name
        );
    }
    let known = look(&args, existing.as_ref(), verb == Verb::Install).await?;
    let plan = &known.plan;
    for note in &known.facts.notes {
        warn(note);
    }
    if let Some(cluster) = &cluster {
        compare_server(&args.target, cluster, &known.facts)?;
    }
    advise(&args, &known, existing.as_ref()).await;
    let Some(cluster) = cluster else {
        if plan.secret.is_some() {
            warn("the output has the client secret in it; encrypt it before it goes to Git");
        }
        let text = manifest::yaml(plan, args.kubernetes_version >= plan::CONSTRAINED_SINCE)?;
        print!("{text}");
        return Ok(());
    };
    Box::pin(check_azure(&cluster, &known, terminal)).await?;
    if helm::is_wanted(&args.operator) {
        let (target, operator) = (&args.target, &args.operator);
        let install = verb == Verb::Install;
        let line = helm::arguments(target, operator, &known.facts, &known.choice, install);
        terminal.say(&format!("$ helm {}", line.join(" ")));
        helm::run(&line, target.timeout).await?;
    } else if verb == Verb::Upgrade && !known.changes() {
        bail!(
            "there is nothing to upgrade: give --image-tag or --chart-url for the operator, or what the connector is to have"
        );
    }
    write(&args, &cluster, &known, terminal).await
}

/// Dry run, write, wait, and show what came of it.
async fn write(
    args: &InstallArgs,
    cluster: &Cluster,
    known: &Looked,
    terminal: Terminal,
) -> anyhow::Result<()> {
    let plan = &known.plan;
    cluster.check_installed().await?;
    let constrained = cluster.is_constrained().await?;
    cluster
        .write(plan, constrained, Mode::Try)
        .await
        .context("nothing was written")?;
    cluster.write(plan, constrained, Mode::Write).await?;
    let what = match &plan.connector {
        Change::Create(_) => "made",
        Change::Patch(_) => "brought up to date",
    };
    terminal.say(&format!("connector {} is {what}", plan.name));
    until_ready(cluster, &plan.name, args.target.timeout, terminal).await?;
    terminal.say(&format!("connector {} is ready", plan.name));
    print!("{}", node_table(cluster, &plan.name).await?);
    Ok(())
}

/// That the kubeconfig leads to the managed cluster that was named.
fn compare_server(target: &Target, cluster: &Cluster, facts: &Facts) -> anyhow::Result<()> {
    if let (Some(name), Some(aks), false) = (&target.name, &facts.cluster, target.any_server) {
        cluster.is_at(name, aks.hosts())?;
    }
    Ok(())
}

/// What a person should know and nothing fails of.
async fn advise(args: &InstallArgs, known: &Looked, existing: Option<&VirtualKubeletConnector>) {
    let Looked {
        facts,
        choice,
        arm,
        plan,
        ..
    } = known;
    if let Some(manager) = existing.and_then(kept_by)
        && !plan.connector.is_none()
    {
        warn(&format!(
            "connector {} is managed by {manager}, which may undo this; change it there",
            plan.name
        ));
    }
    let cluster = facts.cluster.as_ref();
    if let Some(id) = &plan.spec.subnet_id {
        let subnet = match (&facts.subnet, arm, SubnetPath::parse(id)) {
            (Some(subnet), ..) => Some(subnet.clone()),
            (None, Some(arm), Some(path)) => arm.subnet(&path).await.ok(),
            _ => None,
        };
        if let Some(text) = subnet.as_ref().and_then(facts::no_way_out) {
            warn(&text);
        }
        let dns = cluster.map(|it| it.properties.network_profile.dns_service_ip.as_str());
        if let Some(dns) = dns.filter(|dns| !dns.is_empty())
            && plan.spec.network.cluster_dns.is_empty()
            && !helm::is_wanted(&args.operator)
        {
            warn(&format!(
                "pods find the cluster's services only by its DNS: put spec.network.clusterDNS [{dns}] into the connector, or start the operator with --cluster-dns {dns}"
            ));
        }
    }
    match choice {
        Choice::Operator => warn(
            "no identity was given: the connector uses that of the operator's own pod; --service-principal, --workload-identity, --managed-identity or --credentials-secret give another",
        ),
        Choice::Workload(client) => {
            let issuer = cluster.map(|it| it.properties.oidc_issuer_profile.issuer_url.as_str());
            let issuer = issuer.filter(|it| !it.is_empty()).unwrap_or("ISSUER");
            warn(&format!(
                "identity {client} has to trust the operator's service account: az identity federated-credential create --name vkc --identity-name IDENTITY --resource-group {} --issuer {issuer} --subject system:serviceaccount:{}:vkc --audiences api://AzureADTokenExchange",
                plan.spec.aci_resource_group, plan.namespace
            ));
        }
        _ => {}
    }
}

/// What the operator would find out, before anything is written.
async fn check_azure(cluster: &Cluster, known: &Looked, terminal: Terminal) -> anyhow::Result<()> {
    let secret: Option<Secret> = match (&known.plan.secret, &known.choice) {
        (Some(secret), _) => Some(secret.clone()),
        (None, Choice::Secret(name)) => {
            let found = cluster.secret(name).await?;
            Some(found.with_context(|| {
                format!(
                    "there is no Secret {name} in namespace {}",
                    known.plan.namespace
                )
            })?)
        }
        (None, _) => None,
    };
    match (&secret, &known.arm) {
        (Some(secret), _) => {
            for note in azure::check(&known.plan, secret).await? {
                warn(&note);
            }
            terminal.say("Azure accepts the credentials, and all is there that they need");
        }
        (None, Some(arm)) => {
            azure::check_as(&known.plan, arm, &known.endpoints, &known.choice).await?;
        }
        // The operator says it, while we wait.
        (None, None) => {}
    }
    Ok(())
}
