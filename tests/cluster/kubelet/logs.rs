//! `kubectl logs` of what was written.

use aci_emulator::Fault;
use serde_json::json;

use crate::support::fixture::{Fixture, PATIENCE, is_running, text};
use crate::support::site::{run, shared};
use crate::support::tools::{address, certificate, client, complaint, get, printed};

/// The lines that `main` of the pod `web` has written, without the one that the emulator begins with.
const LINES: &str = "one\ntwo\nthree äöü\n\nfive\r\nsix\n";

async fn pod_with_logs(fixture: &Fixture) -> String {
    let shape = json!({
        "initContainers": [{"name": "prepare", "image": "example.com/prepare", "command": ["true"]}],
        "containers": [
            {"name": "main", "image": "example.com/main"},
            {"name": "side", "image": "example.com/side"},
        ],
    });
    fixture.create_pod("web", "", shape).await;
    let pod = fixture
        .pod_until("web", "it runs", PATIENCE, is_running)
        .await;
    let group = fixture.group_of(&pod);
    fixture.control.append_log(&group, "main", LINES).unwrap();
    fixture.control.append_log(&group, "side", "aside").unwrap();
    group
}

#[test]
fn every_flag() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "logs", "Linux").await;
        pod_with_logs(&fixture).await;
        let logs = async |flags: &[&str]| {
            let mut args = vec!["logs", "web", "-c", "main"];
            args.extend_from_slice(flags);
            printed(&fixture, &args).await
        };
        let began = "main started from example.com/main\n";
        // The emulator splits at CRLF as well.
        let lines = LINES.replace("\r\n", "\n");
        assert_eq!(logs(&[]).await, format!("{began}{lines}"));
        assert_eq!(logs(&["--tail=2"]).await, "five\nsix\n");
        assert_eq!(logs(&["--tail=0"]).await, "");
        assert_eq!(logs(&["--tail=100"]).await, format!("{began}{lines}"));
        assert_eq!(logs(&["--limit-bytes=7"]).await, &began[..7]);
        assert_eq!(logs(&["--since=1h", "--tail=1"]).await, "six\n");
        assert_eq!(logs(&["--since-time=2100-01-01T00:00:00Z"]).await, "");

        let timed = logs(&["--timestamps"]).await;
        let words: Vec<(&str, &str)> = timed
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .collect();
        let texts: Vec<&str> = words.iter().map(|(_, text)| *text).collect();
        assert_eq!(texts.join("\n") + "\n", format!("{began}{lines}"));
        let written = words[1].0;
        assert!(written.ends_with('Z') && written.len() == 30, "{written}");
        // kubectl sends whole seconds.
        let at = address(&fixture).await;
        let client = client(Some(
            &certificate("logs-master", Some("system:masters")).await,
        ));
        let since = async |query: &str| {
            let url = format!("{at}/containerLogs/logs/web/main?sinceTime={written}{query}");
            get(&client, &url).await.1
        };
        assert_eq!(since("").await, lines, "the first line is older");
        assert_eq!(
            since("&timestamps=true&tailLines=2&limitBytes=33").await,
            format!("{written} fi")
        );

        assert!(
            printed(&fixture, &["logs", "web", "-c", "prepare"])
                .await
                .starts_with("prepare started")
        );
        let all = printed(&fixture, &["logs", "web", "--all-containers", "--prefix"]).await;
        for line in [
            "[pod/web/prepare] prepare started",
            "[pod/web/main] one",
            "[pod/web/side] aside",
        ] {
            assert!(all.contains(line), "{line} is missing in\n{all}");
        }
        fixture.finish().await;
    });
}

#[test]
fn what_is_refused_and_how() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "logs-no", "Linux").await;
        let group = pod_with_logs(&fixture).await;
        for (args, expected) in [
            (
                &["logs", "web", "-c", "main", "--previous"][..],
                "previous terminated container \"main\" in pod \"web\" not found",
            ),
            (
                &["logs", "web", "-c", "nobody"],
                "container nobody is not valid for pod web",
            ),
            (&["logs", "nowhere"], "pods \"nowhere\" not found"),
        ] {
            let stderr = complaint(&fixture, args).await;
            assert!(stderr.contains(expected), "{args:?}: {stderr}");
        }

        let at = address(&fixture).await;
        let client = client(Some(
            &certificate("logs-no-master", Some("system:masters")).await,
        ));
        let ask = async |path: &str| get(&client, &format!("{at}/containerLogs/{path}")).await;
        for (path, status, expected) in [
            (
                "logs-no/nowhere/main",
                404,
                "pod \"nowhere\" does not exist\n",
            ),
            ("elsewhere/web/main", 404, "pod \"web\" does not exist\n"),
            (
                "logs-no/web/nobody",
                404,
                "container \"nobody\" not found in pod \"web\"\n",
            ),
            (
                "logs-no/web/main?tailLines=x",
                400,
                "{\"message\": \"Unable to decode query.\"}\n",
            ),
            (
                "logs-no/web/main?limitBytes=0",
                422,
                "{\"message\": \"Invalid request.\"}\n",
            ),
        ] {
            assert_eq!(ask(path).await, (status, expected.to_owned()), "{path}");
        }

        // What Azure answers.
        for (status, code, expected) in [
            (404, "ContainerLogNotAvailable", 200),
            (404, "ResourceNotFound", 404),
            (404, "ContainerNotFound", 404),
            (409, "ContainerGroupTransitioning", 400),
            (409, "ContainerGroupDeploymentNotReady", 400),
            (429, "TooManyRequests", 429),
            (500, "InternalServerError", 502),
            (504, "GatewayTimeout", 502),
            (403, "AuthorizationFailed", 502),
        ] {
            fixture.control.inject(Fault {
                status,
                code: code.to_owned(),
                message: "a message of Azure's".to_owned(),
                times: 1,
                path_contains: Some(format!("{group}/containers/main/logs")),
                ..Fault::default()
            });
            let (got, said) = ask("logs-no/web/main").await;
            assert_eq!(got, expected, "{code}: {said}");
            if expected != 200 {
                assert!(
                    said.contains("a message of Azure's") && said.contains(code),
                    "{said}"
                );
            }
        }
        let (status, said) = ask("logs-no/web/main?tailLines=1").await;
        assert_eq!((status, said.as_str()), (200, "six\n"));
        fixture.finish().await;
    });
}

#[test]
fn a_container_that_does_not_run_yet() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "logs-wait", "Linux").await;
        fixture
            .control
            .set_start_delay(std::time::Duration::from_secs(600));
        fixture
            .create_pod("slow", "example.com/web", json!({}))
            .await;
        fixture
            .pod_until("slow", "it waits", PATIENCE, |pod| {
                text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"])
                    == "ContainerCreating"
            })
            .await;
        let stderr = complaint(&fixture, &["logs", "slow"]).await;
        let expected = "container \"main\" in pod \"slow\" is waiting to start: ContainerCreating";
        assert!(stderr.contains(expected), "{stderr}");
        fixture.finish().await;
    });
}
