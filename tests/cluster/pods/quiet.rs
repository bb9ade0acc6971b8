//! Nothing happens, so nothing is written.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::support::fixture::{Fixture, PATIENCE, is_running};
use crate::support::site::{run, shared};
use crate::support::watching::{Audit, Watch};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[test]
fn pods_and_nodes_that_do_not_change_are_not_written() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "quiet", "Linux").await;
        for name in NAMES {
            fixture
                .create_pod(name, "example.com/web", serde_json::json!({}))
                .await;
        }
        for name in NAMES {
            let pod = fixture
                .pod_until(name, "it runs", PATIENCE, is_running)
                .await;
            // The last thing that Azure says of it.
            fixture.event(&pod, "Started").await;
        }
        let node = format!("metadata.name={}", fixture.node_name("linux"));
        let mut pods = Watch::<Pod>::start(&fixture.api(), "", &fixture.pods_version().await).await;
        let mut nodes = Watch::<Node>::start(
            &fixture.nodes(),
            &node,
            &fixture.node_version("linux").await,
        )
        .await;
        let audit = Audit::start().await;
        let looks = fixture.count("GET", "");
        let time = Duration::from_secs(10);
        let (pods, nodes) = tokio::join!(pods.all_of(time), nodes.all_of(time));
        assert!(pods.is_empty(), "written: {pods:#?}");
        assert!(nodes.is_empty(), "written: {nodes:#?}");
        assert_eq!(audit.writes(&fixture, "linux").await, [""; 0]);
        let looks = fixture.count("GET", "") - looks;
        assert!(looks >= NAMES.len(), "it was not even looked: {looks}");
        fixture.finish().await;
    });
}
