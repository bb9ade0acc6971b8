//! Connections to a container, in the words of a kubelet.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ProbeAnswer;

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct NoConnection {
    why: String,
    /// Not even a refusal came back.
    silent: bool,
    /// It was waited for in vain.
    pub(super) late: bool,
}

impl NoConnection {
    fn late(address: SocketAddr) -> Self {
        Self {
            why: format!("dial tcp {address}: i/o timeout"),
            silent: true,
            late: true,
        }
    }

    /// The system says that there is none to `address`.
    pub(super) fn of(error: &Error, address: SocketAddr) -> Self {
        let why = match error.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::HostUnreachable => "no route to host".to_owned(),
            ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
            ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
            _ => error.to_string(),
        };
        Self {
            why: format!("dial tcp {address}: connect: {why}"),
            silent: is_silence(error.kind(), address),
            late: false,
        }
    }

    /// What it means for a probe that says `text` of it.
    pub(super) fn answer(&self, text: impl FnOnce(&str) -> String) -> ProbeAnswer {
        let text = text(&self.why);
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
        Ok(connected) => connected.map_err(|error| NoConnection::of(&error, address)),
        Err(_) => Err(NoConnection::late(address)),
    }
}

/// Whether a connection is taken.
pub(super) async fn probe(address: SocketAddr, time: Duration) -> ProbeAnswer {
    match connect(address, time).await {
        Ok(_) => ProbeAnswer::Success,
        Err(none) => none.answer(str::to_owned),
    }
}
