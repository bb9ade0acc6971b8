//! The listener: TLS, HTTP/1.1 and HTTP/2, and an end that leaves no task behind.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::body::Body;
use hyper::service::{Service as _, service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::Config, control::Control, front, pages, run, run::Runner, shared::Shared, tls,
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open connections may take to finish what they are at.
const DRAIN: Duration = Duration::from_millis(500);

/// Why an emulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address of the configuration.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No certificate, or TLS cannot be set up.
    #[error("{0}")]
    Tls(String),
    /// The state directory cannot be written.
    #[error("writing {path}: {source}")]
    StateDir {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Groups cannot be run here.
    #[error(transparent)]
    Run(#[from] run::RunError),
}

/// A running emulator. Dropping it stops it without waiting; [`Emulator::stop`] waits.
pub struct Emulator {
    shared: Arc<Shared>,
    ca_pem: String,
    metadata_url: String,
}

impl Emulator {
    /// Makes a CA, listens and answers from the moment this returns.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let (tls, ca_pem) = tls::server_config(config.listen.ip())
            .map_err(|error| Error::Tls(error.to_string()))?;
        let listen = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let port = listener.local_addr().map_err(listen)?.port();
        if let Some(dir) = &config.state_dir {
            let path = dir.join("ca.pem");
            let written = match tokio::fs::create_dir_all(dir).await {
                Ok(()) => tokio::fs::write(&path, &ca_pem).await,
                Err(error) => Err(error),
            };
            written.map_err(|source| Error::StateDir {
                path: path.display().to_string(),
                source,
            })?;
        }
        let metadata = TcpListener::bind(config.metadata_listen).await;
        let metadata = metadata.map_err(|source| Error::Listen {
            address: config.metadata_listen,
            source,
        })?;
        let metadata_port = metadata.local_addr().map_err(listen)?.port();
        // Who listens at all addresses is reached at loopback, too.
        let ip = Some(config.listen.ip()).filter(|ip| !ip.is_unspecified());
        let ip = ip.unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let url = format!("https://{}", SocketAddr::new(ip, port));
        let runner = match &config.run {
            Some(run) => Some(Arc::new(
                Runner::start(run, config.state_dir.as_deref()).await?,
            )),
            None => None,
        };
        let shared = Arc::new(Shared::new(config, url, runner.clone()));
        if let Some(runner) = runner {
            shared
                .tasks
                .spawn(run::supervise(Arc::clone(&shared), runner));
        }
        shared
            .tasks
            .spawn(accept(Arc::clone(&shared), listener, tls));
        shared
            .tasks
            .spawn(accept_plain(Arc::clone(&shared), metadata));
        if let Some(due) = shared.pages.clone() {
            shared.tasks.spawn(pages::run(Arc::clone(&shared), due));
        }
        Ok(Self {
            shared,
            ca_pem,
            metadata_url: format!("http://127.0.0.1:{metadata_port}"),
        })
    }

    /// `https://127.0.0.1:PORT`, or the address that it listens at: ARM endpoint and authority host alike.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// `http://127.0.0.1:PORT`: the metadata service of the machine, for `AZURE_POD_IDENTITY_AUTHORITY_HOST`.
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// `127.0.0.1:PORT`: the container registry, as the names of its images begin.
    pub fn registry(&self) -> &str {
        let url = &self.shared.url;
        url.strip_prefix("https://").unwrap_or(url)
    }

    /// The CA that signed the listener's certificate, in PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Every knob and every look, in process.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared))
    }

    /// Ends all connections and tasks and waits for them.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(tls);
    let service = TowerToHyperService::new(front::router(Arc::clone(&shared)));
    while let Some(stream) = next(&shared, &listener).await {
        let (acceptor, service, shared_) = (acceptor.clone(), service.clone(), Arc::clone(&shared));
        shared
            .tasks
            .spawn(connection(shared_, acceptor, service, stream));
    }
}

/// The metadata service: HTTP as it is.
async fn accept_plain(shared: Arc<Shared>, listener: TcpListener) {
    let service = TowerToHyperService::new(front::metadata_router(Arc::clone(&shared)));
    while let Some(stream) = next(&shared, &listener).await {
        let (service, shared_) = (service.clone(), Arc::clone(&shared));
        shared
            .tasks
            .spawn(async move { serve(&shared_, service, stream).await });
    }
}

/// The next connection; `None` when the emulator stops.
async fn next(shared: &Shared, listener: &TcpListener) -> Option<TcpStream> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return None,
        };
        match accepted {
            Ok((stream, _)) => return Some(stream),
            Err(error) => {
                // Out of file descriptors, most likely: a pause lets connections end.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

type Front = TowerToHyperService<axum::Router>;

async fn connection(shared: Arc<Shared>, acceptor: TlsAcceptor, front: Front, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "set_nodelay failed");
    }
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let stream = tokio::select! {
        done = handshake => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                return;
            }
            Err(_) => return,
        },
        () = shared.stop.cancelled() => return,
    };
    serve(&shared, front, stream).await;
}

async fn serve(
    shared: &Shared,
    front: Front,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    // An error of the service closes the connection (HTTP/1.1) or resets the stream (HTTP/2).
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let answer = front.call(request);
        async move {
            let response: http::Response<Body> = match answer.await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            if response
                .extensions()
                .get::<front::DropConnection>()
                .is_some()
            {
                return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
            }
            Ok(response)
        }
    });
    let builder = Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shared.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(DRAIN, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
