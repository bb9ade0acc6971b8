//! The operator, by helm: the program that the person has, so that the release is his.

use std::time::Duration;

use tokio::process::Command;

use super::args::{OperatorArgs, Target};
use super::facts::Facts;
use super::identity::Choice;

/// Where the chart of a release is.
const CHART: &str = "oci://ghcr.io/virtual-kubelet-connector/charts/virtual-kubelet-connector";
/// Name of the release, as in docs/install.md.
const RELEASE: &str = "vkc";
/// Beyond what helm itself waits.
const GRACE: Duration = Duration::from_secs(30);

/// Why there is no operator.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelmError {
    #[error("helm cannot be run ({0}); --chart-url and --image-tag need it: https://helm.sh")]
    NoHelm(std::io::Error),
    #[error("helm did not end within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("helm has failed, as it says above; nothing else was written")]
    Failed,
}

/// Whether the operator is to be installed or upgraded.
pub(super) fn is_wanted(args: &OperatorArgs) -> bool {
    args.chart_url.is_some() || args.image_tag.is_some()
}

/// Arguments of helm. `install` makes a release where there is none.
pub(super) fn arguments(
    target: &Target,
    operator: &OperatorArgs,
    facts: &Facts,
    choice: &Choice,
    install: bool,
) -> Vec<String> {
    let chart = operator.chart_url.as_deref().unwrap_or(CHART);
    let mut arguments: Vec<String> = ["upgrade", RELEASE, chart].map(String::from).into();
    let mut flag = |name: &str, value: String| arguments.push(format!("--{name}={value}"));
    flag("namespace", target.namespace.clone());
    flag("timeout", format!("{}s", target.timeout.as_secs()));
    if operator.chart_url.is_none() {
        flag("version", env!("CARGO_PKG_VERSION").to_owned());
    }
    if let Some(file) = &target.kubeconfig {
        flag("kubeconfig", file.display().to_string());
    }
    if let Some(context) = &target.context {
        flag("kube-context", context.clone());
    }
    if let Some(tag) = &operator.image_tag {
        flag("set-string", format!("image.tag={}", quoted(tag)));
    }
    if let Some(cluster) = &facts.cluster {
        let dns = &cluster.properties.network_profile.dns_service_ip;
        if !dns.is_empty() {
            flag("set-string", format!("clusterDNS={{{}}}", quoted(dns)));
        }
        if let Some(host) = cluster.hosts().next() {
            flag(
                "set-string",
                format!("kubernetesServiceHost={}", quoted(host)),
            );
        }
    }
    if let Choice::Workload(client) = choice {
        let value = "credentials.workloadIdentity";
        flag("set", format!("{value}.enabled=true"));
        flag("set-string", format!("{value}.clientID={client}"));
    }
    arguments.extend(["--wait", "--reset-then-reuse-values"].map(String::from));
    if install {
        arguments.extend(["--install", "--create-namespace"].map(String::from));
    }
    arguments
}

/// A value in `--set`, where commas and dots of keys have a meaning.
fn quoted(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace(',', "\\,")
        .replace(['{', '}'], "")
}

/// Runs helm; what it says goes to the terminal.
pub(super) async fn run(arguments: &[String], timeout: Duration) -> Result<(), HelmError> {
    let timeout = timeout + GRACE;
    let mut child = Command::new("helm")
        .args(arguments)
        .kill_on_drop(true)
        .spawn()
        .map_err(HelmError::NoHelm)?;
    match tokio::time::timeout(timeout, child.wait()).await {
        Err(_) => Err(HelmError::Timeout(timeout)),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(_) => Err(HelmError::Failed),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::super::args::InstallArgs;
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: InstallArgs,
    }

    fn arguments_of(line: &[&str], facts: &Facts, install: bool) -> String {
        let line = ["x"].iter().chain(line);
        let args = Line::parse_from(line).args;
        let choice = Choice::Operator;
        arguments(&args.target, &args.operator, facts, &choice, install).join(" ")
    }

    #[test]
    fn the_chart_of_the_release_with_another_image() {
        let none = Facts::default();
        let line = ["--image-tag", "1.2.3", "--context", "c"];
        assert_eq!(
            arguments_of(&line, &none, true),
            format!(
                "upgrade vkc {CHART} --namespace=vkc-system --timeout=300s --version={} --kube-context=c --set-string=image.tag=1.2.3 --wait --reset-then-reuse-values --install --create-namespace",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn a_chart_of_ones_own_and_what_the_cluster_says() {
        let facts = Facts {
            cluster: Some(
                serde_json::from_value(json!({"properties": {
                    "fqdn": "aks.example.com", "networkProfile": {"dnsServiceIP": "10.0.0.10"}}}))
                .unwrap(),
            ),
            ..Facts::default()
        };
        assert_eq!(
            arguments_of(
                &["--chart-url", "./chart", "--namespace", "n"],
                &facts,
                false
            ),
            "upgrade vkc ./chart --namespace=n --timeout=300s --set-string=clusterDNS={10.0.0.10} --set-string=kubernetesServiceHost=aks.example.com --wait --reset-then-reuse-values"
        );
    }
}
