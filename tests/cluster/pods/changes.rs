//! Images that cannot be had, and pods that are changed while they run.

use aci_emulator::Fault;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text, waiting};
use crate::support::site::{run, shared};

async fn patch(fixture: &Fixture, name: &str, change: Value) {
    let params = PatchParams::default();
    let api = fixture.api::<Pod>();
    api.patch(name, &params, &Patch::Strategic(change))
        .await
        .unwrap();
}

fn image(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "main", "image": image}]}})
}

fn shown(pod: &Value) -> &str {
    text(&pod["status"]["containerStatuses"][0]["image"])
}

#[test]
fn an_image_that_cannot_be_pulled_waits_as_with_a_kubelet_and_can_be_mended() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "pulls", "Linux").await;
        let wrong = "example.com/inaccessible";
        fixture.create_pod("web", wrong, json!({})).await;
        for reason in ["ErrImagePull", "ImagePullBackOff"] {
            let pod = fixture
                .pod_until("web", reason, PATIENCE, |pod| waiting(pod) == reason)
                .await;
            assert_eq!(pod["status"]["phase"], "Pending");
            let wait = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
            let words = "is not accessible. Please check the image and registry credential.";
            assert!(text(&wait["message"]).contains(words), "{wait}");
            let event = fixture.event(&pod, "Failed").await;
            assert!(text(&event["note"]).contains(words), "{event}");
        }
        patch(&fixture, "web", image("example.com/web")).await;
        // At once, whatever the back-off has come to.
        let pod = fixture.pod_until("web", "it runs", 5, is_running).await;
        assert_eq!(shown(&pod), "example.com/web");
        fixture.finish().await;
    });
}

#[test]
fn another_image_restarts_the_container_of_a_pod_that_has_one() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "newimage", "Linux").await;
        let before = fixture.run_pod("web").await;
        // The first PUT's answer is lost, and another one is not needed.
        fixture.control.inject(Fault {
            after_effect: true,
            drop_connection: true,
            ..Fixture::fault("PUT", "web")
        });
        patch(&fixture, "web", image("example.com/new")).await;
        let after = fixture
            .pod_until("web", "it runs with the new image", PATIENCE, |pod| {
                is_running(pod) && shown(pod) == "example.com/new"
            })
            .await;
        let container = |pod: &Value| pod["status"]["containerStatuses"][0].clone();
        let (old, new) = (container(&before), container(&after));
        assert_eq!(new["restartCount"], 1);
        assert_ne!(new["containerID"], old["containerID"]);
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        assert_eq!(fixture.groups_of(&after).len(), 1);
        assert_eq!(fixture.count("PUT", "web"), 2, "one for each image");

        // An image that Azure does not take leaves the container as it is, with Azure's word on the pod.
        fixture.control.inject(Fault {
            status: 400,
            code: "InaccessibleImage".to_owned(),
            message: "The image is not accessible".to_owned(),
            ..Fixture::fault("PUT", "web")
        });
        patch(&fixture, "web", image("example.com/newer")).await;
        let event = fixture.event(&after, "Failed").await;
        assert_eq!(event["type"], "Warning");
        let last = fixture
            .pod_until("web", "it runs with the newest image", PATIENCE, |pod| {
                is_running(pod) && shown(pod) == "example.com/newer"
            })
            .await;
        assert_eq!(container(&last)["restartCount"], 2);
        assert!(fixture.events(&last, "ImageChangeIgnored").await.is_empty());
        fixture.finish().await;
    });
}

#[test]
fn what_a_container_group_cannot_follow_is_told_and_not_shown_as_done() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "changes", "Linux").await;
        let two = json!({"containers": [
            {"name": "main", "image": "example.com/web"}, {"name": "other", "image": "example.com/web"},
        ]});
        fixture.create_pod("web", "", two).await;
        let before = fixture
            .pod_until("web", "it runs", PATIENCE, is_running)
            .await;
        patch(&fixture, "web", image("example.com/new")).await;
        let event = fixture.event(&before, "ImageChangeIgnored").await;
        assert_eq!(event["type"], "Warning");
        assert!(text(&event["note"]).contains("example.com/new"), "{event}");

        let debug =
            json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}});
        let params = PatchParams::default();
        let api = fixture.api::<Pod>();
        api.patch_ephemeral_containers("web", &params, &Patch::Strategic(debug))
            .await
            .unwrap();
        fixture.event(&before, "EphemeralContainerIgnored").await;
        // What waits for it, as `kubectl debug` does, is told that it has ended.
        fixture
            .pod_until(
                "web",
                "the ephemeral container has ended",
                PATIENCE,
                |pod| {
                    let shown = &pod["status"]["ephemeralContainerStatuses"][0];
                    text(&shown["state"]["terminated"]["message"]).contains("kubectl exec")
                },
            )
            .await;

        let labels = json!({"metadata": {"labels": {"new": "label"}}});
        patch(&fixture, "web", labels).await;
        let looks = fixture.count("GET", "web");
        eventually("it is looked at", PATIENCE, || async {
            let now = fixture.count("GET", "web");
            if now > looks + 1 {
                Ok(())
            } else {
                Err(format!("{now}"))
            }
        })
        .await;
        let after = fixture.pod("web").await;
        assert!(is_running(&after));
        assert_eq!(after["spec"]["containers"][0]["image"], "example.com/new");
        assert_eq!(shown(&after), "example.com/web");
        assert_eq!(after["status"]["qosClass"], before["status"]["qosClass"]);
        let container = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
        assert_eq!(container(&after), container(&before));
        assert_eq!(fixture.count("PUT", "web"), 1);
        fixture.finish().await;
    });
}
