//! The rules of a container group that its shape cannot say: names, ports, sums, references.
//!
//! Where the service's own code for a refusal is not on public record, the code here is this
//! emulator's; the README lists those.

use std::collections::HashSet;

use base64::Engine as _;
use serde_json::Value;

use super::errors::ApiError;
use crate::config::Settings;

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

type Check = Result<(), ApiError>;

/// Everything a PUT body is refused for besides its shape.
pub(crate) fn check(name: &str, body: &Value, settings: &Settings) -> Check {
    let none = Value::Null;
    let properties = body.get("properties").unwrap_or(&none);
    let group = Group { name, properties };
    tags(body.get("tags"))?;
    group.os()?;
    group.containers()?;
    group.resources(settings)?;
    group.volumes()?;
    group.ports()?;
    group.network()?;
    group.credentials(body)?;
    group.images()
}

struct Group<'a> {
    name: &'a str,
    properties: &'a Value,
}

/// Items of an array member, none when it is absent.
pub(crate) fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value
        .get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A text member.
pub(crate) fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

fn refuse(code: &str, message: String) -> Check {
    Err(ApiError::bad(code, message))
}

impl<'a> Group<'a> {
    fn all(&self) -> impl Iterator<Item = (&'a str, &'a Value, bool)> {
        let of = |member, init| {
            items(self.properties, member).iter().map(move |item| {
                (
                    text(item, "name").unwrap_or_default(),
                    item.get("properties").unwrap_or(&Value::Null),
                    init,
                )
            })
        };
        of("containers", false).chain(of("initContainers", true))
    }

    fn windows(&self) -> bool {
        text(self.properties, "osType") == Some("Windows")
    }

    fn os(&self) -> Check {
        match text(self.properties, "osType") {
            Some("Windows" | "Linux") => {}
            // The text of the service, which does not know the group's name here.
            _ => {
                return refuse(
                    "InvalidOsType",
                    "The 'osType' for container group '<null>' is invalid. The value must be one of 'Windows,Linux'.".to_owned(),
                );
            }
        }
        if self.windows() && self.all().count() > 1 {
            return refuse(
                "MultipleContainersNotSupportedForWindows",
                format!(
                    "The container group '{}' of 'Windows' OS type must have exactly one container and no init container.",
                    self.name
                ),
            );
        }
        Ok(())
    }

    fn containers(&self) -> Check {
        let (count, inits) = (
            items(self.properties, "containers").len(),
            items(self.properties, "initContainers").len(),
        );
        if count == 0 || count > 60 || inits > 59 {
            return refuse(
                "InvalidContainerCount",
                format!(
                    "The container group '{}' must have 1 to 60 containers and at most 59 init containers.",
                    self.name
                ),
            );
        }
        let mut names = HashSet::new();
        for (name, properties, _) in self.all() {
            if !label(name, 1) {
                return refuse(
                    "InvalidContainerName",
                    format!(
                        "The container name '{name}' in container group '{}' is invalid. It must match '[a-z0-9]([-a-z0-9]*[a-z0-9])?' and have at most 63 characters.",
                        self.name
                    ),
                );
            }
            if !names.insert(name) {
                return refuse(
                    "DuplicateContainerName",
                    format!(
                        "The container name '{name}' in container group '{}' is used more than once.",
                        self.name
                    ),
                );
            }
            if text(properties, "image").is_some_and(str::is_empty) {
                return refuse(
                    "InvalidImage",
                    format!(
                        "The image of container '{name}' in container group '{}' is empty.",
                        self.name
                    ),
                );
            }
            self.environment(name, properties)?;
            self.probes(name, properties)?;
        }
        Ok(())
    }

    fn environment(&self, container: &str, properties: &Value) -> Check {
        let mut seen = HashSet::new();
        for variable in items(properties, "environmentVariables") {
            let name = text(variable, "name").unwrap_or_default();
            if !env_name(name) {
                return refuse(
                    "InvalidEnvironmentVariableName",
                    format!(
                        "The environment variable name '{name}' in container '{container}' of container group '{}' is invalid.",
                        self.name
                    ),
                );
            }
            if !seen.insert(name) {
                return refuse(
                    "DuplicateEnvironmentVariable",
                    format!(
                        "The environment variable '{name}' in container '{container}' of container group '{}' is given more than once.",
                        self.name
                    ),
                );
            }
            let sources = ["value", "secureValue", "secureValueReference"];
            if sources
                .iter()
                .filter(|member| text(variable, member).is_some())
                .count()
                != 1
            {
                return refuse(
                    "InvalidEnvironmentVariable",
                    format!(
                        "The environment variable '{name}' in container '{container}' of container group '{}' must have exactly one of 'value' and 'secureValue'.",
                        self.name
                    ),
                );
            }
        }
        Ok(())
    }

    fn probes(&self, container: &str, properties: &Value) -> Check {
        for member in ["livenessProbe", "readinessProbe"] {
            let Some(probe) = properties.get(member).filter(|probe| !probe.is_null()) else {
                continue;
            };
            if ["exec", "httpGet"]
                .iter()
                .filter(|handler| probe.get(handler).is_some_and(|given| !given.is_null()))
                .count()
                != 1
            {
                return refuse(
                    "InvalidProbe",
                    format!(
                        "The '{member}' of container '{container}' in container group '{}' must have exactly one of 'exec' and 'httpGet'.",
                        self.name
                    ),
                );
            }
        }
        Ok(())
    }

    fn resources(&self, settings: &Settings) -> Check {
        let group = self.name;
        let amount = |properties: &Value, what: &str, member: &str| {
            properties
                .pointer(&format!("/resources/{what}/{member}"))
                .and_then(Value::as_f64)
        };
        let (mut cpu_sum, mut memory_sum) = (0.0, 0.0);
        for (name, properties, init) in self.all() {
            if init {
                continue;
            }
            let (Some(cpu), Some(memory)) = (
                amount(properties, "requests", "cpu"),
                amount(properties, "requests", "memoryInGB"),
            ) else {
                return refuse(
                    "ResourceRequestsNotSpecified",
                    format!(
                        "The resource requests are not specified in container '{name}' of contain group '{group}'. Both memory and CPU requests are required since API version '2017-07-01-preview'."
                    ),
                );
            };
            if properties.pointer("/resources/requests/gpu").is_some() {
                return refuse(
                    "GpuNotSupported",
                    format!(
                        "GPU resources of container '{name}' in container group '{group}' are retired."
                    ),
                );
            }
            if !step(cpu, 0.01) || !step(memory, 0.1) {
                return refuse(
                    "InvalidResourceRequests",
                    format!(
                        "The resource requests of container '{name}' in container group '{group}' must be multiples of 0.01 CPU and 0.1 GB."
                    ),
                );
            }
            cpu_sum += cpu;
            memory_sum += memory;
        }
        for (name, properties, _) in self.all() {
            for (what, member, sum) in [
                ("Cpu", "cpu", cpu_sum),
                ("Memory", "memoryInGB", memory_sum),
            ] {
                let Some(limit) = amount(properties, "limits", member) else {
                    continue;
                };
                if limit > sum + 1e-6 {
                    return refuse(
                        "ContainerLimitGreaterThanContainerGroupTotalRequest",
                        format!(
                            "The '{what}' limit '{limit}' in container '{name}' is greater than the total request '{sum}' of container group '{group}'."
                        ),
                    );
                }
                if amount(properties, "requests", member)
                    .is_some_and(|request| limit + 1e-6 < request)
                {
                    return refuse(
                        "ContainerLimitLessThanRequest",
                        format!(
                            "The '{what}' limit '{limit}' in container '{name}' of container group '{group}' is less than its request."
                        ),
                    );
                }
            }
        }
        let (min_cpu, min_memory) = (settings.min_group_cpu, settings.min_group_memory);
        if cpu_sum + 1e-6 < min_cpu
            || memory_sum + 1e-6 < min_memory
            || cpu_sum > 31.0 + 1e-6
            || memory_sum > 240.0 + 1e-6
        {
            return refuse(
                "InvalidResourceRequests",
                format!(
                    "The total resource requests '{cpu_sum}' CPU and '{memory_sum}' GB of container group '{group}' must be between '{min_cpu}' and '31' CPU and '{min_memory}' and '240' GB."
                ),
            );
        }
        Ok(())
    }

    fn volumes(&self) -> Check {
        let group = self.name;
        let volumes = items(self.properties, "volumes");
        if volumes.len() > 20 {
            return refuse(
                "TooManyVolumes",
                format!("The container group '{group}' has more than 20 volumes."),
            );
        }
        let mut names = HashSet::new();
        for volume in volumes {
            let name = text(volume, "name").unwrap_or_default();
            if !label(name, 5) || name.contains("--") {
                return refuse(
                    "InvalidVolumeName",
                    format!(
                        "The volume name '{name}' in container group '{group}' is invalid. It must have 5 to 63 lower-case letters, digits and single hyphens."
                    ),
                );
            }
            if !names.insert(name) {
                return refuse(
                    "DuplicateVolumeName",
                    format!(
                        "The volume name '{name}' in container group '{group}' is used more than once."
                    ),
                );
            }
            let sources = [
                "emptyDir",
                "secret",
                "secretReference",
                "gitRepo",
                "azureFile",
            ];
            let given: Vec<&str> = sources
                .into_iter()
                .filter(|member| volume.get(member).is_some_and(|given| !given.is_null()))
                .collect();
            let [source] = given.as_slice() else {
                return refuse(
                    "InvalidVolume",
                    format!(
                        "The volume '{name}' in container group '{group}' must have exactly one source."
                    ),
                );
            };
            if self.windows() && *source != "azureFile" {
                return refuse(
                    "VolumeNotSupportedForWindows",
                    format!(
                        "The '{source}' volume '{name}' in container group '{group}' is not supported for 'Windows' OS type."
                    ),
                );
            }
            if let Some(secret) = volume.get("secret").and_then(Value::as_object) {
                let engine = base64::engine::general_purpose::STANDARD;
                if let Some((key, _)) = secret.iter().find(|(_, value)| {
                    value
                        .as_str()
                        .is_none_or(|value| engine.decode(value).is_err())
                }) {
                    return refuse(
                        "InvalidSecretVolume",
                        format!(
                            "The value of '{key}' in secret volume '{name}' of container group '{group}' is not base64."
                        ),
                    );
                }
            }
        }
        for (container, properties, _) in self.all() {
            let mut paths = HashSet::new();
            for mount in items(properties, "volumeMounts") {
                let (name, path) = (
                    text(mount, "name").unwrap_or_default(),
                    text(mount, "mountPath").unwrap_or_default(),
                );
                if !names.contains(name) {
                    return refuse(
                        "VolumeMountNotFound",
                        format!(
                            "The volume mount '{name}' of container '{container}' in container group '{group}' refers to no volume."
                        ),
                    );
                }
                if path.is_empty() || (path.contains(':') && !self.windows()) || !paths.insert(path)
                {
                    return refuse(
                        "InvalidMountPath",
                        format!(
                            "The mount path '{path}' of container '{container}' in container group '{group}' is empty, used twice or holds ':'."
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    fn ports(&self) -> Check {
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

    fn network(&self) -> Check {
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

    fn credentials(&self, body: &Value) -> Check {
        let group = self.name;
        let identities = body
            .pointer("/identity/userAssignedIdentities")
            .and_then(Value::as_object);
        let mut servers = HashSet::new();
        for credential in items(self.properties, "imageRegistryCredentials") {
            let server = text(credential, "server").unwrap_or_default();
            if server.is_empty() || server.contains("://") || !servers.insert(server) {
                return refuse(
                    "InvalidImageRegistryCredentialServer",
                    format!(
                        "The image registry server '{server}' of container group '{group}' is empty, given twice or has a scheme."
                    ),
                );
            }
            match (text(credential, "username"), text(credential, "identity")) {
                (Some(_), Some(_)) => {
                    return refuse(
                        "AmbiguousImageResitryCredentialType",
                        format!(
                            "The image registry credential for '{server}' in container group '{group}' has both a user name and an identity."
                        ),
                    );
                }
                (None, None) => {
                    return refuse(
                        "InvalidImageRegistryCredentialType",
                        format!(
                            "The image registry credential for '{server}' in container group '{group}' has neither a user name nor an identity."
                        ),
                    );
                }
                (None, Some(identity))
                    if !identities.is_some_and(|map| {
                        map.keys().any(|key| key.eq_ignore_ascii_case(identity))
                    }) =>
                {
                    return refuse(
                        "InvalidImageRegistryIdentity",
                        format!(
                            "The identity '{identity}' of the image registry credential for '{server}' is not an identity of container group '{group}'."
                        ),
                    );
                }
                (Some(_), None)
                    if text(credential, "password").is_none()
                        && text(credential, "passwordReference").is_none() =>
                {
                    return refuse(
                        "InvalidImageRegistryCredentialType",
                        format!(
                            "The image registry credential for '{server}' in container group '{group}' has no password."
                        ),
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Demonstration: an image whose path holds `inaccessible` cannot be pulled.
    fn images(&self) -> Check {
        let bad = self
            .all()
            .filter_map(|(_, properties, _)| text(properties, "image"))
            .find(|image| image.contains("inaccessible"));
        match bad {
            Some(image) => refuse(
                "InaccessibleImage",
                format!(
                    "The image '{image}' in container group '{}' is not accessible. Please check the image and registry credential.",
                    self.name
                ),
            ),
            None => Ok(()),
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

/// Lower-case letters, digits and inner hyphens, `min` to 63 characters.
fn label(name: &str, min: usize) -> bool {
    (min..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn env_name(name: &str) -> bool {
    let edge = |found: Option<char>| found.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 63
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && edge(name.chars().next())
        && edge(name.chars().next_back())
}

fn step(amount: f64, step: f64) -> bool {
    let steps = amount / step;
    (steps - steps.round()).abs() < 1e-6
}

/// A container group's name.
pub(crate) fn group_name(name: &str) -> Check {
    if label(name, 1) && !name.contains("--") {
        return Ok(());
    }
    refuse(
        "InvalidResourceName",
        format!(
            "The container group name '{name}' is invalid. It must have 1 to 63 lower-case letters, digits and single inner hyphens."
        ),
    )
}

/// ARM's rules for tags.
pub(crate) fn tags(tags: Option<&Value>) -> Check {
    let Some(tags) = tags.and_then(Value::as_object) else {
        return Ok(());
    };
    if tags.len() > 50 {
        return refuse(
            "InvalidTags",
            format!(
                "The number of tags '{}' exceeds the maximum of '50'.",
                tags.len()
            ),
        );
    }
    let mut seen = HashSet::new();
    for (name, value) in tags {
        let long = name.chars().count() > 512
            || value
                .as_str()
                .is_some_and(|value| value.chars().count() > 256);
        if name.is_empty() || long || !seen.insert(name.to_lowercase()) {
            return refuse(
                "InvalidTagLength",
                format!(
                    "The tag '{name}' is empty, given twice or too long (name 512, value 256 characters)."
                ),
            );
        }
        if name.contains(['<', '>', '%', '&', '\\', '?', '/']) {
            return refuse(
                "InvalidTagNameCharacters",
                format!(
                    "The tag name '{name}' has one of the reserved characters '<,>,%,&,\\,?,/'."
                ),
            );
        }
    }
    Ok(())
}
