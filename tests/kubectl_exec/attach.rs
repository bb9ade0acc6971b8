//! `kubectl attach`.

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::client::{Wire, declare, kubectl};
use crate::fixture::{Fixture, is_running};
use crate::operator::{run, shared};

#[test]
fn output_is_shown_until_the_container_ends() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "attach", "Linux").await;
        for wire in [Wire::WebSocket, Wire::Translated, Wire::Spdy] {
            declare(&fixture, wire == Wire::WebSocket).await;
            let name = format!("{wire:?}").to_lowercase();
            let never = json!({"restartPolicy": "Never"});
            fixture.create_pod(&name, "example.com/job", never).await;
            let pod = fixture.pod_until(&name, "it runs", 30, is_running).await;
            let group = fixture.group_of(&pod);
            let mut child = kubectl(&fixture, wire, &["attach", &name])
                .await
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let first = lines.next_line().await.unwrap();
            assert_eq!(first.as_deref(), Some("main started from example.com/job"));
            fixture
                .control
                .append_log(&group, "main", "hello\n")
                .unwrap();
            // A CR would be part of the line.
            assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("hello"));
            fixture.control.finish_container(&group, "main", 0).unwrap();
            assert_eq!(lines.next_line().await.unwrap(), None);
            assert!(child.wait().await.unwrap().success(), "{wire:?}");
        }
        fixture.finish().await;
    });
}
