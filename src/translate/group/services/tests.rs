use std::sync::Arc;

use serde_json::{Value, json};

use super::{MAX_VARIABLES, Service};
use crate::api::Os;
use crate::azure::model::EnvironmentVariable;
use crate::translate::testing::{HELLO, defaults, owner, pod, resolved};
use crate::translate::{Note, Resolved, Translation, container_group};

fn service(name: &str, ip: &str, ports: &Value) -> k8s_openapi::api::core::v1::Service {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": ip, "ports": ports},
    }))
    .unwrap()
}

fn of(name: &str, ip: &str, ports: &Value) -> Service {
    Service::of(&service(name, ip, ports)).unwrap()
}

fn kubernetes() -> Service {
    of(
        "kubernetes",
        "10.0.0.1",
        &json!([{"name": "https", "port": 443}]),
    )
}

/// What is known when the namespace has these services.
fn with(services: Vec<Service>) -> Resolved {
    Resolved {
        services: Some(Arc::from(services)),
        kubernetes: Some(Some(Arc::new(kubernetes()))),
        ..resolved()
    }
}

fn translate(changes: &[(&str, Value)], resolved: &Resolved) -> Translation {
    let pod = pod(HELLO, changes);
    container_group(&pod, &defaults(Os::Linux), &owner(&pod), resolved).unwrap()
}

fn variables(translation: &Translation) -> Vec<(&str, &str)> {
    let text = |it: &EnvironmentVariable| it.secure_value.is_none();
    let container = &translation.group.properties.containers[0];
    let all = container.properties.environment_variables.iter();
    all.filter(|it| it.name != "HOSTNAME")
        .inspect(|it| assert!(text(it)))
        .map(|it| (it.name.as_str(), it.value.as_deref().unwrap()))
        .collect()
}

fn notes(translation: &Translation) -> Vec<&Note> {
    let notes = translation.notes.iter();
    notes
        .filter(|note| note.reason == "ServiceVariablesSkipped")
        .collect()
}

const OF_KUBERNETES: [(&str, &str); 8] = [
    ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
    ("KUBERNETES_SERVICE_PORT", "443"),
    ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
    ("KUBERNETES_PORT", "tcp://10.0.0.1:443"),
    ("KUBERNETES_PORT_443_TCP", "tcp://10.0.0.1:443"),
    ("KUBERNETES_PORT_443_TCP_PROTO", "tcp"),
    ("KUBERNETES_PORT_443_TCP_PORT", "443"),
    ("KUBERNETES_PORT_443_TCP_ADDR", "10.0.0.1"),
];

#[test]
fn variables_of_a_service_are_a_kubelets() {
    let ports = json!([
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"port": 9153},
    ]);
    let got = of("kube-dns", "fd00::a", &ports).variables();
    let got: Vec<(&str, &str)> = got.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let expected = [
        ("KUBE_DNS_SERVICE_HOST", "fd00::a"),
        ("KUBE_DNS_SERVICE_PORT", "53"),
        ("KUBE_DNS_SERVICE_PORT_DNS_TCP", "53"),
        ("KUBE_DNS_SERVICE_PORT_DNS", "53"),
        ("KUBE_DNS_PORT", "tcp://[fd00::a]:53"),
        ("KUBE_DNS_PORT_53_TCP", "tcp://[fd00::a]:53"),
        ("KUBE_DNS_PORT_53_TCP_PROTO", "tcp"),
        ("KUBE_DNS_PORT_53_TCP_PORT", "53"),
        ("KUBE_DNS_PORT_53_TCP_ADDR", "fd00::a"),
        ("KUBE_DNS_PORT_53_UDP", "udp://[fd00::a]:53"),
        ("KUBE_DNS_PORT_53_UDP_PROTO", "udp"),
        ("KUBE_DNS_PORT_53_UDP_PORT", "53"),
        ("KUBE_DNS_PORT_53_UDP_ADDR", "fd00::a"),
        ("KUBE_DNS_PORT_9153_TCP", "tcp://[fd00::a]:9153"),
        ("KUBE_DNS_PORT_9153_TCP_PROTO", "tcp"),
        ("KUBE_DNS_PORT_9153_TCP_PORT", "9153"),
        ("KUBE_DNS_PORT_9153_TCP_ADDR", "fd00::a"),
    ];
    assert_eq!(got, expected);
}

#[test]
fn services_without_an_address_have_none() {
    for (ip, ports) in [
        ("None", json!([{"port": 1}])),
        ("", json!([])),
        ("10.0.0.9", json!(null)),
    ] {
        assert_eq!(Service::of(&service("a", ip, &ports)), None, "{ip:?}");
    }
}

#[test]
fn every_container_is_told_of_the_api_server_and_by_default_of_its_namespace() {
    let services = || vec![of("db", "10.0.0.2", &json!([{"port": 5432}])), kubernetes()];
    for (links, db) in [
        (json!(null), true),
        (json!(true), true),
        (json!(false), false),
    ] {
        let changes = [("/spec/enableServiceLinks", links.clone())];
        let translation = translate(&changes, &with(services()));
        let got = variables(&translation);
        assert_eq!(
            got[got.len() - if db { 15 } else { 8 }..][..8],
            OF_KUBERNETES,
            "{links}"
        );
        assert_eq!(
            got.contains(&("DB_PORT", "tcp://10.0.0.2:5432")),
            db,
            "{links}"
        );
        assert!(notes(&translation).is_empty());
    }
    // The one of another namespace is not the API server's.
    let changes = [("/metadata/namespace", json!("team"))];
    let other = of("kubernetes", "10.0.0.7", &json!([{"port": 80}]));
    let translation = translate(&changes, &with(vec![other]));
    assert!(variables(&translation).contains(&("KUBERNETES_SERVICE_HOST", "10.0.0.7")));
    // Nothing is known yet, or there is none.
    assert!(
        !variables(&translate(&[], &resolved()))
            .iter()
            .any(|(name, _)| name.contains("_SERVICE_HOST"))
    );
}

#[test]
fn the_pods_own_variables_win_and_may_name_them() {
    let env = json!([
        {"name": "DB_PORT", "value": "mine"},
        {"name": "URL", "value": "pg://$(DB_SERVICE_HOST):$(DB_SERVICE_PORT)/$(DB_PORT)"},
    ]);
    let changes = [
        ("/spec/containers/0/env", env),
        (
            "/spec/containers/0/command",
            json!(["run", "$(DB_SERVICE_HOST)"]),
        ),
    ];
    let services = vec![of("db", "10.0.0.2", &json!([{"port": 5432}]))];
    let translation = translate(&changes, &with(services));
    let got = variables(&translation);
    assert_eq!(
        got[..2],
        [("DB_PORT", "mine"), ("URL", "pg://10.0.0.2:5432/mine")]
    );
    assert_eq!(got.iter().filter(|(name, _)| *name == "DB_PORT").count(), 1);
    let container = &translation.group.properties.containers[0];
    assert_eq!(container.properties.command, ["run", "10.0.0.2"]);
}

#[test]
fn what_aci_does_not_take_is_left_out_with_one_note() {
    let name = "a".repeat(63);
    let long = of(&name, "10.0.0.3", &json!([{"port": 80}]));
    let translation = translate(&[], &with(vec![long]));
    let got = variables(&translation);
    assert!(got.iter().all(|(name, _)| name.len() <= 63));
    assert!(got.ends_with(&OF_KUBERNETES), "{got:?}");
    let notes = notes(&translation);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].message.starts_with("7 variables"), "{notes:?}");
    assert!(
        notes[0]
            .message
            .contains(&format!("{}_SERVICE_HOST", name.to_uppercase()))
    );
}

#[test]
fn a_large_namespace_makes_a_bounded_request() {
    let services = (0..400).map(|n| of(&format!("s{n}"), "10.0.0.4", &json!([{"port": 80}])));
    let translation = translate(&[], &with(services.collect()));
    let got = variables(&translation);
    assert!(got.len() <= MAX_VARIABLES + 2, "{}", got.len());
    assert!(got.contains(&("KUBERNETES_SERVICE_HOST", "10.0.0.1")));
    assert_eq!(notes(&translation).len(), 1);
}

#[test]
fn of_two_that_make_one_name_the_later_counts() {
    let ports = json!([{"port": 80}]);
    let services = vec![
        of("a", "10.0.0.5", &ports),
        of("a-service", "10.0.0.6", &ports),
    ];
    let translation = translate(&[], &with(services));
    let got = variables(&translation);
    let value = got.iter().filter(|(name, _)| *name == "A_SERVICE_PORT");
    assert_eq!(
        value.collect::<Vec<_>>(),
        [&("A_SERVICE_PORT", "tcp://10.0.0.6:80")]
    );
}
