//! What becomes of the pods of rendered charts, for `cargo xtask bench --only charts`: a page of Markdown.
//!
//! Arguments are files, or directories of them. A `.yaml` is what `helm template` prints, and is called after itself; a line
//! of a `.jsonl` is `{"id": [REPOSITORY, CHART, KIND, NAME], "pod": {…}}`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use vkc::api::Os;
use vkc::translate::{
    ClusterDns, GroupDefaults, Ownership, PodKey, Resolved, Translation, container_group,
};

/// A pod template and where it is from.
struct Workload {
    chart: String,
    kind: String,
    pod: Value,
}

/// What becomes of it: the fields that are refused, or those that are told.
struct Outcome {
    refused: BTreeSet<String>,
    told: BTreeSet<String>,
}

fn main() {
    let mut workloads = Vec::new();
    for path in std::env::args().skip(1) {
        read(Path::new(&path), &mut workloads);
    }
    let (daemons, workloads): (Vec<_>, Vec<_>) =
        workloads.into_iter().partition(|it| it.kind == "DaemonSet");
    let outcomes: Vec<(&Workload, Outcome)> =
        workloads.iter().map(|it| (it, outcome(it))).collect();
    totals(&outcomes, daemons.len());
    let refused = |outcome: &Outcome| outcome.refused.clone();
    reasons("Refused for", &outcomes, refused);
    reasons("Told", &outcomes, |outcome| {
        if outcome.refused.is_empty() {
            outcome.told.clone()
        } else {
            BTreeSet::new()
        }
    });
    by_chart(&outcomes);
}

fn read(path: &Path, found: &mut Vec<Workload>) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        entries.sort();
        for entry in entries {
            read(&entry, found);
        }
        return;
    }
    let chart = path.file_stem().unwrap_or_default().to_string_lossy();
    match path.extension().and_then(|it| it.to_str()) {
        Some("jsonl") => {
            let text = fs::read_to_string(path).expect("a file of text");
            for line in text.lines() {
                let line: Value = serde_json::from_str(line).expect("a line of JSON");
                let id = |n: usize| line["id"][n].as_str().unwrap_or_default().to_owned();
                found.push(Workload {
                    chart: format!("{}/{}", id(0), id(1)),
                    kind: id(2),
                    pod: line["pod"].clone(),
                });
            }
        }
        Some("yaml" | "yml") => {
            let text = fs::read_to_string(path).expect("a file of text");
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text).expect("YAML");
            found.extend(documents.iter().filter_map(|it| workload(&chart, it)));
        }
        _ => {}
    }
}

/// The pod of a workload, as its controller makes it.
fn workload(chart: &str, object: &Value) -> Option<Workload> {
    let kind = object["kind"].as_str()?;
    let template = match kind {
        "Pod" => object,
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
        "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job" => {
            &object["spec"]["template"]
        }
        _ => return None,
    };
    let mut pod = json!({"metadata": template["metadata"], "spec": template["spec"]});
    let claims = object["spec"]["volumeClaimTemplates"].as_array();
    for claim in claims.into_iter().flatten() {
        let name = &claim["metadata"]["name"];
        let volume = json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
        match pod["spec"]["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => pod["spec"]["volumes"] = json!([volume]),
        }
    }
    Some(Workload {
        chart: chart.to_owned(),
        kind: kind.to_owned(),
        pod,
    })
}

/// What the translator says of it on a Linux node in a subnet, before anything that the pod refers to is fetched.
fn outcome(workload: &Workload) -> Outcome {
    let mut pod = workload.pod.clone();
    if !pod["metadata"].is_object() {
        pod["metadata"] = json!({});
    }
    pod["metadata"]["name"] = json!("pod");
    pod["metadata"]["namespace"] = json!("apps");
    pod["metadata"]["uid"] = json!("3f0c9a52-6a3e-4b8e-9d0e-5a1f1b0d7c11");
    let pod: Pod = match serde_json::from_value(pod) {
        Ok(pod) => pod,
        Err(error) => {
            return Outcome {
                refused: BTreeSet::from([format!("no pod: {error}")]),
                told: BTreeSet::new(),
            };
        }
    };
    let defaults = GroupDefaults {
        subnet_id: Some("/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v/subnets/aci".to_owned()),
        cluster_dns: ClusterDns {
            servers: vec![[10, 0, 0, 10].into()],
            domain: "cluster.local".to_owned(),
        },
        ..GroupDefaults::new(Os::Linux, "eastus".to_owned())
    };
    let owner = Ownership {
        cluster_uid: "cluster".to_owned(),
        connector_uid: "connector".to_owned(),
        node: "node".to_owned(),
        key: PodKey::of(&pod).expect("a name, a namespace and a UID"),
        restarts: 0,
        mark: None,
    };
    match container_group(&pod, &defaults, &owner, &Resolved::default()) {
        Err(refusals) => Outcome {
            refused: refusals.0.iter().map(|it| general(&it.field)).collect(),
            told: BTreeSet::new(),
        },
        Ok(Translation { group, notes, .. }) => {
            let mut told: BTreeSet<String> = notes
                .iter()
                .filter(|note| note.reason != "NotEnforcedOnAci")
                .map(|note| general(&note.field))
                .collect();
            let not_enforced = group.tags.get("vkc-not-enforced");
            let not_enforced = not_enforced.into_iter().flat_map(|list| list.split(','));
            told.extend(not_enforced.map(|what| format!("not enforced: {what}")));
            Outcome {
                refused: BTreeSet::new(),
                told,
            }
        }
    }
}

/// `field` without its indexes, the same for containers and init containers.
fn general(field: &str) -> String {
    let mut out = String::new();
    for (n, part) in field.split('[').enumerate() {
        if n == 0 {
            out.push_str(part);
            continue;
        }
        let (inner, rest) = part.split_once(']').unwrap_or((part, ""));
        let inner = if inner.bytes().all(|b| b.is_ascii_digit()) {
            ""
        } else {
            inner
        };
        out.extend(["[", inner, "]", rest]);
    }
    out.replace("spec.initContainers[]", "spec.containers[]")
}

fn percent(part: usize, whole: usize) -> String {
    format!(
        "{part} ({} %)",
        (part * 200 + whole).checked_div(2 * whole).unwrap_or(0)
    )
}

fn totals(outcomes: &[(&Workload, Outcome)], daemons: usize) {
    let all = outcomes.len();
    let run = |it: &&(&Workload, Outcome)| it.1.refused.is_empty();
    let accepted = outcomes.iter().filter(run).count();
    let plain = outcomes
        .iter()
        .filter(run)
        .filter(|it| it.1.told.is_empty())
        .count();
    let charts: BTreeSet<&str> = outcomes.iter().map(|it| it.0.chart.as_str()).collect();
    let partly: BTreeSet<&str> = outcomes
        .iter()
        .filter(|it| !run(it))
        .map(|it| it.0.chart.as_str())
        .collect();
    println!(
        "| | of {all} workloads of {} charts |\n|---|---|",
        charts.len()
    );
    println!("| accepted | {} |", percent(accepted, all));
    println!("| of these as on any node | {} |", percent(plain, all));
    println!(
        "| of these with Events that say what differs | {} |",
        percent(accepted - plain, all)
    );
    println!("| refused | {} |", percent(all - accepted, all));
    println!(
        "| charts accepted whole | {} |",
        percent(charts.len() - partly.len(), charts.len())
    );
    println!("\n{daemons} DaemonSets are not counted.");
}

fn reasons(
    title: &str,
    outcomes: &[(&Workload, Outcome)],
    of: impl Fn(&Outcome) -> BTreeSet<String>,
) {
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (_, outcome) in outcomes {
        let fields = of(outcome);
        let alone = usize::from(fields.len() == 1);
        for field in fields {
            let count = counts.entry(field).or_default();
            *count = (count.0 + 1, count.1 + alone);
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(field, (count, _))| (usize::MAX - count, field.clone()));
    println!("\n| {title} | workloads | for nothing else |\n|---|---|---|");
    for (field, (count, alone)) in counts {
        println!("| `{field}` | {count} | {alone} |");
    }
}

fn by_chart(outcomes: &[(&Workload, Outcome)]) {
    let mut charts: BTreeMap<&str, Vec<&(&Workload, Outcome)>> = BTreeMap::new();
    for it in outcomes {
        charts.entry(it.0.chart.as_str()).or_default().push(it);
    }
    println!("\n| chart | accepted | what is refused |\n|---|---|---|");
    for (chart, outcomes) in charts {
        let accepted = outcomes.iter().filter(|it| it.1.refused.is_empty()).count();
        let refused: BTreeSet<&str> = outcomes
            .iter()
            .flat_map(|it| it.1.refused.iter().map(String::as_str))
            .collect();
        let refused: Vec<String> = refused.iter().map(|field| format!("`{field}`")).collect();
        println!(
            "| {chart} | {accepted} of {} | {} |",
            outcomes.len(),
            refused.join(", ")
        );
    }
}
