//! `config/policy/unsupported.yaml`: what a virtual node would refuse is said by kubectl, and of nothing else.

use std::fs;

use serde_json::{Value, json};
use xtask::control_plane::{Output, shared};

use super::install::installed;
use super::{eventually, path};

const BY: &str = "Warning: Validation failed for ValidatingAdmissionPolicy 'vkc-unsupported' with binding 'vkc-unsupported': ";

async fn apply(args: &[&str], object: &Value) -> Output {
    let plane = shared();
    let mut all = vec!["apply", "-f", "-"];
    all.extend(args);
    let text = object.to_string();
    plane
        .kubectl_as(plane.kubeconfig(), &all, &text)
        .await
        .unwrap()
}

/// What the policy says of `object`: the fields, in its order.
async fn told(object: &Value) -> Vec<String> {
    // Server-side: without a copy of the object in an annotation, which has a limit.
    let output = apply(&["--dry-run=server", "--server-side"], object).await;
    assert!(output.status.success(), "{}", output.stderr);
    fields(&output.stderr)
}

fn fields(stderr: &str) -> Vec<String> {
    let lines = stderr.lines().filter_map(|line| line.strip_prefix(BY));
    lines
        .filter_map(|line| line.split_once(" is refused on virtual nodes: "))
        .map(|(field, _)| field.to_owned())
        .collect()
}

fn pod(patch: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "it", "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": "example.com/web"}]},
    });
    crate::support::wait::merge(&mut pod["spec"], patch);
    pod
}

/// An object with the spec of that pod at `at`.
fn within(api_version: &str, kind: &str, mut spec: Value, at: &str, pod: &Value) -> Value {
    let template = spec.pointer_mut(at).unwrap();
    *template = json!({"metadata": {"labels": {"app": "it"}}, "spec": pod["spec"]});
    json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": "it", "namespace": "default"}, "spec": spec,
    })
}

fn deployment(pod: &Value) -> Value {
    let spec = json!({"selector": {"matchLabels": {"app": "it"}}, "template": null});
    within("apps/v1", "Deployment", spec, "/template", pod)
}

async fn ready() {
    installed().await.namespace_ready("default").await.unwrap();
    let bad = pod(&json!({"nodeSelector": {"type": "virtual-kubelet"}, "hostNetwork": true}));
    eventually("admission knows the policy", 30, async || {
        (told(&bad).await == ["spec.hostNetwork"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_way_to_a_virtual_node_is_warned_of_and_no_other() {
    ready().await;
    let terms = |expression: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [expression]}],
        }}}})
    };
    for (way, warned) in [
        (json!({"nodeSelector": {"type": "virtual-kubelet"}}), true),
        (
            json!({"nodeSelector": {"virtual-kubelet.io/connector": "mine"}}),
            true,
        ),
        (
            json!({"nodeName": "virtual-kubelet-mine-linux-eastus"}),
            true,
        ),
        (
            json!({"tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}]}),
            true,
        ),
        (
            terms(json!({"key": "type", "operator": "In", "values": ["virtual-kubelet"]})),
            true,
        ),
        (
            terms(json!({"key": "virtual-kubelet.io/connector", "operator": "Exists"})),
            true,
        ),
        (
            terms(json!({"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]})),
            false,
        ),
        // What runs everywhere, as agents of the platform do, does not ask for virtual nodes.
        (json!({"tolerations": [{"operator": "Exists"}]}), false),
        (json!({"nodeName": "a-machine"}), false),
        (json!({}), false),
    ] {
        let mut bad = way.clone();
        bad["hostNetwork"] = json!(true);
        let expected: &[&str] = if warned { &["spec.hostNetwork"] } else { &[] };
        assert_eq!(told(&pod(&bad)).await, expected, "{way}");
        assert_eq!(
            told(&deployment(&pod(&bad))).await,
            expected,
            "a template: {way}"
        );
        assert_eq!(told(&pod(&way)).await, [""; 0], "nothing wrong: {way}");
    }
}

#[tokio::test]
async fn fields_are_named_with_what_to_do() {
    ready().await;
    // A terminal is not among them: the shim makes one.
    let bad = json!({
        "nodeSelector": {"type": "virtual-kubelet"},
        "shareProcessNamespace": true,
        "containers": [{
            "name": "main", "image": "example.com/web", "tty": true, "imagePullPolicy": "Never",
            "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}],
            "livenessProbe": {"httpGet": {"host": "example.com", "port": 80}},
            "volumeMounts": [{"name": "host", "mountPath": "/host"}],
        }],
        // One that no container mounts is not attached.
        "volumes": [{"name": "host", "hostPath": {"path": "/"}}, {"name": "unused", "nfs": {"server": "a", "path": "/"}}],
    });
    let expected = [
        "spec.shareProcessNamespace: true",
        "spec.containers[].imagePullPolicy: Never",
        "spec.containers[].*Probe.httpGet.host",
        "spec.containers[].ports[].hostIP",
        "spec.containers[].ports[].hostPort",
        "spec.volumes[].hostPath",
    ];
    assert_eq!(told(&pod(&bad)).await, expected);
    let output = apply(&["--dry-run=server"], &pod(&bad)).await;
    let sentence = "spec.shareProcessNamespace: true is refused on virtual nodes: the containers of a group cannot share processes; \
                    set it to false";
    assert!(
        output.stderr.contains(&format!("{BY}{sentence}\n")),
        "{}",
        output.stderr
    );

    let pod = pod(&bad);
    let (cron, job) = (
        json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": null}}}),
        json!({"template": null}),
    );
    let mut never = pod.clone();
    never["spec"]["restartPolicy"] = json!("Never");
    let selector =
        json!({"selector": {"matchLabels": {"app": "it"}}, "serviceName": "it", "template": null});
    for object in [
        within(
            "batch/v1",
            "CronJob",
            cron,
            "/jobTemplate/spec/template",
            &never,
        ),
        within("batch/v1", "Job", job, "/template", &never),
        within("apps/v1", "StatefulSet", selector, "/template", &pod),
    ] {
        assert_eq!(told(&object).await, expected, "{}", object["kind"]);
    }
}

#[tokio::test]
async fn windows_has_rules_of_its_own() {
    ready().await;
    let of = |os: &str| {
        pod(&json!({
            "nodeSelector": {"type": "virtual-kubelet", "kubernetes.io/os": os},
            "securityContext": {"runAsUser": 1000},
            "initContainers": [{"name": "init", "image": "example.com/init"}],
            "containers": [{
                "name": "main", "image": "example.com/web", "volumeMounts": [{"name": "empty", "mountPath": "/e"}],
            }],
            "volumes": [{"name": "empty", "emptyDir": {}}],
        }))
    };
    assert_eq!(told(&of("linux")).await, [""; 0]);
    let refused = [
        "spec.initContainers",
        "spec.securityContext.runAsUser",
        "spec.volumes[].emptyDir",
    ];
    assert_eq!(told(&of("windows")).await, refused);
}

#[tokio::test]
async fn an_older_object_can_be_changed_without_a_word() {
    ready().await;
    let mut object = deployment(&pod(
        &json!({"nodeSelector": {"type": "virtual-kubelet"}, "hostPID": true}),
    ));
    object["metadata"]["name"] = json!("older");
    object["spec"]["replicas"] = json!(0);
    assert_eq!(fields(&apply(&[], &object).await.stderr), ["spec.hostPID"]);
    object["metadata"]["labels"] = json!({"team": "platform"});
    assert_eq!(apply(&[], &object).await.stderr, "");
    object["spec"]["template"]["metadata"]["labels"]["more"] = json!("yes");
    assert_eq!(
        apply(&[], &object).await.stderr,
        "",
        "the pod's spec is the same"
    );
    object["spec"]["template"]["spec"]["hostIPC"] = json!(true);
    let told = fields(&apply(&[], &object).await.stderr);
    assert_eq!(told, ["spec.hostIPC", "spec.hostPID"]);
}

#[tokio::test]
async fn the_samples_are_refused_for_nothing_but_what_they_show() {
    ready().await;
    let folder = path("config/samples/gallery");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "kustomization.yaml" {
            continue;
        }
        let args = ["apply", "--dry-run=server", "-f", file.to_str().unwrap()];
        let output = shared().kubectl_run(&args).await.unwrap();
        let expected: &[&str] = match name.as_str() {
            "refused-host-path.yaml" => &["spec.volumes[].hostPath"],
            _ => &[],
        };
        assert_eq!(
            fields(&output.stderr),
            expected,
            "{name}: {}",
            output.stderr
        );
        seen += 1;
    }
    assert!(seen > 25, "{seen}");
}

/// The API server bounds what an expression may cost. Beyond that this policy says nothing, and refuses nothing.
#[tokio::test]
async fn a_pod_that_costs_too_much_is_let_through() {
    ready().await;
    let mount = |n: usize| json!({"name": "last", "mountPath": format!("/m{n}")});
    let mounts: Vec<Value> = (0..300).map(mount).collect();
    let container =
        |n: usize| json!({"name": format!("c{n}"), "image": "i", "volumeMounts": mounts});
    let volume = |n: usize| json!({"name": format!("v{n}"), "hostPath": {"path": "/"}});
    let mut volumes: Vec<Value> = (0..300).map(volume).collect();
    volumes.push(json!({"name": "last", "emptyDir": {}}));
    let huge = pod(&json!({
        "nodeSelector": {"type": "virtual-kubelet"}, "hostNetwork": true, "volumes": volumes,
        "containers": (0..50).map(container).collect::<Vec<_>>(),
    }));
    assert_eq!(told(&huge).await, ["spec.hostNetwork"]);
}
