//! The gRPC health check (`grpc.health.v1.Health/Check`), in the words of a kubelet.

use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::tcp::connect;
use super::{ProbeAnswer, USER_AGENT};
use crate::causes::chain;

/// Longest answer that is read: a health check's is some bytes.
const LONGEST_ANSWER: usize = 4096;
/// Longest headers that are read.
const LONGEST_HEADERS: u32 = 16 * 1024;

/// Whether the container says that `service` serves.
pub(super) async fn probe(address: SocketAddr, service: &str, time: Duration) -> ProbeAnswer {
    let until = Instant::now() + time;
    let stream = match connect(address, time).await {
        Ok(stream) => stream,
        Err(none) => {
            return none.answer(|why| {
                if none.late {
                    let time = time.as_secs();
                    let late = format!("within {time}s: context deadline exceeded");
                    return format!("timeout: failed to connect service \"{address}\" {late}");
                }
                format!("error: failed to connect service at \"{address}\": {why}")
            });
        }
    };
    let ask = async {
        let channel = over(stream).await.map_err(|error| {
            format!(
                "error: failed to connect service at \"{address}\": {}",
                chain(&error)
            )
        })?;
        let mut client = HealthClient::new(channel).max_decoding_message_size(LONGEST_ANSWER);
        let service = service.to_owned();
        match client.check(HealthCheckRequest { service }).await {
            Ok(answer) => Ok(answer.into_inner().status()),
            Err(status) if status.code() == Code::Unimplemented => Err(format!(
                "this server does not implement the grpc health protocol (grpc.health.v1.Health): {}",
                status.message()
            )),
            Err(status) => Err(format!("error: health rpc probe failed: {status}")),
        }
    };
    let left = until.saturating_duration_since(Instant::now());
    match timeout(left, ask).await {
        Ok(Ok(ServingStatus::Serving)) => ProbeAnswer::Success,
        Ok(Ok(status)) => ProbeAnswer::Failure(format!(
            "service unhealthy (responded with \"{}\")",
            status.as_str_name()
        )),
        Ok(Err(why)) => ProbeAnswer::Failure(why),
        Err(_) => ProbeAnswer::Failure(format!(
            "timeout: health rpc did not complete within {}s",
            time.as_secs()
        )),
    }
}

/// A channel over this connection and no other.
async fn over(stream: tokio::net::TcpStream) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let once = tower::service_fn(move |_| {
        let stream = stream.lock().take();
        async move { stream.ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)) }
    });
    // The name is sent as :authority and is nobody's address.
    Endpoint::from_static("http://pod")
        .user_agent(USER_AGENT)?
        .http2_max_header_list_size(LONGEST_HEADERS)
        .connect_with_connector(once)
        .await
}
