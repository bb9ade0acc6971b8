//! `vkc remove-connector`.

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;

use super::api::{Cluster, kept_by};
use super::args::RemoveArgs;
use super::progress::{Gone, Terminal, until_gone, warn};
use super::{compare_server, facts};
use crate::api::{DeletionPolicy, Os, OsType, VirtualKubeletConnector, node_name};
use crate::azure::Endpoints;
use crate::azure::resources::normal_region;
use crate::kube::call::{TIMEOUT, call, optional};

/// What a removal leaves of a connector.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    /// The node of this operating system.
    Node(OsType),
}

/// Why there is nothing to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("connector {name} has no {os} node, only {has}; give --os-type {has}")]
    NoSuchNode {
        name: String,
        os: &'static str,
        has: &'static str,
    },
    #[error("connector {name} is in region {is}, not {asked}; nothing was removed")]
    OtherRegion {
        name: String,
        is: String,
        asked: String,
    },
}

/// What is left once the nodes of `asked` are gone.
fn left(name: &str, has: OsType, asked: OsType) -> Result<Left, Refusal> {
    let (has, asked) = (has.operating_systems(), asked.operating_systems());
    let missing = asked.iter().find(|os| !has.contains(os));
    // `Both` takes all that there is, as a second run would after a first that took one.
    if let (Some(missing), [only]) = (missing, has.as_slice())
        && asked.len() == 1
    {
        return Err(Refusal::NoSuchNode {
            name: name.to_owned(),
            os: missing.arm(),
            has: only.arm(),
        });
    }
    let rest = has.iter().find(|os| !asked.contains(os));
    Ok(match rest {
        None => Left::Nothing,
        Some(Os::Linux) => Left::Node(OsType::Linux),
        Some(Os::Windows) => Left::Node(OsType::Windows),
    })
}

/// Removes the nodes of one operating system, or the whole connector.
pub async fn remove(args: RemoveArgs) -> anyhow::Result<()> {
    let terminal = Terminal::new();
    let target = &args.target;
    let name = target.connector_name.as_str();
    let cluster = Cluster::connect(target).await?;
    if let (Some(aks), Some(group)) = (&target.name, &target.resource_group) {
        let login = facts::login(target.subscription.as_deref()).await;
        let endpoints = Endpoints::public();
        match super::azure::reader(&endpoints, login.as_ref(), None, None, None)? {
            Some(arm) => {
                let facts = facts::read(&arm, group, aks, false).await?;
                compare_server(target, &cluster, &facts)?;
            }
            None => warn(
                "nobody is logged in to the Azure CLI, so the kubeconfig's server was not compared with that of the cluster",
            ),
        }
    }
    let Some(connector) = cluster.connector(name).await? else {
        return finish_earlier(&cluster, name, terminal).await;
    };
    let spec = &connector.spec;
    if let Some(location) = &args.location
        && normal_region(location) != spec.region
    {
        bail!(Refusal::OtherRegion {
            name: name.to_owned(),
            is: spec.region.clone(),
            asked: normal_region(location),
        });
    }
    let left = left(name, spec.os_type, args.os_type)?;
    if let Some(manager) = kept_by(&connector) {
        warn(&format!(
            "connector {name} is managed by {manager}, which brings it back; remove it there"
        ));
    }
    match left {
        Left::Nothing => remove_all(&args, &cluster, &connector, terminal).await,
        Left::Node(rest) => remove_one(&args, &cluster, &connector, rest, terminal).await,
    }
}

/// The connector is gone; what a run before this one has left goes, too.
async fn finish_earlier(cluster: &Cluster, name: &str, terminal: Terminal) -> anyhow::Result<()> {
    // Asked first: without the kind there is no connector of any name.
    let names = cluster.connector_names().await?;
    if cluster.delete_rest(name).await? {
        terminal.say(&format!(
            "connector {name} was gone; deleted its rights and credentials"
        ));
        return Ok(());
    }
    match names.as_slice() {
        [] => bail!("there is no connector {name}, and no other"),
        names => bail!(
            "there is no connector {name}; there are: {}",
            names.join(", ")
        ),
    }
}

async fn remove_all(
    args: &RemoveArgs,
    cluster: &Cluster,
    connector: &VirtualKubeletConnector,
    terminal: Terminal,
) -> anyhow::Result<()> {
    let name = &args.target.connector_name;
    let wanted = if args.graceful {
        DeletionPolicy::Drain
    } else {
        DeletionPolicy::Delete
    };
    match connector.spec.deletion_policy {
        // Whoever wants to keep the container groups has said so.
        DeletionPolicy::Orphan => warn(&format!(
            "spec.deletionPolicy of connector {name} is Orphan: its container groups stay in Azure and are billed"
        )),
        policy if policy == wanted => {}
        _ => {
            let policy = json!({"spec": {"deletionPolicy": wanted}});
            cluster.patch_connector(name, policy).await?;
        }
    }
    let api = cluster.connectors();
    let params = DeleteParams::default();
    let asked = api.delete(name, &params);
    optional("delete the connector", TIMEOUT, asked).await?;
    terminal.say(&format!("connector {name} is being removed"));
    until_gone(
        cluster,
        connector,
        &Gone::Connector,
        args.target.timeout,
        terminal,
    )
    .await
    .context("the same command again waits on")?;
    cluster.delete_rest(name).await?;
    terminal.say(&format!(
        "connector {name}, its nodes, rights and credentials are gone"
    ));
    Ok(())
}

async fn remove_one(
    args: &RemoveArgs,
    cluster: &Cluster,
    connector: &VirtualKubeletConnector,
    rest: OsType,
    terminal: Terminal,
) -> anyhow::Result<()> {
    let name = &args.target.connector_name;
    let os = if rest == OsType::Linux {
        Os::Windows
    } else {
        Os::Linux
    };
    let node = node_name(name, os, &connector.spec.region);
    let change = json!({"spec": {"osType": rest}});
    cluster.patch_connector(name, change).await?;
    terminal.say(&format!("node {node} is being removed"));
    if !args.graceful {
        delete_pods(cluster, &node).await?;
    }
    let gone = Gone::Node(node.clone());
    until_gone(cluster, connector, &gone, args.target.timeout, terminal)
        .await
        .context("the same command again waits on")?;
    terminal.say(&format!("node {node} is gone"));
    Ok(())
}

/// Deletes the pods of a node, whatever their disruption budgets say.
async fn delete_pods(cluster: &Cluster, node: &str) -> anyhow::Result<()> {
    let all: Api<Pod> = Api::all(cluster.client.clone());
    let bound = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = call("list the pods", TIMEOUT, all.list(&bound)).await?;
    let params = DeleteParams::default();
    for pod in pods {
        let namespace = pod.namespace().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(cluster.client.clone(), &namespace);
        let name = pod.name_any();
        let asked = api.delete(&name, &params);
        optional("delete the pod", TIMEOUT, asked).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        use OsType::{Both, Linux, Windows};
        for (has, asked, wanted) in [
            (Both, Both, Ok(Left::Nothing)),
            (Both, Linux, Ok(Left::Node(Windows))),
            (Both, Windows, Ok(Left::Node(Linux))),
            (Linux, Linux, Ok(Left::Nothing)),
            (Linux, Both, Ok(Left::Nothing)),
            (Windows, Both, Ok(Left::Nothing)),
            (
                Linux,
                Windows,
                Err(Refusal::NoSuchNode {
                    name: "c".to_owned(),
                    os: "Windows",
                    has: "Linux",
                }),
            ),
        ] {
            assert_eq!(left("c", has, asked), wanted, "{has:?} {asked:?}");
        }
    }
}
