//! The annotations by which a pod asks for what ACI has and Kubernetes has no field for: one table, which the translation
//! obeys and `docs/annotations.md` shows.
//!
//! Whoever may create a pod may write its annotations, so that none of them reaches beyond what the connector allows:
//! `docs/adr/0007-annotations-never-widen.md`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::review::Review;
use crate::translate::operator_annotations::{BILLED, FQDN, NOT_ENFORCED};

/// Reason of a refusal: the value of an annotation.
const INVALID: &str = "InvalidAnnotation";
/// Reason of a refusal: more than the connector allows.
const NOT_ALLOWED: &str = "AnnotationNotAllowed";
/// Reason of a note: nobody reads the annotation.
const UNKNOWN: &str = "UnknownAnnotation";

/// Prefixes under which an annotation that nobody reads is a mistake worth telling.
const PREFIXES: [&str; 3] = [
    "virtual-kubelet.io/",
    "virtualkubelet.io/",
    "microsoft.containerinstance.virtualnode.",
];

/// Whether `pod` has a policy of confidential computing, well written or not.
pub(super) fn has_policy(pod: &Pod) -> bool {
    let all = pod.metadata.annotations.iter().flatten();
    let is_it = |key: &str| {
        let mut known = ANNOTATIONS.iter().filter(|it| it.key == CCE_POLICY);
        known.any(|it| it.key == key || it.aliases.contains(&key))
    };
    all.into_iter().any(|(key, _)| is_it(key))
}

/// One annotation of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Annotation {
    pub(super) key: &'static str,
    /// Keys of other virtual node providers with the same meaning.
    pub(super) aliases: &'static [&'static str],
    /// What its value may be.
    pub(super) values: &'static str,
    pub(super) meaning: &'static str,
}

macro_rules! annotations {
    ($($name:ident = $key:literal, [$($alias:literal),*], $values:literal, $meaning:literal;)+) => {
        $(pub(super) const $name: &str = $key;)+
        /// Every annotation that is read, in the order of the documentation page.
        pub(super) const ANNOTATIONS: &[Annotation] = &[
            $(Annotation { key: $key, aliases: &[$($alias),*], values: $values, meaning: $meaning }),+
        ];
    };
}

annotations! {
    IDENTITY = "virtual-kubelet.io/identity", ["microsoft.containerinstance.virtualnode.identity"],
        "`none`, `system`, or ARM IDs of user-assigned identities, separated by commas or semicolons; `system` may stand among them",
        "Managed identities of the pod, of the connector's `identityIDs`; others are refused. Without it the pod has none.";
    ZONE = "virtual-kubelet.io/zone", ["microsoft.containerinstance.virtualnode.zones"],
        "`1`, `2`, `3`, several of them in order of preference, separated by commas or semicolons, or `none`",
        "Availability zones, instead of the connector's. ACI takes one: the first that had capacity lately; `none` lets Azure choose.";
    PRIORITY = "virtual-kubelet.io/priority", [],
        "`Regular` or `Spot`",
        "Priority, instead of the connector's. `Spot` is for Linux pods of at most 4 cores and 16 GB without an IP address.";
    SKU = "virtual-kubelet.io/sku", ["virtual-kubelet.io/container-sku"],
        "`Standard`, `Dedicated` or `Confidential`",
        "SKU, instead of the connector's. `Confidential` is for Linux pods of at most 31 cores and 180 GB.";
    CCE_POLICY = "virtual-kubelet.io/cce-policy",
        ["virtual-kubelet.io/confidential-compute-cce-policy", "microsoft.containerinstance.virtualnode.ccepolicy"],
        "base64",
        "Policy of confidential computing enforcement. The SKU is then `Confidential`.";
    VAULT_URL = "virtual-kubelet.io/encryption-vault-url", ["microsoft.containerinstance.virtualnode.cmk.vaultbaseurl"],
        "https URL of a Key Vault",
        "Vault of the key that encrypts the container group's data. Needs the name and the version of the key too.";
    VAULT_KEY = "virtual-kubelet.io/encryption-key-name", ["microsoft.containerinstance.virtualnode.cmk.keyname"],
        "name of a key", "Name of that key.";
    VAULT_KEY_VERSION = "virtual-kubelet.io/encryption-key-version",
        ["microsoft.containerinstance.virtualnode.cmk.keyversion"],
        "version of a key", "Version of that key.";
    VAULT_IDENTITY = "virtual-kubelet.io/encryption-identity", ["microsoft.containerinstance.virtualnode.cmk.identity"],
        "ARM ID of a user-assigned identity",
        "Identity that reads the key; one of the pod's. Without it ACI's own service principal does.";
    TAGS = "virtual-kubelet.io/tags", ["microsoft.containerinstance.virtualnode.customtags"],
        "`NAME=VALUE` or `NAME:VALUE`, several separated by semicolons",
        "ARM tags of the container group, at most 10. The connector's and the operator's own win over those of the same name.";
    LOG_ANALYTICS = "virtual-kubelet.io/log-analytics", [],
        "`off`",
        "Keeps the pod's logs out of the connector's Log Analytics workspace.";
    LOG_TYPE = "virtual-kubelet.io/log-type", [],
        "`ContainerInsights` or `ContainerInstanceLogs`",
        "Shape of the records in the workspace.";
    SUBNET = "virtual-kubelet.io/subnet", ["microsoft.containerinstance.virtualnode.subnets.primary"],
        "ARM ID of a subnet",
        "Has to be the connector's `subnetID`; another subnet needs another connector.";
    PUBLIC_IP = "virtual-kubelet.io/public-ip", [],
        "`true` or `false`",
        "`false` keeps the pod without the public address that the connector would give; `true` is refused unless the \
         connector has `publicIP: true`.";
    DNS_LABEL = "virtual-kubelet.io/dns-label", ["virtualkubelet.io/dnsnamelabel"],
        "5 to 63 lower-case letters, digits and inner hyphens",
        "Name of the public address: `LABEL.REGION.azurecontainer.io`. The full name comes back in the annotation \
         `virtual-kubelet.io/fqdn`. Needs `publicIP` and a port; two pods cannot have the same.";
    DNS_LABEL_SCOPE = "virtual-kubelet.io/dns-label-scope", [],
        "`Unsecure`, `TenantReuse`, `SubscriptionReuse`, `ResourceGroupReuse` or `Noreuse`",
        "Who may take the label once the pod is gone. All but `Unsecure` put a hash into the name.";
    CLUSTER_DNS = "virtual-kubelet.io/cluster-dns", ["microsoft.containerinstance.virtualnode.injectdns"],
        "`true` or `false`",
        "`false` treats dnsPolicy `ClusterFirst` as `Default`.";
    REALTIME_METRICS = "virtual-kubelet.io/realtime-metrics", [],
        "`true` or `false`",
        "Adds ACI's extension of that name, which serves the containers' metrics on the pod's address. Linux, in a subnet.";
    KUBE_PROXY = "virtual-kubelet.io/kube-proxy", ["microsoft.containerinstance.virtualnode.injectkubeproxy"],
        "`false`",
        "`true` is refused: ACI's extension needs a credential for the cluster inside the pod's container group, and the \
         operator gives its own to nobody.";
    IMAGE_CACHE = "virtual-kubelet.io/image-cache", ["microsoft.containerinstance.virtualnode.imagecachepod"],
        "`false`",
        "`true` is refused: there are no pools that keep images.";
    STANDBY_POOL = "virtual-kubelet.io/standby-pool", [],
        "none",
        "Refused: container groups come from no pool, because a connector cannot yet say which ones its pods may use.";
    KEY_VAULT_ENV = "virtual-kubelet.io/key-vault-env", [],
        "`CONTAINER/VARIABLE=https://VAULT/secrets/NAME`, several separated by commas",
        "Environment variables whose values ACI reads from a Key Vault by itself, so that neither the cluster nor the operator \
         sees them. Needs ARM's api-version 2025-09-01, which not every cloud has.";
    KEY_VAULT_IDENTITY = "virtual-kubelet.io/key-vault-identity", [],
        "ARM ID of a user-assigned identity",
        "Identity that reads those secrets; one of the pod's. Not needed when the pod has one only.";
}

/// An annotation as a pod has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'p> {
    key: &'p str,
    /// Its value, without blanks around it.
    pub(super) value: &'p str,
}

impl Written<'_> {
    pub(super) fn path(&self) -> String {
        format!("metadata.annotations[{}]", self.key)
    }

    /// Refuses its value; `must` completes "must be".
    pub(super) fn invalid(&self, must: &str, review: &mut Review) {
        const SHOWN: usize = 64;
        let mut value: String = self.value.chars().take(SHOWN).collect();
        if value.len() < self.value.len() {
            value.push('…');
        }
        let message = format!("{value:?} must be {must}");
        review.refuse_as(INVALID, self.path(), message);
    }

    /// Refuses it because the connector does not allow so much.
    pub(super) fn not_allowed(&self, message: String, review: &mut Review) {
        review.refuse_as(NOT_ALLOWED, self.path(), message);
    }
}

/// The annotations of a pod that are read.
#[derive(Debug)]
pub(super) struct Asked<'p>(BTreeMap<&'static str, Written<'p>>);

impl<'p> Asked<'p> {
    /// Reads the annotations of `pod`; tells those that look like ours and are not, and refuses one that is there under two
    /// names with two values.
    pub(super) fn read(pod: &'p Pod, review: &mut Review) -> Self {
        let mut asked = Self(BTreeMap::new());
        let mut unknown = Vec::new();
        for (key, value) in pod.metadata.annotations.iter().flatten() {
            if !PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
                continue;
            }
            let of = |row: &&Annotation| row.key == key || row.aliases.contains(&key.as_str());
            let Some(row) = ANNOTATIONS.iter().find(of) else {
                if ![BILLED, FQDN, NOT_ENFORCED].contains(&key.as_str()) {
                    unknown.push(key.as_str());
                }
                continue;
            };
            let value = value.trim();
            // Other providers' manifests write every annotation, and mean nothing by an empty one.
            if value.is_empty() && row.key != key {
                continue;
            }
            let written = Written { key, value };
            if let Some(other) = asked.0.insert(row.key, written)
                && other.value != value
            {
                let message = format!("says something else than {}; keep one", other.key);
                review.refuse_as(INVALID, written.path(), message);
            }
        }
        if !unknown.is_empty() {
            let message = format!(
                "nothing is known by this name: {}; see docs/annotations.md",
                unknown.join(", ")
            );
            review.note(UNKNOWN, "metadata.annotations", message);
        }
        asked
    }

    /// The annotation of this key or of one of its aliases.
    pub(super) fn get(&self, key: &'static str) -> Option<Written<'p>> {
        self.0.get(key).copied()
    }

    /// One of `words`, whatever its case.
    pub(super) fn word(
        &self,
        key: &'static str,
        words: &[&'static str],
        review: &mut Review,
    ) -> Option<&'static str> {
        let written = self.get(key)?;
        let word = words
            .iter()
            .find(|word| word.eq_ignore_ascii_case(written.value))
            .copied();
        if word.is_none() {
            let must = match words {
                [one] => (*one).to_owned(),
                many => format!("one of {}", many.join(", ")),
            };
            written.invalid(&must, review);
        }
        word
    }

    /// A list of `words`, whatever their case; empty when there is something else in it.
    pub(super) fn words(
        &self,
        key: &'static str,
        words: &[&'static str],
        review: &mut Review,
    ) -> Vec<&'static str> {
        let Some(written) = self.get(key) else {
            return Vec::new();
        };
        let parts = written.value.split([',', ';']).map(str::trim);
        let known = parts.map(|part| words.iter().find(|word| word.eq_ignore_ascii_case(part)));
        let known: Option<Vec<&&'static str>> = known.collect();
        if let Some(known) = known {
            return known.into_iter().copied().collect();
        }
        let must = format!("one of {}, or several", words.join(", "));
        written.invalid(&must, review);
        Vec::new()
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str, review: &mut Review) -> Option<bool> {
        self.word(key, &["true", "false"], review)
            .map(|word| word == "true")
    }
}

/// The table as the page `docs/annotations.md`.
#[cfg(test)]
fn page() -> String {
    use std::fmt::Write as _;

    let mut page = String::from(
        "# Annotations of pods\n\n\
         <!-- Generated from src/translate/group/annotations.rs; VKC_UPDATE=1 cargo test --lib annotations_page rewrites it. -->\n\n\
         A pod asks by annotation for what Azure Container Instances have and Kubernetes has no field for. An annotation wins \
         over the connector's `spec.containerGroup`, but never reaches beyond what the connector allows: whoever may create \
         a pod may write its annotations. They are read when the pod's container group is created and not again.\n\n\
         A value that cannot be honoured refuses the pod: it stays `Pending`, and its status and an Event name annotation \
         and cause (`InvalidAnnotation`, `AnnotationNotAllowed`). A name under one of these prefixes that nobody reads is \
         told in one Event (`UnknownAnnotation`). Case does not matter in the words of a value.\n\n\
         | annotation | value | what it does |\n|---|---|---|\n",
    );
    for row in ANNOTATIONS {
        let _ = writeln!(page, "| `{}` | {} | {} |", row.key, row.values, row.meaning);
    }
    page.push_str(
        "\n## The names of other providers\n\nThey mean the same and may stay in manifests; empty ones say nothing.\n\n\
         | other name | ours |\n|---|---|\n",
    );
    for row in ANNOTATIONS {
        for alias in row.aliases {
            let _ = writeln!(page, "| `{alias}` | `{}` |", row.key);
        }
    }
    let _ = write!(
        page,
        "\n## What the operator writes\n\n\
         | annotation | value |\n|---|---|\n\
         | `{BILLED}` | what Azure bills for the pod's container group: the sum of its requests, as sent, like \
         `cpu=1,memory=1.5G`; ACI rounds up and has a minimum |\n\
         | `{FQDN}` | public DNS name of a pod with a DNS label |\n\
         | `{NOT_ENFORCED}` | what the pod asks for and Azure Container Instances do not enforce, in the words of the connector's \
         `spec.compatibility`, which may have such pods refused instead |\n\n\
         They come along with the pod's status, written by the identity of its node, which needs no right beyond that: \
         Kubernetes lets a node annotate its own pods with their status, and NodeRestriction keeps it from labels and from \
         the pods of others.\n"
    );
    page
}

#[cfg(test)]
mod tests;
