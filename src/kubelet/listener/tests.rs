use axum::routing::get;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::kubelet::tls::{ServingCertificate, server_config};

#[test]
fn a_node_tries_its_own_port_first_and_then_all_others() {
    let ports = 10260..=10359;
    let tried = candidates("virtual-kubelet-a-linux-eastus", &ports);
    assert_eq!(tried, candidates("virtual-kubelet-a-linux-eastus", &ports));
    assert_ne!(
        tried.first(),
        candidates("virtual-kubelet-b-linux-eastus", &ports).first()
    );
    let mut sorted = tried.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ports.collect::<Vec<_>>());
    assert_eq!(candidates("any", &(0..=0)), [0]);
    assert_eq!(candidates("any", &(7..=7)), [7]);
}

/// Both sides of a TLS connection with a node, over this protocol.
fn tls(alpn: &str) -> (Arc<rustls::ServerConfig>, tokio_rustls::TlsConnector) {
    let serving = rcgen::generate_simple_self_signed(vec!["node".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(serving.signing_key.serialize_der()).unwrap();
    let chain = vec![serving.cert.der().clone()];
    let key = rustls::sign::CertifiedKey::from_der(chain.clone(), key, &provider).unwrap();
    let certificate = Arc::new(ServingCertificate::default());
    certificate.set(Arc::new(key));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    (server_config(certificate).unwrap(), connector)
}

/// What a client that says `words` after its handshake gets, until it is cut off.
async fn answered(alpn: &str, words: &[u8], pause: Duration) -> Vec<u8> {
    let (server, connector) = tls(alpn);
    let acceptor = TlsAcceptor::from(server);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route(
        "/slow",
        get(move || async move {
            tokio::time::sleep(pause).await;
            "done"
        }),
    );
    let limits = Limits {
        header: Duration::from_millis(200),
        idle: Duration::from_millis(300),
    };
    let client = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("node").unwrap();
        let mut tls = connector.connect(name, tcp).await.unwrap();
        tls.write_all(words).await.unwrap();
        let mut answer = Vec::new();
        // The end may come without TLS' own goodbye.
        let _ = tls.read_to_end(&mut answer).await;
        answer
    };
    let server = async {
        let (stream, address) = listener.accept().await.unwrap();
        let seat = Arc::new(Seats::new(CONNECTIONS).take(address.ip()));
        let place = (stream, address.ip(), &seat);
        let (_, cas) = client_ca::channel();
        connection(
            place,
            acceptor,
            (router, &cas),
            limits,
            CancellationToken::new(),
        )
        .await;
    };
    let both = Box::pin(async { tokio::join!(client, server).0 });
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, both).await.expect("an end")
}

#[tokio::test]
async fn who_asks_nothing_is_cut_off() {
    let none = Duration::ZERO;
    for (alpn, words) in [
        ("http/1.1", &b""[..]),
        ("http/1.1", b"GET /sl"),
        ("h2", b""),
        ("h2", b"PRI * HTT"),
        (
            "h2",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ),
    ] {
        let answer = answered(alpn, words, none).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{alpn} {words:?}");
    }
}

#[tokio::test]
async fn an_answer_takes_the_time_it_needs() {
    let request = b"GET /slow HTTP/1.1\r\nHost: node\r\n\r\n";
    let answer = answered("http/1.1", request, Duration::from_secs(1)).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
        "{answer}"
    );
}

/// Whoever opens connections and says nothing takes them from himself: another address is served.
#[tokio::test]
async fn who_keeps_connections_does_not_keep_others_out() {
    let (config, connector) = tls("http/1.1");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(|| async { "served" }));
    let cancel = CancellationToken::new();
    let (_, cas) = client_ca::channel();
    let server = tokio::spawn(serve(listener, config, router, cas, cancel.clone()));
    let mut kept = Vec::new();
    for _ in 0..4 {
        for _ in 0..100 {
            kept.push(TcpStream::connect(address).await.unwrap());
        }
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
        let tcp = socket.connect(address).await.unwrap();
        let name = ServerName::try_from("node").unwrap();
        let mut tls = connector.connect(name, tcp).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
        tls.write_all(request).await.unwrap();
        let mut answer = String::new();
        let _ = tls.read_to_string(&mut answer).await;
        assert!(answer.ends_with("served"), "{answer:?}");
    }
    // Most of them have been ended.
    let mut open = 0;
    for mut stream in kept {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte));
        open += usize::from(read.await.is_err());
    }
    assert!(open <= CONNECTIONS.strangers, "{open} are open");
    cancel.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_passed_over_and_a_full_range_is_an_error() {
    let ip = IpAddr::from([127, 0, 0, 1]);
    let first = bind("n", ip, &(0..=0)).await.unwrap();
    let port = first.local_addr().unwrap().port();
    let error = bind("n", ip, &(port..=port)).await.unwrap_err();
    assert!(
        error.to_string().contains("--kubelet-port-range"),
        "{error}"
    );
}
