//! Which pod a container group belongs to: its name and its ARM tags.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use sha2::{Digest, Sha256};

use crate::tenure::Mark;

const CLUSTER: &str = "vkc-cluster";
const CONNECTOR: &str = "vkc-connector";
const NODE: &str = "vkc-node";
const NAMESPACE: &str = "vkc-namespace";
const POD: &str = "vkc-pod";
const UID: &str = "vkc-uid";
/// Restarts that the containers of the pod had behind them when this group was made.
const RESTARTS: &str = "vkc-restarts";

/// Identity of the process that made the group, and when, by its clock.
const CREATED_BY: &str = "vkc-created-by";
const CREATED_AT: &str = "vkc-created-at";

/// Image of the only container, where it may change.
const IMAGE: &str = "vkc-image";

/// What the pod asks for and ACI does not enforce. A tag, so that it is known of a group whoever made it.
const NOT_ENFORCED: &str = "vkc-not-enforced";

/// What is in the volumes that the shim keeps up to date, when the group was made.
const VOLUMES: &str = "vkc-volumes";

/// ARM's limit on tags of one resource.
const MAX_TAGS: usize = 50;
/// ARM's limit on a tag value, in characters.
const MAX_TAG_VALUE: usize = 256;
/// Longest readable part of a group name; with the hash well under ACI's 63.
const MAX_PREFIX: usize = 40;
/// Hex digits of the hash in a group name: 88 bits.
const HASH_DIGITS: usize = 22;

/// One pod for ever: a pod recreated under its old name has another UID and is another key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl PodKey {
    /// The key of `pod`; `None` when a part is missing or empty, which no pod of an API server is.
    pub fn of(pod: &Pod) -> Option<Self> {
        let part = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        Some(Self {
            namespace: part(&pod.metadata.namespace)?,
            name: part(&pod.metadata.name)?,
            uid: part(&pod.metadata.uid)?,
        })
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Name of the container group of `key` in the cluster `cluster_uid`.
///
/// A readable prefix from the pod's name and 88 bits of a hash over cluster, namespace, name and UID, so that two pods
/// never share a group and the same pod finds its group again after any restart. Legal for ACI: 1-63 lower-case letters,
/// digits and single hyphens, none at an end.
pub fn group_name(cluster_uid: &str, key: &PodKey) -> String {
    let mut prefix = sanitise(&key.name, MAX_PREFIX);
    if prefix.is_empty() {
        prefix.push_str("pod");
    }
    let hash = hash_hex(
        &[cluster_uid, &key.namespace, &key.name, &key.uid],
        HASH_DIGITS,
    );
    format!("{prefix}-{hash}")
}

/// `text` in lower-case letters, digits and single hyphens, none at an end, at most `max` characters.
pub(super) fn sanitise(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(max.min(text.len()));
    for c in text.chars() {
        if out.len() >= max {
            break;
        }
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    while out.ends_with('-') {
        out.pop();
    }
    out
}

/// The first `digits` hex digits of SHA-256 over `parts`; lengths go in, so that parts cannot run into each other.
pub(super) fn hash_hex(parts: &[&str], digits: usize) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    hex.truncate(digits);
    hex
}

/// Who owns a container group, as its tags say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ownership {
    /// UID of the cluster (of its `kube-system` namespace).
    pub cluster_uid: String,
    pub connector_uid: String,
    /// Name of the virtual node.
    pub node: String,
    pub key: PodKey,
    /// Restarts that the pod's containers had behind them when the group was made: not 0 when an earlier group was lost.
    pub restarts: i32,
    /// Which process made it, and when; `None` when nobody knows.
    pub mark: Option<Mark>,
}

/// What else the tags of a group say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnTags {
    /// The list of what is not enforced.
    pub not_enforced: Option<String>,
    /// The image that may change.
    pub image: Option<String>,
    /// What is in the volumes that the shim keeps up to date.
    pub volumes: Option<String>,
}

impl Ownership {
    /// All tags of the group: ours, and as many of the `user`'s as ARM takes (50 tags, values of 256 characters).
    ///
    /// Tag names are case-insensitive in ARM, so a user's tag that differs from ours in case only gives way.
    pub fn tags(&self, user: &BTreeMap<String, String>, own: &OwnTags) -> BTreeMap<String, String> {
        let restarts = self.restarts.to_string();
        let mut ours = vec![
            (CLUSTER, &self.cluster_uid),
            (CONNECTOR, &self.connector_uid),
            (NODE, &self.node),
            (NAMESPACE, &self.key.namespace),
            (POD, &self.key.name),
            (UID, &self.key.uid),
        ];
        if self.restarts > 0 {
            ours.push((RESTARTS, &restarts));
        }
        for (name, value) in [
            (NOT_ENFORCED, &own.not_enforced),
            (IMAGE, &own.image),
            (VOLUMES, &own.volumes),
        ] {
            ours.extend(value.as_ref().map(|value| (name, value)));
        }
        let made_at = self.mark.as_ref().map(|mark| format!("{:.0}", mark.at));
        if let (Some(mark), Some(at)) = (&self.mark, &made_at) {
            ours.extend([(CREATED_BY, &mark.by), (CREATED_AT, at)]);
        }
        user.iter()
            .filter(|(name, _)| {
                let our = |our: &str| name.eq_ignore_ascii_case(our);
                ![NOT_ENFORCED, IMAGE, VOLUMES].into_iter().any(our)
                    && !ours.iter().any(|(name, _)| our(name))
            })
            .take(MAX_TAGS - ours.len())
            .map(|(name, value)| (name.clone(), clip(value)))
            .chain(
                ours.iter()
                    .map(|(name, value)| ((*name).to_owned(), clip(value))),
            )
            .collect()
    }
}

/// Reads the tags of a group back; `None` when it is not one of ours, whoever's it is.
pub fn ownership(tags: &BTreeMap<String, String>) -> Option<Ownership> {
    let tag = |wanted: &str| {
        tags.iter()
            .find(|(name, value)| name.eq_ignore_ascii_case(wanted) && !value.is_empty())
            .map(|(_, value)| value.clone())
    };
    Some(Ownership {
        cluster_uid: tag(CLUSTER)?,
        connector_uid: tag(CONNECTOR)?,
        node: tag(NODE)?,
        key: PodKey {
            namespace: tag(NAMESPACE)?,
            name: tag(POD)?,
            uid: tag(UID)?,
        },
        restarts: restarts_before(tags),
        mark: tag(CREATED_BY).and_then(|by| {
            let at = tag(CREATED_AT)?.parse().ok()?;
            Some(Mark { by, at })
        }),
    })
}

/// `value` as far as a tag holds it.
pub(super) fn clip(value: &str) -> String {
    value.chars().take(MAX_TAG_VALUE).collect()
}

/// What the pod of a group asks for and ACI does not enforce, by the group's tags.
pub(super) fn not_enforced(tags: &BTreeMap<String, String>) -> Option<&str> {
    value_of(tags, NOT_ENFORCED)
}

/// The image that the only container of a group was made with, by the group's tags.
pub(super) fn image_of(tags: &BTreeMap<String, String>) -> Option<&str> {
    value_of(tags, IMAGE)
}

/// What was in the volumes of a group that the shim keeps up to date when it was made, by the group's tags; `None` of one without
/// such volumes.
pub fn volumes_of(tags: &BTreeMap<String, String>) -> Option<&str> {
    value_of(tags, VOLUMES)
}

fn value_of<'t>(tags: &'t BTreeMap<String, String>, wanted: &str) -> Option<&'t str> {
    let mut tags = tags.iter();
    let found = tags.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| value.as_str())
}

/// Restarts that the containers of a group had behind them when it was made, by its tags.
pub fn restarts_before(tags: &BTreeMap<String, String>) -> i32 {
    tags.iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(RESTARTS))
        .and_then(|(_, value)| value.parse::<u16>().ok())
        .map_or(0, i32::from)
}

/// Twelve hex digits of a hash over `texts`, in their order.
pub fn short_hash(texts: &[String]) -> String {
    let parts: Vec<&str> = texts.iter().map(String::as_str).collect();
    hash_hex(&parts, 12)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{CREATED_AT, CREATED_BY, Mark, OwnTags, Ownership, PodKey, group_name, ownership};

    fn key(namespace: &str, name: &str, uid: &str) -> PodKey {
        PodKey {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    fn owner() -> Ownership {
        Ownership {
            cluster_uid: "c".to_owned(),
            connector_uid: "k".to_owned(),
            node: "n".to_owned(),
            key: key("default", "web-0", "u"),
            restarts: 0,
            mark: Some(Mark {
                by: "vkc-0-1a2b".to_owned(),
                at: "2026-11-29T12:00:00Z".parse().unwrap(),
            }),
        }
    }

    #[test]
    fn the_name_is_readable_and_never_changes() {
        // Stored in Azure: another name would orphan every group of an older release.
        assert_eq!(
            group_name("c1", &key("default", "web-0", "u1")),
            "web-0-d1646e7e365537f4cba09a"
        );
        assert!(
            group_name("c1", &key("default", &"x.y".repeat(80), "u1")).starts_with("x-yx-yx-y")
        );
        assert!(group_name("c1", &key("default", "...", "u1")).starts_with("pod-"));
    }

    #[test]
    fn whoever_differs_in_one_part_has_another_group() {
        let names = [
            group_name("c", &key("a", "b-c", "u")),
            group_name("c", &key("a-b", "c", "u")),
            group_name("c", &key("a", "b-c", "v")),
            group_name("d", &key("a", "b-c", "u")),
            group_name("ca", &key("", "b-c", "u")),
        ];
        let distinct: std::collections::HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn tags_say_who_owns_a_group() {
        let tags = owner().tags(&BTreeMap::new(), &OwnTags::default());
        assert_eq!(ownership(&tags), Some(owner()));
        let upper = tags
            .iter()
            .map(|(name, value)| (name.to_uppercase(), value.clone()))
            .collect();
        assert_eq!(ownership(&upper), Some(owner()));
        for name in tags.keys() {
            let mut fewer = tags.clone();
            fewer.remove(name);
            // Groups of releases that did not mark them are ours all the same.
            let unmarked = [CREATED_BY, CREATED_AT].contains(&name.as_str());
            let expected = unmarked.then(|| Ownership {
                mark: None,
                ..owner()
            });
            assert_eq!(ownership(&fewer), expected, "without {name}");
        }
    }

    #[test]
    fn the_users_tags_give_way_and_are_cut_to_arms_limits() {
        let mut user: BTreeMap<String, String> = (0..60)
            .map(|n| (format!("t{n:02}"), "é".repeat(300)))
            .collect();
        user.insert("Vkc-Uid".to_owned(), "another".to_owned());
        let tags = owner().tags(&user, &OwnTags::default());
        assert_eq!(tags.len(), 50);
        assert!(tags.values().all(|value| value.chars().count() <= 256));
        assert_eq!(ownership(&tags), Some(owner()));
    }

    proptest! {
        #[test]
        fn any_pod_gets_a_legal_name(
            cluster in "\\PC{0,40}", namespace in "\\PC{0,70}", name in "\\PC{0,260}", uid in "\\PC{0,40}",
        ) {
            let got = group_name(&cluster, &key(&namespace, &name, &uid));
            prop_assert!((1..=63).contains(&got.len()), "{}", got);
            prop_assert!(got.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", got);
            prop_assert!(!got.starts_with('-') && !got.ends_with('-') && !got.contains("--"), "{}", got);
        }
    }
}
