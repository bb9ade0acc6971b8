//! What ACI cannot enforce: the pod runs and says so, unless the connector has such pods refused. And images: what a pod asks of
//! their user and directory.

use aci_emulator::{Access, Image, ImagePlatform};
use serde_json::json;

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text, waiting};
use crate::support::site::{run, shared};

#[test]
fn a_pod_runs_without_what_aci_cannot_enforce_and_says_so() {
    run(async {
        let operator = shared().await;
        let patch = json!({"compatibility": {"memoryVolumes": "Refuse"}});
        let fixture = Fixture::start_with(&operator, "unenforced", "Linux", &patch).await;
        let container = json!({
            "name": "main",
            "image": "example.com/web",
            "securityContext": {"readOnlyRootFilesystem": true},
            "resources": {"requests": {"ephemeral-storage": "5Gi"}},
            "livenessProbe": {"tcpSocket": {"port": 80}},
            "volumeMounts": [{"name": "work", "mountPath": "/work"}],
        });
        let volumes = |source| json!([{"name": "work", "emptyDir": source}]);
        let spec = |source| {
            json!({
                "containers": [container.clone()],
                "securityContext": {"fsGroup": 2000, "seLinuxOptions": {}},
                "volumes": volumes(source),
            })
        };
        fixture
            .create_pod("runs", "example.com/web", spec(json!({})))
            .await;
        fixture
            .pod_until("runs", "it runs", PATIENCE, is_running)
            .await;
        let list = "ephemeralStorage,fsGroup,probes,readOnlyRootFilesystem";
        let pod = eventually("the annotation", 10, || async {
            let live = fixture.pod("runs").await;
            let found = &live["metadata"]["annotations"]["virtual-kubelet.io/not-enforced"];
            let found = text(found) == list;
            found
                .then_some(live.clone())
                .ok_or(live["metadata"].to_string())
        })
        .await;
        let event = fixture.event(&pod, "NotEnforcedOnAci").await;
        let note = text(&event["note"]);
        for field in [
            "spec.securityContext.fsGroup",
            "spec.containers[0].securityContext.readOnlyRootFilesystem",
            "spec.containers[0].livenessProbe.tcpSocket",
            "spec.containers[0].resources.requests[ephemeral-storage]",
        ] {
            assert!(note.contains(field), "{note}");
        }
        assert_eq!(fixture.events(&pod, "NotEnforcedOnAci").await.len(), 1);

        let memory = spec(json!({"medium": "Memory"}));
        fixture
            .create_pod("refused", "example.com/web", memory)
            .await;
        let pod = fixture
            .pod_until("refused", "it is refused", PATIENCE, |pod| {
                waiting(pod) == "NotSupportedOnAci"
            })
            .await;
        let message = text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]);
        assert!(
            message.contains("spec.compatibility.memoryVolumes"),
            "{message}"
        );
        assert_eq!(fixture.groups_of(&pod), [json!(null); 0]);
        fixture.finish().await;
    });
}

#[test]
fn a_directory_and_a_user_are_the_image_s_or_the_pod_s() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "imageuser", "Linux").await;
        let image = |name: &str, user: &str| {
            let mut platform = ImagePlatform::new("linux", &["/app"]);
            platform.user = user.to_owned();
            platform.working_dir = "/srv".to_owned();
            fixture.control.push_image(&Image {
                name: format!("{name}:1"),
                access: Access::Anonymous,
                platforms: vec![platform],
            });
            format!("{}/{name}:1", fixture.url.trim_start_matches("https://"))
        };
        let container = |image: &str, directory: &str| {
            json!({"containers": [{
                "name": "main", "image": image, "command": ["serve"], "workingDir": directory,
                "securityContext": {"runAsNonRoot": true},
            }]})
        };
        let (number, root) = (image("number", "1001"), image("root", ""));
        for (name, image, directory) in [("own", &number, "/srv"), ("other", &number, "/tmp")] {
            fixture
                .create_pod(name, image, container(image, directory))
                .await;
        }
        for (name, command) in [
            ("own", json!(["serve"])),
            (
                "other",
                json!([
                    "/bin/sh",
                    "-c",
                    "cd -- \"$0\" && exec \"$@\"",
                    "/tmp",
                    "serve"
                ]),
            ),
        ] {
            let pod = fixture
                .pod_until(name, "it runs", PATIENCE, is_running)
                .await;
            let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
            let sent = &put["properties"]["containers"][0]["properties"];
            assert_eq!(sent["command"], command, "{name}");
            assert_eq!(
                sent["securityContext"],
                json!({"runAsUser": 1001}),
                "{name}"
            );
        }
        fixture
            .create_pod("root", &root, container(&root, "/srv"))
            .await;
        let pod = fixture
            .pod_until("root", "it is refused", PATIENCE, |pod| {
                waiting(pod) == "CreateContainerConfigError"
            })
            .await;
        let message = text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]);
        assert!(message.contains("image will run as root"), "{message}");
        assert_eq!(fixture.groups_of(&pod), [json!(null); 0]);
        fixture.finish().await;
    });
}
