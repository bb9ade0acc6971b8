//! `kubectl exec` and `kubectl cp`.

use std::time::Duration;

use aci_emulator::Fault;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::client::{Wire, declare, finish, kubectl, on_terminal, run_kubectl};
use crate::support::fixture::{Fixture, eventually};
use crate::support::site::{log, run, shared};

const WIRES: [Wire; 3] = [Wire::WebSocket, Wire::Translated, Wire::Spdy];

#[test]
fn commands_streams_and_exit_codes() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "exec", "Linux").await;
        fixture.run_pod("web").await;
        for wire in WIRES {
            declare(&fixture, wire == Wire::WebSocket).await;
            let exec = async |flags: &[&str], command: &[&str], input: Option<Vec<u8>>| {
                let args = [&["exec", "web"], flags, &["--"], command].concat();
                finish(kubectl(&fixture, wire, &args).await, input).await
            };
            let ended = exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 7"], None).await;
            assert_eq!(
                (ended.code, ended.text().as_str(), ended.stderr.as_str()),
                (7, "out\n", "err\ncommand terminated with exit code 7\n"),
                "{wire:?}"
            );
            let odd = "it's \"a\"  $HOME `x`\\n\n\t!ü %s";
            let ended = exec(&[], &["printf", "%s|", odd, "", "b c"], None).await;
            assert_eq!(
                (ended.code, ended.text()),
                (0, format!("{odd}||b c|")),
                "{wire:?}"
            );
            // All of it is in the URL, of which a client that the operator does not know may have a quarter.
            let long = "x".repeat(60_000);
            let ended = exec(&[], &["sh", "-c", "echo ${#1}", "sh", &long], None).await;
            assert_eq!(
                (ended.code, ended.text().as_str()),
                (0, "60000\n"),
                "{wire:?}: {}",
                ended.stderr
            );
            // Three megabytes of every byte, there and back.
            let bytes: Vec<u8> = (0..3_u32 << 20)
                .map(|n| (n ^ (n >> 8)).to_le_bytes()[0])
                .collect();
            let ended = exec(&["-i"], &["cat"], Some(bytes.clone())).await;
            assert_eq!(ended.code, 0, "{wire:?}: {}", ended.stderr);
            assert!(
                ended.stdout == bytes,
                "{wire:?}: {} bytes came back",
                ended.stdout.len()
            );
            let read = ["sh", "-c", "read word; echo \"got $word\"; exit 4"];
            let ended = exec(&["-i"], &read, Some(b"sesame-open\n".to_vec())).await;
            assert_eq!(
                (ended.code, ended.text().as_str()),
                (4, "got sesame-open\n"),
                "{wire:?}"
            );
            // Nobody types: the command sees an empty input, not an open one.
            assert_eq!(exec(&[], &["cat"], None).await.code, 0);
            let ended = exec(&[], &["no-such-program"], None).await;
            assert_eq!(ended.code, 127, "{}", ended.stderr);
        }
        let said = std::fs::read_to_string(log().await).unwrap();
        assert!(!said.contains("sesame"), "what was typed is in the log");
        fixture.finish().await;
    });
}

#[test]
fn a_terminal() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "tty", "Linux").await;
        fixture.run_pod("web").await;
        for wire in WIRES {
            declare(&fixture, wire == Wire::WebSocket).await;
            let command = on_terminal(&fixture, wire, &["exec", "-it", "web", "--", "sh"]).await;
            let typed = "stty size; test -t 1 && echo a-$((1+1)); exit 9\n";
            let ended = finish(command, Some(typed.into())).await;
            let shown = ended.text();
            assert!(shown.contains("33 111\r\na-2\r\n"), "{wire:?}: {shown}");
            assert_eq!(ended.code, 9, "{wire:?}: {shown}");
            // Without -i kubectl asks for no terminal.
            let line = [
                "exec",
                "-t",
                "web",
                "--",
                "sh",
                "-c",
                "'test -t 1 || echo b; exit 5'",
            ];
            let ended = finish(on_terminal(&fixture, wire, &line).await, None).await;
            let shown = ended.text();
            assert!(shown.contains("b\r\n"), "{wire:?}: {shown}");
            assert_eq!(ended.code, 5, "{wire:?}: {shown}");
        }
        fixture.finish().await;
    });
}

#[test]
fn files_are_copied_both_ways() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "copy", "Linux").await;
        fixture.run_pod("web").await;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let bytes: Vec<u8> = (0..200_000_u32)
            .map(|n| n.wrapping_mul(n).to_le_bytes()[1])
            .collect();
        std::fs::write(path("here"), &bytes).unwrap();
        for wire in WIRES {
            declare(&fixture, wire == Wire::WebSocket).await;
            let there = path(&format!("there-{wire:?}"));
            let target = format!("web:{there}");
            let up = run_kubectl(&fixture, wire, &["cp", &path("here"), &target]).await;
            assert_eq!(up.code, 0, "{wire:?}: {}", up.stderr);
            assert!(std::fs::read(&there).unwrap() == bytes);
            // tar writes a remark to its standard error: it must not get into the archive.
            let back = format!("{there}-back");
            let down = run_kubectl(&fixture, wire, &["cp", &target, &back]).await;
            assert_eq!(down.code, 0, "{wire:?}: {}", down.stderr);
            assert!(std::fs::read(&back).unwrap() == bytes);
        }
        fixture.finish().await;
    });
}

#[test]
fn what_cannot_be_done_is_said() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "noexec", "Linux").await;
        fixture
            .create_pod(
                "job",
                "example.com/exit:3",
                json!({"restartPolicy": "Never"}),
            )
            .await;
        fixture
            .pod_until("job", "it has failed", 30, |pod| {
                pod["status"]["phase"] == "Failed"
            })
            .await;
        fixture.run_pod("web").await;
        for wire in [Wire::WebSocket, Wire::Spdy] {
            for (args, text) in [
                (
                    &["exec", "web", "-c", "nope", "--", "ls"][..],
                    "container nope is not valid for pod web",
                ),
                (&["exec", "nope", "--", "ls"], "pods \"nope\" not found"),
                (&["exec", "job", "--", "ls"], "completed"),
                (&["attach", "job"], "completed"),
                (&["port-forward", "job", ":80"], "not running"),
            ] {
                let ended = run_kubectl(&fixture, wire, args).await;
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

#[test]
fn what_azure_answers_is_said() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "exec-no", "Linux").await;
        let pod = fixture.run_pod("web").await;
        let group = fixture.group_of(&pod);
        for wire in WIRES {
            declare(&fixture, wire == Wire::WebSocket).await;
            for (status, code) in [
                (404, "ContainerNotFound"),
                (409, "ContainerGroupTransitioning"),
                (429, "TooManyRequests"),
                (500, "InternalServerError"),
            ] {
                fixture.control.inject(Fault {
                    status,
                    code: code.to_owned(),
                    message: "a message of Azure's".to_owned(),
                    // More than there are attempts.
                    times: 10,
                    path_contains: Some(format!("{group}/containers/main/exec")),
                    ..Fault::default()
                });
                let ended = run_kubectl(&fixture, wire, &["exec", "web", "--", "true"]).await;
                fixture.control.clear_faults();
                assert_eq!(ended.code, 1, "{wire:?} {code}: {}", ended.stderr);
                assert!(
                    ended
                        .stderr
                        .contains("error executing command in container")
                        && ended.stderr.contains(code),
                    "{wire:?} {code}: {}",
                    ended.stderr
                );
            }
            let ended = run_kubectl(&fixture, wire, &["exec", "web", "--", "true"]).await;
            assert_eq!(ended.code, 0, "{wire:?}: {}", ended.stderr);
        }
        fixture.finish().await;
    });
}

#[test]
fn a_client_that_goes_away_interrupts_its_command() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "exec-gone", "Linux").await;
        fixture.run_pod("web").await;
        let folder = tempfile::tempdir().unwrap();
        for wire in WIRES {
            declare(&fixture, wire == Wire::WebSocket).await;
            let file = folder.path().join(format!("{wire:?}"));
            let command = format!(
                "trap 'echo yes > {}; exit 0' INT; echo ready; while :; do sleep 0.1; done",
                file.display()
            );
            let args = ["exec", "web", "--", "sh", "-c", &command];
            let mut child = kubectl(&fixture, wire, &args).await.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let ready = lines.next_line().await.unwrap();
            assert_eq!(ready.as_deref(), Some("ready"), "{wire:?}");
            child.kill().await.unwrap();
            eventually("it was interrupted", 30, || async {
                let written = std::fs::read_to_string(&file).unwrap_or_default();
                if written == "yes\n" {
                    Ok(())
                } else {
                    Err(format!("{wire:?}: {written:?}"))
                }
            })
            .await;
        }
        fixture.finish().await;
    });
}

#[test]
fn a_session_that_azure_breaks_ends_with_an_error() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "exec-cut", "Linux").await;
        fixture.run_pod("web").await;
        for wire in WIRES {
            declare(&fixture, wire == Wire::WebSocket).await;
            let args = [
                "exec",
                "web",
                "--",
                "sh",
                "-c",
                "echo ready; exec sleep 300",
            ];
            let mut child = kubectl(&fixture, wire, &args).await.spawn().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let ready = lines.next_line().await.unwrap();
            assert_eq!(ready.as_deref(), Some("ready"), "{wire:?}");
            fixture.control.break_sockets();
            let limit = Duration::from_secs(20);
            let ended = tokio::time::timeout(limit, child.wait_with_output()).await;
            let ended = ended.expect("kubectl ends").unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert_eq!(ended.status.code(), Some(1), "{wire:?}: {said}");
            assert!(said.contains("session broke"), "{wire:?}: {said}");
        }
        fixture.finish().await;
    });
}

#[test]
fn control_c_reaches_the_command_and_not_kubectl() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "exec-int", "Linux").await;
        fixture.run_pod("web").await;
        let command = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done";
        // The terminal hands the line to a shell of its own.
        let quoted = format!("\"{command}\"");
        for wire in WIRES {
            declare(&fixture, wire == Wire::WebSocket).await;
            let args = ["exec", "-it", "web", "--", "sh", "-c", &quoted];
            let mut child = on_terminal(&fixture, wire, &args).await.spawn().unwrap();
            let mut typing = child.stdin.take().unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut shown = Vec::new();
            let end = async {
                while let Some(line) = lines.next_line().await.unwrap() {
                    if line.trim() == "ready" {
                        typing.write_all(b"\x03").await.unwrap();
                    }
                    shown.push(line);
                }
                child.wait().await.unwrap()
            };
            let ended = tokio::time::timeout(Duration::from_secs(30), end).await;
            let ended = ended.expect("kubectl ends");
            assert!(
                shown.iter().any(|line| line.contains("caught")),
                "{wire:?}: {shown:?}"
            );
            assert_eq!(ended.code(), Some(3), "{wire:?}: {shown:?}");
        }
        fixture.finish().await;
    });
}
