//! `/containerLogs`: ACI's log of a container as a kubelet tells it.
//!
//! ACI has no streaming: it answers the end of a log, 4 MB of a running container, 16 KB or 1,000 lines of one that has
//! ended. A follower looks again and again and writes what is new. It ends with the container's run, or when its client
//! goes: nobody then polls its stream any more, and there is no task that could go on.

pub mod container;
pub mod interval;
pub mod lines;
pub mod options;
pub mod seen;
mod shown;
mod texts;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::Either;
use futures::{Stream, StreamExt as _, stream};
use http::header;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::container::Life;
use self::interval::FollowInterval;
use self::lines::Limit;
use self::options::Options;
use self::seen::{Piece, Seen, Step};
use self::shown::Shown;
use self::texts::Room;
pub use self::texts::Texts;
use super::api_error::ApiError;
use super::pods::Pods;
use super::stream_slots::StreamSlot;
use crate::azure::{AzureError, ErrorClass};
use crate::kube::backoff::Backoff;
use crate::provider::Containers;
use crate::translate::PodKey;

/// Lines of the first look of a follower's turn; more are fetched when that is too few.
const WINDOW: u32 = 256;
/// A larger window has so many times the lines.
const WIDER: u32 = 8;
/// No window by lines is larger than this: then the whole log is fetched.
const WIDEST: u32 = WINDOW * WIDER * WIDER;
/// Lines of a look that are gone through: who writes more between two looks loses some, and is told so.
const MOST_LINES: usize = 1 << 16;
/// A follower that has not been answered by Azure for so long gives up.
const GIVE_UP: Duration = Duration::from_mins(5);
/// Waits after a failure of Azure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
const TEXT: &str = "text/plain; charset=utf-8";
/// What a stream says where lines may be missing.
const GAP: &str = "[virtual-kubelet] lines may be missing here: Azure keeps only the end of a log, and it has moved on\n";

/// Reads the logs of a node's containers.
#[derive(Clone)]
pub struct Logs {
    pods: Pods,
    containers: Arc<dyn Containers>,
    texts: Texts,
    followers: Arc<AtomicUsize>,
    epoch: Instant,
    cancel: CancellationToken,
}

#[derive(Debug, Clone)]
pub struct Target {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    pub container: String,
}

impl Logs {
    /// Logs of `pods` by way of `containers`, with room in `texts`. Followers end at `cancel`.
    pub fn new(
        pods: Pods,
        containers: Arc<dyn Containers>,
        texts: Texts,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            pods,
            containers,
            texts,
            followers: Arc::default(),
            epoch: Instant::now(),
            cancel,
        }
    }

    /// How many logs are being followed.
    pub fn followers(&self) -> usize {
        self.followers.load(Ordering::Relaxed)
    }

    /// Answers a request. `slot` is held until the reader has all of the answer.
    ///
    /// # Errors
    /// As a kubelet refuses it.
    pub async fn answer(
        &self,
        target: Target,
        options: Options,
        slot: StreamSlot,
    ) -> Result<Response, ApiError> {
        let body = match self.open(target, &options).await? {
            Log::Ended(whole) => {
                let chunks = stream::unfold((whole, slot), async |(mut whole, slot)| {
                    let chunk = whole.next()?;
                    Some((Ok::<_, Infallible>(chunk), (whole, slot)))
                });
                Body::from_stream(chunks)
            }
            Log::Followed(mut follower) => {
                follower.slot = Some(slot);
                Body::from_stream(follower.stream().map(Ok::<_, Infallible>))
            }
        };
        Ok(([(header::CONTENT_TYPE, TEXT)], body).into_response())
    }

    /// What the container writes from now on, until its run ends. Empty for one that has ended.
    ///
    /// # Errors
    /// As a kubelet refuses to follow the log.
    pub async fn from_now_on(
        &self,
        target: Target,
    ) -> Result<impl Stream<Item = Bytes> + Send + use<>, ApiError> {
        let options = Options {
            follow: true,
            tail: Some(0),
            ..Options::default()
        };
        Ok(match self.open(target, &options).await? {
            Log::Ended(_) => Either::Left(stream::empty()),
            Log::Followed(follower) => Either::Right(follower.stream()),
        })
    }

    async fn open(&self, target: Target, options: &Options) -> Result<Log, ApiError> {
        let pod = self.pods.get(&target.namespace, &target.pod).await?;
        let run = container::run(&pod, &target.container, options.previous)?;
        let key = PodKey::of(&pod).ok_or_else(|| ApiError::not_found("the pod has no UID"))?;
        let follow = options.follow && !run.ended;
        let timed = follow || options.timestamps || options.since.is_some();
        let tail = options
            .tail
            .map(|tail| u32::try_from(tail).unwrap_or(u32::MAX));
        let window = match tail {
            Some(tail) if follow => Some(tail.max(WINDOW)),
            tail => tail,
        };
        let mut room = self.texts.room().await?;
        let content = match self
            .containers
            .logs(&key, &target.container, window, timed)
            .await
        {
            Ok(content) => content,
            // It runs, or ran, and has written nothing that Azure has seen.
            Err(error) if error.code == "ContainerLogNotAvailable" => String::new(),
            Err(error) => {
                let about = format!(
                    "logs of container {:?} in pod {:?}",
                    target.container, target.pod
                );
                return Err(ApiError::azure(&about, &error));
            }
        };
        room.shrink(content.len());
        let writer = Writer::new(options);
        let tail = tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
        let mut seen = Seen::default();
        if follow {
            seen.begin(&lines::last(&content, timed, seen::REMEMBERED + 1));
        }
        let whole = Whole {
            shown: Shown::new(content, timed, tail, follow),
            writer,
            _room: room,
        };
        if !follow {
            return Ok(Log::Ended(whole));
        }
        Ok(Log::Followed(Box::new(Follower {
            logs: self.clone(),
            key,
            container: target.container,
            restarts: run.restarts,
            out: Writer::new(options),
            first: Some(whole),
            seen,
            interval: FollowInterval::new(self.epoch.elapsed()),
            window: Some(WINDOW),
            last: false,
            another: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            heard: Instant::now(),
            _count: Count::new(&self.followers),
            slot: None,
        })))
    }
}

/// A log that was asked for.
enum Log {
    /// All that there is to show.
    Ended(Whole),
    /// There may be more.
    Followed(Box<Follower>),
}

/// A text that is being written out, and its room.
struct Whole {
    shown: Shown,
    writer: Writer,
    _room: Room,
}

impl Whole {
    fn next(&mut self) -> Option<Bytes> {
        self.shown.next(&mut self.writer)
    }
}

/// From pieces to the bytes that are asked for.
struct Writer {
    timestamps: bool,
    since: Option<Timestamp>,
    limit: Limit,
}

impl Writer {
    fn new(options: &Options) -> Self {
        Self {
            timestamps: options.timestamps,
            since: options.since,
            limit: Limit::new(options.limit_bytes),
        }
    }

    fn write(&mut self, pieces: &[Piece]) -> Bytes {
        let mut out = Vec::new();
        for piece in pieces {
            if piece.begins {
                if !self.begin(&mut out, piece.at) {
                    continue;
                }
            } else if self.is_too_old(piece.at) {
                continue;
            }
            self.limit.write(&mut out, &piece.text);
            if piece.ends {
                self.limit.write(&mut out, "\n");
            }
        }
        Bytes::from(out)
    }

    fn is_too_old(&self, at: Option<Timestamp>) -> bool {
        let since = self.since;
        since.is_some_and(|since| at.is_some_and(|at| at < since))
    }

    /// Writes what comes before a line of that time; false when the line is left out.
    fn begin(&mut self, out: &mut Vec<u8>, at: Option<Timestamp>) -> bool {
        if self.is_too_old(at) {
            return false;
        }
        if let Some(at) = at.filter(|_| self.timestamps) {
            self.limit.write(out, &lines::prefix(at));
        }
        true
    }
}

/// Counts a follower while it lives.
struct Count(Arc<AtomicUsize>);

impl Count {
    fn new(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all.clone())
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// There is no room for the text of a look: as when Azure has no turn.
fn busy(message: &str) -> AzureError {
    AzureError::local(ErrorClass::Throttled, "NoRoom", message)
}

/// One `logs -f`.
struct Follower {
    logs: Logs,
    key: PodKey,
    container: String,
    restarts: i32,
    /// What was there when it began.
    first: Option<Whole>,
    out: Writer,
    seen: Seen,
    interval: FollowInterval,
    /// Lines to fetch; `None` for all.
    window: Option<u32>,
    /// The run has ended: one more look shows the rest.
    last: bool,
    /// Another run may have begun, after so many restarts.
    another: Option<i32>,
    backoff: Backoff,
    /// When Azure last answered.
    heard: Instant,
    _count: Count,
    /// A place among the node's streams.
    slot: Option<StreamSlot>,
}

impl Follower {
    fn stream(self: Box<Self>) -> impl Stream<Item = Bytes> + Send + use<> {
        stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            let cancel = follower.logs.cancel.clone();
            let next = tokio::select! {
                () = cancel.cancelled() => None,
                next = follower.next() => next,
            };
            next.map(|(bytes, goes_on)| (bytes, goes_on.then_some(follower)))
        })
    }

    /// The next bytes, and whether there may be more; `None` at the end.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        if let Some(whole) = &mut self.first {
            if let Some(chunk) = whole.next() {
                return Some((chunk, true));
            }
            self.out.limit = whole.writer.limit;
            self.first = None;
        }
        loop {
            if self.out.limit.is_reached() {
                return None;
            }
            if !self.last {
                let polls = self.logs.containers.log_polls();
                let wait = self.interval.wait(self.logs.epoch.elapsed(), polls.round());
                polls.next_slot(wait).await;
            }
            let (bytes, done) = match self.look().await {
                Ok(bytes) => {
                    self.heard = Instant::now();
                    self.backoff.reset();
                    (bytes, self.last)
                }
                Err(error) if error.class == ErrorClass::NotFound => return None,
                Err(error) => match self.failed(&error).await {
                    Some(goodbye) => return Some((goodbye, false)),
                    None => continue,
                },
            };
            if !bytes.is_empty() {
                self.interval.active(self.logs.epoch.elapsed());
                return Some((bytes, !done));
            }
            if done {
                return None;
            }
            self.interval.idle();
            match self.life().await {
                Life::Goes => {}
                Life::Ended => self.last = true,
                Life::Another(restarts) => self.another = Some(restarts),
            }
        }
    }

    async fn look(&mut self) -> Result<Bytes, AzureError> {
        loop {
            let room = self.logs.texts.room().await;
            let mut room = room.map_err(|refusal| busy(&refusal.text))?;
            let logs = &self.logs.containers;
            let content = match logs
                .logs(&self.key, &self.container, self.window, true)
                .await
            {
                Err(error) if error.code == "ContainerLogNotAvailable" => String::new(),
                other => other?,
            };
            room.shrink(content.len());
            let parsed = lines::last(&content, true, MOST_LINES);
            let size = self
                .window
                .map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
            // One line of grace: who counts an empty last line answers one fewer.
            let whole = size.is_none_or(|size| parsed.len() + 1 < size);
            match self.seen.look(&parsed, whole, self.last) {
                Step::Widen => {
                    self.window = self.window.map(|lines| lines.saturating_mul(WIDER));
                    self.window = self.window.filter(|lines| *lines <= WIDEST);
                    logs.log_polls().charge();
                }
                Step::New(pieces) => {
                    self.window = Some(WINDOW);
                    // The log goes on: the run was this one all the time.
                    self.restarts = self.another.take().unwrap_or(self.restarts);
                    return Ok(self.out.write(&pieces));
                }
                Step::Gap(pieces) => {
                    self.window = Some(WINDOW);
                    if self.another.is_some() || matches!(self.life().await, Life::Another(_)) {
                        // The log of another run: that of ours is gone, and so are we.
                        self.last = true;
                        return Ok(Bytes::new());
                    }
                    let mut bytes = Vec::new();
                    let mut pieces = pieces;
                    // The end of a line that was written in part comes before the notice.
                    if pieces.first().is_some_and(|piece| !piece.begins) {
                        bytes.extend_from_slice(&self.out.write(&[pieces.remove(0)]));
                    }
                    self.out.limit.write(&mut bytes, GAP);
                    bytes.extend_from_slice(&self.out.write(&pieces));
                    return Ok(Bytes::from(bytes));
                }
            }
        }
    }

    /// Waits after a failure; the last words when it is time to give up.
    async fn failed(&mut self, error: &AzureError) -> Option<Bytes> {
        if self.heard.elapsed() >= GIVE_UP {
            let mut bytes = Vec::new();
            let text =
                format!("[virtual-kubelet] the log cannot be followed any longer: {error}\n");
            self.out.limit.write(&mut bytes, &text);
            return Some(Bytes::from(bytes));
        }
        tracing::debug!(%error, pod = %self.key, container = self.container, "a look at a log failed");
        let wait = self.backoff.next_delay();
        tokio::time::sleep(error.retry_after.unwrap_or_default().clamp(wait, GIVE_UP)).await;
        // A pod that is gone is not waited for.
        self.last = self.last || self.life().await == Life::Ended;
        None
    }

    /// What the API server knows of the run that is followed.
    async fn life(&self) -> Life {
        let (namespace, name) = (&self.key.namespace, &self.key.name);
        match self.logs.pods.get_cheaply(namespace, name).await {
            Ok(pod) if pod.metadata.uid.as_deref() == Some(&self.key.uid) => {
                container::life(&pod, &self.container, self.restarts)
            }
            Ok(_) => Life::Ended,
            Err(refusal) if refusal.status == http::StatusCode::NOT_FOUND => Life::Ended,
            Err(_) => Life::Goes,
        }
    }
}

#[cfg(test)]
mod tests;
