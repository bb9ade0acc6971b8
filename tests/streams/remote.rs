//! exec over SPDY.

use std::time::Duration;

use vkc::kubelet::upgrade::Times;

use crate::server::Server;
use crate::spdy::{Client, Frame, request};

#[tokio::test]
async fn every_protocol_tells_output_and_exit_code() {
    let server = Server::start().await;
    for protocol in [
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
    ] {
        let path = "/exec?command=exit&command=7&output=1&error=1";
        let mut client = Client::connect(server.address, path, protocol).await;
        let error = client.open(&[("streamtype", "error")]).await;
        let stdout = client.open(&[("streamtype", "stdout")]).await;
        let stderr = client.open(&[("StreamType", "stderr")]).await;
        let streams = client.finish().await;
        assert_eq!(streams[&stdout], (b"out".to_vec(), true));
        assert_eq!(streams[&stderr], (b"err".to_vec(), true));
        let (status, ended) = &streams[&error];
        assert!(ended);
        let status = String::from_utf8_lossy(status);
        if protocol.starts_with("v4") {
            assert!(
                status.contains(r#""causes":[{"message":"7","reason":"ExitCode"}]"#),
                "{status}"
            );
        } else {
            assert_eq!(status, "command terminated with non-zero exit code: 7");
        }
        assert_eq!(client.read().await, None);
    }
    server.is_idle().await;
}

#[tokio::test]
async fn success_is_told_from_v4_on_and_errors_always() {
    let server = Server::start().await;
    for (protocol, command, want) in [
        (
            "v4.channel.k8s.io",
            "command=exit&command=0",
            r#"{"metadata":{},"status":"Success"}"#,
        ),
        ("v2.channel.k8s.io", "command=exit&command=0", ""),
        (
            "v2.channel.k8s.io",
            "command=fail",
            "Internal error occurred: error executing command in container: the connection to the container was lost before the command ended",
        ),
    ] {
        let path = format!("/exec?{command}&output=1");
        let mut client = Client::connect(server.address, &path, protocol).await;
        let stdout = client.open(&[("streamtype", "stdout")]).await;
        let error = client.open(&[("streamtype", "error")]).await;
        let streams = client.finish().await;
        assert!(streams[&stdout].1);
        assert_eq!(String::from_utf8_lossy(&streams[&error].0), want);
    }
}

#[tokio::test]
async fn standard_input_comes_back_and_its_end_is_seen() {
    let server = Server::start().await;
    let path = "/exec?command=copy&input=1&output=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    client.open(&[("streamtype", "error")]).await;
    let stdin = client.open(&[("streamtype", "stdin")]).await;
    let stdout = client.open(&[("streamtype", "stdout")]).await;
    // Nobody asked for these.
    let odd = client.open(&[("streamtype", "stderr")]).await;
    let second = client.open(&[("streamtype", "stdin")]).await;
    client.ping(5).await;
    let mut seen = Vec::new();
    while seen.len() < 8 {
        seen.push(client.read().await.unwrap());
    }
    for id in [odd, second] {
        assert!(seen.contains(&Frame::Reset(id, 5)), "{seen:?}");
    }
    assert!(seen.contains(&Frame::Ping(5)), "{seen:?}");
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    client.data(stdin, &bytes[..7], false).await;
    assert_eq!(
        client.read().await,
        Some(Frame::Data(stdout, bytes[..7].to_vec(), false))
    );
    let mut back = bytes[..7].to_vec();
    for part in bytes[7..].chunks(100_000) {
        client.data(stdin, part, false).await;
        while back.len() < 7 + part.len().min(bytes.len()) && back.len() < bytes.len() {
            match client.read().await.unwrap() {
                Frame::Data(id, part, _) if id == stdout => back.extend(part),
                other => panic!("{other:?}"),
            }
        }
    }
    while back.len() < bytes.len() {
        match client.read().await.unwrap() {
            Frame::Data(id, part, _) if id == stdout => back.extend(part),
            other => panic!("{other:?}"),
        }
    }
    assert!(back == bytes);
    client.data(stdin, b"", true).await;
    assert_eq!(
        client.read().await,
        Some(Frame::Data(stdout, Vec::new(), true))
    );
}

#[tokio::test]
async fn the_first_size_of_the_terminal_arrives() {
    let server = Server::start().await;
    let path = "/exec?command=size&output=1&error=1&tty=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    client.open(&[("streamtype", "error")]).await;
    let stdout = client.open(&[("streamtype", "stdout")]).await;
    let resize = client.open(&[("streamtype", "resize")]).await;
    client.data(resize, br#"{"Width":120,"He"#, false).await;
    client
        .data(resize, br#"ight":40}{"Width":1,"Height":1}"#, false)
        .await;
    assert_eq!(client.finish().await[&stdout], (b"40x120".to_vec(), true));
}

#[tokio::test]
async fn what_is_no_session_is_refused_before_it_begins() {
    let server = Server::start().await;
    let upgrade = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
    let with = |protocol| {
        [
            upgrade[0],
            upgrade[1],
            ("X-Stream-Protocol-Version", protocol),
        ]
    };
    let good = "/exec?command=wait&output=1";
    let (status, _, _) = request(server.address, good, &[]).await;
    assert_eq!(status, 400);
    let (status, _, _) = request(server.address, good, &upgrade).await;
    assert_eq!(status, 400);
    let (status, head, _) = request(server.address, good, &with("v9")).await;
    assert_eq!(status, 403);
    assert_eq!(
        head.matches("x-accepted-stream-protocol-versions: ")
            .count(),
        4,
        "{head}"
    );
    let none = "/exec?command=wait&tty=1";
    let (status, _, _) = request(server.address, none, &with("v4.channel.k8s.io")).await;
    assert_eq!(status, 400);
    server.is_idle().await;
}

#[tokio::test]
async fn streams_that_never_come_end_the_session() {
    let times = Times {
        creation: Duration::from_secs(1),
        ..Times::default()
    };
    let server = Server::start_with(times, Err(String::new())).await;
    let path = "/exec?command=wait&output=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    let error = client.open(&[("streamtype", "error")]).await;
    assert_eq!(client.read().await, Some(Frame::Reply(error)));
    while client.read().await.is_some() {}
    server.is_idle().await;
}

#[tokio::test]
async fn a_node_that_stops_tells_its_clients() {
    let server = Server::start().await;
    let path = "/exec?command=wait&output=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    let error = client.open(&[("streamtype", "error")]).await;
    client.open(&[("streamtype", "stdout")]).await;
    server.runs(1).await;
    server.stop.cancel();
    let streams = client.finish().await;
    let status = String::from_utf8_lossy(&streams[&error].0).into_owned();
    assert!(
        status.contains("the virtual node is being stopped"),
        "{status}"
    );
    drop(client);
    server.sessions.ended().await;
}
