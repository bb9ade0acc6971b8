use std::collections::HashSet;

use k8s_openapi::api::core::v1;

use super::{page, rows};
use crate::translate::testing::is_written;

#[test]
fn every_row_is_there_once() {
    let mut seen = HashSet::new();
    for row in rows() {
        assert!(seen.insert(row.field), "{} twice", row.field);
    }
}

#[test]
fn pod_support_page() {
    is_written("pod-support.md", &page(), "pod_support_page");
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
    let types: Vec<(&str, Vec<String>)> = vec![
        ("spec", members::<v1::PodSpec>()),
        ("spec.securityContext", members::<v1::PodSecurityContext>()),
        ("spec.containers[]", members::<v1::Container>()),
        ("spec.containers[].*Probe", members::<v1::Probe>()),
        (
            "spec.containers[].*Probe.httpGet",
            members::<v1::HTTPGetAction>(),
        ),
        ("spec.containers[].ports[]", members::<v1::ContainerPort>()),
        (
            "spec.containers[].resources",
            members::<v1::ResourceRequirements>(),
        ),
        (
            "spec.containers[].securityContext",
            members::<v1::SecurityContext>(),
        ),
        (
            "spec.containers[].volumeMounts[]",
            members::<v1::VolumeMount>(),
        ),
        ("spec.volumes[]", members::<v1::Volume>()),
    ];
    without_row(&types);
}

#[test]
fn every_field_of_an_environment_has_a_row() {
    let from = |member: &str| format!("spec.containers[].env[].valueFrom.{member}");
    let all_from = |member: &str| format!("spec.containers[].envFrom[].{member}");
    let types = [
        (
            "spec.containers[].env[]".to_owned(),
            members::<v1::EnvVar>(),
        ),
        (
            "spec.containers[].env[].valueFrom".to_owned(),
            members::<v1::EnvVarSource>(),
        ),
        (
            from("configMapKeyRef"),
            members::<v1::ConfigMapKeySelector>(),
        ),
        (from("fieldRef"), members::<v1::ObjectFieldSelector>()),
        (
            from("resourceFieldRef"),
            members::<v1::ResourceFieldSelector>(),
        ),
        (from("secretKeyRef"), members::<v1::SecretKeySelector>()),
        (
            "spec.containers[].envFrom[]".to_owned(),
            members::<v1::EnvFromSource>(),
        ),
        (
            all_from("configMapRef"),
            members::<v1::ConfigMapEnvSource>(),
        ),
        (all_from("secretRef"), members::<v1::SecretEnvSource>()),
    ];
    without_row(&types);
}

#[test]
fn every_field_of_a_volume_s_source_has_a_row() {
    let of = |source: &str| format!("spec.volumes[].{source}");
    let types = [
        (of("*.items[]"), members::<v1::KeyToPath>()),
        (of("*.items[]"), members::<v1::DownwardAPIVolumeFile>()),
        (of("azureFile"), members::<v1::AzureFileVolumeSource>()),
        (of("configMap"), members::<v1::ConfigMapVolumeSource>()),
        (of("csi"), members::<v1::CSIVolumeSource>()),
        (of("downwardAPI"), members::<v1::DownwardAPIVolumeSource>()),
        (of("emptyDir"), members::<v1::EmptyDirVolumeSource>()),
        (of("ephemeral"), members::<v1::EphemeralVolumeSource>()),
        (of("gitRepo"), members::<v1::GitRepoVolumeSource>()),
        (
            of("persistentVolumeClaim"),
            members::<v1::PersistentVolumeClaimVolumeSource>(),
        ),
        (of("projected"), members::<v1::ProjectedVolumeSource>()),
        (of("projected.sources[]"), members::<v1::VolumeProjection>()),
        (
            of("projected.sources[].configMap"),
            members::<v1::ConfigMapProjection>(),
        ),
        (
            of("projected.sources[].downwardAPI"),
            members::<v1::DownwardAPIProjection>(),
        ),
        (
            of("projected.sources[].secret"),
            members::<v1::SecretProjection>(),
        ),
        (
            of("projected.sources[].serviceAccountToken"),
            members::<v1::ServiceAccountTokenProjection>(),
        ),
        (of("secret"), members::<v1::SecretVolumeSource>()),
    ];
    without_row(&types);
}

/// Fails when a member of one of the `types` has no row.
fn without_row(types: &[(impl AsRef<str>, Vec<String>)]) {
    let known: HashSet<&str> = rows().map(|row| row.field).collect();
    let missing: Vec<String> = types
        .iter()
        .flat_map(|(at, names)| {
            let at = at.as_ref();
            names.iter().map(move |name| format!("{at}.{name}"))
        })
        .filter(|field| !known.contains(field.as_str()))
        .collect();
    assert!(missing.is_empty(), "no verdict for {missing:?}");
}
