//! Identity, SKU, priority, encryption, logs, name resolution.

use std::collections::HashSet;

use base64::Engine as _;
use serde_json::{Map, Value};

use super::{Checked, items, object, one_of, require, text};

pub(super) fn check(group: &Map<String, Value>, properties: &Map<String, Value>) -> Checked {
    let identities = identity(group.get("identity"))?;
    one_of(properties.get("priority"), &["Regular", "Spot"], "priority")?;
    let linux = properties["osType"] == "Linux";
    let total = |member: &str| -> f64 {
        let requests = items(properties, "containers").iter();
        requests
            .filter_map(|it| it["properties"]["resources"]["requests"][member].as_f64())
            .sum()
    };
    let (cpu, memory) = (total("cpu"), total("memoryInGB"));
    if properties.get("priority").is_some_and(|it| it == "Spot") {
        let alone = !properties.contains_key("ipAddress") && !properties.contains_key("subnetIds");
        let fits = cpu < 4.001 && memory < 16.001;
        require(
            linux && alone && fits && properties["sku"] == "Standard",
            || "Spot".to_owned(),
        )?;
    }
    if properties["sku"] == "Confidential" {
        require(linux && cpu < 31.001 && memory < 180.001, || {
            "Confidential".to_owned()
        })?;
    }
    if let Some(confidential) = properties.get("confidentialComputeProperties") {
        let confidential = object(confidential, "confidential", &["ccePolicy!"])?;
        let policy = text(&confidential["ccePolicy"], "ccePolicy")?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(policy);
        require(
            decoded.is_ok() && !policy.is_empty() && properties["sku"] == "Confidential",
            || "ccePolicy".to_owned(),
        )?;
    }
    if let Some(key) = properties.get("encryptionProperties") {
        let members = ["vaultBaseUrl!", "keyName!", "keyVersion!", "identity"];
        let key = object(key, "encryption", &members)?;
        let url = text(&key["vaultBaseUrl"], "vaultBaseUrl")?;
        require(url.starts_with("https://"), || format!("vault {url}"))?;
        if let Some(identity) = key.get("identity") {
            let identity = text(identity, "identity")?;
            require(identities.contains(identity), || {
                format!("foreign identity {identity}")
            })?;
        }
    }
    if let Some(diagnostics) = properties.get("diagnostics") {
        let diagnostics = object(diagnostics, "diagnostics", &["logAnalytics!"])?;
        let members = ["workspaceId!", "workspaceKey!", "logType", "metadata"];
        let logs = object(&diagnostics["logAnalytics"], "logAnalytics", &members)?;
        one_of(
            logs.get("logType"),
            &["ContainerInsights", "ContainerInstanceLogs"],
            "logType",
        )?;
        require(logs["workspaceKey"] != "", || "no key".to_owned())?;
    }
    for extension in items(properties, "extensions") {
        let extension = object(extension, "extension", &["name!", "properties!"])?;
        let members = ["extensionType!", "version!"];
        object(&extension["properties"], "extension", &members)?;
        require(properties.contains_key("subnetIds"), || {
            "extension without a subnet".to_owned()
        })?;
    }
    for reference in items(properties, "secretReferences") {
        let members = ["name!", "identity!", "secretReferenceUri!"];
        let reference = object(reference, "secret reference", &members)?;
        let identity = text(&reference["identity"], "identity")?;
        require(identities.contains(identity), || {
            format!("foreign identity {identity}")
        })?;
    }
    dns(properties)
}

fn identity(identity: Option<&Value>) -> Result<HashSet<&str>, String> {
    let Some(identity) = identity else {
        return Ok(HashSet::new());
    };
    let identity = object(identity, "identity", &["type!", "userAssignedIdentities"])?;
    let kinds = [
        "SystemAssigned",
        "UserAssigned",
        "SystemAssigned, UserAssigned",
    ];
    one_of(identity.get("type"), &kinds, "identity.type")?;
    let users = identity
        .get("userAssignedIdentities")
        .and_then(Value::as_object);
    let named = text(&identity["type"], "type")?.contains("User");
    require(
        named == users.is_some_and(|users| !users.is_empty()),
        || "identity type and identities disagree".to_owned(),
    )?;
    let empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    require(users.into_iter().flatten().all(|(_, it)| empty(it)), || {
        "an identity with members".to_owned()
    })?;
    Ok(users
        .into_iter()
        .flatten()
        .map(|(id, _)| id.as_str())
        .collect())
}

fn dns(properties: &Map<String, Value>) -> Checked {
    let Some(config) = properties.get("dnsConfig") else {
        return Ok(());
    };
    let config = object(
        config,
        "dnsConfig",
        &["nameServers!", "searchDomains", "options"],
    )?;
    let servers = items(config, "nameServers");
    require((1..=3).contains(&servers.len()), || {
        format!("{} name servers", servers.len())
    })?;
    let searches = config
        .get("searchDomains")
        .map_or("", |it| it.as_str().unwrap_or("?"));
    require(
        searches.len() <= 2048 && searches.split(' ').count() <= 32,
        || "search domains".to_owned(),
    )?;
    require(properties.contains_key("subnetIds"), || {
        "dnsConfig without a subnet".to_owned()
    })
}

pub(super) fn dns_name(address: &Map<String, Value>) -> Checked {
    let scopes = [
        "Unsecure",
        "TenantReuse",
        "SubscriptionReuse",
        "ResourceGroupReuse",
        "Noreuse",
    ];
    let scope = address.get("autoGeneratedDomainNameLabelScope");
    one_of(scope, &scopes, "scope")?;
    let Some(name) = address.get("dnsNameLabel") else {
        return require(scope.is_none(), || "scope without a label".to_owned());
    };
    let name = text(name, "dnsNameLabel")?;
    let inner = name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let edges = !name.starts_with('-') && !name.ends_with('-');
    require(
        address["type"] == "Public" && inner && edges && (5..=63).contains(&name.len()),
        || format!("dnsNameLabel {name}"),
    )
}
