//! Subnets, denied actions, and what others use.

use aci_emulator::Subnet;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{RP, Test, VERSION, small};

const NETWORK: &str = "/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v";

async fn network(test: &Test, rest: &str) -> (u16, String, Value) {
    let path = format!("{NETWORK}{rest}?api-version=2023-11-01");
    let reply = test.send(Method::GET, &path, None).await;
    let (status, code) = reply.code();
    (status, code.to_owned(), reply.body)
}

#[tokio::test]
async fn subnets_are_shown_and_admit_who_may_be_there() {
    let test = Test::start().await;
    assert_eq!(network(&test, "").await.1, "ResourceGroupNotFound");
    test.control.add_resource_group("net", "eastus");
    assert_eq!(network(&test, "/subnets/aci").await.1, "ResourceNotFound");
    let subnet = Subnet {
        prefix: "10.0.0.0/29".to_owned(),
        others: 2,
        ..Subnet::new("net", "v", "aci", "eastus")
    };
    let id = test.control.set_subnet(subnet.clone());
    let (status, _, shown) = network(&test, "").await;
    assert_eq!((status, &shown["location"]), (200, &json!("eastus")));
    let (status, code, _) = network(&test, "/subnets/none").await;
    assert_eq!((status, code.as_str()), (404, "NotFound"));

    let inside = |id: &str| {
        let mut body = small();
        body["properties"]["subnetIds"] = json!([{"id": id}]);
        body
    };
    for (id, change, code) in [
        (format!("{id}x"), subnet.clone(), "InvalidResourceReference"),
        (
            id.clone(),
            Subnet {
                location: "westus".to_owned(),
                ..subnet.clone()
            },
            "InvalidResourceReference",
        ),
        (
            id.clone(),
            Subnet {
                service: String::new(),
                ..subnet.clone()
            },
            "SubnetMissingRequiredDelegation",
        ),
        (
            id.clone(),
            Subnet {
                others: 3,
                ..subnet.clone()
            },
            "SubnetIsFull",
        ),
    ] {
        test.control.set_subnet(change);
        assert_eq!(test.put("web", &inside(&id)).await.code(), (400, code));
    }
    test.control.set_subnet(subnet);
    assert_eq!(test.put("web", &inside(&id)).await.status, 201);
    let shown = network(&test, "/subnets/aci").await.2;
    let properties = &shown["properties"];
    assert_eq!(properties["ipConfigurations"].as_array().unwrap().len(), 3);
    assert_eq!(
        properties["delegations"][0]["properties"]["serviceName"],
        "Microsoft.ContainerInstance/containerGroups"
    );
    assert_eq!(
        test.put("next", &inside(&id)).await.code(),
        (400, "SubnetIsFull")
    );
    test.emulator.stop().await;
}

#[tokio::test]
async fn in_a_subnet_a_group_has_an_address_that_it_does_not_ask_for() {
    let test = Test::start().await;
    test.control.add_resource_group("net", "eastus");
    let id = test
        .control
        .set_subnet(Subnet::new("net", "v", "aci", "eastus"));
    let mut body = small();
    let properties = body["properties"].as_object_mut().unwrap();
    properties.remove("ipAddress");
    let group = test.running("outside", &body).await;
    assert_eq!(group["properties"]["ipAddress"], json!(null));
    body["properties"]["subnetIds"] = json!([{"id": id}]);
    let group = test.running("inside", &body).await;
    let address = &group["properties"]["ipAddress"];
    assert_eq!(address["type"], "Private");
    assert!(address["ip"].is_string(), "{address}");
    test.emulator.stop().await;
}

#[tokio::test]
async fn denied_actions_are_named() {
    let test = Test::start().await;
    let write = "Microsoft.ContainerInstance/containerGroups/write";
    test.control
        .change_settings(|settings| settings.denied_actions = vec![write.to_owned()]);
    let reply = test.put("web", &small()).await;
    assert_eq!(reply.code(), (403, "AuthorizationFailed"));
    let message = reply.body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!(
            "perform action '{write}' over scope '/subscriptions/"
        )),
        "{message}"
    );
    assert_eq!(test.get("web").await.status, 404, "reading is allowed");
    test.emulator.stop().await;
}

#[tokio::test]
async fn what_others_use_counts() {
    let test = Test::start().await;
    test.control.change_settings(|settings| {
        settings.quota_cores = 4.0;
        settings.others_cores = 3.5;
        settings.others_groups = 2;
        settings.max_group_cpu = 4.0;
    });
    let location = async |what: &str| {
        let path = format!("{RP}/locations/eastus/{what}?api-version={VERSION}");
        test.send(Method::GET, &path, None).await.body["value"].clone()
    };
    let usages = location("usages").await;
    assert_eq!(
        (&usages[0]["currentValue"], &usages[1]["currentValue"]),
        (&json!(2), &json!(4.0))
    );
    assert_eq!(
        location("capabilities").await[0]["capabilities"]["maxCpu"],
        4.0
    );
    assert_eq!(
        test.put("web", &small()).await.code(),
        (400, "ContainerGroupQuotaReached")
    );
    test.emulator.stop().await;
}
