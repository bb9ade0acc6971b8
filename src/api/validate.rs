//! What admission cannot check: the schema and CEL see one object's text, not what it means.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{ContainerGroupSku, HostPort, Os, VirtualKubeletConnectorSpec, parse_quantity};

/// Something in the spec that only its author can put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, such as `spec.subnetID`.
    pub field: String,
    /// What is wrong and what to do, in one sentence without a period.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message)
    }
}

fn problem(field: impl Into<String>, message: impl Into<String>) -> Problem {
    Problem {
        field: field.into(),
        message: message.into(),
    }
}

/// Whether `text` is a GUID, as Azure writes subscription, tenant and client IDs.
pub fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.chars().all(|c| c.is_ascii_hexdigit()))
}

/// Everything wrong with the spec, in the order of its fields; empty when it can be acted on.
pub fn validate(spec: &VirtualKubeletConnectorSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(bundle) = spec
        .custom_cloud
        .as_ref()
        .and_then(|cloud| cloud.ca_bundle.as_deref())
    {
        problems.extend(
            certificates(bundle)
                .err()
                .map(|message| problem("spec.customCloud.caBundle", message)),
        );
    }
    if let Some(subscription) = &spec.subscription_id {
        problems.extend(subnet_problem(spec, subscription));
    }
    for server in &spec.network.cluster_dns {
        if server.parse::<IpAddr>().is_err() {
            problems.push(problem(
                "spec.network.clusterDNS",
                format!("{server:?} is not an IP address"),
            ));
        }
    }
    if let Some(host) = &spec.network.kubernetes_service_host
        && let Err(message) = host.parse::<HostPort>()
    {
        problems.push(problem("spec.network.kubernetesServiceHost", message));
    }
    let windows = spec.operating_systems().contains(&Os::Windows);
    if windows && spec.on(Os::Windows).container_group.sku == ContainerGroupSku::Confidential {
        problems.push(problem(
            "spec.containerGroup.sku",
            "the SKU Confidential is for Linux, and the connector has a Windows node; set osType to Linux, or let pods ask \
             for the SKU by the annotation virtual-kubelet.io/sku",
        ));
    }
    let (linux, windows) = (&spec.linux, &spec.windows);
    let capacities = [
        ("spec.node.capacity", &spec.node.capacity),
        ("spec.linux.node.capacity", &linux.node.capacity),
        ("spec.windows.node.capacity", &windows.node.capacity),
    ];
    let requests = [
        (
            "spec.containerGroup.requests",
            &spec.container_group.requests,
        ),
        (
            "spec.linux.containerGroup.requests",
            &linux.container_group.requests,
        ),
        (
            "spec.windows.containerGroup.requests",
            &windows.container_group.requests,
        ),
    ];
    let maps = capacities.into_iter().chain(requests);
    for (field, map) in maps {
        for (key, text) in map {
            if parse_quantity(text).is_none_or(|value| value < 0.0) {
                problems.push(problem(
                    format!("{field}.{key}"),
                    format!("{text:?} is not a quantity; write a non-negative number such as 2, 500m or 1.5Gi"),
                ));
            }
        }
    }
    for (field, capacity) in capacities {
        let pods = capacity.get("pods").and_then(|text| parse_quantity(text));
        if pods.is_some_and(|pods| pods.fract() != 0.0) {
            problems.push(problem(
                format!("{field}.pods"),
                "the number of pods must be a whole number",
            ));
        }
    }
    let mut seen = BTreeSet::new();
    for name in spec.tags.keys() {
        // ARM compares tag names without regard to case (limits of Azure Resource Manager tags).
        if !seen.insert(name.to_lowercase()) {
            problems.push(problem(
                "spec.tags",
                format!("tag {name} is there twice: Azure ignores the case of tag names"),
            ));
        }
    }
    problems
}

/// Whether `spec.subnetID` lies outside the subscription in use, which ACI refuses: a container group's subnet must
/// be in the group's subscription.
pub fn subnet_problem(spec: &VirtualKubeletConnectorSpec, subscription: &str) -> Option<Problem> {
    let subnet = spec.subnet_id.as_deref()?;
    let of_subnet = subnet.split('/').nth(2).unwrap_or_default();
    (!of_subnet.eq_ignore_ascii_case(subscription)).then(|| {
        problem(
            "spec.subnetID",
            format!("the subnet is in subscription {of_subnet} and the container groups in {subscription}; they must be in the same one"),
        )
    })
}

/// The certificates of a `caBundle`: base64 of PEM with at least one certificate.
///
/// # Errors
/// A sentence that says what is wrong with the bundle.
pub fn certificates(ca_bundle: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = STANDARD.decode(ca_bundle.trim()).map_err(|error| {
        format!("the bundle is not base64 ({error}); encode the PEM file with `base64 -w0`")
    })?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the bundle is not PEM ({error})"))?;
    if certificates.is_empty() {
        return Err("the bundle holds no PEM certificate (BEGIN CERTIFICATE)".to_owned());
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
