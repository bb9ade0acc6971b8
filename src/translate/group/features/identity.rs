//! Managed identities of a group.

use crate::azure::model::Identity;
use crate::translate::group::annotations::{Asked, IDENTITY};
use crate::translate::group::review::Review;

/// The identities of a pod: those that it asks for, of the `allowed` ones. Who asks for none has none: any container of the
/// pod could act as them.
///
/// A system-assigned identity is the group's own and has no rights until somebody gives it some, so that any pod may have
/// one. A user-assigned one may have any right: the connector's author says which its pods can act as.
pub(super) fn identity(
    asked: &Asked<'_>,
    allowed: &[String],
    review: &mut Review,
) -> Option<Identity> {
    let written = asked.get(IDENTITY)?;
    let mut system = false;
    let mut users = Vec::new();
    let words: Vec<&str> = written.value.split([',', ';']).map(str::trim).collect();
    for word in &words {
        if word.eq_ignore_ascii_case("none") && words.len() == 1 {
            return None;
        }
        if word.eq_ignore_ascii_case("system") {
            system = true;
        } else if let Some(id) = find(allowed, word) {
            users.push(id.to_owned());
        } else if is_identity(word) {
            let message =
                format!("{word} is not among the identityIDs of the connector; ask for it there");
            written.not_allowed(message, review);
        } else {
            written.invalid(
                "none, system, or ARM IDs of user-assigned identities separated by commas \
                 (/subscriptions/ID/resourceGroups/NAME/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME)",
                review,
            );
            break;
        }
    }
    of(system, users)
}

/// The identities of a group: those of the `pod`, and those that pull its images, which ACI wants attached.
pub(super) fn with_pullers<'a>(
    pod: Option<Identity>,
    pullers: impl Iterator<Item = &'a str>,
) -> Option<Identity> {
    let pod = pod.unwrap_or_default();
    let system = pod.kind.starts_with("SystemAssigned");
    let mut users: Vec<String> = pod.user_assigned_identities.into_iter().collect();
    for puller in pullers {
        if find(&users, puller).is_none() {
            users.push(puller.to_owned());
        }
    }
    of(system, users)
}

/// `id` among `ids` as it is spelled there: ARM IDs are case-insensitive.
pub(super) fn find<'a>(ids: impl IntoIterator<Item = &'a String>, id: &str) -> Option<&'a str> {
    ids.into_iter()
        .find(|known| known.eq_ignore_ascii_case(id))
        .map(String::as_str)
}

fn is_identity(id: &str) -> bool {
    const KIND: &str = "microsoft.managedidentity/userassignedidentities";
    let lower = id.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    matches!(
        parts.as_slice(),
        ["", "subscriptions", subscription, "resourcegroups", group, "providers", namespace, kind, name]
            if format!("{namespace}/{kind}") == KIND
                && [subscription, group, name].iter().all(|part| !part.is_empty())
    )
}

fn of(system: bool, users: Vec<String>) -> Option<Identity> {
    let kind = match (system, users.is_empty()) {
        (false, true) => return None,
        (true, true) => "SystemAssigned",
        (false, false) => "UserAssigned",
        (true, false) => "SystemAssigned, UserAssigned",
    };
    Some(Identity {
        kind: kind.to_owned(),
        user_assigned_identities: users.into_iter().collect(),
    })
}
