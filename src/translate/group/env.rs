//! The environment of a container, as a kubelet makes it: `envFrom` first, then `env` in order; of two variables with one
//! name the later counts, and `$(NAME)` sees all that come before and those of services. The latter come last, and
//! count only where the pod has none of that name.
//!
//! What comes from a Secret, or was expanded from one, is `secureValue`: ACI shows it to nobody.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVar, EnvVarSource, SecretEnvSource, SecretKeySelector,
};

use super::budget::{Amount, Exceeded, Of, written};
use super::expand::{Piece, expand};
use super::fields::Fields;
use super::names;
use super::resolved::{Found, Reference};
use super::review::{NOT_FOR_ACI, Review};
use super::services::ServiceVariables;
use super::shim::{Part, has_mark};
use crate::api::Os;
use crate::azure::model::{EnvironmentVariable, SecretBytes, SecretText};
use zeroize::Zeroizing;

/// Reason of the Event about keys that are no names, as a kubelet has it.
const INVALID_NAMES: &str = "InvalidEnvironmentVariableNames";
const NAME: &str = "spec.containers[].env[].name: not a name for ACI";
const KEY: &str = "spec.containers[].envFrom[]: a key that is a name for Kubernetes, not for ACI";
const COMMAND: &str = "spec.containers[].command: $(NAME) of a value from a Secret";
/// What a refusal calls it when there is too much.
const ENVIRONMENT: &str = "the environment";
const SERVICES: &str =
    "the environment with the variables of services (set enableServiceLinks to false)";
/// Bytes of a variable in a request without its name and value: `{"name":"","secureValue":""},`.
const FRAME: usize = 29;
/// The variable that runtimes set to the pod's host name.
const HOSTNAME: &str = "HOSTNAME";
/// Names told in the note about those that are left out.
const TOLD: usize = 20;

/// The variables of a container.
#[derive(Debug)]
pub(super) struct Environment<'s> {
    /// In order; `None` is one that a later one of its name has taken the place of.
    variables: Vec<Option<(EnvironmentVariable, Amount)>>,
    places: HashMap<String, usize>,
    services: &'s ServiceVariables,
    /// What the runtime of a node adds. Kubernetes does not know it when it expands `$(NAME)`.
    of_runtime: Option<EnvironmentVariable>,
}

/// A value on its way into the environment, which is paid for.
struct Value {
    text: Text,
    /// Its bytes in a request.
    amount: Amount,
}

enum Text {
    Plain(String),
    Secret(SecretText),
}

/// The words of a command.
#[derive(Debug, Default)]
pub(super) struct Words {
    pub(super) all: Vec<Zeroizing<String>>,
    /// Whether only the shim may see them, or can complete them.
    pub(super) hidden: bool,
}

/// A path with names of variables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expanded {
    Path(String),
    /// Names that are no variables, or of empty ones; some of them when there are many.
    Missing(BTreeSet<String>),
    /// A value is from a Secret.
    Secret,
}

impl Value {
    fn plain(text: String) -> Self {
        let amount = Amount::own(written(&text));
        let text = Text::Plain(text);
        Self { text, amount }
    }
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
        places: HashMap::new(),
        services: &fields.services,
        of_runtime: None,
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
        if !names::is_env(name) {
            const SHOWN: usize = 64;
            let shown: String = name.chars().take(SHOWN).collect();
            let named = format!("variable {shown:?} of container {}", container.name);
            review.named(NAME, &named, &[index, n]);
        }
        let path = format_args!("spec.containers[{index}].env[{n}]");
        let frame = Amount::own(FRAME + written(name));
        if variable_of(frame, Amount::own(1), ENVIRONMENT, &path, review).is_err() {
            continue;
        }
        let value = match (
            value.as_deref().filter(|value| !value.is_empty()),
            value_from,
        ) {
            (Some(text), _) => out.expand(text, ENVIRONMENT, &path, review).ok(),
            (None, Some(source)) => {
                let path = format!("{path}.valueFrom");
                self::value(source, container, &path, fields, review)
            }
            (None, None) => Some(Value::plain(String::new())),
        };
        if let Some(value) = value {
            out.set(name.clone(), value);
        }
    }
    out.add_services(review);
    out.add_hostname(fields, review);
    out
}

/// Pays for a variable, whose bytes without its value are `frame`.
fn variable_of(
    frame: Amount,
    one: Amount,
    what: &str,
    path: &dyn fmt::Display,
    review: &mut Review<'_>,
) -> Result<(), Exceeded> {
    review.spend(Of::Variables, one, what, path)?;
    review.spend(Of::Bytes, frame, what, path)
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
        let (text, amount) = text(found, &path, review)?;
        let text = Text::Secret(SecretText::new(text.to_owned()));
        return Some(Value { text, amount });
    }
    if let Some(selector) = config_map_key_ref {
        let path = format!("{path}.configMapKeyRef");
        let reference = Reference::ConfigMap(selector.name.clone());
        let optional = selector.optional == Some(true);
        let found = review.entry(&reference, &selector.key, optional, false, &path);
        let (text, amount) = text(found, &path, review)?;
        let text = Text::Plain(text.to_owned());
        return Some(Value { text, amount });
    }
    if let Some(field) = field_ref {
        let value = fields.field(field, &format!("{path}.fieldRef"), review);
        return value.map(Value::plain);
    }
    if let Some(resource) = resource_field_ref {
        let path = format!("{path}.resourceFieldRef");
        let value = fields.resource(resource, Some(container), &path, review);
        return value.map(Value::plain);
    }
    if file_key_ref.is_some() {
        let path = format!("{path}.fileKeyRef");
        review.at("spec.containers[].env[].valueFrom.fileKeyRef", path);
    } else {
        review.refuse(path.to_owned(), "it names no source".to_owned());
    }
    None
}

/// What was found as text, which is paid for; empty while nothing is fetched.
fn text<'a>(
    found: Found<'a, SecretBytes>,
    path: &str,
    review: &mut Review<'_>,
) -> Option<(&'a str, Amount)> {
    let bytes = match found {
        Found::Absent => return None,
        Found::Unknown => return Some(("", Amount::default())),
        Found::Here(bytes) => bytes.expose(),
    };
    let mut pay = |bytes: usize| {
        let amount = Amount::foreign(bytes);
        review.spend(Of::Bytes, amount, ENVIRONMENT, &path).ok()
    };
    // Before it is read: many variables may name the same.
    pay(bytes.len())?;
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => {
            let written = written(text);
            pay(written.saturating_sub(bytes.len()))?;
            Some((text, Amount::foreign(written)))
        }
        _ => {
            let message = "the value is not text, which ACI does not take in the environment; mount it as a file";
            review.refuse_until_present(NOT_FOR_ACI, path.to_owned(), message.to_owned());
            None
        }
    }
}

impl Environment<'_> {
    /// The words of a command with their `$(NAME)` expanded. ACI shows a command to whoever may read the container group,
    /// so a word must not hold what came from a Secret, unless the shim gets it in another way.
    pub(super) fn command<'w>(
        &self,
        words: impl Iterator<Item = &'w String>,
        index: usize,
        review: &mut Review<'_>,
    ) -> Words {
        let mut secret = false;
        let mut out = Words::default();
        let path = format_args!("spec.containers[{index}].command");
        for word in words {
            match self.expand(word, "the command", &path, review) {
                Ok(Value { text, .. }) => match text {
                    Text::Plain(word) => {
                        out.hidden |= has_mark(&word);
                        out.all.push(Zeroizing::new(word));
                    }
                    Text::Secret(word) => {
                        secret = true;
                        out.all.push(Zeroizing::new(word.expose().to_owned()));
                    }
                },
                Err(_) => break,
            }
        }
        if review.field(COMMAND, secret, &[index]) {
            out.hidden = true;
        } else if secret {
            out.all.clear();
        }
        out
    }

    /// Whether there are variables that ACI cannot give.
    pub(super) fn needs_shim(&self) -> bool {
        let mut all = self.variables.iter().flatten();
        all.any(|(variable, _)| is_for_shim(variable))
    }

    /// A path of a mount with its `$(NAME)` expanded, when each is the name of a variable that everybody may see.
    pub(super) fn path(
        &self,
        text: &str,
        place: &dyn fmt::Display,
        review: &mut Review<'_>,
    ) -> Result<Expanded, Exceeded> {
        let secret = Cell::new(false);
        let missing = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            let found = self.find(name);
            secret.set(secret.get() || found.is_some_and(|(it, _)| it.secure_value.is_some()));
            let found = found.and_then(|(it, amount)| Some((it.value.as_deref()?, *amount)));
            let mut missing = missing.borrow_mut();
            if found.is_none_or(|(text, _)| text.is_empty()) && missing.len() < TOLD {
                missing.insert(name.to_owned());
            }
            found.map(|(text, amount)| Piece { text, amount })
        };
        let path = expand(text, lookup, |amount| {
            review.spend(Of::Bytes, amount, "the path", place)
        })?;
        if secret.get() {
            return Ok(Expanded::Secret);
        }
        let missing = missing.into_inner();
        Ok(if missing.is_empty() {
            Expanded::Path(path)
        } else {
            Expanded::Missing(missing)
        })
    }

    /// The variables as ARM gets them; `part` gets the others.
    pub(super) fn into_variables(self, part: &mut Part) -> Vec<EnvironmentVariable> {
        let mut out = Vec::with_capacity(self.variables.len() + 1);
        for (variable, _) in self.variables.into_iter().flatten() {
            if is_for_shim(&variable) {
                let secret = variable.secure_value.as_ref().map(SecretText::expose);
                let value = secret.or(variable.value.as_deref()).unwrap_or_default();
                part.set(variable.name.clone(), value);
            } else {
                out.push(variable);
            }
        }
        out.extend(self.of_runtime);
        out
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
        let (mut skipped, mut more) = (Vec::new(), 0_usize);
        for (key, bytes) in &object.data {
            // Also for one that is left out: the entries are gone through for each of the sources that name them.
            let frame = Amount::foreign(FRAME + written(prefix) + written(key));
            if variable_of(frame, Amount::foreign(1), ENVIRONMENT, &path, review).is_err() {
                return;
            }
            let name = format!("{prefix}{key}");
            let by_shim =
                !names::is_env(&name) && review.shim.may() && names::is_env_of_kubernetes(&name);
            if by_shim {
                review.at(KEY, path.to_owned());
            } else if !names::is_env(&name) {
                if skipped.len() < TOLD {
                    skipped.push(name);
                } else {
                    more += 1;
                }
                continue;
            }
            let Some((text, amount)) = text(Found::Here(bytes), path, review) else {
                continue;
            };
            let text = if secret {
                Text::Secret(SecretText::new(text.to_owned()))
            } else {
                Text::Plain(text.to_owned())
            };
            self.set(name, Value { text, amount });
        }
        if !skipped.is_empty() {
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let message = format!(
                "{reference} has keys that are no names of variables for ACI, which takes 1-63 letters, digits and _, the \
                 first no digit; they are left out: {}{more}",
                skipped.join(", ")
            );
            review.note(INVALID_NAMES, path, message);
        }
    }

    /// What the pod has not set itself of the variables of services.
    fn add_services(&mut self, review: &mut Review<'_>) {
        let services = self.services;
        for (name, value) in services.taken() {
            if self.places.contains_key(name) {
                continue;
            }
            let amount = Amount::foreign(written(value));
            let frame = Amount::foreign(FRAME + written(name)).and(amount);
            let path = &"spec.enableServiceLinks";
            if variable_of(frame, Amount::foreign(1), SERVICES, path, review).is_err() {
                return;
            }
            let text = Text::Plain(value.clone());
            self.set(name.clone(), Value { text, amount });
        }
    }

    /// The pod's host name, as every runtime of Linux containers sets it: programs read it there, as ACI gives the
    /// container another.
    fn add_hostname(&mut self, fields: &Fields<'_>, review: &mut Review<'_>) {
        if fields.defaults.os != Os::Linux || self.places.contains_key(HOSTNAME) {
            return;
        }
        let Some(name) = fields.hostname() else {
            return;
        };
        let frame = Amount::own(FRAME + written(HOSTNAME) + written(name));
        if variable_of(frame, Amount::own(1), ENVIRONMENT, &"spec.hostname", review).is_ok() {
            self.of_runtime = Some(EnvironmentVariable {
                name: HOSTNAME.to_owned(),
                value: Some(name.to_owned()),
                ..EnvironmentVariable::default()
            });
        }
    }

    fn find(&self, name: &str) -> Option<&(EnvironmentVariable, Amount)> {
        self.variables.get(*self.places.get(name)?)?.as_ref()
    }

    fn set(&mut self, name: String, Value { text, amount }: Value) {
        let (value, secure_value) = match text {
            Text::Plain(text) => (Some(text), None),
            Text::Secret(text) => (None, Some(text)),
        };
        let earlier = self.places.insert(name.clone(), self.variables.len());
        if let Some(earlier) = earlier.and_then(|earlier| self.variables.get_mut(earlier)) {
            *earlier = None;
        }
        let variable = EnvironmentVariable {
            name,
            value,
            secure_value,
            ..EnvironmentVariable::default()
        };
        self.variables.push(Some((variable, amount)));
    }

    /// `text` with its `$(NAME)` expanded; secret when one of them is. It is paid for as `what`, which stands at `path`.
    fn expand(
        &self,
        text: &str,
        what: &str,
        path: &dyn fmt::Display,
        review: &mut Review<'_>,
    ) -> Result<Value, Exceeded> {
        let secret = Cell::new(false);
        let lookup = |name: &str| {
            let Some((variable, amount)) = self.find(name) else {
                let text = self.services.get(name)?;
                let amount = Amount::foreign(written(text));
                return Some(Piece { text, amount });
            };
            let text = match &variable.secure_value {
                Some(value) => {
                    secret.set(true);
                    value.expose()
                }
                None => variable.value.as_deref()?,
            };
            Some(Piece {
                text,
                amount: *amount,
            })
        };
        let mut amount = Amount::default();
        let text = expand(text, lookup, |more| {
            amount = amount.and(more);
            review.spend(Of::Bytes, more, what, path)
        })?;
        let text = if secret.get() {
            Text::Secret(SecretText::new(text))
        } else {
            Text::Plain(text)
        };
        Ok(Value { text, amount })
    }
}

/// Whether only the shim can give it: a name that ACI refuses, which was refused unless the shim is there, or the pod's address.
fn is_for_shim(variable: &EnvironmentVariable) -> bool {
    let secret = variable.secure_value.as_ref().map(SecretText::expose);
    !names::is_env(&variable.name)
        || [variable.value.as_deref(), secret]
            .into_iter()
            .flatten()
            .any(has_mark)
}

#[cfg(test)]
mod tests;
