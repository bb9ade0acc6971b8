//! The key of the Log Analytics workspace, from the Secret that `spec.containerGroup.logAnalytics` names. PURE.

use super::validate::{Problem, SecretState, Wanted, named, value};
use crate::api::VirtualKubeletConnectorSpec;
use crate::api::conditions::READY;
use crate::api::names::WORKSPACE_KEY;
use crate::azure::model::SecretText;

/// Namespace and name of the Secret; the namespace defaults to the operator's.
pub fn secret_reference(
    spec: &VirtualKubeletConnectorSpec,
    operator_namespace: &str,
) -> Option<(String, String)> {
    let workspace = spec.container_group.log_analytics.as_ref()?;
    Some(named(&workspace.secret_ref, operator_namespace))
}

/// The key, `None` when the spec names no workspace.
///
/// # Errors
/// What is wrong with the Secret; the nodes go on, and only pods that would log wait.
pub fn key(
    spec: &VirtualKubeletConnectorSpec,
    secret: &SecretState,
    operator_namespace: &str,
) -> Result<Option<SecretText>, Problem> {
    let Some((namespace, name)) = secret_reference(spec, operator_namespace) else {
        return Ok(None);
    };
    let title = format!("Secret {namespace}/{name} of spec.containerGroup.logAnalytics");
    let create = format!(" with the key {WORKSPACE_KEY}");
    let wanted = Wanted {
        condition: READY,
        title: &title,
        create: &create,
        or_else: "",
        waits: "; new pods wait for it",
    };
    let secret = wanted.found(secret, operator_namespace)?;
    let key = value(secret, WORKSPACE_KEY).ok_or_else(|| {
        let message =
            format!("{title} has no value under key {WORKSPACE_KEY}; new pods wait for it");
        wanted.invalid(message)
    })?;
    Ok(Some(SecretText::new(key)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    use super::super::validate::tests::spec;
    use super::*;
    use crate::api::conditions::reason;

    fn found(key: &str, value: &str) -> SecretState {
        let value = ByteString(value.as_bytes().to_vec());
        SecretState::Found(Box::new(Secret {
            data: Some([(key.to_owned(), value)].into()),
            ..Secret::default()
        }))
    }

    #[test]
    fn the_key_or_what_to_do() {
        let workspace = json!({"workspaceID": "w", "secretRef": {"name": "logs"}});
        let logs = spec(&json!({"containerGroup": {"logAnalytics": workspace}}));
        let reference = Some(("vkc-system".to_owned(), "logs".to_owned()));
        assert_eq!(secret_reference(&logs, "vkc-system"), reference);
        let none = spec(&json!({}));
        assert_eq!(secret_reference(&none, "vkc-system"), None);
        assert_eq!(key(&none, &SecretState::NotNamed, "vkc-system"), Ok(None));

        let good = found("workspaceKey", "k3y==\n");
        let got = key(&logs, &good, "vkc-system").unwrap().unwrap();
        assert_eq!(got.expose(), "k3y==", "the line end of an editor is cut");

        for (secret, reason, text, stalled) in [
            (
                SecretState::Missing,
                reason::SECRET_NOT_FOUND,
                "vkc-system/logs of spec.containerGroup.logAnalytics does not exist",
                true,
            ),
            (
                SecretState::Forbidden,
                reason::SECRET_FORBIDDEN,
                "put it into namespace vkc-system",
                true,
            ),
            (
                found("workspaceKey", " "),
                reason::SECRET_INVALID,
                "no value under key workspaceKey",
                true,
            ),
            (
                found("key", "k3y"),
                reason::SECRET_INVALID,
                "no value under key workspaceKey",
                true,
            ),
            (
                SecretState::Unreadable("busy".to_owned()),
                reason::API_SERVER_ERROR,
                "could not be read: busy",
                false,
            ),
        ] {
            let problem = key(&logs, &secret, "vkc-system").unwrap_err();
            assert_eq!((problem.reason, problem.stalled), (reason, stalled));
            assert!(problem.message.contains(text), "{}", problem.message);
            assert!(!problem.message.contains("k3y"));
        }
    }
}
