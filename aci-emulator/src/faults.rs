//! Faults on demand: a request that matches is answered with an error, late, or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::config::optional_seconds;

mod recorded;

/// One fault. The first one that matches a request is used up by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Fault {
    /// Only this method; any when absent.
    pub method: Option<String>,
    /// Only paths that contain this, in any case; any when absent.
    pub path_contains: Option<String>,
    /// Status of the answer; 0 keeps the real answer (for a pure `hang`).
    pub status: u16,
    /// `error.code` of the body.
    pub code: String,
    /// `error.message` of the body.
    pub message: String,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// More headers of the answer, or others.
    pub headers: BTreeMap<String, String>,
    /// Body of the answer in place of an error of ARM's, a proxy's page for instance; its type is `text/html` unless
    /// `headers` say otherwise.
    pub body: Option<String>,
    /// How many requests it hits before it is gone.
    pub times: u32,
    /// Whether the operation takes effect before the error is answered.
    pub after_effect: bool,
    /// Wait this long before the answer (seconds in JSON).
    #[serde(with = "optional_seconds")]
    pub hang: Option<Duration>,
    /// Close the connection instead of answering.
    pub drop_connection: bool,
    /// Quote the body of the request in the message.
    pub echo: Option<Echo>,
    /// Hit no path twice.
    pub once_per_path: bool,
}

/// How an answer quotes its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Echo {
    /// Behind the message.
    Quoted,
    /// In the same place of JSON that breaks off there.
    Broken,
}

impl Default for Fault {
    /// Hits one request of any kind with 500 `InternalServerError`.
    fn default() -> Self {
        Self {
            method: None,
            path_contains: None,
            status: 500,
            code: "InternalServerError".to_owned(),
            message: "The server encountered an internal error. Please retry the request."
                .to_owned(),
            retry_after: None,
            headers: BTreeMap::new(),
            body: None,
            times: 1,
            after_effect: false,
            hang: None,
            drop_connection: false,
            echo: None,
            once_per_path: false,
        }
    }
}

impl Fault {
    fn hits(&self, method: &str, path_lower: &str) -> bool {
        self.method
            .as_deref()
            .is_none_or(|want| want.eq_ignore_ascii_case(method))
            && self
                .path_contains
                .as_deref()
                .is_none_or(|part| path_lower.contains(&part.to_ascii_lowercase()))
    }
}

#[derive(Debug)]
struct Waiting {
    fault: Fault,
    /// The paths it has hit, where that matters.
    hit: BTreeSet<String>,
}

/// The faults waiting for their request, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Waiting>>);

impl Faults {
    pub(crate) fn inject(&self, fault: Fault) {
        if fault.times > 0 {
            self.0.lock().push(Waiting {
                fault,
                hit: BTreeSet::new(),
            });
        }
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        let faults = self.0.lock();
        faults.iter().map(|waiting| waiting.fault.clone()).collect()
    }

    /// The fault for this request, one of its `times` used up.
    pub(crate) fn take(&self, method: &str, path: &str) -> Option<Fault> {
        let mut faults = self.0.lock();
        if faults.is_empty() {
            return None;
        }
        let path = path.to_ascii_lowercase();
        let at = faults.iter().position(|waiting| {
            waiting.fault.hits(method, &path) && !waiting.hit.contains(&path)
        })?;
        let waiting = faults.get_mut(at)?;
        waiting.fault.times -= 1;
        let hit = waiting.fault.clone();
        if hit.once_per_path {
            waiting.hit.insert(path);
        }
        if hit.times == 0 {
            faults.remove(at);
        }
        Some(hit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_used_up_and_matches_method_and_path() {
        let faults = Faults::default();
        faults.inject(Fault {
            method: Some("put".to_owned()),
            path_contains: Some("containerGroups/A".to_owned()),
            times: 2,
            ..Fault::default()
        });
        assert!(faults.take("GET", "/containergroups/a").is_none());
        assert!(faults.take("PUT", "/containergroups/b").is_none());
        assert!(faults.take("PUT", "/x/containergroups/ab").is_some());
        assert!(faults.take("PUT", "/x/containerGroups/a").is_some());
        assert!(faults.take("PUT", "/x/containerGroups/a").is_none());
        assert!(faults.list().is_empty());
    }

    #[test]
    fn a_fault_may_spare_a_path_that_it_has_hit() {
        let faults = Faults::default();
        faults.inject(Fault {
            times: 2,
            once_per_path: true,
            ..Fault::default()
        });
        assert!(faults.take("GET", "/x/A").is_some());
        assert!(faults.take("GET", "/x/a").is_none(), "in any case");
        assert!(faults.take("GET", "/x/b").is_some());
        assert!(faults.list().is_empty());
    }
}
