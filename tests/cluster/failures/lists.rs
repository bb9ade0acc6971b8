//! Row 5: nothing is decided before both lists are there, however long they take.

use aci_emulator::Fault;
use serde_json::json;

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running};
use crate::support::site::{alone, run};

#[test]
fn a_start_without_a_list_of_groups_creates_and_deletes_nothing() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "blind", "Linux").await;
        for name in ["a", "b", "c"] {
            fixture.run_pod(name).await;
        }
        operator.kill();
        fixture.control.inject(Fault {
            method: Some("GET".to_owned()),
            path_contains: Some("/containerGroups".to_owned()),
            status: 503,
            code: "ServiceUnavailable".to_owned(),
            times: 100_000,
            ..Fault::default()
        });
        // One that comes while nobody looks, and one that goes.
        fixture
            .create_pod("new", "example.com/web", json!({}))
            .await;
        fixture.delete_pod("c").await;
        let asked = fixture.control.requests().len();
        operator.start().await;
        let requests = || fixture.control.requests().split_off(asked);
        eventually("the list was asked for three times", 60, || async {
            let lists = requests()
                .iter()
                .filter(|request| request.path.ends_with("/containerGroups"))
                .count();
            if lists >= 3 {
                Ok(())
            } else {
                Err(format!("{lists} times"))
            }
        })
        .await;
        let writes: Vec<_> = requests()
            .into_iter()
            .filter(|request| matches!(request.method.as_str(), "PUT" | "DELETE" | "PATCH"))
            .collect();
        assert!(writes.is_empty(), "{writes:?}");
        fixture.control.clear_faults();
        let pod = fixture.pod_until("new", "it runs", 60, is_running).await;
        eventually("the deleted pod is gone", PATIENCE, || async {
            let pod = fixture.pod("c").await;
            if pod.is_null() {
                Ok(())
            } else {
                Err(pod["status"].to_string())
            }
        })
        .await;
        assert_eq!(fixture.control.group_count(), 3);
        assert_eq!(fixture.count("PUT", &fixture.group_of(&pod)), 1);
        for name in ["a", "b"] {
            let pod = fixture.pod(name).await;
            assert!(is_running(&pod), "{}", pod["status"]);
            assert_eq!(fixture.count("DELETE", &fixture.group_of(&pod)), 0);
        }
        fixture.finish().await;
    });
}
