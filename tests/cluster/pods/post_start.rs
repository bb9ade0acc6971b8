//! Hooks that run after the start of a container.

use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, is_running, lines, text};
use crate::support::site::{alone, run, shared};

/// A pod whose hook runs this script.
fn spec(script: &str) -> Value {
    let hook = json!({"exec": {"command": ["/bin/sh", "-c", script]}});
    json!({"containers": [
        {"name": "main", "image": "example.com/web", "lifecycle": {"postStart": hook}},
    ]})
}

#[test]
fn the_pod_is_ready_when_its_hook_has_ended_and_the_hook_is_run_once() {
    run(async {
        let mut operator = alone().await;
        let fixture = Fixture::start(&operator, "post-start", "Linux").await;
        let file = tempfile::NamedTempFile::new().unwrap();
        let gate = tempfile::NamedTempFile::new().unwrap();
        let script = format!(
            "echo begun >>{}; while test -s {}; do sleep 0.1; done",
            file.path().display(),
            gate.path().display()
        );
        std::fs::write(gate.path(), "closed").unwrap();
        fixture.create_pod("web", "", spec(&script)).await;
        let begun = |pod: &Value| lines(&file) == 1 && pod["status"]["phase"] == "Running";
        let pod = fixture
            .pod_until("web", "its hook runs", PATIENCE, begun)
            .await;
        assert!(!is_running(&pod), "{}", pod["status"]);
        assert_eq!(pod["status"]["containerStatuses"][0]["started"], false);
        std::fs::write(gate.path(), "").unwrap();
        fixture
            .pod_until("web", "it is ready", PATIENCE, is_running)
            .await;
        operator.kill();
        operator.start().await;
        fixture.run_pod("another").await;
        assert_eq!(lines(&file), 1, "the next operator runs it no second time");
        fixture.finish().await;
    });
}

#[test]
fn a_container_whose_hook_fails_is_ended_and_started_again() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "post-start-fails", "Linux").await;
        let file = tempfile::NamedTempFile::new().unwrap();
        // The second time it is well.
        let path = file.path().display();
        let script = format!("echo again >>{path}; test $(wc -l <{path}) -gt 1");
        fixture.create_pod("web", "", spec(&script)).await;
        let restarted = |pod: &Value| {
            is_running(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1
        };
        let pod = fixture
            .pod_until("web", "it was restarted and is ready", PATIENCE, restarted)
            .await;
        assert_eq!(lines(&file), 2);
        let event = fixture.event(&pod, "FailedPostStartHook").await;
        let said = "PostStartHook of container main failed: it exited with 1";
        assert_eq!(text(&event["note"]), said);
        fixture.finish().await;
    });
}
