//! Secrets that ACI itself reads from a Key Vault, as environment variables.

use std::collections::{HashMap, HashSet};

use super::identity::find;
use crate::azure::model::{
    Container, EnvironmentVariable, Identity, InitContainer, SecretReference,
};
use crate::translate::group::annotations::{
    Asked, IDENTITY, KEY_VAULT_ENV, KEY_VAULT_IDENTITY, Written,
};
use crate::translate::group::budget::{Amount, Of};
use crate::translate::group::names::is_env;
use crate::translate::group::review::Review;

/// Bytes of a reference and a variable in a request without what the annotation says.
const FRAME: usize = 128;

/// A variable of a container, and which of the references it takes.
#[derive(Debug)]
struct Variable {
    container: String,
    name: String,
    reference: String,
}

/// The references of a group and who uses them.
#[derive(Debug, Default)]
pub(super) struct Vault {
    place: String,
    references: Vec<SecretReference>,
    variables: Vec<Variable>,
}

impl Vault {
    /// Reads the annotations. The identity that reads the secrets is one of the pod's: with it, the pod's containers could
    /// read them as well.
    pub(super) fn read(
        asked: &Asked<'_>,
        identity: Option<&Identity>,
        review: &mut Review,
    ) -> Self {
        let mut vault = Self::default();
        let Some(written) = asked.get(KEY_VAULT_ENV) else {
            if let Some(reader) = asked.get(KEY_VAULT_IDENTITY) {
                let why = format!("without effect unless {KEY_VAULT_ENV} is set; remove it");
                review.refuse(reader.path(), why);
            }
            return vault;
        };
        vault.place = written.path();
        let Some(reader) = reader(asked, &written, identity, review) else {
            return vault;
        };
        let mut known: HashMap<&str, String> = HashMap::new();
        for entry in written.value.split(',') {
            let Some((container, name, url)) = parse(entry.trim()) else {
                written.invalid(
                    "CONTAINER/VARIABLE=https://VAULT/secrets/NAME, several separated by commas",
                    review,
                );
                return vault;
            };
            // Each names the identity that reads it, once as a reference and once as a variable.
            let size = Amount::own(reader.len() + 2 * entry.len() + FRAME);
            let what = "the annotation's variables";
            let at = vault.place.clone();
            if review
                .spend(Of::Variables, Amount::own(1), what, &at)
                .is_err()
                || review.spend(Of::Bytes, size, what, &at).is_err()
            {
                return vault;
            }
            let references = &mut vault.references;
            let reference = known.entry(url).or_insert_with(|| {
                let name = format!("key-vault-{}", references.len());
                references.push(SecretReference {
                    name: name.clone(),
                    identity: reader.clone(),
                    secret_reference_uri: url.to_owned(),
                });
                name
            });
            let reference = reference.clone();
            vault.variables.push(Variable {
                container: container.to_owned(),
                name: name.to_owned(),
                reference,
            });
        }
        vault
    }

    /// Gives each variable to its container; refuses one that is set already, and one of no container.
    pub(super) fn add_variables(
        &self,
        containers: &mut [Container],
        inits: &mut [InitContainer],
        review: &mut Review,
    ) {
        if self.variables.is_empty() {
            return;
        }
        let own = containers
            .iter_mut()
            .map(|it| (&it.name, &mut it.properties.environment_variables));
        let first = inits
            .iter_mut()
            .map(|it| (&it.name, &mut it.properties.environment_variables));
        let mut all = HashMap::new();
        for (name, environment) in own.chain(first) {
            let names: HashSet<String> = environment.iter().map(|it| it.name.clone()).collect();
            all.entry(name.as_str()).or_insert((environment, names));
        }
        for variable in &self.variables {
            let Variable {
                container, name, ..
            } = variable;
            let Some((environment, names)) = all.get_mut(container.as_str()) else {
                let why = format!("the pod has no container {container}");
                review.refuse(self.place.clone(), why);
                continue;
            };
            if !names.insert(name.clone()) {
                let why = format!(
                    "container {container} has a variable {name} already; remove one of them"
                );
                review.refuse(self.place.clone(), why);
                continue;
            }
            environment.push(EnvironmentVariable {
                name: name.clone(),
                secure_value_reference: Some(variable.reference.clone()),
                ..EnvironmentVariable::default()
            });
        }
    }

    pub(super) fn into_references(self) -> Vec<SecretReference> {
        self.references
    }
}

/// The identity that reads the secrets: the one that is named, else the pod's only one.
fn reader(
    asked: &Asked<'_>,
    written: &Written<'_>,
    identity: Option<&Identity>,
    review: &mut Review,
) -> Option<String> {
    let own = identity.into_iter();
    let own: Vec<&String> = own.flat_map(|it| &it.user_assigned_identities).collect();
    if let Some(named) = asked.get(KEY_VAULT_IDENTITY) {
        let found = find(own, named.value);
        if found.is_none() {
            let message =
                "the identity must be one of the pod's, which are of the connector's identityIDs";
            named.not_allowed(message.to_owned(), review);
        }
        return found.map(str::to_owned);
    }
    if let [only] = own.as_slice() {
        return Some((*only).clone());
    }
    if own.is_empty() {
        let why = format!(
            "the pod has no user-assigned identity that could read them; {IDENTITY} has to ask for one"
        );
        review.refuse(written.path(), why);
        return None;
    }
    let why = format!(
        "the pod has {} user-assigned identities; {KEY_VAULT_IDENTITY} has to name the one that reads the secrets",
        own.len()
    );
    review.refuse(written.path(), why);
    None
}

/// Container, variable and URL of `CONTAINER/VARIABLE=URL`.
fn parse(entry: &str) -> Option<(&str, &str, &str)> {
    let (target, url) = entry.split_once('=')?;
    let (container, name) = target.split_once('/')?;
    let (host, path) = url.strip_prefix("https://")?.split_once('/')?;
    let word = |part: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':');
        !part.is_empty() && part.chars().all(fits)
    };
    let secret = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["secrets", name] => word(name),
        ["secrets", name, version] => word(name) && word(version),
        _ => false,
    };
    (secret && word(host) && !container.is_empty() && is_env(name))
        .then_some((container, name, url))
}
