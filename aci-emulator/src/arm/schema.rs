//! The shape of a container group's PUT body, as a table.
//!
//! Members, types and enums of api-version 2023-05-01 (the published specification of `Microsoft.ContainerInstance`),
//! plus those that came later marked [`later`]. Read-only members may be sent by nobody here: this
//! emulator is stricter than the service, so that a client sends nothing by accident. What the
//! shape cannot say is in [`super::rules`].

use serde_json::Value;

use super::errors::ApiError;

/// What a member may hold.
#[derive(Clone, Copy)]
enum Kind {
    Str,
    Bool,
    Int,
    /// A number above zero.
    Amount,
    Any,
    Enum(&'static [&'static str]),
    Obj(&'static Shape),
    Arr(&'static Kind),
    Map(&'static Kind),
}

use Kind::{Amount, Any, Arr, Bool, Enum, Int, Map, Obj, Str};

struct Shape {
    name: &'static str,
    fields: &'static [Field],
}

struct Field {
    name: &'static str,
    kind: Kind,
    required: bool,
    /// Only in api-versions after 2023-05-01.
    later: bool,
}

const fn opt(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
        later: false,
    }
}

const fn req(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: true,
        later: false,
    }
}

const fn later(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        required: false,
        later: true,
    }
}

macro_rules! shapes {
    ($($id:ident = $name:literal [$($field:expr),* $(,)?];)*) => {
        $(static $id: Shape = Shape { name: $name, fields: &[$($field),*] };)*
    };
}

const STRINGS: Kind = Arr(&Str);

shapes! {
    GROUP = "ContainerGroup" [
        opt("location", Str), opt("tags", Map(&Str)), opt("zones", STRINGS), opt("identity", Obj(&IDENTITY)), req("properties", Obj(&PROPERTIES)),
    ];
    IDENTITY = "ContainerGroupIdentity" [
        opt("type", Enum(&["SystemAssigned", "UserAssigned", "SystemAssigned, UserAssigned", "None"])),
        opt("userAssignedIdentities", Map(&Obj(&EMPTY))),
    ];
    EMPTY = "UserAssignedIdentities" [];
    PROPERTIES = "ContainerGroupProperties" [
        req("containers", Arr(&Obj(&CONTAINER))), opt("initContainers", Arr(&Obj(&INIT))), opt("osType", Any),
        opt("restartPolicy", Enum(&["Always", "OnFailure", "Never"])), opt("ipAddress", Obj(&IP)), opt("subnetIds", Arr(&Obj(&SUBNET))),
        opt("dnsConfig", Obj(&DNS)), opt("imageRegistryCredentials", Arr(&Obj(&CREDENTIAL))), opt("volumes", Arr(&Obj(&VOLUME))),
        opt("sku", Enum(&["Standard", "Dedicated", "Confidential"])), opt("priority", Enum(&["Regular", "Spot"])),
        opt("diagnostics", Obj(&DIAGNOSTICS)), opt("encryptionProperties", Obj(&ENCRYPTION)), opt("confidentialComputeProperties", Obj(&CONFIDENTIAL)),
        opt("extensions", Arr(&Obj(&EXTENSION))), later("containerGroupProfile", Obj(&PROFILE)), later("standbyPoolProfile", Obj(&STANDBY)),
        later("secretReferences", Arr(&Obj(&SECRET_REFERENCE))), later("identityAcls", Obj(&ACLS)),
    ];
    CONTAINER = "Container" [req("name", Str), req("properties", Obj(&CONTAINER_PROPERTIES))];
    CONTAINER_PROPERTIES = "ContainerProperties" [
        req("image", Str), opt("command", STRINGS), opt("ports", Arr(&Obj(&PORT))), opt("environmentVariables", Arr(&Obj(&ENV))),
        opt("resources", Obj(&RESOURCES)), opt("volumeMounts", Arr(&Obj(&MOUNT))), opt("livenessProbe", Obj(&PROBE)),
        opt("readinessProbe", Obj(&PROBE)), opt("securityContext", Obj(&SECURITY)), later("configMap", Obj(&CONFIG_MAP)),
    ];
    INIT = "InitContainerDefinition" [req("name", Str), req("properties", Obj(&INIT_PROPERTIES))];
    INIT_PROPERTIES = "InitContainerPropertiesDefinition" [
        opt("image", Str), opt("command", STRINGS), opt("environmentVariables", Arr(&Obj(&ENV))), opt("volumeMounts", Arr(&Obj(&MOUNT))),
        opt("securityContext", Obj(&SECURITY)),
    ];
    PORT = "Port" [req("port", Int), opt("protocol", Enum(&["TCP", "UDP"]))];
    ENV = "EnvironmentVariable" [req("name", Str), opt("value", Str), opt("secureValue", Str), later("secureValueReference", Str)];
    RESOURCES = "ResourceRequirements" [opt("requests", Obj(&AMOUNTS)), opt("limits", Obj(&AMOUNTS))];
    AMOUNTS = "ResourceAmounts" [opt("cpu", Amount), opt("memoryInGB", Amount), opt("gpu", Obj(&GPU))];
    GPU = "GpuResource" [req("count", Int), req("sku", Enum(&["K80", "P100", "V100"]))];
    MOUNT = "VolumeMount" [req("name", Str), req("mountPath", Str), opt("readOnly", Bool)];
    PROBE = "ContainerProbe" [
        opt("exec", Obj(&PROBE_EXEC)), opt("httpGet", Obj(&PROBE_HTTP)), opt("initialDelaySeconds", Int), opt("periodSeconds", Int),
        opt("failureThreshold", Int), opt("successThreshold", Int), opt("timeoutSeconds", Int),
    ];
    PROBE_EXEC = "ContainerExec" [opt("command", STRINGS)];
    PROBE_HTTP = "ContainerHttpGet" [
        req("port", Int), opt("path", Str), opt("scheme", Enum(&["http", "https"])), opt("httpHeaders", Arr(&Obj(&HEADER))),
    ];
    HEADER = "HttpHeader" [opt("name", Str), opt("value", Str)];
    SECURITY = "SecurityContextDefinition" [
        opt("privileged", Bool), opt("allowPrivilegeEscalation", Bool), opt("capabilities", Obj(&CAPABILITIES)), opt("runAsUser", Int),
        opt("runAsGroup", Int), opt("seccompProfile", Str),
    ];
    CAPABILITIES = "SecurityContextCapabilitiesDefinition" [opt("add", STRINGS), opt("drop", STRINGS)];
    CONFIG_MAP = "ConfigMap" [opt("keyValuePairs", Map(&Str))];
    IP = "IpAddress" [
        req("ports", Arr(&Obj(&PORT))), req("type", Enum(&["Public", "Private"])), opt("ip", Str), opt("dnsNameLabel", Str),
        opt("autoGeneratedDomainNameLabelScope", Enum(&["Unsecure", "TenantReuse", "SubscriptionReuse", "ResourceGroupReuse", "Noreuse"])),
    ];
    SUBNET = "ContainerGroupSubnetId" [req("id", Str), opt("name", Str)];
    DNS = "DnsConfiguration" [req("nameServers", STRINGS), opt("searchDomains", Str), opt("options", Str)];
    CREDENTIAL = "ImageRegistryCredential" [
        req("server", Str), opt("username", Str), opt("password", Str), opt("identity", Str), opt("identityUrl", Str), later("passwordReference", Str),
    ];
    VOLUME = "Volume" [
        req("name", Str), opt("emptyDir", Any), opt("secret", Map(&Str)), opt("gitRepo", Obj(&GIT)), opt("azureFile", Obj(&AZURE_FILE)),
        later("secretReference", Map(&Str)),
    ];
    GIT = "GitRepoVolume" [req("repository", Str), opt("directory", Str), opt("revision", Str)];
    AZURE_FILE = "AzureFileVolume" [
        req("shareName", Str), req("storageAccountName", Str), opt("storageAccountKey", Str), opt("readOnly", Bool),
        later("storageAccountKeyReference", Str), later("userAssignedIdentityClientId", Str),
    ];
    DIAGNOSTICS = "ContainerGroupDiagnostics" [opt("logAnalytics", Obj(&LOG_ANALYTICS))];
    LOG_ANALYTICS = "LogAnalytics" [
        req("workspaceId", Str), req("workspaceKey", Str), opt("logType", Enum(&["ContainerInsights", "ContainerInstanceLogs"])),
        opt("metadata", Map(&Str)), opt("workspaceResourceId", Str),
    ];
    ENCRYPTION = "EncryptionProperties" [req("vaultBaseUrl", Str), req("keyName", Str), req("keyVersion", Str), opt("identity", Str)];
    CONFIDENTIAL = "ConfidentialComputeProperties" [opt("ccePolicy", Str)];
    EXTENSION = "DeploymentExtensionSpec" [req("name", Str), opt("properties", Obj(&EXTENSION_PROPERTIES))];
    EXTENSION_PROPERTIES = "DeploymentExtensionSpecProperties" [
        req("extensionType", Str), req("version", Str), opt("settings", Any), opt("protectedSettings", Any),
    ];
    PROFILE = "ContainerGroupProfileReference" [opt("id", Str), opt("revision", Int)];
    STANDBY = "StandbyPoolProfile" [opt("id", Str), opt("failContainerGroupCreateOnReuseFailure", Bool)];
    SECRET_REFERENCE = "SecretReference" [req("name", Str), req("identity", Str), req("secretReferenceUri", Str)];
    ACLS = "IdentityAcls" [opt("defaultAccess", Enum(&["All", "System", "User"])), opt("acls", Arr(&Obj(&ACL)))];
    ACL = "IdentityAccessControl" [opt("identity", Str), opt("access", Enum(&["All", "System", "User"]))];
    PATCH = "Resource" [opt("tags", Map(&Str)), opt("location", Str), opt("zones", STRINGS)];
    EXEC = "ContainerExecRequest" [req("command", Str), opt("terminalSize", Obj(&TERMINAL))];
    TERMINAL = "TerminalSize" [opt("rows", Int), opt("cols", Int)];
}

/// Checks a PUT body against the members, types and enums of its api-version.
pub(crate) fn check_group(body: &Value, api_version: &str) -> Result<(), ApiError> {
    check(body, &GROUP, api_version)
}

/// The same for a PATCH.
pub(crate) fn check_patch(body: &Value) -> Result<(), ApiError> {
    check(body, &PATCH, "")
}

/// The same for the body of exec.
pub(crate) fn check_exec(body: &Value) -> Result<(), ApiError> {
    check(body, &EXEC, "")
}

fn check(body: &Value, shape: &'static Shape, api_version: &str) -> Result<(), ApiError> {
    // Versions are dates: their order is the order of their text.
    let with_later = api_version > "2023-05-01";
    object(body, shape, with_later, "").map_err(|what| ApiError::content(&what))
}

fn object(value: &Value, shape: &Shape, with_later: bool, path: &str) -> Result<(), String> {
    let Some(map) = value.as_object() else {
        return Err(mismatch(value, shape.name, path));
    };
    for (name, value) in map {
        let path = join(path, name);
        let known = shape
            .fields
            .iter()
            .find(|field| field.name == name && (with_later || !field.later));
        let Some(field) = known else {
            return Err(format!(
                "Could not find member '{name}' on object of type '{}'. Path '{path}'",
                shape.name
            ));
        };
        // A null is as good as an absent member.
        if !value.is_null() {
            one(value, field.kind, with_later, &path)?;
        }
    }
    let missing = |field: &&Field| field.required && map.get(field.name).is_none_or(Value::is_null);
    match shape.fields.iter().find(missing) {
        Some(field) => Err(format!(
            "Required property '{}' not found in JSON. Path '{path}'",
            field.name
        )),
        None => Ok(()),
    }
}

fn one(value: &Value, kind: Kind, with_later: bool, path: &str) -> Result<(), String> {
    let (ok, name) = match kind {
        Any => (true, ""),
        Str => (value.is_string(), "System.String"),
        Bool => (value.is_boolean(), "System.Boolean"),
        Int => (
            value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            "System.Int32",
        ),
        Amount => (value.as_f64().is_some_and(|n| n > 0.0), "System.Double"),
        Enum(words) => (
            value.as_str().is_some_and(|word| words.contains(&word)),
            "System.Enum",
        ),
        Obj(shape) => return object(value, shape, with_later, path),
        Arr(inner) => {
            let Some(items) = value.as_array() else {
                return Err(mismatch(value, "System.Array", path));
            };
            return items.iter().enumerate().try_for_each(|(at, item)| {
                one(item, *inner, with_later, &format!("{path}[{at}]"))
            });
        }
        Map(inner) => {
            let Some(map) = value.as_object() else {
                return Err(mismatch(
                    value,
                    "System.Collections.Generic.Dictionary",
                    path,
                ));
            };
            return map
                .iter()
                .try_for_each(|(key, item)| one(item, *inner, with_later, &join(path, key)));
        }
    };
    if ok {
        Ok(())
    } else {
        Err(mismatch(value, name, path))
    }
}

/// Names the type, never the value: it may be a secret.
fn mismatch(value: &Value, wanted: &str, path: &str) -> String {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "Boolean",
        Value::Number(_) => "Number",
        Value::String(_) => "String",
        Value::Array(_) => "Array",
        Value::Object(_) => "Object",
    };
    format!("Error converting value of type '{got}' to type '{wanted}'. Path '{path}'")
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
