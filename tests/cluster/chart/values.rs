//! Every value that matters, rendered, and given to a real API server as a dry run.

use serde_json::{Value, json};
use xtask::control_plane::shared;

use super::helm::{NEW, find, get, kustomize, name, objects, path};

/// Kinds that this API server does not have.
const FOREIGN: [&str; 4] = [
    "PodMonitor",
    "ServiceMonitor",
    "PrometheusRule",
    "ExternalSecret",
];

fn pod(objects: &[Value]) -> &Value {
    &get(objects, "Deployment/vkc")["spec"]["template"]["spec"]
}

fn container(objects: &[Value]) -> &Value {
    &pod(objects)["containers"][0]
}

fn env<'a>(objects: &'a [Value], wanted: &str) -> Option<&'a str> {
    let env = container(objects)["env"].as_array().unwrap();
    let found = env.iter().find(|variable| variable["name"] == wanted)?;
    found["value"].as_str()
}

type Values = fn() -> Value;
type Look = fn(&[Value]);

fn connector() -> Value {
    json!({"region": "westeurope", "aciResourceGroup": "aci-rg"})
}

/// A name, the values, and what they must lead to.
const COMBINATIONS: &[(&str, Values, Look)] = &[
    (
        "nothing",
        || json!({}),
        |all| {
            assert!(
                find(all, "ClusterRole/vkc-node-names").is_none(),
                "no node to name"
            );
            assert_eq!(
                container(all)["args"],
                json!([
                    "run",
                    "--probe-addr=0.0.0.0:8080",
                    "--metrics-addr=0.0.0.0:8443"
                ])
            );
        },
    ),
    (
        "names of connectors and others",
        || {
            json!({
                "connectors": {
                    "a": {"osType": "Both", "region": "eastus", "aciResourceGroup": "aci-rg"},
                    "b": connector(),
                    "c": {"osType": "Windows", "region": "westus2", "aciResourceGroup": "aci-rg"},
                },
                "extraNodeNames": ["virtual-kubelet-d-linux-eastus"],
            })
        },
        |all| {
            assert_eq!(
                get(all, "ClusterRole/vkc-node-names")["rules"][0]["resourceNames"],
                json!([
                    "virtual-kubelet-a-linux-eastus",
                    "virtual-kubelet-a-windows-eastus",
                    "virtual-kubelet-b-linux-westeurope",
                    "virtual-kubelet-c-windows-westus2",
                    "virtual-kubelet-d-linux-eastus",
                ])
            );
        },
    ),
    (
        "one Secret for all connectors",
        || {
            json!({
                "connectors": {"a": connector(), "b": {
                    "region": "eastus", "aciResourceGroup": "b-rg",
                    "credentials": {"type": "ServicePrincipal", "secretRef": {"name": "own"}},
                }},
                "credentials": {"existingSecret": "shared"},
            })
        },
        |all| {
            let secret = |of: &str| {
                let connector = get(all, &format!("VirtualKubeletConnector/{of}"));
                connector["spec"]["credentials"]["secretRef"]["name"].clone()
            };
            assert_eq!((secret("a"), secret("b")), ("shared".into(), "own".into()));
            assert!(
                find(all, "Secret/shared").is_none(),
                "secrets are never values"
            );
        },
    ),
    (
        "an ExternalSecret",
        || {
            json!({"credentials": {"existingSecret": "aci", "externalSecret": {
                "enabled": true, "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault"},
                "dataFrom": [{"extract": {"key": "aci"}}],
            }}})
        },
        |all| {
            let secret = &get(all, "ExternalSecret/aci")["spec"];
            assert_eq!(secret["target"]["name"], "aci");
            assert_eq!(secret["secretStoreRef"]["name"], "vault");
            assert_eq!(secret["dataFrom"][0]["extract"]["key"], "aci");
        },
    ),
    (
        "workload identity",
        || {
            json!({
                "connectors": {"a": connector()},
                "credentials": {"workloadIdentity": {
                    "enabled": true, "clientID": "11111111-2222-3333-4444-555555555555",
                    "tenantID": "11111111-2222-3333-4444-666666666666",
                    "subscriptionID": "11111111-2222-3333-4444-777777777777",
                }},
            })
        },
        |all| {
            let annotations = &get(all, "ServiceAccount/vkc")["metadata"]["annotations"];
            assert_eq!(
                annotations["azure.workload.identity/client-id"],
                "11111111-2222-3333-4444-555555555555"
            );
            assert_eq!(
                annotations["azure.workload.identity/tenant-id"],
                "11111111-2222-3333-4444-666666666666"
            );
            let template = &get(all, "Deployment/vkc")["spec"]["template"];
            assert_eq!(
                template["metadata"]["labels"]["azure.workload.identity/use"],
                "true"
            );
            assert_eq!(
                env(all, "AZURE_SUBSCRIPTION_ID"),
                Some("11111111-2222-3333-4444-777777777777")
            );
            let connector = get(all, "VirtualKubeletConnector/a");
            assert!(
                connector["spec"]["credentials"].is_null(),
                "the operator's own identity"
            );
        },
    ),
    (
        "settings of vkc",
        || {
            json!({
                "log": {"level": "debug", "format": "plain"}, "clusterDNS": ["10.0.0.10", "10.0.0.11"],
                "clusterDomain": "example.org", "kubernetesServiceHost": "api.example.org:443",
                "kubeletPortRange": "11000-11009", "kubeletServingCert": "files", "kubeletCertSecret": "serving",
                "extraArgs": ["--instance=me"], "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
            })
        },
        |all| {
            for (name, value) in [
                ("VKC_LOG", "debug"),
                ("VKC_LOG_FORMAT", "plain"),
                ("VKC_CLUSTER_DNS", "10.0.0.10,10.0.0.11"),
                ("VKC_CLUSTER_DOMAIN", "example.org"),
                ("VKC_KUBERNETES_SERVICE_HOST", "api.example.org:443"),
                ("VKC_KUBELET_PORT_RANGE", "11000-11009"),
                ("VKC_KUBELET_SERVING_CERT", "files"),
                ("VKC_KUBELET_CERT_DIR", "/etc/vkc/kubelet"),
                ("HTTPS_PROXY", "http://proxy:3128"),
            ] {
                assert_eq!(env(all, name), Some(value), "{name}");
            }
            assert_eq!(container(all)["args"][3], "--instance=me");
            // After the operator's own token.
            assert_eq!(pod(all)["volumes"][1]["secret"]["secretName"], "serving");
            let ports = &get(all, "NetworkPolicy/vkc")["spec"]["ingress"][0]["ports"];
            assert_eq!(
                (&ports[0]["port"], &ports[0]["endPort"]),
                (&json!(11000), &json!(11009))
            );
        },
    ),
    (
        "where and as what it runs",
        || {
            json!({
                "image": {"repository": "registry.example.com/vkc", "digest": format!("sha256:{}", "a".repeat(64))},
                "imagePullSecrets": [{"name": "registry"}], "replicas": 3, "priorityClassName": "",
                "nodeSelector": {"pool": "system"}, "tolerations": [{"operator": "Exists"}], "spreadOver": [],
                "podLabels": {"team": "platform"}, "podAnnotations": {"a": "b"}, "commonLabels": {"owner": "me"},
                "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
                "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
                "podDisruptionBudget": {"maxUnavailable": "50%"},
            })
        },
        |all| {
            let image = container(all)["image"].as_str().unwrap();
            assert!(
                image.starts_with("registry.example.com/vkc@sha256:aaaa"),
                "{image}"
            );
            let pod = pod(all);
            assert!(
                pod["priorityClassName"].is_null() && pod["affinity"]["podAntiAffinity"].is_null()
            );
            assert_eq!(pod["imagePullSecrets"][0]["name"], "registry");
            assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
            let terms =
                &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
            assert_eq!(
                terms["nodeSelectorTerms"][0]["matchExpressions"][0]["values"],
                json!(["virtual-kubelet"])
            );
            assert_eq!(
                get(all, "ServiceAccount/vkc")["metadata"]["labels"]["owner"],
                "me"
            );
            assert_eq!(
                get(all, "PodDisruptionBudget/vkc")["spec"]["maxUnavailable"],
                "50%"
            );
        },
    ),
    (
        "a closed network",
        || {
            json!({"networkPolicy": {
                "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
                "egress": {"enabled": true, "apiServerPorts": [6443], "extra": [{"ports": [{"port": 3128}]}]},
            }})
        },
        |all| {
            let spec = &get(all, "NetworkPolicy/vkc")["spec"];
            assert_eq!(spec["policyTypes"], json!(["Ingress", "Egress"]));
            assert_eq!(
                spec["ingress"][1]["ports"],
                json!([{"protocol": "TCP", "port": "metrics"}])
            );
            let from = &spec["ingress"][1]["from"][0]["namespaceSelector"]["matchLabels"];
            assert_eq!(from["kubernetes.io/metadata.name"], "monitoring");
            assert!(
                spec["ingress"][0]["from"].is_null(),
                "the API server is no pod"
            );
            let ports: Vec<_> = spec["egress"][1]["ports"]
                .as_array()
                .unwrap()
                .iter()
                .map(|port| port["port"].clone())
                .collect();
            assert_eq!(ports, [json!(6443), json!(443), json!(19390)]);
            assert_eq!(spec["egress"][3]["ports"][0]["port"], 3128);
        },
    ),
    (
        "all of observability",
        || {
            json!({"metrics": {
                "podMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
                "serviceMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true},
            }})
        },
        |all| {
            assert_eq!(
                get(all, "PodMonitor/vkc")["metadata"]["labels"]["release"],
                "prometheus"
            );
            get(all, "ServiceMonitor/vkc");
            assert_eq!(
                get(all, "Service/vkc-metrics")["spec"]["ports"][0]["targetPort"],
                "metrics"
            );
            assert!(
                get(all, "PrometheusRule/vkc")["spec"]["groups"][0]["rules"]
                    .as_array()
                    .unwrap()
                    .len()
                    > 8
            );
            let map = get(all, "ConfigMap/vkc-dashboard");
            let text = map["data"]["virtual-kubelet-connector.json"]
                .as_str()
                .unwrap();
            let dashboard: Value = serde_json::from_str(text).unwrap();
            assert!(dashboard["panels"].as_array().unwrap().len() > 8);
        },
    ),
    (
        "nothing that can be left out",
        || {
            json!({
                "podDisruptionBudget": {"enabled": false}, "networkPolicy": {"enabled": false},
                "policies": {"allowedNamespaces": "Off", "operator": "Off", "daemonSets": "Off", "unsupported": "Off"},
                "rbac": {"aggregateToUserRoles": false}, "uninstall": {"connectors": "Keep"}, "crds": {"upgrade": false},
            })
        },
        |all| {
            for gone in [
                "PodDisruptionBudget/vkc",
                "NetworkPolicy/vkc",
                "ValidatingAdmissionPolicy/vkc-allowed-namespaces",
                "ValidatingAdmissionPolicy/vkc-operator",
                "ValidatingAdmissionPolicy/vkc-unsupported",
                "MutatingAdmissionPolicy/vkc-daemon-sets",
                "ClusterRole/vkc-connector-view",
                "Job/vkc-uninstall",
            ] {
                assert!(find(all, gone).is_none(), "{gone}");
            }
        },
    ),
    (
        "what ACI refuses is denied",
        || json!({"policies": {"unsupported": "Deny"}}),
        |all| {
            let binding = get(all, "ValidatingAdmissionPolicyBinding/vkc-unsupported");
            assert_eq!(binding["spec"]["validationActions"], json!(["Deny"]));
        },
    ),
    (
        "requests as they are billed",
        || json!({"policies": {"requests": "AsBilled"}}),
        |all| {
            get(all, "MutatingAdmissionPolicyBinding/vkc-requests");
        },
    ),
    (
        "the end of the release",
        || {
            json!({
                "connectors": {"a": connector()}, "uninstall": {"connectors": "All", "timeout": "30m"},
            })
        },
        |all| {
            let job = get(all, "Job/vkc-uninstall");
            assert_eq!(job["metadata"]["annotations"]["helm.sh/hook"], "pre-delete");
            let pod = &job["spec"]["template"]["spec"];
            assert_eq!(pod["initContainers"][0]["args"][2], "--all");
            assert_eq!(pod["initContainers"][1]["args"][4], "--timeout=30m");
        },
    ),
    (
        "more objects",
        || {
            json!({"extraObjects": [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ include \"vkc.fullname\" . }}-text\n",
            ]})
        },
        |all| {
            get(all, "ConfigMap/vkc-more");
            get(all, "ConfigMap/vkc-text");
        },
    ),
    (
        "other names",
        || json!({"fullnameOverride": "burst", "serviceAccount": {"name": "burst-operator"}}),
        |all| {
            get(all, "Deployment/burst");
            assert_eq!(
                get(all, "ClusterRoleBinding/burst-manager")["subjects"][0]["name"],
                "burst-operator"
            );
        },
    ),
];

#[test]
fn each_combination_becomes_what_it_says() {
    for (what, values, look) in COMBINATIONS {
        let all = objects(&values(), NEW);
        println!("{what}: {} objects", all.len());
        look(&all);
        for object in &all {
            assert!(
                object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
                    || name(object).starts_with("ConfigMap/vkc-"),
                "{what}: {} does not say whose it is",
                name(object)
            );
        }
    }
}

#[tokio::test]
async fn the_api_server_accepts_each_combination() {
    let plane = shared();
    let crd = path("config/crd");
    // Not where other tests install `config/default`: selectors of a Deployment that is there cannot change.
    let here = |text: &str| text.replace("vkc-system", "vkc-values");
    let namespace = std::fs::read_to_string(path("config/manager/namespace.yaml")).unwrap();
    for args in [
        vec!["apply", "--server-side", "-k", &crd],
        vec![
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd/virtualkubeletconnectors.virtual-kubelet.io",
        ],
    ] {
        plane.kubectl_run(&args).await.unwrap().ok().unwrap();
    }
    // It enforces the restricted profile.
    let args = ["apply", "--server-side", "-f", "-"];
    let made = plane
        .kubectl_as(plane.kubeconfig(), &args, &here(&namespace))
        .await;
    made.unwrap().ok().unwrap();
    for (what, values, _) in COMBINATIONS {
        let mut all = objects(&values(), NEW);
        all.retain(|object| !FOREIGN.contains(&object["kind"].as_str().unwrap()));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": all}).to_string();
        let args = [
            "apply",
            "--server-side",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ];
        let output = plane
            .kubectl_as(plane.kubeconfig(), &args, &here(&list))
            .await
            .unwrap();
        assert!(
            output.status.success() && !output.stderr.contains("would violate"),
            "{what}: {}",
            output.stderr
        );
    }
}

/// One source: what `config/prometheus` has for kustomize is what the chart renders.
#[test]
fn config_requests_is_what_the_chart_renders() {
    let chart = objects(&json!({"policies": {"requests": "AsBilled"}}), NEW);
    let config = kustomize("config/requests");
    assert_eq!(config.len(), 2);
    for object in config {
        assert_eq!(object["spec"], get(&chart, &name(&object))["spec"]);
    }
}

#[test]
fn config_prometheus_is_what_the_chart_renders() {
    let values = json!({"metrics": {
        "podMonitor": {"enabled": true}, "prometheusRule": {"enabled": true}, "dashboard": {"enabled": true},
    }});
    let chart = objects(&values, NEW);
    let config = kustomize("config/prometheus");
    assert_eq!(config.len(), 3);
    for object in config {
        let rendered = get(&chart, &name(&object));
        for part in ["spec", "data"] {
            if part == "spec" && object["kind"] == "PodMonitor" {
                assert_eq!(
                    object[part]["podMetricsEndpoints"],
                    rendered[part]["podMetricsEndpoints"]
                );
            } else {
                assert_eq!(object[part], rendered[part], "{}", name(&object));
            }
        }
    }
}
