//! Ports, address and subnet.

use std::collections::HashSet;

use serde_json::Value;

use super::{Check, Group, items, label, refuse, text};

/// Ports the platform keeps for itself.
const RESERVED: [std::ops::RangeInclusive<i64>; 10] = [
    22..=22,
    1025..=1027,
    3389..=3399,
    9999..=9999,
    19000..=19000,
    19080..=19080,
    19100..=19100,
    19390..=19390,
    20000..=30000,
    49152..=65534,
];

impl<'a> Group<'a> {
    pub(super) fn ports(&self) -> Check {
        let group = self.name;
        let number = |port: &Value| port.get("port").and_then(Value::as_i64).unwrap_or_default();
        let protocol = |port: &'a Value| text(port, "protocol").unwrap_or("TCP");
        let mut used = HashSet::new();
        for (name, properties, _) in self.all() {
            for port in items(properties, "ports") {
                valid_port(group, number(port))?;
                if !used.insert((number(port), protocol(port))) {
                    return refuse(
                        "DuplicateContainerPort",
                        format!(
                            "The port '{}' of container '{name}' in container group '{group}' is used more than once: the containers of a group share one network.",
                            number(port)
                        ),
                    );
                }
            }
        }
        let Some(address) = self
            .properties
            .get("ipAddress")
            .filter(|address| !address.is_null())
        else {
            return Ok(());
        };
        let ports = items(address, "ports");
        if ports.len() > 5 {
            return refuse(
                "TooManyPorts",
                format!("The IP address of container group '{group}' has more than 5 ports."),
            );
        }
        if ports.is_empty() && text(address, "type") == Some("Public") {
            return refuse(
                "MissingIpAddressPorts",
                format!(
                    "The ports in the 'ipAddress' of container group '{group}' cannot be empty."
                ),
            );
        }
        let mut own = HashSet::new();
        for port in ports {
            valid_port(group, number(port))?;
            let key = (number(port), protocol(port));
            if !own.insert(key) {
                return refuse(
                    "DuplicateIpAddressPort",
                    format!(
                        "The port '{}' in the 'ipAddress' of container group '{group}' is given more than once.",
                        key.0
                    ),
                );
            }
            if !used.contains(&key) {
                return refuse(
                    "IpAddressPortNotExposed",
                    format!(
                        "The port '{}' in the 'ipAddress' of container group '{group}' is exposed by none of its containers.",
                        key.0
                    ),
                );
            }
        }
        Ok(())
    }

    pub(super) fn network(&self) -> Check {
        let group = self.name;
        let subnets = items(self.properties, "subnetIds").len();
        let address = self
            .properties
            .get("ipAddress")
            .filter(|address| !address.is_null());
        let spot = text(self.properties, "priority") == Some("Spot");
        if spot && (address.is_some() || subnets > 0) {
            return refuse(
                "SpotPriorityContainerGroupNotSupportedForInboundConnectivity",
                format!(
                    "The container group '{group}' with 'Spot' priority cannot have an IP address or a subnet."
                ),
            );
        }
        if subnets > 1 {
            return refuse(
                "InvalidSubnetIds",
                format!("The container group '{group}' can have one subnet only."),
            );
        }
        let Some(address) = address else {
            return Ok(());
        };
        match text(address, "type") {
            Some("Private") if subnets == 0 => refuse(
                "MissingSubnetIds",
                format!(
                    "The container group '{group}' with a 'Private' IP address must have 'subnetIds'."
                ),
            ),
            Some("Public") if subnets > 0 => refuse(
                "PublicIpAddressNotSupportedWithSubnet",
                format!(
                    "The container group '{group}' in a subnet cannot have a 'Public' IP address."
                ),
            ),
            Some("Private") if text(address, "dnsNameLabel").is_some() => refuse(
                "DnsNameLabelNotSupportedForPrivate",
                format!(
                    "The container group '{group}' with a 'Private' IP address cannot have a 'dnsNameLabel'."
                ),
            ),
            _ => match text(address, "dnsNameLabel") {
                Some(dns) if !label(dns, 5) => refuse(
                    "InvalidDnsNameLabel",
                    format!("The 'dnsNameLabel' '{dns}' of container group '{group}' is invalid."),
                ),
                _ => Ok(()),
            },
        }
    }
}

fn valid_port(group: &str, port: i64) -> Check {
    if (1..=65535).contains(&port) && !RESERVED.iter().any(|range| range.contains(&port)) {
        return Ok(());
    }
    refuse(
        "InvalidPort",
        format!("The port '{port}' in container group '{group}' is out of range or reserved."),
    )
}
