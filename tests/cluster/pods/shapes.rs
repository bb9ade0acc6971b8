//! Pods with init containers, probes and a security context.

use serde_json::json;

use crate::support::fixture::{Fixture, PATIENCE, condition, is_running};
use crate::support::site::{run, shared};

#[test]
fn a_restricted_pod_with_an_init_container_and_probes_runs() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "shapes", "Linux").await;
        let security = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        let shape = json!({
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000},
            "initContainers": [{
                "name": "prepare",
                "image": "example.com/prepare",
                "command": ["true"],
                "securityContext": security,
            }],
            "containers": [{
                "name": "main",
                "image": "example.com/web",
                "ports": [{"name": "web", "containerPort": 8080}],
                "livenessProbe": {"httpGet": {"path": "/up", "port": "web", "httpHeaders": [{"name": "X", "value": "y"}]}},
                "readinessProbe": {"exec": {"command": ["cat", "/ready"]}, "periodSeconds": 3},
                "securityContext": security,
            }],
        });
        fixture.create_pod("shaped", "example.com/web", shape).await;
        let pod = fixture
            .pod_until("shaped", "it runs", PATIENCE, is_running)
            .await;
        let put = fixture.control.last_put(&fixture.group_of(&pod)).unwrap();
        let arm = json!({
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": 1000,
        });
        let main = &put["properties"]["containers"][0]["properties"];
        assert_eq!(main["securityContext"], arm);
        assert_eq!(
            main["livenessProbe"],
            json!({
                "httpGet": {"path": "/up", "port": 8080, "scheme": "http", "httpHeaders": [{"name": "X", "value": "y"}]},
                "initialDelaySeconds": 0,
                "periodSeconds": 10,
                "failureThreshold": 3,
                "successThreshold": 1,
                "timeoutSeconds": 1,
            })
        );
        assert_eq!(
            main["readinessProbe"]["exec"],
            json!({"command": ["cat", "/ready"]})
        );
        assert_eq!(main["readinessProbe"]["periodSeconds"], 3);
        let init = &put["properties"]["initContainers"][0];
        assert_eq!(init["name"], "prepare");
        assert_eq!(init["properties"]["command"], json!(["true"]));
        assert_eq!(init["properties"]["securityContext"], arm);
        let status = &pod["status"]["initContainerStatuses"][0];
        assert_eq!(status["state"]["terminated"]["exitCode"], 0, "{status}");
        assert_eq!(status["ready"], true);
        assert_eq!(condition(&pod, "Initialized")["status"], "True");
        fixture.finish().await;
    });
}

#[test]
fn an_init_container_that_fails_for_good_fails_its_pod() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "initfail", "Linux").await;
        let shape = json!({
            "restartPolicy": "Never",
            "initContainers": [{"name": "prepare", "image": "example.com/exit:3"}],
        });
        fixture.create_pod("stuck", "example.com/web", shape).await;
        let pod = fixture
            .pod_until("stuck", "it fails", PATIENCE, |pod| {
                pod["status"]["phase"] == "Failed"
            })
            .await;
        let init = &pod["status"]["initContainerStatuses"][0];
        assert_eq!(init["state"]["terminated"]["exitCode"], 3, "{init}");
        let main = &pod["status"]["containerStatuses"][0]["state"];
        assert_eq!(main["waiting"]["reason"], "PodInitializing", "{main}");
        let initialized = condition(&pod, "Initialized");
        assert_eq!(initialized["status"], "False");
        assert_eq!(initialized["reason"], "ContainersNotInitialized");
        fixture.finish().await;
    });
}
