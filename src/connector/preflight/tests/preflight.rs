//! Quota and subnet.

use super::*;
use crate::api::conditions::MAX_MESSAGE;

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
            Ok(usages(&room)),
            Status::True,
            reason::BELOW_LIMIT,
            "100 container groups, 10 standard cores",
        ),
        (
            Ok(usages(&groups)),
            Status::False,
            reason::LIMIT_REACHED,
            "100 of 100 container groups are used in eastus",
        ),
        (
            Ok(usages(&full)),
            Status::False,
            reason::LIMIT_REACHED,
            "100 of 100 container groups and 9.5 of 10 standard cores",
        ),
        (
            Ok(usages(&json!([["K80Cores", 0, 0]]))),
            Status::Unknown,
            reason::QUOTA_UNKNOWN,
            "no quota",
        ),
        (
            Ok(usages(&json!([["ContainerGroups", null, 100]]))),
            Status::Unknown,
            reason::QUOTA_UNKNOWN,
            "no quota",
        ),
        (
            Err(error(ErrorClass::Forbidden, "AuthorizationFailed")),
            Status::Unknown,
            reason::QUOTA_UNKNOWN,
            "lacks Microsoft.ContainerInstance/locations/usages/read on the subscription; run: az role assignment create --assignee client-1 --role Reader --scope /subscriptions/sub-1",
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
        let finding = evaluate(&report, &subject(), now()).pop().unwrap();
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
    let finding = evaluate(&unregistered, &subject(), now()).pop().unwrap();
    assert_eq!(
        (finding.status, finding.message.as_str()),
        (Status::Unknown, "waits for the resource provider")
    );
}

#[test]
fn spot_groups_have_a_quota_of_cores_of_their_own() {
    let spot = Subject {
        spot: true,
        ..subject()
    };
    let cores = json!([["StandardCores", 10, 10], ["StandardSpotCores", 1, 4]]);
    let report = Report {
        usages: Some(Ok(usages(&cores))),
        ..good()
    };
    let finding = evaluate(&report, &spot, now()).pop().unwrap();
    assert_eq!(
        (finding.reason, finding.message.as_str()),
        (
            reason::BELOW_LIMIT,
            "there is room below the limits in eastus: 4 Spot cores"
        )
    );
}

#[test]
fn more_room_and_less_is_the_same_message() {
    let message = |used: u32| {
        let report = Report {
            usages: Some(Ok(usages(&json!([["ContainerGroups", used, 100]])))),
            ..good()
        };
        evaluate(&report, &subject(), now()).pop().unwrap().message
    };
    assert_eq!(message(0), message(98));
}

const SUBNET: &str = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/aci";

fn in_subnet(
    subnet: Result<serde_json::Value, AzureError>,
    network: Result<&str, AzureError>,
) -> ConditionUpdate {
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
    evaluate(&report, &subject, now()).remove(3)
}

#[test]
fn subnet_trouble() {
    let delegated = || {
        let service = "Microsoft.ContainerInstance/containerGroups";
        json!({"properties": {"addressPrefix": "10.0.0.0/24", "delegations": [{"name": "d", "properties": {"serviceName": service}}]}})
    };
    let with = |used: u32| {
        let mut subnet = delegated();
        subnet["properties"]["addressPrefix"] = json!("10.0.0.0/28");
        let used: Vec<_> = (0..used).map(|n| json!({"id": n.to_string()})).collect();
        subnet["properties"]["ipConfigurations"] = json!(used);
        subnet
    };
    let refused = || error(ErrorClass::Forbidden, "AuthorizationFailed");
    let other = json!({"properties": {"delegations": [{"properties": {"serviceName": "Microsoft.Web/serverFarms"}}]}});
    check([
        (
            in_subnet(Ok(delegated()), Ok("eastus")),
            reason::SUBNET_FOUND,
            Some(true),
            "subnet aci of virtual network v exists, is delegated to container groups and has room below its 251 addresses",
        ),
        (
            in_subnet(Ok(with(10)), Ok("eastus")),
            reason::SUBNET_FOUND,
            Some(true),
            "room below its 11 addresses",
        ),
        (
            in_subnet(Ok(with(11)), Ok("eastus")),
            reason::SUBNET_FULL,
            Some(false),
            "all 11 addresses of subnet aci are in use",
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
    ]);
}

#[test]
fn a_subnet_that_cannot_be_read() {
    let absent = || AzureError {
        status: Some(404),
        ..error(ErrorClass::Invalid, "NotFound")
    };
    let refused = || error(ErrorClass::Forbidden, "AuthorizationFailed");
    check([
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
    ]);
}

/// A finding, its reason, whether it holds (`None`: not known) and a part of its message.
type Case<'a> = (ConditionUpdate, &'a str, Option<bool>, &'a str);

fn check<'a>(cases: impl IntoIterator<Item = Case<'a>>) {
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
        let wrong =
            [reason::SUBNET_NOT_DELEGATED, reason::SUBNET_IN_OTHER_REGION].contains(&reason);
        assert_eq!(
            (finding.blocks, finding.stalled),
            (wrong, wrong),
            "{finding:?}"
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
}
