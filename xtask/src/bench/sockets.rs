//! Terminals in containers, by `WebSocket`: through the API server as `kubectl exec` has them, and at the emulator's own
//! door, without anything between.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::{SinkExt as _, StreamExt as _};
use kube::Config;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use xtask::control_plane::ControlPlane;
use xtask::stack::Emulator;

use super::rig::{CONTAINER, RESOURCE_GROUP};

/// What is measured is not this side: it reads much at a time.
pub(super) type Tls = TlsStream<BufReader<TcpStream>>;
pub(super) type Socket = WebSocketStream<Tls>;

/// KEP-4006: the first byte of a message is the number of its channel.
const PROTOCOL: &str = "v5.channel.k8s.io";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// Bytes read from a connection at a time, and of what was decrypted.
const READ: usize = 64 * 1024;
const READ_MESSAGES: usize = 16 * 1024;
/// Any one thing on a socket, on a busy machine.
const STEP: Duration = Duration::from_secs(30);
/// A terminal that has been still for so long has said what it had to say.
const STILL: Duration = Duration::from_millis(500);

/// A TLS connection to `host:port`.
pub(super) async fn encrypted(tls: &TlsConnector, address: &str) -> Result<Tls> {
    let (host, _) = address.rsplit_once(':').context("no port")?;
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let tcp = BufReader::with_capacity(READ, tcp);
    Ok(tls
        .connect(ServerName::try_from(host.to_owned())?, tcp)
        .await?)
}

pub(super) async fn connect(
    tls: &TlsConnector,
    url: &str,
    protocol: Option<&'static str>,
) -> Result<Socket> {
    let opening = async {
        let mut request = url.into_client_request()?;
        let address = request.uri().authority().context("no host")?.clone();
        if let Some(protocol) = protocol {
            let value = HeaderValue::from_static(protocol);
            request
                .headers_mut()
                .insert("sec-websocket-protocol", value);
        }
        let stream = encrypted(tls, address.as_str()).await?;
        // The library fills all of this buffer with zeros before each read.
        let config = WebSocketConfig::default().read_buffer_size(READ_MESSAGES);
        let opened = client_async_with_config(request, stream, Some(config)).await?;
        Ok::<_, anyhow::Error>(opened.0)
    };
    let opened = timeout(STEP, opening).await.context("too slow")?;
    opened.with_context(|| format!("no WebSocket at {url}"))
}

/// The API server's door.
#[derive(Clone)]
pub(super) struct Cluster {
    tls: TlsConnector,
    base: String,
}

impl Cluster {
    /// As the administrator.
    pub(super) async fn of(plane: &ControlPlane) -> Result<Self> {
        let path: &Path = plane.kubeconfig();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?;
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config.rustls_client_config()?)),
            base: plane.url().replacen("https", "wss", 1),
        })
    }

    async fn exec(&self, pod: &str, options: &str, argv: &[&str]) -> Result<Socket> {
        self.exec_in(("default", pod), options, argv, PROTOCOL)
            .await
    }

    /// A session in the first container of a pod, in one of the protocols.
    pub(super) async fn exec_in(
        &self,
        (namespace, pod): (&str, &str),
        options: &str,
        argv: &[&str],
        protocol: &'static str,
    ) -> Result<Socket> {
        let mut url = format!(
            "{}/api/v1/namespaces/{namespace}/pods/{pod}/exec?container={CONTAINER}&{options}",
            self.base
        );
        for word in argv {
            url.push_str("&command=");
            url.push_str(&encode(word));
        }
        connect(&self.tls, &url, Some(protocol)).await
    }

    /// TLS as the administrator, and `host:port`.
    pub(super) fn door(&self) -> (&TlsConnector, &str) {
        (&self.tls, self.base.trim_start_matches("wss://"))
    }

    /// `cat` on a terminal, ready to show what is typed.
    pub(super) async fn terminal(&self, pod: &str) -> Result<Terminal> {
        // The sum tells what the shell says from what it was told.
        let argv = ["sh", "-c", "echo ready-$((1+1)); exec cat"];
        let options = "stdin=true&stdout=true&tty=true";
        let mut terminal = Terminal {
            socket: self.exec(pod, options, &argv).await?,
            channels: true,
        };
        let size = r#"{"Width":80,"Height":24}"#;
        terminal.send(RESIZE, size.as_bytes()).await?;
        terminal.shows("ready-2").await?;
        Ok(terminal)
    }

    /// Runs a command to its end; its exit code.
    pub(super) async fn exit_code(&self, pod: &str, argv: &[&str]) -> Result<i32> {
        let options = "stdout=true&stderr=true";
        let mut terminal = Terminal {
            socket: self.exec(pod, options, argv).await?,
            channels: true,
        };
        loop {
            let (channel, bytes) = terminal.next().await?;
            if channel != STATUS {
                continue;
            }
            let status: Value = serde_json::from_slice(&bytes)?;
            if status.get("status").and_then(Value::as_str) == Some("Success") {
                return Ok(0);
            }
            let code = status.pointer("/details/causes/0/message");
            let code = code.and_then(Value::as_str).context("no exit code")?;
            return code.parse().with_context(|| format!("ended with {status}"));
        }
    }
}

/// The emulator's door, without a cluster.
#[derive(Clone)]
pub(super) struct Azure {
    tls: TlsConnector,
    client: reqwest::Client,
    /// Up to the groups' names.
    base: String,
    token: String,
}

impl Azure {
    /// As the connector's principal.
    pub(super) async fn login(emulator: &Emulator) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(emulator.ca_pem().as_bytes()) {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(
                emulator.ca_pem().as_bytes(),
            )?])
            .timeout(STEP)
            .no_proxy()
            .build()?;
        let (url, principal) = (emulator.url(), emulator.principal());
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
            encode(&principal.client_id),
            encode(&principal.client_secret),
            encode(&format!("{url}/.default")),
        );
        let answer = client
            .post(format!("{url}/{}/oauth2/v2.0/token", principal.tenant_id))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await?
            .error_for_status()?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let token = answer.get("access_token").and_then(Value::as_str);
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            client,
            base: format!(
                "{url}/subscriptions/{}/resourceGroups/{RESOURCE_GROUP}/providers/Microsoft.ContainerInstance/containerGroups",
                principal.subscription_id
            ),
            token: token.context("no access_token")?.to_owned(),
        })
    }

    /// `cat` on a terminal, ready to show what is typed.
    pub(super) async fn terminal(&self, group: &str) -> Result<Terminal> {
        let url = format!(
            "{}/{group}/containers/{CONTAINER}/exec?api-version=2023-05-01",
            self.base
        );
        let body = json!({ "command": "cat", "terminalSize": { "rows": 24, "cols": 80 } });
        let answer = self
            .client
            .post(url)
            .bearer_auth(&self.token)
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send()
            .await?
            .error_for_status()?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let uri = text("webSocketUri").context("no webSocketUri")?;
        let password = text("password").context("no password")?;
        let mut socket = connect(&self.tls, uri, None).await?;
        socket.send(Message::text(password)).await?;
        let mut terminal = Terminal {
            socket,
            channels: false,
        };
        terminal.echo(b'~').await?;
        Ok(terminal)
    }
}

/// A process on a terminal.
pub(super) struct Terminal {
    socket: Socket,
    /// Messages begin with the number of their channel.
    channels: bool,
}

impl Terminal {
    async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        let mut message = Vec::with_capacity(bytes.len() + 1);
        if self.channels {
            message.push(channel);
        }
        message.extend_from_slice(bytes);
        let sending = self.socket.send(Message::binary(message));
        Ok(timeout(STEP, sending).await.context("cannot send")??)
    }

    /// The next message with bytes in it, and its channel.
    async fn next(&mut self) -> Result<(u8, Bytes)> {
        loop {
            let next = timeout(STEP, self.socket.next()).await;
            let message = next
                .context("nothing more was shown")?
                .context("the session has ended")??;
            let mut bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => text.into(),
                Message::Close(_) => bail!("the session was closed"),
                _ => continue,
            };
            let channel = match (self.channels, bytes.first()) {
                (_, None) => continue,
                (false, _) => STDOUT,
                (true, Some(channel)) => {
                    let channel = *channel;
                    bytes = bytes.slice(1..);
                    channel
                }
            };
            if !bytes.is_empty() {
                return Ok((channel, bytes));
            }
        }
    }

    /// The next that is shown.
    async fn shown(&mut self) -> Result<Bytes> {
        let (channel, bytes) = self.next().await?;
        ensure!(
            channel == STDOUT || channel == STDERR,
            "the session said: {}",
            String::from_utf8_lossy(&bytes)
        );
        Ok(bytes)
    }

    async fn shows(&mut self, text: &str) -> Result<()> {
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(text) {
            all.extend_from_slice(&self.shown().await?);
        }
        Ok(())
    }

    /// Reads until nothing more comes.
    pub(super) async fn settle(&mut self) -> Result<()> {
        while let Ok(shown) = timeout(STILL, self.shown()).await {
            shown?;
        }
        Ok(())
    }

    /// Types a key; how long until it is shown.
    pub(super) async fn echo(&mut self, key: u8) -> Result<Duration> {
        let typed = Instant::now();
        self.send(STDIN, &[key]).await?;
        while !self.shown().await?.contains(&key) {}
        Ok(typed.elapsed())
    }
}

/// For a query or a form (RFC 3986): whatever is not plain is escaped.
fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(encode("exit 7; a-b~$é"), "exit%207%3B%20a-b~%24%C3%A9");
    }
}
