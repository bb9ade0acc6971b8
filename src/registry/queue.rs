//! The queue of looks at registries: permits are shared out by namespace, and no host gets more than a few at a time.
//!
//! A look waits for a host that a stranger has named, for up to half a minute. So a namespace whose registries do not answer
//! waits for itself.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Looks at a time: each may hold an image's configuration.
const LOOKS: usize = 8;
const OF_NAMESPACE: usize = 4;
const AT_HOST: usize = 2;
/// Looks that wait, and those of one namespace.
const WAITING: usize = 512;
const WAITING_OF_NAMESPACE: usize = 128;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug, Default)]
pub(super) struct Queue(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    looks: usize,
    of_namespace: HashMap<String, usize>,
    at_host: HashMap<String, usize>,
    waiting: Vec<Waiting>,
    /// Counts permits, and when each namespace that waits had its last one.
    permits: u64,
    last: HashMap<String, u64>,
}

#[derive(Debug)]
struct Waiting {
    who: Who,
    wake: oneshot::Sender<Permit>,
}

/// A namespace and the host that it asks.
#[derive(Debug, Clone)]
struct Who {
    namespace: String,
    host: String,
}

/// A permit, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    who: Option<Who>,
    queue: Arc<Mutex<State>>,
}

impl Queue {
    /// Waits for a permit. Whoever stops waiting loses his place.
    pub(super) async fn permit(&self, namespace: &str, host: &str) -> Result<Permit, Full> {
        let permit = {
            let mut state = self.0.lock();
            state.waiting.retain(|it| !it.wake.is_closed());
            let of_one = state.waiting.iter();
            let of_one = of_one.filter(|it| it.who.namespace == namespace).count();
            if state.waiting.len() >= WAITING || of_one >= WAITING_OF_NAMESPACE {
                return Err(Full);
            }
            let (wake, permit) = oneshot::channel();
            let who = Who {
                namespace: namespace.to_owned(),
                host: host.to_owned(),
            };
            state.waiting.push(Waiting { who, wake });
            state.give(&self.0);
            permit
        };
        // The queue outlives who waits in it.
        permit.await.map_err(|_| Full)
    }
}

impl State {
    /// Gives permits to those who wait, as far as there are any.
    fn give(&mut self, queue: &Arc<Mutex<Self>>) {
        while let Some(at) = self.next() {
            let Waiting { who, wake } = self.waiting.remove(at);
            self.begin(&who);
            let permit = Permit {
                who: Some(who),
                queue: queue.clone(),
            };
            if let Err(mut permit) = wake.send(permit)
                && let Some(who) = permit.who.take()
            {
                // Nobody waits for it any more. Its end must not lock what is locked.
                self.end(&who);
            }
        }
        let waits: Vec<&str> = self
            .waiting
            .iter()
            .map(|it| it.who.namespace.as_str())
            .collect();
        let of_namespace = &self.of_namespace;
        self.last.retain(|namespace, _| {
            waits.contains(&namespace.as_str()) || of_namespace.contains_key(namespace)
        });
    }

    /// Who is next: of those that may, the namespace with the fewest permits now, and then the one whose last permit is longest ago.
    fn next(&self) -> Option<usize> {
        if self.looks >= LOOKS {
            return None;
        }
        let count = |of: &HashMap<String, usize>, key: &str| of.get(key).copied().unwrap_or(0);
        let rank = |it: &Waiting| {
            let running = count(&self.of_namespace, &it.who.namespace);
            let may = running < OF_NAMESPACE && count(&self.at_host, &it.who.host) < AT_HOST;
            let last = self.last.get(&it.who.namespace).copied().unwrap_or(0);
            may.then_some((running, last))
        };
        let all = self.waiting.iter().enumerate();
        let may = all.filter_map(|(at, it)| Some((rank(it)?, at)));
        may.min().map(|(_, at)| at)
    }

    fn begin(&mut self, who: &Who) {
        self.looks += 1;
        self.permits += 1;
        self.last.insert(who.namespace.clone(), self.permits);
        *self.of_namespace.entry(who.namespace.clone()).or_default() += 1;
        *self.at_host.entry(who.host.clone()).or_default() += 1;
    }

    fn end(&mut self, who: &Who) {
        self.looks -= 1;
        for (of, key) in [
            (&mut self.of_namespace, &who.namespace),
            (&mut self.at_host, &who.host),
        ] {
            if let Some(count) = of.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    of.remove(key);
                }
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(who) = self.who.take() {
            let mut state = self.queue.lock();
            state.end(&who);
            state.give(&self.queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_namespace_whose_registries_are_silent_waits_for_itself() {
        let queue = Arc::new(Queue::default());
        let mut silent = Vec::new();
        for n in 0..100 {
            let queue = queue.clone();
            silent.push(tokio::spawn(async move {
                let permit = queue.permit("noisy", &format!("host-{n}")).await;
                tokio::time::sleep(Duration::from_secs(30)).await;
                drop(permit);
            }));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(queue.0.lock().looks, OF_NAMESPACE);
        let permit = queue.permit("other", "registry").now_or_never();
        assert!(permit.is_some(), "at once");
        for task in silent {
            task.await.unwrap();
        }
        drop(permit);
        let state = queue.0.lock();
        assert_eq!(
            (state.looks, state.waiting.len(), state.last.len()),
            (0, 0, 0)
        );
        assert!(state.of_namespace.is_empty() && state.at_host.is_empty());
    }

    #[tokio::test]
    async fn a_host_gets_few_and_namespaces_take_turns() {
        let queue = Queue::default();
        let _first = queue.permit("a", "slow").await.unwrap();
        let _second = queue.permit("b", "slow").await.unwrap();
        assert!(queue.permit("c", "slow").now_or_never().is_none());
        let mut order = Vec::new();
        let mut running = Vec::new();
        for n in 0..6 {
            running.push(queue.permit(&format!("x{}", n % 3), &format!("h{n}")).await);
        }
        let mut waiting: Vec<_> = [("a", "1"), ("a", "2"), ("b", "3")]
            .map(|(namespace, host)| (host, Box::pin(queue.permit(namespace, host))))
            .into();
        for (_, permit) in &mut waiting {
            assert!(permit.as_mut().now_or_never().is_none());
        }
        for _ in 0..3 {
            running.pop();
            waiting.retain_mut(|(host, permit)| match permit.as_mut().now_or_never() {
                Some(permit) => {
                    order.push(*host);
                    running.insert(0, permit);
                    false
                }
                None => true,
            });
        }
        assert_eq!(order, ["1", "3", "2"]);
    }

    #[tokio::test]
    async fn the_queue_has_an_end() {
        let queue = Queue::default();
        let _permits = [
            queue.permit("a", "h").await.unwrap(),
            queue.permit("a", "h").await.unwrap(),
        ];
        let mut waiting: Vec<_> = (0..WAITING_OF_NAMESPACE)
            .map(|_| Box::pin(queue.permit("a", "h")))
            .collect();
        for permit in &mut waiting {
            assert!(permit.as_mut().now_or_never().is_none());
        }
        assert_eq!(queue.permit("a", "h").await.unwrap_err(), Full);
        assert!(queue.permit("b", "other").await.is_ok());
        drop(waiting);
        assert!(queue.permit("a", "other").await.is_ok());
    }
}
