//! Azure says no, or says nothing.

use std::time::{Duration, Instant};

use aci_emulator::Fault;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, waiting};
use crate::support::site::{run, shared};

#[test]
fn a_create_that_took_effect_unheard_is_not_repeated() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "unheard", "Linux").await;
        let unavailable = Fault {
            status: 503,
            code: "ServiceUnavailable".to_owned(),
            after_effect: true,
            ..Fixture::fault("PUT", "answered")
        };
        let dropped = Fault {
            after_effect: true,
            drop_connection: true,
            ..Fixture::fault("PUT", "dropped")
        };
        let lost = Fault {
            drop_connection: true,
            ..Fixture::fault("PUT", "lost")
        };
        for fault in [unavailable, dropped, lost] {
            fixture.control.inject(fault);
        }
        for name in ["answered", "dropped", "lost"] {
            fixture.create_pod(name, "example.com/web", json!({})).await;
        }
        for (name, status, puts) in [("answered", 503, 1), ("dropped", 0, 1), ("lost", 0, 2)] {
            let pod = fixture
                .pod_until(name, "it runs", PATIENCE, is_running)
                .await;
            assert_eq!(fixture.groups_of(&pod).len(), 1);
            let calls = fixture.calls(name);
            assert_eq!(calls[0], ("PUT".to_owned(), status), "{name}");
            // It looked before anything else.
            let found = if puts == 1 { 200 } else { 404 };
            assert_eq!(calls[1], ("GET".to_owned(), found), "{name}: {calls:?}");
            assert_eq!(fixture.count("PUT", name), puts, "{name}: {calls:?}");
            assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
        }
        assert!(fixture.control.faults().is_empty());
        fixture.finish().await;
    });
}

#[test]
fn a_pod_over_the_quota_waits_and_heals() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "over-quota", "Linux").await;
        let names = ["conflict", "bad"];
        for (name, status) in names.into_iter().zip([409, 400]) {
            fixture.control.inject(Fault {
                status,
                code: "ContainerGroupQuotaReached".to_owned(),
                message: "Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota \
                          'ContainerGroups' exceeded in region 'eastus'."
                    .to_owned(),
                times: 1000,
                ..Fixture::fault("PUT", name)
            });
        }
        for name in names {
            fixture.create_pod(name, "example.com/web", json!({})).await;
        }
        for name in names {
            let pod = fixture
                .pod_until(name, "it waits", PATIENCE, |pod| {
                    waiting(pod) == "AciQuotaExceeded"
                })
                .await;
            assert_eq!(pod["status"]["phase"], "Pending");
            let container = &pod["status"]["containerStatuses"][0];
            let message = container["state"]["waiting"]["message"].to_string();
            assert!(message.contains("quota"), "{message}");
            assert_eq!(
                fixture.event(&pod, "AciQuotaExceeded").await["type"],
                "Warning"
            );
        }
        eventually("both were tried again", PATIENCE, || async {
            let tries = names.map(|name| fixture.count("PUT", name));
            if tries.iter().all(|tries| *tries >= 2) {
                Ok(())
            } else {
                Err(format!("{tries:?}"))
            }
        })
        .await;
        fixture.control.clear_faults();
        for name in names {
            let pod = fixture
                .pod_until(name, "it runs", PATIENCE, is_running)
                .await;
            assert_eq!(
                fixture.events(&pod, "AciQuotaExceeded").await.len(),
                1,
                "told once"
            );
            assert_eq!(fixture.groups_of(&pod).len(), 1);
            let mut puts = fixture.requests(name);
            puts.retain(|request| request.method == "PUT");
            let pause = puts[1].at - puts[0].at;
            assert!(pause.num_seconds() >= 4, "tried again after {pause}");
        }
        fixture.finish().await;
    });
}

#[test]
fn one_throttled_read_delays_nobody_else() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "throttled", "Linux").await;
        fixture.run_pod("unlucky").await;
        fixture.control.inject(Fault {
            status: 429,
            code: "TooManyRequests".to_owned(),
            retry_after: Some(20),
            ..Fixture::fault("GET", "unlucky")
        });
        eventually("the read is refused", PATIENCE, || async {
            if fixture.control.faults().is_empty() {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        })
        .await;
        let begun = Instant::now();
        let names = ["one", "two", "three"];
        for name in names {
            fixture.create_pod(name, "example.com/web", json!({})).await;
        }
        for name in names {
            fixture.pod_until(name, "it runs", 5, is_running).await;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        // The one it was said to waits.
        let calls = fixture.calls("unlucky");
        assert_eq!(calls.last(), Some(&("GET".to_owned(), 429)), "{calls:?}");
        fixture.finish().await;
    });
}

#[test]
fn a_group_that_found_no_capacity_is_cleared_and_tried_again() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "capacity", "Linux").await;
        fixture.control.fail_next_puts(1, None);
        fixture
            .create_pod("web", "example.com/web", json!({}))
            .await;
        let pod = fixture
            .pod_until("web", "it waits", PATIENCE, |pod| {
                waiting(pod) == "AciCapacity"
            })
            .await;
        assert_eq!(pod["status"]["phase"], "Pending");
        eventually("the failed group is deleted", 5, || async {
            let left = fixture.control.group_count();
            if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} groups"))
            }
        })
        .await;
        let pod = fixture
            .pod_until("web", "it runs", PATIENCE, is_running)
            .await;
        fixture.event(&pod, "AciCapacity").await;
        let mut calls = fixture.calls("web");
        calls.retain(|(method, _)| method != "GET");
        let methods: Vec<&str> = calls.iter().map(|(method, _)| method.as_str()).collect();
        assert_eq!(methods, ["PUT", "DELETE", "PUT"], "{calls:?}");
        assert_eq!(calls[2], ("PUT".to_owned(), 201));
        assert_eq!(fixture.groups_of(&pod).len(), 1);
        let restarts: &Value = &pod["status"]["containerStatuses"][0]["restartCount"];
        assert_eq!(*restarts, 0);
        fixture.finish().await;
    });
}
