//! exec: a process of the container, on a terminal.

use futures::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::{
    place::{Place, one, view},
    socket::{connect, output},
};

async fn exec(place: &Place, command: &str, input: &str) -> String {
    let body = json!({"command": command, "terminalSize": {"rows": 33, "cols": 99}});
    let reply = place
        .test
        .post("g", "/containers/c/exec", Some(&body))
        .await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    let mut socket = connect(&place.test, &reply.body, None).await.unwrap();
    socket
        .send(Message::text(reply.body["password"].as_str().unwrap()))
        .await
        .unwrap();
    if !input.is_empty() {
        let input = Message::binary(input.as_bytes().to_vec());
        socket.send(input).await.unwrap();
    }
    output(socket).await
}

#[tokio::test]
async fn a_shell_in_the_container() {
    let place = Place::start().await;
    let script = "trap 'exit 6' TERM; while :; do sleep 0.1; done";
    place.running("g", &one(script, "Always")).await;
    let out = exec(
        &place,
        "/bin/sh",
        "tty; stty size; echo $FROM; cat /proc/1/cmdline; exit\n",
    )
    .await;
    for part in ["/dev/pts/0", "33 99\r\n", "image\r\n", "trap 'exit 6' TERM"] {
        assert!(out.contains(part), "{part:?} is not in {out:?}");
    }
    let out = exec(&place, "no such program", "").await;
    assert!(out.contains("executable file not found"), "{out:?}");

    exec(&place, "/bin/sh", "kill -TERM 1; exit\n").await;
    let group = place
        .until("g", |group| view(group)["restartCount"] == 1)
        .await;
    assert_eq!(view(&group)["previousState"]["exitCode"], 6);
    place.stop().await;
}

#[tokio::test]
async fn a_container_that_has_ended_has_nothing_to_say() {
    let place = Place::start().await;
    place.ended("g", &one("exit 0", "Never")).await;
    assert_eq!(exec(&place, "/bin/sh", "echo hello\n").await, "");
    place.stop().await;
}

#[tokio::test]
async fn attach_shows_the_output() {
    let place = Place::start().await;
    place
        .running("g", &one("echo one; sleep 1; echo two", "Never"))
        .await;
    let reply = place.test.post("g", "/containers/c/attach", None).await;
    let password = reply.body["password"].as_str().unwrap().to_owned();
    let socket = connect(&place.test, &reply.body, Some(&password))
        .await
        .unwrap();
    assert_eq!(output(socket).await, "one\r\ntwo\r\n");
    place.stop().await;
}
