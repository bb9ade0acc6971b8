//! `config/samples/gallery` shows everything that the verdicts promise.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use vkc::translate::support::{Verdict, rows};

/// The pods of the gallery, and whether each runs.
fn pods() -> Vec<(Value, bool)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples/gallery");
    let mut pods = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        for pod in documents.into_iter().filter(|one| one["kind"] == "Pod") {
            let expect = pod["metadata"]["annotations"]["gallery/expect"].as_str();
            let runs = matches!(expect, Some("Running" | "Succeeded"));
            pods.push((pod, runs));
        }
    }
    pods
}

/// Whether `value` has the field `path`, `[]` meaning any item, `*` any member and `*Probe` any probe.
fn has(value: &Value, path: &[&str]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return true;
    };
    if *first == "*Probe" {
        return ["livenessProbe", "readinessProbe"]
            .iter()
            .any(|probe| value.get(probe).is_some_and(|probe| has(probe, rest)));
    }
    if *first == "*" {
        let mut members = value.as_object().into_iter().flatten();
        return members.any(|(_, member)| has(member, rest));
    }
    match first.strip_suffix("[]") {
        Some(list) => value
            .get(list)
            .and_then(Value::as_array)
            .is_some_and(|items| items.iter().any(|item| has(item, rest))),
        None => value.get(first).is_some_and(|field| has(field, rest)),
    }
}

#[test]
fn every_field_that_is_mapped_is_in_a_pod_of_the_gallery_that_runs() {
    let pods = pods();
    let mut missing = BTreeSet::new();
    for row in rows() {
        let field = row
            .field
            .split_once(": ")
            .map_or(row.field, |(field, _)| field);
        // The scheduler writes the first; the second needs a subnet, which the sample connector has not
        // (tests/cluster/pods/features.rs shows it).
        if field == "spec.nodeName" || field.starts_with("spec.dnsConfig") {
            continue;
        }
        let path: Vec<&str> = field.split('.').collect();
        for (os, verdict) in [("linux", row.linux), ("windows", row.windows)] {
            let shown = pods.iter().any(|(pod, runs)| {
                *runs && pod["spec"]["nodeSelector"]["kubernetes.io/os"] == os && has(pod, &path)
            });
            // On Windows every volume and init container is refused, so that nothing can show their members.
            let refused_whole = os == "windows"
                && [
                    "spec.volumes",
                    "spec.containers[].volumeMounts",
                    "spec.initContainers",
                ]
                .iter()
                .any(|whole| field.starts_with(whole));
            if verdict == Verdict::Mapped && !shown && !refused_whole {
                missing.insert(format!("{} ({os})", row.field));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "no pod of the gallery shows {missing:#?}"
    );
}

#[test]
fn the_gallery_is_applied_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples/gallery");
    let text = std::fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
    let kustomization: Value = serde_saphyr::from_str(&text).unwrap();
    let listed: BTreeSet<String> = kustomization["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    assert_eq!(listed, there);
}
