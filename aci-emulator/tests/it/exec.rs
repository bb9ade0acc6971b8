//! exec and attach over a real `WebSocket`.

use std::time::Duration;

use futures::SinkExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    harness::{Test, large, small},
    socket::{connect, output},
};

async fn exec(test: &Test, group: &str, command: &str) -> Value {
    let reply = test
        .post(
            group,
            "/containers/web/exec",
            Some(&json!({"command": command, "terminalSize": {"rows": 24, "cols": 80}})),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.body
}

#[tokio::test]
async fn a_command_and_an_interactive_shell() {
    let test = Test::start().await;
    test.running("pod", &large()).await;
    let reply = exec(&test, "pod", "env").await;
    let mut socket = connect(&test, &reply, None).await.unwrap();
    socket
        .send(Message::text(reply["password"].as_str().unwrap()))
        .await
        .unwrap();
    let out = output(socket).await;
    assert!(
        out.contains("MODE=prod\r\n") && out.contains("TOKEN=s3cret-value\r\n"),
        "{out}"
    );

    let reply = exec(&test, "pod", "/bin/sh").await;
    let mut socket = connect(&test, &reply, None).await.unwrap();
    socket
        .send(Message::text(reply["password"].as_str().unwrap()))
        .await
        .unwrap();
    for part in [
        "stty -echo\n",
        "cat /etc/web/web.ya",
        "ml; echo; exit 4; \n",
    ] {
        socket
            .send(Message::binary(part.as_bytes().to_vec()))
            .await
            .unwrap();
    }
    let out = output(socket).await;
    assert!(out.ends_with("s3cret-file\r\n"), "{out}");
    assert!(
        connect(&test, &reply, None).await.is_err(),
        "a session is for one use"
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn a_wrong_password_closes_the_socket() {
    let test = Test::start().await;
    test.running("web", &small()).await;
    let reply = exec(&test, "web", "echo secret").await;
    let mut socket = connect(&test, &reply, None).await.unwrap();
    socket.send(Message::text("guess")).await.unwrap();
    assert_eq!(output(socket).await, "");
    test.emulator.stop().await;
}

#[tokio::test]
async fn exec_answers_on_an_ended_container_and_attach_shows_its_log() {
    let test = Test::start().await;
    test.running("web", &small()).await;
    test.control.append_log("web", "web", "hello").unwrap();
    let reply = test.post("web", "/containers/web/attach", None).await.body;
    let socket = connect(&test, &reply, reply["password"].as_str())
        .await
        .unwrap();
    test.control.finish_container("web", "web", 0).unwrap();
    let out = output(socket).await;
    assert!(out.ends_with("\r\nhello\r\n"), "{out}");
    exec(&test, "web", "ls").await;
    test.emulator.stop().await;
}

#[tokio::test]
async fn stop_ends_an_open_session() {
    let test = Test::start().await;
    test.running("web", &small()).await;
    let reply = exec(&test, "web", "sleep 1000").await;
    let mut socket = connect(&test, &reply, None).await.unwrap();
    socket
        .send(Message::text(reply["password"].as_str().unwrap()))
        .await
        .unwrap();
    tokio::time::timeout(Duration::from_secs(5), test.emulator.stop())
        .await
        .unwrap();
    assert_eq!(output(socket).await, "");
}
