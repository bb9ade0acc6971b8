//! What stands in our Leases. PURE: the wall clock's time is an argument, and only for people to read.
//!
//! | Lease | label `virtual-kubelet.io/lease` | holder |
//! |---|---|---|
//! | `vkc-connector-<name of the connector>` | `connector` | the replica that runs its agents; none when it was released |
//! | `vkc-replica-<identity>` | `replica` | the replica itself |

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::table::Me;
use crate::tenure::{REMEMBERED, Tenure};

/// All our Leases have it; its value says which kind.
pub const LABEL: &str = "virtual-kubelet.io/lease";
/// Value of [`LABEL`], and the connector's own label.
const CONNECTOR: &str = "connector";
const REPLICA: &str = "replica";
/// UID of the pod that the holder runs in, when it knows it.
pub const POD_UID: &str = "virtual-kubelet.io/holder-pod-uid";

/// Holders before this one, each with the time until which it may have written, by its clock:
/// `<identity>=<time>`, separated by commas.
pub const FORMER_HOLDERS: &str = "virtual-kubelet.io/former-holders";

const CONNECTOR_PREFIX: &str = "vkc-connector-";
const REPLICA_PREFIX: &str = "vkc-replica-";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A connector of this name.
    Connector(String),
    /// A replica of this identity.
    Replica(String),
}

/// Name of a connector's Lease.
pub fn connector_lease(connector: &str) -> String {
    format!("{CONNECTOR_PREFIX}{connector}")
}

/// Name of a replica's Lease.
pub fn replica_lease(identity: &str) -> String {
    format!("{REPLICA_PREFIX}{identity}")
}

/// What this Lease is about; `None` when it is none of ours.
pub fn about(lease: &Lease) -> Option<About> {
    let name = lease.metadata.name.as_deref()?;
    match lease.metadata.labels.as_ref()?.get(LABEL)?.as_str() {
        CONNECTOR => Some(About::Connector(
            name.strip_prefix(CONNECTOR_PREFIX)?.to_owned(),
        )),
        REPLICA => Some(About::Replica(
            name.strip_prefix(REPLICA_PREFIX)?.to_owned(),
        )),
        _ => None,
    }
}

pub fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}

/// Whether the holder has taken it itself, in contrast to one that it was handed to.
pub fn is_accepted(lease: &Lease) -> bool {
    lease
        .spec
        .as_ref()
        .is_some_and(|spec| spec.acquire_time.is_some())
}

/// When the holder took it, by its clock: only good for an order among those of one holder.
pub fn acquired(lease: &Lease) -> Option<Timestamp> {
    let MicroTime(at) = lease.spec.as_ref()?.acquire_time.as_ref()?;
    Some(*at)
}

/// The UID of the holder's pod.
pub fn pod_uid(lease: &Lease) -> Option<&str> {
    let annotations = lease.metadata.annotations.as_ref()?;
    let uid = annotations.get(POD_UID).map(String::as_str);
    uid.filter(|uid| !uid.is_empty())
}

/// The time of its holder.
pub fn tenure(lease: &Lease) -> Tenure {
    Tenure {
        holder: holder(lease).unwrap_or_default().to_owned(),
        former: former(lease),
    }
}

fn former(lease: &Lease) -> BTreeMap<String, Timestamp> {
    let annotations = lease.metadata.annotations.as_ref();
    let listed = annotations.and_then(|all| all.get(FORMER_HOLDERS));
    let entry = |entry: &str| {
        let (identity, until) = entry.split_once('=')?;
        Some((identity.trim().to_owned(), until.trim().parse().ok()?))
    };
    listed
        .into_iter()
        .flat_map(|listed| listed.split(','))
        .filter_map(entry)
        .collect()
}

/// Former holders as an annotation: the last ones.
fn former_holders(all: BTreeMap<String, Timestamp>) -> String {
    let mut all: Vec<_> = all.into_iter().map(|(who, until)| (until, who)).collect();
    all.sort();
    let last = all.split_off(all.len().saturating_sub(REMEMBERED));
    let entry = |(until, who): &(Timestamp, String)| format!("{who}={until:.0}");
    last.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// For how long others have to see it unchanged before they take it. What somebody else writes is believed within bounds.
pub fn duration(lease: &Lease, ours: Duration) -> Duration {
    let said = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.lease_duration_seconds);
    let said = said.and_then(|seconds| u64::try_from(seconds).ok());
    said.map_or(ours, |seconds| {
        Duration::from_secs(seconds.clamp(1, 120)).max(ours)
    })
}

/// `resourceVersion` as a number; the API server has made that comparison official in 1.35 (KEP-5504).
pub fn version(lease: &Lease) -> u64 {
    lease
        .metadata
        .resource_version
        .as_deref()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

/// When its holder wrote it last, by its own clock.
fn last_word(lease: &Lease) -> Option<Timestamp> {
    let MicroTime(at) = lease.spec.as_ref()?.renew_time.as_ref()?;
    Some(*at)
}

/// The Lease by which `me` takes a connector, or says that it is there. Other people's labels stay.
pub fn taken(
    found: Option<&Lease>,
    about: &About,
    me: &Me,
    lasts: Duration,
    now: Timestamp,
) -> Lease {
    let mut lease = held_by(found, about, Some(&me.identity), lasts, now);
    if let Some(spec) = &mut lease.spec {
        spec.acquire_time = Some(MicroTime(now));
    }
    if !me.pod_uid.is_empty() {
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(POD_UID.to_owned(), me.pod_uid.clone());
    }
    lease
}

/// The Lease after another look of its holder. Everything else stays.
pub fn renewed(found: &Lease, now: Timestamp) -> Lease {
    let mut lease = found.clone();
    lease.spec.get_or_insert_default().renew_time = Some(MicroTime(now));
    lease.metadata.managed_fields = None;
    lease
}

/// The Lease as its holder leaves it: to another replica, who accepts it with its first renewal, or to whoever comes.
pub fn left_to(found: &Lease, to: Option<&str>, lasts: Duration, now: Timestamp) -> Lease {
    let about = about(found).unwrap_or(About::Connector(String::new()));
    held_by(Some(found), &about, to, lasts, now)
}

fn held_by(
    found: Option<&Lease>,
    about: &About,
    holder: Option<&str>,
    lasts: Duration,
    now: Timestamp,
) -> Lease {
    let (name, kind) = match about {
        About::Connector(connector) => (connector_lease(connector), CONNECTOR),
        About::Replica(identity) => (replica_lease(identity), REPLICA),
    };
    let mut lease = found.cloned().unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    });
    let metadata = &mut lease.metadata;
    metadata.managed_fields = None;
    let labels = metadata.labels.get_or_insert_default();
    for (key, value) in [
        (LABEL, kind),
        ("app.kubernetes.io/managed-by", "vkc"),
        ("app.kubernetes.io/part-of", "virtual-kubelet-connector"),
    ] {
        labels.insert(key.to_owned(), value.to_owned());
    }
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(POD_UID);
    }
    let who = self::holder(&lease).map(ToOwned::to_owned);
    let changes = who.as_deref() != holder;
    if changes
        && matches!(about, About::Connector(_))
        && let Some(who) = who
    {
        let mut former = former(&lease);
        // What it sends with its last breath is older than its last renewal and the time that this lasts.
        let until = last_word(&lease).and_then(|last| last.checked_add(lasts).ok());
        former.insert(who, until.unwrap_or(now));
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(FORMER_HOLDERS.to_owned(), former_holders(former));
    }
    let before = lease.spec.take().unwrap_or_default();
    lease.spec = Some(LeaseSpec {
        holder_identity: holder.map(ToOwned::to_owned),
        lease_duration_seconds: i32::try_from(lasts.as_secs()).ok(),
        acquire_time: None,
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(
            before
                .lease_transitions
                .unwrap_or_default()
                .saturating_add(i32::from(changes)),
        ),
        ..LeaseSpec::default()
    });
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(15);

    fn me(identity: &str) -> Me {
        Me {
            identity: identity.to_owned(),
            pod_uid: "uid-1".to_owned(),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_lease_goes_from_hand_to_hand() {
        let about_c = About::Connector("c".to_owned());
        let mut lease = taken(None, &about_c, &me("a"), LASTS, at(1));
        assert_eq!(lease.metadata.name.as_deref(), Some("vkc-connector-c"));
        assert_eq!(about(&lease), Some(about_c.clone()));
        assert_eq!(
            (holder(&lease), pod_uid(&lease)),
            (Some("a"), Some("uid-1"))
        );
        assert!(is_accepted(&lease));
        lease.metadata.resource_version = Some("7".to_owned());

        let renewed = renewed(&lease, at(5));
        let (before, after) = (lease.spec.clone().unwrap(), renewed.spec.clone().unwrap());
        assert_eq!(after.acquire_time, before.acquire_time);
        assert_eq!(after.lease_transitions, before.lease_transitions);
        assert_eq!(after.renew_time, Some(MicroTime(at(5))));
        assert_eq!(version(&renewed), 7, "a write names what it is based on");

        let given = left_to(&renewed, Some("b"), LASTS, at(6));
        assert_eq!((holder(&given), pod_uid(&given)), (Some("b"), None));
        assert!(!is_accepted(&given));
        let spec = given.spec.clone().unwrap();
        assert_eq!(spec.lease_transitions, Some(2));

        let accepted = taken(Some(&given), &about_c, &me("b"), LASTS, at(7));
        assert!(is_accepted(&accepted));
        let spec = accepted.spec.clone().unwrap();
        assert_eq!(
            spec.lease_transitions,
            Some(2),
            "it was counted when it was given"
        );

        let released = left_to(&accepted, None, LASTS, at(8));
        assert_eq!(holder(&released), None);

        // "a" wrote last at 5, "b" at 7, each by its own clock; a Lease lasts 15 s.
        let back = taken(Some(&released), &about_c, &me("c"), LASTS, at(9));
        let former = [("a".to_owned(), at(20)), ("b".to_owned(), at(22))].into();
        assert_eq!(
            tenure(&back),
            Tenure {
                holder: "c".to_owned(),
                former
            }
        );
        assert_eq!(
            tenure(&self::renewed(&back, at(10))),
            tenure(&back),
            "a renewal changes nothing of it"
        );
    }

    #[test]
    fn the_last_holders_are_remembered_and_what_somebody_wrote_there_is_skipped() {
        let about_c = About::Connector("c".to_owned());
        let mut lease = taken(None, &about_c, &me("r00"), LASTS, at(0));
        for n in 1..=REMEMBERED + 3 {
            let second = i64::try_from(n).unwrap();
            lease = taken(
                Some(&lease),
                &about_c,
                &me(&format!("r{n:02}")),
                LASTS,
                at(second),
            );
        }
        let former = tenure(&lease).former;
        assert_eq!(former.len(), REMEMBERED);
        assert_eq!(former.keys().next().map(String::as_str), Some("r03"));

        let annotations = lease.metadata.annotations.get_or_insert_default();
        let hostile = "x,=,a=never,b=1970-01-01T00:00:20Z".to_owned();
        annotations.insert(FORMER_HOLDERS.to_owned(), hostile);
        assert_eq!(tenure(&lease).former, [("b".to_owned(), at(20))].into());
    }

    #[test]
    fn what_others_wrote_into_a_lease_stays() {
        let about_c = About::Connector("c".to_owned());
        let mut lease = taken(None, &about_c, &me("a"), LASTS, at(1));
        lease
            .metadata
            .labels
            .get_or_insert_default()
            .insert("team".to_owned(), "x".to_owned());
        let lease = taken(Some(&lease), &about_c, &me("b"), LASTS, at(2));
        assert_eq!(lease.metadata.labels.unwrap().get("team").unwrap(), "x");
    }

    #[test]
    fn foreign_leases_are_none_of_ours() {
        let mut lease = Lease::default();
        lease.metadata.name = Some("vkc-connector-c".to_owned());
        assert_eq!(about(&lease), None);
    }

    #[test]
    fn a_duration_is_believed_within_bounds() {
        let mut lease = Lease::default();
        assert_eq!(duration(&lease, LASTS), LASTS);
        for (said, believed) in [(-5, 15), (0, 15), (3, 15), (60, 60), (i32::MAX, 120)] {
            lease.spec.get_or_insert_default().lease_duration_seconds = Some(said);
            assert_eq!(duration(&lease, LASTS).as_secs(), believed, "{said}");
        }
    }
}
