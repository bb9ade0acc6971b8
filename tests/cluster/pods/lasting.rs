//! Failures of Azure after a pod has its container group: of looks, deletes and stops, of the resource group, and without
//! end.

use aci_emulator::Fault;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::classes::{WithStatus, create_fault};
use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text, waiting};
use crate::support::site::{run, shared};

#[test]
fn a_running_pod_outlives_failures_of_its_looks() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "looks", "Linux").await;
        let rows = [
            ("role", "AuthorizationFailed", false, "AzureForbidden"),
            (
                "no-rg",
                "ResourceGroupNotFound",
                false,
                "ResourceGroupNotFound",
            ),
            (
                "no-sub",
                "SubscriptionNotFound",
                false,
                "SubscriptionNotFound",
            ),
            (
                "disabled",
                "InvalidAuthenticationToken",
                false,
                "AzureCredentials",
            ),
            ("proxy", "ServerTimeout", true, ""),
            ("down", "ServerTimeout", false, ""),
        ];
        for (name, ..) in rows {
            fixture.create_pod(name, "example.com/web", json!({})).await;
        }
        let mut before = Vec::new();
        for (name, ..) in rows {
            before.push(
                fixture
                    .pod_until(name, "it runs", PATIENCE, is_running)
                    .await,
            );
        }
        for (name, code, page, _) in rows {
            let fault = Fault {
                method: Some("GET".to_owned()),
                body: page.then(|| "<html>Not Found</html>".to_owned()),
                ..create_fault(name, code)
            };
            let status = if page { 404 } else { fault.status };
            fixture.control.inject(fault.with_status(status));
        }
        for ((name, _, _, reason), before) in rows.iter().zip(&before) {
            if reason.is_empty() {
                eventually("a look failed", PATIENCE, || async {
                    let last = fixture.calls(&format!("{name}-")).pop().unwrap();
                    if last.1 >= 400 {
                        Ok(())
                    } else {
                        Err(format!("{last:?}"))
                    }
                })
                .await;
            } else {
                fixture.event(before, reason).await;
            }
            let now = fixture.pod(name).await;
            assert_eq!(now["status"], before["status"], "{name}");
        }
        fixture.control.clear_faults();
        for ((name, ..), before) in rows.iter().zip(&before) {
            let group = fixture.group_of(before);
            fixture.control.finish_container(&group, "main", 1).unwrap();
            fixture
                .pod_until(name, "it is looked at again", 70, |pod| {
                    pod["status"]["containerStatuses"][0]["restartCount"].as_i64() > Some(0)
                })
                .await;
        }
        fixture.finish().await;
    });
}

#[test]
fn deletes_and_stops_that_azure_refuses() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "ending", "Linux").await;
        let rows = [
            ("locked", "ScopeLocked", "AzureLocked"),
            ("role", "AuthorizationFailed", "AzureForbidden"),
            (
                "disabled",
                "ReadOnlyDisabledSubscription",
                "SubscriptionDisabled",
            ),
            ("busy", "ContainerGroupTransitioning", ""),
            ("down", "ServerTimeout", ""),
        ];
        let mut pods = Vec::new();
        for (name, ..) in rows {
            fixture.create_pod(name, "example.com/web", json!({})).await;
        }
        fixture
            .create_pod("stop", "example.com/web", json!({"restartPolicy": "Never"}))
            .await;
        for (name, code, _) in rows {
            pods.push(
                fixture
                    .pod_until(name, "it runs", PATIENCE, is_running)
                    .await,
            );
            fixture.control.inject(Fault {
                method: Some("DELETE".to_owned()),
                ..create_fault(name, code)
            });
        }
        let job = fixture
            .pod_until("stop", "it runs", PATIENCE, is_running)
            .await;
        fixture.control.inject(Fault {
            method: Some("POST".to_owned()),
            times: 1,
            ..create_fault("stop", "ContainerGroupTransitioning")
        });
        for (name, ..) in rows {
            fixture.delete_pod(name).await;
        }
        // Somebody fails the pod: what Azure still runs of it is stopped.
        let failed = json!({"status": {"phase": "Failed"}});
        fixture
            .api::<Pod>()
            .patch_status("stop", &PatchParams::default(), &Patch::Merge(&failed))
            .await
            .unwrap();
        for ((name, code, reason), pod) in rows.iter().zip(&pods) {
            eventually("the delete is refused", PATIENCE, || async {
                let refused = Fault::recorded(code).unwrap().status;
                if fixture
                    .calls(&format!("{name}-"))
                    .contains(&("DELETE".to_owned(), refused))
                {
                    Ok(())
                } else {
                    Err(format!("{:?}", fixture.calls(&format!("{name}-"))))
                }
            })
            .await;
            if !reason.is_empty() {
                let event = fixture.event(pod, reason).await;
                assert_eq!(event["type"], "Warning");
            }
            let now = fixture.pod(name).await;
            assert!(
                now["metadata"]["deletionTimestamp"].is_string(),
                "{name} is gone"
            );
            assert_eq!(fixture.groups_of(pod).len(), 1, "{name}");
        }
        fixture.control.clear_faults();
        for ((name, ..), pod) in rows.iter().zip(&pods) {
            fixture
                .pod_until(name, "it is gone", 70, Value::is_null)
                .await;
            assert!(fixture.groups_of(pod).is_empty(), "{name}");
        }
        let group = fixture.group_of(&job);
        eventually(
            "the group is stopped, at the second try",
            PATIENCE,
            || async {
                let state =
                    fixture.groups_of(&job)[0]["properties"]["instanceView"]["state"].clone();
                if state == "Stopped" {
                    Ok(())
                } else {
                    Err(format!("{group}: {state}"))
                }
            },
        )
        .await;
        assert_eq!(fixture.count("POST", "stop-"), 2);
        fixture.finish().await;
    });
}

#[test]
fn a_resource_group_that_is_deleted_in_the_middle() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "rg-gone", "Linux").await;
        let kept = fixture.run_pod("kept").await;
        fixture.run_pod("leaves").await;
        assert!(fixture.control.remove_resource_group("rg-gone-rg"));
        fixture.event(&kept, "ResourceGroupNotFound").await;
        let now = fixture.pod("kept").await;
        assert_eq!(
            now["status"], kept["status"],
            "nobody knows what became of it"
        );
        // A pod that is deleted has nothing left that would have to go.
        fixture.delete_pod("leaves").await;
        fixture
            .pod_until("leaves", "it is gone", PATIENCE, Value::is_null)
            .await;
        fixture
            .create_pod("new", "example.com/web", json!({}))
            .await;
        fixture
            .pod_until("new", "it waits", PATIENCE, |pod| {
                waiting(pod) == "ResourceGroupNotFound"
            })
            .await;
        fixture.control.add_resource_group("rg-gone-rg", "eastus");
        fixture.pod_until("new", "it runs", 70, is_running).await;
        // What it ran in is gone: it is started again, and that is counted.
        fixture
            .pod_until("kept", "it runs again", 70, |pod| {
                is_running(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
            })
            .await;
        let params = DeleteParams::default();
        fixture.api::<Pod>().delete("kept", &params).await.unwrap();
        fixture
            .pod_until("kept", "it is gone", PATIENCE, Value::is_null)
            .await;
        fixture.finish().await;
    });
}

#[test]
fn a_group_that_is_never_provisioned_is_waited_for() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "endless", "Linux").await;
        fixture
            .control
            .set_start_delay(std::time::Duration::from_secs(86_400));
        fixture
            .create_pod("web", "example.com/web", json!({}))
            .await;
        eventually(
            "it has been looked at for some seconds",
            PATIENCE,
            || async {
                let looks = fixture.count("GET", "web-");
                if looks >= 10 {
                    Ok(())
                } else {
                    Err(format!("{looks} looks"))
                }
            },
        )
        .await;
        let pod = fixture.pod("web").await;
        assert_eq!(
            (waiting(&pod), text(&pod["status"]["phase"])),
            ("ContainerCreating", "Pending")
        );
        assert_eq!(fixture.count("PUT", "web-"), 1);
        // It can be deleted all the same.
        fixture.delete_pod("web").await;
        fixture
            .pod_until("web", "it is gone", PATIENCE, Value::is_null)
            .await;
        assert_eq!(fixture.control.group_count(), 0);
        fixture.finish().await;
    });
}
