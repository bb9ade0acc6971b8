//! A scripted server over TLS: the test says for each request what comes back, also what no real server would admit
//! to. It speaks plain HTTP/1.1 by hand, because half of the cases are about breaking it.

use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What a request was.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query, as sent.
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

/// What comes back.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Http {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
        delay: Duration,
    },
    /// Never anything.
    Hang,
    /// The connection is closed instead.
    Drop,
    /// Half of the announced body, then the connection is closed.
    Cut,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::text(status, "application/json; charset=utf-8", &body.to_string())
    }

    pub(crate) fn text(status: u16, content_type: &str, body: &str) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self::Http {
            status,
            headers,
            body: body.to_owned(),
            delay: Duration::ZERO,
        }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self::Http {
            status,
            headers: Vec::new(),
            body: String::new(),
            delay: Duration::ZERO,
        }
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::json(
            status,
            &serde_json::json!({"error": {"code": code, "message": format!("{code} happened.")}}),
        )
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Http { headers, .. } = &mut self {
            headers.push((name, value.to_string()));
        }
        self
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        if let Self::Http { delay, .. } = &mut self {
            *delay = wait;
        }
        self
    }

    /// A token that every handler may check for in `authorization`.
    pub(crate) fn token(token: &str) -> Self {
        Self::json(
            200,
            &serde_json::json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token}),
        )
    }

    pub(crate) fn refusal(status: u16, number: u32) -> Self {
        let text = format!("AADSTS{number}: refused.\r\nTrace ID: 1");
        let body = serde_json::json!({"error": "invalid_client", "error_description": text, "error_codes": [number]});
        Self::json(status, &body)
    }
}

type Handler = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// The server; ends when dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) ca_base64: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    tasks: JoinSet<()>,
}

impl Server {
    /// `handler` answers everything but the token endpoint, which gives out `token-1`, `token-2`, ….
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let tokens = Mutex::new(0_u32);
        Self::start_raw(move |seen| {
            if !seen.is_token() {
                return handler(seen);
            }
            let mut tokens = tokens.lock();
            *tokens += 1;
            Answer::token(&format!("token-{tokens}"))
        })
        .await
    }

    /// `handler` answers everything.
    pub(crate) async fn start_raw(
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        install_tls_provider();
        let (config, ca_pem) = certificate();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let acceptor = TlsAcceptor::from(config);
        let handler: Handler = Arc::new(handler);
        let mut tasks = JoinSet::new();
        let log = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(
                    acceptor.clone(),
                    stream,
                    Arc::clone(&handler),
                    Arc::clone(&log),
                ));
            }
        });
        Self {
            address,
            ca_base64: STANDARD.encode(ca_pem),
            seen,
            tasks,
        }
    }

    /// Every request that was not for a token.
    pub(crate) fn calls(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .iter()
            .filter(|seen| !seen.is_token())
            .cloned()
            .collect()
    }

    pub(crate) fn token_requests(&self) -> usize {
        self.seen
            .lock()
            .iter()
            .filter(|seen| seen.is_token())
            .count()
    }

    /// Stops answering and closes every connection.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

impl Seen {
    fn is_token(&self) -> bool {
        self.target.ends_with("/oauth2/v2.0/token")
    }

    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    pub(crate) fn bearer(&self) -> &str {
        self.headers
            .get("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default()
    }
}

/// rustls wants one provider in the process.
pub(crate) fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
}

fn certificate() -> (Arc<ServerConfig>, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key);
    (Arc::new(config.unwrap()), ca.pem())
}

async fn connection(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    handler: Handler,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    let mut buffer = Vec::new();
    loop {
        let seen = loop {
            if let Some((seen, length)) = request(&buffer) {
                buffer.drain(..length);
                break seen;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        };
        let answer = handler(&seen);
        log.lock().push(seen);
        match answer {
            Answer::Hang => return std::future::pending().await,
            Answer::Drop => return,
            Answer::Cut => {
                let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"name\":";
                let _ = stream.write_all(half).await;
                return;
            }
            Answer::Http {
                status,
                headers,
                body,
                delay,
            } => {
                tokio::time::sleep(delay).await;
                let mut text = format!("HTTP/1.1 {status} Status\r\n");
                for (name, value) in headers {
                    text.extend([name, ": ", value.as_str(), "\r\n"]);
                }
                if status != 204 {
                    text.extend(["content-length: ", &body.len().to_string(), "\r\n"]);
                }
                text += "\r\n";
                text += &body;
                if stream.write_all(text.as_bytes()).await.is_err() || stream.flush().await.is_err()
                {
                    return;
                }
            }
        }
    }
}

/// The first whole request in `buffer` and its length.
fn request(buffer: &[u8]) -> Option<(Seen, usize)> {
    let head_length = buffer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8(buffer[..head_length].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body_length: usize = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let end = head_length + 4 + body_length;
    let body = String::from_utf8(buffer.get(head_length + 4..end)?.to_vec()).unwrap();
    Some((
        Seen {
            method,
            target,
            headers,
            body,
        },
        end,
    ))
}
