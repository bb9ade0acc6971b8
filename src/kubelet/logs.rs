//! `/containerLogs`: ACI's log of a container as a kubelet tells it.
//!
//! ACI has no streaming: it answers the end of a log, 4 MB of a running container, 16 KB or 1,000 lines of one that has
//! ended. A follower looks again and again and writes what is new. It ends with the container's run, or when its client
//! goes: nobody then polls its stream any more, and there is no task that could go on.

pub mod container;
mod follower;
pub mod interval;
pub mod lines;
pub mod options;
pub mod seen;
mod shown;
mod texts;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::future::Either;
use futures::{Stream, StreamExt as _, stream};
use http::header;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::follower::Follower;
use self::lines::Limit;
use self::options::Options;
use self::seen::{Piece, Seen};
use self::shown::Shown;
use self::texts::Room;
pub use self::texts::Texts;
use super::api_error::ApiError;
use super::pods::Pods;
use super::stream_slots::StreamSlot;
use crate::provider::{Containers, LogPart};
use crate::translate::PodKey;

/// Lines of the first look of a follower's turn; more are fetched when that is too few.
const WINDOW: u32 = 256;
const TEXT: &str = "text/plain; charset=utf-8";

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
        let part = LogPart {
            tail: window,
            timestamps: timed,
            planned: false,
        };
        let mut room = self.texts.room(&target.namespace).await?;
        let content = match self.containers.logs(&key, &target.container, part).await {
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
        let writer = Writer::new(options);
        let tail = tail.map(|tail| usize::try_from(tail).unwrap_or(usize::MAX));
        let mut seen = Seen::default();
        if follow {
            seen.begin(&lines::last(&content, timed, seen::REMEMBERED + 1));
        }
        let shown = Shown::new(content, timed, tail, follow);
        room.shrink(shown.held());
        let whole = Whole {
            shown,
            writer,
            room,
        };
        if !follow {
            return Ok(Log::Ended(whole));
        }
        let run = (key, target.container, run.restarts);
        let follower = Follower::new(self.clone(), run, Writer::new(options), whole, seen);
        Ok(Log::Followed(Box::new(follower)))
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
    room: Room,
}

impl Whole {
    fn next(&mut self) -> Option<Bytes> {
        let chunk = self.shown.next(&mut self.writer);
        self.room.shrink(self.shown.held());
        chunk
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

#[cfg(test)]
mod tests;
