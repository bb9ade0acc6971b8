//! State of a group and of its containers; only in GET responses.

use serde::{Deserialize, Serialize};

use super::{null_as_default, wide_int};

/// State of the group; only in GET responses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupInstanceView {
    /// `Pending`, `Running`, `Stopped`, `Succeeded` or `Failed`.
    #[serde(default)]
    pub state: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub events: Vec<Event>,
}

/// State of a container; every member may be missing or null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstanceView {
    #[serde(default, deserialize_with = "wide_int")]
    pub restart_count: Option<i32>,
    #[serde(default)]
    pub current_state: Option<ContainerState>,
    /// State before the last restart.
    #[serde(default)]
    pub previous_state: Option<ContainerState>,
    /// Events of the container.
    #[serde(default, deserialize_with = "null_as_default")]
    pub events: Vec<Event>,
}

/// One state of a container. Times are kept as Azure wrote them (0 to 7 fraction digits, `Z` or an offset).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    /// `Running`, `Waiting` or `Terminated`.
    #[serde(default)]
    pub state: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub start_time: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub finish_time: Option<String>,
    #[serde(default, deserialize_with = "wide_int")]
    pub exit_code: Option<i32>,
    /// Free text: `Completed`, `Error`, `CrashLoopBackOff: …`.
    #[serde(default)]
    pub detail_status: Option<String>,
}

/// An event of a group or a container; repeats are counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(default, deserialize_with = "wide_int")]
    pub count: Option<i32>,
    /// RFC 3339.
    #[serde(default)]
    pub first_timestamp: Option<String>,
    /// RFC 3339.
    #[serde(default)]
    pub last_timestamp: Option<String>,
    /// `Pulling`, `Pulled`, `Created`, `Started`, `InsufficientCapacity.` …
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub message: Option<String>,
    /// `Normal` or `Warning`; failures may be `Normal`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
}
