//! What is wrong is said at once, and nothing is half done.

use super::Fixture;
use crate::support::site::{self, NAMESPACE, Runs as _};

#[test]
fn what_is_wrong_is_said_and_nothing_is_written() {
    site::run(async {
        let fixture = Fixture::new("cmd-wrong").await;
        let rg = "--aci-resource-group cmd-wrong-rg";
        let long = "a-name-that-is-much-too-long-for-nodes";
        let cases = [
            (
                "",
                &[
                    "--location and --aci-resource-group",
                    "--name and --resource-group",
                ][..],
            ),
            ("-l eastus", &["give --aci-resource-group"]),
            (
                &format!("{rg} -l mars"),
                &["RegionNotAvailable", "not offered in region mars"],
            ),
            (&format!("{rg} -l --"), &["names no region"]),
            (
                "-l eastus --aci-resource-group other-rg",
                &["ResourceGroupNotFound", "az group create --name other-rg"],
            ),
            (
                &format!("{rg} -l eastus --client-secret wrong"),
                &["is visible to others", "AADSTS7000215"],
            ),
            (
                &format!("{rg} -l eastus --client-secret-file /no/such/file"),
                &["cannot read the client secret from /no/such/file"],
            ),
            (
                &format!("{rg} -l eastus --connector-name {long}"),
                &["choose a shorter --connector-name", "characters"],
            ),
            (
                &format!("{rg} -l eastus --namespace elsewhere"),
                &["namespace elsewhere does not exist"],
            ),
            (&format!("{rg} -l eastus --context other"), &["other"]),
            (
                &format!("{rg} -l eastus --cloud AzureChinaCloud"),
                &["--cloud Custom only"],
            ),
            (
                "-n aks -g cmd-wrong-rg",
                &[
                    "no cluster aks in resource group cmd-wrong-rg",
                    "az aks list",
                ],
            ),
            (
                &format!("{rg} -l eastus --kubeconfig /no/such/file"),
                &["the kubeconfig cannot be used", "/no/such/file"],
            ),
        ];
        for (words, wanted) in cases {
            let mut flags = fixture.flags();
            // The last one of a flag would be a second one.
            if words.contains("--connector-name") {
                flags.drain(..2);
            }
            let line = format!("install-connector {}", words.replace("-l --", "-l=--"));
            fixture.vkc(&line, &flags).await.refused(wanted);
            fixture.nothing_is_there(words).await;
        }
    });
}

#[test]
fn what_cannot_be_an_argument_is_refused_by_its_flag() {
    site::run(async {
        let fixture = Fixture::new("cmd-args").await;
        for (words, wanted) in [
            ("-n aks", "--resource-group"),
            ("-g rg", "--name"),
            ("--os-type Solaris", "Linux, Windows or Both"),
            ("--connector-name Upper", "lower-case"),
            ("--service-principal x", "GUID"),
            ("--subscription x", "GUID"),
            ("--timeout soon", "90s"),
            (
                "--workload-identity 11111111-2222-3333-4444-555555555555 --managed-identity system",
                "cannot be used",
            ),
            ("--authority-host https://x", "--resource-manager-endpoint"),
        ] {
            let ran = fixture
                .vkc(&format!("install-connector {words}"), &[])
                .await;
            assert_eq!(ran.code, Some(2), "{words}: {ran:?}");
            assert!(ran.err.contains(wanted), "{words}: {}", ran.err);
        }
    });
}

#[test]
fn who_may_not_is_told_before_anything_is_written() {
    site::run(async {
        let fixture = Fixture::new("cmd-rights").await;
        let plane = fixture.operator.plane();
        // May read what the command reads, and write none of it.
        let account = plane
            .kubeconfig_for_service_account(NAMESPACE, "default")
            .await
            .unwrap();
        for args in [
            &[
                "create",
                "clusterrole",
                "cmd-reader",
                "--verb=get,list,watch",
                "--resource=namespaces,secrets,virtualkubeletconnectors.virtual-kubelet.io",
            ][..],
            &[
                "create",
                "clusterrolebinding",
                "cmd-reader",
                "--clusterrole=cmd-reader",
                "--serviceaccount=vkc-system:default",
            ],
        ] {
            plane.kubectl_run(args).await.unwrap().ok().unwrap();
        }
        let mut flags = fixture.install_flags();
        flags.extend(["--kubeconfig".to_owned(), account.display().to_string()]);
        fixture
            .vkc("install-connector", &flags)
            .await
            .refused(&["nothing was written", "cannot create resource \"secrets\""]);
        fixture.nothing_is_there("a refusal").await;
    });
}

#[test]
fn a_secret_of_somebody_else_is_left_alone() {
    site::run(async {
        let fixture = Fixture::new("cmd-owned").await;
        let owned = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "cmd-owned-credentials", "namespace": NAMESPACE, "ownerReferences": [
                {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "aci", "uid": "1"}]},
        }))
        .unwrap();
        let api: kube::Api<k8s_openapi::api::core::v1::Secret> =
            kube::Api::namespaced(fixture.client.clone(), NAMESPACE);
        api.create(&kube::api::PostParams::default(), &owned)
            .await
            .unwrap();
        let flags = fixture.install_flags();
        fixture
            .vkc("install-connector", &flags)
            .await
            .refused(&["belongs to ExternalSecret aci", "nothing was written"]);
        assert!(fixture.connector().await.is_none());
    });
}
