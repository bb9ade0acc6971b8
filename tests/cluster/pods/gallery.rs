//! The gallery of `config/samples`, applied by kubectl: each pod becomes what it says it becomes, and the container
//! groups are the ones that were looked over (snapshots).

use std::path::Path;

use serde_json::{Value, json};

use crate::support::fixture::{Fixture, eventually, is_running, text, waiting};
use crate::support::site::{plane, run, shared};

/// Pods, and what they refer to, of the gallery.
fn gallery() -> (Vec<Value>, Vec<Value>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/samples/gallery");
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        objects.extend(documents);
    }
    objects.retain(|object| object["kind"] != "Kustomization");
    objects
        .into_iter()
        .partition(|object| object["kind"] == "Pod")
}

/// The image that must be there to be read: the emulator's registry has it.
const HELLO: &str = "registry.example.com/hello:";

fn expect(pod: &Value) -> &str {
    text(&pod["metadata"]["annotations"]["gallery/expect"])
}

/// Whether `live` has become what the gallery says, or what it has become instead.
fn outcome(live: &Value) -> Result<(), String> {
    let status = &live["status"];
    let as_expected = match expect(live) {
        // Nobody sets the condition of the readiness gate.
        "Running" if live["spec"]["readinessGates"].is_array() => status["phase"] == "Running",
        "Running" => is_running(live),
        "Succeeded" => status["phase"] == "Succeeded",
        refused => {
            let (reason, field) = refused.split_once(' ').unwrap();
            let message = text(&status["containerStatuses"][0]["state"]["waiting"]["message"]);
            waiting(live) == reason && message.contains(field)
        }
    };
    let name = text(&live["metadata"]["name"]);
    as_expected
        .then_some(())
        .ok_or_else(|| format!("{name} is to be {}: {status}", expect(live)))
}

fn list(value: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    value.and_then(Value::as_array_mut).into_iter().flatten()
}

/// The body of the PUT without what differs from run to run (tokens, the cluster's certificate, random names, tags), and
/// without the variables of the API server's service, which every container has.
fn stable(put: &Value) -> Value {
    let mut put = put.clone();
    put.as_object_mut().unwrap().remove("tags");
    let properties = put["properties"].as_object_mut().unwrap();
    let mut random = Vec::new();
    for volume in list(properties.get_mut("volumes")) {
        if text(&volume["name"]).contains("kube-api-access") {
            random.push(text(&volume["name"]).to_owned());
            volume["name"] = json!("(service account)");
        }
        let files = volume.get_mut("secret").and_then(Value::as_object_mut);
        for (file, content) in files.into_iter().flatten() {
            // A token begins like this in base64.
            let is_token = text(content).starts_with("ZXlK");
            if is_token || matches!(file.as_str(), "token" | "ca.crt" | "namespace") {
                *content = json!("(content)");
            }
        }
    }
    for containers in ["containers", "initContainers"] {
        for container in list(properties.get_mut(containers)) {
            // Every container has these.
            let common = |name: &str| name == "HOSTNAME" || name.starts_with("KUBERNETES_");
            let properties = container["properties"].as_object_mut().unwrap();
            let variables = properties.get_mut("environmentVariables");
            if let Some(variables) = variables.and_then(Value::as_array_mut) {
                variables.retain(|variable| !common(text(&variable["name"])));
                if variables.is_empty() {
                    properties.remove("environmentVariables");
                }
            }
            for mount in list(container["properties"].get_mut("volumeMounts")) {
                if random.iter().any(|name| mount["name"] == **name) {
                    mount["name"] = json!("(service account)");
                }
            }
        }
    }
    put
}

#[test]
fn each_pod_of_the_gallery_becomes_what_it_says() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "gallery", "Both").await;
        let plane = plane().await;
        let (mut pods, objects) = gallery();
        let hello = fixture.url.replace("https://", "") + "/hello:";
        for pod in &mut pods {
            pod["spec"]["nodeSelector"]["virtual-kubelet.io/connector"] = json!(fixture.name);
        }
        for items in [&objects, &pods] {
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
            let list = list.replace(HELLO, &hello);
            let args = ["apply", "--namespace", &fixture.name, "-f", "-"];
            let applied = plane.kubectl_as(plane.kubeconfig(), &args, &list).await;
            applied.unwrap().ok().unwrap();
        }
        for pod in &pods {
            let name = text(&pod["metadata"]["name"]);
            let live = eventually(name, 60, || async {
                let live = fixture.pod(name).await;
                outcome(&live).map(|()| live)
            })
            .await;
            if matches!(expect(pod), "Running" | "Succeeded") {
                let put = fixture.control.last_put(&fixture.group_of(&live)).unwrap();
                let put: Value =
                    serde_json::from_str(&put.to_string().replace(&hello, HELLO)).unwrap();
                insta::with_settings!({snapshot_path => "gallery", prepend_module_to_snapshot => false}, {
                    insta::assert_json_snapshot!(name, stable(&put));
                });
            } else {
                assert_eq!(fixture.groups_of(&live), Vec::<Value>::new(), "{name}");
            }
        }
        fixture.finish().await;
    });
}
