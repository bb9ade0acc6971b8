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
    /// Hit no path that this fault, or another of this kind, has hit before.
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

/// The faults waiting for their request, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Fault>,
    /// Paths that were hit by faults that hit none twice.
    hit: BTreeSet<String>,
}

impl Faults {
    pub(crate) fn inject(&self, fault: Fault) {
        if fault.times > 0 {
            self.0.lock().waiting.push(fault);
        }
    }

    pub(crate) fn clear(&self) {
        *self.0.lock() = State::default();
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.0.lock().waiting.clone()
    }

    /// The fault for this request, one of its `times` used up.
    pub(crate) fn take(&self, method: &str, path: &str) -> Option<Fault> {
        let mut state = self.0.lock();
        let State { waiting, hit } = &mut *state;
        if waiting.is_empty() {
            return None;
        }
        let path = path.to_ascii_lowercase();
        let at = waiting.iter().position(|fault| {
            fault.hits(method, &path) && !(fault.once_per_path && hit.contains(&path))
        })?;
        let fault = waiting.get_mut(at)?;
        fault.times -= 1;
        let taken = fault.clone();
        if taken.once_per_path {
            hit.insert(path);
        }
        if taken.times == 0 {
            waiting.remove(at);
        }
        Some(taken)
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
    fn a_fault_may_spare_a_path_that_one_of_its_kind_has_hit() {
        let faults = Faults::default();
        let twice = || Fault {
            times: 2,
            once_per_path: true,
            ..Fault::default()
        };
        faults.inject(twice());
        assert!(faults.take("GET", "/x/A").is_some());
        assert!(faults.take("GET", "/x/a").is_none(), "in any case");
        assert!(faults.take("GET", "/x/b").is_some());
        assert!(faults.list().is_empty());
        faults.inject(twice());
        assert!(faults.take("GET", "/x/a").is_none(), "nor by another one");
        assert!(faults.take("GET", "/x/c").is_some());
    }
}
