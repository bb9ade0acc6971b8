//! Clients that break the rules, or go away in the middle.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use vkc::kubelet::upgrade::Times;

use crate::server::Server;
use crate::sockets;
use crate::spdy::{Client, Frame};

/// Files and sockets that this process has open.
fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_aborted_sessions_leave_nothing() {
    let server = Server::start().await;
    let before = open_files();
    let path = "/exec?command=wait&input=1&output=1";
    let mut clients = JoinSet::new();
    for number in 0..1000_usize {
        if clients.len() >= 40 {
            clients.join_next().await.unwrap().unwrap();
        }
        let server = server.clone();
        clients.spawn(async move {
            match number % 4 {
                // Before its streams, in the middle of them, and while the command runs.
                0 => drop(Client::connect(server.address, path, "v4.channel.k8s.io").await),
                1 => {
                    let mut client =
                        Client::connect(server.address, path, "v4.channel.k8s.io").await;
                    client.open(&[("streamtype", "error")]).await;
                }
                2 => {
                    let mut client =
                        Client::connect(server.address, path, "v4.channel.k8s.io").await;
                    for kind in ["error", "stdin", "stdout"] {
                        client.open(&[("streamtype", kind)]).await;
                    }
                    client.data(3, b"typed", false).await;
                    while client.read().await != Some(Frame::Reply(5)) {}
                }
                _ => drop(sockets::connect(&server, path, Some("v5.channel.k8s.io")).await),
            }
        });
    }
    clients.join_all().await;
    server.is_idle().await;
    // Sockets of the last clients may take a moment to close.
    for _ in 0..1000 {
        if open_files() <= before + 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{before} files were open before, {} are now", open_files());
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_and_dropped() {
    let server = Server::start().await;
    let path = "/exec?command=wait&output=1";
    for bytes in [
        // Another version; a frame too long; no headers at all; a stream of ours; one opened twice.
        &[0x80, 2, 0, 1, 0, 0, 0, 0][..],
        &[0x80, 3, 0, 4, 0, 0xff, 0xff, 0xff],
        &[
            0x80, 3, 0, 1, 0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9, 9,
        ],
    ] {
        let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
        client.tcp.write_all(bytes).await.unwrap();
        assert_eq!(client.read().await, Some(Frame::GoAway(1)), "{bytes:?}");
        assert_eq!(client.read().await, None);
    }
    for id in [2, 1] {
        let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
        client.open(&[("streamtype", "error")]).await;
        assert_eq!(client.read().await, Some(Frame::Reply(1)));
        client.open_as(id, &[("streamtype", "stdout")]).await;
        assert_eq!(client.read().await, Some(Frame::GoAway(1)), "{id}");
    }
    server.is_idle().await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_data_of_no_stream_too() {
    let server = Server::start().await;
    let path = "/exec?command=wait&output=1&input=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    client.data(99, b"for nobody", false).await;
    assert_eq!(client.read().await, Some(Frame::Reset(99, 2)));
    // As fast as they can be opened: each is answered, and none is kept.
    let (mut replies, mut resets) = (0, 0);
    for _ in 0..200 {
        client.open(&[("streamtype", "strange")]).await;
    }
    while replies + resets < 200 || resets < 200 {
        match client.read().await.unwrap() {
            Frame::Reply(_) => replies += 1,
            Frame::Reset(_, 3 | 5) => resets += 1,
            other => panic!("{other:?}"),
        }
    }
    drop(client);
    server.is_idle().await;
}

#[tokio::test]
async fn a_flood_of_pings_that_nobody_reads_ends_the_session() {
    let server = Server::start().await;
    let path = "/exec?command=wait&output=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    let pings: Vec<u8> = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1].repeat(10_000);
    // Until the server has had enough, or has closed.
    let flood = async { while client.tcp.write_all(&pings).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), flood)
        .await
        .expect("an end of the flood");
    server.is_idle().await;
}

#[tokio::test]
async fn a_client_that_goes_while_its_input_waits_is_noticed() {
    let times = Times {
        ping: Duration::from_millis(50),
        ..Times::default()
    };
    let server = Server::start_with(times, Err(String::new())).await;
    let path = "/exec?command=wait&input=1&output=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    client.open(&[("streamtype", "error")]).await;
    let stdin = client.open(&[("streamtype", "stdin")]).await;
    client.open(&[("streamtype", "stdout")]).await;
    server.runs(1).await;
    // More than waits anywhere: the server stops reading.
    let part = vec![0; 100_000];
    let fill = async {
        loop {
            client.data(stdin, &part, false).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(500), fill)
            .await
            .is_err()
    );
    drop(client);
    server.is_idle().await;
}

#[tokio::test]
async fn an_idle_session_ends() {
    let times = Times {
        idle: Duration::from_millis(100),
        ping: Duration::from_millis(20),
        ..Times::default()
    };
    let server = Server::start_with(times, Err(String::new())).await;
    let path = "/exec?command=wait&output=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    while client.read().await.is_some() {}
    let _socket = sockets::connect(&server, path, Some("v5.channel.k8s.io")).await;
    server.is_idle().await;
}

#[tokio::test]
async fn what_runs_is_told_that_its_client_has_gone() {
    let server = Server::start().await;
    let path = "/exec?command=watch&output=1&input=1";
    let mut client = Client::connect(server.address, path, "v4.channel.k8s.io").await;
    for kind in ["error", "stdin", "stdout"] {
        client.open(&[("streamtype", kind)]).await;
    }
    let socket = sockets::connect(&server, path, Some("v5.channel.k8s.io")).await;
    server.runs(2).await;
    drop((client, socket));
    server.is_idle().await;
    assert_eq!(server.told.load(Ordering::SeqCst), 2);
    // And that its node ends.
    let socket = sockets::connect(&server, path, Some("v5.channel.k8s.io")).await;
    server.runs(1).await;
    server.stop.cancel();
    server.runs(0).await;
    assert_eq!(server.told.load(Ordering::SeqCst), 3);
    drop(socket);
    server.is_idle().await;
}

/// Short messages are taken from everybody, long ones from a few at once: whoever begins one and does not end it keeps memory from
/// others who do so, and from nobody else.
#[tokio::test]
async fn few_clients_are_in_the_middle_of_a_long_message() {
    let server = Server::start().await;
    let path = "/exec?command=copy&input=1&output=1";
    let protocol = Some("v5.channel.k8s.io");
    // The head of a frame of 1 MiB, masked with zeros, and 100 KiB of it.
    let mut begun = vec![0x82, 0x80 | 127, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0];
    begun.extend(vec![0; 100 << 10]);
    let mut clients = JoinSet::new();
    for _ in 0..6 {
        let mut socket = sockets::connect(&server, path, protocol).await;
        let begun = begun.clone();
        clients.spawn(async move {
            socket.get_mut().write_all(&begun).await.unwrap();
            let mut told = String::new();
            while let Some(Ok(message)) = socket.next().await {
                told += &String::from_utf8_lossy(&message.into_data());
            }
            told
        });
    }
    // Two of them have no room, and are told.
    for _ in 0..2 {
        let told = clients.join_next().await.unwrap().unwrap();
        assert!(
            told.contains("there is no room for another message"),
            "{told:?}"
        );
    }
    let mut short = sockets::connect(&server, path, protocol).await;
    let hi = Message::binary(b"\0hi".to_vec());
    short.send(hi).await.unwrap();
    let echo = async {
        while short.next().await.unwrap().unwrap() != Message::binary(b"\x01hi".to_vec()) {}
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, echo).await.expect("an echo");
    clients.shutdown().await;
    drop(short);
    server.is_idle().await;
    // And the room is there again.
    let mut socket = sockets::connect(&server, path, protocol).await;
    let long = Message::binary(vec![0; 1 << 20]);
    socket.send(long).await.unwrap();
    let echo = async {
        let mut bytes = 0;
        while bytes < (1 << 20) - 1 {
            let message = socket.next().await.unwrap().unwrap();
            bytes += message.len().saturating_sub(1);
        }
    };
    tokio::time::timeout(limit, echo).await.expect("an echo");
    drop(socket);
    server.is_idle().await;
}
