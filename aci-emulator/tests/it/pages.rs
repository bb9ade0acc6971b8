//! Pages of running groups.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use aci_emulator::Config;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::harness::{DELAY, Test, small};

/// A port that is free on all of loopback just now.
fn free_port() -> u16 {
    loop {
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        if (30001..49152).contains(&port) {
            return port;
        }
    }
}

async fn answers(address: SocketAddr, wanted: bool) {
    let begin = Instant::now();
    while TcpStream::connect(address).await.is_ok() != wanted {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{address} answers: {}",
            !wanted
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_running_group_serves_a_page_on_its_own_address() {
    let config = Config {
        start_delay: DELAY,
        ..Config::default()
    };
    let test = Test::with(config).await;
    let port = free_port();
    let mut body = small();
    body["properties"]["containers"][0]["properties"]["ports"] =
        json!([{"port": port, "protocol": "TCP"}]);
    body["properties"]["ipAddress"] = json!({"type": "Public", "ports": [{"port": port}]});
    let group: Value = test.running("web", &body).await;
    let ip: IpAddr = group["properties"]["ipAddress"]["ip"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(ip.is_loopback());
    let address = SocketAddr::new(ip, port);
    answers(address, true).await;
    let plain = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let page = plain
        .get(format!("http://{address}/any"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        page.contains("Container group web") && page.contains("nginx:1"),
        "{page}"
    );

    let grpc = |status: &'static str| async move {
        let endpoint = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
        let answer = client.check(tonic_health::pb::HealthCheckRequest::default());
        let answer = answer.await.unwrap().into_inner();
        assert_eq!(answer.status().as_str_name(), status);
    };
    grpc("SERVING").await;
    test.control.set_page_status("web", 503).unwrap();
    let begin = Instant::now();
    loop {
        let answer = plain.get(format!("http://{address}/")).send().await;
        if answer.unwrap().status() == 503 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "it goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    grpc("NOT_SERVING").await;
    test.control.set_page_status("web", 200).unwrap();

    test.control.stop_group("web").unwrap();
    answers(address, false).await;
    assert_eq!(test.post("web", "/start", None).await.status, 202);
    answers(address, true).await;
    test.control.finish_container("web", "web", 0).unwrap();
    answers(address, false).await;
    test.delete("web").await;
    test.emulator.stop().await;
}
