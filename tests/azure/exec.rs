//! Sessions against the emulator as it comes: over TLS, with its small shell that knows no pipes.

use std::sync::Arc;
use std::time::Duration;

use aci_emulator::{Config, Emulator};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vkc::azure::exec::Socket;
use vkc::azure::model::{
    Container, ContainerGroup, ContainerProperties, GroupProperties, ResourceAmounts, Resources,
    SecretText,
};
use vkc::azure::{ArmClient, AzureError, Credential, Endpoints, Limiters};
use vkc::provider::exec::console::{Console, Settings};
use vkc::provider::exec::dialog::run;
use vkc::provider::exec::script::Mark;
use vkc::provider::exec::{Command, ExecError, Exit, Streams};

const RG: &str = "aci-rg";

/// A running group `web` with one container `web`.
async fn running() -> (Emulator, ArmClient) {
    // Another test of this process may have done it.
    crate::server::install_tls_provider();
    let config = Config {
        start_delay: Duration::ZERO,
        serve_pages: false,
        ..Config::default()
    };
    let credential = Credential::ServicePrincipalSecret {
        tenant_id: config.tenant_id.clone(),
        client_id: config.client_id.clone(),
        secret: SecretText::new(config.client_secret.clone()),
    };
    let subscription = config.subscription_id.clone();
    let emulator = Emulator::start(config).await.unwrap();
    let ca = STANDARD.encode(emulator.ca_pem());
    let endpoints = Endpoints::custom(emulator.url(), emulator.url(), None, Some(&ca)).unwrap();
    let observer = Arc::new(());
    let limiters = Limiters::new();
    let client = ArmClient::new(endpoints, subscription, credential, &limiters, observer).unwrap();
    let amounts = ResourceAmounts {
        cpu: 1.0,
        memory_in_gb: 1.5,
    };
    let group = ContainerGroup {
        location: Some("eastus".to_owned()),
        properties: GroupProperties {
            os_type: "Linux".to_owned(),
            restart_policy: Some("Never".to_owned()),
            containers: vec![Container {
                name: "web".to_owned(),
                properties: ContainerProperties {
                    image: "registry.example/web:1".to_owned(),
                    resources: Some(Resources {
                        requests: amounts,
                        limits: None,
                    }),
                    ..ContainerProperties::default()
                },
            }],
            ..GroupProperties::default()
        },
        ..ContainerGroup::default()
    };
    client.put_group(RG, "web", &group).await.unwrap();
    (emulator, client)
}

/// Opens a session as soon as the container is there.
async fn exec(client: &ArmClient, command: &str) -> Socket {
    for _ in 0..500 {
        match client
            .exec((RG, "web", "web"), command, (24, 80), None)
            .await
        {
            Ok(socket) => return socket,
            Err(error) if error.code == "ContainerGroupDeploymentNotReady" => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the container does not start");
}

/// Runs a command by the shell of a session; its end, its output and the end of the connection.
async fn converse(
    socket: Socket,
    argv: &[&str],
    tty: bool,
) -> (Result<Exit, ExecError>, String, Result<(), AzureError>) {
    let (output, mut written) = mpsc::channel(16);
    let mut streams = Streams {
        stdin: None,
        output,
        resize: None,
        gone: CancellationToken::new(),
    };
    let command = Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        tty,
    };
    let console = Console {
        input: socket.input,
        output: socket.output,
    };
    let session = async move {
        let mark = Mark::new(42);
        run(console, Settings::default(), &mark, &command, &mut streams).await
    };
    let collect = async {
        let mut text = Vec::new();
        while let Some((_, bytes)) = written.recv().await {
            text.extend_from_slice(&bytes);
        }
        String::from_utf8(text).unwrap()
    };
    let all = async { tokio::join!(session, collect, socket.driver.run()) };
    tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_shell_without_pipes_runs_short_commands() {
    let (emulator, client) = running().await;
    for (argv, tty, code, text) in [
        (&["sh", "-c", "echo out; exit 7"][..], false, 7, "out\n"),
        (
            &["echo", "a  b", "$HOME", "it's"],
            false,
            0,
            "a  b $HOME it's\n",
        ),
        (&["pwd"], true, 0, "/\r\n"),
    ] {
        let (result, output, driven) = converse(exec(&client, "/bin/sh").await, argv, tty).await;
        assert_eq!(
            (result.unwrap(), output.as_str()),
            (Exit::Code(code), text),
            "{argv:?}"
        );
        driven.unwrap();
    }
    let (result, ..) = converse(exec(&client, "/bin/sh").await, &["echo", "a\nb"], false).await;
    assert!(matches!(result, Err(ExecError::Limited)));
    emulator.stop().await;
}

#[tokio::test]
async fn attach_shows_the_output_and_what_is_not_there_is_said() {
    let (emulator, client) = running().await;
    exec(&client, "true").await;
    let mut socket = client.attach((RG, "web", "web"), None).await.unwrap();
    emulator
        .control()
        .append_log("web", "web", "hello")
        .unwrap();
    emulator
        .control()
        .finish_container("web", "web", 0)
        .unwrap();
    let collect = async {
        let mut all = Vec::new();
        while let Some(bytes) = socket.output.recv().await {
            all.extend_from_slice(&bytes);
        }
        Bytes::from(all)
    };
    let both = async { tokio::join!(collect, socket.driver.run()) };
    let limit = Duration::from_secs(30);
    let (shown, driven) = tokio::time::timeout(limit, both).await.unwrap();
    driven.unwrap();
    assert!(shown.ends_with(b"\r\nhello\r\n"), "{shown:?}");
    let missing = client
        .exec((RG, "web", "nope"), "/bin/sh", (24, 80), None)
        .await;
    assert_eq!(missing.unwrap_err().status, Some(404));
    emulator.stop().await;
}
