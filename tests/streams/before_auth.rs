//! What a connection may cost before its client has shown who he is, and what one may that has.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use vkc::kubelet::client_ca::{self, ClientCas};
use vkc::kubelet::listener;
use vkc::kubelet::tls::{ServingCertificate, server_config};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn trusting(ca: &Ca) -> ClientCas {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let (sender, cas) = client_ca::channel();
    sender.send_replace(Some(verifier.build().unwrap()));
    cas
}

/// A kubelet API that serves whoever asks for `/`.
struct Api {
    address: std::net::SocketAddr,
    certificate: CertificateDer<'static>,
    ca: Ca,
    _stop: tokio_util::sync::DropGuard,
}

impl Api {
    async fn start() -> Self {
        let ca = ca("cluster");
        let serving = rcgen::generate_simple_self_signed(vec!["node".to_owned()]).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let key = PrivateKeyDer::try_from(serving.signing_key.serialize_der()).unwrap();
        let chain = vec![serving.cert.der().clone()];
        let key = rustls::sign::CertifiedKey::from_der(chain, key, &provider).unwrap();
        let certificate = Arc::new(ServingCertificate::default());
        certificate.set(Arc::new(key));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "served" }));
        let stop = CancellationToken::new();
        let tls = server_config(certificate).unwrap();
        let serve = listener::serve(listener, tls, router, trusting(&ca), stop.clone());
        tokio::spawn(serve);
        Self {
            address,
            certificate: serving.cert.der().clone(),
            ca,
            _stop: stop.drop_guard(),
        }
    }

    /// A connection of a client with a certificate of `issuer`, if he shows one.
    async fn connect(&self, alpn: &str, issuer: Option<&Ca>) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match issuer {
            None => config.with_no_client_auth(),
            Some(issuer) => {
                let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
                params.distinguished_name.push(DnType::CommonName, "api");
                params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
                let key = KeyPair::generate().unwrap();
                let chain = vec![params.signed_by(&key, issuer).unwrap().der().clone()];
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("node").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, tcp).await.unwrap()
    }

    /// The status of the answer to a request with this path and token.
    async fn ask(&self, issuer: Option<&Ca>, path: &str, token: &str) -> String {
        let mut tls = self.connect("http/1.1", issuer).await;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        // Who has heard enough does not read to the end.
        let _ = tls.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let reading = tls.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(20), reading)
            .await
            .expect("an end");
        let answer = String::from_utf8(answer).unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    }
}

const SERVED: &str = "HTTP/1.1 200 OK";
const TOO_LARGE: &str = "HTTP/1.1 431 Request Header Fields Too Large";

#[tokio::test]
async fn a_stranger_says_who_he_is_in_sixteen_kilobytes() {
    let api = Api::start().await;
    // A token of Entra ID with two hundred groups has some 11 KB.
    assert_eq!(api.ask(None, "/", &"t".repeat(12 << 10)).await, SERVED);
    let long = "t".repeat(17 << 10);
    assert_eq!(api.ask(None, "/", &long).await, TOO_LARGE);
    let command = format!("/?command={}", "c".repeat(17 << 10));
    assert_eq!(api.ask(None, &command, "t").await, TOO_LARGE);
    // Anybody can make a certificate.
    let foreign = ca("cluster");
    assert_eq!(api.ask(Some(&foreign), &command, "t").await, TOO_LARGE);
}

#[tokio::test]
async fn the_api_server_brings_commands_of_sixty_kilobytes() {
    let api = Api::start().await;
    let command = |kilobytes: usize| format!("/?command={}", "c".repeat(kilobytes << 10));
    let token = "t".repeat(12 << 10);
    assert_eq!(api.ask(Some(&api.ca), &command(63), &token).await, SERVED);
    let too_long = api.ask(Some(&api.ca), &command(65), &token).await;
    assert_eq!(too_long, "HTTP/1.1 414 URI Too Long");
}

/// What the server's first frame of HTTP/2 says: number and value.
async fn settings(api: &Api, issuer: Option<&Ca>) -> Vec<(u16, u32)> {
    let mut tls = api.connect("h2", issuer).await;
    tls.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut head = [0; 9];
    tls.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "SETTINGS come first");
    let mut body = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    tls.read_exact(&mut body).await.unwrap();
    let number = |setting: &[u8]| u16::from_be_bytes([setting[0], setting[1]]);
    let value = |s: &[u8]| u32::from_be_bytes([s[2], s[3], s[4], s[5]]);
    let settings = body.chunks_exact(6);
    settings.map(|s| (number(s), value(s))).collect()
}

#[tokio::test]
async fn a_stranger_has_few_streams_with_short_headers() {
    const STREAMS: u16 = 3;
    const WINDOW: u16 = 4;
    const HEADER_LIST: u16 = 6;
    let api = Api::start().await;
    let of = |settings: &[(u16, u32)], wanted| {
        let found = settings.iter().find(|(number, _)| *number == wanted);
        found.unwrap().1
    };
    let stranger = settings(&api, None).await;
    assert_eq!(of(&stranger, STREAMS), 8);
    assert_eq!(of(&stranger, WINDOW), 16 << 10);
    assert_eq!(of(&stranger, HEADER_LIST), 16 << 10);
    let server = settings(&api, Some(&api.ca)).await;
    assert_eq!(of(&server, STREAMS), 512);
    assert_eq!(of(&server, HEADER_LIST), 32 << 10);
}
