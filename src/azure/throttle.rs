//! One budget of ARM calls per subscription and principal, shared by every connector that uses them: ARM counts that
//! way (Microsoft Learn, "Understand how Azure Resource Manager throttles requests").
//!
//! The rules are in [`budget`], which has no clock; here is the waiting: first come first served within a class.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::error::{AzureError, ErrorClass};
use super::transport::HttpTransport;

pub mod budget;
pub mod looks;

use budget::Budget;
pub use budget::{Class, Observed, Settings};
pub use looks::Looks;

/// Limiters kept although nobody holds them, before the idle ones are dropped.
const IDLE_LIMITERS: usize = 64;

/// What all ARM clients of the process share: a limiter per subscription and principal, a connection pool per set of
/// trust anchors. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Limiters {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    settings: Settings,
    limiters: Mutex<HashMap<(String, String), Arc<Limiter>>>,
    transports: Mutex<HashMap<Option<Vec<u8>>, Arc<HttpTransport>>>,
}

impl Limiters {
    /// Limiters with the default [`Settings`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Limiters with other starting budgets.
    pub fn with_settings(settings: Settings) -> Self {
        Self {
            shared: Arc::new(Shared {
                settings,
                ..Shared::default()
            }),
        }
    }

    /// The limiter of a subscription and a principal; the same one for the same pair, whatever its case.
    pub fn get(&self, subscription: &str, principal: &str) -> Arc<Limiter> {
        let key = (
            subscription.to_ascii_lowercase(),
            principal.to_ascii_lowercase(),
        );
        let mut limiters = self.shared.limiters.lock();
        if limiters.len() >= IDLE_LIMITERS && !limiters.contains_key(&key) {
            limiters.retain(|_, limiter| Arc::strong_count(limiter) > 1);
        }
        let make = || Arc::new(Limiter::new(self.shared.settings));
        Arc::clone(limiters.entry(key).or_insert_with(make))
    }

    /// The connection pool for these trust anchors. Pools nobody uses are dropped.
    pub(super) fn transport(
        &self,
        ca_bundle_pem: Option<&[u8]>,
    ) -> Result<Arc<HttpTransport>, AzureError> {
        let key = ca_bundle_pem.map(<[u8]>::to_vec);
        let mut transports = self.shared.transports.lock();
        transports.retain(|known, transport| *known == key || Arc::strong_count(transport) > 1);
        if let Some(transport) = transports.get(&key) {
            return Ok(Arc::clone(transport));
        }
        let transport = HttpTransport::new(ca_bundle_pem)?;
        transports.insert(key, Arc::clone(&transport));
        Ok(transport)
    }
}

/// The budget of one subscription and principal.
#[derive(Debug)]
pub struct Limiter {
    epoch: Instant,
    budget: Mutex<Budget>,
    /// One queue per class: the holder is the next to go. Tokio's mutex is fair.
    turns: [tokio::sync::Mutex<()>; Class::ALL.len()],
    /// An answer has changed the budget.
    changed: Notify,
    looks: Arc<Looks>,
}

impl Limiter {
    /// A limiter that has not seen an answer yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            epoch: Instant::now(),
            budget: Mutex::new(Budget::new(settings)),
            turns: Class::ALL.map(|_| tokio::sync::Mutex::new(())),
            changed: Notify::new(),
            looks: Arc::default(),
        }
    }

    /// The turns of followed logs within this budget.
    pub fn looks(&self) -> Arc<Looks> {
        Arc::clone(&self.looks)
    }

    /// Waits for a turn to make one call of `class`, at most until `deadline`. Callers of a class go in the order they
    /// came; classes do not wait for each other. Dropping the future gives the place up.
    ///
    /// # Errors
    /// [`ErrorClass::Throttled`] when there is no turn before `deadline`; at once when that can be foreseen, with the
    /// time to wait as `retry_after`.
    pub async fn acquire(
        self: &Arc<Self>,
        class: Class,
        deadline: Instant,
    ) -> Result<Permit, AzureError> {
        let Some(queue) = self.turns.get(class.index()) else {
            return Err(no_turn(class, Duration::ZERO));
        };
        let at_once = queue.try_lock().ok();
        let mut waited = at_once.is_none();
        let _turn = if let Some(turn) = at_once {
            turn
        } else if let Ok(turn) = tokio::time::timeout_at(deadline, queue.lock()).await {
            turn
        } else {
            let wait = self.budget.lock().wait(class, self.now());
            return Err(no_turn(class, wait.max(Duration::from_secs(1))));
        };
        loop {
            // Registered before the budget is read, so that no change is missed.
            let changed = self.changed.notified();
            let wait = match self.budget.lock().take(class, self.now()) {
                Ok(()) => {
                    return Ok(Permit {
                        limiter: Arc::clone(self),
                        class,
                        waited,
                    });
                }
                Err(wait) => wait,
            };
            if Instant::now() + wait > deadline {
                return Err(no_turn(class, wait));
            }
            waited = true;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }
}

/// The right to make one call; counts as under way until dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped has used up its turn for nothing"]
pub struct Permit {
    limiter: Arc<Limiter>,
    class: Class,
    waited: bool,
}

impl Permit {
    /// Whether the turn did not come at once.
    pub fn waited(&self) -> bool {
        self.waited
    }

    /// Feeds back what the answer said about the budget.
    pub fn observe(&self, observed: &Observed) {
        self.limiter
            .budget
            .lock()
            .observe(self.class, observed, self.limiter.now());
        self.limiter.changed.notify_waiters();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.budget.lock().finish(self.class);
    }
}

fn no_turn(class: Class, wait: Duration) -> AzureError {
    let text = format!(
        "the budget of {} calls of this subscription and principal is used up; next turn in about {} s",
        class.name(),
        wait.as_secs_f64().ceil()
    );
    AzureError {
        retry_after: Some(wait),
        ..AzureError::local(ErrorClass::Throttled, "BudgetUsedUp", &text)
    }
}

#[cfg(test)]
mod tests;
