//! Which namespaces may run pods on the nodes: a label selector over the labels of namespaces.

#![allow(
    clippy::doc_markdown,
    reason = "kubectl shows the doc comments as they are, backticks and all"
)]
#![allow(
    unreachable_pub,
    reason = "the KubeSchema derive copies each struct, `pub` included, into a function"
)]

use std::collections::BTreeMap;
use std::fmt;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Which namespaces may run pods on the nodes: a label selector. An empty one selects all.
#[derive(KubeSchema, Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// Labels that a namespace must carry, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::match_labels")]
    pub match_labels: BTreeMap<String, String>,

    /// Requirements on the labels of a namespace, all of which must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub match_expressions: Vec<LabelRequirement>,
}

/// Requirement on one label of a namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)")
    .message("values are required for the operators In and NotIn and forbidden for Exists and DoesNotExist").field_path(".values"))]
pub struct LabelRequirement {
    /// Key of the label.
    #[schemars(length(max = 317))]
    #[x_kube(validation = Rule::new(schema::LABEL_KEY).message("a key must be a name of at most 63 characters with an optional DNS prefix, like example.com/team"))]
    pub key: String,

    /// Relation of the label to values. NotIn holds for namespaces without the label, too.
    pub operator: LabelOperator,

    /// Values for the operators In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::label_values")]
    pub values: Vec<String>,
}

/// Relations of a label to values.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the words are Kubernetes' own")]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl AllowedNamespaces {
    /// Whether a namespace with these labels is selected, by the rules of `metav1.LabelSelector`.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let carries = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        self.match_labels.iter().all(carries)
            && self.match_expressions.iter().all(|it| it.holds(labels))
    }
}

impl LabelRequirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            LabelOperator::In => listed,
            LabelOperator::NotIn => !listed,
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// As `kubectl get --selector` takes it.
impl fmt::Display for AllowedNamespaces {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let labels = self.match_labels.iter();
        let labels = labels.map(|(key, value)| format!("{key}={value}"));
        let requirements = self.match_expressions.iter().map(ToString::to_string);
        let all: Vec<String> = labels.chain(requirements).collect();
        formatter.write_str(&all.join(","))
    }
}

impl fmt::Display for LabelRequirement {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            LabelOperator::In => write!(formatter, "{key} in ({values})"),
            LabelOperator::NotIn => write!(formatter, "{key} notin ({values})"),
            LabelOperator::Exists => formatter.write_str(key),
            LabelOperator::DoesNotExist => write!(formatter, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selector(json: serde_json::Value) -> AllowedNamespaces {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_selector_selects_as_kubernetes_does() {
        let requirement = |operator: &str, values: &[&str]| {
            selector(
                json!({"matchExpressions": [{"key": "env", "operator": operator, "values": values}]}),
            )
        };
        let both = selector(json!({
            "matchLabels": {"team": "a"},
            "matchExpressions": [{"key": "env", "operator": "In", "values": ["prod", "test"]}],
        }));
        for (selector, text, labels, selected) in [
            (selector(json!({})), "", json!({}), true),
            (selector(json!({})), "", json!({"env": "prod"}), true),
            (
                selector(json!({"matchLabels": {"team": "a", "env": ""}})),
                "env=,team=a",
                json!({"team": "a", "env": ""}),
                true,
            ),
            (
                selector(json!({"matchLabels": {"team": "a", "env": ""}})),
                "env=,team=a",
                json!({"team": "a"}),
                false,
            ),
            (
                requirement("In", &["prod", "test"]),
                "env in (prod,test)",
                json!({"env": "test"}),
                true,
            ),
            (
                requirement("In", &["prod"]),
                "env in (prod)",
                json!({"env": "test"}),
                false,
            ),
            (
                requirement("In", &["prod"]),
                "env in (prod)",
                json!({}),
                false,
            ),
            (
                requirement("NotIn", &["prod"]),
                "env notin (prod)",
                json!({"env": "prod"}),
                false,
            ),
            (
                requirement("NotIn", &["prod"]),
                "env notin (prod)",
                json!({"env": "test"}),
                true,
            ),
            (
                requirement("NotIn", &["prod"]),
                "env notin (prod)",
                json!({}),
                true,
            ),
            (requirement("Exists", &[]), "env", json!({"env": ""}), true),
            (requirement("Exists", &[]), "env", json!({}), false),
            (
                requirement("DoesNotExist", &[]),
                "!env",
                json!({"env": ""}),
                false,
            ),
            (requirement("DoesNotExist", &[]), "!env", json!({}), true),
            (
                both.clone(),
                "team=a,env in (prod,test)",
                json!({"team": "a", "env": "prod"}),
                true,
            ),
            (
                both.clone(),
                "team=a,env in (prod,test)",
                json!({"team": "a"}),
                false,
            ),
            (
                both,
                "team=a,env in (prod,test)",
                json!({"team": "b", "env": "prod"}),
                false,
            ),
        ] {
            assert_eq!(selector.to_string(), text);
            let map = serde_json::from_value(labels.clone()).unwrap();
            assert_eq!(selector.selects(&map), selected, "{text} of {labels}");
        }
    }
}
