//! The manifests as text: generated files are up to date, and the deployment keeps the promises of the security model.
//! What the API server says of them is in `tests/cluster/crd.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vkc::api::{self, VirtualKubeletConnector};
use vkc::translate::support::{PolicyForm, policy};

mod chart;
mod gallery;
mod reference;

const CRD: &str = "crds/virtual-kubelet.io_virtualkubeletconnectors.yaml";
/// kustomize and helm read nothing outside of their folders.
const COPIES: [&str; 2] = ["config/crd", "charts/virtual-kubelet-connector"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Compares a generated file with what it should be, or writes it when `VKC_UPDATE` is set.
fn generated(path: &str, expected: &str) {
    if std::env::var_os("VKC_UPDATE").is_some() {
        fs::write(root().join(path), expected).unwrap();
    }
    assert!(
        read(path) == expected,
        "{path} is out of date: VKC_UPDATE=1 cargo test --test rules writes it"
    );
}

fn yaml_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            found.push(path);
        }
    }
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Every YAML document below `config/` and `crds/`, with its path.
fn manifests() -> Vec<(String, Value)> {
    let mut files = Vec::new();
    yaml_files(&root().join("config"), &mut files);
    yaml_files(&root().join("crds"), &mut files);
    files.sort();
    let documents_of = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        documents(&text)
            .into_iter()
            .map(move |document| (name.clone(), document))
    };
    files.into_iter().flat_map(documents_of).collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    let all = manifests().into_iter().map(|(_, document)| document);
    all.filter(|document| document["kind"] == kind).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(|list| list.iter().map(|item| item.as_str().unwrap()).collect())
        .unwrap_or_default()
}

#[test]
fn the_crd_file_is_what_the_types_say() {
    generated(CRD, &api::crd_yaml().unwrap());
    for (folder, file) in COPIES.iter().zip([CRD.trim_start_matches("crds/"), CRD]) {
        generated(&format!("{folder}/{file}"), &read(CRD));
    }
    assert_eq!(
        documents(&read(CRD))[0],
        serde_json::to_value(api::crd()).unwrap()
    );
}

#[test]
fn the_policy_of_what_aci_refuses_is_what_the_table_says() {
    let chart = "charts/virtual-kubelet-connector/templates/policy-unsupported.yaml";
    generated(
        "config/policy/unsupported.yaml",
        &policy(PolicyForm::Config),
    );
    generated(chart, &policy(PolicyForm::Chart));
}

#[test]
fn workflows_name_actions_by_the_hash_of_a_release() {
    let mut uses = 0;
    for file in ["ci.yaml", "release.yml"] {
        for line in read(&format!(".github/workflows/{file}")).lines() {
            let Some((_, action)) = line.split_once("uses: ") else {
                continue;
            };
            uses += 1;
            let (name, version) = action
                .split_once(" # v")
                .unwrap_or_else(|| panic!("{file}: {action}"));
            let (_, hash) = name.split_once('@').unwrap();
            assert!(
                hash.len() == 40 && hash.chars().all(|c| c.is_ascii_hexdigit()),
                "{file}: {action}"
            );
            assert_eq!(version.split('.').count(), 3, "{file}: {action}");
        }
    }
    assert!(uses > 20, "{uses}");
}

#[test]
fn the_reference_is_what_the_types_say() {
    generated("docs/reference.md", &reference::page(&schema()));
}

/// Adds the text of the Rust files below `dir`, but for tests.
fn sources(dir: &Path, text: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["conditions", "tests"].contains(&name) {
            sources(&path, text);
        } else if path.extension().is_some_and(|it| it == "rs")
            && !["tests.rs", "conditions.rs"].contains(&name)
        {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_documented_condition_and_reason_is_written_by_somebody() {
    let mut code = String::new();
    sources(&root().join("src"), &mut code);
    let used: BTreeSet<&str> = code
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let words = read("src/api/conditions/words.rs");
    let names = words.lines().filter_map(|line| {
        let (name, value) = line.trim().split_once(" = \"")?;
        value.ends_with("\";").then_some(name)
    });
    let names: Vec<&str> = names.collect();
    assert!(names.len() > 40, "{names:?}");
    let idle: Vec<&&str> = names.iter().filter(|name| !used.contains(**name)).collect();
    assert!(idle.is_empty(), "documented and never written: {idle:?}");
}

/// Calls `visit` with the path and schema of every property below `schema`.
fn properties(schema: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        visit(&path, property);
        properties(property, &path, visit);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            properties(&schema[key], &format!("{path}{suffix}"), visit);
        }
    }
}

fn schema() -> Value {
    serde_json::to_value(api::crd()).unwrap()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        .clone()
}

#[test]
fn every_field_says_what_it_is_in_a_few_sentences() {
    let mut fields = 0;
    properties(&schema(), "", &mut |path, field| {
        fields += 1;
        let text = field["description"]
            .as_str()
            .unwrap_or_else(|| panic!("{path} has no description"));
        assert!(
            text.ends_with('.') && !text.contains('\n'),
            "{path}: {text}"
        );
        assert!(
            text.starts_with(|c: char| c.is_ascii_uppercase()),
            "{path}: {text}"
        );
        assert!(text.len() <= 260, "{path}: {} characters", text.len());
    });
    assert!(fields > 60, "only {fields} fields seen");
}

#[test]
fn the_schema_has_no_traces_of_rust_and_no_defaults_in_lists() {
    let text = serde_json::to_string(&schema()).unwrap();
    for trace in ["nullable", "\"title\"", "$ref", "oneOf", "anyOf", "uint"] {
        assert!(!text.contains(trace), "the schema contains {trace}");
    }
    properties(&schema(), "", &mut |path, field| {
        assert!(
            !path.contains("[]") || field["default"].is_null(),
            "{path} has a default inside a list"
        );
    });
}

#[test]
fn lists_and_maps_are_bounded_and_lists_merge_by_key() {
    properties(
        &schema(),
        "",
        &mut |path, field| match field["type"].as_str() {
            Some("array") => {
                assert!(field["maxItems"].is_number(), "{path} has no maxItems");
                assert!(
                    field["x-kubernetes-list-type"].is_string(),
                    "{path} has no list type"
                );
            }
            Some("object")
                if field["additionalProperties"].is_object() && path.starts_with(".spec") =>
            {
                assert!(
                    field["maxProperties"].is_number(),
                    "{path} has no maxProperties"
                );
            }
            Some("string") if path.starts_with(".spec") && field["enum"].is_null() => {
                assert!(field["maxLength"].is_number(), "{path} has no maxLength");
            }
            _ => {}
        },
    );
}

#[test]
fn each_rule_has_one_sentence_without_a_period() {
    fn walk(value: &Value, seen: &mut BTreeSet<String>) {
        if let Some(rules) = value["x-kubernetes-validations"].as_array() {
            for rule in rules {
                let message = rule["message"]
                    .as_str()
                    .unwrap_or_else(|| panic!("no message: {rule}"));
                assert!(
                    !message.ends_with('.') && !message.contains('\n'),
                    "{message}"
                );
                seen.insert(message.to_owned());
            }
        }
        match value {
            Value::Object(map) => map.values().for_each(|value| walk(value, seen)),
            Value::Array(list) => list.iter().for_each(|value| walk(value, seen)),
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    walk(&schema(), &mut seen);
    assert!(seen.len() > 25, "only {} sentences", seen.len());
}

#[test]
fn no_key_or_bare_word_is_a_yaml_1_1_boolean() {
    const WORDS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];
    let mut files = Vec::new();
    yaml_files(&root().join("config"), &mut files);
    yaml_files(&root().join("crds"), &mut files);
    for path in files {
        for line in fs::read_to_string(&path).unwrap().lines() {
            let item = line.trim().trim_start_matches("- ");
            let (key, value) = item.split_once(':').unwrap_or((item, ""));
            for word in [key.trim(), value.trim()] {
                assert!(
                    !WORDS.contains(&word.to_lowercase().as_str()),
                    "{}: {line}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn samples_are_connectors_that_mean_something() {
    let connectors: Vec<_> = manifests()
        .into_iter()
        .filter(|(_, document)| document["kind"] == "VirtualKubeletConnector")
        .collect();
    assert_eq!(connectors.len(), 3);
    for (path, document) in connectors {
        let connector: VirtualKubeletConnector =
            serde_json::from_value(document).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(api::validate(&connector.spec), [], "{path}");
    }
}

#[test]
fn the_full_sample_names_every_field() {
    let full = documents(&read("config/samples/full.yaml")).remove(0);
    properties(&schema()["properties"]["spec"], "/spec", &mut |path, _| {
        let pointer = path.replace('.', "/").replace("[]", "/0");
        assert!(
            full.pointer(&pointer).is_some(),
            "config/samples/full.yaml lacks {pointer}"
        );
    });
}

#[test]
fn the_walk_through_is_the_predecessors() {
    for (file, name, image, os) in [
        (
            "aci-helloworld",
            "aci-helloworld",
            "microsoft/aci-helloworld",
            "linux",
        ),
        (
            "nanoserver-iis",
            "nanoserver-iis",
            "microsoft/iis:nanoserver",
            "windows",
        ),
    ] {
        let deployment = documents(&read(&format!("config/samples/{file}.yaml"))).remove(0);
        assert_eq!(
            (&deployment["apiVersion"], &deployment["metadata"]["name"]),
            (&"apps/v1".into(), &name.into())
        );
        assert_eq!(deployment["spec"]["replicas"], 1);
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(
            *pod,
            serde_json::json!({
                "containers": [{"name": name, "image": image, "ports": [{"containerPort": 80}]}],
                "nodeSelector": {"beta.kubernetes.io/os": os, "kubernetes.io/role": "agent", "type": "virtual-kubelet"},
                "tolerations": [
                    {"key": "virtual-kubelet.io/provider", "operator": "Equal", "value": "azure", "effect": "NoSchedule"}
                ],
            })
        );
    }
}

#[test]
fn samples_that_hold_secrets_are_placeholders_and_not_applied() {
    let listed = documents(&read("config/samples/kustomization.yaml")).remove(0);
    assert_eq!(
        strings(&listed["resources"]),
        [
            "connector.yaml",
            "aci-helloworld.yaml",
            "nanoserver-iis.yaml"
        ]
    );
    let secret = documents(&read("config/samples/credentials-secret.yaml")).remove(0);
    assert_eq!(secret["stringData"]["AZURE_CLIENT_SECRET"], "replace-me");
    assert_eq!(
        (
            &secret["metadata"]["name"],
            &secret["metadata"]["namespace"]
        ),
        (&"aci-credentials".into(), &"vkc-system".into())
    );
}

#[test]
fn rbac_grants_no_wildcard_and_no_secrets_of_the_cluster() {
    for role in of_kind("ClusterRole").iter().chain(&of_kind("Role")) {
        // An aggregated role has the rules of others.
        let aggregated = role["aggregationRule"].is_object();
        assert_ne!(aggregated, role["rules"].is_array(), "{role}");
        for rule in role["rules"].as_array().into_iter().flatten() {
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(
                    !strings(&rule[field]).contains(&"*"),
                    "{}: {rule}",
                    role["metadata"]["name"]
                );
            }
            let plain = |verb: &&str| !verb.starts_with("impersonate-on:");
            if role["kind"] == "ClusterRole" && strings(&rule["verbs"]).iter().any(plain) {
                for resource in [
                    "secrets",
                    "configmaps",
                    "serviceaccounts/token",
                    "nodes/proxy",
                    "clusterroles",
                    "roles",
                ] {
                    assert!(
                        !strings(&rule["resources"]).contains(&resource),
                        "{}: {rule}",
                        role["metadata"]["name"]
                    );
                }
            }
            if strings(&rule["verbs"]).contains(&"impersonate") {
                assert!(
                    !strings(&rule["resourceNames"]).is_empty(),
                    "impersonation of anybody: {rule}"
                );
            }
        }
    }
    for binding in of_kind("ClusterRoleBinding")
        .iter()
        .chain(&of_kind("RoleBinding"))
    {
        assert!(
            binding["roleRef"]["name"]
                .as_str()
                .unwrap()
                .starts_with("vkc-"),
            "{binding}"
        );
        assert_eq!(
            binding["subjects"],
            serde_json::json!([{"kind": "ServiceAccount", "name": "vkc", "namespace": "vkc-system"}])
        );
    }
}

#[test]
fn the_listed_nodes_are_those_of_the_sample() {
    let connector = documents(&read("config/samples/connector.yaml")).remove(0);
    let connector: VirtualKubeletConnector = serde_json::from_value(connector).unwrap();
    let name = connector.metadata.name.unwrap();
    let nodes: Vec<_> = connector
        .spec
        .operating_systems()
        .iter()
        .map(|os| api::node_name(&name, *os, &connector.spec.region))
        .collect();
    let role = documents(&read("config/rbac/node_names.yaml")).remove(0);
    assert_eq!(strings(&role["rules"][0]["resourceNames"]), nodes);
    let users: Vec<_> = nodes
        .iter()
        .map(|node| format!("system:node:{node}"))
        .collect();
    let older = documents(&read("config/before-1.36/kustomization.yaml")).remove(0);
    let patch = older["patches"][0]["patch"].as_str().unwrap();
    let patch = documents(patch).remove(0);
    assert_eq!(
        patch[0]["op"], "replace",
        "the rules for 1.36 are not granted beside these"
    );
    assert_eq!(patch[0]["path"], "/rules");
    assert_eq!(strings(&patch[0]["value"][0]["resourceNames"]), users);
}

#[test]
fn no_role_grants_both_ways_of_impersonation() {
    for role in documents(&read("config/rbac/node_names.yaml")) {
        for rule in role["rules"].as_array().into_iter().flatten() {
            assert!(!strings(&rule["verbs"]).contains(&"impersonate"), "{rule}");
        }
    }
}

#[test]
fn the_deployment_is_restricted_and_reads_no_secret_from_its_environment() {
    let deployment = documents(&read("config/manager/deployment.yaml")).remove(0);
    let spec = &deployment["spec"];
    // Both are active, and a new one is there before an old one goes.
    assert_eq!(
        (&spec["replicas"], &spec["strategy"]["type"]),
        (&2.into(), &"RollingUpdate".into())
    );
    assert_eq!(
        spec["strategy"]["rollingUpdate"],
        serde_json::json!({"maxSurge": 1, "maxUnavailable": 0})
    );
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[host].is_null(), "{host}");
    }
    // The token is for the operator's own container, whatever else is put into the pod.
    assert_eq!(pod["automountServiceAccountToken"], false);
    let volumes = pod["volumes"].as_array().unwrap();
    assert_eq!(volumes.len(), 1, "{volumes:?}");
    let token = &volumes[0]["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["path"], "token");
    assert!(token["audience"].is_null(), "the API server's own");
    let container = &pod["containers"][0];
    assert_eq!(
        container["securityContext"],
        serde_json::json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
        })
    );
    for variable in container["env"].as_array().unwrap() {
        assert!(
            variable["valueFrom"]["secretKeyRef"].is_null(),
            "{variable}"
        );
    }
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "probes");
    }
    let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        ["nodeSelectorTerms"];
    assert_eq!(
        terms[0]["matchExpressions"][0],
        serde_json::json!({"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]})
    );
    let namespace = documents(&read("config/manager/namespace.yaml")).remove(0);
    assert_eq!(
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
        "restricted"
    );
}

/// Controllers count a node as lost 40 s after its last heartbeat, and give its pods up 300 s later.
#[test]
fn a_replica_that_hangs_or_whose_machine_died_is_replaced_before_its_nodes_are_lost() {
    let deployment = documents(&read("config/manager/deployment.yaml")).remove(0);
    let pod = &deployment["spec"]["template"]["spec"];
    let liveness = &pod["containers"][0]["livenessProbe"];
    let number = |name: &str| liveness[name].as_u64().unwrap();
    let until_killed = number("periodSeconds") * number("failureThreshold")
        + number("timeoutSeconds")
        + number("terminationGracePeriodSeconds");
    assert!(until_killed < 40, "{until_killed} s");
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let tolerations = pod["tolerations"].as_array().unwrap();
        let toleration = tolerations.iter().find(|it| it["key"] == key).unwrap();
        assert_eq!(toleration["tolerationSeconds"], 30, "{key}");
        assert_eq!(toleration["effect"], "NoExecute", "{key}");
    }
}

#[test]
fn the_image_is_this_version_and_not_latest() {
    let kustomization = documents(&read("config/operator/kustomization.yaml")).remove(0);
    assert_eq!(
        kustomization["images"][0]["newTag"],
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn kustomizations_list_files_that_exist_and_forget_none() {
    for (path, document) in manifests() {
        if !path.ends_with("kustomization.yaml") {
            continue;
        }
        let dir = root().join(&path).parent().unwrap().to_path_buf();
        for resource in strings(&document["resources"]) {
            let target = dir.join(resource);
            assert!(
                target.is_file() || target.join("kustomization.yaml").is_file(),
                "{path} lists {resource}"
            );
        }
    }
    for part in ["rbac", "manager", "policy"] {
        let listed = documents(&read(&format!("config/{part}/kustomization.yaml"))).remove(0);
        let listed: BTreeSet<_> = strings(&listed["resources"])
            .into_iter()
            .map(str::to_owned)
            .collect();
        let files = fs::read_dir(root().join("config").join(part))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(
            listed,
            files.filter(|file| file != "kustomization.yaml").collect(),
            "{part}"
        );
    }
}

#[test]
fn argo_cds_config_map_holds_the_script() {
    let map = documents(&read("config/argocd/argocd-cm.yaml")).remove(0);
    assert_eq!(
        map["data"]["resource.customizations.health.virtual-kubelet.io_VirtualKubeletConnector"],
        read("config/argocd/health.lua")
    );
}

/// `.dockerignore` names what the images are built from; cargo asks for every member of the workspace, whichever it builds.
#[test]
fn the_images_are_built_from_every_member_of_the_workspace() {
    let manifest = read("Cargo.toml");
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let members: Vec<&str> = members.split(", ").map(|it| it.trim_matches('"')).collect();
    assert!(members.contains(&"xtask"), "{members:?}");
    let ignore = read(".dockerignore");
    let taken: BTreeSet<&str> = ignore
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let parts = ["Cargo.toml", "Cargo.lock", "LICENSE", "src", "packaging"];
    for part in parts.into_iter().chain(members) {
        assert!(taken.contains(part), ".dockerignore keeps {part} out");
    }
}

/// `docker build` hands an argument on to stages that start from the one which has it, older versions of buildah do not: there the
/// architecture would be empty, and be taken for amd64.
#[test]
fn each_stage_of_the_dockerfile_declares_the_arguments_that_it_uses() {
    let dockerfile = read("Dockerfile");
    let stages: Vec<&str> = dockerfile.split("\nFROM ").skip(1).collect();
    assert!(stages.len() > 3, "{stages:?}");
    for stage in stages {
        let declared: BTreeSet<&str> = stage
            .lines()
            .filter_map(|line| line.strip_prefix("ARG "))
            .filter_map(|argument| argument.split('=').next())
            .collect();
        let (name, body) = stage.split_once('\n').unwrap();
        let used = body.split("${").skip(1);
        for argument in used.filter_map(|rest| rest.split('}').next()) {
            assert!(
                declared.contains(argument),
                "stage {name:?} has no ARG {argument}"
            );
        }
    }
}
