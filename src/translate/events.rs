//! ACI's events as Kubernetes events, and the reason of a failed provisioning.

use k8s_openapi::jiff::Timestamp;

use super::time;
use crate::azure::model::{ContainerGroup, Event};

/// Events passed on from one look at a group: more would be noise.
const MAX_EVENTS: usize = 20;
const MAX_MESSAGE: usize = 512;

/// A kubelet's reason for a container whose image has just not been pulled.
pub(super) const ERR_IMAGE_PULL: &str = "ErrImagePull";
/// A kubelet's reason for a container whose image was not pulled and will be tried again.
pub(super) const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";

/// Something that ACI said about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEvent {
    /// A person should look.
    pub warning: bool,
    /// ACI's name of the event, one word.
    pub reason: String,
    /// ACI's message, with the container's name before it.
    pub message: String,
}

/// The events of `group` that are newer than `until`, oldest first, and the time of the newest.
///
/// ACI counts repeats in one entry whose last time moves, so the last time is what tells new from old. Events of the
/// same second as `until` count as told.
pub fn group_events(
    group: &ContainerGroup,
    until: Option<Timestamp>,
) -> (Vec<GroupEvent>, Option<Timestamp>) {
    let properties = &group.properties;
    let of_group = properties
        .instance_view
        .iter()
        .flat_map(|view| &view.events)
        .map(|event| (None, event));
    let of_containers = properties.containers.iter().flat_map(|container| {
        let events = container
            .properties
            .instance_view
            .iter()
            .flat_map(|view| &view.events);
        events.map(|event| (Some(container.name.as_str()), event))
    });
    let of_inits = properties.init_containers.iter().flat_map(|init| {
        let view = init.properties.instance_view.iter();
        let events = view.flat_map(|view| &view.events);
        events.map(|event| (Some(init.name.as_str()), event))
    });
    let mut fresh: Vec<(Timestamp, GroupEvent)> = of_group
        .chain(of_inits)
        .chain(of_containers)
        .filter_map(|(container, event)| {
            let at = time::from_arm(
                event
                    .last_timestamp
                    .as_deref()
                    .or(event.first_timestamp.as_deref()),
            )?
            .0;
            (until.is_none_or(|until| at > until)).then(|| (at, to_event(container, event)))
        })
        .collect();
    fresh.sort_by_key(|(at, _)| *at);
    let newest = fresh.last().map(|(at, _)| *at).or(until);
    fresh.truncate(MAX_EVENTS);
    (fresh.into_iter().map(|(_, event)| event).collect(), newest)
}

/// Why provisioning failed, from the newest event that says so: a reason for the pod's status, and a message.
pub fn provisioning_failure(group: &ContainerGroup) -> (String, String) {
    let properties = &group.properties;
    let events = properties
        .instance_view
        .iter()
        .flat_map(|view| &view.events)
        .chain(properties.containers.iter().flat_map(|container| {
            container
                .properties
                .instance_view
                .iter()
                .flat_map(|view| &view.events)
        }))
        .filter(|event| !is_progress(event));
    let last = events
        .max_by_key(|event| time::from_arm(event.last_timestamp.as_deref()).map(|time| time.0));
    match last {
        Some(event) => {
            let message = event.message.as_deref().unwrap_or_default();
            let reason = word(event.name.as_deref().unwrap_or_default());
            let reason = match pull_trouble(&reason, message) {
                Some(pull) => pull.to_owned(),
                None if reason == "InsufficientCapacity" => "AciCapacity".to_owned(),
                None => reason,
            };
            (reason, line(message))
        }
        None => (
            "ProvisioningFailed".to_string(),
            "ACI could not provision the container group and gave no reason; it is deleted and tried again".to_string(),
        ),
    }
}

/// A kubelet's reason for a container that waits for its image, when ACI's event `name` with `message` is about that.
pub(super) fn pull_trouble(name: &str, message: &str) -> Option<&'static str> {
    if !message.to_ascii_lowercase().contains("pull") {
        return None;
    }
    match name {
        "Failed" => Some(ERR_IMAGE_PULL),
        "BackOff" => Some(IMAGE_PULL_BACK_OFF),
        _ => None,
    }
}

fn is_progress(event: &Event) -> bool {
    matches!(
        event.name.as_deref(),
        Some("Pulling" | "Pulled" | "Created" | "Started")
    )
}

fn to_event(container: Option<&str>, event: &Event) -> GroupEvent {
    let reason = word(event.name.as_deref().unwrap_or_default());
    let message = line(event.message.as_deref().unwrap_or_default());
    GroupEvent {
        // ACI marks failures `Normal`, so the name decides as well.
        warning: event.kind.as_deref() == Some("Warning")
            || reason.starts_with("Failed")
            || reason == "BackOff",
        message: match container {
            Some(container) => format!("container {container}: {message}"),
            None => message,
        },
        reason,
    }
}

/// One word as Kubernetes wants reasons: `InsufficientCapacity.` loses its full stop.
fn word(name: &str) -> String {
    let word: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(64)
        .collect();
    if word.is_empty() {
        "AciEvent".to_string()
    } else {
        word
    }
}

/// Azure's text is not ours: one line, bounded, without control characters.
pub(super) fn line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE)
        .collect::<String>()
        .trim()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(events: &serde_json::Value) -> ContainerGroup {
        serde_json::from_value(json!({"properties": {
            "osType": "Linux",
            "containers": [{"name": "web", "properties": {"instanceView": {"events": events}}}],
        }}))
        .unwrap()
    }

    fn event(name: &str, at: &str, kind: &str) -> serde_json::Value {
        json!({"name": name, "message": format!("{name} it"), "lastTimestamp": at, "type": kind, "count": 1})
    }

    #[test]
    fn events_are_told_once_and_in_order() {
        let both = group(&json!([
            event("Started", "2026-01-01T00:00:02Z", "Normal"),
            event("Pulling", "2026-01-01T00:00:01Z", "Normal"),
        ]));
        let (told, until) = group_events(&both, None);
        let reasons: Vec<_> = told.iter().map(|event| event.reason.as_str()).collect();
        assert_eq!(reasons, ["Pulling", "Started"]);
        assert_eq!(told[0].message, "container web: Pulling it");
        assert_eq!(group_events(&both, until), (Vec::new(), until));
    }

    #[test]
    fn a_failure_that_aci_calls_normal_is_a_warning() {
        let (told, _) = group_events(
            &group(&json!([event(
                "FailedMount",
                "2026-01-01T00:00:01Z",
                "Normal"
            )])),
            None,
        );
        assert!(told[0].warning);
    }

    #[test]
    fn the_reason_of_a_failed_provisioning_is_the_newest_event_that_is_no_progress() {
        let failed = group(&json!([
            event("Pulling", "2026-01-01T00:00:09Z", "Normal"),
            event("InsufficientCapacity.", "2026-01-01T00:00:05Z", "Warning"),
        ]));
        assert_eq!(provisioning_failure(&failed).0, "AciCapacity");
        assert_eq!(
            provisioning_failure(&group(&json!([]))).0,
            "ProvisioningFailed"
        );
    }

    #[test]
    fn azures_text_is_one_bounded_line() {
        assert_eq!(line("a\nb\u{7}c "), "a b c");
        assert_eq!(line(&"x".repeat(2000)).len(), MAX_MESSAGE);
        assert_eq!(word("Insufficient Capacity."), "InsufficientCapacity");
    }
}
