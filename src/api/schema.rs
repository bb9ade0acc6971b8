//! Pieces of the CRD's schema that attributes on the types cannot say: CEL rules used more than once, and maps and
//! lists with rules for their keys and items. Each rule has one sentence for the user.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A GUID, as Azure writes subscription, tenant and client IDs.
pub(super) const GUID: &str =
    "self.matches('^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$')";
/// An https URL without user, query and fragment.
pub(super) const HTTPS_URL: &str = r"self.matches('^https://[^/?#@\\s]+(/[^?#\\s]*)?$')";
/// The ARM ID of a subnet. ARM compares IDs without regard to case.
pub(super) const SUBNET_ID: &str = r"self.matches('(?i)^/subscriptions/[^/]+/resourceGroups/[-\\w.()]+/providers/Microsoft\\.Network/virtualNetworks/[^/]+/subnets/[^/]+$')";
/// The ARM ID of a user-assigned identity.
pub(super) const IDENTITY_ID: &str = r"self.matches('(?i)^/subscriptions/[^/]+/resourceGroups/[-\\w.()]+/providers/Microsoft\\.ManagedIdentity/userAssignedIdentities/[^/]+$')";
/// A label or taint key: `[prefix/]name`.
pub(super) const QUALIFIED_NAME: &str =
    r"self.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\\w.]*[A-Za-z0-9])?$')";
/// A label or taint value.
pub(super) const LABEL_VALUE: &str = r"self.matches('^([A-Za-z0-9]([-\\w.]*[A-Za-z0-9])?)?$')";

/// A label's key whose length is bounded part by part.
pub(super) const LABEL_KEY: &str = r"self.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\\w.]{0,61}[A-Za-z0-9])?$')";

const KEY: &str = r"k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-\\w.]{0,61}[A-Za-z0-9])?$')";
const VALUE: &str = r"self[k].matches('^([A-Za-z0-9]([-\\w.]*[A-Za-z0-9])?)?$')";

fn rule(rule: &str, message: &str) -> Value {
    json!({"rule": rule, "message": message})
}

fn label_rules() -> Vec<Value> {
    vec![
        rule(
            &format!("self.all(k, {KEY})"),
            "a key must be a name of at most 63 characters with an optional DNS prefix, like example.com/team",
        ),
        rule(
            &format!("self.all(k, {VALUE})"),
            "a label value must consist of letters, digits, hyphens, underscores and dots, and begin and end with a letter or digit",
        ),
    ]
}

fn string_map(max: u32, max_value: u32, rules: &[Value]) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": max_value},
        "maxProperties": max,
        "x-kubernetes-validations": rules,
    })
}

pub(super) fn zones(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "enum": ["1", "2", "3"]},
        "maxItems": 3,
        "x-kubernetes-list-type": "set",
    })
}

pub(super) fn sku(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Standard", "Dedicated", "Confidential"]})
}

pub(super) fn priority(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Regular", "Spot"]})
}

/// As many as ACI takes name servers.
pub(super) fn cluster_dns(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "maxLength": 45},
        "maxItems": 3,
        "x-kubernetes-list-type": "set",
        "x-kubernetes-validations": [rule(
            "self.all(a, a.matches('^[0-9]{1,3}([.][0-9]{1,3}){3}$') || a.matches('^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$'))",
            "clusterDNS must be IP addresses, like 10.0.0.10",
        )],
    })
}

pub(super) fn node_labels(_: &mut SchemaGenerator) -> Schema {
    let mut rules = label_rules();
    rules.push(rule(
        "self.all(k, !(k in ['type', 'kubernetes.io/os', 'beta.kubernetes.io/os', 'kubernetes.io/arch', \
         'beta.kubernetes.io/arch', 'kubernetes.io/hostname', 'kubernetes.io/role', 'topology.kubernetes.io/region', \
         'kubernetes.azure.com/managed', 'node.kubernetes.io/exclude-from-external-load-balancers']) && \
         !k.startsWith('virtual-kubelet.io/'))",
        "type, kubernetes.io/os, kubernetes.io/arch, kubernetes.io/hostname, kubernetes.io/role, \
         topology.kubernetes.io/region, kubernetes.azure.com/managed, \
         node.kubernetes.io/exclude-from-external-load-balancers and labels under virtual-kubelet.io/ are set by the \
         operator",
    ));
    rules.push(rule(
        r"self.all(k, !k.matches('^(.*\\.)?node-restriction\\.kubernetes\\.io/'))",
        "labels under node-restriction.kubernetes.io/ say which nodes the administrators of the cluster trust; they set them themselves",
    ));
    string_map(64, 63, &rules)
}

pub(super) fn node_annotations(_: &mut SchemaGenerator) -> Schema {
    let rules = vec![
        rule(
            &format!("self.all(k, {KEY})"),
            "a key must be a name of at most 63 characters with an optional DNS prefix, like example.com/team",
        ),
        rule(
            "self.all(k, !k.startsWith('virtual-kubelet.io/'))",
            "annotations under virtual-kubelet.io/ are set by the operator",
        ),
    ];
    string_map(64, 4096, &rules)
}

pub(super) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    string_map(16, 63, &label_rules())
}

/// Values of one requirement of a label selector.
pub(super) fn label_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "maxLength": 63},
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "x-kubernetes-validations": [rule(
            r"self.all(v, v.matches('^([A-Za-z0-9]([-\\w.]*[A-Za-z0-9])?)?$'))",
            "a label value must consist of letters, digits, hyphens, underscores and dots, and begin and end with a letter or digit",
        )],
    })
}

/// ARM: at most 50 tags a resource, names of 512 and values of 256 characters, names without `<>%&\?/` and
/// compared without regard to case.
pub(super) fn tags(_: &mut SchemaGenerator) -> Schema {
    let rules = vec![
        rule(
            r"self.all(k, size(k) <= 512 && k.matches('^[^<>%&\\\\?/\\n\\r]+$'))",
            r"tag names must be at most 512 characters, without < > % & \ ? / and line breaks",
        ),
        rule(
            "self.all(k, !k.lowerAscii().startsWith('vkc-'))",
            "tags that begin with vkc- are set by the operator",
        ),
    ];
    string_map(39, 256, &rules)
}

fn quantities(keys: &str, max: u32, message: &str) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
        },
        "maxProperties": max,
        "x-kubernetes-validations": [
            rule(&format!("self.all(k, k in [{keys}])"), message),
            rule(
                r"self.all(k, type(self[k]) == int ? self[k] >= 0 : self[k].matches('^\\+?([0-9]{1,15}(\\.[0-9]{0,9})?|\\.[0-9]{1,9})([KMGTPE]i|[munkMGTPE]|[eE][-+]?[0-9]{1,2})?$'))",
                "a quantity must be a non-negative number with an optional suffix, like 2, 500m or 1.5Gi",
            ),
        ],
    })
}

pub(super) fn capacity(_: &mut SchemaGenerator) -> Schema {
    quantities(
        "'cpu', 'memory', 'pods', 'ephemeral-storage'",
        4,
        "capacity keys must be among cpu, memory, pods and ephemeral-storage",
    )
}

pub(super) fn requests(_: &mut SchemaGenerator) -> Schema {
    quantities(
        "'cpu', 'memory'",
        2,
        "requests keys must be among cpu and memory",
    )
}

pub(super) fn identity_ids(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {"type": "string", "maxLength": 512},
        "maxItems": 10,
        "x-kubernetes-list-type": "set",
        "x-kubernetes-validations": [rule(
            r"self.all(i, i.matches('(?i)^/subscriptions/[^/]+/resourceGroups/[-\\w.()]+/providers/Microsoft\\.ManagedIdentity/userAssignedIdentities/[^/]+$'))",
            "identityIDs must be ARM IDs of user-assigned identities: /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME",
        )],
    })
}

pub(super) fn os(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": ["Linux", "Windows"]})
}

/// `metav1.Condition` with the bounds Kubernetes documents for it; the crate's own schema has none.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the observed state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "description": "Type of the condition, in CamelCase.", "maxLength": 316},
                "status": {
                    "type": "string",
                    "description": "Status of the condition.",
                    "enum": ["True", "False", "Unknown"],
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "description": "Generation of the spec that the condition was set from.",
                },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "Time of the last change of the status.",
                },
                "reason": {
                    "type": "string",
                    "description": "Reason of the status for machines, one word in CamelCase.",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "type": "string",
                    "description": "Explanation for people: what is wrong, on what, and what to do.",
                    "maxLength": 32768,
                },
            },
        },
    })
}
