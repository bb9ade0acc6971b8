//! A PUT body with one thing wrong in its shape is refused, wherever that is: by the table of all members that a request of
//! api-version 2023-05-01 may have.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Test, fixture, large, quick};

type Table = BTreeMap<String, BTreeMap<String, String>>;

/// Every place of `value`, which is of `kind`, with its kind.
fn places(table: &Table, value: &Value, kind: &str, at: &str, into: &mut Vec<(String, String)>) {
    into.push((at.to_owned(), kind.to_owned()));
    if let Some(inner) = kind.strip_prefix("list of ") {
        for (n, item) in value.as_array().unwrap().iter().enumerate() {
            places(table, item, inner, &format!("{at}/{n}"), into);
        }
    } else if let Some(members) = table.get(kind) {
        for (name, item) in value.as_object().unwrap() {
            let known = members
                .get(name)
                .or_else(|| members.get(&format!("{name}!")));
            let kind = known.unwrap_or_else(|| panic!("{at}/{name} is unknown"));
            places(table, item, kind, &format!("{at}/{name}"), into);
        }
    }
}

/// What may not stand where `kind` is wanted.
fn wrong(table: &Table, value: &Value, kind: &str) -> Vec<Value> {
    let Some(members) = table.get(kind) else {
        return match kind {
            "any" => vec![],
            "text" => vec![json!(7), json!(true), json!({})],
            "int" => vec![json!("80"), json!(1.5), json!(1_i64 << 40)],
            "amount" => vec![json!("1"), json!(0), json!(-1)],
            "bool" => vec![json!("true"), json!(1)],
            words if words.starts_with("one of ") => vec![json!("Other"), json!(1)],
            _ => vec![json!("text"), json!(7)],
        };
    };
    let object = value.as_object().unwrap();
    let mut wrong = vec![json!("text"), json!([])];
    for more in [
        "unknown",
        "provisioningState",
        "instanceView",
        "fqdn",
        "id",
        "secretReferences",
    ] {
        let known = members.contains_key(more) || members.contains_key(&format!("{more}!"));
        if !known {
            let mut spoilt = object.clone();
            spoilt.insert(more.to_owned(), json!("x"));
            wrong.push(Value::Object(spoilt));
        }
    }
    for needed in members.keys().filter_map(|name| name.strip_suffix('!')) {
        let mut spoilt = object.clone();
        spoilt.remove(needed);
        wrong.push(Value::Object(spoilt));
    }
    wrong
}

#[tokio::test]
async fn whatever_is_wrong_in_the_shape_is_refused() {
    let mut config = quick();
    config.throttle = false;
    let test = Test::with(config).await;
    let table: Table = serde_json::from_value(fixture("put-2023-05-01.json")).unwrap();
    let body = large();
    let mut all = Vec::new();
    places(&table, &body, "ContainerGroup", "", &mut all);
    let mut tried = 0;
    for (at, kind) in all {
        for wrong in wrong(&table, body.pointer(&at).unwrap(), &kind) {
            let mut spoilt = body.clone();
            *spoilt.pointer_mut(&at).unwrap() = wrong.clone();
            let reply = test.put("cg", &spoilt).await;
            assert_eq!(reply.status, 400, "{at} ({kind}) may be {wrong}");
            tried += 1;
        }
    }
    assert!(tried > 300, "{tried}");
    assert_eq!(test.control.group_count(), 0);
    assert_eq!(test.put("cg", &body).await.status, 201);
    test.emulator.stop().await;
}
