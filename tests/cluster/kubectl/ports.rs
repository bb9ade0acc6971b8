//! `kubectl port-forward`.

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinSet;

use super::client::{Wire, declare, kubectl};
use crate::support::fixture::{Fixture, is_running, text};
use crate::support::site::{run, shared};

/// A server that says its name and then what it is told, backwards and forwards in time: it answers the end, too.
async fn serve(listener: TcpListener, name: &'static str) {
    let mut connections = JoinSet::new();
    while let Ok((mut tcp, _)) = listener.accept().await {
        connections.spawn(async move {
            tcp.write_all(name.as_bytes()).await.unwrap();
            let (mut from, mut to) = tcp.split();
            let copied = tokio::io::copy(&mut from, &mut to).await.unwrap();
            to.write_all(format!("-{copied}").as_bytes()).await.unwrap();
        });
    }
}

/// A running port-forward, the local port of each of its ports, and what it goes on printing: kubectl dies of a closed
/// output.
async fn forward(
    fixture: &Fixture,
    wire: Wire,
    ports: &[&str],
) -> (Child, Vec<u16>, Lines<BufReader<ChildStdout>>) {
    let args = [&["port-forward", "web", "--address", "127.0.0.1"], ports].concat();
    let mut child = kubectl(fixture, wire, &args).await.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut local = Vec::new();
    while local.len() < ports.len() {
        // Forwarding from 127.0.0.1:41234 -> 8080
        let line = lines.next_line().await.unwrap().expect("a port");
        let (address, _) = line.split_once(" ->").unwrap();
        local.push(address.rsplit(':').next().unwrap().parse().unwrap());
    }
    (child, local, lines)
}

async fn talk(port: u16, words: Vec<u8>) -> Vec<u8> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut from, mut to) = tcp.split();
    let send = async {
        to.write_all(&words).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut answer = Vec::new();
    let ((), read) = tokio::join!(send, from.read_to_end(&mut answer));
    read.unwrap();
    answer
}

#[test]
fn many_connections_to_several_ports() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "ports", "Linux").await;
        let ports = json!({"containers": [{
            "name": "main", "image": "example.com/web",
            "ports": [{"containerPort": 8080}, {"containerPort": 8081}],
        }]});
        fixture.create_pod("web", "", ports).await;
        let pod = fixture.pod_until("web", "it runs", 30, is_running).await;
        let ip = text(&pod["status"]["podIP"]).to_owned();
        let mut servers = JoinSet::new();
        for (port, name) in [(8080, "one:"), (8081, "two:")] {
            let listener = TcpListener::bind((ip.as_str(), port)).await.unwrap();
            servers.spawn(serve(listener, name));
        }
        for wire in [Wire::WebSocket, Wire::Translated, Wire::Spdy] {
            declare(&fixture, wire == Wire::WebSocket).await;
            let (mut child, local, _printed) =
                forward(&fixture, wire, &[":8080", ":8081", ":9"]).await;
            let mut talks = JoinSet::new();
            for number in 0..20_usize {
                let (port, name) = (local[number % 2], ["one:", "two:"][number % 2]);
                talks.spawn(async move {
                    let words = vec![u8::try_from(number).unwrap(); 1 + number * 20_000];
                    let want = [
                        name.as_bytes(),
                        &words,
                        format!("-{}", words.len()).as_bytes(),
                    ]
                    .concat();
                    assert!(talk(port, words).await == want, "{wire:?} {number}");
                });
            }
            talks.join_all().await;
            // Nobody listens: kubectl says why, and gives up.
            let mut tcp = TcpStream::connect(("127.0.0.1", local[2])).await.unwrap();
            let mut nothing = Vec::new();
            // An end or a reset, as kubectl is quick.
            let _ = tcp.read_to_end(&mut nothing).await;
            assert!(nothing.is_empty());
            assert!(!child.wait().await.unwrap().success());
            let mut said = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut said)
                .await
                .unwrap();
            let why = format!(
                "port-forward needs an address that the operator can reach: {ip} port 9: Connection refused"
            );
            assert!(said.contains(&why), "{wire:?}: {said}");
        }
        fixture.finish().await;
    });
}
