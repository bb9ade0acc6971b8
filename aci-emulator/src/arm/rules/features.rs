//! What a group has besides containers: identity, zone, SKU, priority, policy, encryption, extensions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Check, Group, items, refuse, text};

impl Group<'_> {
    pub(super) fn features(&self, body: &Value) -> Check {
        let group = self.name;
        if items(body, "zones").len() > 1 {
            return refuse(
                "InvalidZones",
                format!("The container group '{group}' can have one availability zone only."),
            );
        }
        self.identity(body)?;
        self.sizes()?;
        self.policy()?;
        self.encryption(body)?;
        self.references(body)?;
        let in_subnet = !items(self.properties, "subnetIds").is_empty();
        let bare = |member: &str| !items(self.properties, member).is_empty() && !in_subnet;
        if bare("extensions") {
            return refuse(
                "ExtensionsNotSupportedWithoutSubnet",
                format!("The container group '{group}' with extensions must have 'subnetIds'."),
            );
        }
        let dns = self
            .properties
            .get("dnsConfig")
            .filter(|dns| !dns.is_null());
        match dns {
            Some(dns) if !in_subnet || items(dns, "nameServers").is_empty() => refuse(
                "InvalidDnsConfig",
                format!(
                    "The 'dnsConfig' of container group '{group}' must have name servers, and the group 'subnetIds'."
                ),
            ),
            _ => Ok(()),
        }
    }

    /// The type says which kinds there are.
    fn identity(&self, body: &Value) -> Check {
        let Some(identity) = body.get("identity").filter(|identity| !identity.is_null()) else {
            return Ok(());
        };
        let users = identity
            .get("userAssignedIdentities")
            .and_then(Value::as_object);
        let id = |id: &String| {
            let id = id.to_ascii_lowercase();
            id.starts_with("/subscriptions/")
                && id.contains("/providers/microsoft.managedidentity/userassignedidentities/")
        };
        let named = text(identity, "type").is_some_and(|kind| kind.contains("UserAssigned"));
        let some = users.is_some_and(|users| !users.is_empty());
        if named != some || !users.is_none_or(|users| users.keys().all(id)) {
            return refuse(
                "InvalidIdentity",
                format!(
                    "The identity of container group '{}' is invalid: its type and its 'userAssignedIdentities' must agree.",
                    self.name
                ),
            );
        }
        Ok(())
    }

    /// Spot and confidential groups are smaller, and for Linux.
    fn sizes(&self) -> Check {
        let group = self.name;
        let sku = text(self.properties, "sku").unwrap_or("Standard");
        let spot = text(self.properties, "priority") == Some("Spot");
        let confidential = sku == "Confidential";
        if spot && sku != "Standard" {
            return refuse(
                "SpotPriorityContainerGroupNotSupportedInSku",
                format!("Spot Priority Container Group is not supported in '{sku}' Sku."),
            );
        }
        if !spot && !confidential {
            return Ok(());
        }
        if self.windows() {
            return refuse(
                "OsNotSupported",
                format!(
                    "The container group '{group}' with 'Spot' priority or 'Confidential' sku must have 'Linux' OS type."
                ),
            );
        }
        let sum = |member: &str| -> f64 {
            items(self.properties, "containers")
                .iter()
                .filter_map(|container| {
                    let pointer = format!("/properties/resources/requests/{member}");
                    container.pointer(&pointer)?.as_f64()
                })
                .sum()
        };
        let (cpu, memory) = if spot { (4.0, 16.0) } else { (31.0, 180.0) };
        if sum("cpu") > cpu + 1e-6 || sum("memoryInGB") > memory + 1e-6 {
            return refuse(
                "InvalidResourceRequests",
                format!(
                    "The total resource requests of container group '{group}' must be at most '{cpu}' CPU and '{memory}' GB."
                ),
            );
        }
        Ok(())
    }

    fn policy(&self) -> Check {
        let policy = self.properties.get("confidentialComputeProperties");
        let Some(policy) = policy.and_then(|policy| text(policy, "ccePolicy")) else {
            return Ok(());
        };
        if text(self.properties, "sku") == Some("Confidential") && STANDARD.decode(policy).is_ok() {
            return Ok(());
        }
        refuse(
            "InvalidCcePolicy",
            format!(
                "The 'ccePolicy' of container group '{}' must be base64, and its sku 'Confidential'.",
                self.name
            ),
        )
    }

    /// References to Key Vault secrets: read by an identity of the group, and there when a variable names them.
    fn references(&self, body: &Value) -> Check {
        let references = items(self.properties, "secretReferences");
        let known = |name: &str| references.iter().any(|it| text(it, "name") == Some(name));
        let foreign = references
            .iter()
            .filter_map(|reference| text(reference, "identity"))
            .find(|identity| !is_own(body, identity));
        let missing = self
            .all()
            .flat_map(|(_, properties, _)| items(properties, "environmentVariables"))
            .filter_map(|variable| text(variable, "secureValueReference"))
            .find(|name| !known(name));
        match foreign.or(missing) {
            Some(bad) => refuse(
                "InvalidSecretReference",
                format!(
                    "The secret references of container group '{}' name '{bad}', which it does not have.",
                    self.name
                ),
            ),
            None => Ok(()),
        }
    }

    fn encryption(&self, body: &Value) -> Check {
        let Some(identity) = self
            .properties
            .get("encryptionProperties")
            .and_then(|encryption| text(encryption, "identity"))
        else {
            return Ok(());
        };
        if is_own(body, identity) {
            return Ok(());
        }
        refuse(
            "InvalidEncryptionIdentity",
            format!(
                "The identity '{identity}' of 'encryptionProperties' is not an identity of container group '{}'.",
                self.name
            ),
        )
    }
}

/// Whether `identity` is one of the group's.
fn is_own(body: &Value, identity: &str) -> bool {
    let users = body
        .pointer("/identity/userAssignedIdentities")
        .and_then(Value::as_object);
    users.is_some_and(|users| users.keys().any(|user| user.eq_ignore_ascii_case(identity)))
}
