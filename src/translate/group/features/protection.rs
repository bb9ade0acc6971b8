//! Confidential computing and encryption with a customer's key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Setting;
use super::identity::find;
use crate::api::ContainerGroupSku;
use crate::azure::model::{Encryption, Identity};
use crate::translate::group::annotations::{
    Asked, CCE_POLICY, SKU, VAULT_IDENTITY, VAULT_KEY, VAULT_KEY_VERSION, VAULT_URL, Written,
};
use crate::translate::group::review::Review;

/// The SKU, and the policy of a confidential group.
pub(super) fn sku(
    asked: &Asked<'_>,
    default: ContainerGroupSku,
    review: &mut Review,
) -> (Setting<ContainerGroupSku>, Option<String>) {
    use ContainerGroupSku::{Confidential, Dedicated, Standard};
    let all = [Standard, Dedicated, Confidential];
    let word = asked.word(SKU, &all.map(ContainerGroupSku::as_str), review);
    let own = asked.get(SKU).and_then(|written| {
        let value = all.into_iter().find(|sku| Some(sku.as_str()) == word)?;
        Some(Setting {
            value,
            place: written.path(),
        })
    });
    let policy = asked.get(CCE_POLICY);
    if let Some(policy) = &policy {
        if policy.value.is_empty() || STANDARD.decode(policy.value).is_err() {
            policy.invalid(
                "a policy in base64, as az confcom acipolicygen writes it",
                review,
            );
        }
        if own.as_ref().is_some_and(|sku| sku.value != Confidential) {
            let why = format!(
                "a policy is for the SKU Confidential; correct {SKU}, or remove one of them"
            );
            review.refuse(policy.path(), why);
        }
    }
    let sku = match (own, &policy) {
        (Some(own), _) => own,
        (None, Some(policy)) => Setting {
            value: Confidential,
            place: policy.path(),
        },
        (None, None) => Setting::connector(default, "sku"),
    };
    (sku, policy.map(|policy| policy.value.to_owned()))
}

/// The customer's key: vault, name and version together, and the identity that reads it, which the group must have.
pub(super) fn encryption(
    asked: &Asked<'_>,
    identity: Option<&Identity>,
    review: &mut Review,
) -> Option<Encryption> {
    let keys = [VAULT_URL, VAULT_KEY, VAULT_KEY_VERSION];
    let written: Vec<Written<'_>> = keys.into_iter().filter_map(|key| asked.get(key)).collect();
    let reader = asked.get(VAULT_IDENTITY);
    let first = written.first().or(reader.as_ref())?;
    let [url, name, version] = written.as_slice() else {
        let missing: Vec<&str> = keys
            .into_iter()
            .filter(|key| asked.get(key).is_none())
            .collect();
        let why = format!("a key needs {} too", missing.join(" and "));
        review.refuse(first.path(), why);
        return None;
    };
    let host = url.value.strip_prefix("https://").unwrap_or_default();
    let host = host.strip_suffix('/').unwrap_or(host);
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
    if host.is_empty() || !host.chars().all(fits) {
        url.invalid(
            "the https URL of a Key Vault, like https://NAME.vault.azure.net",
            review,
        );
    }
    // Key Vault: names have 1 to 127 letters, digits and hyphens, versions 32 hexadecimal digits.
    for (part, must) in [
        (name, "the name of a key in the vault"),
        (version, "the version of a key in the vault"),
    ] {
        let length = part.value.len();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !(1..=127).contains(&length) || !part.value.chars().all(fits) {
            part.invalid(must, review);
        }
    }
    let reader = reader.map(|reader| {
        let own = identity.map(|identity| &identity.user_assigned_identities);
        let found = own.and_then(|own| find(own, reader.value));
        if found.is_none() {
            let message =
                "the identity must be one of the pod's, which are of the connector's identityIDs"
                    .to_owned();
            reader.not_allowed(message, review);
        }
        found.unwrap_or(reader.value).to_owned()
    });
    Some(Encryption {
        vault_base_url: url.value.to_owned(),
        key_name: name.value.to_owned(),
        key_version: version.value.to_owned(),
        identity: reader,
    })
}
