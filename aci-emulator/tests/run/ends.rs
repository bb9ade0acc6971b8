//! stop, start, restart, DELETE, the end of the emulator, and what an end without one leaves.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::place::{PATIENCE, Place, images, left, one, view, with};

/// A container that writes into a share what happens to it.
fn witness() -> Value {
    let script = "echo begun >>/share/log; trap 'echo term >>/share/log; exit 0' TERM; while :; do sleep 0.1; done";
    let mount = json!({"volumeMounts": [{"name": "share1", "mountPath": "/share"}]});
    let mut body = with(script, "Never", mount);
    body["properties"]["volumes"] = json!([{"name": "share1", "azureFile":
        {"shareName": "s", "storageAccountName": "a", "storageAccountKey": "a2V5"}}]);
    body
}

impl Place {
    /// Waits until the witness has written this.
    async fn witnessed(&self, lines: &[&str]) {
        let file = self.folder.path().join("state/run/shares/a/s/log");
        let begin = Instant::now();
        loop {
            let log = std::fs::read_to_string(&file).unwrap_or_default();
            if log.lines().eq(lines.iter().copied()) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{log:?} is not {lines:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn stop_start_restart_and_delete_end_processes() {
    let place = Place::start().await;
    place.running("g", &witness()).await;
    place.witnessed(&["begun"]).await;
    assert_eq!(place.test.post("g", "/stop", None).await.status, 204);
    let group = place.test.control.group("g").unwrap();
    assert_eq!(group["properties"]["instanceView"]["state"], "Stopped");
    place.witnessed(&["begun", "term"]).await;
    assert_eq!(place.test.post("g", "/start", None).await.status, 202);
    place.witnessed(&["begun", "term", "begun"]).await;
    place
        .until("g", |group| {
            group["properties"]["provisioningState"] == "Succeeded"
        })
        .await;
    assert_eq!(place.test.post("g", "/restart", None).await.status, 204);
    let twice = ["begun", "term", "begun", "term", "begun"];
    place.witnessed(&twice).await;
    place
        .until("g", |group| {
            view(group)["currentState"]["state"] == "Running"
        })
        .await;
    assert_eq!(place.test.delete("g").await.status, 200);
    place.witnessed(&[&twice[..], &["term"]].concat()).await;
    // A group of the same name begins when the one before has ended.
    place.running("g", &one("exit 0", "Never")).await;
    place.stop().await;
}

#[tokio::test]
async fn two_emulators_are_in_nobodys_way() {
    let (first, second) = (Place::start().await, Place::start().await);
    let serve = json!({"ports": [{"port": 80}]});
    let mut body = with("httpd -f -p 80 -h /var/www", "Never", serve);
    body["properties"]["ipAddress"] =
        json!({"type": "Public", "ports": [{"port": 80, "protocol": "TCP"}]});
    let ip = |group: Value| {
        group["properties"]["ipAddress"]["ip"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let one = ip(first.running("g", &body).await);
    let other = ip(second.running("g", &body).await);
    assert_ne!(one, other);
    first.stop().await;
    assert_eq!(second.page(&other).await.status(), 200);
    second.stop().await;
}

/// Starts the program and waits until it is ready.
fn program(folder: &std::path::Path) -> (std::process::Child, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aci-emulator"))
        .args(["--listen", "127.0.0.1:0", "--start-delay", "0"])
        .args(["--run", "--images"])
        .arg(folder.join("images"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[tokio::test]
async fn what_a_killed_emulator_leaves_the_next_one_removes() {
    killed_and_started_again(false).await;
    killed_and_started_again(true).await;
}

async fn killed_and_started_again(runc_forgets: bool) {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let state = folder.path().join("state");
    let (mut child, ready) = program(folder.path());
    let ca = std::fs::read(ready["ca"].as_str().unwrap()).unwrap();
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let http = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
        .build()
        .unwrap();
    let url = ready["url"].as_str().unwrap();
    let config = aci_emulator::Config::default();
    let token: Value = http
        .post(format!("{url}/{}/oauth2/v2.0/token", config.tenant_id))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default",
            config.client_id, config.client_secret
        ))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let path = crate::harness::group_path("g", "");
    let put = http
        .put(format!(
            "{url}/subscriptions/{}{path}",
            config.subscription_id
        ))
        .bearer_auth(token["access_token"].as_str().unwrap())
        .json(&one("while :; do sleep 1; done", "Never"))
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 201);
    let begin = Instant::now();
    loop {
        let group: Value = http
            .get(format!("{url}/_emulator/groups/g"))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        if view(&group)["currentState"]["state"] == "Running" {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "{group:#}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    if runc_forgets {
        std::fs::remove_dir_all(state.join("run/runc")).unwrap();
    }
    assert!(
        left(&state).len() >= 4,
        "the test is worth something: {:?}",
        left(&state)
    );
    let (mut child, _) = program(folder.path());
    let bridge_only: Vec<String> = left(&state)
        .into_iter()
        .filter(|what| !what.starts_with("/sys/class/net/aci"))
        .collect();
    assert_eq!(bridge_only, Vec::<String>::new());
    // Somebody else's state directory is left alone while he runs.
    let other = Command::new(env!("CARGO_BIN_EXE_aci-emulator"))
        .args(["--listen", "127.0.0.1:0", "--run", "--images"])
        .arg(folder.path().join("images"))
        .arg("--state-dir")
        .arg(&state)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(said.contains("another emulator's"), "{said}");
    let id = child.id().to_string();
    let kill = Command::new("kill").args(["-TERM", &id]).status();
    assert!(kill.unwrap().success());
    assert!(child.wait().unwrap().success());
    assert_eq!(left(&state), Vec::<String>::new());
}

#[test]
fn who_is_not_root_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("images")).unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let said = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", "--"])
        .arg(env!("CARGO_BIN_EXE_aci-emulator"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--run",
            "--images",
            "/",
            "--state-dir",
            "/tmp",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("has to be root") || said.contains("Permission denied"),
        "{said}"
    );
}
