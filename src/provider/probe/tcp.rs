//! Connections to a container, in the words of a kubelet.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ProbeAnswer;

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct NoConnection {
    pub(super) why: String,
    /// Not even a refusal came back.
    pub(super) silent: bool,
}

impl NoConnection {
    pub(super) fn answer(self, text: String) -> ProbeAnswer {
        if self.silent {
            ProbeAnswer::Silence(text)
        } else {
            ProbeAnswer::Failure(text)
        }
    }
}

/// Whether this error may mean that there is no way to the address. What is refused on loopback is refused by this machine,
/// where no pod is.
pub(super) fn is_silence(kind: ErrorKind, address: SocketAddr) -> bool {
    let refused_here = kind == ErrorKind::ConnectionRefused && address.ip().is_loopback();
    refused_here
        || matches!(
            kind,
            ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::TimedOut
                | ErrorKind::PermissionDenied
                | ErrorKind::AddrNotAvailable
        )
}

/// A connection to `address` within `time`.
pub(super) async fn connect(
    address: SocketAddr,
    time: Duration,
) -> Result<TcpStream, NoConnection> {
    match timeout(time, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => {
            let why = match error.kind() {
                ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                ErrorKind::HostUnreachable => "no route to host".to_owned(),
                ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
                ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
                _ => error.to_string(),
            };
            Err(NoConnection {
                why: format!("dial tcp {address}: connect: {why}"),
                silent: is_silence(error.kind(), address),
            })
        }
        Err(_) => Err(NoConnection {
            why: format!("dial tcp {address}: i/o timeout"),
            silent: true,
        }),
    }
}

/// Whether a connection is taken.
pub(super) async fn probe(address: SocketAddr, time: Duration) -> ProbeAnswer {
    match connect(address, time).await {
        Ok(_) => ProbeAnswer::Success,
        Err(none) => {
            let text = none.why.clone();
            none.answer(text)
        }
    }
}
