//! Pods that Azure Container Instances cannot run.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, merge, text, waiting};
use crate::support::site::{run, shared};

const REASON: &str = "NotSupportedOnAci";

fn is_refused(pod: &Value) -> bool {
    waiting(pod) == REASON
}

#[test]
fn a_refused_pod_says_why_and_costs_no_call() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "refused", "Linux").await;
        fixture
            .create_pod("hostly", "example.com/web", json!({"hostNetwork": true}))
            .await;
        let pod = fixture
            .pod_until("hostly", "it is refused", PATIENCE, is_refused)
            .await;
        assert_eq!(pod["status"]["phase"], "Pending");
        let message = text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]);
        assert!(message.contains("hostNetwork"), "{message}");
        let event = fixture.event(&pod, REASON).await;
        assert!(text(&event["note"]).contains("hostNetwork"), "{event}");

        // Nobody can schedule around a DaemonSet that tolerates everything; it must not churn either.
        let mut spec = fixture.pod_spec("example.com/agent");
        merge(&mut spec, &json!({"tolerations": [{"operator": "Exists"}]}));
        fixture
            .create::<DaemonSet>(&json!({
                "metadata": {"name": "agent"},
                "spec": {
                    "selector": {"matchLabels": {"app": "agent"}},
                    "template": {"metadata": {"labels": {"app": "agent"}}, "spec": spec},
                },
            }))
            .await;
        let agent = eventually("the DaemonSet's pod is refused", PATIENCE, || async {
            let mut pods = fixture.pods().await;
            pods.retain(|pod| text(&pod["metadata"]["name"]).starts_with("agent-"));
            match pods.as_slice() {
                [pod] if waiting(pod) == "DaemonSetNotAllowed" => Ok(pod.clone()),
                other => Err(format!("{} pods", other.len())),
            }
        })
        .await;
        assert_eq!(agent["status"]["phase"], "Pending");
        fixture.event(&agent, "DaemonSetNotAllowed").await;

        // A pod that runs proves that time has passed for the node.
        fixture.run_pod("clock").await;
        for (refused, reason) in [(&pod, REASON), (&agent, "DaemonSetNotAllowed")] {
            let name = text(&refused["metadata"]["name"]);
            let live = fixture.pod(name).await;
            assert_eq!(live["metadata"]["uid"], refused["metadata"]["uid"]);
            assert_eq!(live["status"]["phase"], "Pending");
            assert_eq!(fixture.calls(name), []);
            assert_eq!(fixture.events(refused, reason).await.len(), 1);
        }
        fixture.delete_pod("hostly").await;
        fixture
            .pod_until("hostly", "it is gone", 5, Value::is_null)
            .await;
        assert_eq!(fixture.calls("hostly"), []);

        let run = json!({"spec": {"daemonSets": "Run"}});
        fixture
            .connectors()
            .patch(&fixture.name, &PatchParams::default(), &Patch::Merge(&run))
            .await
            .unwrap();
        let agent = text(&agent["metadata"]["name"]);
        fixture
            .pod_until(agent, "the DaemonSet's pod runs", PATIENCE, |pod| {
                pod["status"]["phase"] == "Running"
            })
            .await;
        fixture.finish().await;
    });
}

#[test]
fn a_pod_that_no_kubelet_admits_fails_and_costs_no_call() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "rejected", "Linux").await;
        let sysctls = json!({"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]});
        for (name, spec, reason) in [
            (
                "other-os",
                json!({"os": {"name": "windows"}}),
                "PodOSNotSupported",
            ),
            (
                "sysctl",
                json!({"securityContext": sysctls}),
                "SysctlForbidden",
            ),
        ] {
            fixture.create_pod(name, "example.com/web", spec).await;
            let pod = fixture
                .pod_until(name, "it has failed", PATIENCE, |pod| {
                    pod["status"]["phase"] == "Failed"
                })
                .await;
            assert_eq!(pod["status"]["reason"], reason);
            fixture.event(&pod, reason).await;
            assert_eq!(fixture.calls(name), []);
        }
        fixture.finish().await;
    });
}
