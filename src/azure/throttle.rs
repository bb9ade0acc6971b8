//! One budget of ARM calls per subscription and principal, shared by every connector that uses them: ARM counts that
//! way (Microsoft Learn, "Understand how Azure Resource Manager throttles requests").
//!
//! The rules are in [`budget`], `window`, `fair_queue`, [`plan`] and [`poll_interval`], which have no clock; the waiting is
//! in `limiter`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::error::AzureError;
use super::listing::Listings;
use super::transport::HttpTransport;

pub mod budget;
mod fair_queue;
mod limiter;
pub mod log_polls;
pub mod plan;
pub mod poll_interval;
mod window;

pub use budget::{Class, Observed, Settings};
pub use limiter::{CallPriority, Limiter, Permit, PermitRequest, QUEUED, QUEUED_POLL, asked_by};
pub use log_polls::LogPollScheduler;
pub use poll_interval::{PollDemand, PollInterval};

/// Limiters kept although nobody holds them, before the idle ones are dropped.
const IDLE_LIMITERS: usize = 64;

/// What all ARM clients of the process share: a limiter per subscription and principal, the last list of each resource
/// group, a connection pool per set of trust anchors. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Limiters {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    settings: Settings,
    limiters: Mutex<HashMap<(String, String), Arc<Limiter>>>,
    listings: Listings,
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

    /// The last lists of container groups.
    pub(super) fn listings(&self) -> &Listings {
        &self.shared.listings
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

#[cfg(test)]
mod tests;
