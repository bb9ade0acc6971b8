//! The chart as text: its README is its values, its version is the project's, and what it watches exists. What helm makes of it is
//! in `tests/cluster/chart.rs`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use vkc::metrics::Metrics;
use vkc::{agent, azure, connector, kube, kubelet, ownership, pods};

use super::{documents, generated, of_kind, read};

const CHART: &str = "charts/virtual-kubelet-connector";

const HEAD: &str = "\
# Chart virtual-kubelet-connector

<!-- Generated from values.yaml by `VKC_UPDATE=1 cargo test --test rules`; do not edit. -->

Kubernetes pods on Azure Container Instances. One release is the operator, its rights, and the connectors in its values:

```yaml
# values.yaml
connectors:
  virtual-kubelet:              # virtual-kubelet-virtual-kubelet-linux-eastus and -windows-eastus
    osType: Both
    region: eastus
    aciResourceGroup: aci-rg
    publicIP: true
credentials:
  existingSecret: aci-credentials
```

```sh
helm install vkc oci://ghcr.io/virtual-kubelet-connector/charts/virtual-kubelet-connector \\
  --namespace vkc-system --create-namespace --values values.yaml
kubectl wait --for=condition=Ready vkc/virtual-kubelet --timeout=2m
helm test vkc --namespace vkc-system
```

Another connector is another entry, and `helm upgrade`. One that is taken out is drained and goes. [Installation](../../docs/install.md) has \
the credentials, [removal](../../docs/uninstall.md) the way out.

* The values are checked by `values.schema.json`, which has the CRD's own schema for `connectors`: what is unknown or of the wrong type is \
refused with its path, by `helm template` as well.
* The rights follow the cluster's version: constrained impersonation from Kubernetes 1.36 on, the older kind before, never both. After an \
upgrade of the cluster across 1.36, upgrade the release.
* `helm install` makes the CRD from `crds/`, `helm upgrade` brings it up to date (Helm 4), nothing deletes it. `helm template` prints it with \
`--include-crds`.
* `helm uninstall` first removes the release's connectors and waits until they are drained: give it time with `--timeout 15m`. It stops while \
there are connectors that are not the release's.
* The pods satisfy the restricted pod security standard, and are never scheduled to virtual nodes.
";

/// A documented value: its path and what is said of it. `None` begins a group.
enum Line {
    Group(String),
    Row(Vec<String>, String),
}

/// Reads the comments of values.yaml. What is below a key with a comment belongs to it.
fn lines(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut path: Vec<(usize, String)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    let mut documented: Option<usize> = None;
    for line in text.lines() {
        let item = line.trim_start();
        let indent = line.len() - item.len();
        if let Some(group) = item.strip_prefix("## ") {
            lines.push(Line::Group(group.to_owned()));
        } else if let Some(words) = item.strip_prefix("# ") {
            // An example is indented further.
            if !words.starts_with(' ') {
                comment.push(words);
            }
        } else if item.is_empty()
            || item.starts_with('#')
            || documented.is_some_and(|from| indent > from || item.starts_with("- "))
        {
            comment.clear();
        } else {
            documented = None;
            let (key, _) = item.split_once(':').unwrap();
            path.retain(|(depth, _)| *depth < indent);
            path.push((indent, key.to_owned()));
            if !comment.is_empty() {
                let path = path.iter().map(|(_, key)| key.clone()).collect();
                lines.push(Line::Row(path, comment.join(" ")));
                documented = Some(indent);
                comment.clear();
            }
        }
    }
    lines
}

fn page(text: &str) -> String {
    let values = documents(text).remove(0);
    let mut page = HEAD.to_owned();
    for line in lines(text) {
        match line {
            Line::Group(title) => write!(
                page,
                "\n## {title}\n\n| value | default | what it is |\n|---|---|---|\n"
            ),
            Line::Row(path, about) => {
                let default = values.pointer(&format!("/{}", path.join("/"))).unwrap();
                writeln!(
                    page,
                    "| `{}` | `{default}` | {} |",
                    path.join("."),
                    about.replace('|', "\\|")
                )
            }
        }
        .unwrap();
    }
    page
}

#[test]
fn the_readme_is_what_the_values_say() {
    let text = read(&format!("{CHART}/values.yaml"));
    generated(&format!("{CHART}/README.md"), &page(&text));
}

#[test]
fn every_value_has_a_sentence() {
    fn undocumented(
        value: &Value,
        path: &str,
        known: &BTreeSet<String>,
        missing: &mut Vec<String>,
    ) {
        if known.contains(path) {
            return;
        }
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    let path = format!("{path}.{key}");
                    undocumented(value, path.trim_start_matches('.'), known, missing);
                }
            }
            _ => missing.push(path.to_owned()),
        }
    }
    let text = read(&format!("{CHART}/values.yaml"));
    let known = lines(&text).into_iter().filter_map(|line| match line {
        Line::Row(path, about) => {
            assert!(about.ends_with('.'), "{path:?}: {about}");
            Some(path.join("."))
        }
        Line::Group(_) => None,
    });
    let known = known.collect();
    let mut missing = Vec::new();
    undocumented(&documents(&text)[0], "", &known, &mut missing);
    assert!(missing.is_empty(), "{missing:?}");
    assert!(known.len() > 60, "{}", known.len());
}

#[test]
fn the_version_is_the_projects() {
    let chart = documents(&read(&format!("{CHART}/Chart.yaml"))).remove(0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&version.into(), &version.into())
    );
    let annotations = &chart["annotations"];
    let list = |name: &str| documents(annotations[name].as_str().unwrap()).remove(0);
    assert_eq!(
        list("artifacthub.io/images")[0]["image"],
        format!("ghcr.io/virtual-kubelet-connector/vkc:{version}")
    );
    assert_eq!(
        list("artifacthub.io/crds")[0]["kind"],
        "VirtualKubeletConnector"
    );
    let values = documents(&read(&format!("{CHART}/values.yaml"))).remove(0);
    assert_eq!(
        list("artifacthub.io/images")[1]["image"],
        values["kubectl"]["image"]
    );
    let example = &list("artifacthub.io/crdsExamples")[0];
    let sample = documents(&read("config/samples/connector.yaml")).remove(0);
    assert_eq!(*example, sample);
}

#[test]
fn the_folder_of_crds_has_nothing_else() {
    for folder in ["crds", &format!("{CHART}/crds")] {
        let kinds: Vec<_> = std::fs::read_dir(super::root().join(folder))
            .unwrap()
            .flat_map(|entry| documents(&std::fs::read_to_string(entry.unwrap().path()).unwrap()))
            .map(|document| document["kind"].clone())
            .collect();
        assert_eq!(kinds, ["CustomResourceDefinition"], "{folder}");
    }
}

/// `vkc_…` in expressions.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("vkc_"))
        .map(str::to_owned)
        .collect()
}

/// Every family with a child: one without is not in the text.
fn observed() -> Metrics {
    let (metrics, moment) = (Metrics::default(), Duration::from_millis(3));
    azure::Observer::call(&metrics, "put_group", Some(201), moment);
    azure::Observer::throttled(&metrics, "create", moment);
    kube::client::Observer::call(&metrics, "GET", "pods", 200, moment);
    pods::Observer::queue(&metrics, "node", 0, 0);
    pods::Observer::failure(&metrics, "create", "AciCapacity");
    kubelet::Observer::request(&metrics, "pods", 200, moment);
    kubelet::Observer::certificate_expiry(&metrics, "node", Some(7));
    connector::Observer::credential_expiry(&metrics, "azure", Some(8));
    connector::Observer::groups_left(&metrics, "azure", 1);
    agent::Observer::part_restarted(&metrics, "pods");
    ownership::Observer::refused(&metrics, "azure");
    metrics
}

#[test]
fn alerts_and_dashboard_watch_what_exists() {
    let text = observed().encode().unwrap();
    let mut known = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        if let ["#", "TYPE", name, kind] = words[..] {
            match kind {
                "counter" => known.extend([format!("{name}_total")]),
                "info" => known.extend([format!("{name}_info")]),
                "histogram" => {
                    known.extend(["bucket", "count", "sum"].map(|part| format!("{name}_{part}")));
                }
                _ => known.extend([name.to_owned()]),
            }
        }
    }
    for file in ["rules.yaml", "dashboard.json"] {
        let used = metrics_in(&read(&format!("{CHART}/files/{file}")));
        assert!(used.len() > 8, "{used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?} among {known:?}");
    }
}

#[test]
fn config_prometheus_has_the_charts_alerts_and_dashboard() {
    let note = "# Generated from charts/virtual-kubelet-connector/files by `VKC_UPDATE=1 cargo test --test rules`; do not edit.\n";
    let rules = read(&format!("{CHART}/files/rules.yaml"));
    let mut rule = format!(
        "{note}apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: vkc\n  namespace: vkc-system\n  labels:\n    \
         app.kubernetes.io/name: vkc\n    app.kubernetes.io/part-of: virtual-kubelet-connector\nspec:\n"
    );
    for line in rules.lines() {
        writeln!(rule, "  {line}").unwrap();
    }
    generated("config/prometheus/prometheus_rule.yaml", &rule);
    let dashboard = read(&format!("{CHART}/files/dashboard.json"));
    let mut map = format!(
        "{note}apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: vkc-dashboard\n  namespace: vkc-system\n  labels:\n    \
         app.kubernetes.io/name: vkc\n    app.kubernetes.io/part-of: virtual-kubelet-connector\n    grafana_dashboard: \"1\"\ndata:\n  \
         virtual-kubelet-connector.json: |\n"
    );
    for line in dashboard.lines() {
        writeln!(map, "    {line}").unwrap();
    }
    generated("config/prometheus/dashboard.yaml", &map);
    assert_eq!(of_kind("PodMonitor").len(), 1);
}
