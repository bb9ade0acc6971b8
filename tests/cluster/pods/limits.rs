//! Azure's limit of creates and deletes.

use std::time::Instant;

use serde_json::json;

use crate::support::fixture::{Fixture, PATIENCE, eventually, is_running, text, waiting};
use crate::support::site::{run, shared};

#[test]
fn a_pod_waits_for_the_create_limit_and_says_so() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "window", "Linux").await;
        fixture.control.change_settings(|settings| {
            settings.throttle = true;
            settings.provider_requests_5m = 3;
            settings.provider_requests_1h = 300;
        });
        for name in ["first", "second", "third"] {
            fixture.run_pod(name).await;
        }
        let begun = Instant::now();
        for name in ["fourth", "fifth"] {
            fixture.create_pod(name, "example.com/web", json!({})).await;
            let pod = fixture
                .pod_until(name, "it waits in line", PATIENCE, |pod| {
                    waiting(pod) == "WaitingForAzureLimit"
                })
                .await;
            assert_eq!(pod["status"]["phase"], "Pending");
            let container = &pod["status"]["containerStatuses"][0];
            let message = text(&container["state"]["waiting"]["message"]);
            let says = [
                "Azure allows 3 creates and deletes in 5 minutes in this subscription; this create is number ",
                " in line; next try about ",
            ];
            assert!(says.iter().all(|part| message.contains(part)), "{message}");
            let event = fixture.event(&pod, "WaitingForAzureLimit").await;
            assert_eq!(event["type"], "Warning");
            assert!(fixture.calls(name).is_empty(), "nothing was sent");
        }

        // Who leaves the line leaves nothing behind and costs no call.
        fixture.delete_pod("fifth").await;
        eventually("the fifth pod is gone", PATIENCE, || async {
            let pod = fixture.pod("fifth").await;
            if pod.is_null() {
                Ok(())
            } else {
                Err(pod["status"].to_string())
            }
        })
        .await;
        assert!(fixture.calls("fifth").is_empty());

        // More than the limit was never sent, and when there is room the next one goes by itself.
        assert_eq!(fixture.count("PUT", ""), 3);
        fixture
            .control
            .change_settings(|settings| settings.provider_requests_5m = 100);
        fixture.pod_until("fourth", "it runs", 60, is_running).await;
        assert!(begun.elapsed().as_secs() < 90, "tried every half minute");
        assert_eq!(fixture.control.counts().by_status.get(&429), None);
        fixture.run_pod("sixth").await;
        fixture.finish().await;
    });
}
