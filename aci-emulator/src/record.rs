//! What was asked of the emulator: the last requests and counts of all of them.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use serde::Serialize;

/// Requests kept; older ones are only counted.
const KEPT: usize = 50_000;

/// One request and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// When the answer was ready.
    pub at: DateTime<Utc>,
    /// HTTP method.
    pub method: String,
    /// Path as sent.
    pub path: String,
    /// Query as sent, empty when absent.
    pub query: String,
    /// Status of the answer; 0 when the connection was dropped.
    pub status: u16,
    /// `x-ms-correlation-request-id` of the answer.
    pub correlation_id: String,
    /// `token`, `registry`, `read`, `write` or `delete`.
    pub class: &'static str,
    /// Number of the token it came with, for a call to ARM with a valid one.
    pub token: Option<u64>,
}

/// Counts of all requests since the start or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All requests.
    pub total: u64,
    /// By class: `token`, `registry`, `read`, `write`, `delete`.
    pub by_class: BTreeMap<String, u64>,
    /// By status code.
    pub by_status: BTreeMap<u16, u64>,
    /// By method and kind of resource, for example `GET containerGroups/{name}`.
    pub by_operation: BTreeMap<String, u64>,
}

/// Ring of requests plus counts.
#[derive(Debug, Default)]
pub(crate) struct Record {
    ring: VecDeque<Request>,
    counts: Counts,
}

impl Record {
    pub(crate) fn push(&mut self, request: Request) {
        self.counts.total += 1;
        *self
            .counts
            .by_class
            .entry(request.class.to_owned())
            .or_default() += 1;
        *self.counts.by_status.entry(request.status).or_default() += 1;
        let operation = format!("{} {}", request.method, kind(&request.path));
        *self.counts.by_operation.entry(operation).or_default() += 1;
        if self.ring.len() >= KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back(request);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.ring.iter().cloned().collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.clone()
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The path without its names: the set of kinds is small whatever is asked.
fn kind(path: &str) -> String {
    let lower = path.to_ascii_lowercase();
    if lower.ends_with("/oauth2/v2.0/token") {
        return "token".to_owned();
    }
    if crate::registry::is_registry_path(&lower) {
        return "registry".to_owned();
    }
    let parts: Vec<&str> = lower.split('/').filter(|part| !part.is_empty()).collect();
    let after = |word: &str| {
        let at = parts.iter().position(|part| *part == word)?;
        parts.get(at + 1..)
    };
    if let Some(rest) = after("containergroups") {
        return match rest {
            [] => "containerGroups".to_owned(),
            [_] => "containerGroups/{name}".to_owned(),
            [_, "containers", _, verb @ ("logs" | "exec" | "attach")] => {
                format!("containers/{{name}}/{verb}")
            }
            [_, verb @ ("start" | "stop" | "restart")] => {
                format!("containerGroups/{{name}}/{verb}")
            }
            _ => "other".to_owned(),
        };
    }
    if let Some(rest) = after("locations") {
        return match rest {
            [
                _,
                verb @ ("operations" | "operationresults" | "usages" | "capabilities"),
                ..,
            ] => format!("locations/{verb}"),
            _ => "other".to_owned(),
        };
    }
    match parts.as_slice() {
        ["subscriptions", _, "resourcegroups"] => "resourceGroups".to_owned(),
        ["subscriptions", _, "resourcegroups", _] => "resourceGroups/{name}".to_owned(),
        ["subscriptions", _, "providers", _, ..] => "providers".to_owned(),
        _ => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_name_the_operation_and_not_the_resource() {
        let sub = "/subscriptions/s";
        let rp = "providers/Microsoft.ContainerInstance";
        for (path, want) in [
            ("/t/oauth2/v2.0/token".to_owned(), "token"),
            (
                format!("{sub}/resourceGroups/a/{rp}/containerGroups/b"),
                "containerGroups/{name}",
            ),
            (
                format!("{sub}/resourcegroups/a/{rp}/containerGroups"),
                "containerGroups",
            ),
            (format!("{sub}/{rp}/containerGroups"), "containerGroups"),
            (
                format!("{sub}/resourceGroups/a/{rp}/containerGroups/b/containers/c/logs"),
                "containers/{name}/logs",
            ),
            (
                format!("{sub}/resourceGroups/a/{rp}/containerGroups/b/stop"),
                "containerGroups/{name}/stop",
            ),
            (format!("{sub}/resourceGroups/a"), "resourceGroups/{name}"),
            (format!("{sub}/{rp}"), "providers"),
            (
                format!("{sub}/{rp}/locations/l/operations/o"),
                "locations/operations",
            ),
            ("/v2/hello/manifests/1".to_owned(), "registry"),
            ("/favicon.ico".to_owned(), "other"),
        ] {
            assert_eq!(kind(&path), want, "{path}");
        }
    }
}
