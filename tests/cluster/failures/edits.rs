//! Row 23: a connector that is edited faster than it is reconciled.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::support::fixture::{Fixture, condition, eventually, is_running};
use crate::support::site::{run, shared};

const EDITS: u32 = 60;

#[test]
fn of_edits_in_a_loop_the_last_one_counts_and_pods_run_on() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "edits", "Linux").await;
        let pod = fixture.run_pod("web").await;
        let group = fixture.group_of(&pod);
        let connectors = fixture.connectors();
        for edit in 0..EDITS {
            let spec = json!({
                "osType": if edit % 2 == 0 { "Both" } else { "Linux" },
                "suspend": edit % 3 == 0,
                "node": {"labels": {"example.com/edit": edit.to_string()}},
            });
            let patch = Patch::Merge(json!({ "spec": spec }));
            connectors
                .patch(&fixture.name, &PatchParams::default(), &patch)
                .await
                .unwrap();
        }
        let (label, os) = ((EDITS - 1).to_string(), "linux");
        eventually("the last spec is in force", 60, || async {
            let connector = fixture.connector().await;
            let node = fixture.nodes().get(&fixture.node_name(os)).await.unwrap();
            let labels = node.metadata.labels.unwrap_or_default();
            let windows = fixture.nodes().get_opt(&fixture.node_name("windows")).await;
            let observed = &connector["status"]["observedGeneration"];
            let ready = condition(&connector, "Ready");
            if labels.get("example.com/edit") == Some(&label)
                && windows.unwrap().is_none()
                && *observed == connector["metadata"]["generation"]
                && ready["status"] == "True"
                && ready["observedGeneration"] == *observed
            {
                Ok(())
            } else {
                Err(format!("{labels:?}; {}", connector["status"]))
            }
        })
        .await;
        let now = fixture.pod("web").await;
        assert!(is_running(&now), "{}", now["status"]);
        assert_eq!(now["metadata"]["uid"], pod["metadata"]["uid"]);
        assert_eq!(fixture.count("PUT", &group), 1);
        assert_eq!(fixture.count("DELETE", &group), 0);
        // What the last spec says of suspension is what holds.
        fixture.run_pod("after").await;
        fixture.finish().await;
    });
}
