//! `kubectl attach`.

use std::process::Stdio;
use std::time::Duration;

use aci_emulator::Fault;
use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader, Lines};

use super::client::{Wire, declare, kubectl, run_kubectl};
use crate::support::fixture::{Fixture, is_running};
use crate::support::site::{run, shared};

/// A pod that runs once and is to be attached to by `wire`: its name and its group.
async fn job(fixture: &Fixture, wire: Wire) -> (String, String) {
    declare(fixture, wire == Wire::WebSocket).await;
    let name = format!("{wire:?}").to_lowercase();
    let never = json!({"restartPolicy": "Never"});
    fixture.create_pod(&name, "example.com/job", never).await;
    let pod = fixture.pod_until(&name, "it runs", 30, is_running).await;
    (name, fixture.group_of(&pod))
}

#[test]
fn output_is_shown_until_the_container_ends() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "attach", "Linux").await;
        for wire in [Wire::WebSocket, Wire::Translated, Wire::Spdy] {
            let (name, group) = job(&fixture, wire).await;
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

/// What is printed, until it holds `text`.
async fn until(lines: &mut Lines<impl AsyncBufRead + Unpin>, text: &str) -> String {
    let mut printed = String::new();
    let limit = Duration::from_secs(60);
    let reading = async {
        while !printed.contains(text) {
            match lines.next_line().await.unwrap() {
                Some(line) => printed += &(line + "\n"),
                None => panic!("the end came after {printed:?}"),
            }
        }
    };
    tokio::time::timeout(limit, reading).await.expect("in time");
    printed
}

#[test]
fn the_log_is_shown_where_azure_does_not_attach() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "attach-log", "Linux").await;
        for wire in [Wire::WebSocket, Wire::Translated, Wire::Spdy] {
            let (name, group) = job(&fixture, wire).await;
            let write = |text: &str| fixture.control.append_log(&group, "main", text).unwrap();
            fixture.control.inject(Fault {
                status: 400,
                code: "AttachNotSupported".to_owned(),
                message: "not today".to_owned(),
                times: 1,
                path_contains: Some(format!("{group}/containers/main/attach")),
                ..Fault::default()
            });
            let mut child = kubectl(&fixture, wire, &["attach", &name])
                .await
                .spawn()
                .unwrap();
            let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
            let remark = until(&mut said, "[virtual-kubelet]").await;
            assert!(
                remark.contains("Azure did not attach (AttachNotSupported: not today"),
                "{wire:?}: {remark}"
            );
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            // The remark comes before the first look at the log: what is written meanwhile may be old or new.
            let mut number = 0;
            let first = loop {
                number += 1;
                write(&format!("line {number}\n"));
                let line = tokio::time::timeout(Duration::from_secs(1), lines.next_line());
                if let Ok(line) = line.await {
                    break line.unwrap().unwrap();
                }
                assert!(number < 60, "{wire:?}: nothing is shown");
            };
            // From now on: not from the beginning.
            assert!(first.starts_with("line "), "{wire:?}: {first}");
            write("the last word\n");
            fixture.control.finish_container(&group, "main", 0).unwrap();
            until(&mut lines, "the last word").await;
            assert_eq!(lines.next_line().await.unwrap(), None);
            assert!(child.wait().await.unwrap().success(), "{wire:?}");
        }
        fixture.finish().await;
    });
}

#[test]
fn it_is_said_that_there_is_no_input() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "attach-in", "Linux").await;
        let pod = fixture.run_pod("web").await;
        let group = fixture.group_of(&pod);
        for wire in [Wire::WebSocket, Wire::Translated, Wire::Spdy] {
            declare(&fixture, wire == Wire::WebSocket).await;
            let mut command = kubectl(&fixture, wire, &["attach", "-i", "web"]).await;
            command.stdin(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
            until(&mut said, "takes no input for it: use kubectl exec -i").await;
            let word = format!("hello {wire:?}");
            fixture.control.append_log(&group, "main", &word).unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            until(&mut lines, &word).await;
            child.kill().await.unwrap();
        }
        fixture.finish().await;
    });
}

#[test]
fn a_container_that_has_ended_beside_one_that_runs() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "attach-end", "Linux").await;
        let shape = json!({"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "example.com/web"},
            {"name": "side", "image": "example.com/job"},
        ]});
        fixture.create_pod("web", "", shape).await;
        let pod = fixture.pod_until("web", "it runs", 30, is_running).await;
        let group = fixture.group_of(&pod);
        fixture.control.finish_container(&group, "side", 3).unwrap();
        fixture
            .pod_until("web", "side has ended", 30, |pod| {
                let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
                statuses
                    .iter()
                    .any(|status| status["state"]["terminated"]["exitCode"] == 3)
            })
            .await;
        for wire in [Wire::WebSocket, Wire::Translated, Wire::Spdy] {
            declare(&fixture, wire == Wire::WebSocket).await;
            for args in [
                &["attach", "web", "-c", "side"][..],
                &["exec", "web", "-c", "side", "--", "true"],
            ] {
                let ended = run_kubectl(&fixture, wire, args).await;
                let text = "container \"side\" in pod \"web\" is not running: it has ended with exit code 3";
                assert_ne!(ended.code, 0);
                assert!(
                    ended.stderr.contains(text),
                    "{wire:?} {args:?}: {}",
                    ended.stderr
                );
            }
        }
        fixture.finish().await;
    });
}
