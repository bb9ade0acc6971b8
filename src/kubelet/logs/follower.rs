//! One `logs -f`: looks again and again, and writes what is new.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use tokio::time::Instant;

use super::container::{self, Life};
use super::interval::FollowInterval;
use super::seen::{Seen, Step};
use super::shown::CHUNK;
use super::texts::Room;
use super::{Logs, StreamSlot, WINDOW, Whole, Writer, lines};
use crate::azure::{AzureError, ErrorClass};
use crate::kube::backoff::Backoff;
use crate::provider::LogPart;
use crate::translate::PodKey;

/// A larger window has so many times the lines.
const WIDER: u32 = 8;
/// No window by lines is larger than this: then the whole log is fetched.
const WIDEST: u32 = WINDOW * WIDER * WIDER;
/// Lines of a look that are gone through: who writes more between two looks loses some, and is told so.
const MOST_LINES: usize = 1 << 16;
/// A follower that has not been answered by Azure for so long gives up.
pub(super) const GIVE_UP: Duration = Duration::from_mins(5);
/// Waits after a failure of Azure.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// What a stream says where lines may be missing.
const GAP: &str = "[virtual-kubelet] lines may be missing here: Azure keeps only the end of a log, and it has moved on\n";

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

/// What a look has brought, until its reader has it.
struct Rest {
    bytes: Bytes,
    at: usize,
    _room: Room,
}

impl Rest {
    fn new(bytes: Bytes, mut room: Room) -> Self {
        room.shrink(bytes.len());
        Self {
            bytes,
            at: 0,
            _room: room,
        }
    }

    /// The next chunk, as a copy: a part of the whole would keep all of it in memory.
    fn next(&mut self) -> Option<Bytes> {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let chunk = left.get(..CHUNK).unwrap_or(left);
        self.at += chunk.len();
        (!chunk.is_empty()).then(|| Bytes::copy_from_slice(chunk))
    }
}

/// One `logs -f`.
pub(super) struct Follower {
    logs: Logs,
    key: PodKey,
    container: String,
    restarts: i32,
    /// What was there when it began.
    first: Option<Whole>,
    /// What the last look has brought.
    rest: Option<Rest>,
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
    pub(super) slot: Option<StreamSlot>,
}

impl Follower {
    /// Follows `run`, a container of a pod after so many restarts, behind what it had written: `first`, the end of which is
    /// `seen`.
    pub(super) fn new(
        logs: Logs,
        run: (PodKey, String, i32),
        out: Writer,
        first: Whole,
        seen: Seen,
    ) -> Self {
        let (key, container, restarts) = run;
        Self {
            key,
            container,
            restarts,
            first: Some(first),
            rest: None,
            out,
            seen,
            interval: FollowInterval::new(logs.epoch.elapsed()),
            window: Some(WINDOW),
            last: false,
            another: None,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            heard: Instant::now(),
            _count: Count::new(&logs.followers),
            slot: None,
            logs,
        }
    }

    pub(super) fn stream(self: Box<Self>) -> impl Stream<Item = Bytes> + Send + use<> {
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
            if let Some(rest) = &mut self.rest {
                if let Some(chunk) = rest.next() {
                    return Some((chunk, true));
                }
                self.rest = None;
                if self.last {
                    return None;
                }
            }
            if self.out.limit.is_reached() {
                return None;
            }
            if !self.last {
                let polls = self.logs.containers.log_polls();
                let wait = self.interval.wait(self.logs.epoch.elapsed(), polls.round());
                polls.next_slot(wait).await;
            }
            let (bytes, room) = match self.look().await {
                Ok(found) => {
                    self.heard = Instant::now();
                    self.backoff.reset();
                    found
                }
                Err(error) if error.class == ErrorClass::NotFound => return None,
                Err(error) => match self.failed(&error).await {
                    Some(goodbye) => return Some((goodbye, false)),
                    None => continue,
                },
            };
            if !bytes.is_empty() {
                self.interval.active(self.logs.epoch.elapsed());
                self.rest = Some(Rest::new(bytes, room));
                continue;
            }
            if self.last {
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

    /// What is new, and the room that it takes.
    async fn look(&mut self) -> Result<(Bytes, Room), AzureError> {
        loop {
            let room = self.logs.texts.room(&self.key.namespace).await;
            let mut room = room.map_err(|refusal| busy(&refusal.text))?;
            let logs = &self.logs.containers;
            let part = LogPart {
                tail: self.window,
                timestamps: true,
                planned: true,
            };
            let content = match logs.logs(&self.key, &self.container, part).await {
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
                    return Ok((self.out.write(&pieces), room));
                }
                Step::Gap(pieces) => {
                    self.window = Some(WINDOW);
                    if self.another.is_some() || matches!(self.life().await, Life::Another(_)) {
                        // The log of another run: that of ours is gone, and so are we.
                        self.last = true;
                        return Ok((Bytes::new(), room));
                    }
                    let mut bytes = Vec::new();
                    let mut pieces = pieces;
                    // The end of a line that was written in part comes before the notice.
                    if pieces.first().is_some_and(|piece| !piece.begins) {
                        bytes.extend_from_slice(&self.out.write(&[pieces.remove(0)]));
                    }
                    self.out.limit.write(&mut bytes, GAP);
                    bytes.extend_from_slice(&self.out.write(&pieces));
                    return Ok((Bytes::from(bytes), room));
                }
            }
        }
    }

    /// Waits after a failure; the last words when it is time to give up.
    async fn failed(&mut self, error: &AzureError) -> Option<Bytes> {
        if self.heard.elapsed() >= GIVE_UP {
            let mut bytes = Vec::new();
            let why = error.told();
            let text = format!("[virtual-kubelet] the log cannot be followed any longer: {why}\n");
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
