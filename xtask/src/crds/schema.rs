//! `values.schema.json` of the chart: its `connectors` are specs of the CRD, under the CRD's own schema.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

/// All but the connectors.
const VALUES: &str = include_str!("values.schema.yaml");

/// A connector's name, which is a part of its nodes' names.
const NAME: &str = "^[a-z0-9]([-a-z0-9]{0,36}[a-z0-9])?$";

/// The file, from the CRD as YAML.
pub(super) fn values_schema(crd: &str) -> Result<String> {
    let crd: Value = serde_saphyr::from_str(crd).context("the CRD is no YAML")?;
    let spec = crd
        .pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec")
        .context("the CRD has no schema of a spec")?;
    let mut schema: Value = serde_saphyr::from_str(VALUES).context("values.schema.yaml")?;
    let properties = schema
        .pointer_mut("/properties")
        .and_then(Value::as_object_mut)
        .context("values.schema.yaml has no properties")?;
    properties.insert(
        "connectors".to_owned(),
        json!({
            "type": "object",
            "description": "Connectors by name; each value is the spec of a VirtualKubeletConnector.",
            "patternProperties": {NAME: plain(spec)},
            "additionalProperties": false,
        }),
    );
    close(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}

/// JSON Schema has no CEL and none of Kubernetes' extensions. A rule that only compares a text with a pattern is a pattern.
fn plain(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let mut plain: Map<String, Value> = fields
                .iter()
                .filter(|(name, _)| !name.starts_with("x-kubernetes-"))
                .map(|(name, value)| (name.clone(), self::plain(value)))
                .collect();
            if fields.contains_key("x-kubernetes-int-or-string") {
                plain.insert("type".to_owned(), json!(["integer", "string"]));
            }
            if let Some(pattern) = pattern(fields) {
                plain.insert("pattern".to_owned(), pattern.into());
            }
            Value::Object(plain)
        }
        Value::Array(items) => items.iter().map(self::plain).collect(),
        other => other.clone(),
    }
}

/// The pattern of the one rule `self.matches('…')`, unless it has flags, which editors' dialect does not know.
fn pattern(fields: &Map<String, Value>) -> Option<String> {
    let rules = fields.get("x-kubernetes-validations")?.as_array()?;
    let of_rule = |rule: &Value| {
        let text = rule.get("rule")?.as_str()?;
        let literal = text.strip_prefix("self.matches('")?.strip_suffix("')")?;
        let simple = !literal.contains('\'') && !literal.starts_with("(?");
        simple.then(|| literal.replace("\\\\", "\\"))
    };
    rules.iter().find_map(of_rule)
}

/// Objects with named fields have no others.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            let object = fields.get("type").is_some_and(|of| of == "object");
            if object && fields.contains_key("properties") {
                fields
                    .entry("additionalProperties")
                    .or_insert(Value::Bool(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRD: &str = r"
spec:
  versions:
  - schema:
      openAPIV3Schema:
        properties:
          spec:
            type: object
            required: [region]
            properties:
              region:
                type: string
                x-kubernetes-validations:
                - {message: a region, rule: 'self.matches(''^[a-z\\d]+$'')'}
              subnetID:
                type: string
                x-kubernetes-validations:
                - {message: an ID, rule: 'self.matches(''(?i)^/x$'')'}
              capacity:
                type: object
                additionalProperties: {x-kubernetes-int-or-string: true}
";

    #[test]
    fn a_connector_is_a_spec_without_unknown_keys() {
        let schema: Value = serde_json::from_str(&values_schema(CRD).unwrap()).unwrap();
        assert_eq!(
            schema["properties"]["connectors"]["patternProperties"][NAME],
            json!({
                "type": "object",
                "required": ["region"],
                "additionalProperties": false,
                "properties": {
                    "region": {"type": "string", "pattern": "^[a-z\\d]+$"},
                    "subnetID": {"type": "string"},
                    "capacity": {"type": "object", "additionalProperties": {"type": ["integer", "string"]}},
                },
            })
        );
        assert_eq!(schema["additionalProperties"], false);
        assert_eq!(schema["properties"]["image"]["additionalProperties"], false);
        assert_eq!(
            schema["properties"]["global"]["additionalProperties"], true,
            "what says so stays open"
        );
    }
}
