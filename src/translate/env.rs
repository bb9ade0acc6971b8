//! The environment of a container, as a kubelet makes it: `envFrom` first, then `env` in order; of two variables with one
//! name the later counts, and `$(NAME)` sees all that come before and those of services. The latter come last, and
//! count only where the pod has none of that name.
//!
//! What comes from a Secret, or was expanded from one, is `secureValue`: ACI shows it to nobody.

use std::cell::Cell;

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EnvVarSource, SecretEnvSource, SecretKeySelector,
};

use super::expand::expand;
use super::fields::Fields;
use super::names;
use super::resolved::{Found, Reference};
use super::review::{NOT_FOR_ACI, Review};
use super::services::ServiceVariables;
use crate::azure::model::{EnvironmentVariable, SecretBytes, SecretText};

/// Reason of the Event about keys that are no names, as a kubelet has it.
const INVALID_NAMES: &str = "InvalidEnvironmentVariableNames";
const NAME: &str = "spec.containers[].env[].name: not a name for ACI";
const COMMAND: &str = "spec.containers[].command: $(NAME) of a value from a Secret";

/// The variables of a container.
#[derive(Debug)]
pub(super) struct Environment<'s> {
    pub(super) variables: Vec<EnvironmentVariable>,
    services: &'s ServiceVariables,
}

/// A value on its way into the environment.
enum Value {
    Plain(String),
    Secret(SecretText),
}

/// The environment of container `index`.
pub(super) fn environment<'f>(
    container: &Container,
    index: usize,
    fields: &'f Fields<'_>,
    review: &mut Review<'_>,
) -> Environment<'f> {
    let mut out = Environment {
        variables: Vec::new(),
        services: &fields.services,
    };
    for (n, source) in container.env_from.iter().flatten().enumerate() {
        out.add_all(
            source,
            &format!("spec.containers[{index}].envFrom[{n}]"),
            review,
        );
    }
    for (n, variable) in container.env.iter().flatten().enumerate() {
        let EnvVar {
            name,
            value,
            value_from,
        } = variable;
        review.field(NAME, !names::is_env(name), &[index, n]);
        let path = || format!("spec.containers[{index}].env[{n}].valueFrom");
        let value = match (
            value.as_deref().filter(|value| !value.is_empty()),
            value_from,
        ) {
            (Some(text), _) => Some(out.expand(text)),
            (None, Some(source)) => self::value(source, container, &path(), fields, review),
            (None, None) => Some(Value::Plain(String::new())),
        };
        if let Some(value) = value {
            out.set(name.clone(), value);
        }
    }
    out.add_services();
    out
}

/// The value of `source`; `None` when it is left out or refused.
fn value(
    source: &EnvVarSource,
    container: &Container,
    path: &str,
    fields: &Fields<'_>,
    review: &mut Review<'_>,
) -> Option<Value> {
    let EnvVarSource {
        config_map_key_ref,
        field_ref,
        file_key_ref,
        resource_field_ref,
        secret_key_ref,
    } = source;
    if let Some(SecretKeySelector {
        key,
        name,
        optional,
    }) = secret_key_ref
    {
        let path = format!("{path}.secretKeyRef");
        let reference = Reference::Secret(name.clone());
        let found = review.entry(&reference, key, *optional == Some(true), false, &path);
        return text(found, &path, review).map(Value::Secret);
    }
    if let Some(selector) = config_map_key_ref {
        let path = format!("{path}.configMapKeyRef");
        let reference = Reference::ConfigMap(selector.name.clone());
        let optional = selector.optional == Some(true);
        let found = review.entry(&reference, &selector.key, optional, false, &path);
        return text(found, &path, review).map(|text| Value::Plain(text.expose().to_owned()));
    }
    if let Some(field) = field_ref {
        let value = fields.field(field, &format!("{path}.fieldRef"), review);
        return value.map(Value::Plain);
    }
    if let Some(resource) = resource_field_ref {
        let path = format!("{path}.resourceFieldRef");
        let value = fields.resource(resource, Some(container), &path, review);
        return value.map(Value::Plain);
    }
    if file_key_ref.is_some() {
        let path = format!("{path}.fileKeyRef");
        review.at("spec.containers[].env[].valueFrom.fileKeyRef", path);
    } else {
        review.refuse(path.to_owned(), "it names no source".to_owned());
    }
    None
}

/// What was found as text; empty while nothing is fetched.
fn text(found: Found<'_, SecretBytes>, path: &str, review: &mut Review<'_>) -> Option<SecretText> {
    let bytes = match found {
        Found::Absent => return None,
        Found::Unknown => return Some(SecretText::default()),
        Found::Here(bytes) => bytes,
    };
    match std::str::from_utf8(bytes.expose()) {
        Ok(text) if !text.contains('\0') => Some(SecretText::new(text.to_owned())),
        _ => {
            let message = "the value is not text, which ACI does not take in the environment; mount it as a file";
            review.heals(NOT_FOR_ACI, path.to_owned(), message.to_owned());
            None
        }
    }
}

/// Whether Kubernetes takes an environment variable of this name: letters, digits, `-`, `_` and `.`, no digit first, and
/// not `.` or `..`.
fn is_name(name: &str) -> bool {
    let first = name.as_bytes().first();
    first.is_some_and(|first| !first.is_ascii_digit())
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

impl Environment<'_> {
    /// The words of a command with their `$(NAME)` expanded. ACI shows a command to whoever may read the container group,
    /// so a word must not hold what came from a Secret.
    pub(super) fn command<'w>(
        &self,
        words: impl Iterator<Item = &'w String>,
        index: usize,
        review: &mut Review<'_>,
    ) -> Vec<String> {
        let mut secret = false;
        let mut out = Vec::new();
        for word in words {
            match self.expand(word) {
                Value::Plain(word) => out.push(word),
                Value::Secret(_) => secret = true,
            }
        }
        review.field(COMMAND, secret, &[index]);
        out
    }

    /// A path with its `$(NAME)` expanded, when each is the name of a variable that everybody may see.
    pub(super) fn path(&self, text: &str) -> Option<String> {
        let missing = Cell::new(false);
        let path = expand(text, |name| {
            let variable = self.variables.iter().find(|it| it.name == name);
            let value = variable.and_then(|it| it.value.as_deref());
            missing.set(missing.get() || value.is_none());
            value
        });
        (!missing.get()).then_some(path)
    }

    /// Every entry of `source`, by name.
    fn add_all(&mut self, source: &EnvFromSource, path: &str, review: &mut Review<'_>) {
        let EnvFromSource {
            config_map_ref,
            prefix,
            secret_ref,
        } = source;
        let (reference, optional, secret) = match (secret_ref, config_map_ref) {
            (Some(SecretEnvSource { name, optional }), _) => {
                (Reference::Secret(name.clone()), *optional, true)
            }
            (None, Some(map)) => (Reference::ConfigMap(map.name.clone()), map.optional, false),
            (None, None) => {
                review.refuse(path.to_owned(), "it names no source".to_owned());
                return;
            }
        };
        let Found::Here(object) = review.object(&reference, optional == Some(true), path) else {
            return;
        };
        let prefix = prefix.as_deref().unwrap_or_default();
        let mut skipped = Vec::new();
        for (key, bytes) in &object.data {
            let name = format!("{prefix}{key}");
            if !is_name(&name) {
                skipped.push(name);
                continue;
            }
            if !names::is_env(&name) {
                let message = format!(
                    "{reference} would give a variable {name}, and ACI takes 1-63 letters, digits and _ as a name, the \
                     first and last not _; name the keys that are needed in env[].valueFrom"
                );
                review.heals(NOT_FOR_ACI, path.to_owned(), message);
                continue;
            }
            let Some(text) = text(Found::Here(bytes), path, review) else {
                continue;
            };
            let value = if secret {
                Value::Secret(text)
            } else {
                Value::Plain(text.expose().to_owned())
            };
            self.set(name, value);
        }
        if !skipped.is_empty() {
            let message = format!(
                "{reference} has keys that are no names of variables; they are left out: {}",
                skipped.join(", ")
            );
            review.note(INVALID_NAMES, path, message);
        }
    }

    /// What the pod has not set itself of the variables of services.
    fn add_services(&mut self) {
        let own = self.variables.len();
        for (name, value) in self.services.taken() {
            if !self.variables.iter().take(own).any(|it| it.name == *name) {
                self.variables.push(EnvironmentVariable {
                    name: name.clone(),
                    value: Some(value.clone()),
                    ..EnvironmentVariable::default()
                });
            }
        }
    }

    fn set(&mut self, name: String, value: Value) {
        let (value, secure_value) = match value {
            Value::Plain(text) => (Some(text), None),
            Value::Secret(text) => (None, Some(text)),
        };
        self.variables.retain(|earlier| earlier.name != name);
        self.variables.push(EnvironmentVariable {
            name,
            value,
            secure_value,
            ..EnvironmentVariable::default()
        });
    }

    /// `text` with its `$(NAME)` expanded; secret when one of them is.
    fn expand(&self, text: &str) -> Value {
        let secret = Cell::new(false);
        let expanded = expand(text, |name| {
            let Some(variable) = self.variables.iter().find(|it| it.name == name) else {
                return self.services.get(name);
            };
            match &variable.secure_value {
                Some(value) => {
                    secret.set(true);
                    Some(value.expose())
                }
                None => variable.value.as_deref(),
            }
        });
        if secret.get() {
            Value::Secret(SecretText::new(expanded))
        } else {
            Value::Plain(expanded)
        }
    }
}

#[cfg(test)]
mod tests;
