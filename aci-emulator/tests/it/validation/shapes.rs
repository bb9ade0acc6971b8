//! Bodies with a wrong member, type or enum: a table.
#![allow(clippy::too_many_lines)]

use serde_json::{Value, json};

use super::{C, CP, with};
use crate::harness::{large, small};

/// Body, code, and a part of the message.
pub(crate) fn all() -> Vec<(Value, &'static str, &'static str)> {
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
