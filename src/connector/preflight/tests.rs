use super::*;
use serde_json::json;

mod preflight;
mod rights;

fn subject() -> Subject {
    Subject {
        who: "service principal client-1".to_owned(),
        source: "Secret vkc-system/aci-credentials".to_owned(),
        expires: None,
        client: "client-1".to_owned(),
        subscription: "sub-1".to_owned(),
        region: "eastus".to_owned(),
        resource_group: "rg".to_owned(),
        subnet: None,
        api_version: "2023-05-01".to_owned(),
        register: Register::No,
        spot: false,
        follows_quota: false,
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// What is said of the condition at this place keeps the connector from being Ready, for `reason` and with `text`.
fn blocks(report: &Report, at: usize, (reason, stalled, text): (&str, bool, &str)) {
    let finding = evaluate(report, &subject(), now()).remove(at);
    assert_eq!(
        (finding.reason, finding.stalled, finding.blocks),
        (reason, stalled, true),
        "{finding:?}"
    );
    assert!(
        finding.message.contains(text),
        "{text:?} not in {:?}",
        finding.message
    );
}

#[test]
fn the_end_of_a_certificate_is_told_ahead() {
    let refused = Report {
        token: Err(error(ErrorClass::BadCredentials, "AADSTS700027")),
        ..good()
    };
    let soon = "accepted; its certificate expires at 2027-01-";
    for (report, seconds, reason, text) in [
        (good(), 14 * 86_400, reason::TOKEN_ACQUIRED, "accepted"),
        (good(), 14 * 86_400 - 1, reason::TOKEN_ACQUIRED, soon),
        (good(), 1, reason::TOKEN_ACQUIRED, soon),
        (
            refused.clone(),
            1,
            reason::CREDENTIALS_REJECTED,
            "was refused",
        ),
        (
            refused,
            0,
            reason::CREDENTIALS_EXPIRED,
            "has expired (AADSTS700027); put a new one under key AZURE_CLIENT_CERTIFICATE",
        ),
    ] {
        let subject = Subject {
            expires: Some(now() + chrono::Duration::seconds(seconds)),
            ..subject()
        };
        let finding = evaluate(&report, &subject, now()).remove(0);
        assert_eq!(finding.reason, reason, "{seconds}");
        assert!(finding.message.contains(text), "{}", finding.message);
        let told = finding.message.contains("its certificate expires");
        assert_eq!(told, text == soon, "{}", finding.message);
    }
}

fn error(class: ErrorClass, code: &str) -> AzureError {
    AzureError {
        class,
        status: None,
        code: code.to_owned(),
        message: "m".to_owned(),
        retry_after: None,
        request_id: None,
    }
}

fn provider(state: &str) -> Provider {
    serde_json::from_value(json!({
        "registrationState": state,
        "resourceTypes": [{"resourceType": "containerGroups", "locations": ["East US"], "apiVersions": ["2023-05-01"]}],
    }))
    .unwrap()
}

fn good() -> Report {
    Report {
        token: Ok(()),
        provider: Some(Ok(provider("Registered"))),
        resource_group: Some(Ok(Some(ResourceGroup::default()))),
        usages: Some(Ok(usages(&json!([
            ["ContainerGroups", 3, 100],
            ["StandardCores", 4, 10]
        ])))),
        registration: None,
        permissions: None,
        capabilities: None,
        subnet: None,
        groups: None,
    }
}

/// Usages from `[name, current, limit]`.
fn usages(rows: &serde_json::Value) -> Vec<Usage> {
    let usage = |row: &serde_json::Value| {
        let json = json!({"unit": "Count", "name": {"value": row[0], "localizedValue": "x"}, "currentValue": row[1], "limit": row[2]});
        serde_json::from_value(json).unwrap()
    };
    rows.as_array().unwrap().iter().map(usage).collect()
}

#[test]
fn all_is_well() {
    let findings = evaluate(&good(), &subject(), now());
    assert!(
        findings
            .iter()
            .all(|f| f.status == Status::True && !f.blocks && !f.stalled),
        "{findings:?}"
    );
}

#[test]
fn a_refused_secret_stalls_and_the_rest_waits() {
    let token = error(ErrorClass::BadCredentials, "AADSTS7000215");
    let findings = evaluate(&Report::without_token(token), &subject(), now());
    assert_eq!(
        findings[0].message,
        "client secret of service principal client-1 was refused by Microsoft Entra ID (AADSTS7000215); put a current one under key AZURE_CLIENT_SECRET of Secret vkc-system/aci-credentials"
    );
    assert!(findings[0].stalled && findings[0].blocks);
    assert!(
        findings[1..]
            .iter()
            .all(|f| f.status == Status::Unknown && !f.blocks)
    );
}

#[test]
fn token_trouble() {
    for (class, code, reason, stalled) in [
        (
            ErrorClass::BadCredentials,
            "AADSTS7000222",
            reason::CREDENTIALS_EXPIRED,
            true,
        ),
        (
            ErrorClass::BadCredentials,
            "AADSTS700016",
            reason::CREDENTIALS_REJECTED,
            true,
        ),
        (
            ErrorClass::Identity,
            "TokenUnavailable",
            reason::TOKEN_UNAVAILABLE,
            false,
        ),
        (
            ErrorClass::Timeout,
            "NoAnswer",
            reason::TOKEN_UNAVAILABLE,
            false,
        ),
    ] {
        let report = Report::without_token(error(class, code));
        let finding = evaluate(&report, &subject(), now()).remove(0);
        assert_eq!(
            (finding.reason, finding.stalled, finding.blocks),
            (reason, stalled, true),
            "{code}"
        );
    }
    let refused = Report {
        provider: Some(Err(error(
            ErrorClass::Unauthenticated,
            "InvalidAuthenticationToken",
        ))),
        ..good()
    };
    assert!(
        evaluate(&refused, &subject(), now())[0].stalled,
        "ARM's 401 is about the credentials"
    );
}

#[test]
fn provider_trouble() {
    let cases = [
        (
            Ok(provider("NotRegistered")),
            reason::NOT_REGISTERED,
            true,
            "az provider register --namespace Microsoft.ContainerInstance",
        ),
        (
            Ok(provider("Unregistered")),
            reason::NOT_REGISTERED,
            true,
            "is Unregistered",
        ),
        (
            Ok(provider("Registering")),
            reason::REGISTERING,
            false,
            "being registered",
        ),
        (
            Err(error(ErrorClass::SubscriptionNotFound, "x")),
            reason::SUBSCRIPTION_NOT_FOUND,
            true,
            "AZURE_SUBSCRIPTION_ID",
        ),
        (
            Err(error(ErrorClass::ProviderNotRegistered, "x")),
            reason::NOT_REGISTERED,
            true,
            "az provider register",
        ),
        (
            Err(error(ErrorClass::Throttled, "x")),
            reason::ARM_THROTTLED,
            false,
            "throttles",
        ),
        (
            Err(error(ErrorClass::Connection, "x")),
            reason::ARM_UNREACHABLE,
            false,
            "could not be reached",
        ),
        (
            Err(error(ErrorClass::Unavailable, "x")),
            reason::ARM_UNREACHABLE,
            false,
            "could not be reached",
        ),
        (
            Err(error(ErrorClass::Protocol, "x")),
            reason::ARM_ERROR,
            false,
            "unexpectedly",
        ),
    ];
    for (answer, reason, stalled, text) in cases {
        let report = Report {
            provider: Some(answer),
            ..good()
        };
        blocks(&report, 1, (reason, stalled, text));
    }
    let mut elsewhere = subject();
    elsewhere.region = "atlantis".to_owned();
    let finding = evaluate(&good(), &elsewhere, now()).remove(1);
    assert_eq!(
        (finding.reason, finding.stalled),
        (reason::REGION_NOT_AVAILABLE, true)
    );
    let unseen = Report {
        provider: Some(Err(error(ErrorClass::Forbidden, "x"))),
        ..good()
    };
    let finding = evaluate(&unseen, &subject(), now()).remove(1);
    assert_eq!(
        (finding.status, finding.blocks),
        (Status::Unknown, false),
        "a role on the group alone is enough"
    );
}

#[test]
fn resource_group_trouble() {
    let cases = [
        (
            Ok(None),
            reason::RESOURCE_GROUP_NOT_FOUND,
            true,
            "az group create --name rg --location eastus",
        ),
        (
            Err(error(ErrorClass::Forbidden, "x")),
            reason::RESOURCE_GROUP_FORBIDDEN,
            true,
            "az role assignment create --assignee client-1",
        ),
        (
            Err(error(ErrorClass::Timeout, "x")),
            reason::ARM_UNREACHABLE,
            false,
            "trying again",
        ),
    ];
    for (answer, reason, stalled, text) in cases {
        let report = Report {
            resource_group: Some(answer),
            ..good()
        };
        blocks(&report, 2, (reason, stalled, text));
    }
}
