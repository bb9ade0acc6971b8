//! `spec.allowedNamespaces` in the agent: what admission has let through all the same.

use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, merge, text, waiting};
use crate::support::site::{run, shared};

const REASON: &str = "NamespaceNotAllowed";

async fn label(fixture: &Fixture, value: Value) {
    let patch = json!({"metadata": {"labels": {"aci": value}}});
    Api::<Namespace>::all(fixture.client.clone())
        .patch(&fixture.name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
}

#[test]
fn pods_of_a_namespace_that_is_not_allowed_wait_and_those_that_run_go_on() {
    run(async {
        let operator = shared().await;
        let allowed = json!({"allowedNamespaces": {
            "matchLabels": {"aci": "allowed"},
            "matchExpressions": [{"key": "env", "operator": "DoesNotExist"}],
        }});
        let fixture = Fixture::start_with(&operator, "tenant", "Linux", &allowed).await;
        // As where the policy is not installed.
        Api::<ValidatingAdmissionPolicyBinding>::all(fixture.client.clone())
            .delete("vkc-allowed-namespaces", &DeleteParams::default())
            .await
            .unwrap();
        let mut spec = fixture.pod_spec("example.com/web");
        merge(&mut spec, &json!({"nodeName": fixture.node_name("linux")}));
        let object: Pod =
            serde_json::from_value(json!({"metadata": {"name": "stranger"}, "spec": spec}))
                .unwrap();
        eventually("admission forgets the policy", PATIENCE, || async {
            let made = fixture.api().create(&PostParams::default(), &object).await;
            made.map_err(|error| error.to_string())
        })
        .await;
        let pod = fixture
            .pod_until("stranger", "it is refused", PATIENCE, |pod| {
                waiting(pod) == REASON
            })
            .await;
        assert_eq!(pod["status"]["phase"], "Pending");
        let event = fixture.event(&pod, REASON).await;
        assert!(text(&event["note"]).contains("aci=allowed,!env"), "{event}");
        assert_eq!(fixture.calls("stranger"), []);

        label(&fixture, json!("allowed")).await;
        fixture
            .pod_until("stranger", "it runs", PATIENCE, is_running)
            .await;
        label(&fixture, Value::Null).await;
        eventually("the pod that runs is told", PATIENCE, || async {
            let told = fixture.events(&pod, REASON).await;
            let notes: Vec<&str> = told.iter().map(|event| text(&event["note"])).collect();
            if notes.iter().any(|note| note.contains("goes on")) {
                Ok(())
            } else {
                Err(format!("{notes:?}"))
            }
        })
        .await;
        fixture
            .create_pod("late", "example.com/web", json!({}))
            .await;
        fixture
            .pod_until("late", "it is refused", PATIENCE, |pod| {
                waiting(pod) == REASON
            })
            .await;
        assert!(is_running(&fixture.pod("stranger").await));
        assert_eq!(fixture.calls("late"), []);
        assert_eq!(fixture.count("DELETE", "stranger"), 0);
        fixture.delete_pod("late").await;
        fixture
            .pod_until("late", "it is gone", 5, Value::is_null)
            .await;
        assert_eq!(fixture.calls("late"), []);
        fixture.finish().await;
    });
}
