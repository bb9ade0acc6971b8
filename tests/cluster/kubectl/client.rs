//! A kubectl whose streams are ours, over the protocol that a test wants.

use std::process::Stdio;
use std::time::Duration;

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::fixture::Fixture;
use crate::support::site::plane;

/// Which protocol reaches the kubelet API.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wire {
    /// kubectl and API server speak `WebSocket`s, and so do we.
    WebSocket,
    /// kubectl speaks a `WebSocket`, the API server translates: what clusters before 1.36 do.
    Translated,
    /// kubectl speaks SPDY.
    Spdy,
}

pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Whether the fixture's node says that it takes `WebSocket`s. Without the feature the API server translates to SPDY.
pub(crate) async fn declare(fixture: &Fixture, feature: bool) {
    let features = if feature {
        json!(["ExtendWebSocketsToKubelet"])
    } else {
        json!(null)
    };
    let patch = json!({"status": {"declaredFeatures": features}});
    let params = PatchParams::default();
    fixture
        .nodes()
        .patch_status(&fixture.node_name("linux"), &params, &Patch::Merge(&patch))
        .await
        .unwrap();
}

/// kubectl in the fixture's namespace, not started.
pub(crate) async fn kubectl(fixture: &Fixture, wire: Wire, args: &[&str]) -> Command {
    let plane = plane().await;
    let mut command = Command::new(plane.kubectl());
    environment(&mut command, wire, plane);
    command
        .args(["--namespace", &fixture.name])
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn environment(command: &mut Command, wire: Wire, plane: &xtask::control_plane::ControlPlane) {
    let sockets = if wire == Wire::Spdy { "false" } else { "true" };
    command
        .env("KUBECONFIG", plane.kubeconfig())
        .env("HOME", plane.dir())
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", sockets)
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", sockets);
}

/// kubectl on a terminal of this size.
pub(crate) async fn on_terminal(fixture: &Fixture, wire: Wire, args: &[&str]) -> Command {
    let plane = plane().await;
    let mut words = vec![plane.kubectl().display().to_string()];
    words.extend(["--namespace".to_owned(), fixture.name.clone()]);
    words.extend(args.iter().map(|word| (*word).to_owned()));
    let line = format!("stty rows 33 cols 111; exec {}", words.join(" "));
    let mut command = Command::new("script");
    environment(&mut command, wire, plane);
    command
        .args(["-q", "-e", "-E", "never", "-c", &line, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end, with this standard input.
pub(crate) async fn finish(mut command: Command, input: Option<Vec<u8>>) -> Ended {
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take();
    let feed = async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // Who does not read it to its end says so in its own way.
            let _ = stdin.write_all(&input).await;
        }
    };
    let both = async { tokio::join!(feed, child.wait_with_output()) };
    let limit = Duration::from_secs(60);
    let ((), output) = tokio::time::timeout(limit, both)
        .await
        .expect("an end within 60 s");
    let output = output.unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs kubectl to its end.
pub(crate) async fn run_kubectl(fixture: &Fixture, wire: Wire, args: &[&str]) -> Ended {
    finish(kubectl(fixture, wire, args).await, None).await
}
