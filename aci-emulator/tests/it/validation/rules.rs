//! Bodies of the right shape that break a rule: a table.
#![allow(clippy::too_many_lines)]

use serde_json::{Value, json};

use super::{C, CP, with};
use crate::harness::{large, small};

/// Body, code, and a part of the message.
pub(crate) fn all() -> Vec<(Value, &'static str, &'static str)> {
    let (small, large) = (small(), large());
    let second = |body: &Value, name: &str| {
        let mut body = body.clone();
        let mut container = body.pointer(C).unwrap().clone();
        container["name"] = json!(name);
        body["properties"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(container);
        body
    };
    let windows = |body: &Value| with(body, "/properties/osType", json!("Windows"));
    let port = |number: i64| {
        let body = with(&large, &format!("{CP}/ports/0/port"), json!(number));
        with(&body, "/properties/ipAddress/ports/0/port", json!(number))
    };
    let env = |value: Value| with(&small, &format!("{CP}/environmentVariables"), value);
    let volume = |value: Value| with(&small, "/properties/volumes", json!([value]));
    let credential = |value: Value| {
        with(
            &small,
            "/properties/imageRegistryCredentials",
            json!([value]),
        )
    };
    let with_ports = |count: i64| {
        let ports: Vec<Value> = (0..count).map(|n| json!({"port": 80 + n})).collect();
        let body = with(&small, &format!("{CP}/ports"), json!(ports));
        with(
            &body,
            "/properties/ipAddress",
            json!({"type": "Public", "ports": ports}),
        )
    };
    vec![
        (
            with(&small, "/properties/osType", Value::Null),
            "InvalidOsType",
            "'<null>'",
        ),
        (
            with(&small, "/properties/osType", json!("Plan9")),
            "InvalidOsType",
            "Windows,Linux",
        ),
        (
            with(&small, "/properties/containers", json!([])),
            "InvalidContainerCount",
            "",
        ),
        (
            with(&small, &format!("{C}/name"), json!("Web")),
            "InvalidContainerName",
            "'Web'",
        ),
        (
            with(&small, &format!("{C}/name"), json!("a".repeat(64))),
            "InvalidContainerName",
            "",
        ),
        (second(&small, "web"), "DuplicateContainerName", "'web'"),
        (
            with(&large, "/properties/initContainers/0/name", json!("web")),
            "DuplicateContainerName",
            "",
        ),
        (
            with(&small, &format!("{CP}/resources"), Value::Null),
            "ResourceRequestsNotSpecified",
            "'web'",
        ),
        (
            with(
                &small,
                &format!("{CP}/resources/requests/memoryInGB"),
                Value::Null,
            ),
            "ResourceRequestsNotSpecified",
            "",
        ),
        (
            with(&small, &format!("{CP}/resources/limits"), json!({"cpu": 2})),
            "ContainerLimitGreaterThanContainerGroupTotalRequest",
            "The 'Cpu' limit '2' in container 'web' is greater than the total request '1' of container group 'cg'.",
        ),
        (
            with(
                &small,
                &format!("{CP}/resources/limits"),
                json!({"memoryInGB": 1}),
            ),
            "ContainerLimitLessThanRequest",
            "",
        ),
        (
            with(
                &small,
                &format!("{CP}/resources/requests/cpu"),
                json!(1.005),
            ),
            "InvalidResourceRequests",
            "0.01",
        ),
        (
            with(
                &small,
                &format!("{CP}/resources/requests/memoryInGB"),
                json!(1.55),
            ),
            "InvalidResourceRequests",
            "0.1",
        ),
        (
            with(&small, &format!("{CP}/resources/requests/cpu"), json!(0.5)),
            "InvalidResourceRequests",
            "between '1'",
        ),
        (
            with(&small, &format!("{CP}/resources/requests/cpu"), json!(32)),
            "InvalidResourceRequests",
            "'31'",
        ),
        (
            with(
                &small,
                &format!("{CP}/resources/requests/gpu"),
                json!({"count": 1, "sku": "V100"}),
            ),
            "GpuNotSupported",
            "",
        ),
        (
            second(&windows(&small), "two"),
            "MultipleContainersNotSupportedForWindows",
            "",
        ),
        (
            windows(&with(&large, "/properties/initContainers", Value::Null)),
            "VolumeNotSupportedForWindows",
            "emptyDir",
        ),
        (
            windows(&volume(json!({"name": "files", "secret": {}}))),
            "VolumeNotSupportedForWindows",
            "secret",
        ),
        (
            windows(&volume(
                json!({"name": "files", "azureFile": {"shareName": "s", "storageAccountName": "a"}}),
            )),
            "VolumeNotSupportedForWindows",
            "azureFile",
        ),
        (second(&large, "two"), "DuplicateContainerPort", "'8080'"),
        (port(0), "InvalidPort", ""),
        (port(22), "InvalidPort", ""),
        (port(19390), "InvalidPort", ""),
        (port(25000), "InvalidPort", ""),
        (port(65535 + 1), "InvalidPort", ""),
        (
            with(&large, "/properties/ipAddress/ports/0/port", json!(81)),
            "IpAddressPortNotExposed",
            "'81'",
        ),
        (
            with(
                &large,
                "/properties/ipAddress/ports",
                json!([{"port": 8080}, {"port": 8080}]),
            ),
            "DuplicateIpAddressPort",
            "",
        ),
        (with_ports(6), "TooManyPorts", ""),
        (
            with(
                &small,
                "/properties/ipAddress",
                json!({"type": "Public", "ports": []}),
            ),
            "MissingIpAddressPorts",
            "",
        ),
        (
            with(&large, "/properties/subnetIds", Value::Null),
            "MissingSubnetIds",
            "",
        ),
        (
            with(&large, "/properties/ipAddress/type", json!("Public")),
            "PublicIpAddressNotSupportedWithSubnet",
            "",
        ),
        (
            with(&large, "/properties/ipAddress/dnsNameLabel", json!("label")),
            "DnsNameLabelNotSupportedForPrivate",
            "",
        ),
        (
            with(
                &with_ports(1),
                "/properties/ipAddress/dnsNameLabel",
                json!("abc"),
            ),
            "InvalidDnsNameLabel",
            "",
        ),
        (
            with(&with_ports(1), "/properties/priority", json!("Spot")),
            "SpotPriorityContainerGroupNotSupportedForInboundConnectivity",
            "",
        ),
        (
            with(&large, "/zones", json!(["1", "2"])),
            "InvalidZones",
            "",
        ),
        (
            with(&large, "/identity", json!({"type": "UserAssigned"})),
            "InvalidIdentity",
            "",
        ),
        (
            with(
                &large,
                "/identity",
                json!({"type": "SystemAssigned", "userAssignedIdentities": {"/subscriptions/s": {}}}),
            ),
            "InvalidIdentity",
            "",
        ),
        (
            with(
                &with(&small, "/properties/priority", json!("Spot")),
                "/properties/sku",
                json!("Dedicated"),
            ),
            "SpotPriorityContainerGroupNotSupportedInSku",
            "'Dedicated'",
        ),
        (
            with(
                &with(&small, "/properties/priority", json!("Spot")),
                "/properties/containers/0/properties/resources/requests/cpu",
                json!(5),
            ),
            "InvalidResourceRequests",
            "'4' CPU",
        ),
        (
            with(
                &small,
                "/properties/confidentialComputeProperties",
                json!({"ccePolicy": "cA=="}),
            ),
            "InvalidCcePolicy",
            "",
        ),
        (
            with(
                &small,
                "/properties/encryptionProperties",
                json!({"vaultBaseUrl": "https://v", "keyName": "k", "keyVersion": "1", "identity": "/subscriptions/s"}),
            ),
            "InvalidEncryptionIdentity",
            "",
        ),
        (
            with(
                &small,
                "/properties/extensions",
                json!([{"name": "m", "properties": {"extensionType": "realtime-metrics", "version": "1.0"}}]),
            ),
            "ExtensionsNotSupportedWithoutSubnet",
            "",
        ),
        (
            with(
                &small,
                "/properties/dnsConfig",
                json!({"nameServers": ["1.1.1.1"]}),
            ),
            "InvalidDnsConfig",
            "",
        ),
        (
            with(&large, "/properties/dnsConfig", json!({"nameServers": []})),
            "InvalidDnsConfig",
            "",
        ),
        (
            env(json!([{"name": "A"}])),
            "InvalidEnvironmentVariable",
            "'A'",
        ),
        (
            env(json!([{"name": "A", "value": "1", "secureValue": "s3cret-value"}])),
            "InvalidEnvironmentVariable",
            "'A'",
        ),
        (
            env(json!([{"name": "A.B", "value": "1"}])),
            "InvalidEnvironmentVariableName",
            "'A.B'",
        ),
        (
            env(json!([{"name": "1A", "value": "1"}])),
            "InvalidEnvironmentVariableName",
            "",
        ),
        (
            env(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])),
            "DuplicateEnvironmentVariable",
            "",
        ),
        (
            with(
                &large,
                &format!("{CP}/livenessProbe/exec"),
                json!({"command": []}),
            ),
            "InvalidProbe",
            "livenessProbe",
        ),
        (
            with(
                &small,
                &format!("{CP}/readinessProbe"),
                json!({"periodSeconds": 1}),
            ),
            "InvalidProbe",
            "readinessProbe",
        ),
        (
            volume(json!({"name": "abcd", "emptyDir": {}})),
            "InvalidVolumeName",
            "'abcd'",
        ),
        (
            volume(json!({"name": "ab--cd", "emptyDir": {}})),
            "InvalidVolumeName",
            "",
        ),
        (volume(json!({"name": "files"})), "InvalidVolume", ""),
        (
            volume(json!({"name": "files", "emptyDir": {}, "secret": {}})),
            "InvalidVolume",
            "",
        ),
        (
            volume(json!({"name": "files", "secret": {"key": "s3cret-value!"}})),
            "InvalidSecretVolume",
            "'key'",
        ),
        (
            with(
                &small,
                "/properties/volumes",
                json!(vec![json!({"name": "files", "emptyDir": {}}); 21]),
            ),
            "TooManyVolumes",
            "",
        ),
        (
            with(
                &small,
                "/properties/volumes",
                json!(vec![json!({"name": "files", "emptyDir": {}}); 2]),
            ),
            "DuplicateVolumeName",
            "",
        ),
        (
            with(
                &large,
                &format!("{CP}/volumeMounts/0/name"),
                json!("other-volume"),
            ),
            "VolumeMountNotFound",
            "",
        ),
        (
            with(
                &large,
                &format!("{CP}/volumeMounts/0/mountPath"),
                json!("/a:b"),
            ),
            "InvalidMountPath",
            "",
        ),
        (
            with(
                &large,
                &format!("{CP}/volumeMounts/0/mountPath"),
                json!("/etc/web"),
            ),
            "InvalidMountPath",
            "",
        ),
        (
            credential(json!({"server": "https://r.test", "username": "u", "password": "p"})),
            "InvalidImageRegistryCredentialServer",
            "",
        ),
        (
            credential(json!({"server": "r.test"})),
            "InvalidImageRegistryCredentialType",
            "",
        ),
        (
            credential(json!({"server": "r.test", "username": "u"})),
            "InvalidImageRegistryCredentialType",
            "",
        ),
        (
            credential(
                json!({"server": "r.test", "username": "u", "password": "p", "identity": "i"}),
            ),
            "AmbiguousImageResitryCredentialType",
            "",
        ),
        (
            credential(json!({"server": "r.test", "identity": "i"})),
            "InvalidImageRegistryIdentity",
            "'i'",
        ),
        (
            with(
                &small,
                &format!("{CP}/image"),
                json!("r.test/inaccessible:1"),
            ),
            "InaccessibleImage",
            "The image 'r.test/inaccessible:1' in container group 'cg' is not accessible.",
        ),
        (
            with(&small, "/tags", json!({"a/b": "c"})),
            "InvalidTagNameCharacters",
            "'a/b'",
        ),
        (
            with(&small, "/tags", json!({"a": "c".repeat(257)})),
            "InvalidTagLength",
            "",
        ),
        (
            with(&small, "/location", Value::Null),
            "LocationRequired",
            "",
        ),
        (
            with(&small, "/location", json!("mars")),
            "LocationNotAvailableForResourceType",
            "'mars'",
        ),
    ]
}
