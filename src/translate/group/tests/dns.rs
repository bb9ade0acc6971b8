//! `dnsPolicy` and `dnsConfig`, as a kubelet puts them together.

use serde_json::{Value, json};

use super::{body, container_group};
use crate::api::Os;
use crate::translate::testing::{HELLO, IIS, defaults, owner, pod, resolved};
use crate::translate::{ClusterDns, GroupDefaults, Refusals, Translation};

fn node(os: Os, subnet: bool, servers: &[&str]) -> GroupDefaults {
    GroupDefaults {
        subnet_id: subnet.then(|| "/subscriptions/s/x/subnets/aci".to_owned()),
        public_ip: false,
        cluster_dns: ClusterDns {
            servers: servers
                .iter()
                .map(|server| server.parse().unwrap())
                .collect(),
            domain: "cluster.local".to_owned(),
        },
        ..defaults(os)
    }
}

fn translate(
    text: &str,
    policy: &str,
    config: &Value,
    defaults: &GroupDefaults,
) -> Result<Translation, Refusals> {
    let changes = [
        ("/spec/dnsPolicy", json!(policy)),
        ("/spec/dnsConfig", config.clone()),
    ];
    let pod = pod(text, &changes);
    container_group(&pod, defaults, &owner(&pod), &resolved())
}

/// The group's `dnsConfig`, and what is told.
fn resolver(
    policy: &str,
    config: &Value,
    defaults: &GroupDefaults,
) -> (Value, Vec<(&'static str, String)>) {
    let text = if defaults.os == Os::Linux { HELLO } else { IIS };
    let translation = translate(text, policy, config, defaults).unwrap();
    let body = serde_json::to_value(&translation.group).unwrap();
    body::check(&body).unwrap_or_else(|why| panic!("{why}\n{body:#}"));
    let notes = translation.notes.into_iter();
    (
        body["properties"]["dnsConfig"].clone(),
        notes.map(|note| (note.reason, note.message)).collect(),
    )
}

#[test]
fn a_pod_in_a_subnet_resolves_names_as_on_a_kubelet() {
    let linux = node(Os::Linux, true, &["10.0.0.10", "fd00::10"]);
    let own = json!({
        "nameservers": ["10.0.0.10", "1.1.1.1"],
        "searches": ["corp.example", "cluster.local"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    });
    let cluster = "default.svc.cluster.local svc.cluster.local cluster.local";
    let none = json!(null);
    for (policy, config, expected) in [
        (
            "ClusterFirst",
            &none,
            json!({"nameServers": ["10.0.0.10"], "searchDomains": cluster, "options": "ndots:5"}),
        ),
        (
            "ClusterFirstWithHostNet",
            &json!({}),
            json!({"nameServers": ["10.0.0.10"], "searchDomains": cluster, "options": "ndots:5"}),
        ),
        (
            "ClusterFirst",
            &own,
            json!({"nameServers": ["10.0.0.10", "1.1.1.1"], "searchDomains": format!("{cluster} corp.example"),
                   "options": "ndots:2 edns0"}),
        ),
        ("Default", &none, json!(null)),
        (
            "Default",
            &own,
            json!({"nameServers": ["168.63.129.16", "10.0.0.10", "1.1.1.1"], "searchDomains": "corp.example cluster.local",
                   "options": "ndots:2 edns0"}),
        ),
        (
            "Default",
            &json!({"searches": ["corp.example"]}),
            json!({"nameServers": ["168.63.129.16"], "searchDomains": "corp.example"}),
        ),
    ] {
        assert_eq!(
            resolver(policy, config, &linux),
            (expected, vec![]),
            "{policy}"
        );
    }
    let (got, notes) = resolver("None", &own, &linux);
    assert_eq!(
        got,
        json!({"nameServers": ["10.0.0.10", "1.1.1.1"], "searchDomains": "corp.example cluster.local",
               "options": "ndots:2 edns0"})
    );
    assert_eq!(notes.len(), 1);
    assert!(notes[0].1.contains("168.63.129.16"), "{notes:?}");
}

#[test]
fn without_the_cluster_s_dns_a_pod_asks_azure_s_and_is_told() {
    for servers in [&[][..], &["fd00::10"]] {
        let linux = node(Os::Linux, true, servers);
        let (got, notes) = resolver("ClusterFirst", &json!(null), &linux);
        assert_eq!((got, notes[0].0), (json!(null), "MissingClusterDNS"));
        let own = json!({"searches": ["corp.example"]});
        let (got, notes) = resolver("ClusterFirst", &own, &linux);
        let expected = json!({"nameServers": ["168.63.129.16"], "searchDomains": "corp.example"});
        assert_eq!((got, notes[0].0), (expected, "MissingClusterDNS"));
    }
    let windows = node(Os::Windows, true, &["10.0.0.10"]);
    let (got, notes) = resolver("ClusterFirst", &json!(null), &windows);
    assert_eq!((got, notes[0].0), (json!(null), "ApproximatedOnAci"));
    let (got, notes) = resolver("Default", &json!(null), &windows);
    assert_eq!((got, notes), (json!(null), vec![]));
}

#[test]
fn the_annotation_takes_the_cluster_s_dns_away() {
    let linux = node(Os::Linux, true, &["10.0.0.10"]);
    for key in [
        "virtual-kubelet.io/cluster-dns",
        "microsoft.containerinstance.virtualnode.injectdns",
    ] {
        let pod = pod(HELLO, &[("/metadata/annotations", json!({key: "false"}))]);
        let translation = container_group(&pod, &linux, &owner(&pod), &resolved()).unwrap();
        assert_eq!(translation.group.properties.dns_config, None, "{key}");
    }
}

#[test]
fn more_than_a_kubelet_s_limits_is_cut_and_told() {
    let linux = node(Os::Linux, true, &["10.0.0.10", "10.0.0.11"]);
    let searches: Vec<String> = (0..31).map(|n| format!("s{n}.example")).collect();
    let many = json!({"nameservers": ["1.1.1.1", "8.8.8.8"], "searches": searches});
    let (got, notes) = resolver("ClusterFirst", &many, &linux);
    assert_eq!(
        got["nameServers"],
        json!(["10.0.0.10", "10.0.0.11", "1.1.1.1"])
    );
    let kept = got["searchDomains"].as_str().unwrap();
    assert_eq!(kept.split(' ').count(), 32);
    assert!(kept.ends_with("s28.example"), "{kept}");
    assert_eq!(
        notes,
        [
            (
                "DNSConfigForming",
                "too many name servers; left out: 8.8.8.8".to_owned()
            ),
            (
                "DNSConfigForming",
                "too many search domains; left out: s29.example s30.example".to_owned()
            ),
        ]
    );
    let long: Vec<String> = (0..12).map(|n| format!("{n:0200}.example")).collect();
    let (got, _) = resolver("ClusterFirst", &json!({"searches": long}), &linux);
    let kept = got["searchDomains"].as_str().unwrap();
    assert!((1840..=2048).contains(&kept.len()), "{}", kept.len());
}

#[test]
fn what_aci_cannot_resolve_is_refused() {
    let one = json!({"nameservers": ["1.1.1.1"]});
    let linux = node(Os::Linux, true, &["10.0.0.10"]);
    let outside = node(Os::Linux, false, &["10.0.0.10"]);
    let windows = node(Os::Windows, true, &["10.0.0.10"]);
    let blank = |name: &str, value: &str| json!({"options": [{"name": name, "value": value}]});
    for (text, policy, config, defaults, fields) in [
        (
            HELLO,
            "None",
            &one,
            &outside,
            &["spec.dnsPolicy", "spec.dnsConfig"][..],
        ),
        (HELLO, "Default", &one, &outside, &["spec.dnsConfig"]),
        (HELLO, "ClusterFirst", &one, &outside, &["spec.dnsConfig"]),
        (
            IIS,
            "None",
            &one,
            &windows,
            &["spec.dnsPolicy", "spec.dnsConfig"],
        ),
        (IIS, "ClusterFirst", &one, &windows, &["spec.dnsConfig"]),
        (
            HELLO,
            "None",
            &json!(null),
            &linux,
            &["spec.dnsConfig.nameservers"],
        ),
        (
            HELLO,
            "ClusterFirst",
            &json!({"nameservers": ["fd00::1"]}),
            &linux,
            &["spec.dnsConfig.nameservers[0]"],
        ),
        (
            HELLO,
            "ClusterFirst",
            &blank("ndots", "2 debug"),
            &linux,
            &["spec.dnsConfig.options[0]"],
        ),
        (
            HELLO,
            "ClusterFirst",
            &blank("a b", ""),
            &linux,
            &["spec.dnsConfig.options[0]"],
        ),
    ] {
        let refused = translate(text, policy, config, defaults).unwrap_err();
        let got: Vec<&str> = refused
            .0
            .iter()
            .map(|refusal| refusal.field.as_str())
            .collect();
        assert_eq!(got, fields, "{policy} {config}");
    }
    let (got, notes) = resolver("ClusterFirst", &json!(null), &outside);
    assert_eq!(
        (got, notes),
        (json!(null), vec![]),
        "the default passes in silence"
    );
}
