//! One LIST of a resource group for all who want it.
//!
//! The nodes of a connector, and connectors that share a resource group and a principal, would each read the same pages.
//! Whoever needs a list says how old it may be; one that is young enough is shared, one that is being read is waited for.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::AzureError;
use super::model::ContainerGroup;

/// Lists kept although nobody reads them, before those are dropped.
const IDLE: usize = 64;

/// What is kept of a container group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub tags: BTreeMap<String, String>,
    /// State of the last operation, as ARM words it.
    pub provisioning_state: String,
}

/// All container groups of a resource group, as they were `age` ago.
#[derive(Debug, Clone)]
pub struct Listing {
    pub groups: Arc<[Listed]>,
    /// Since the reading of the list began.
    pub age: Duration,
}

#[derive(Debug)]
struct Last {
    started: Instant,
    ended: Instant,
    result: Result<Arc<[Listed]>, AzureError>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Last>>>;

/// The last list of each resource group, by what it was read from and as whom.
#[derive(Debug, Default)]
pub(super) struct Listings {
    slots: Mutex<HashMap<String, Slot>>,
}

impl Listings {
    /// A list whose reading began at most `max_age` before this call; by `read` when there is none. Failures are shared
    /// only by those that waited for them. Takes as long as `read`, twice when it waits for another's.
    pub(super) async fn get(
        &self,
        key: String,
        max_age: Duration,
        read: impl Future<Output = Result<Vec<Listed>, AzureError>>,
    ) -> Result<Listing, AzureError> {
        let asked = Instant::now();
        let slot = self.slot(key);
        let mut last = slot.lock().await;
        if let Some(last) = last.as_ref() {
            let usable = match last.result {
                Ok(_) => last.started + max_age >= asked,
                Err(_) => last.ended >= asked,
            };
            if usable {
                return last.listing();
            }
        }
        let started = Instant::now();
        let result = read.await.map(Arc::from);
        let read = Last {
            started,
            ended: Instant::now(),
            result,
        };
        last.insert(read).listing()
    }

    fn slot(&self, key: String) -> Slot {
        let mut slots = self.slots.lock();
        if slots.len() >= IDLE && !slots.contains_key(&key) {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(key).or_default())
    }
}

impl Last {
    fn listing(&self) -> Result<Listing, AzureError> {
        Ok(Listing {
            groups: self.result.clone()?,
            age: self.started.elapsed(),
        })
    }
}

impl Listed {
    /// What is kept of `group`; nothing of one without a name.
    pub(super) fn of(group: ContainerGroup) -> Option<Self> {
        Some(Self {
            name: group.name?,
            tags: group.tags,
            provisioning_state: group.properties.provisioning_state.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;

    use super::super::error::ErrorClass;
    use super::*;

    fn group() -> Listed {
        Listed {
            name: "g".to_owned(),
            tags: BTreeMap::new(),
            provisioning_state: String::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_read_once_for_all_who_want_it_young_enough() {
        let (listings, reads) = (Listings::default(), AtomicUsize::new(0));
        let get = |key: &str, max_age| {
            let reads = &reads;
            listings.get(key.to_owned(), Duration::from_secs(max_age), async move {
                reads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok(vec![group()])
            })
        };
        let all = join_all((0..20).map(|_| get("rg", 1))).await;
        assert!(all.iter().all(|l| l.as_ref().unwrap().groups.len() == 1));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        // Twenty seconds later it is old for some and young for others, and says how old.
        tokio::time::advance(Duration::from_secs(18)).await;
        let shared = get("rg", 27).await.unwrap();
        assert_eq!(
            (shared.age, reads.load(Ordering::Relaxed)),
            (Duration::from_secs(20), 1)
        );
        assert_eq!(get("rg", 5).await.unwrap().age, Duration::from_secs(2));
        get("other", 27).await.unwrap();
        assert_eq!(reads.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_for_those_that_waited_and_the_next_one_tries_again() {
        let (listings, reads) = (Listings::default(), AtomicUsize::new(0));
        let get = || {
            let reads = &reads;
            listings.get("rg".to_owned(), Duration::from_mins(5), async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if reads.fetch_add(1, Ordering::Relaxed) == 0 {
                    Err(AzureError::local(ErrorClass::Unavailable, "Down", "down"))
                } else {
                    Ok(vec![group()])
                }
            })
        };
        let all = join_all((0..20).map(|_| get())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(get().await.is_ok());
    }
}
