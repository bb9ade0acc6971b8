//! Every refusal of a PUT body, as a table.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{RP, Test, fixture, group_path, large, quick, small};

/// The body with one member set; `null` removes it.
fn with(body: &Value, path: &str, value: Value) -> Value {
    let mut body = body.clone();
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = body
        .pointer_mut(parent)
        .unwrap_or_else(|| panic!("no {parent}"));
    match (parent, value) {
        (Value::Object(map), Value::Null) => {
            map.remove(name);
        }
        (Value::Object(map), value) => {
            map.insert(name.to_owned(), value);
        }
        (Value::Array(items), value) => items[name.parse::<usize>().unwrap()] = value,
        _ => panic!("{path}"),
    }
    body
}

const C: &str = "/properties/containers/0";
const CP: &str = "/properties/containers/0/properties";

fn shapes() -> Vec<(Value, &'static str, &'static str)> {
    let (small, large) = (small(), large());
    let bad = "InvalidRequestContent";
    vec![
        (json!([]), bad, "Error converting"),
        (
            with(&small, "/propertes", json!({})),
            bad,
            "Could not find member 'propertes' on object of type 'ContainerGroup'. Path 'propertes'",
        ),
        (
            with(&small, &format!("{CP}/args"), json!([])),
            bad,
            "Path 'properties.containers[0].properties.args'",
        ),
        (
            with(
                &large,
                &format!("{CP}/resources/requests/memoryInGb"),
                json!(1),
            ),
            bad,
            "Could not find member 'memoryInGb'",
        ),
        (
            with(&small, &format!("{CP}/resources/requests/cpu"), json!("1")),
            bad,
            "'System.Double'",
        ),
        (
            with(&small, &format!("{CP}/resources/requests/cpu"), json!(0)),
            bad,
            "'System.Double'",
        ),
        (
            with(&small, "/properties/restartPolicy", json!("Sometimes")),
            bad,
            "Path 'properties.restartPolicy'",
        ),
        (
            with(&small, "/properties/sku", json!("Gold")),
            bad,
            "Path 'properties.sku'",
        ),
        (
            with(&large, &format!("{CP}/ports/0/port"), json!("80")),
            bad,
            "'System.Int32'",
        ),
        (
            with(&large, &format!("{CP}/ports/0/port"), json!(1_i64 << 40)),
            bad,
            "'System.Int32'",
        ),
        (
            with(&large, &format!("{CP}/ports/0/protocol"), json!("SCTP")),
            bad,
            "protocol",
        ),
        (
            with(&small, &format!("{CP}/image"), Value::Null),
            bad,
            "Required property 'image' not found in JSON. Path 'properties.containers[0].properties'",
        ),
        (
            with(&small, &format!("{C}/name"), Value::Null),
            bad,
            "Required property 'name'",
        ),
        (
            with(&small, "/properties/containers", Value::Null),
            bad,
            "Required property 'containers'",
        ),
        (
            with(&small, "/properties", Value::Null),
            bad,
            "Required property 'properties'",
        ),
        (
            with(
                &large,
                "/properties/imageRegistryCredentials/0/server",
                Value::Null,
            ),
            bad,
            "Required property 'server' not found in JSON. Path 'properties.imageRegistryCredentials[0]'",
        ),
        (
            with(&large, "/properties/ipAddress/ports", Value::Null),
            bad,
            "Required property 'ports'",
        ),
        (
            with(&large, "/properties/dnsConfig/nameServers", Value::Null),
            bad,
            "Required property 'nameServers'",
        ),
        (
            with(
                &large,
                "/properties/initContainers/0/properties/ports",
                json!([]),
            ),
            bad,
            "Could not find member 'ports'",
        ),
        (
            with(&small, &format!("{CP}/instanceView"), json!({})),
            bad,
            "Could not find member 'instanceView'",
        ),
        (with(&small, "/tags", json!({"a": 1})), bad, "Path 'tags.a'"),
        (
            with(
                &small,
                "/identity",
                json!({"type": "UserAssigned,SystemAssigned"}),
            ),
            bad,
            "Path 'identity.type'",
        ),
        (
            with(
                &small,
                &format!("{CP}/configMap"),
                json!({"keyValuePairs": {}}),
            ),
            bad,
            "Could not find member 'configMap'",
        ),
    ]
}

fn rules() -> Vec<(Value, &'static str, &'static str)> {
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
            env(json!([{"name": "_A", "value": "1"}])),
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

#[tokio::test]
async fn every_refusal_names_its_code_and_what_it_is_about() {
    let mut config = quick();
    config.throttle = false;
    let test = Test::with(config).await;
    for (body, code, part) in shapes().into_iter().chain(rules()) {
        let reply = test.put("cg", &body).await;
        assert_eq!(reply.code(), (400, code), "{}\n{body:#}", reply.body);
        let message = reply.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{message} has no {part}");
        assert!(!message.contains("s3cret-value"), "{message}");
    }
    assert_eq!(test.control.group_count(), 0);
    test.emulator.stop().await;
}

#[tokio::test]
async fn bodies_names_and_versions() {
    let test = Test::start().await;
    for name in ["Web", "a--b", "-a", "a_b", &"a".repeat(64)] {
        assert_eq!(
            test.put(name, &small()).await.code(),
            (400, "InvalidResourceName"),
            "{name}"
        );
    }
    let path = |version: &str| format!("/resourceGroups/aci-rg{RP}/containerGroups/cg{version}");
    assert_eq!(
        test.send(Method::PUT, &path(""), Some(&small()))
            .await
            .code(),
        (400, "MissingApiVersionParameter")
    );
    assert_eq!(
        test.send(
            Method::PUT,
            &path("?api-version=2001-01-01"),
            Some(&small())
        )
        .await
        .code(),
        (400, "NoRegisteredProviderFound")
    );
    let url = format!(
        "{}/subscriptions/{}{}",
        test.emulator.url(),
        test.config.subscription_id,
        group_path("cg", "")
    );
    let token = test.new_token().await;
    let broken = test
        .http
        .put(url)
        .bearer_auth(token)
        .body("{\"location\": \"s3cret")
        .send()
        .await
        .unwrap();
    let broken = crate::harness::Reply::of(broken).await;
    assert_eq!(broken.code(), (400, "InvalidRequestContent"));
    assert!(!broken.body.to_string().contains("s3cret"));

    // What later versions added is known to them only.
    let newer = with(
        &small(),
        &format!("{CP}/configMap"),
        json!({"keyValuePairs": {"a": "b"}}),
    );
    assert_eq!(
        test.send(Method::PUT, &path("?api-version=2025-09-01"), Some(&newer))
            .await
            .status,
        201
    );
    // A small group where the region allows it.
    test.control
        .change_settings(|settings| settings.min_group_cpu = 0.1);
    assert_eq!(
        test.put(
            "half",
            &with(
                &small(),
                &format!("{CP}/resources/requests/cpu"),
                json!(0.5)
            )
        )
        .await
        .status,
        201
    );
    assert_eq!(test.put("pod", &large()).await.status, 201);
    let mut recorded = fixture("live/01-put-201.json")["request"]["body"].clone();
    recorded["properties"]["osType"] = json!("Windows");
    assert_eq!(test.put("windows", &recorded).await.status, 201);
    test.emulator.stop().await;
}
