//! Whether the region has quota left, by the usages API. PURE. Never keeps a connector from being Ready: what is used up
//! now may be free in a minute, and ACI's own answer to a pod counts.

use super::{ConditionUpdate, Grant, Subject, lacking, reason_of};
use crate::api::conditions::{QUOTA_SUFFICIENT, reason};
use crate::azure::resources::{CONTAINER_GROUPS, SPOT_CORES, STANDARD_CORES};
use crate::azure::{AzureError, ErrorClass, Usage};

/// The quotas that every container group needs, as ARM and as people name them.
fn needed(spot: bool) -> [(&'static str, &'static str); 2] {
    let cores = if spot {
        (SPOT_CORES, "Spot cores")
    } else {
        (STANDARD_CORES, "standard cores")
    };
    [(CONTAINER_GROUPS, "container groups"), cores]
}

/// The finding from the answer. Its message has numbers only where they are the news: what is used moves by itself.
pub(super) fn evaluate(
    answer: &Result<Vec<Usage>, AzureError>,
    subject: &Subject,
) -> ConditionUpdate {
    let (region, subscription) = (&subject.region, &subject.subscription);
    let usages = match answer {
        Ok(usages) => usages,
        Err(error) if error.class == ErrorClass::Forbidden => {
            let grant = Grant {
                what: "the subscription",
                scope: &format!("/subscriptions/{subscription}"),
                role: "Reader",
            };
            let action = "Microsoft.ContainerInstance/locations/usages/read";
            let why = lacking(error, action, &grant, subject);
            return unknown(
                reason::QUOTA_UNKNOWN,
                format!("the quota in {region} is not known, and pods run all the same: {why}"),
            );
        }
        Err(error) => {
            return unknown(
                reason_of(error).unwrap_or(reason::QUOTA_UNKNOWN),
                format!("the quota in {region} could not be read, trying again: {error}"),
            );
        }
    };
    let known: Vec<(&str, f64, f64)> = needed(subject.spot)
        .into_iter()
        .filter_map(|(name, words)| {
            let usage = usages
                .iter()
                .find(|usage| usage.name.value.eq_ignore_ascii_case(name))?;
            Some((words, usage.current_value?, usage.limit?))
        })
        .collect();
    if known.is_empty() {
        return unknown(
            reason::QUOTA_UNKNOWN,
            format!("Azure names no quota of container groups or cores in {region}"),
        );
    }
    let full: Vec<String> = known
        .iter()
        .filter(|(_, current, limit)| limit - current < 1.0)
        .map(|(words, current, limit)| format!("{current} of {limit} {words}"))
        .collect();
    if full.is_empty() {
        let limits: Vec<String> = known
            .iter()
            .map(|(words, _, limit)| format!("{limit} {words}"))
            .collect();
        let message = format!(
            "there is room below the limits in {region}: {}",
            limits.join(", ")
        );
        return ConditionUpdate::good(QUOTA_SUFFICIENT, reason::BELOW_LIMIT, message);
    }
    ConditionUpdate {
        blocks: false,
        stalled: false,
        ..ConditionUpdate::bad(
            QUOTA_SUFFICIENT,
            reason::LIMIT_REACHED,
            format!(
                "{} are used in {region}, by everybody in subscription {subscription}; new pods wait: delete some, or ask Azure support for a higher limit; run: az rest --method get --url '/subscriptions/{subscription}/providers/Microsoft.ContainerInstance/locations/{region}/usages?api-version=2023-05-01'",
                full.join(" and ")
            ),
        )
    }
}

fn unknown(reason: &'static str, message: String) -> ConditionUpdate {
    ConditionUpdate {
        blocks: false,
        ..ConditionUpdate::later(QUOTA_SUFFICIENT, reason, message)
    }
}
