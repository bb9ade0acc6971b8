//! `docs/reference.md`, written from the CRD and the words of the conditions.

use std::fmt::Write as _;

use serde_json::Value;
use vkc::api::conditions::{TYPES, reason};

const HEAD: &str = "\
# API reference

<!-- Generated from src/api by `VKC_UPDATE=1 cargo test --test rules`; do not edit. -->

`VirtualKubeletConnector`, short `vkc`, of `virtual-kubelet.io/v1alpha1` is cluster-scoped. \
`kubectl explain vkc.spec` shows the same as this page. [`config/samples/full.yaml`](../config/samples/full.yaml) has \
every field.
";

/// The whole page.
pub(super) fn page(schema: &Value) -> String {
    let mut page = HEAD.to_owned();
    for (title, field) in [("Spec", "spec"), ("Status", "status")] {
        let part = &schema["properties"][field];
        let about = part["description"].as_str().unwrap();
        write!(page, "\n## {title}\n\n{about}\n\n").unwrap();
        page.push_str("| field | type | default | what it is |\n|---|---|---|---|\n");
        rows(part, "", &mut page);
    }
    page.push_str("\n## What is refused\n\nBesides wrong types and unknown words, with these sentences:\n\n| where | sentence |\n|---|---|\n");
    refusals(schema, "", &mut page);
    page.push_str(
        "\n## Conditions\n\n`Ready` comes first, `Stalled` or `Reconciling` next while there is trouble or work. A \
         connector that is `Stalled` is still looked at within a minute, and at once when its Secret or spec \
         changes. [Preflight](preflight.md) says more.\n\n| type | meaning |\n|---|---|\n",
    );
    for (word, meaning) in TYPES {
        writeln!(page, "| `{word}` | {} |", meaning.trim()).unwrap();
    }
    page.push_str("\n## Reasons\n\nWhat the reason of a condition says, and what to do.\n");
    for (word, meaning) in reason::ALL {
        write!(page, "\n### {word}\n\n{}\n", meaning.trim()).unwrap();
    }
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<")
}

fn type_of(field: &Value) -> String {
    if field["x-kubernetes-int-or-string"] == true {
        return "quantity".into();
    }
    if let Some(words) = field["enum"].as_array() {
        let words = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap()));
        return words.collect::<Vec<_>>().join(" ");
    }
    match field["type"].as_str().unwrap() {
        "array" => format!("list of {}", type_of(&field["items"])),
        "object" if field["additionalProperties"].is_object() => {
            format!("map of {}", type_of(&field["additionalProperties"]))
        }
        other => other.to_owned(),
    }
}

fn rows(schema: &Value, path: &str, page: &mut String) {
    let required: Vec<_> = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        let default = match &field["default"] {
            Value::Null if required.contains(&name.as_str().into()) => "*required*".to_owned(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let about = cell(field["description"].as_str().unwrap());
        writeln!(
            page,
            "| `{path}` | {} | {default} | {about} |",
            type_of(field)
        )
        .unwrap();
        rows(field, &format!("{path}."), page);
        rows(&field["items"], &format!("{path}[]."), page);
    }
}

fn refusals(schema: &Value, path: &str, page: &mut String) {
    for rule in schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let place = format!("{path}{}", rule["fieldPath"].as_str().unwrap_or_default());
        let place = place.trim_start_matches('.');
        let place = if place.is_empty() {
            "the object".to_owned()
        } else {
            format!("`{place}`")
        };
        writeln!(
            page,
            "| {place} | {} |",
            cell(rule["message"].as_str().unwrap())
        )
        .unwrap();
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        refusals(field, &format!("{path}.{name}"), page);
        refusals(&field["items"], &format!("{path}.{name}[]"), page);
    }
}
