//! Pods that need the shim, through real parts. What it does in a container its own tests say; here is what Azure gets, and what users see.

use serde_json::json;

use crate::support::fixture::{Fixture, PATIENCE, is_running, text, waiting};
use crate::support::site::{run, shared};

fn needs_it() -> serde_json::Value {
    json!({
        "containers": [{
            "name": "main",
            "image": "example.com/web",
            "command": ["serve"],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "volumeMounts": [{"name": "settings", "mountPath": "/etc/app/app.conf", "subPath": "app.conf"}],
            "securityContext": {
                "runAsUser": 1001,
                "runAsNonRoot": true,
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }],
        "volumes": [{"name": "settings", "configMap": {"name": "settings"}}],
    })
}

async fn settings(fixture: &Fixture) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": fixture.name},
        "data": {"app.conf": "key=1\n"},
    });
    fixture
        .create::<k8s_openapi::api::core::v1::ConfigMap>(&map)
        .await;
}

#[test]
fn a_pod_that_needs_the_shim_has_it_and_says_so() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "shim", "Linux").await;
        settings(&fixture).await;
        fixture
            .create_pod("needs", "example.com/web", needs_it())
            .await;
        let pod = fixture
            .pod_until("needs", "it runs", PATIENCE, is_running)
            .await;
        let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
        let properties = &put["properties"];
        assert_eq!(properties["initContainers"][0]["name"], "vkc-shim");
        let main = &properties["containers"][0]["properties"];
        assert_eq!(
            main["command"],
            json!(["/.vkc/bin/vkc-shim", "run", "--", "serve"])
        );
        assert_eq!(main["securityContext"]["runAsUser"], 0);
        let event = fixture.event(&pod, "ShimAdded").await;
        let note = text(&event["note"]);
        assert!(
            note.contains("subPath") && note.contains("fieldRef"),
            "{note}"
        );
        // The pod has no container of that name.
        assert!(pod["status"]["initContainerStatuses"].is_null());
        fixture.finish().await;
    });
}

#[test]
fn an_image_of_the_shim_that_is_not_pulled_is_not_the_pod_s() {
    run(async {
        let operator = shared().await;
        let patch = json!({"shim": {"image": "example.com/inaccessible/vkc-shim:1"}});
        let fixture = Fixture::start_with(&operator, "shimimage", "Linux", &patch).await;
        settings(&fixture).await;
        fixture
            .create_pod("needs", "example.com/web", needs_it())
            .await;
        let pod = fixture
            .pod_until("needs", "it says why", PATIENCE, |pod| {
                waiting(pod) == "ShimImageNotPulled"
            })
            .await;
        let message = text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]);
        assert!(
            message.contains("example.com/inaccessible/vkc-shim:1")
                && message.contains("spec.shim.image"),
            "{message}"
        );
        // One that needs nothing of it is not concerned.
        fixture
            .create_pod("plain", "example.com/web", json!({}))
            .await;
        fixture
            .pod_until("plain", "it runs", PATIENCE, is_running)
            .await;
        fixture.finish().await;
    });
}

#[test]
fn a_connector_that_forbids_the_shim_has_the_pod_refused() {
    run(async {
        let operator = shared().await;
        let patch = json!({"shim": {"mode": "Never"}});
        let fixture = Fixture::start_with(&operator, "noshim", "Linux", &patch).await;
        settings(&fixture).await;
        fixture
            .create_pod("needs", "example.com/web", needs_it())
            .await;
        let pod = fixture
            .pod_until("needs", "it is refused", PATIENCE, |pod| {
                waiting(pod) == "NotSupportedOnAci"
            })
            .await;
        let message = text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]);
        assert!(message.contains("spec.shim.mode"), "{message}");
        assert_eq!(fixture.groups_of(&pod), [json!(null); 0]);
        fixture.finish().await;
    });
}
