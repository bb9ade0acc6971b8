//! The login that the shim's image is pulled with, from the Secret that `spec.shim.pullSecretRef` names. PURE.

use super::validate::{Problem, SecretState, Wanted, named};
use crate::api::VirtualKubeletConnectorSpec;
use crate::api::conditions::READY;
use crate::azure::model::{SecretBytes, SecretText};
use crate::translate::{Object, login_for_image};

/// Namespace and name of the Secret; the namespace defaults to the operator's.
pub(super) fn secret_reference(
    spec: &VirtualKubeletConnectorSpec,
    operator_namespace: &str,
) -> Option<(String, String)> {
    let reference = spec.shim.pull_secret_ref.as_ref()?;
    Some(named(reference, operator_namespace))
}

/// User name and password, `None` when the spec names no Secret.
///
/// # Errors
/// What is wrong with the Secret; the nodes go on, and groups pull the image without it.
pub(super) fn login(
    spec: &VirtualKubeletConnectorSpec,
    secret: &SecretState,
    operator_namespace: &str,
) -> Result<Option<(String, SecretText)>, Problem> {
    let Some((namespace, name)) = secret_reference(spec, operator_namespace) else {
        return Ok(None);
    };
    let title = format!("Secret {namespace}/{name} of spec.shim.pullSecretRef");
    let wanted = Wanted {
        condition: READY,
        title: &title,
        create: ", of type kubernetes.io/dockerconfigjson",
        or_else: "",
        waits: "",
    };
    let data = wanted.found(secret, operator_namespace)?.data.iter();
    let data = data.flatten();
    let data = data.map(|(key, bytes)| (key.clone(), SecretBytes::new(bytes.0.clone())));
    let object = Object {
        data: data.collect(),
        ..Object::default()
    };
    let image = spec.shim.image();
    let login = login_for_image(&object, image).ok_or_else(|| {
        let message =
            format!("{title} has no user name and password for {image} under .dockerconfigjson");
        wanted.invalid(message)
    })?;
    Ok(Some(login))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    use super::super::validate::tests::spec;
    use super::*;
    use crate::api::conditions::reason;

    fn found(config: &serde_json::Value) -> SecretState {
        let value = ByteString(config.to_string().into_bytes());
        SecretState::Found(Box::new(Secret {
            data: Some([(".dockerconfigjson".to_owned(), value)].into()),
            ..Secret::default()
        }))
    }

    #[test]
    fn the_login_or_what_to_do() {
        let shim = json!({"image": "r.io/team/vkc-shim:1", "pullSecretRef": {"name": "pull"}});
        let spec_of = spec(&json!({"shim": shim}));
        let reference = Some(("vkc-system".to_owned(), "pull".to_owned()));
        assert_eq!(secret_reference(&spec_of, "vkc-system"), reference);
        let none = login(&spec(&json!({})), &SecretState::NotNamed, "n");
        assert_eq!(none, Ok(None));
        let auth = |user: &str| json!({"username": user, "password": "hunter2"});
        let auths = json!({"auths": {"r.io": auth("all"), "https://r.io/team": auth("team"), "other.io": auth("x")}});
        let got = login(&spec_of, &found(&auths), "vkc-system");
        let got = got.unwrap().unwrap();
        assert_eq!((got.0.as_str(), got.1.expose()), ("team", "hunter2"));
        for (secret, reason) in [
            (
                found(&json!({"auths": {"other.io": auth("x")}})),
                reason::SECRET_INVALID,
            ),
            (found(&json!([])), reason::SECRET_INVALID),
            (SecretState::Missing, reason::SECRET_NOT_FOUND),
            (SecretState::Forbidden, reason::SECRET_FORBIDDEN),
            (
                SecretState::Unreadable("busy".to_owned()),
                reason::API_SERVER_ERROR,
            ),
        ] {
            let problem = login(&spec_of, &secret, "vkc-system").unwrap_err();
            assert_eq!(problem.reason, reason);
            assert!(!problem.message.contains("hunter2"));
        }
    }
}
