//! A client of its own at a node's kubelet port: what forwarding costs in `vkc` alone, without kubectl and API server.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{SinkExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::{Bytes, Message};
use xtask::control_plane::ControlPlane;

use super::sockets::{Socket, Tls, connect, encrypted};

/// What the streams of a forwarded port are called on SPDY.
const PROTOCOL: &str = "portforward.k8s.io";
/// SPDY in a `WebSocket` (KEP-4006).
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Bytes of one data frame: what kubectl reads from a connection at a time.
const FRAME: usize = 32 * 1024;

/// A node's kubelet port, and a certificate that may use it.
pub(super) struct Kubelet {
    tls: TlsConnector,
    address: String,
}

impl Kubelet {
    /// That of the pod's node, with the administrator's certificate. The node's own is signed by itself.
    pub(super) async fn of(plane: &ControlPlane, client: &Client, pod: &Pod) -> Result<Self> {
        let options = KubeConfigOptions::default();
        let config = Kubeconfig::read_from(plane.kubeconfig())?;
        let mut config = Config::from_custom_kubeconfig(config, &options).await?;
        config.accept_invalid_certs = true;
        let tls = config.rustls_client_config()?;
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls)),
            address: address(client, pod).await?,
        })
    }

    /// Begins to forward ports of a pod in the namespace `default`.
    pub(super) async fn forward(&self, pod: &str, socket: bool) -> Result<Session> {
        let path = format!("/portForward/default/{pod}");
        let wire = if socket {
            let url = format!("wss://{}{path}", self.address);
            let socket = connect(&self.tls, &url, Some(TUNNEL)).await?;
            Wire::Socket(Box::new(socket), Bytes::new())
        } else {
            let mut tls = encrypted(&self.tls, &self.address).await?;
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: {PROTOCOL}\r\n\r\n"
            );
            tls.write_all(request.as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(tls.read_u8().await?);
            }
            ensure!(
                head.starts_with(b"HTTP/1.1 101"),
                "the node says {}",
                String::from_utf8_lossy(&head)
            );
            Wire::Plain(Box::new(tls))
        };
        Ok(Session {
            wire,
            begun: false,
            next: 1,
        })
    }
}

/// `host:port` of the kubelet API of the pod's node.
pub(super) async fn address(client: &Client, pod: &Pod) -> Result<String> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let node = node.context("the pod has no node")?;
    let status = Api::<Node>::all(client.clone()).get(node).await?.status;
    let status = status.context("the node has no status")?;
    let port = status
        .daemon_endpoints
        .and_then(|endpoints| endpoints.kubelet_endpoint)
        .context("the node has no kubelet port")?;
    let addresses = status.addresses.unwrap_or_default();
    let ip = addresses
        .into_iter()
        .find(|address| address.type_ == "InternalIP")
        .context("the node has no address")?;
    Ok(format!("{}:{}", ip.address, port.port))
}

enum Wire {
    Plain(Box<Tls>),
    /// With what was received and not read yet.
    Socket(Box<Socket>, Bytes),
}

impl Wire {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        match self {
            Self::Plain(tls) => {
                tls.write_all(&bytes).await?;
                tls.flush().await?;
            }
            Self::Socket(socket, _) => socket.send(Message::binary(bytes)).await?,
        }
        Ok(())
    }

    /// Some of the next bytes.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let (socket, rest) = match self {
            Self::Plain(tls) => return Ok(tls.read(buffer).await?),
            Self::Socket(socket, rest) => (socket, rest),
        };
        while rest.is_empty() {
            match socket.next().await.context("the node has closed")?? {
                Message::Binary(bytes) => *rest = bytes,
                Message::Close(_) => bail!("the node has closed"),
                _ => {}
            }
        }
        let part = rest.split_to(rest.len().min(buffer.len()));
        buffer.split_at_mut(part.len()).0.copy_from_slice(&part);
        Ok(part.len())
    }

    async fn read_exact(&mut self, mut buffer: &mut [u8]) -> Result<()> {
        while !buffer.is_empty() {
            let read = self.read(buffer).await?;
            ensure!(read > 0, "the node has closed");
            buffer = buffer.split_at_mut(read).1;
        }
        Ok(())
    }
}

/// Forwarded connections, one after the other.
pub(super) struct Session {
    wire: Wire,
    /// Headers were sent.
    begun: bool,
    next: u32,
}

impl Session {
    /// Opens a connection to `port`: the number of its data stream.
    pub(super) async fn open(&mut self, port: u16) -> Result<u32> {
        let (error, data) = (self.next, self.next + 2);
        self.next += 4;
        let (port, request) = (port.to_string(), error.to_string());
        for (stream, kind) in [(error, "error"), (data, "data")] {
            let pairs = [
                ("streamtype", kind),
                ("port", &port),
                ("requestid", &request),
            ];
            let frame = open_stream(stream, &pairs, !self.begun)?;
            self.begun = true;
            self.wire.write(frame).await?;
        }
        Ok(data)
    }

    /// Sends `bytes`; with `end` nothing more will come.
    pub(super) async fn write(&mut self, stream: u32, bytes: &[u8], end: bool) -> Result<()> {
        let mut parts = bytes.chunks(FRAME).peekable();
        if parts.peek().is_none() {
            return self.wire.write(data_frame(stream, &[], end)?).await;
        }
        while let Some(part) = parts.next() {
            let last = end && parts.peek().is_none();
            self.wire.write(data_frame(stream, part, last)?).await?;
        }
        Ok(())
    }

    /// Reads so many bytes of a stream and throws them away.
    pub(super) async fn read(&mut self, stream: u32, mut bytes: usize) -> Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        while bytes > 0 {
            let mut head = [0; 8];
            self.wire.read_exact(&mut head).await?;
            let [a, b, c, d, _, long, middle, short] = head;
            let from = u32::from_be_bytes([a, b, c, d]);
            let mut left = usize::try_from(u32::from_be_bytes([0, long, middle, short]))?;
            if from == stream {
                bytes = bytes.checked_sub(left).context("too many bytes came")?;
            }
            while left > 0 {
                let room = left.min(buffer.len());
                let part = buffer.get_mut(..room).unwrap_or_default();
                let read = self.wire.read(part).await?;
                ensure!(read > 0, "the node has closed");
                left -= read;
            }
        }
        Ok(())
    }
}

/// Three bytes of a length.
fn length(of: usize) -> Result<[u8; 3]> {
    let [_, long, middle, short] = u32::try_from(of)?.to_be_bytes();
    Ok([long, middle, short])
}

/// A `SYN_STREAM` (SPDY draft 3.1, section 2.6.1). Its headers are a stored block, which any zlib reads: the dictionary
/// and its tables would only save bytes. `first`: the zlib stream begins here.
fn open_stream(stream: u32, headers: &[(&str, &str)], first: bool) -> Result<Vec<u8>> {
    let mut block = u32::try_from(headers.len())?.to_be_bytes().to_vec();
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        block.extend(u32::try_from(text.len())?.to_be_bytes());
        block.extend(text.as_bytes());
    }
    let mut packed = if first { vec![0x78, 0x01] } else { Vec::new() };
    let size = u16::try_from(block.len())?;
    packed.push(0);
    packed.extend(size.to_le_bytes());
    packed.extend((!size).to_le_bytes());
    packed.extend(block);
    let mut frame = vec![0x80, 3, 0, 1, 0];
    frame.extend(length(packed.len() + 10)?);
    frame.extend(stream.to_be_bytes());
    frame.extend([0; 6]);
    frame.extend(packed);
    Ok(frame)
}

fn data_frame(stream: u32, bytes: &[u8], end: bool) -> Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(8 + bytes.len());
    frame.extend(stream.to_be_bytes());
    frame.push(u8::from(end));
    frame.extend(length(bytes.len())?);
    frame.extend(bytes);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(
            data_frame(5, b"hi", true).unwrap(),
            [0, 0, 0, 5, 1, 0, 0, 2, b'h', b'i']
        );
        let first = open_stream(3, &[("a", "b")], true).unwrap();
        assert_eq!(first[..8], [0x80, 3, 0, 1, 0, 0, 0, 31]);
        assert_eq!(first[8..18], [0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
        // 14 bytes of one pair, stored.
        assert_eq!(first[18..25], [0x78, 1, 0, 14, 0, 0xf1, 0xff]);
        let second = open_stream(5, &[("a", "b")], false).unwrap();
        assert_eq!(second[18..23], [0, 14, 0, 0xf1, 0xff]);
    }
}
