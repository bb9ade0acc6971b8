//! The operator's own `/metrics`, under the rights of its manifests.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vkc::admin;
use vkc::admin::scrapes::{self, Access};
use vkc::kubelet::client_ca;

use crate::support::fixture::eventually;
use crate::support::site::{plane, run};
use crate::support::tools::{certificate, client, clients, get};

async fn kubectl(args: &[&str]) -> String {
    let output = plane().await.kubectl_run(args).await.unwrap();
    output.ok().unwrap()
}

#[test]
fn who_may_read_them() {
    run(async {
        let plane = plane().await;
        let kubeconfig = plane
            .kubeconfig_for_service_account("vkc-system", "vkc")
            .await
            .unwrap();
        let clients = clients(&kubeconfig).await;
        let (sender, cas) = client_ca::channel();
        let follow = client_ca::follow(client_ca::Source::Cluster, clients.operator(), sender);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let (listener, address) = admin::bind(SocketAddr::new(loopback, 0)).await.unwrap();
        let cancel = CancellationToken::new();
        let access = Access::new(cas, clients.operator());
        let router = admin::metrics(Arc::default());
        let serve = scrapes::serve(listener, ("vkc", loopback), router, access, cancel.clone());
        let server = tokio::spawn(async move {
            tokio::select! {
                served = serve => served.unwrap(),
                () = follow => {}
            }
        });
        let url = format!("https://{address}/metrics");

        assert_eq!(get(&client(None), &url).await.0, 401);
        let by = |token: String| {
            let request = client(None).get(&url).bearer_auth(token);
            async move { request.send().await.unwrap().status().as_u16() }
        };
        assert_eq!(by("made.up.token".to_owned()).await, 401);
        kubectl(&[
            "create",
            "serviceaccount",
            "scraper",
            "--namespace",
            "default",
        ])
        .await;
        let token = kubectl(&["create", "token", "scraper", "--namespace", "default"]).await;
        let token = token.trim().to_owned();
        assert_eq!(by(token.clone()).await, 403);
        kubectl(&[
            "create",
            "clusterrolebinding",
            "scraper",
            "--clusterrole=vkc-metrics-reader",
            "--serviceaccount=default:scraper",
        ])
        .await;
        // A no counts for ten seconds.
        eventually("the right counts", 30, || async {
            match by(token.clone()).await {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        })
        .await;
        let master = certificate("metrics-master", Some("system:masters")).await;
        let (status, text) = get(&client(Some(&master)), &url).await;
        assert_eq!(status, 200);
        assert!(text.contains("vkc_build_info"), "{text}");
        let nobody = certificate("metrics-nobody", None).await;
        assert_eq!(get(&client(Some(&nobody)), &url).await.0, 403);
        cancel.cancel();
        server.await.unwrap();
    });
}
