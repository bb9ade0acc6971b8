//! ACI's events as Kubernetes events, and the reason of a failed provisioning.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::jiff::Timestamp;

use crate::azure::error::without_scopes;
use crate::azure::model::{ContainerGroup, Event};
use crate::translate::identity::hash_hex;
use crate::translate::time;

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
    /// When it happened first.
    pub first: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// How often it happened, at least once.
    pub count: i32,
}

impl GroupEvent {
    /// What tells this event of the pod `uid` from every other, also in another process; the same while it is counted on.
    pub fn id(&self, uid: &str) -> String {
        let parts = [uid, &self.reason, &self.message, &self.first.to_string()];
        hash_hex(&parts, 16)
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.reason, &self.message, self.first, self.count).hash(&mut hasher);
        hasher.finish()
    }
}

/// Up to where a group's events have been told. ACI's times are whole seconds, so that more may come of the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventCursor {
    until: Option<Timestamp>,
    /// What was told of the second `until`.
    then: Vec<u64>,
}

impl EventCursor {
    /// Everything before `time`.
    pub fn before(time: Timestamp) -> Self {
        Self {
            until: Some(time),
            then: Vec::new(),
        }
    }

    fn is_news(&self, event: &GroupEvent) -> bool {
        self.until.is_none_or(|until| {
            event.last > until || (event.last == until && !self.then.contains(&event.fingerprint()))
        })
    }

    /// The events of `group` that have not been told, oldest first; they count as told from now on.
    ///
    /// ACI counts repeats in one entry whose last time moves, so the last time is what tells new from old.
    pub fn news(&mut self, group: &ContainerGroup) -> Vec<GroupEvent> {
        let properties = &group.properties;
        let of_group = properties.instance_view.iter();
        let of_group = of_group
            .flat_map(|view| &view.events)
            .map(|event| (None, event));
        let of_containers = properties.containers.iter().flat_map(|container| {
            let events = container.properties.instance_view.iter();
            let events = events.flat_map(|view| &view.events);
            events.map(|event| (Some(container.name.as_str()), event))
        });
        let of_inits = properties.init_containers.iter().flat_map(|init| {
            let view = init.properties.instance_view.iter();
            let events = view.flat_map(|view| &view.events);
            events.map(|event| (Some(init.name.as_str()), event))
        });
        let mut news: Vec<GroupEvent> = of_group
            .chain(of_inits)
            .chain(of_containers)
            .filter_map(|(container, event)| to_event(container, event))
            .filter(|event| self.is_news(event))
            .collect();
        news.sort_by_key(|event| event.last);
        // The others next time.
        news.truncate(MAX_EVENTS);
        if let Some(newest) = news.last().map(|event| event.last) {
            if self.until != Some(newest) {
                self.then.clear();
            }
            self.until = Some(newest);
            let of_newest = news.iter().filter(|event| event.last == newest);
            self.then.extend(of_newest.map(GroupEvent::fingerprint));
        }
        news
    }
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

/// The image with its digest that was pulled last for a container, where its `events` name it.
pub(super) fn pulled(events: &[Event]) -> Option<&str> {
    let pulled = events
        .iter()
        .rev()
        .filter(|event| event.name.as_deref() == Some("Pulled"));
    let mut images = pulled.filter_map(|event| event.message.as_deref()?.split('"').nth(1));
    images.find(|image| image.contains("@sha256:"))
}

fn is_progress(event: &Event) -> bool {
    matches!(
        event.name.as_deref(),
        Some("Pulling" | "Pulled" | "Created" | "Started")
    )
}

/// `None` for an event without a time, which could not be told from one that was told.
fn to_event(container: Option<&str>, event: &Event) -> Option<GroupEvent> {
    let reason = word(event.name.as_deref().unwrap_or_default());
    let message = line(event.message.as_deref().unwrap_or_default());
    let time = |text: &Option<String>| time::from_arm(text.as_deref()).map(|time| time.0);
    let (first, last) = (time(&event.first_timestamp), time(&event.last_timestamp));
    let last = last.or(first)?;
    Some(GroupEvent {
        // ACI marks failures `Normal`, so the name decides as well.
        warning: event.kind.as_deref() == Some("Warning")
            || reason.starts_with("Failed")
            || reason == "BackOff",
        message: match container {
            Some(container) => format!("container {container}: {message}"),
            None => message,
        },
        reason,
        first: first.filter(|first| *first <= last).unwrap_or(last),
        last,
        count: event.count.unwrap_or(1).max(1),
    })
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

/// Azure's text is not ours: one line, bounded, without control characters and without what tells about the subscription.
pub(super) fn line(text: &str) -> String {
    without_scopes(text)
        .chars()
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

    fn reasons(news: &[GroupEvent]) -> Vec<&str> {
        news.iter().map(|event| event.reason.as_str()).collect()
    }

    #[test]
    fn events_are_told_once_and_in_order() {
        let mut told = EventCursor::default();
        let pulling = event("Pulling", "2026-01-01T00:00:01Z", "Normal");
        let started = event("Started", "2026-01-01T00:00:02Z", "Normal");
        let both = group(&json!([started, pulling]));
        let news = told.news(&both);
        assert_eq!(reasons(&news), ["Pulling", "Started"]);
        assert_eq!(news[0].message, "container web: Pulling it");
        assert!(told.news(&both).is_empty());
        // ACI's times are whole seconds: more may come of one.
        let killing = event("Killing", "2026-01-01T00:00:02Z", "Normal");
        let more = group(&json!([started, pulling, killing]));
        assert_eq!(reasons(&told.news(&more)), ["Killing"]);
        assert!(told.news(&more).is_empty());
        let since = "2026-01-01T00:00:02Z".parse().unwrap();
        assert_eq!(
            reasons(&EventCursor::before(since).news(&both)),
            ["Started"]
        );
    }

    #[test]
    fn a_repeat_is_the_same_event_counted_on() {
        let mut told = EventCursor::default();
        let back_off = |count: i32, last: &str| {
            let mut back_off = event("BackOff", last, "Warning");
            back_off["firstTimestamp"] = json!("2026-01-01T00:00:01Z");
            back_off["count"] = json!(count);
            group(&json!([back_off]))
        };
        let once = told.news(&back_off(1, "2026-01-01T00:00:01Z"));
        let thrice = told.news(&back_off(3, "2026-01-01T00:00:09.5Z"));
        assert_eq!(once[0].id("u"), thrice[0].id("u"));
        assert_ne!(once[0].id("u"), once[0].id("v"));
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        assert_eq!(
            (thrice[0].first, thrice[0].last, thrice[0].count),
            (at("2026-01-01T00:00:01Z"), at("2026-01-01T00:00:09Z"), 3)
        );
    }

    #[test]
    fn a_flood_is_told_in_parts() {
        let all: Vec<_> = (0..50)
            .map(|n| event(&format!("E{n}"), "2026-01-01T00:00:01Z", "Normal"))
            .collect();
        let (flood, mut told) = (group(&json!(all)), EventCursor::default());
        let parts: Vec<usize> = (0..4).map(|_| told.news(&flood).len()).collect();
        assert_eq!(parts, [20, 20, 10, 0]);
    }

    #[test]
    fn a_failure_that_aci_calls_normal_is_a_warning() {
        let mount = event("FailedMount", "2026-01-01T00:00:01Z", "Normal");
        assert!(EventCursor::default().news(&group(&json!([mount])))[0].warning);
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
