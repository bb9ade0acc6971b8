use std::collections::HashSet;

use super::{page, rows};

#[test]
fn every_row_is_there_once() {
    let mut seen = HashSet::new();
    for row in rows() {
        assert!(seen.insert(row.field), "{} twice", row.field);
    }
}

#[test]
fn pod_support_page() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pod-support.md");
    let page = page();
    if std::env::var_os("VKC_UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/pod-support.md is stale: VKC_UPDATE=1 cargo test --lib pod_support_page"
    );
}

/// Members of the Kubernetes type `T`, as its schema spells them.
fn members<T: schemars::JsonSchema>() -> Vec<String> {
    let schema = schemars::schema_for!(T);
    let properties = schema
        .as_value()
        .get("properties")
        .and_then(|value| value.as_object())
        .unwrap();
    properties.keys().cloned().collect()
}

#[test]
fn every_field_of_kubernetes_has_a_row() {
    use k8s_openapi::api::core::v1::{
        Container, ContainerPort, EnvVar, HTTPGetAction, PodSecurityContext, PodSpec, Probe,
        ResourceRequirements, SecurityContext, Volume, VolumeMount,
    };
    let types: [(&str, Vec<String>); 11] = [
        ("spec", members::<PodSpec>()),
        ("spec.securityContext", members::<PodSecurityContext>()),
        ("spec.containers[]", members::<Container>()),
        ("spec.containers[].env[]", members::<EnvVar>()),
        ("spec.containers[].*Probe", members::<Probe>()),
        (
            "spec.containers[].*Probe.httpGet",
            members::<HTTPGetAction>(),
        ),
        ("spec.containers[].ports[]", members::<ContainerPort>()),
        (
            "spec.containers[].resources",
            members::<ResourceRequirements>(),
        ),
        (
            "spec.containers[].securityContext",
            members::<SecurityContext>(),
        ),
        ("spec.containers[].volumeMounts[]", members::<VolumeMount>()),
        ("spec.volumes[]", members::<Volume>()),
    ];
    let known: HashSet<&str> = rows().map(|row| row.field).collect();
    let missing: Vec<String> = types
        .iter()
        .flat_map(|(at, names)| names.iter().map(move |name| format!("{at}.{name}")))
        .filter(|field| !known.contains(field.as_str()))
        .collect();
    assert!(missing.is_empty(), "no verdict for {missing:?}");
}
