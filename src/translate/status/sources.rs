//! What the files of a pod's volumes are made of, as far as that changes while the pod runs. PURE.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;

use crate::translate::changing::{is_service_account, shows_metadata};

/// Lifetime of a token where the pod names none.
const TOKEN_SECONDS: i64 = 3600;
/// Objects that are known of a pod: a group has 20 volumes.
const MOST: usize = 64;

/// The sources of a pod's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeSources {
    /// Names of Secrets.
    pub secrets: BTreeSet<Box<str>>,
    /// Names of `ConfigMap`s.
    pub config_maps: BTreeSet<Box<str>>,
    /// Digest of the labels and annotations, where files show them.
    pub metadata: Option<u64>,
    /// Seconds that the token lives which ends first.
    pub token_seconds: Option<i64>,
    /// What they were brought up to date with.
    pub updated: Option<VolumesUpdated>,
}

impl VolumeSources {
    /// Those of `pod`; `None` when it has no such files.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let mut out = Self::default();
        let spec = pod.spec.as_ref()?;
        let shows = |items: Option<&[_]>| items.is_some_and(shows_metadata);
        let mut is_shown = false;
        for volume in spec.volumes.iter().flatten() {
            let secret = volume.secret.as_ref();
            out.secret(secret.and_then(|it| it.secret_name.as_deref()));
            let map = volume.config_map.as_ref();
            out.config_map(map.map(|it| it.name.as_str()));
            let downward = volume.downward_api.as_ref();
            is_shown |= downward.is_some_and(|it| shows(it.items.as_deref()));
            let not_accounts = |it: &&_| !is_service_account(&volume.name, it);
            let projected = volume.projected.iter().filter(not_accounts);
            let sources = projected.flat_map(|it| it.sources.iter());
            for source in sources.flatten() {
                out.secret(source.secret.as_ref().map(|it| it.name.as_str()));
                out.config_map(source.config_map.as_ref().map(|it| it.name.as_str()));
                let downward = source.downward_api.as_ref();
                is_shown |= downward.is_some_and(|it| shows(it.items.as_deref()));
                if let Some(token) = &source.service_account_token {
                    let seconds = token.expiration_seconds.unwrap_or(TOKEN_SECONDS);
                    let first = out.token_seconds.unwrap_or(seconds);
                    out.token_seconds = Some(first.min(seconds));
                }
            }
        }
        out.metadata = is_shown.then(|| {
            let mut hasher = DefaultHasher::new();
            let meta = &pod.metadata;
            (&meta.labels, &meta.annotations).hash(&mut hasher);
            hasher.finish()
        });
        if out == Self::default() {
            return None;
        }
        out.updated = pod.status.as_ref().and_then(VolumesUpdated::of);
        Some(out)
    }

    fn secret(&mut self, name: Option<&str>) {
        if self.secrets.len() < MOST {
            self.secrets.extend(name.map(Into::into));
        }
    }

    fn config_map(&mut self, name: Option<&str>) {
        if self.config_maps.len() < MOST {
            self.config_maps.extend(name.map(Into::into));
        }
    }
}

/// What the volumes of a pod were brought up to date with, and when: it stands in a condition of the pod, so that the next
/// process knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesUpdated {
    pub version: Box<str>,
    pub at: Timestamp,
}

impl VolumesUpdated {
    /// Type of that condition.
    pub const CONDITION: &'static str = "virtual-kubelet.io/VolumesUpdated";

    /// Reads it from `status`.
    fn of(status: &PodStatus) -> Option<Self> {
        let mut conditions = status.conditions.iter().flatten();
        let condition = conditions.find(|it| it.type_ == Self::CONDITION)?;
        Some(Self {
            version: condition.message.as_deref()?.into(),
            at: condition.last_transition_time.as_ref()?.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::translate::testing::{HELLO, pod};

    fn sources(volumes: &serde_json::Value) -> Option<VolumeSources> {
        VolumeSources::of(&pod(HELLO, &[("/spec/volumes", volumes.clone())]))
    }

    #[test]
    fn sources_are_what_files_are_made_of() {
        let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}});
        for unchanging in [
            json!([]),
            json!([{"name": "e", "emptyDir": {}}]),
            json!([{"name": "kube-api-access-x", "projected": {"sources": [token, {"configMap": {"name": "kube-root-ca.crt"}}]}}]),
            json!([{"name": "d", "downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}]),
        ] {
            assert_eq!(sources(&unchanging), None, "{unchanging}");
        }
        let labels = json!([{"path": "l", "fieldRef": {"fieldPath": "metadata.labels['a']"}}]);
        let all = sources(&json!([
            {"name": "s", "secret": {"secretName": "s"}},
            {"name": "c", "configMap": {"name": "c"}},
            {"name": "p", "projected": {"sources": [
                {"secret": {"name": "t"}},
                {"configMap": {"name": "d"}},
                {"downwardAPI": {"items": labels}},
                {"serviceAccountToken": {"path": "a", "expirationSeconds": 600}},
                {"serviceAccountToken": {"path": "b"}},
            ]}},
        ]));
        let all = all.unwrap();
        assert_eq!(all.secrets, BTreeSet::from(["s".into(), "t".into()]));
        assert_eq!(all.config_maps, BTreeSet::from(["c".into(), "d".into()]));
        assert_eq!(all.token_seconds, Some(600));
        assert!(all.metadata.is_some());
    }

    /// The same as where the group is made: else its shim would write a volume that nobody watches.
    #[test]
    fn a_volume_is_the_service_account_s_by_what_is_in_it() {
        let named = json!([{"name": "kube-api-access-x", "projected": {"sources": [{"secret": {"name": "s"}}]}}]);
        assert_eq!(
            sources(&named).unwrap().secrets,
            BTreeSet::from(["s".into()])
        );
    }

    #[test]
    fn another_label_is_another_digest() {
        let items = json!([{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]);
        let volumes = json!([{"name": "d", "downwardAPI": {"items": items}}]);
        let with = |labels: serde_json::Value| {
            let changes = [
                ("/spec/volumes", volumes.clone()),
                ("/metadata/labels", labels),
            ];
            VolumeSources::of(&pod(HELLO, &changes)).unwrap().metadata
        };
        assert_eq!(with(json!({"a": "1"})), with(json!({"a": "1"})));
        assert_ne!(with(json!({"a": "1"})), with(json!({"a": "2"})));
    }

    #[test]
    fn the_condition_says_what_was_written_and_when() {
        let status = json!({"conditions": [
            {"type": "Ready", "status": "True", "message": "x", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "virtual-kubelet.io/VolumesUpdated", "status": "True", "message": "0123", "lastTransitionTime": "2026-01-02T00:00:00Z"},
        ]});
        let read = VolumesUpdated::of(&serde_json::from_value(status).unwrap()).unwrap();
        assert_eq!(&*read.version, "0123");
        assert_eq!(read.at, "2026-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(VolumesUpdated::of(&PodStatus::default()), None);
    }
}
