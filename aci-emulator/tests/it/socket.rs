//! A client of exec and attach.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use crate::harness::Test;

pub(crate) type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) async fn connect(
    test: &Test,
    reply: &Value,
    authorization: Option<&str>,
) -> Result<Socket, Box<tokio_tungstenite::tungstenite::Error>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(test.emulator.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut request = reply["webSocketUri"]
        .as_str()
        .unwrap()
        .into_client_request()
        .unwrap();
    if let Some(value) = authorization {
        request
            .headers_mut()
            .insert("authorization", value.parse().unwrap());
    }
    let connecting =
        connect_async_tls_with_config(request, None, true, Some(Connector::Rustls(Arc::new(tls))));
    connecting.await.map(|(socket, _)| socket).map_err(Box::new)
}

/// All output until the socket closes.
pub(crate) async fn output(mut socket: Socket) -> String {
    let mut out = Vec::new();
    let read = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Binary(bytes) => out.extend_from_slice(&bytes),
                Message::Text(text) => out.extend_from_slice(text.as_bytes()),
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .unwrap();
    String::from_utf8(out).unwrap()
}
