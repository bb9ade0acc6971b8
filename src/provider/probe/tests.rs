use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic_health::ServingStatus;

use super::*;

const TIME: Duration = Duration::from_secs(5);

/// A listener that answers each connection with `answer`, and tells what it was asked first.
async fn server(answer: &'static str) -> (SocketAddr, oneshot::Receiver<String>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, asked) = oneshot::channel();
    let mut tell = Some(tell);
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") && stream.read_buf(&mut read).await.unwrap_or(0) > 0
            {
            }
            if let Some(tell) = tell.take() {
                let _ = tell.send(String::from_utf8_lossy(&read).to_lowercase());
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (address, asked, task)
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> ProbeAnswer {
    let headers: Vec<(Box<str>, Box<str>)> = headers
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    client().probe(address, false, path, &headers, TIME).await
}

#[tokio::test]
async fn http_is_asked_as_a_kubelet_asks_and_200_to_399_are_well() {
    for (status, well) in [
        ("200 OK", true),
        ("204 No Content", true),
        ("304 Not Modified", true),
        ("400 Bad Request", false),
        ("404 Not Found", false),
        ("503 Service Unavailable", false),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let (address, asked, _task) = server(answer.leak()).await;
        let found = get(address, "/up?x=1", &[("Host", "a.example"), ("X-A", "b")]).await;
        let failure = format!("HTTP probe failed with statuscode: {}", &status[..3]);
        let wanted = if well {
            ProbeAnswer::Success
        } else {
            ProbeAnswer::Failure(failure)
        };
        assert_eq!(found, wanted);
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("get /up?x=1 http/1.1\r\n"), "{asked}");
        for line in [
            "host: a.example",
            "x-a: b",
            "user-agent: kube-probe/1.36",
            "accept: */*",
        ] {
            assert!(asked.contains(&format!("{line}\r\n")), "{line}: {asked}");
        }
        assert_eq!(asked.matches("host:").count(), 1);
    }
}

/// A tenant's program answers 256 probes at once.
#[tokio::test]
async fn an_answer_whose_header_does_not_end_is_given_up() {
    for (header, well) in [
        (format!("x: {}\r\n", "x".repeat(31 << 10)), true),
        ("a: b\r\n".repeat(90), true),
        (format!("x: {}\r\n", "x".repeat(100 << 10)), false),
        ("a: b\r\n".repeat(101), false),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{header}content-length: 0\r\n\r\n");
        let (address, _, _task) = server(answer.leak()).await;
        let found = get(address, "/", &[]).await;
        match found {
            ProbeAnswer::Success => assert!(well, "{} bytes were read", header.len()),
            ProbeAnswer::Failure(why) => {
                assert!(!well && why.starts_with("Get \"http://"), "{why}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn any_certificate_will_do() {
    let made = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let _task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tls.accept(stream).await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            read.push(stream.read_u8().await.unwrap());
        }
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let found = client().probe(address, true, "/", &[], TIME).await;
    assert_eq!(found, ProbeAnswer::Success);
}

#[tokio::test]
async fn redirects_lead_on_within_the_host_and_nowhere_else() {
    let (well, _, _task) = server("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n").await;
    let to =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{well}/x\r\ncontent-length: 0\r\n\r\n");
    let (address, _, _other) = server(to.leak()).await;
    let followed = get(address, "/", &[]).await;
    let failure = "HTTP probe failed with statuscode: 500".to_owned();
    assert_eq!(followed, ProbeAnswer::Failure(failure));
    let (away, _, _third) = server(
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/metadata\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let warning = "Probe terminated redirects".to_owned();
    assert_eq!(get(away, "/", &[]).await, ProbeAnswer::Warning(warning));
}

#[tokio::test]
async fn a_refused_connection_is_told_in_a_kubelets_words() {
    let address = nobody().await;
    let refused = format!("dial tcp {address}: connect: connection refused");
    // On loopback it is this machine that refuses.
    let http = format!("Get \"http://{address}/\": {refused}");
    assert_eq!(get(address, "/", &[]).await, ProbeAnswer::Silence(http));
    let grpc = format!("error: failed to connect service at \"{address}\": {refused}");
    assert_eq!(
        grpc::probe(address, "", TIME).await,
        ProbeAnswer::Silence(grpc)
    );
    assert_eq!(
        tcp::probe(address, TIME).await,
        ProbeAnswer::Silence(refused)
    );
    let (address, _, _task) = server("").await;
    assert_eq!(tcp::probe(address, TIME).await, ProbeAnswer::Success);
}

#[test]
fn what_another_machine_refuses_is_a_sign_of_life() {
    use std::io::ErrorKind;
    let (here, there) = ("127.0.0.1:80", "10.0.0.4:80");
    for (kind, address, silent) in [
        (ErrorKind::ConnectionRefused, here, true),
        (ErrorKind::ConnectionRefused, there, false),
        (ErrorKind::ConnectionReset, there, false),
        (ErrorKind::HostUnreachable, there, true),
        (ErrorKind::NetworkUnreachable, there, true),
        (ErrorKind::TimedOut, there, true),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(tcp::is_silence(kind, address), silent, "{kind} {address}");
    }
}

#[tokio::test]
async fn who_takes_the_connection_and_says_nothing_has_failed_and_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let short = Duration::from_millis(200);
    let found = client().probe(address, false, "/", &[], short).await;
    let text = format!(
        "Get \"http://{address}/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    );
    assert_eq!(found, ProbeAnswer::Failure(text));
    let found = grpc::probe(address, "", short).await;
    assert!(matches!(found, ProbeAnswer::Failure(_)), "{found:?}");
}

#[tokio::test]
async fn grpc_serves_when_its_health_service_says_so() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("down", ServingStatus::NotServing)
        .await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    let _task = tokio::spawn(server.serve_with_incoming(incoming));
    assert_eq!(grpc::probe(address, "", TIME).await, ProbeAnswer::Success);
    let down = "service unhealthy (responded with \"NOT_SERVING\")".to_owned();
    assert_eq!(
        grpc::probe(address, "down", TIME).await,
        ProbeAnswer::Failure(down)
    );
    let unknown = grpc::probe(address, "nobody", TIME).await;
    assert!(matches!(unknown, ProbeAnswer::Failure(_)), "{unknown:?}");
    // Something else that speaks no gRPC.
    let (address, _, _task) = self::server("HTTP/1.1 200 OK\r\n\r\n").await;
    let other = grpc::probe(address, "", TIME).await;
    assert!(matches!(other, ProbeAnswer::Failure(_)), "{other:?}");
}
