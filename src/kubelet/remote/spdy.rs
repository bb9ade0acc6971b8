//! remotecommand over SPDY: one stream each for the status, standard input, output, error and terminal sizes.

use std::pin::pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::options::Sizes;
use super::{CLOSE_TIMEOUT, Ends, Options, Status, beside, streams};
use crate::kubelet::spdy::{self, Session, Stream};
use crate::kubelet::upgrade::{Connection, Times};
use crate::provider::exec::{Output, Streams};

/// One of each kind, and a few that a client gave up.
const STREAMS: usize = 10;

/// The streams of a client.
#[derive(Default)]
struct Opened {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Opened {
    /// Where a stream of this type goes; `None` for a type that nobody asked for.
    fn place(&mut self, kind: &str, options: Options) -> Option<&mut Option<Stream>> {
        match kind {
            "error" => Some(&mut self.error),
            "stdin" if options.stdin => Some(&mut self.stdin),
            "stdout" if options.stdout => Some(&mut self.stdout),
            "stderr" if options.stderr => Some(&mut self.stderr),
            "resize" if options.tty => Some(&mut self.resize),
            _ => None,
        }
    }

    fn complete(&self, options: Options, resize: bool) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !options.stdin)
            && (self.stdout.is_some() || !options.stdout)
            && (self.stderr.is_some() || !options.stderr)
            && (self.resize.is_some() || !resize)
    }
}

pub(super) async fn serve<W, F>(
    connection: Connection,
    protocol: &'static str,
    options: Options,
    times: Times,
    gone: CancellationToken,
    work: W,
) where
    W: FnOnce(Streams) -> F,
    F: Future<Output = Status>,
{
    // A command that does not read its input for hours is no fault: the idle time is the only limit.
    let (session, driver) = spdy::serve(connection, times.spdy(STREAMS, times.idle));
    let mut driver = pin!(driver);
    let mut talk = pin!(talk(
        session,
        protocol,
        options,
        times.creation,
        &gone,
        work
    ));
    let ended = tokio::select! {
        // The client has gone, or broke the protocol: there is nobody to tell anything.
        result = &mut driver => {
            tracing::debug!(error = result.err().map(tracing::field::display), "the client of a session has gone");
            gone.cancel();
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, talk).await;
            return;
        }
        ended = &mut talk => ended,
    };
    // The streams live until the client has read them to their end.
    let Some((session, _opened)) = ended else {
        tracing::debug!("a client did not open the streams of its session");
        return;
    };
    session.close();
    if tokio::time::timeout(times.close, driver).await.is_err() {
        tracing::debug!("a client did not read the end of its session");
    }
}

async fn talk<W, F>(
    mut session: Session,
    protocol: &'static str,
    options: Options,
    creation: Duration,
    gone: &CancellationToken,
    work: W,
) -> Option<(Session, Opened)>
where
    W: FnOnce(Streams) -> F,
    F: Future<Output = Status>,
{
    // Sizes came with v3.
    let resize = options.tty && !matches!(protocol, "v2.channel.k8s.io" | "channel.k8s.io");
    let opening = open(&mut session, options, resize);
    let mut opened = tokio::time::timeout(creation, opening).await.ok()??;
    let (streams, ends) = streams(options, gone);
    let Ends {
        stdin,
        mut output,
        resize,
    } = ends;
    let Opened {
        error,
        stdin: typed,
        stdout,
        stderr,
        resize: resized,
    } = &mut opened;
    let show = async {
        loop {
            let part = tokio::select! {
                part = output.recv() => part,
                () = gone.cancelled() => None,
            };
            let Some((to, bytes)) = part else { break };
            let stream = match to {
                Output::Stdout => &*stdout,
                Output::Stderr => &*stderr,
            };
            if let Some(stream) = stream {
                // A client that closed one stream may still want the others.
                let _ = stream.writer.write(bytes).await;
            }
        }
        // Nobody shows more.
        output.close();
    };
    let feed = async move {
        if let (Some(typed), Some(stdin)) = (typed, stdin) {
            while let Some(bytes) = typed.reader.read().await {
                if stdin.send(bytes).await.is_err() {
                    break;
                }
            }
        }
    };
    let sizes = async move {
        if let (Some(resized), Some(resize)) = (resized, resize) {
            let mut parser = Sizes::default();
            while let Some(bytes) = resized.reader.read().await {
                for size in parser.feed(&bytes) {
                    // Only the first is of use, and it finds room.
                    let _ = resize.try_send(size);
                }
            }
        }
    };
    let both = async { tokio::join!(work(streams), show) };
    // What comes late is reset by being dropped.
    let late = async { while session.accept().await.is_some() {} };
    let (status, ()) = beside(both, async {
        tokio::join!(feed, sizes, late);
    })
    .await;
    for stream in [&*stdout, &*stderr].into_iter().flatten() {
        let _ = stream.writer.finish().await;
    }
    if let Some(error) = error {
        let _ = error.writer.write(status.bytes(protocol)).await;
        let _ = error.writer.finish().await;
    }
    Some((session, opened))
}

/// The streams that `options` call for; `None` when the client will open no more.
async fn open(session: &mut Session, options: Options, resize: bool) -> Option<Opened> {
    let mut opened = Opened::default();
    while !opened.complete(options, resize) {
        let stream = session.accept().await?;
        let kind = stream.headers.get("streamtype").unwrap_or_default();
        // A stream of no known type, or a second one, is reset by being dropped.
        if let Some(place) = opened.place(&kind.to_ascii_lowercase(), options)
            && place.is_none()
        {
            *place = Some(stream);
        }
    }
    Some(opened)
}
