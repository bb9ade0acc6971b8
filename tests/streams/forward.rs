//! port-forward over SPDY, with old and new clients. The tunnel in a `WebSocket` is what kubectl drives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use vkc::kubelet::portforward::{Inside, Target};
use vkc::kubelet::upgrade::Times;
use vkc::provider::exec::{ExecError, Exit, Output, Streams};

use crate::server::Server;
use crate::spdy::{Client, Frame};

/// A pod that answers what it was told, in capitals, once it was told all.
async fn pod() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut told = String::new();
                tcp.read_to_string(&mut told).await.unwrap();
                tcp.write_all(told.to_uppercase().as_bytes()).await.unwrap();
            });
        }
    });
    port
}

async fn connect(server: &Server) -> Client {
    Client::connect(server.address, "/portForward", "portforward.k8s.io").await
}

/// Reads until each of `wanted` has ended; what they brought, and which were reset.
async fn read(client: &mut Client, wanted: &[u32]) -> (BTreeMap<u32, String>, Vec<u32>) {
    let (mut texts, mut ended, mut reset) =
        (BTreeMap::<u32, String>::new(), Vec::new(), Vec::new());
    while !wanted
        .iter()
        .all(|id| ended.contains(id) || reset.contains(id))
    {
        match client.read().await.expect("the connection stays") {
            Frame::Data(id, bytes, fin) => {
                *texts.entry(id).or_default() += std::str::from_utf8(&bytes).unwrap();
                if fin {
                    ended.push(id);
                }
            }
            Frame::Reset(id, _) => reset.push(id),
            Frame::Reply(_) | Frame::Ping(_) => {}
            Frame::GoAway(status) => panic!("goodbye {status}"),
        }
    }
    (texts, reset)
}

#[tokio::test]
async fn pairs_are_found_by_their_id_or_their_order() {
    let server = Server::start().await;
    let port = pod().await.to_string();
    let mut client = connect(&server).await;
    let mut pairs = Vec::new();
    for number in 0..20 {
        let id = number.to_string();
        let mut headers = vec![("streamtype", "error"), ("port", port.as_str())];
        // Old clients name no request.
        if number % 2 == 0 {
            headers.push(("requestid", id.as_str()));
        }
        let error = client.open(&headers).await;
        headers[0].1 = "data";
        let data = client.open(&headers).await;
        pairs.push((number, error, data));
    }
    for (number, _, data) in &pairs {
        client
            .data(*data, format!("words {number}").as_bytes(), false)
            .await;
    }
    for (_, _, data) in &pairs {
        client.data(*data, b"!", true).await;
    }
    let all: Vec<u32> = pairs
        .iter()
        .flat_map(|(_, error, data)| [*error, *data])
        .collect();
    let (texts, reset) = read(&mut client, &all).await;
    for (number, error, data) in pairs {
        assert_eq!(texts[&data], format!("WORDS {number}!"));
        assert_eq!(texts[&error], "");
    }
    assert_eq!(reset, [0; 0]);
    drop(client);
    server.is_idle().await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_and_the_rest_goes_on() {
    let server = Server::start().await;
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (free, port) = (free.to_string(), pod().await.to_string());
    let mut client = connect(&server).await;
    let error = client
        .open(&[("streamtype", "error"), ("port", &free), ("requestid", "1")])
        .await;
    let data = client
        .open(&[("streamtype", "data"), ("port", &free), ("requestid", "1")])
        .await;
    let (texts, _) = read(&mut client, &[error, data]).await;
    let want = format!(
        "error forwarding port {free} to pod ns/web: port-forward needs an address that the operator can reach: 127.0.0.1 port {free}: Connection refused"
    );
    assert!(texts[&error].starts_with(&want), "{}", texts[&error]);
    assert_eq!(texts[&data], "");
    // Streams that are no half of a pair.
    for headers in [
        &[("streamtype", "data")][..],
        &[("streamtype", "data"), ("port", "0")],
        &[("streamtype", "data"), ("port", "65536")],
        &[("streamtype", "other"), ("port", "80")],
        &[("port", "80")],
    ] {
        let id = client.open(headers).await;
        assert_eq!(read(&mut client, &[id]).await.1, [id], "{headers:?}");
    }
    client
        .open(&[("streamtype", "error"), ("port", &port), ("requestid", "2")])
        .await;
    let data = client
        .open(&[("streamtype", "data"), ("port", &port), ("requestid", "2")])
        .await;
    client.data(data, b"on", true).await;
    assert_eq!(read(&mut client, &[data]).await.0[&data], "ON");
}

#[tokio::test]
async fn a_pod_without_an_address_is_said() {
    let server = Server::start_with(Times::default(), Err("there is none".to_owned())).await;
    let mut client = connect(&server).await;
    let error = client
        .open(&[("streamtype", "error"), ("port", "80"), ("requestid", "1")])
        .await;
    client
        .open(&[("streamtype", "data"), ("port", "80"), ("requestid", "1")])
        .await;
    let (texts, _) = read(&mut client, &[error]).await;
    assert_eq!(
        texts[&error],
        "error forwarding port 80 to pod ns/web: there is none"
    );
}

#[tokio::test]
async fn half_a_pair_and_a_reset_leave_nothing() {
    let times = Times {
        creation: Duration::from_millis(50),
        ..Times::default()
    };
    let server = Server::start_with(times, Ok([127, 0, 0, 1].into())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut client = connect(&server).await;
    let half = client
        .open(&[("streamtype", "data"), ("port", &port), ("requestid", "1")])
        .await;
    assert_eq!(read(&mut client, &[half]).await.1, [half]);
    client
        .open(&[("streamtype", "error"), ("port", &port), ("requestid", "2")])
        .await;
    let data = client
        .open(&[("streamtype", "data"), ("port", &port), ("requestid", "2")])
        .await;
    let (mut tcp, _): (TcpStream, _) = listener.accept().await.unwrap();
    client.reset(data).await;
    let mut nothing = Vec::new();
    // The pod's connection ends with the stream, one way or the other.
    let _ = tcp.read_to_end(&mut nothing).await;
    assert_eq!(nothing, b"");
    // A pod that breaks off takes the user's connection with it, not the others.
    client
        .open(&[("streamtype", "error"), ("port", &port), ("requestid", "3")])
        .await;
    let data = client
        .open(&[("streamtype", "data"), ("port", &port), ("requestid", "3")])
        .await;
    let (mut tcp, _) = listener.accept().await.unwrap();
    tcp.write_all(b"a").await.unwrap();
    while client.read().await.unwrap() != Frame::Data(data, b"a".to_vec(), false) {}
    tcp.set_zero_linger().unwrap();
    drop(tcp);
    assert!(read(&mut client, &[data]).await.1.contains(&data));
    server.stop.cancel();
    loop {
        match client.read().await.expect("a goodbye") {
            Frame::GoAway(status) => break assert_eq!(status, 0),
            Frame::Ping(_) | Frame::Reset(..) | Frame::Data(..) | Frame::Reply(_) => {}
        }
    }
    drop(client);
    server.is_idle().await;
}

#[tokio::test]
async fn few_streams_wait_for_their_other_half() {
    let server = Server::start().await;
    let port = pod().await.to_string();
    let mut client = connect(&server).await;
    let mut halves = Vec::new();
    for request in 0..40 {
        let id = request.to_string();
        let headers = [
            ("streamtype", "error"),
            ("port", &*port),
            ("requestid", &*id),
        ];
        halves.push(client.open(&headers).await);
    }
    let (waiting, beyond) = halves.split_at(32);
    assert_eq!(read(&mut client, beyond).await.1, beyond);
    // Those that wait are as good as ever.
    let headers = [
        ("streamtype", "data"),
        ("port", &*port),
        ("requestid", "31"),
    ];
    let data = client.open(&headers).await;
    client.data(data, b"hello", true).await;
    let (texts, reset) = read(&mut client, &[data, waiting[31]]).await;
    assert_eq!((texts[&data].as_str(), reset), ("HELLO", Vec::new()));
    // A block of headers that is longer than any of Kubernetes ends the session.
    let long = "x".repeat(4096);
    client
        .open(&[("streamtype", "error"), ("port", &*port), ("long", &*long)])
        .await;
    loop {
        match client.read().await {
            Some(Frame::GoAway(_)) | None => break,
            Some(_) => {}
        }
    }
    server.is_idle().await;
}

/// A way into a pod, with one port that answers what it was told backwards, and one that breaks off.
struct Backwards;

#[async_trait]
impl Inside for Backwards {
    async fn connect(&self, port: u16, streams: Streams) -> Result<Exit, ExecError> {
        if port == 1 {
            return Err(ExecError::Task("port 1: Connection refused".to_owned()));
        }
        if port == 2 {
            return Err(ExecError::NoShim(String::new()));
        }
        let mut told = Vec::new();
        let mut stdin = streams.stdin.unwrap();
        while let Some(bytes) = stdin.recv().await {
            told.extend_from_slice(&bytes);
        }
        told.reverse();
        for some in told.chunks(1000) {
            let some = Bytes::copy_from_slice(some);
            streams.output.send((Output::Stdout, some)).await.unwrap();
        }
        if port == 3 {
            return Err(ExecError::Lost);
        }
        Ok(Exit::Code(0))
    }
}

#[tokio::test]
async fn what_has_no_address_is_reached_from_the_inside() {
    let target = Target {
        address: Err("there is none".to_owned()),
        inside: Some(Arc::new(Backwards)),
    };
    let server = Server::start_for(Times::default(), target).await;
    let mut client = connect(&server).await;
    let told = "abc".repeat(10_000);
    let back: String = told.chars().rev().collect();
    for (port, text, said) in [
        ("80", back.as_str(), ""),
        (
            "1",
            "",
            "error forwarding port 1 to pod ns/web: there is none; inside the pod: port 1: Connection refused",
        ),
        (
            "2",
            "",
            "error forwarding port 2 to pod ns/web: there is none",
        ),
        // It breaks off: so does the client's connection.
        ("3", back.as_str(), "reset"),
    ] {
        let of = |kind| [("streamtype", kind), ("port", port), ("requestid", port)];
        let error = client.open(&of("error")).await;
        let data = client.open(&of("data")).await;
        client.data(data, told.as_bytes(), true).await;
        let (texts, reset) = read(&mut client, &[error, data]).await;
        if said == "reset" {
            assert!(reset.contains(&data), "{texts:?}");
        } else {
            assert_eq!((&*texts[&data], &*texts[&error]), (text, said));
        }
    }
    drop(client);
    server.is_idle().await;
}
