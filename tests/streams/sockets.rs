//! exec over a `WebSocket`.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::server::Server;

pub(crate) type Socket = WebSocketStream<TcpStream>;

pub(crate) async fn connect(server: &Server, path: &str, protocol: Option<&str>) -> Socket {
    let mut request = format!("ws://{}{path}", server.address)
        .into_client_request()
        .unwrap();
    if let Some(protocol) = protocol {
        let value = protocol.parse().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", value);
    }
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let (socket, response) = tokio_tungstenite::client_async(request, tcp).await.unwrap();
    let chosen = response.headers().get("sec-websocket-protocol");
    assert_eq!(chosen.map(|value| value.to_str().unwrap()), protocol);
    socket
}

/// The next message that is no ping.
async fn next(socket: &mut Socket) -> Message {
    let limit = Duration::from_secs(20);
    loop {
        let message = tokio::time::timeout(limit, socket.next())
            .await
            .expect("a message in 20 s");
        match message.unwrap().unwrap() {
            Message::Ping(_) => {}
            message => return message,
        }
    }
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

async fn is_closed_well(socket: &mut Socket) {
    match next(socket).await {
        Message::Close(Some(frame)) => assert_eq!(frame.code, CloseCode::Normal),
        other => panic!("{other:?}"),
    }
    assert!(socket.next().await.is_none());
}

#[tokio::test]
async fn channels_and_exit_codes() {
    let server = Server::start().await;
    let path = "/exec?command=exit&command=7&output=1&error=1";
    let json = r#""causes":[{"message":"7","reason":"ExitCode"}]"#;
    for protocol in [
        Some("v5.channel.k8s.io"),
        Some("v4.channel.k8s.io"),
        Some("channel.k8s.io"),
        None,
    ] {
        let mut socket = connect(&server, path, protocol).await;
        assert_eq!(next(&mut socket).await, binary(b"\x01"));
        assert_eq!(next(&mut socket).await, binary(b"\x01out"));
        assert_eq!(next(&mut socket).await, binary(b"\x02err"));
        let status = next(&mut socket).await.into_data();
        let text = String::from_utf8_lossy(&status[1..]).into_owned();
        assert_eq!(status[0], 3);
        if protocol.is_some_and(|protocol| protocol.starts_with('v')) {
            assert!(text.contains(json), "{text}");
        } else {
            assert_eq!(text, "command terminated with non-zero exit code: 7");
        }
        is_closed_well(&mut socket).await;
    }
    server.is_idle().await;
}

#[tokio::test]
async fn base64_is_text() {
    let server = Server::start().await;
    let path = "/exec?command=copy&input=1&output=1";
    for protocol in ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"] {
        let mut socket = connect(&server, path, Some(protocol)).await;
        assert_eq!(next(&mut socket).await, Message::text("1"));
        socket.send(Message::text("0aGkA/w==")).await.unwrap();
        socket.send(Message::text("0broken")).await.unwrap();
        socket.send(Message::text("0aGk=")).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::text("1aGkA/w=="));
        assert_eq!(next(&mut socket).await, Message::text("1aGk="));
        socket.close(None).await.unwrap();
    }
    server.is_idle().await;
}

/// The next `length` bytes of standard output.
async fn copied(socket: &mut Socket, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        let message = next(socket).await.into_data();
        assert_eq!(message[0], 1);
        all.extend_from_slice(&message[1..]);
    }
    all
}

#[tokio::test]
async fn v5_ends_standard_input() {
    let server = Server::start().await;
    let path = "/exec?command=copy&input=1&output=1";
    let mut socket = connect(&server, path, Some("v5.channel.k8s.io")).await;
    assert_eq!(next(&mut socket).await, binary(b"\x01"));
    let mut message = vec![0];
    message.extend((0..1 << 20).map(|n: u32| n.to_le_bytes()[1]));
    socket.send(binary(&message)).await.unwrap();
    assert!(copied(&mut socket, 1 << 20).await == message[1..]);
    // Of another channel, or of none: nothing.
    for other in [&[255, 1][..], &[255], &[255, 0, 0], &[], &[9, 9]] {
        socket.send(binary(other)).await.unwrap();
    }
    socket
        .send(Message::Ping(Bytes::from_static(b"there?")))
        .await
        .unwrap();
    assert_eq!(
        next(&mut socket).await,
        Message::Pong(Bytes::from_static(b"there?"))
    );
    socket.send(binary(&[255, 0])).await.unwrap();
    assert_eq!(
        next(&mut socket).await,
        binary(b"\x03{\"metadata\":{},\"status\":\"Success\"}")
    );
    is_closed_well(&mut socket).await;
    server.is_idle().await;
}

#[tokio::test]
async fn the_size_and_a_stop_reach_a_session() {
    let server = Server::start().await;
    let path = "/exec?command=size&output=1&tty=1";
    let mut socket = connect(&server, path, Some("v4.channel.k8s.io")).await;
    assert_eq!(next(&mut socket).await, binary(b"\x01"));
    socket
        .send(binary(b"\x04{\"Width\":120,\"Height\":40}"))
        .await
        .unwrap();
    assert_eq!(next(&mut socket).await, binary(b"\x0140x120"));
    let mut waiting = connect(
        &server,
        "/exec?command=wait&error=1",
        Some("v5.channel.k8s.io"),
    )
    .await;
    assert_eq!(next(&mut waiting).await, binary(b"\x02"));
    server.runs(1).await;
    server.stop.cancel();
    let status = next(&mut waiting).await.into_data();
    let text = String::from_utf8_lossy(&status).into_owned();
    assert!(text.contains("the virtual node is being stopped"), "{text}");
    is_closed_well(&mut waiting).await;
    server.is_idle().await;
}

#[tokio::test]
async fn a_large_message_is_handed_on_in_parts_and_a_huge_one_ends_the_session() {
    let server = Server::start().await;
    let path = "/exec?command=copy&input=1&output=1";
    let protocol = Some("v5.channel.k8s.io");
    let mut socket = connect(&server, path, protocol).await;
    socket.send(binary(&vec![0; 100_001])).await.unwrap();
    assert_eq!(next(&mut socket).await, binary(b"\x01"));
    let part = next(&mut socket).await.into_data();
    assert_eq!(part.len() - 1, 16 << 10);
    assert_eq!(
        copied(&mut socket, 100_000 - (16 << 10)).await.len(),
        100_000 - (16 << 10)
    );
    drop(socket);

    let mut socket = connect(&server, path, protocol).await;
    let huge = binary(&vec![0; (2 << 20) + 1]);
    // The server may be gone before all is sent.
    let _ = socket.send(huge).await;
    while let Some(Ok(_)) = socket.next().await {}
    server.is_idle().await;
}
