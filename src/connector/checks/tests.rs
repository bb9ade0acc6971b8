use super::*;
use crate::api::conditions::MAX_MESSAGE;
use serde_json::json;

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
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
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
        let finding = judge(&report, &subject, now()).remove(0);
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
        usages: Some(Ok(usages(json!([
            ["ContainerGroups", 3, 100],
            ["StandardCores", 4, 10]
        ])))),
        subnet: None,
    }
}

/// Usages from `[name, current, limit]`.
fn usages(rows: serde_json::Value) -> Vec<Usage> {
    let usage = |row: &serde_json::Value| {
        let json = json!({"unit": "Count", "name": {"value": row[0], "localizedValue": "x"}, "currentValue": row[1], "limit": row[2]});
        serde_json::from_value(json).unwrap()
    };
    rows.as_array().unwrap().iter().map(usage).collect()
}

#[test]
fn quota() {
    let full = json!([
        ["ContainerGroups", 100, 100],
        ["StandardCores", 9.5, 10],
        ["K80Cores", 0, 0]
    ]);
    let groups = json!([["ContainerGroups", 100, 100], ["StandardCores", 9, 10]]);
    let room = json!([
        ["ContainerGroups", 99, 100],
        ["StandardCores", 9, 10],
        ["K80Cores", 0, 0]
    ]);
    let cases = [
        (
            Ok(usages(room)),
            Status::True,
            reason::BELOW_LIMIT,
            "100 container groups, 10 standard cores",
        ),
        (
            Ok(usages(groups)),
            Status::False,
            reason::LIMIT_REACHED,
            "100 of 100 container groups are used in eastus",
        ),
        (
            Ok(usages(full)),
            Status::False,
            reason::LIMIT_REACHED,
            "100 of 100 container groups and 9.5 of 10 standard cores",
        ),
        (
            Ok(usages(json!([["K80Cores", 0, 0]]))),
            Status::Unknown,
            reason::QUOTA_UNKNOWN,
            "no quota",
        ),
        (
            Ok(usages(json!([["ContainerGroups", null, 100]]))),
            Status::Unknown,
            reason::QUOTA_UNKNOWN,
            "no quota",
        ),
        (
            Err(error(ErrorClass::Forbidden, "AuthorizationFailed")),
            Status::Unknown,
            reason::QUOTA_UNKNOWN,
            "lacks Microsoft.ContainerInstance/locations/usages/read on /subscriptions/sub-1",
        ),
        (
            Err(error(ErrorClass::Throttled, "x")),
            Status::Unknown,
            reason::ARM_THROTTLED,
            "trying again",
        ),
        (
            Err(error(ErrorClass::Invalid, "x")),
            Status::Unknown,
            reason::QUOTA_UNKNOWN,
            "could not be read",
        ),
    ];
    for (answer, status, reason, text) in cases {
        let report = Report {
            usages: Some(answer),
            ..good()
        };
        let finding = judge(&report, &subject(), now()).pop().unwrap();
        assert_eq!(
            (finding.condition, finding.status, finding.reason),
            (QUOTA_SUFFICIENT, status, reason),
            "{finding:?}"
        );
        assert!(
            !finding.blocks && !finding.stalled,
            "quota never blocks: {finding:?}"
        );
        assert!(
            finding.message.contains(text),
            "{text:?} not in {:?}",
            finding.message
        );
        assert!(
            finding.message.chars().count() <= MAX_MESSAGE,
            "{}",
            finding.message
        );
    }
    let unregistered = Report {
        provider: Some(Ok(provider("NotRegistered"))),
        ..good()
    };
    let finding = judge(&unregistered, &subject(), now()).pop().unwrap();
    assert_eq!(
        (finding.status, finding.message.as_str()),
        (Status::Unknown, "waits for the resource provider")
    );
}

#[test]
fn more_room_and_less_is_the_same_message() {
    let message = |used: u32| {
        let report = Report {
            usages: Some(Ok(usages(json!([["ContainerGroups", used, 100]])))),
            ..good()
        };
        judge(&report, &subject(), now()).pop().unwrap().message
    };
    assert_eq!(message(0), message(98));
}

const SUBNET: &str = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/aci";

fn in_subnet(
    subnet: Result<serde_json::Value, AzureError>,
    network: Result<&str, AzureError>,
) -> Finding {
    let answers = subnet::Answers {
        subnet: subnet.map(|json| serde_json::from_value(json).unwrap()),
        network: network.map(|region| serde_json::from_value(json!({"location": region})).unwrap()),
    };
    let report = Report {
        subnet: Some(answers),
        ..good()
    };
    let subject = Subject {
        subnet: Some(SUBNET.to_owned()),
        client: "11111111-2222-3333-4444-555555555555".to_owned(),
        ..subject()
    };
    judge(&report, &subject, now()).remove(3)
}

#[test]
fn subnet_trouble() {
    let delegated = || {
        let service = "Microsoft.ContainerInstance/containerGroups";
        json!({"properties": {"addressPrefix": "10.0.0.0/24", "delegations": [{"name": "d", "properties": {"serviceName": service}}]}})
    };
    let absent = || AzureError {
        status: Some(404),
        ..error(ErrorClass::Invalid, "NotFound")
    };
    let refused = || error(ErrorClass::Forbidden, "AuthorizationFailed");
    let other = json!({"properties": {"delegations": [{"properties": {"serviceName": "Microsoft.Web/serverFarms"}}]}});
    let cases = [
        (
            in_subnet(Ok(delegated()), Ok("eastus")),
            reason::SUBNET_FOUND,
            Some(true),
            "subnet aci of virtual network v exists",
        ),
        (
            in_subnet(Ok(delegated()), Err(refused())),
            reason::SUBNET_FOUND,
            Some(true),
            "exists",
        ),
        (
            in_subnet(Ok(delegated()), Ok("westus")),
            reason::SUBNET_IN_OTHER_REGION,
            Some(false),
            "is in region westus and the connector in eastus",
        ),
        (
            in_subnet(Ok(json!({})), Ok("eastus")),
            reason::SUBNET_NOT_DELEGATED,
            Some(false),
            "az network vnet subnet update --ids /subscriptions/",
        ),
        (
            in_subnet(Ok(other), Ok("East US")),
            reason::SUBNET_NOT_DELEGATED,
            Some(false),
            "--delegations Microsoft.ContainerInstance/containerGroups",
        ),
        (
            in_subnet(Err(absent()), Ok("eastus")),
            reason::SUBNET_NOT_FOUND,
            Some(false),
            "az network vnet subnet create --vnet-name v --name aci",
        ),
        (
            in_subnet(
                Err(absent()),
                Err(error(ErrorClass::NotFound, "ResourceNotFound")),
            ),
            reason::SUBNET_NOT_FOUND,
            Some(false),
            "az network vnet create --location eastus --name v --resource-group net",
        ),
        (
            in_subnet(
                Err(error(ErrorClass::ResourceGroupNotFound, "x")),
                Err(refused()),
            ),
            reason::SUBNET_NOT_FOUND,
            Some(false),
            "az group create --name net",
        ),
        (
            in_subnet(Err(refused()), Err(refused())),
            reason::SUBNET_FORBIDDEN,
            None,
            "lacks Microsoft.Network/virtualNetworks/subnets/read",
        ),
        (
            in_subnet(Err(error(ErrorClass::Throttled, "x")), Err(refused())),
            reason::ARM_THROTTLED,
            None,
            "trying again",
        ),
        (
            in_subnet(
                Err(error(ErrorClass::Invalid, "InvalidResourceType")),
                Err(refused()),
            ),
            reason::ARM_ERROR,
            None,
            "trying again",
        ),
    ];
    for (finding, reason, holds, text) in cases {
        let status = match holds {
            Some(true) => Status::True,
            Some(false) => Status::False,
            None => Status::Unknown,
        };
        assert_eq!(
            (finding.condition, finding.status, finding.reason),
            (SUBNET_READY, status, reason),
            "{finding:?}"
        );
        assert!(!finding.blocks && !finding.stalled, "{finding:?}");
        assert!(
            finding.message.contains(text),
            "{text:?} not in {:?}",
            finding.message
        );
        assert!(
            finding.message.chars().count() <= MAX_MESSAGE,
            "{}",
            finding.message
        );
    }
}

#[test]
fn all_is_well() {
    let findings = judge(&good(), &subject(), now());
    assert!(
        findings
            .iter()
            .all(|f| f.status == Status::True && !f.blocks && !f.stalled),
        "{findings:?}"
    );
}

#[test]
fn a_refused_secret_stalls_and_the_rest_waits() {
    let token = Err(error(ErrorClass::BadCredentials, "AADSTS7000215"));
    let findings = judge(
        &Report {
            token,
            provider: None,
            resource_group: None,
            usages: None,
            subnet: None,
        },
        &subject(),
        now(),
    );
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
        let report = Report {
            token: Err(error(class, code)),
            provider: None,
            resource_group: None,
            usages: None,
            subnet: None,
        };
        let finding = judge(&report, &subject(), now()).remove(0);
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
        judge(&refused, &subject(), now())[0].stalled,
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
        let finding = judge(
            &Report {
                provider: Some(answer),
                ..good()
            },
            &subject(),
            now(),
        )
        .remove(1);
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
    let mut elsewhere = subject();
    elsewhere.region = "atlantis".to_owned();
    let finding = judge(&good(), &elsewhere, now()).remove(1);
    assert_eq!(
        (finding.reason, finding.stalled),
        (reason::REGION_NOT_AVAILABLE, true)
    );
    let unseen = Report {
        provider: Some(Err(error(ErrorClass::Forbidden, "x"))),
        ..good()
    };
    let finding = judge(&unseen, &subject(), now()).remove(1);
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
        let finding = judge(
            &Report {
                resource_group: Some(answer),
                ..good()
            },
            &subject(),
            now(),
        )
        .remove(2);
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
}
