//! Images: pull secrets, and what a container with arguments of its own needs of its image.

use aci_emulator::{Access, Fault, Image, ImagePlatform};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::fixture::{CANARY, Fixture, PATIENCE, is_running, text, waiting};
use crate::support::site::{log, plane, run, shared};

/// Runs kubectl as the administrator and gives what it says.
async fn kubectl(args: &[&str], input: &str) {
    let plane = plane().await;
    let ran = plane.kubectl_as(plane.kubeconfig(), args, input).await;
    ran.unwrap().ok().unwrap();
}

/// Applies a pod with these containers and init containers.
async fn apply(fixture: &Fixture, name: &str, containers: Value, inits: Value, secret: &str) {
    let mut spec = fixture.pod_spec("");
    spec["containers"] = containers;
    spec["initContainers"] = inits;
    if !secret.is_empty() {
        spec["imagePullSecrets"] = json!([{"name": secret}]);
    }
    let metadata = json!({"name": name, "namespace": fixture.name});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    kubectl(&["apply", "-f", "-"], &pod.to_string()).await;
}

/// The registry as the names of its images begin.
fn registry(fixture: &Fixture) -> &str {
    fixture.url.strip_prefix("https://").unwrap()
}

fn commands(sent: &Value, list: &str) -> Vec<Value> {
    let containers = sent["properties"][list].as_array().unwrap().iter();
    containers
        .map(|container| container["properties"]["command"].clone())
        .collect()
}

#[test]
fn args_follow_the_entry_point_of_a_private_image() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "images", "Linux").await;
        let password = format!("{CANARY}:pull");
        fixture.control.push_image(&Image {
            name: "team/app:1".to_owned(),
            access: Access::Bearer {
                username: "robot".to_owned(),
                password: password.clone(),
            },
            platforms: vec![
                ImagePlatform::new("windows", &["app.exe"]),
                ImagePlatform::new("linux", &["/app", "$(MODE)"]),
            ],
        });
        let registry = registry(&fixture);
        let options = [
            format!("--namespace={}", fixture.name),
            format!("--docker-server={registry}"),
            format!("--docker-password={password}"),
        ];
        let mut args = vec![
            "create",
            "secret",
            "docker-registry",
            "pull",
            "--docker-username=robot",
        ];
        args.extend(options.iter().map(String::as_str));
        kubectl(&args, "").await;
        let image = format!("{registry}/team/app:1");
        let env = json!([{"name": "MODE", "value": "fast"}]);
        let container = |name: &str| json!({"name": name, "image": image, "args": ["--mode=$(MODE)"], "env": env});
        let mut sidecar = container("sidecar");
        sidecar["restartPolicy"] = json!("Always");
        let containers = json!([
            container("main"),
            {"name": "own", "image": image, "command": ["/own"], "args": ["x"]},
            {"name": "plain", "image": image},
        ]);
        apply(
            &fixture,
            "private",
            containers,
            json!([container("first"), sidecar]),
            "pull",
        )
        .await;
        let pod = fixture
            .pod_until("private", "it runs", PATIENCE, is_running)
            .await;
        let sent = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
        // The kubelet expands args; what the image says is the image's.
        let expected = json!(["/app", "$(MODE)", "--mode=fast"]);
        let own = json!(["/own", "x"]);
        let mains = [expected.clone(), own, Value::Null, expected.clone()];
        assert_eq!(commands(&sent, "containers"), mains);
        assert_eq!(commands(&sent, "initContainers"), [expected]);
        let credential = json!({"server": registry, "username": "robot", "password": password});
        assert_eq!(
            sent["properties"]["imageRegistryCredentials"],
            json!([credential])
        );
        // ACI keeps the password to itself, and so do we.
        let shown = json!(fixture.control.groups()).to_string();
        assert!(shown.contains("robot") && !shown.contains(CANARY));
        let log = std::fs::read_to_string(log().await).unwrap();
        let basic = BASE64_STANDARD.encode(format!("robot:{password}"));
        assert!(!log.contains(CANARY) && !log.contains(&basic));
        fixture.finish().await;
    });
}

#[test]
fn an_image_that_cannot_be_read_holds_the_pod_until_it_can() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "unreadable", "Linux").await;
        let registry = registry(&fixture);
        let hidden =
            json!([{"name": "main", "image": format!("{registry}/not/there:1"), "args": ["x"]}]);
        apply(&fixture, "hidden", hidden, json!([]), "").await;
        // The registry fails, and answers when it is asked again.
        fixture.control.inject(Fault {
            path_contains: Some("/v2/hello/manifests/1".to_owned()),
            status: 503,
            ..Fault::default()
        });
        let hello =
            json!([{"name": "main", "image": format!("{registry}/hello:1"), "args": ["world"]}]);
        apply(&fixture, "late", hello, json!([]), "").await;
        let late = fixture
            .pod_until("late", "it runs", PATIENCE, is_running)
            .await;
        let sent = fixture.control.last_put(&fixture.group_of(&late)).unwrap();
        assert_eq!(
            commands(&sent, "containers"),
            [json!(["/hello", "--say", "world"])]
        );
        assert_eq!(fixture.count("PUT", "late"), 1);
        fixture.event(&late, "ImageConfigUnreadable").await;

        let reason = "ImageConfigUnreadable";
        let pod = fixture
            .pod_until("hidden", "it waits", PATIENCE, |pod| waiting(pod) == reason)
            .await;
        assert_eq!(pod["status"]["phase"], "Pending");
        let event = fixture.event(&pod, reason).await;
        let note = text(&event["note"]);
        for part in [
            "spec.containers[0].args",
            "not/there:1",
            registry,
            "set command",
        ] {
            assert!(note.contains(part), "{note}");
        }
        assert_eq!(fixture.calls("hidden"), []);
        fixture.finish().await;
    });
}
