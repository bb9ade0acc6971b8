//! Rights that are missing, the registration, and the version.

use super::*;
use crate::api::conditions::MAX_MESSAGE;

const IDENTITY: &str = "11111111-2222-3333-4444-555555555555";

/// ARM's word for a missing right.
fn refused(action: &str, scope: &str) -> AzureError {
    AzureError {
        message: format!(
            "The client '{IDENTITY}' with object id '{IDENTITY}' does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
        ),
        status: Some(403),
        ..error(ErrorClass::Forbidden, "AuthorizationFailed")
    }
}

fn real_subject() -> Subject {
    Subject {
        client: IDENTITY.to_owned(),
        subscription: IDENTITY.to_owned(),
        ..subject()
    }
}

#[test]
fn a_missing_right_is_named_with_the_command_that_gives_it() {
    let group = "Microsoft.Resources/subscriptions/resourceGroups/read";
    let provider = "Microsoft.Resources/subscriptions/providers/read";
    let other = "Microsoft.ContainerInstance/locations/usages/other";
    let cases = [
        (
            Report {
                provider: Some(Err(refused(provider, "/subscriptions/s"))),
                ..good()
            },
            1,
            provider,
            format!("--role Reader --scope /subscriptions/{IDENTITY}"),
        ),
        (
            Report {
                resource_group: Some(Err(refused(group, "/subscriptions/s/resourceGroups/rg"))),
                ..good()
            },
            2,
            group,
            format!("--role Contributor --scope /subscriptions/{IDENTITY}/resourceGroups/rg"),
        ),
        // What ARM says is missing is what is named.
        (
            Report {
                usages: Some(Err(refused(other, "/subscriptions/s"))),
                ..good()
            },
            3,
            other,
            format!("--role Reader --scope /subscriptions/{IDENTITY}"),
        ),
    ];
    for (report, at, action, command) in cases {
        let finding = evaluate(&report, &real_subject(), now()).remove(at);
        let message = &finding.message;
        assert!(
            message.contains(&format!("lacks {action} on ")),
            "{message}"
        );
        let assignment = format!("az role assignment create --assignee {IDENTITY} {command}");
        assert!(message.ends_with(&assignment), "{message}");
        assert!(message.chars().count() <= MAX_MESSAGE, "{message}");
    }
}

#[test]
fn rights_on_container_groups_are_looked_at_before_a_pod_needs_them() {
    let permission = |actions: &[&str]| Permission {
        actions: actions.iter().map(|it| (*it).to_owned()).collect(),
        not_actions: Vec::new(),
    };
    let reader = permission(&["*/read"]);
    let rest = permission(&[
        "Microsoft.ContainerInstance/containerGroups/write",
        "Microsoft.ContainerInstance/containerGroups/delete",
    ]);
    let refused = refused(
        "Microsoft.Authorization/permissions/read",
        "/subscriptions/s",
    );
    for (permissions, lacking) in [
        (Ok(vec![permission(&["*"])]), None),
        (Ok(vec![reader.clone(), rest.clone()]), None),
        (
            Ok(vec![rest]),
            Some("Microsoft.ContainerInstance/containerGroups/read on"),
        ),
        (
            Ok(vec![reader]),
            Some(
                "Microsoft.ContainerInstance/containerGroups/write and Microsoft.ContainerInstance/containerGroups/delete on",
            ),
        ),
        // Nothing is known, which is no reason not to try.
        (Ok(Vec::new()), None),
        (Err(refused), None),
    ] {
        let report = Report {
            permissions: Some(permissions.clone()),
            ..good()
        };
        let finding = evaluate(&report, &real_subject(), now()).remove(2);
        match lacking {
            None => assert_eq!(
                finding.reason,
                reason::RESOURCE_GROUP_FOUND,
                "{permissions:?}"
            ),
            Some(lacking) => {
                assert_eq!(finding.reason, reason::RESOURCE_GROUP_FORBIDDEN);
                assert!(finding.blocks && finding.stalled);
                assert!(
                    finding
                        .message
                        .contains(&format!("lacks {lacking} resource group rg")),
                    "{}",
                    finding.message
                );
                assert!(
                    finding.message.chars().count() <= MAX_MESSAGE,
                    "{}",
                    finding.message
                );
            }
        }
    }
}

#[test]
fn the_provider_is_registered_on_request() {
    let unregistered = |registration, register| {
        let report = Report {
            provider: Some(Ok(provider("NotRegistered"))),
            registration,
            ..good()
        };
        let subject = Subject {
            register,
            ..real_subject()
        };
        let finding = evaluate(&report, &subject, now()).remove(1);
        assert!(finding.blocks, "{finding:?}");
        (finding.reason, finding.stalled, finding.message)
    };
    let action = "Microsoft.ContainerInstance/register/action";
    let forbidden = refused(action, "/subscriptions/s");
    let throttled = error(ErrorClass::Throttled, "x");
    for (registration, register, reason, stalled, text) in [
        (
            None,
            Register::No,
            reason::NOT_REGISTERED,
            true,
            "run: az provider register",
        ),
        (
            Some(Ok(provider("Registering"))),
            Register::Yes,
            reason::REGISTERING,
            false,
            "is being registered",
        ),
        // ARM may take it and show nothing yet.
        (
            Some(Ok(provider("NotRegistered"))),
            Register::Yes,
            reason::REGISTERING,
            false,
            "is being registered",
        ),
        (
            None,
            Register::Asked,
            reason::REGISTERING,
            false,
            "is being registered",
        ),
        (
            Some(Err(forbidden)),
            Register::Yes,
            reason::NOT_REGISTERED,
            true,
            "lacks Microsoft.ContainerInstance/register/action on the subscription",
        ),
        (
            Some(Err(throttled)),
            Register::Yes,
            reason::ARM_THROTTLED,
            false,
            "trying again",
        ),
    ] {
        let (found, is_stalled, message) = unregistered(registration, register);
        assert_eq!((found, is_stalled), (reason, stalled), "{message}");
        assert!(message.contains(text), "{message}");
        assert!(message.chars().count() <= MAX_MESSAGE, "{message}");
    }
}

#[test]
fn a_version_that_azure_does_not_list_stalls() {
    let versions = ["2025-09-01", "2023-05-01", "2021-10-01"];
    let with = |versions: &[&str], api_version: &str| {
        let mut provider = provider("Registered");
        provider.resource_types[0].api_versions =
            versions.iter().map(|it| (*it).to_owned()).collect();
        let report = Report {
            provider: Some(Ok(provider)),
            ..good()
        };
        let subject = Subject {
            api_version: api_version.to_owned(),
            ..subject()
        };
        evaluate(&report, &subject, now()).remove(1)
    };
    for version in versions {
        assert_eq!(with(&versions, version).reason, reason::REGISTERED);
    }
    let finding = with(&versions, "2030-01-01");
    assert_eq!(
        (finding.reason, finding.stalled, finding.blocks),
        (reason::API_VERSION_NOT_AVAILABLE, true, true)
    );
    assert!(
        finding
            .message
            .ends_with("to one of 2025-09-01, 2023-05-01, 2021-10-01"),
        "{}",
        finding.message
    );
    let silent = with(&[], "2030-01-01");
    assert_eq!(silent.reason, reason::REGISTERED, "a cloud that names none");
}
