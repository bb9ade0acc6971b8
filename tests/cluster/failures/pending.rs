//! Row 6: pods that are deleted while their groups are being made.

use std::time::Duration;

use aci_emulator::Fault;
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;
use serde_json::json;

use crate::support::fixture::{Fixture, PATIENCE, eventually};
use crate::support::site::{run, shared};

async fn nothing_is_left(fixture: &Fixture, name: &str) {
    eventually(
        &format!("{name} and its group are gone"),
        PATIENCE,
        || async {
            let (pod, groups) = (fixture.pod(name).await, fixture.control.groups());
            if pod.is_null() && groups.is_empty() {
                Ok(())
            } else {
                Err(format!("{}; {} groups", pod["status"], groups.len()))
            }
        },
    )
    .await;
}

async fn put_is_sent(fixture: &Fixture, name: &str) {
    eventually("its PUT has arrived", PATIENCE, || async {
        match fixture.count("PUT", name) {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

#[test]
fn a_pod_deleted_while_azure_provisions_for_a_quarter_of_an_hour_leaves_nothing() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "slow", "Linux").await;
        fixture.control.set_start_delay(Duration::from_mins(15));
        fixture
            .create_pod("web", "example.com/web", json!({}))
            .await;
        put_is_sent(&fixture, "web").await;
        fixture.delete_pod("web").await;
        nothing_is_left(&fixture, "web").await;
        assert_eq!(fixture.count("PUT", "web"), 1);
        fixture.finish().await;
    });
}

#[test]
fn a_group_that_comes_into_being_after_its_pod_was_deleted_is_removed() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "late", "Linux").await;
        // The answer is lost as well: whether there is a group is known to nobody.
        fixture.control.inject(Fault {
            hang: Some(Duration::from_secs(3)),
            after_effect: true,
            status: 500,
            times: 1,
            ..Fixture::fault("PUT", "web")
        });
        fixture
            .create_pod("web", "example.com/web", json!({}))
            .await;
        put_is_sent(&fixture, "web").await;
        fixture.delete_pod("web").await;
        nothing_is_left(&fixture, "web").await;
        // And so when nobody waits for the pod's end.
        fixture.control.inject(Fault {
            hang: Some(Duration::from_secs(3)),
            status: 0,
            times: 1,
            ..Fixture::fault("PUT", "forced")
        });
        fixture
            .create_pod("forced", "example.com/web", json!({}))
            .await;
        eventually("its PUT is under way", PATIENCE, || async {
            let faults = fixture.control.faults();
            if faults.is_empty() {
                Ok(())
            } else {
                Err(format!("{faults:?}"))
            }
        })
        .await;
        let force = DeleteParams::default().grace_period(0);
        fixture.api::<Pod>().delete("forced", &force).await.unwrap();
        assert!(fixture.pod("forced").await.is_null());
        eventually("a group was made", PATIENCE, || async {
            let calls = fixture.calls("forced");
            if calls.contains(&("PUT".to_owned(), 201)) {
                Ok(())
            } else {
                Err(format!("{calls:?}"))
            }
        })
        .await;
        nothing_is_left(&fixture, "forced").await;
        fixture.finish().await;
    });
}
