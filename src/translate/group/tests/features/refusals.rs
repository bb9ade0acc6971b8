//! Annotations that say nothing, ask for too much, or do not go together.

use serde_json::{Value, json};

use super::{A, B, SUBNET, annotated, at, connector, in_subnet, quiet, refusals};
use crate::api::{ContainerGroupSku, Os};
use crate::translate::GroupDefaults;
use crate::translate::group::container_group;
use crate::translate::testing::{HELLO, IIS, defaults, owner, resolved};

#[test]
fn a_value_that_says_nothing_refuses_the_pod() {
    for (key, value) in [
        ("zone", "4"),
        ("zone", "1;4"),
        ("zone", ""),
        ("tags", ""),
        ("tags", "alone"),
        ("tags", "a=1;=2"),
        ("tags", "a/b=1"),
        ("tags", "a=1;b=2;c=3;d=4;e=5;f=6;g=7;h=8;i=9;j=10;k=11"),
        ("priority", "Low"),
        ("sku", "Premium"),
        ("cce-policy", "not base64!"),
        ("cce-policy", ""),
        ("log-analytics", "on"),
        ("public-ip", "yes"),
        ("dns-label", "app"),
        ("dns-label", "-apple"),
        ("dns-label", "My-App"),
        ("dns-label", "my.app"),
        ("cluster-dns", "10.0.0.10"),
        ("realtime-metrics", "on"),
        ("kube-proxy", ""),
    ] {
        let got = refusals(HELLO, &[(key, value)], &connector());
        assert_eq!(got, [(at(key), "InvalidAnnotation")], "{key}: {value}");
    }
    let vault = |url: &str, name: &str| {
        refusals(
            HELLO,
            &[
                ("encryption-vault-url", url),
                ("encryption-key-name", name),
                ("encryption-key-version", "1"),
            ],
            &connector(),
        )
    };
    for url in [
        "http://v.vault.azure.net",
        "v",
        "https://",
        "https://v/keys/k",
        "https://u@v",
    ] {
        let expected = [(at("encryption-vault-url"), "InvalidAnnotation")];
        assert_eq!(vault(url, "k"), expected, "{url}");
    }
    for bad in [
        "",
        "A=https://v/secrets/a",
        "main/A",
        "main/A=http://v/secrets/a",
        "main/A=https://v/keys/a",
        "main/A=https://v/secrets/",
        "main/A=https://v/secrets/a/1/2",
        "main/1A=https://v/secrets/a",
        "main/A=https://u@v/secrets/a",
    ] {
        let got = refusals(
            HELLO,
            &[("key-vault-env", bad), ("identity", A)],
            &connector(),
        );
        let expected = [(at("key-vault-env"), "InvalidAnnotation")];
        assert_eq!(got, expected, "{bad}");
    }
    let expected = [(at("encryption-key-name"), "InvalidAnnotation")];
    assert_eq!(vault("https://v", "a/b"), expected);
}

type Case<'a> = (
    &'a str,
    &'a [(&'a str, &'a str)],
    GroupDefaults,
    &'a str,
    &'a str,
);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_cannot_be_together_is_refused() {
    const NO: &str = "NotSupportedOnAci";
    const NEVER: &str = "AnnotationNotAllowed";
    let other = SUBNET.replace("aci", "other");
    let policy = ("cce-policy", "cA==");
    let windows = GroupDefaults {
        os: Os::Windows,
        ..quiet()
    };
    let cases: [Case<'_>; 26] = [
        (HELLO, &[("priority", "Spot")], connector(), "priority", NO),
        (HELLO, &[("priority", "Spot")], in_subnet(), "priority", NO),
        (
            IIS,
            &[("priority", "Spot")],
            windows.clone(),
            "priority",
            NO,
        ),
        (
            HELLO,
            &[("priority", "Spot"), ("sku", "Dedicated")],
            quiet(),
            "priority",
            NO,
        ),
        (IIS, &[("sku", "Confidential")], windows, "sku", NO),
        (
            HELLO,
            &[policy, ("sku", "Standard")],
            connector(),
            "cce-policy",
            NO,
        ),
        (HELLO, &[("dns-label", "my-app")], quiet(), "dns-label", NO),
        (
            HELLO,
            &[("dns-label", "my-app")],
            in_subnet(),
            "dns-label",
            NO,
        ),
        (
            HELLO,
            &[("dns-label", "my-app"), ("public-ip", "false")],
            connector(),
            "dns-label",
            NO,
        ),
        (
            HELLO,
            &[("dns-label-scope", "Noreuse")],
            connector(),
            "dns-label-scope",
            NO,
        ),
        (HELLO, &[("public-ip", "true")], quiet(), "public-ip", NEVER),
        (
            HELLO,
            &[("public-ip", "true")],
            in_subnet(),
            "public-ip",
            NEVER,
        ),
        (HELLO, &[("subnet", SUBNET)], connector(), "subnet", NEVER),
        (HELLO, &[("subnet", &other)], in_subnet(), "subnet", NEVER),
        (
            HELLO,
            &[("log-type", "ContainerInsights"), ("log-analytics", "off")],
            connector(),
            "log-type",
            NO,
        ),
        (
            HELLO,
            &[("log-type", "ContainerInsights")],
            defaults(Os::Linux),
            "log-type",
            NO,
        ),
        (
            HELLO,
            &[("realtime-metrics", "true")],
            connector(),
            "realtime-metrics",
            NO,
        ),
        (
            HELLO,
            &[("kube-proxy", "true")],
            in_subnet(),
            "kube-proxy",
            NO,
        ),
        (
            HELLO,
            &[("image-cache", "true")],
            connector(),
            "image-cache",
            NO,
        ),
        (
            HELLO,
            &[("standby-pool", "p")],
            connector(),
            "standby-pool",
            NO,
        ),
        (
            HELLO,
            &[("key-vault-env", "aci-helloworld/A=https://v/secrets/a")],
            connector(),
            "key-vault-env",
            NO,
        ),
        (
            HELLO,
            &[
                ("key-vault-env", "other/A=https://v/secrets/a"),
                ("identity", A),
            ],
            connector(),
            "key-vault-env",
            NO,
        ),
        (
            HELLO,
            &[
                (
                    "key-vault-env",
                    "aci-helloworld/A=https://v/secrets/a,aci-helloworld/A=https://v/secrets/b",
                ),
                ("identity", A),
            ],
            connector(),
            "key-vault-env",
            NO,
        ),
        (
            HELLO,
            &[("key-vault-identity", A)],
            connector(),
            "key-vault-identity",
            NO,
        ),
        (
            HELLO,
            &[
                ("key-vault-env", "aci-helloworld/A=https://v/secrets/a"),
                ("key-vault-identity", SUBNET),
            ],
            connector(),
            "key-vault-identity",
            NEVER,
        ),
        (
            HELLO,
            &[("encryption-key-name", "k")],
            connector(),
            "encryption-key-name",
            NO,
        ),
    ];
    for (text, annotations, defaults, key, reason) in cases {
        let got = refusals(text, annotations, &defaults);
        assert_eq!(got, [(at(key), reason)], "{annotations:?}");
    }
    let vault = [
        ("encryption-vault-url", "https://v"),
        ("encryption-key-name", "k"),
        ("encryption-key-version", "1"),
        ("encryption-identity", A),
        ("identity", B),
    ];
    let got = refusals(HELLO, &vault, &connector());
    assert_eq!(
        got,
        [(at("encryption-identity"), NEVER)],
        "the pod has given it up"
    );
    let windows = GroupDefaults {
        sku: ContainerGroupSku::Confidential,
        ..defaults(Os::Windows)
    };
    let place = "connector.spec.containerGroup.sku".to_owned();
    assert_eq!(refusals(IIS, &[], &windows), [(place, NO)]);
    let portless = annotated(HELLO, &[("dns-label", "my-app")]);
    let mut portless: Value = serde_json::to_value(portless).unwrap();
    portless["spec"]["containers"][0]["ports"] = json!([]);
    let portless = serde_json::from_value(portless).unwrap();
    let refused = container_group(&portless, &connector(), &owner(&portless), &resolved());
    assert_eq!(refused.unwrap_err().0[0].field, at("dns-label"));
}
