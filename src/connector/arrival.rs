//! What is missing may be on its way: a Secret that an operator makes, a resource group, a role assignment. PURE.
//!
//! Tools that apply from Git bring a connector and what it needs in one change and in no order. So what is missing is work for
//! some time after a change, and only then somebody's to put right; what is wrong is so at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::VirtualKubeletConnectorStatus;
use crate::api::conditions::{RECONCILING, find, reason};

/// How long after a change of a connector what it lacks may still come.
pub const ARRIVAL: Duration = Duration::from_mins(3);

/// Whether this is for something that is not there, and that others may be about to bring.
pub(super) fn may_come(word: &str) -> bool {
    [
        reason::SECRET_NOT_FOUND,
        reason::SECRET_FORBIDDEN,
        reason::PROVIDER_NOT_REGISTERED,
        reason::RESOURCE_GROUP_NOT_FOUND,
        reason::RESOURCE_GROUP_FORBIDDEN,
        reason::SUBNET_NOT_FOUND,
        reason::SUBNET_FORBIDDEN,
        reason::NODE_IDENTITY_FORBIDDEN,
    ]
    .contains(&word)
}

/// When the spec was last seen to change.
#[derive(Debug, Default)]
pub(super) struct LastChange(Option<(i64, Option<Instant>)>);

impl LastChange {
    /// Until when what this generation lacks may still come; `None` when that is over, or the change was before this process.
    pub(super) fn arrives_until(
        &mut self,
        generation: i64,
        status: Option<&VirtualKubeletConnectorStatus>,
        arrival: Duration,
        now: Instant,
    ) -> Option<Instant> {
        let known = self.0.filter(|(seen, _)| *seen == generation);
        let (_, since) = known.unwrap_or_else(|| (generation, began(generation, status, now)));
        self.0 = Some((generation, since));
        since
            .map(|since| since + arrival)
            .filter(|until| now < *until)
    }
}

/// A change that nobody has acted on begins now, and so does one that the operator before this one was at work on.
fn began(
    generation: i64,
    status: Option<&VirtualKubeletConnectorStatus>,
    now: Instant,
) -> Option<Instant> {
    let observed = status.and_then(|status| status.observed_generation);
    let at_work = status
        .and_then(|status| find(&status.conditions, RECONCILING))
        .is_some_and(|it| it.status == "True");
    (observed != Some(generation) || at_work).then_some(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(observed: i64, condition: &str) -> VirtualKubeletConnectorStatus {
        serde_json::from_value(json!({"observedGeneration": observed, "conditions": [
            {"type": condition, "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}))
        .unwrap()
    }

    #[test]
    fn what_is_missing_may_come_for_some_minutes_after_a_change() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let new = status(-1, "Ready");
        let mut change = LastChange::default();
        let mut until = |generation, seconds| {
            change.arrives_until(generation, Some(&new), ARRIVAL, at(seconds))
        };
        assert_eq!(until(1, 0), Some(at(180)));
        assert_eq!(until(1, 179), Some(at(180)));
        assert_eq!(until(1, 180), None);
        assert_eq!(until(1, 1_000), None, "what goes later was there");
        assert_eq!(until(2, 2_000), Some(at(2_180)), "another change");
    }

    #[test]
    fn an_operator_that_takes_over_goes_on_with_what_it_finds() {
        let now = Instant::now();
        for (before, comes) in [
            (Some(status(1, "Reconciling")), true),
            (Some(status(1, "Stalled")), false),
            (Some(status(1, "Ready")), false),
            (Some(status(0, "Stalled")), true),
            (None, true),
        ] {
            let until = LastChange::default().arrives_until(1, before.as_ref(), ARRIVAL, now);
            assert_eq!(until.is_some(), comes, "{before:?}");
        }
    }

    #[test]
    fn what_is_wrong_does_not_come() {
        assert!(may_come(reason::SECRET_NOT_FOUND));
        for word in [
            reason::SECRET_INVALID,
            reason::CREDENTIALS_REJECTED,
            reason::REGION_NOT_AVAILABLE,
            reason::INVALID_SPEC,
        ] {
            assert!(!may_come(word), "{word}");
        }
    }
}
