use clap::Parser;

use super::super::manifest::yaml;
use super::*;

const CLIENT: &str = "11111111-1111-4111-8111-111111111111";
const TENANT: &str = "72f988bf-0000-4000-8000-2d7cd011db47";
const SUBSCRIPTION: &str = "00000000-0000-4000-8000-000000000001";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: InstallArgs,
}

fn args(line: &str) -> InstallArgs {
    Line::parse_from(["x"].into_iter().chain(line.split_whitespace())).args
}

fn principal() -> Choice {
    Choice::ServicePrincipal(CLIENT.to_owned())
}

/// Everything is known that a login tells.
fn known<'a>(facts: &'a Facts, choice: &'a Choice) -> Known<'a> {
    let principal = matches!(choice, Choice::ServicePrincipal(_)).then(|| Principal {
        client_id: CLIENT.to_owned(),
        secret: SecretText::new("s3cr3t".to_owned()),
    });
    Known {
        facts,
        choice,
        principal,
        tenant: Some(TENANT.to_owned()),
        subscription: Some(SUBSCRIPTION.to_owned()),
        existing: None,
        ca: None,
        adds: true,
    }
}

fn of_cluster() -> Facts {
    let cluster = json!({"location": "westeurope", "properties": {"nodeResourceGroup": "MC_a"}});
    let subnet = json!({"id": "/subscriptions/s/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/aci"});
    Facts {
        cluster: Some(serde_json::from_value(cluster).unwrap()),
        subnet: Some(serde_json::from_value(subnet).unwrap()),
        notes: Vec::new(),
    }
}

fn created_spec(line: &str, known: &Known<'_>) -> Value {
    match plan(&args(line), known).unwrap().connector {
        Change::Create(object) => object["spec"].clone(),
        Change::Patch(patch) => panic!("{patch}"),
    }
}

fn existing(spec: &Value) -> VirtualKubeletConnector {
    let mut all =
        json!({"osType": "Linux", "region": "eastus", "aciResourceGroup": "rg", "publicIP": true});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    let spec = serde_json::from_value(all).unwrap();
    VirtualKubeletConnector::new("c", spec)
}

#[test]
fn a_managed_cluster_says_what_containers_are_told_of_it() {
    let mut facts = of_cluster();
    let cluster = json!({"location": "westeurope", "properties": {
        "nodeResourceGroup": "MC_a", "fqdn": "aks.example.com", "networkProfile": {"dnsServiceIP": "10.0.0.10"},
    }});
    facts.cluster = Some(serde_json::from_value(cluster).unwrap());
    let operator = Choice::Operator;
    let line = "--connector-name c";
    assert_eq!(
        created_spec(line, &known(&facts, &operator))["network"],
        json!({"clusterDNS": ["10.0.0.10"], "kubernetesServiceHost": "aks.example.com"})
    );
    facts.subnet = None;
    assert_eq!(
        created_spec(line, &known(&facts, &operator))["network"],
        json!({"kubernetesServiceHost": "aks.example.com"}),
        "without a subnet there is no way to the cluster's DNS"
    );
}

#[test]
fn a_new_connector_has_what_was_asked_for_and_no_defaults() {
    let (none, cluster) = (Facts::default(), of_cluster());
    let (operator, principal) = (Choice::Operator, principal());
    let managed = Choice::Managed(Some(CLIENT.to_owned()));
    let workload = Choice::Workload(CLIENT.to_owned());
    let secret = Choice::Secret("there".to_owned());
    let base = "--connector-name c -l eastus --aci-resource-group rg";
    let with = |more: Value| {
        let mut spec = json!({"osType": "Linux", "region": "eastus", "aciResourceGroup": "rg", "publicIP": true,
            "subscriptionID": SUBSCRIPTION});
        for (key, value) in more.as_object().unwrap() {
            if value.is_null() {
                spec.as_object_mut().unwrap().remove(key);
            } else {
                spec[key] = value.clone();
            }
        }
        spec
    };
    for (line, facts, choice, wanted) in [
        (base.to_owned(), &none, &operator, with(json!({}))),
        (
            format!("{base} --no-public-ip --os-type both"),
            &none,
            &operator,
            with(json!({"publicIP": null, "osType": "Both"})),
        ),
        // The Secret names the subscription.
        (
            base.to_owned(),
            &none,
            &principal,
            with(json!({"subscriptionID": null,
                "credentials": {"type": "ServicePrincipal", "secretRef": {"name": "c-credentials"}}})),
        ),
        (
            base.to_owned(),
            &none,
            &secret,
            with(
                json!({"credentials": {"type": "ServicePrincipal", "secretRef": {"name": "there"}}}),
            ),
        ),
        (
            base.to_owned(),
            &none,
            &managed,
            with(json!({"credentials": {"type": "ManagedIdentity", "clientID": CLIENT}})),
        ),
        (
            base.to_owned(),
            &none,
            &workload,
            with(
                json!({"credentials": {"type": "WorkloadIdentity", "clientID": CLIENT, "tenantID": TENANT}}),
            ),
        ),
        (
            "--connector-name c".to_owned(),
            &cluster,
            &operator,
            with(
                json!({"region": "westeurope", "aciResourceGroup": "MC_a", "publicIP": null,
                "subnetID": cluster.subnet.as_ref().unwrap().id}),
            ),
        ),
        (
            format!("{base} --subnet /x"),
            &cluster,
            &operator,
            with(json!({"publicIP": null, "subnetID": "/x"})),
        ),
        (
            format!("{base} --cloud AzureChinaCloud"),
            &none,
            &operator,
            with(json!({"cloud": "AzureChinaCloud"})),
        ),
        (
            format!("{base} --resource-manager-endpoint https://m --authority-host https://a"),
            &none,
            &operator,
            with(json!({"cloud": "Custom",
                "customCloud": {"resourceManagerEndpoint": "https://m", "authorityHost": "https://a"}})),
        ),
    ] {
        assert_eq!(created_spec(&line, &known(facts, choice)), wanted, "{line}");
    }
}

#[test]
fn the_secret_names_the_only_custom_cloud_that_may_have_it() {
    let (facts, choice) = (Facts::default(), principal());
    let line = "--connector-name c -l eastus --aci-resource-group rg --resource-manager-endpoint https://m --authority-host https://a";
    let plan = plan(&args(line), &known(&facts, &choice)).unwrap();
    let secret = plan.secret.unwrap();
    let data: Vec<(String, String)> = secret
        .data
        .unwrap()
        .into_iter()
        .map(|(key, value)| (key, String::from_utf8(value.0).unwrap()))
        .collect();
    let wanted = [
        ("AZURE_AUTHORITY_HOST", "https://a"),
        ("AZURE_CLIENT_ID", CLIENT),
        ("AZURE_CLIENT_SECRET", "s3cr3t"),
        ("AZURE_RESOURCE_MANAGER_ENDPOINT", "https://m"),
        ("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION),
        ("AZURE_TENANT_ID", TENANT),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(data, wanted);
}

#[test]
fn what_is_missing_is_said_all_at_once() {
    let (facts, choice) = (Facts::default(), principal());
    let refused = |line: &str, known: &Known<'_>| plan(&args(line), known).unwrap_err();
    let whole = "--connector-name c -l eastus --aci-resource-group rg";
    let all = known(&facts, &choice);
    assert_eq!(
        refused("", &all),
        PlanError::Missing(vec!["--location", "--aci-resource-group"])
    );
    assert_eq!(
        refused("-l eastus", &all),
        PlanError::Missing(vec!["--aci-resource-group"])
    );
    let no_tenant = Known {
        tenant: None,
        ..known(&facts, &choice)
    };
    assert_eq!(refused(whole, &no_tenant), NO_TENANT);
    let no_subscription = Known {
        subscription: None,
        ..known(&facts, &choice)
    };
    assert_eq!(refused(whole, &no_subscription), NO_SUBSCRIPTION);
    assert_eq!(
        refused(
            "-l -- --aci-resource-group rg"
                .replace("-l --", "-l=--")
                .as_str(),
            &all
        ),
        PlanError::Region("--".to_owned())
    );
    assert_eq!(
        refused(&format!("{whole} --cloud Custom"), &all),
        PlanError::Cloud
    );
    let long =
        "--connector-name a-name-that-is-much-too-long-for-nodes -l eastus --aci-resource-group rg";
    assert_eq!(refused(long, &all), PlanError::TooLong(44));
}

#[test]
fn an_existing_connector_gets_only_what_was_asked_for() {
    let facts = Facts::default();
    let (unchanged, principal) = (Choice::Unchanged, principal());
    let with_secret =
        json!({"credentials": {"type": "ServicePrincipal", "secretRef": {"name": "theirs"}}});
    for (spec, line, choice, wanted) in [
        (json!({}), "", &unchanged, json!({})),
        (
            json!({}),
            "-l EastUS --aci-resource-group RG",
            &unchanged,
            json!({}),
        ),
        (
            json!({}),
            "--os-type Windows",
            &unchanged,
            json!({"spec": {"osType": "Both"}}),
        ),
        (
            json!({"osType": "Both"}),
            "--os-type Windows",
            &unchanged,
            json!({}),
        ),
        (
            json!({}),
            "--no-public-ip",
            &unchanged,
            json!({"spec": {"publicIP": false}}),
        ),
        (with_secret.clone(), "", &principal, json!({})),
        (
            json!({}),
            "",
            &principal,
            json!({"spec": {"credentials": {"type": "ServicePrincipal", "secretRef": {"name": "c-credentials"}}}}),
        ),
    ] {
        let existing = existing(&spec);
        let known = Known {
            existing: Some(&existing),
            ..known(&facts, choice)
        };
        let plan = plan(&args(&format!("--connector-name c {line}")), &known).unwrap();
        assert_eq!(plan.connector, Change::Patch(wanted), "{spec} {line}");
    }
    // A new secret goes to where the connector looks for it.
    let existing = existing(&with_secret);
    let known = Known {
        existing: Some(&existing),
        ..known(&facts, &principal)
    };
    let plan = plan(&args("--connector-name c"), &known).unwrap();
    assert_eq!(
        plan.secret.unwrap().metadata.name.as_deref(),
        Some("theirs")
    );
}

#[test]
fn what_cannot_be_changed_is_refused() {
    let (facts, choice) = (Facts::default(), Choice::Unchanged);
    let existing = existing(&json!({"subscriptionID": SUBSCRIPTION}));
    let known = |adds: bool| Known {
        existing: Some(&existing),
        adds,
        ..known(&facts, &choice)
    };
    for (line, field) in [
        ("-l westus", "region"),
        ("--aci-resource-group other", "aciResourceGroup"),
        (
            "--subscription 11111111-2222-3333-4444-555555555555",
            "subscriptionID",
        ),
    ] {
        let error = plan(&args(&format!("--connector-name c {line}")), &known(true)).unwrap_err();
        assert!(
            matches!(&error, PlanError::Immutable { field: it, .. } if *it == field),
            "{line}: {error}"
        );
    }
    let error = plan(&args("--connector-name c --os-type Both"), &known(false)).unwrap_err();
    assert_eq!(error, PlanError::NoSuchNode("c".to_owned(), "Windows"));
}

#[test]
fn one_file_with_the_rights_of_either_kind() {
    let (facts, choice) = (Facts::default(), principal());
    let line = "--connector-name c -l eastus --aci-resource-group rg --os-type Both";
    let plan = plan(&args(line), &known(&facts, &choice)).unwrap();
    insta::assert_snapshot!("for_1_36", yaml(&plan, true).unwrap());
    let old = yaml(&plan, false).unwrap();
    assert!(
        old.contains("- system:node:virtual-kubelet-c-windows-eastus"),
        "{old}"
    );
    assert!(!old.contains("arbitrary-node"), "{old}");
}
