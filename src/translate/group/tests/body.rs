//! The rules of ACI for a PUT body that the project depends on, from Microsoft's API specification 2023-05-01 and the
//! service's documented limits: an own check, so that the tests do not believe the code they test.

use std::collections::HashSet;

use serde_json::{Map, Value};

mod features;
mod shape;

type Checked = Result<(), String>;

/// Members that an object may have; those with `!` it must have.
fn object<'v>(
    value: &'v Value,
    at: &str,
    members: &[&str],
) -> Result<&'v Map<String, Value>, String> {
    let object = value.as_object().ok_or(format!("{at} is no object"))?;
    for member in object.keys() {
        if !members
            .iter()
            .any(|known| known.trim_end_matches('!') == member)
        {
            return Err(format!("{at}.{member} is unknown"));
        }
    }
    for member in members.iter().filter_map(|member| member.strip_suffix('!')) {
        if !object.contains_key(member) {
            return Err(format!("{at}.{member} is missing"));
        }
    }
    Ok(object)
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

fn items<'v>(object: &'v Map<String, Value>, member: &str) -> &'v [Value] {
    object
        .get(member)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn text<'v>(value: &'v Value, at: &str) -> Result<&'v str, String> {
    value.as_str().ok_or(format!("{at} is no text"))
}

fn one_of(value: Option<&Value>, words: &[&str], at: &str) -> Checked {
    let Some(value) = value else { return Ok(()) };
    let word = text(value, at)?;
    require(words.contains(&word), || format!("{at} is {word}"))
}

fn label(name: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    length.contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
        && !name.contains("--")
}

/// Whether ACI would take `body`.
pub(in crate::translate::group) fn check(body: &Value) -> Checked {
    shape::check(body)?;
    let group = object(
        body,
        "group",
        &["location!", "tags", "zones", "identity", "properties!"],
    )?;
    require(items(group, "zones").len() <= 1, || {
        "more than one zone".to_owned()
    })?;
    let tags = group.get("tags").and_then(Value::as_object).ok_or("tags")?;
    require(tags.len() <= 50, || "more than 50 tags".to_owned())?;
    for (name, value) in tags {
        let short = value
            .as_str()
            .is_some_and(|value| value.chars().count() <= 256);
        require(
            short && !name.contains(['<', '>', '%', '&', '\\', '?', '/']),
            || format!("tag {name}"),
        )?;
    }
    let members = [
        "containers!",
        "initContainers",
        "osType!",
        "restartPolicy",
        "sku",
        "volumes",
        "ipAddress",
        "subnetIds",
        "imageRegistryCredentials",
        "dnsConfig",
        "priority",
        "diagnostics",
        "encryptionProperties",
        "confidentialComputeProperties",
        "extensions",
        "secretReferences",
    ];
    let properties = object(&group["properties"], "properties", &members)?;
    let os = text(&properties["osType"], "osType")?;
    one_of(properties.get("osType"), &["Linux", "Windows"], "osType")?;
    one_of(
        properties.get("sku"),
        &["Standard", "Dedicated", "Confidential"],
        "sku",
    )?;
    one_of(
        properties.get("restartPolicy"),
        &["Always", "OnFailure", "Never"],
        "restartPolicy",
    )?;
    let volumes = volumes(items(properties, "volumes"))?;
    require(os == "Linux" || volumes.is_empty(), || {
        "Windows with volumes".to_owned()
    })?;
    let containers = items(properties, "containers");
    let most = if os == "Linux" { 60 } else { 1 };
    require((1..=most).contains(&containers.len()), || {
        format!("{} containers", containers.len())
    })?;
    let (mut names, mut ports) = (HashSet::new(), HashSet::new());
    for container in containers {
        let container = object(container, "container", &["name!", "properties!"])?;
        let name = text(&container["name"], "name")?;
        require(name.len() <= 63 && names.insert(name), || {
            format!("container name {name}")
        })?;
        self::container(&container["properties"], &volumes, &mut ports)?;
    }
    let inits = items(properties, "initContainers");
    require(inits.len() <= if os == "Linux" { 59 } else { 0 }, || {
        format!("{} init containers", inits.len())
    })?;
    for init in inits {
        let init = object(init, "init container", &["name!", "properties!"])?;
        let name = text(&init["name"], "name")?;
        require(names.insert(name), || format!("container name {name}"))?;
        let unfit = ["ports", "resources", "livenessProbe", "readinessProbe"];
        let unfit = unfit
            .iter()
            .find(|member| init["properties"].get(member).is_some());
        require(unfit.is_none(), || format!("init container with {unfit:?}"))?;
        let mut as_container = init["properties"].clone();
        as_container["resources"] = Value::Null;
        container(&as_container, &volumes, &mut HashSet::new())?;
    }
    amounts(containers)?;
    features::check(group, properties)?;
    address(properties, &ports)
}

fn volumes(volumes: &[Value]) -> Result<HashSet<&str>, String> {
    require(volumes.len() <= 20, || "more than 20 volumes".to_owned())?;
    let mut names = HashSet::new();
    for volume in volumes {
        let members = ["name!", "emptyDir", "secret", "azureFile", "gitRepo"];
        let volume = object(volume, "volume", &members)?;
        require(volume.len() == 2, || "a volume has one source".to_owned())?;
        let name = text(&volume["name"], "volume")?;
        require(label(name, 5..=63) && names.insert(name), || {
            format!("volume name {name}")
        })?;
        if let Some(share) = volume.get("azureFile") {
            let members = [
                "shareName!",
                "storageAccountName!",
                "storageAccountKey!",
                "readOnly",
            ];
            let share = object(share, "azureFile", &members)?;
            require(!text(&share["shareName"], "shareName")?.is_empty(), || {
                "share without a name".to_owned()
            })?;
        }
        if let Some(git) = volume.get("gitRepo") {
            object(git, "gitRepo", &["repository!", "directory", "revision"])?;
        }
        for content in volume
            .get("secret")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Map::values)
        {
            use base64::Engine as _;
            let bytes = base64::engine::general_purpose::STANDARD.decode(text(content, "secret")?);
            require(bytes.is_ok(), || "secret is not base64".to_owned())?;
        }
    }
    Ok(names)
}

fn container<'v>(
    value: &'v Value,
    volumes: &HashSet<&str>,
    ports: &mut HashSet<(i64, &'v str)>,
) -> Checked {
    let members = [
        "image!",
        "command",
        "ports",
        "environmentVariables",
        "resources!",
        "volumeMounts",
        "livenessProbe",
        "readinessProbe",
        "securityContext",
    ];
    let container = object(value, "container", &members)?;
    for member in ["livenessProbe", "readinessProbe"] {
        container.get(member).map_or(Ok(()), probe)?;
    }
    container.get("securityContext").map_or(Ok(()), security)?;
    require(!text(&container["image"], "image")?.is_empty(), || {
        "empty image".to_owned()
    })?;
    let mut paths = HashSet::new();
    for mount in items(container, "volumeMounts") {
        let mount = object(mount, "mount", &["name!", "mountPath!", "readOnly"])?;
        let path = text(&mount["mountPath"], "mountPath")?;
        let plain = path.starts_with('/') && !path.contains(':');
        require(plain && paths.insert(path), || format!("mount path {path}"))?;
        let name = text(&mount["name"], "mount")?;
        require(volumes.contains(name), || {
            format!("mount of no volume {name}")
        })?;
    }
    let mut names = HashSet::new();
    for variable in items(container, "environmentVariables") {
        let members = ["name!", "value", "secureValue", "secureValueReference"];
        let variable = object(variable, "env", &members)?;
        let name = text(&variable["name"], "env")?;
        let inner = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let fits =
            (1..=63).contains(&name.len()) && !name.starts_with(|c: char| c.is_ascii_digit());
        require(
            variable.len() == 2 && inner && fits && names.insert(name),
            || format!("env {name}"),
        )?;
    }
    for port in items(container, "ports") {
        let port = object(port, "port", &["port!", "protocol"])?;
        let number = port["port"].as_i64().ok_or("port")?;
        let reserved = [22, 9999, 19000, 19080, 19100, 19390].contains(&number)
            || [
                (1025, 1027),
                (3389, 3399),
                (20_000, 30_000),
                (49_152, 65_534),
            ]
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&number));
        require((1..=65_535).contains(&number) && !reserved, || {
            format!("port {number}")
        })?;
        let protocol = text(&port["protocol"], "protocol")?;
        one_of(port.get("protocol"), &["TCP", "UDP"], "protocol")?;
        require(ports.insert((number, protocol)), || {
            format!("port {number} twice")
        })?;
    }
    Ok(())
}

fn security(value: &Value) -> Checked {
    let members = [
        "privileged",
        "allowPrivilegeEscalation",
        "capabilities",
        "runAsUser",
        "runAsGroup",
    ];
    let context = object(value, "securityContext", &members)?;
    for id in members[3..].iter().filter_map(|id| context.get(*id)) {
        let fits = id.as_i64().is_some_and(|id| i32::try_from(id).is_ok());
        require(fits, || format!("ID {id}"))?;
    }
    if let Some(capabilities) = context.get("capabilities") {
        object(capabilities, "capabilities", &["add", "drop"])?;
    }
    Ok(())
}

fn probe(value: &Value) -> Checked {
    let times = [
        "initialDelaySeconds",
        "periodSeconds",
        "failureThreshold",
        "successThreshold",
        "timeoutSeconds",
    ];
    let members: Vec<&str> = ["exec", "httpGet"].into_iter().chain(times).collect();
    let probe = object(value, "probe", &members)?;
    require(
        probe.contains_key("exec") != probe.contains_key("httpGet"),
        || "a probe has one handler".to_owned(),
    )?;
    for time in times {
        let whole = probe.get(time).is_none_or(Value::is_i64);
        require(whole, || format!("{time} is no int"))?;
    }
    if let Some(exec) = probe.get("exec") {
        let exec = object(exec, "exec", &["command!"])?;
        require(!items(exec, "command").is_empty(), || {
            "exec without a command".to_owned()
        })?;
    }
    let Some(http) = probe.get("httpGet") else {
        return Ok(());
    };
    let http = object(http, "httpGet", &["port!", "path", "scheme", "httpHeaders"])?;
    let port = http["port"].as_i64().ok_or("probe's port")?;
    require((1..=65_535).contains(&port), || format!("probe of {port}"))?;
    one_of(http.get("scheme"), &["http", "https"], "scheme")?;
    for header in items(http, "httpHeaders") {
        object(header, "header", &["name!", "value!"])?;
    }
    Ok(())
}

fn amounts(containers: &[Value]) -> Checked {
    let read = |value: &Value, member: &str, step: f64| -> Result<f64, String> {
        let number = value[member]
            .as_f64()
            .ok_or(format!("{member} is no number"))?;
        let steps = number / step;
        let digits = number
            .to_string()
            .split_once('.')
            .map_or(0, |(_, fraction)| fraction.len());
        require(
            (steps - steps.round()).abs() < 1e-6 && digits <= 2 && number > 0.0,
            || format!("{member} {number}"),
        )?;
        Ok(number)
    };
    for (member, step, least, most) in [("cpu", 0.01, 1.0, 31.0), ("memoryInGB", 0.1, 1.0, 240.0)] {
        let of = |container: &Value, kind: &str| {
            read(&container["properties"]["resources"][kind], member, step)
        };
        let requests: Vec<f64> = containers
            .iter()
            .map(|it| of(it, "requests"))
            .collect::<Result<_, _>>()?;
        let total: f64 = requests.iter().sum();
        require(total > least - 1e-6 && total < most + 1e-6, || {
            format!("{member} {total}")
        })?;
        for (container, request) in containers.iter().zip(requests) {
            if container["properties"]["resources"]["limits"].is_object() {
                let limit = of(container, "limits")?;
                require(limit >= request && limit < total + 1e-6, || {
                    format!("limit {member} {limit} of {total}")
                })?;
            }
        }
    }
    Ok(())
}

fn address(properties: &Map<String, Value>, ports: &HashSet<(i64, &str)>) -> Checked {
    let subnets = items(properties, "subnetIds").len();
    let Some(address) = properties.get("ipAddress") else {
        return Ok(());
    };
    let members = [
        "type!",
        "ports!",
        "dnsNameLabel",
        "autoGeneratedDomainNameLabelScope",
    ];
    let address = object(address, "ipAddress", &members)?;
    features::dns_name(address)?;
    one_of(
        address.get("type"),
        &["Public", "Private"],
        "ipAddress.type",
    )?;
    require((address["type"] == "Private") == (subnets == 1), || {
        "address and subnet disagree".to_owned()
    })?;
    let open = items(address, "ports");
    require((1..=5).contains(&open.len()), || {
        format!("{} ports", open.len())
    })?;
    for port in open {
        let number = port["port"].as_i64().ok_or("port")?;
        let protocol = text(&port["protocol"], "protocol")?;
        require(ports.contains(&(number, protocol)), || {
            format!("port {number} of no container")
        })?;
    }
    Ok(())
}
