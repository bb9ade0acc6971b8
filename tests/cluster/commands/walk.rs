//! The walk-through: install for both operating systems, remove one, bring it back, remove all; and for Git.

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;
use vkc::api::VirtualKubeletConnector;

use super::Fixture;
use crate::support::site::{self, Runs as _};

/// What nobody asked for may have another default in a later release.
fn no_default_is_ours(made: &VirtualKubeletConnector) {
    let entries = made.metadata.managed_fields.iter().flatten();
    let entry = entries.into_iter().find(|it| it.subresource.is_none());
    let fields = serde_json::to_value(&entry.unwrap().fields_v1).unwrap();
    assert!(fields["f:spec"].get("f:region").is_some(), "{fields}");
    assert!(fields["f:spec"].get("f:drainTimeout").is_none(), "{fields}");
}

#[test]
fn one_command_makes_both_nodes_and_others_take_them_away() {
    site::run(async {
        let fixture = Fixture::new("cmd-walk").await;
        let mut install = fixture.flags();
        install.extend(
            [
                "--aci-resource-group",
                "cmd-walk-rg",
                "--location",
                "East US",
            ]
            .map(String::from),
        );
        let ran = fixture
            .vkc("install-connector --os-type Both", &install)
            .await;
        let table = ran.ok();
        for os in ["linux", "windows"] {
            let row = table
                .lines()
                .find(|line| line.starts_with(&fixture.node(os)));
            let row: Vec<&str> = row.expect(table).split_whitespace().collect();
            assert_eq!(row[1..3], ["Ready", "agent"], "{table}");
        }
        assert!(
            ran.err.contains("Azure accepts the credentials"),
            "{}",
            ran.err
        );
        let spec = fixture.spec().await;
        assert_eq!(spec["region"], "eastus");
        assert_eq!(spec["publicIP"], true);
        assert_eq!(
            spec["credentials"]["secretRef"]["name"],
            "cmd-walk-credentials"
        );
        let made = fixture.connector().await.unwrap();
        no_default_is_ours(&made);

        // A second run has nothing to do.
        let before = made.metadata.generation;
        fixture
            .vkc("install-connector --os-type Both", &install)
            .await
            .ok();
        assert_eq!(
            fixture.connector().await.unwrap().metadata.generation,
            before
        );

        let name = fixture.name_flag();
        let nodes: Api<Node> = Api::all(fixture.client.clone());
        fixture
            .vkc(
                "remove-connector --os-type Windows --location westus",
                &name,
            )
            .await
            .refused(&["is in region eastus, not westus"]);
        fixture
            .vkc("remove-connector --os-type Windows --graceful", &name)
            .await
            .ok();
        assert!(
            nodes
                .get_opt(&fixture.node("windows"))
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            nodes
                .get_opt(&fixture.node("linux"))
                .await
                .unwrap()
                .is_some()
        );
        fixture
            .vkc("remove-connector --os-type Windows", &name)
            .await
            .refused(&["has no Windows node"]);

        // As with `az aks`, another operating system is another install.
        fixture
            .vkc("install-connector --os-type Windows", &fixture.flags())
            .await
            .ok();
        assert_eq!(fixture.spec().await["osType"], "Both");

        fixture
            .vkc("remove-connector --os-type Both", &name)
            .await
            .ok();
        fixture.nothing_is_there("the removal").await;
        for os in ["linux", "windows"] {
            assert!(nodes.get_opt(&fixture.node(os)).await.unwrap().is_none());
        }
        fixture
            .vkc("remove-connector", &name)
            .await
            .refused(&["there is no connector cmd-walk"]);
    });
}

#[test]
fn a_removal_that_was_cut_off_is_finished_by_the_next() {
    site::run(async {
        let fixture = Fixture::new("cmd-cut").await;
        let install = fixture.install_flags();
        fixture.vkc("install-connector", &install).await.ok();
        let gone = kube::api::DeleteParams::default();
        fixture
            .connectors()
            .delete(fixture.name, &gone)
            .await
            .unwrap();
        crate::support::wait::eventually("the connector is gone", 30, || async {
            fixture.connector().await.is_none()
        })
        .await;
        assert!(fixture.secret().await.is_some() && fixture.role().await.is_some());
        let name = fixture.name_flag();
        fixture.vkc("remove-connector", &name).await.ok();
        fixture.nothing_is_there("the second removal").await;
    });
}

#[test]
fn a_dry_run_is_a_file_for_git_and_asks_nobody() {
    site::run(async {
        let fixture = Fixture::new("cmd-git").await;
        let install = fixture.install_flags();
        let secret = fixture.config.client_secret.clone();
        let nowhere = [
            ("AZURE_CLIENT_SECRET", secret.clone()),
            ("KUBECONFIG", "/no/such/kubeconfig".to_owned()),
        ];
        let ran = fixture
            .vkc_with(
                "install-connector --os-type Both --dry-run -o yaml",
                &install,
                &nowhere,
            )
            .await;
        let yaml = ran.ok();
        assert!(ran.err.contains("encrypt it"), "{}", ran.err);
        assert!(yaml.contains(&secret), "the Secret is whole");
        let kinds: Vec<&str> = yaml
            .lines()
            .filter_map(|line| line.strip_prefix("kind: "))
            .collect();
        assert_eq!(kinds, ["Secret", "ClusterRole", "VirtualKubeletConnector"]);
        assert_eq!(fixture.azure.control().requests().len(), 0);
        let old = fixture
            .vkc_with(
                "install-connector --dry-run --kubernetes-version 1.35",
                &install,
                &nowhere,
            )
            .await;
        assert!(
            old.ok()
                .contains("system:node:virtual-kubelet-cmd-git-linux-eastus"),
            "{}",
            old.out
        );
        assert!(
            !old.out.contains("impersonate:arbitrary-node"),
            "never both: {}",
            old.out
        );

        let plane = fixture.operator.plane();
        let file = fixture.path.path().join("connector.yaml");
        std::fs::write(&file, yaml).unwrap();
        let file = file.display().to_string();
        plane
            .kubectl_run(&["apply", "--server-side", "-f", &file])
            .await
            .unwrap()
            .ok()
            .unwrap();
        plane
            .kubectl_run(&[
                "wait",
                "--for=condition=Ready",
                "--timeout=60s",
                "vkc/cmd-git",
            ])
            .await
            .unwrap()
            .ok()
            .unwrap();
        let name = fixture.name_flag();
        fixture
            .vkc("remove-connector --os-type Both", &name)
            .await
            .ok();
        fixture.nothing_is_there("the removal").await;
    });
}

#[test]
fn new_credentials_go_to_where_the_connector_looks_for_them() {
    site::run(async {
        let fixture = Fixture::new("cmd-key").await;
        let install = fixture.install_flags();
        fixture
            .vkc("upgrade-connector", &install)
            .await
            .refused(&["no connector cmd-key to upgrade; install-connector makes one"]);
        fixture.vkc("install-connector", &install).await.ok();
        let name = fixture.name_flag();
        fixture
            .vkc_with("upgrade-connector", &name, &[])
            .await
            .refused(&["nothing to upgrade"]);
        fixture
            .vkc_with("upgrade-connector --os-type Both", &name, &[])
            .await
            .refused(&["has no Windows node; install-connector --os-type Windows adds one"]);

        let next = format!("{}-next", fixture.config.client_secret);
        fixture
            .azure
            .control()
            .add_client(&fixture.config.client_id, &next);
        let file = fixture.path.path().join("secret");
        std::fs::write(&file, format!("{next}\n")).unwrap();
        let mut line = fixture.flags();
        line.extend([
            "--client-secret-file".to_owned(),
            file.display().to_string(),
        ]);
        fixture.vkc_with("upgrade-connector", &line, &[]).await.ok();
        let data = fixture.secret().await.unwrap().data.unwrap();
        assert_eq!(data["AZURE_CLIENT_SECRET"].0, next.as_bytes());
        assert_eq!(
            fixture.spec().await["credentials"],
            json!({
            "type": "ServicePrincipal", "secretRef": {"name": "cmd-key-credentials"}})
        );
        fixture.vkc("remove-connector", &name).await.ok();
    });
}

#[test]
fn who_is_logged_in_to_the_azure_cli_knows_tenant_and_subscription() {
    site::run(async {
        let fixture = Fixture::new("cmd-login").await;
        let words = "install-connector --dry-run -l eastus --aci-resource-group rg --service-principal 11111111-1111-4111-8111-111111111111";
        let (tenant, subscription) = (
            "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
            "99999999-8888-4777-8666-555555555555",
        );
        fixture
            .vkc(words, &[])
            .await
            .refused(&["--tenant", "AZURE_TENANT_ID", "az login"]);
        let account =
            format!(r#"{{"id": "{subscription}", "tenantId": "{tenant}", "user": {{}}}}"#);
        let log = fixture.path.path().join("log");
        fixture.put(
            "az",
            &format!("echo \"$@\" >> {}; echo '{account}'\n", log.display()),
        );
        let ran = fixture.vkc(words, &[]).await;
        for wanted in [tenant, subscription] {
            assert!(ran.ok().contains(wanted), "{}", ran.out);
        }
        let asked = std::fs::read_to_string(&log).unwrap();
        assert_eq!(asked, "account show --output json\n");
        // Nobody is logged in.
        fixture.put("az", "exit 1\n");
        fixture.vkc(words, &[]).await.refused(&["az login"]);
    });
}
