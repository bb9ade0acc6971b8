//! Azure's timestamps as Kubernetes' times: the one place that converts.

use chrono::DateTime;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Reads a timestamp as ACI writes it (RFC 3339, 0 to 9 fraction digits, `Z` or an offset); `None` when it is absent or
/// no timestamp. Cut to whole seconds, because the API server keeps no more and a status must equal its echo.
pub(super) fn from_arm(text: Option<&str>) -> Option<Time> {
    let parsed = DateTime::parse_from_rfc3339(text?.trim()).ok()?;
    let seconds = parsed.timestamp();
    // ACI writes year 1 for "never".
    (seconds > 0).then(|| Timestamp::from_second(seconds).ok().map(Time))?
}

/// `now` as the API server will keep it: whole seconds.
pub(super) fn whole(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
