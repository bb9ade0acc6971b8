use super::*;

/// A GET answer in the shape the service gives, with the members no schema has.
const RUNNING: &str = r#"{
  "id": "/subscriptions/s/resourcegroups/rg/providers/Microsoft.ContainerInstance/containerGroups/g",
  "name": "g", "type": "Microsoft.ContainerInstance/containerGroups", "location": "westus",
  "tags": {"vkc-pod": "web", "odd": null}, "zones": null, "identity": null,
  "properties": {
    "sku": "Standard", "provisioningState": "Succeeded", "provisioningTimeoutInSeconds": 1800,
    "isCustomProvisioningTimeout": false, "osType": "Linux", "restartPolicy": "Never",
    "containers": [{"name": "c", "properties": {
      "image": "alpine", "command": null, "ports": [], "environmentVariables": null, "volumeMounts": null,
      "resources": {"requests": {"memoryInGB": 1.0, "cpu": 1}, "limits": null},
      "instanceView": {"restartCount": 0, "previousState": null, "events": null,
        "currentState": {"state": "Terminated", "startTime": "2023-05-01T16:57:05.78Z", "exitCode": 3221225786,
                         "finishTime": null, "detailStatus": "Error"}}}}],
    "initContainers": null, "subnetIds": null, "imageRegistryCredentials": null,
    "volumes": [{"name": "v-data", "secret": {}, "emptyDir": null, "azureFile": null}],
    "ipAddress": {"type": "Public", "ports": null, "ip": "20.1.2.3"},
    "instanceView": {"events": null, "state": "Failed"}
  }
}"#;

#[test]
fn null_absent_and_unknown_members_are_read() {
    let group: ContainerGroup = serde_json::from_str(RUNNING).unwrap();
    assert_eq!(group.tags.get("odd").map(String::as_str), Some(""));
    let container = &group.properties.containers[0].properties;
    let state = container
        .instance_view
        .as_ref()
        .unwrap()
        .current_state
        .as_ref()
        .unwrap();
    assert_eq!(
        state.exit_code,
        Some(-1_073_741_510),
        "an unsigned Windows exit code is the same 32 bits"
    );
    assert_eq!(state.finish_time, None);
    assert!(container.command.is_empty() && container.environment_variables.is_empty());
    assert_eq!(
        group.properties.ip_address.unwrap().ip.as_deref(),
        Some("20.1.2.3")
    );
    for bare in [
        "{}",
        r#"{"properties":null}"#,
        r#"{"properties":{"containers":[{}],"instanceView":{}}}"#,
    ] {
        let group: ContainerGroup = serde_json::from_str(bare).unwrap();
        assert_eq!(group.properties.provisioning_state, None, "{bare}");
    }
}

/// A group of a pod with sixty thousand variables is looked at as often as any other.
#[test]
fn what_was_sent_and_comes_back_takes_no_memory() {
    let group = r#"{"properties": {"volumes": [{"name": "v"}], "imageRegistryCredentials": [{"server": "s"}],
      "containers": [{"name": "c", "properties": {"image": "i", "command": ["sh", "-c", "long"], "environmentVariables": [{"name": "A"}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}], "livenessProbe": {}, "readinessProbe": {},
        "ports": [{"port": 80}]}}],
      "initContainers": [{"name": "d", "properties": {"command": ["sh", "-c", "long"], "environmentVariables": [{"name": "A"}]}}]}}"#;
    let group: ContainerGroup = serde_json::from_str(group).unwrap();
    let mut properties = group.properties;
    assert!(properties.volumes.is_empty() && properties.image_registry_credentials.is_empty());
    let container = properties.containers.remove(0).properties;
    assert_eq!((&*container.image, container.ports.len()), ("i", 1));
    let only_sent = ContainerProperties {
        image: container.image.clone(),
        // Its first word says whether it is the shim.
        command: vec!["sh".to_owned()],
        ports: container.ports.clone(),
        ..ContainerProperties::default()
    };
    assert_eq!(container, only_sent);
    let only_sent = InitContainerProperties {
        command: vec!["sh".to_owned()],
        ..InitContainerProperties::default()
    };
    assert_eq!(properties.init_containers[0].properties, only_sent);
}

#[test]
fn a_request_holds_what_was_set_and_nothing_else() {
    let group = ContainerGroup {
        location: Some("westus".to_owned()),
        properties: GroupProperties {
            os_type: "Linux".to_owned(),
            containers: vec![Container {
                name: "c".to_owned(),
                properties: ContainerProperties {
                    image: "alpine".to_owned(),
                    environment_variables: vec![EnvironmentVariable {
                        name: "T".to_owned(),
                        secure_value: Some(SecretText::new("hush".to_owned())),
                        ..EnvironmentVariable::default()
                    }],
                    resources: Some(Resources {
                        requests: ResourceAmounts {
                            cpu: 1.0,
                            memory_in_gb: 1.5,
                        },
                        limits: None,
                    }),
                    ..ContainerProperties::default()
                },
            }],
            ..GroupProperties::default()
        },
        ..ContainerGroup::default()
    };
    let expected = serde_json::json!({"location": "westus", "properties": {"osType": "Linux", "containers": [{"name": "c",
        "properties": {"image": "alpine", "environmentVariables": [{"name": "T", "secureValue": "hush"}],
                       "resources": {"requests": {"cpu": 1.0, "memoryInGB": 1.5}}}}]}});
    assert_eq!(serde_json::to_value(&group).unwrap(), expected);
    assert!(!format!("{group:?}").contains("hush"));
}

#[test]
fn times_have_zero_to_seven_fraction_digits_and_any_offset() {
    for (text, nanos) in [
        ("2019-10-21T11:43:06Z", 0),
        ("2023-05-01T16:57:05.78Z", 780_000_000),
        ("2023-05-01T16:57:10.133Z", 133_000_000),
        ("2023-05-01T16:56:48.7805315Z", 780_531_500),
        ("2026-08-28T02:04:47.771000+00:00", 771_000_000),
        ("2026-08-28T04:04:47.5+02:00", 500_000_000),
    ] {
        let time = parse_time(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(time.timestamp_subsec_nanos(), nanos, "{text}");
    }
    for text in ["", "yesterday", "2019-10-21", "0001-13-01T00:00:00Z"] {
        assert_eq!(parse_time(text), None, "{text}");
    }
}
