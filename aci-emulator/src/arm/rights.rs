//! Which action of Azure's role-based access control a call is, and whether it is denied.

use axum::{Json, response::IntoResponse};
use http::Method;
use serde_json::json;

use super::{Answer, Call, errors::ApiError};

/// Refuses a call whose action is among the denied ones. `words` is its path below the subscription, lower-cased.
pub(crate) fn check(call: &Call<'_>, words: &[&str]) -> Result<(), ApiError> {
    let denied = call.shared.settings().denied_actions;
    if denied.is_empty() {
        return Ok(());
    }
    let Some(action) = action(call.method, words) else {
        return Ok(());
    };
    match denied.iter().find(|it| it.eq_ignore_ascii_case(&action)) {
        Some(action) => Err(ApiError::authorization_failed(
            call.principal,
            action,
            call.path,
        )),
        None => Ok(()),
    }
}

/// `GET …/providers/Microsoft.Authorization/permissions` of a resource group: everything but what is denied.
pub(crate) fn permissions(call: &Call<'_>, resource_group: &str) -> Answer {
    call.version(&["2022-04-01", "2018-01-01-preview", "2015-07-01"])?;
    call.shared.world.lock().resource_group(resource_group)?;
    let denied = call.shared.settings().denied_actions;
    let all =
        json!({"actions": ["*"], "notActions": denied, "dataActions": [], "notDataActions": []});
    Ok(Json(json!({"value": [all]})).into_response())
}

/// The action, lower-cased: `provider/type/subtype/verb`, where the verb of a POST is its own.
fn action(method: &Method, words: &[&str]) -> Option<String> {
    let verb = match *method {
        Method::GET | Method::HEAD => "read",
        Method::PUT | Method::PATCH => "write",
        Method::DELETE => "delete",
        _ => "action",
    };
    let (provider, rest) = match words {
        ["resourcegroups"] | ["resourcegroups", _] => {
            return Some(format!(
                "microsoft.resources/subscriptions/resourcegroups/{verb}"
            ));
        }
        ["providers", _] => {
            return Some(format!(
                "microsoft.resources/subscriptions/providers/{verb}"
            ));
        }
        ["providers", provider, verb @ ("register" | "unregister")] => {
            return Some(format!("{provider}/{verb}/action"));
        }
        // One resource below another: the last provider's action counts.
        [
            "resourcegroups",
            _,
            "providers",
            _,
            _,
            _,
            "providers",
            provider,
            rest @ ..,
        ]
        | ["resourcegroups", _, "providers", provider, rest @ ..]
        | ["providers", provider, rest @ ..] => (provider, rest),
        _ => return None,
    };
    let types: Vec<&str> = rest.iter().copied().step_by(2).collect();
    Some(format!("{provider}/{}/{verb}", types.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_named_as_in_a_role() {
        let group = "resourcegroups/g/providers/microsoft.containerinstance/containergroups/c";
        let network = "resourcegroups/g/providers/microsoft.network/virtualnetworks/v";
        for (method, path, expected) in [
            (
                Method::GET,
                "resourcegroups/g",
                "microsoft.resources/subscriptions/resourcegroups/read",
            ),
            (
                Method::HEAD,
                "resourcegroups/g",
                "microsoft.resources/subscriptions/resourcegroups/read",
            ),
            (
                Method::GET,
                "providers/microsoft.containerinstance",
                "microsoft.resources/subscriptions/providers/read",
            ),
            (
                Method::POST,
                "providers/microsoft.containerinstance/register",
                "microsoft.containerinstance/register/action",
            ),
            (
                Method::GET,
                "providers/microsoft.containerinstance/locations/l/usages",
                "microsoft.containerinstance/locations/usages/read",
            ),
            (
                Method::PUT,
                group,
                "microsoft.containerinstance/containergroups/write",
            ),
            (
                Method::DELETE,
                group,
                "microsoft.containerinstance/containergroups/delete",
            ),
            (
                Method::POST,
                &format!("{group}/stop"),
                "microsoft.containerinstance/containergroups/stop/action",
            ),
            (
                Method::GET,
                &format!("{group}/containers/a/logs"),
                "microsoft.containerinstance/containergroups/containers/logs/read",
            ),
            (
                Method::POST,
                &format!("{group}/containers/a/exec"),
                "microsoft.containerinstance/containergroups/containers/exec/action",
            ),
            (
                Method::GET,
                &format!("{group}/providers/microsoft.insights/metrics"),
                "microsoft.insights/metrics/read",
            ),
            (
                Method::GET,
                network,
                "microsoft.network/virtualnetworks/read",
            ),
            (
                Method::GET,
                &format!("{network}/subnets/s"),
                "microsoft.network/virtualnetworks/subnets/read",
            ),
        ] {
            let words: Vec<&str> = path.split('/').collect();
            assert_eq!(action(&method, &words).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(action(&Method::GET, &[]), None);
    }
}
