//! Nothing about the subscription gets from Azure's words to those who may read one namespace.

use super::*;
use crate::translate::{EventCursor, provisioning_failure};

const ID: &str = "11111111-2222-3333-4444-55555555abcd";

#[test]
fn no_word_of_azures_tells_about_the_subscription() {
    let said = format!(
        "BackOff: identity '/subscriptions/{ID}/resourceGroups/team-rg/providers/Microsoft.Network/subnets/s' of principal {ID}: see \
         https://portal.azure.com/#resource%2Fsubscriptions%2F{ID}%2FresourceGroups%2Fteam-rg failed to pull"
    );
    let event = |name: &str| {
        let at = "2026-09-01T10:04:00Z";
        json!({"name": name, "message": said, "firstTimestamp": at, "lastTimestamp": at, "count": 1})
    };
    for name in ["Failed", "BackOff", "FailedMount", "Odd", "Pulling"] {
        for state in ["Waiting", "Terminated", "Running"] {
            for detail in [said.clone(), format!("Error: {said}"), String::new()] {
                let state = json!({"state": state, "exitCode": 1, "startTime": NOW, "detailStatus": detail});
                let group = group(
                    RUNNING,
                    &[
                        (STATE, state.clone()),
                        (PREVIOUS, state),
                        (EVENTS, json!([event(name)])),
                        ("/properties/instanceView/events", json!([event(name)])),
                        ("/properties/provisioningState", json!("Failed")),
                    ],
                );
                let status = serde_json::to_string(&observed(&never(), &group)).unwrap();
                let failure = provisioning_failure(&group);
                let told = EventCursor::default().news(&group);
                assert_eq!(told.len(), 2);
                let all = format!("{status} {failure:?} {told:?}");
                assert!(!all.contains(ID) && !all.contains("team-rg"), "{all}");
            }
        }
    }
}
