//! How watches are tried again: one rule for all of them.
//!
//! kube-runtime's own back-off grows to half a minute, forgets a failure only after two minutes, and waits as well
//! before it lists again after `Expired`. After an outage of the API server that adds up to a minute in which nodes and
//! pods stay `NotReady`.

use std::time::Duration;

use futures::stream::{self, BoxStream, Stream, StreamExt};
use kube_runtime::watcher::{Error, Event};

use super::backoff::Backoff;

/// First and longest pause between two attempts, before jitter. The longest decides how long after its return the API
/// server is noticed; with it a watch costs an API server that is away 15 requests a minute.
const FIRST: Duration = Duration::from_millis(200);
const CAP: Duration = Duration::from_secs(4);

/// `events` of a watcher that pauses after failures: doubling from 0.2 s to 4 s, with jitter, and from the start again
/// once anything has arrived. A version that is too old (410, `Expired`) is no failure: the list is asked for at once.
pub fn steady<T: Send + 'static>(
    events: impl Stream<Item = Result<Event<T>, Error>> + Send + 'static,
) -> BoxStream<'static, Result<Event<T>, Error>> {
    let state = (events.boxed(), Pauses::default(), None);
    stream::unfold(state, |(mut events, mut pauses, pause)| async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let item = events.next().await?;
        let pause = match &item {
            Ok(event) => {
                pauses.saw(event);
                None
            }
            Err(error) => pauses.after(error),
        };
        Some((item, (events, pauses, pause)))
    })
    .boxed()
}

struct Pauses {
    backoff: Backoff,
    /// A list was asked for at once, and nothing has arrived since.
    relisting: bool,
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(FIRST, CAP),
            relisting: false,
        }
    }
}

impl Pauses {
    fn saw<T>(&mut self, event: &Event<T>) {
        // `Init` is said before anything was asked.
        if !matches!(event, Event::Init) {
            self.backoff.reset();
            self.relisting = false;
        }
    }

    fn after(&mut self, error: &Error) -> Option<Duration> {
        if is_expired(error) && !self.relisting {
            self.relisting = true;
            return None;
        }
        Some(self.backoff.next_delay())
    }
}

/// The watch asked for changes that the API server no longer has.
fn is_expired(error: &Error) -> bool {
    match error {
        Error::WatchError(status)
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::InitialListFailed(kube::Error::Api(status)) => status.code == 410,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
