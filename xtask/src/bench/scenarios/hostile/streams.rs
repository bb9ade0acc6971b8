//! Logs, commands and forwarded ports of a tenant's own pod.

use std::time::Duration;

use anyhow::{Result, ensure};
use flate2::{Compress, Compression, FlushCompress};
use futures::{AsyncReadExt as _, SinkExt as _, StreamExt as _};
use kube::api::LogParams;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use super::network::dial;
use super::stage::{NAMESPACE, POD, Running, Stage, group};
use crate::bench::sockets::{Cluster, encrypted};

const READERS: usize = 200;
const LOOPS: usize = 32;
const SESSIONS: usize = 100;
const FORWARDS: usize = 23;
/// Streams of a forwarding session, and what the headers of each hold.
const HALVES: usize = 512;
const FITTING: usize = 3_900;
const LARGE: usize = 64 << 10;
/// Longest message that is taken, and a longer one.
const MESSAGE: usize = (2 << 20) - 1;
const TOO_LONG: usize = 8 << 20;
/// Of a log.
const LOG: usize = (4 << 20) - 64;
const AT_ONCE: Duration = Duration::ZERO;

/// The log of the attacker's pod is this from now on: what ACI keeps is 4 MB.
async fn logged(stage: &Stage<'_>, line: &str) -> Result<()> {
    // With what is around it, just the longest answer that is read.
    let content = line.repeat(LOG / line.len());
    let log = json!({
        "method": "GET",
        "pathContains": format!("{}/containers/", group(stage.rig).await?),
        "status": 200,
        "body": json!({ "content": content }).to_string(),
        "headers": { "content-type": "application/json" },
        "times": u32::MAX,
    });
    stage.rig.emulator.tell("faults", &log).await
}

/// `kubectl logs` of nothing but ends of lines (S4).
pub(super) async fn newline_logs(stage: &Stage<'_>) -> Result<Running> {
    // Twice as long in JSON.
    logged(stage, "\n").await?;
    Ok(reading(stage, 4))
}

/// Logs as fast as they can be had (S15).
pub(super) fn log_loop(stage: &Stage<'_>) -> Running {
    reading(stage, LOOPS)
}

fn reading(stage: &Stage<'_>, readers: usize) -> Running {
    let mut running = Running::default();
    for _ in 0..readers {
        let (pods, count) = (stage.pods(), running.count.clone());
        running.again(AT_ONCE, move || {
            let (pods, count) = (pods.clone(), count.clone());
            async move {
                let mut log = Box::pin(pods.log_stream(POD, &LogParams::default()).await?);
                let mut part = vec![0; 64 << 10];
                while log.read(&mut part).await? > 0 {}
                count.add(1);
                Ok(())
            }
        });
    }
    running
}

/// Readers who take the beginning of a long log and no more, and stay (S4).
pub(super) async fn slow_readers(stage: &Stage<'_>) -> Result<Running> {
    logged(stage, "a line of a log that is long enough to be one\n").await?;
    let mut running = Running::default();
    for number in 0..READERS {
        let (cluster, count) = (stage.doors.cluster.clone(), running.count.clone());
        running.again(Duration::from_secs(1), move || {
            let (cluster, count) = (cluster.clone(), count.clone());
            async move {
                let (tls, door) = cluster.door();
                // The smallest that the system has.
                let tcp = dial(door, number, Some(2048)).await?;
                let name = ServerName::try_from("127.0.0.1")?;
                let mut stream = tls.connect(name, tcp).await?;
                let request = format!(
                    "GET /api/v1/namespaces/{NAMESPACE}/pods/{POD}/log HTTP/1.1\r\nHost: {door}\r\n\r\n"
                );
                stream.write_all(request.as_bytes()).await?;
                let mut head = [0; 512];
                let read = stream.read(&mut head).await?;
                let begin = head.get(..read).unwrap_or_default();
                ensure!(begin.starts_with(b"HTTP/1.1 200"), "the log was refused");
                count.add(1);
                sleep(Duration::from_mins(10)).await;
                Ok(())
            }
        });
    }
    Ok(running)
}

/// Commands one after the other, each with a session of its own in Azure (S15).
pub(super) fn exec_loop(stage: &Stage<'_>) -> Running {
    let mut running = Running::default();
    for _ in 0..LOOPS {
        let (cluster, count) = (stage.doors.cluster.clone(), running.count.clone());
        running.again(AT_ONCE, move || {
            let (cluster, count) = (cluster.clone(), count.clone());
            async move {
                count.add(1);
                let mut socket = session(&cluster, "stdout=true", &["true"]).await?;
                while socket.next().await.transpose()?.is_some() {}
                Ok(())
            }
        });
    }
    running
}

/// Standard input without end for commands that do not read it (S14).
pub(super) fn stdin_floods(stage: &Stage<'_>) -> Running {
    let mut running = Running::default();
    for number in 0..SESSIONS {
        let (cluster, count) = (stage.doors.cluster.clone(), running.count.clone());
        // One in ten sends more than is taken.
        let length = if number % 10 == 9 { TOO_LONG } else { MESSAGE };
        let message = Message::binary(vec![0; length]);
        running.again(Duration::from_secs(1), move || {
            let (cluster, count, message) = (cluster.clone(), count.clone(), message.clone());
            async move {
                let options = "stdin=true&stdout=true";
                let mut socket = session(&cluster, options, &["sleep", "3600"]).await?;
                loop {
                    socket.send(message.clone()).await?;
                    count.add(length >> 20);
                }
            }
        });
    }
    running
}

/// In the protocol that the API server hands on as it is.
async fn session(
    cluster: &Cluster,
    options: &str,
    argv: &[&str],
) -> Result<crate::bench::sockets::Socket> {
    let protocol = "v4.channel.k8s.io";
    cluster
        .exec_in((NAMESPACE, POD), options, argv, protocol)
        .await
}

/// Streams of port-forward whose headers are a thousand times what was sent (S13): as many as are taken, with headers as long as
/// are taken, and after a while one that is longer.
pub(super) fn spdy_headers(stage: &Stage<'_>) -> Running {
    let mut running = Running::default();
    for _ in 0..FORWARDS {
        let (cluster, count) = (stage.doors.cluster.clone(), running.count.clone());
        running.again(Duration::from_secs(1), move || {
            let (cluster, count) = (cluster.clone(), count.clone());
            async move {
                let (tls, door) = cluster.door();
                let mut stream = encrypted(tls, door).await?;
                let request = format!(
                    "POST /api/v1/namespaces/{NAMESPACE}/pods/{POD}/portforward HTTP/1.1\r\nHost: {door}\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
                );
                stream.write_all(request.as_bytes()).await?;
                let mut packer = Compress::new(Compression::best(), true);
                for stream_id in (1u32..).step_by(2).take(HALVES) {
                    stream.write_all(&opened(&mut packer, stream_id, FITTING)?).await?;
                    count.add(1);
                }
                stream.flush().await?;
                sleep(Duration::from_secs(10)).await;
                let last = u32::try_from(2 * HALVES + 1)?;
                stream.write_all(&opened(&mut packer, last, LARGE)?).await?;
                stream.flush().await?;
                let mut answers = vec![0; 64 << 10];
                while stream.read(&mut answers).await? > 0 {}
                Ok(())
            }
        });
    }
    running
}

/// A `SYN_STREAM` of half a pair (SPDY draft 3.1, section 2.6.1), with so many bytes of headers more.
fn opened(packer: &mut Compress, stream: u32, more: usize) -> Result<Vec<u8>> {
    let (request, ballast) = (stream.to_string(), "x".repeat(more));
    let pairs = [
        ("streamtype", "error"),
        ("port", "80"),
        ("requestid", &request),
        ("ballast", &ballast),
    ];
    let mut block = u32::try_from(pairs.len())?.to_be_bytes().to_vec();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        block.extend(u32::try_from(text.len())?.to_be_bytes());
        block.extend(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(block.len() + 256);
    packer.compress_vec(&block, &mut bytes, FlushCompress::Sync)?;
    let mut frame = vec![0x80, 3, 0, 1, 0];
    let [_, long, middle, short] = u32::try_from(bytes.len() + 10)?.to_be_bytes();
    frame.extend([long, middle, short]);
    frame.extend(stream.to_be_bytes());
    frame.extend([0; 6]);
    frame.extend(bytes);
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_small_on_the_wire() {
        let mut packer = Compress::new(Compression::best(), true);
        let first = opened(&mut packer, 1, LARGE).unwrap();
        assert_eq!(first[..5], [0x80, 3, 0, 1, 0]);
        assert!(first.len() < 400, "{}", first.len());
    }
}
