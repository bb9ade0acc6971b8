//! The shape of a PUT body: members, types and words, from a table of the whole of api-version 2023-05-01. What the table
//! does not know is refused, and read-only members are not in it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{Checked, require};

type Table = BTreeMap<String, BTreeMap<String, String>>;

/// One line for each member; `!` behind its name when it must be there.
static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let text = include_str!("../../../../../aci-emulator/tests/fixtures/put-2023-05-01.json");
    serde_json::from_str(text).unwrap()
});

/// The same with what version 2025-09-01 has for secrets of a key vault.
static WITH_VAULT: LazyLock<Table> = LazyLock::new(|| {
    let mut table = TABLE.clone();
    for (of, member, kind) in [
        (
            "ContainerGroupPropertiesProperties",
            "secretReferences",
            "list of SecretReference",
        ),
        ("SecretReference", "name!", "text"),
        ("SecretReference", "identity!", "text"),
        ("SecretReference", "secretReferenceUri!", "text"),
        ("EnvironmentVariable", "secureValueReference", "text"),
        ("ImageRegistryCredential", "passwordReference", "text"),
        ("AzureFileVolume", "storageAccountKeyReference", "text"),
        ("Volume", "secretReference", "map text"),
    ] {
        let members = table.entry(of.to_owned()).or_default();
        members.insert(member.to_owned(), kind.to_owned());
    }
    table
});

/// Whether `body` has the shape.
pub(super) fn check(body: &Value) -> Checked {
    let vault = body.pointer("/properties/secretReferences").is_some();
    let table = if vault { &*WITH_VAULT } else { &*TABLE };
    one(table, body, "ContainerGroup", "")
}

fn one(table: &Table, value: &Value, kind: &str, at: &str) -> Checked {
    let fits = |fits: bool| require(fits, || format!("{at} is not {kind}: {value}"));
    if let Some(inner) = kind.strip_prefix("list of ") {
        fits(value.is_array())?;
        let mut items = value.as_array().into_iter().flatten();
        return items.try_for_each(|item| one(table, item, inner, &format!("{at}[]")));
    }
    if let Some(inner) = kind.strip_prefix("map ") {
        fits(value.is_object())?;
        let mut items = value.as_object().into_iter().flatten();
        return items.try_for_each(|(name, item)| one(table, item, inner, &format!("{at}.{name}")));
    }
    if let Some(words) = kind.strip_prefix("one of ") {
        let known = |word| words.split(" | ").any(|known| known == word);
        return fits(value.as_str().is_some_and(known));
    }
    match kind {
        "any" => Ok(()),
        "text" => fits(value.is_string()),
        "bool" => fits(value.is_boolean()),
        "int" => fits(value.as_i64().is_some_and(|n| i32::try_from(n).is_ok())),
        "amount" => fits(value.as_f64().is_some_and(|n| n > 0.0)),
        _ => {
            let members = &table[kind];
            let object = value.as_object().ok_or(format!("{at} is no {kind}"))?;
            for (name, value) in object {
                let known = members
                    .get(name)
                    .or_else(|| members.get(&format!("{name}!")));
                let kind = known.ok_or(format!("{at}.{name} is unknown"))?;
                one(table, value, kind, &format!("{at}.{name}"))?;
            }
            let mut needed = members.keys().filter_map(|name| name.strip_suffix('!'));
            let missing = needed.find(|name| !object.contains_key(*name));
            missing.map_or(Ok(()), |name| Err(format!("{at}.{name} is missing")))
        }
    }
}

/// Requests of the specification's examples.
const EXAMPLES: &[&str] = &[
    include_str!(
        "../../../../../tests/fixtures/azure/requests/container-group-create-confidential.json"
    ),
    include_str!(
        "../../../../../tests/fixtures/azure/requests/container-group-encryption-properties.json"
    ),
    include_str!("../../../../../tests/fixtures/azure/requests/container-group-extensions.json"),
    include_str!(
        "../../../../../tests/fixtures/azure/requests/container-groups-create-or-update.json"
    ),
    include_str!(
        "../../../../../tests/fixtures/azure/requests/container-groups-create-or-update-secret-reference.json"
    ),
    include_str!(
        "../../../../../tests/fixtures/azure/requests/container-groups-create-priority.json"
    ),
];

fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                pointers(value, &format!("{at}/{}", name.replace('/', "~1")), into);
            }
        }
        Value::Array(items) => {
            for (n, value) in items.iter().enumerate() {
                pointers(value, &format!("{at}/{n}"), into);
            }
        }
        _ => {}
    }
}

/// Paths below which anything goes, or whose members have names of the user's.
const FREE: &[&str] = &[
    "/settings",
    "/protectedSettings",
    "/emptyDir",
    "/tags",
    "/secret/",
    "/secretReference/",
    "/metadata",
];

#[test]
fn the_examples_of_the_specification_pass_and_spoilt_ones_do_not() {
    let mut spoilt = 0;
    for text in EXAMPLES {
        let body: Value = serde_json::from_str(text).unwrap();
        check(&body).unwrap_or_else(|why| panic!("{why}\n{body:#}"));
        let mut all = Vec::new();
        pointers(&body, "", &mut all);
        all.retain(|at| !FREE.iter().any(|free| at.contains(free)));
        for at in all {
            let value = body.pointer(&at).unwrap();
            let mut others = vec![Value::Null];
            others.push(if value.is_string() {
                json!(7)
            } else {
                json!("seven")
            });
            if let Some(members) = value.as_object() {
                // The members of these are names of the user's.
                if !at.ends_with("userAssignedIdentities")
                    && !at.ends_with("/secret")
                    && !at.ends_with("/secretReference")
                {
                    for unknown in [
                        "unknown",
                        "provisioningState",
                        "instanceView",
                        "fqdn",
                        "principalId",
                        "isCreatedFromStandbyPool",
                    ] {
                        let mut more = members.clone();
                        more.insert(unknown.to_owned(), json!("x"));
                        others.push(Value::Object(more));
                    }
                }
            }
            for other in others {
                let mut body = body.clone();
                *body.pointer_mut(&at).unwrap() = other.clone();
                assert!(check(&body).is_err(), "{at} may be {other}");
                spoilt += 1;
            }
        }
    }
    assert!(spoilt > 500, "{spoilt}");
}

#[test]
fn a_missing_member_that_is_required_is_missed() {
    let body: Value = serde_json::from_str(EXAMPLES[3]).unwrap();
    for at in [
        "/location",
        "/properties",
        "/properties/osType",
        "/properties/containers",
        "/properties/containers/0/name",
        "/properties/containers/0/properties/image",
        "/properties/containers/0/properties/resources",
        "/properties/containers/0/properties/resources/requests/cpu",
        "/properties/containers/0/properties/volumeMounts/0/mountPath",
        "/properties/imageRegistryCredentials",
        "/properties/ipAddress/ports",
        "/properties/subnetIds/0/id",
    ] {
        let mut spoilt = body.clone();
        let (parent, name) = at.rsplit_once('/').unwrap();
        let parent = spoilt.pointer_mut(parent).and_then(Value::as_object_mut);
        let Some(parent) = parent.filter(|parent| parent.contains_key(name)) else {
            continue;
        };
        parent.remove(name);
        let optional = at.ends_with("imageRegistryCredentials");
        assert_eq!(check(&spoilt).is_ok(), optional, "{at}");
    }
}
