//! `kubectl logs -f`.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use aci_emulator::Fault;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::fixture::{Fixture, eventually};
use crate::support::site::{plane, run, shared};

/// A running `kubectl logs -f`.
struct Following {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Following {
    async fn start(fixture: &Fixture, args: &[&str]) -> Self {
        let plane = plane().await;
        let mut child = Command::new(plane.kubectl())
            .args(["--namespace", &fixture.name, "logs", "-f"])
            .args(args)
            .env("KUBECONFIG", plane.kubeconfig())
            .env("HOME", plane.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let line = tokio::time::timeout(Duration::from_secs(45), self.lines.next_line());
        line.await.expect("a line or the end within 45 s").unwrap()
    }

    async fn expect(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.next().await.as_deref(), Some(*line));
        }
    }

    /// It has ended by itself, with success.
    async fn ended(mut self) {
        assert_eq!(self.next().await, None);
        assert!(self.child.wait().await.unwrap().success());
    }
}

fn looks(fixture: &Fixture) -> usize {
    let requests = fixture.control.requests().into_iter();
    requests
        .filter(|request| request.path.ends_with("/logs"))
        .count()
}

#[test]
fn everything_once_and_in_order_until_the_container_ends() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "follow", "Linux").await;
        let never = serde_json::json!({"restartPolicy": "Never"});
        fixture.create_pod("job", "example.com/job", never).await;
        let pod = fixture
            .pod_until("job", "it runs", 30, crate::support::fixture::is_running)
            .await;
        let group = fixture.group_of(&pod);
        let write = |text: &str| fixture.control.append_log(&group, "main", text).unwrap();
        write("a\nb");
        let mut all = Following::start(&fixture, &["job"]).await;
        let mut tail = Following::start(&fixture, &["job", "--tail=1"]).await;
        let mut limited = Following::start(&fixture, &["job", "--tail=0", "--limit-bytes=5"]).await;
        all.expect(&["main started from example.com/job", "a", "b"])
            .await;
        tail.expect(&["b"]).await;
        // Lines of one time, and with one text, in one look and in several.
        write("same\nsame");
        all.expect(&["same", "same"]).await;
        write("same");
        all.expect(&["same"]).await;
        tail.expect(&["same", "same", "same"]).await;
        limited.expect(&["same"]).await;
        limited.ended().await;
        // Azure fails in the middle; nothing is lost.
        fixture.control.inject(Fault {
            status: 500,
            times: 2,
            path_contains: Some(format!("{group}/containers/main/logs")),
            ..Fault::default()
        });
        let many: Vec<String> = (0..700).map(|n| format!("line {n}")).collect();
        write(&many.join("\n"));
        for line in &many {
            assert_eq!(all.next().await.as_ref(), Some(line));
            assert_eq!(tail.next().await.as_ref(), Some(line));
        }
        write("the last word");
        fixture.control.finish_container(&group, "main", 0).unwrap();
        for mut following in [all, tail] {
            following.expect(&["the last word"]).await;
            following.ended().await;
        }
        fixture.finish().await;
    });
}

#[test]
fn a_window_that_moved_on_is_told() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "gap", "Linux").await;
        let pod = fixture.run_pod("chatty").await;
        let group = fixture.group_of(&pod);
        let mut following = Following::start(&fixture, &["chatty"]).await;
        following
            .expect(&["main started from example.com/web"])
            .await;
        // More than the 4 MB that Azure keeps, between two looks.
        let mut text = String::new();
        for n in 0..60_000 {
            writeln!(text, "{n:0100}").unwrap();
        }
        fixture.control.append_log(&group, "main", &text).unwrap();
        let notice = following.next().await.unwrap();
        assert!(notice.contains("lines may be missing here"), "{notice}");
        let first: u32 = following
            .next()
            .await
            .unwrap()
            .trim_start_matches('0')
            .parse()
            .unwrap();
        assert!(first > 10_000, "{first}");
        for n in first + 1..60_000 {
            assert_eq!(following.next().await.unwrap(), format!("{n:0100}"));
        }
        fixture
            .control
            .append_log(&group, "main", "and on")
            .unwrap();
        following.expect(&["and on"]).await;
        fixture.finish().await;
    });
}

#[test]
fn nobody_looks_for_a_client_that_has_gone() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "gone", "Linux").await;
        fixture.run_pod("web").await;
        let mut following = Following::start(&fixture, &["web"]).await;
        following
            .expect(&["main started from example.com/web"])
            .await;
        let before = looks(&fixture);
        eventually("it looks again and again", 20, || async {
            let now = looks(&fixture);
            if now >= before + 2 {
                Ok(())
            } else {
                Err(format!("{now} looks"))
            }
        })
        .await;
        following.child.kill().await.unwrap();
        // The API server tells the end of its client at once; a look may be under way.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = looks(&fixture);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(looks(&fixture), after, "it looked although nobody listens");

        // A pod that is deleted ends its followers.
        let mut following = Following::start(&fixture, &["web"]).await;
        following
            .expect(&["main started from example.com/web"])
            .await;
        fixture.delete_pod("web").await;
        following.ended().await;
        fixture.finish().await;
    });
}
