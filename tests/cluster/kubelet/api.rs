//! Who may ask what of a node, and what there is to ask.

use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use serde_json::Value;

use crate::support::fixture::{Fixture, eventually};
use crate::support::site::{Runs as _, Site, run, shared};
use crate::support::tools::{
    address, certificate, certificate_at, client, get, kubectl, names, printed,
};

/// A certificate that a client signed for itself, with the name of the API server's own.
fn foreign() -> String {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver-kubelet-client");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:masters");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
}

/// The user and the service account `nurse` may ask for the node's health and figures; `visitor` is only known.
async fn give_rights(fixture: &Fixture) {
    let mut role = vec!["create", "clusterrole", "who-healthz", "--verb=get"];
    role.push("--resource=nodes/healthz,nodes/stats");
    let mut binding = vec!["create", "clusterrolebinding", "who-healthz"];
    binding.extend(["--clusterrole=who-healthz", "--user=who-nurse"]);
    binding.push("--serviceaccount=who:nurse");
    for args in [
        &role[..],
        &binding,
        &["create", "serviceaccount", "nurse"],
        &["create", "serviceaccount", "visitor"],
    ] {
        printed(fixture, args).await;
    }
}

#[test]
fn who_may_ask() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "who", "Linux").await;
        let at = address(&fixture).await;
        let healthz = format!("{at}/healthz");
        give_rights(&fixture).await;
        let by = |identity: String, url: String| async move {
            get(&client(Some(&identity)), &url).await
        };
        let masters = certificate("who-master", Some("system:masters")).await;
        let nurse = certificate("who-nurse", None).await;
        let visitor = certificate("who-visitor", None).await;

        // Certificates.
        assert_eq!(
            by(masters.clone(), healthz.clone()).await,
            (200, "ok".into())
        );
        assert_eq!(by(nurse.clone(), healthz.clone()).await, (200, "ok".into()));
        assert_eq!(
            by(visitor.clone(), healthz.clone()).await,
            (403, "Forbidden (user=who-visitor, verb=get, resource=nodes, subresource=healthz,proxy)\n".into())
        );
        let (status, text) = by(nurse, format!("{at}/pods")).await;
        assert_eq!(
            (status, text.contains("subresource=pods,proxy")),
            (403, true),
            "{text}"
        );
        assert_eq!(
            by(foreign(), healthz.clone()).await,
            (401, "Unauthorized\n".into())
        );
        assert_eq!(
            get(&client(None), &healthz).await,
            (401, "Unauthorized\n".into())
        );

        // Tokens, alone and with a certificate that does not count.
        let token = async |name: &str| {
            printed(&fixture, &["create", "token", name])
                .await
                .trim()
                .to_owned()
        };
        for (token, status) in [
            (token("nurse").await, 200),
            (token("visitor").await, 403),
            ("rubbish".into(), 401),
        ] {
            for client in [client(None), client(Some(&foreign()))] {
                let answer = client
                    .get(&healthz)
                    .bearer_auth(&token)
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.status().as_u16(), status);
            }
        }
        let answer = client(Some(&masters))
            .get(&healthz)
            .bearer_auth("rubbish")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 200, "the certificate is enough");

        // Nobody learns what there is without being known.
        for (path, status) in [
            ("nothing", 404),
            ("exec/a/b", 404),
            ("containerLogs/x", 404),
            ("%68ealthz", 404),
        ] {
            let url = format!("{at}/{path}");
            assert_eq!(get(&client(None), &url).await.0, 401, "{path}");
            assert_eq!(by(visitor.clone(), url.clone()).await.0, 403, "{path}");
            assert_eq!(by(masters.clone(), url).await.0, status, "{path}");
        }
        let answer = client(Some(&masters))
            .post(format!("{at}/pods"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 405);

        fixture.finish().await;
    });
}

#[test]
fn the_pods_of_the_node() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "list", "Linux").await;
        let at = address(&fixture).await;
        let client = client(Some(
            &certificate("list-master", Some("system:masters")).await,
        ));
        let list = async |path: &str| get(&client, &format!("{at}/{path}")).await.1;
        assert_eq!(names(&list("pods").await), [""; 0]);
        let pod = fixture.run_pod("one").await;
        fixture.control.set_start_delay(Duration::from_secs(600));
        fixture
            .create_pod("two", "example.com/web", serde_json::json!({}))
            .await;
        fixture
            .pod_until("two", "it is bound", 30, |pod| {
                pod["spec"]["nodeName"].is_string()
            })
            .await;
        for path in ["pods", "pods/"] {
            assert_eq!(names(&list(path).await), ["one", "two"], "{path}");
        }
        // What runs is published five times a second at most.
        eventually("what runs is listed", 1, || async {
            !names(&list("runningpods").await).is_empty()
        })
        .await;
        for path in ["runningpods", "runningpods/"] {
            let text = list(path).await;
            assert_eq!(names(&text), ["one"], "{path}");
            let running: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(running["kind"], "PodList");
            let item = &running["items"][0];
            assert_eq!(item["metadata"]["uid"], pod["metadata"]["uid"]);
            assert_eq!(item["spec"]["containers"][0]["name"], "main");
            assert_eq!(item["status"]["phase"], "Running");
        }
        let forced = [
            "delete",
            "pod",
            "one",
            "--grace-period=0",
            "--force",
            "--wait=false",
        ];
        assert!(kubectl(&fixture, &forced).await.status.success());
        let begun = Instant::now();
        eventually("the deleted pod is not listed", 1, || async {
            let running = names(&list("runningpods").await);
            if running.is_empty() {
                Ok(())
            } else {
                Err(format!("{running:?}"))
            }
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(1));
        fixture.finish().await;
    });
}

#[test]
fn sessions_that_cannot_begin() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "begin", "Linux").await;
        fixture.run_pod("web").await;
        let at = address(&fixture).await;
        let client = client(Some(
            &certificate("begin-master", Some("system:masters")).await,
        ));
        let exec = "command=true&output=1";
        for (path, status, text) in [
            (
                format!("exec/begin/nobody/main?{exec}"),
                404,
                "pod \"nobody\" does not exist",
            ),
            (
                format!("exec/elsewhere/web/main?{exec}"),
                404,
                "pod \"web\" does not exist",
            ),
            (
                format!("exec/begin/web/another-uid/main?{exec}"),
                404,
                "pod \"web\" does not exist",
            ),
            (
                format!("exec/begin/web/side?{exec}"),
                404,
                "container not found (\"side\")",
            ),
            (
                "exec/begin/web/main?output=1".into(),
                400,
                "you must specify at least 1 command for the container",
            ),
            (
                "exec/begin/web/main?command=true".into(),
                400,
                "you must specify at least 1 of stdin, stdout, stderr",
            ),
            (
                format!("exec/begin/web/main?{exec}"),
                400,
                "unable to upgrade: missing upgrade headers in request",
            ),
            (
                "attach/begin/web/side?output=1".into(),
                404,
                "container not found (\"side\")",
            ),
            (
                "attach/begin/web/main".into(),
                400,
                "you must specify at least 1 of stdin, stdout, stderr",
            ),
            (
                "portForward/begin/nobody".into(),
                404,
                "pod \"nobody\" does not exist",
            ),
            (
                "portForward/begin/web/another-uid".into(),
                404,
                "pod \"web\" does not exist",
            ),
            (
                "portForward/begin/web".into(),
                400,
                "unable to upgrade: missing upgrade headers in request",
            ),
        ] {
            let url = format!("{at}/{path}");
            assert_eq!(
                get(&client, &url).await,
                (status, format!("{text}\n")),
                "{path}"
            );
            let posted = client.post(&url).send().await.unwrap();
            assert_eq!(posted.status().as_u16(), status, "{path}");
        }
        fixture.finish().await;
    });
}

#[test]
fn the_port_of_a_node_stays_through_a_restart() {
    // What other tests have left to be removed would keep an operator that they share from being idle.
    static SITE: Site = Site::new();
    run(async {
        let mut operator = SITE.alone().await;
        let fixture = Fixture::start(&operator, "port", "Linux").await;
        let before = address(&fixture).await;
        let took = operator.terminate().await;
        assert!(
            took < Duration::from_secs(6),
            "an idle kubelet API ends at once: {took:?}"
        );
        operator.start().await;
        fixture.connector_is_ready().await;
        let plane = operator.plane();
        let master = certificate_at(plane, "port-master", Some("system:masters"));
        let client = client(Some(&master));
        eventually("it answers again", 20, || async {
            let url = format!("{before}/healthz");
            match client.get(&url).send().await {
                Ok(answer) if answer.status().is_success() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(address(&fixture).await, before);
        assert_eq!(plane.check().ok(), Some(()));
        let _operator = operator.share();
        fixture.finish().await;
    });
}
