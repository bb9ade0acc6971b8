//! The ARM client against the emulator: the life of container groups, end to end over TLS.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aci_emulator::{Config, Emulator, Fault};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;
use vkc::azure::model::{
    Container, ContainerGroup, ContainerProperties, GroupProperties, ResourceAmounts, Resources,
    SecretText,
};
use vkc::azure::{ArmClient, Credential, Deletion, Endpoints, ErrorClass, Limiters};

const RG: &str = "aci-rg";

async fn emulator(change: impl FnOnce(&mut Config)) -> Emulator {
    crate::server::install_tls_provider();
    let mut config = Config {
        start_delay: Duration::ZERO,
        serve_pages: false,
        ..Config::default()
    };
    change(&mut config);
    Emulator::start(config).await.unwrap()
}

fn credential(secret: &str) -> Credential {
    let config = Config::default();
    Credential::ServicePrincipalSecret {
        tenant_id: config.tenant_id,
        client_id: config.client_id,
        secret: SecretText::new(secret.to_owned()),
    }
}

fn client_with(emulator: &Emulator, secret: &str) -> ArmClient {
    let ca = STANDARD.encode(emulator.ca_pem());
    let endpoints = Endpoints::custom(emulator.url(), emulator.url(), None, Some(&ca)).unwrap();
    let subscription = Config::default().subscription_id;
    let limiters = Limiters::new();
    ArmClient::new(
        endpoints,
        subscription,
        credential(secret),
        &limiters,
        Arc::new(()),
    )
    .unwrap()
}

fn client(emulator: &Emulator) -> ArmClient {
    client_with(emulator, &Config::default().client_secret)
}

fn group() -> ContainerGroup {
    ContainerGroup {
        location: Some("eastus".to_owned()),
        tags: BTreeMap::from([("vkc-pod".to_owned(), "web".to_owned())]),
        properties: GroupProperties {
            os_type: "Linux".to_owned(),
            restart_policy: Some("Always".to_owned()),
            containers: vec![Container {
                name: "web".to_owned(),
                properties: ContainerProperties {
                    image: "registry.example/web:1".to_owned(),
                    resources: Some(Resources {
                        requests: ResourceAmounts {
                            cpu: 1.0,
                            memory_in_gb: 1.5,
                        },
                        limits: None,
                    }),
                    ..ContainerProperties::default()
                },
            }],
            ..GroupProperties::default()
        },
        ..ContainerGroup::default()
    }
}

/// Looks until the group is provisioned; every look is a GET.
async fn provisioned(client: &ArmClient, name: &str) -> ContainerGroup {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let group = client.get_group(RG, name).await.unwrap().unwrap();
        if group.properties.provisioning_state.as_deref() == Some("Succeeded") {
            return group;
        }
        assert!(
            Instant::now() < deadline,
            "{:?}",
            group.properties.provisioning_state
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_group_lives_and_dies() {
    let emulator = emulator(|_| {}).await;
    let client = client(&emulator);
    client.check_token().await.unwrap();
    assert_eq!(client.get_group(RG, "web").await.unwrap(), None);

    let put = client.put_group(RG, "web", &group()).await.unwrap();
    assert_eq!(put.name.as_deref(), Some("web"));
    let running = provisioned(&client, "web").await;
    assert_eq!(running.tags["vkc-pod"], "web");
    let view = running.properties.containers[0]
        .properties
        .instance_view
        .clone()
        .unwrap();
    assert_eq!(
        view.current_state.unwrap().state.as_deref(),
        Some("Running")
    );

    let tags = BTreeMap::from([("vkc-pod".to_owned(), "other".to_owned())]);
    assert_eq!(
        client.patch_tags(RG, "web", &tags).await.unwrap().tags,
        tags
    );

    let deleted = client.delete_group(RG, "web").await.unwrap();
    assert!(matches!(deleted, Deletion::Deleted(Some(_))), "{deleted:?}");
    assert_eq!(client.get_group(RG, "web").await.unwrap(), None);
    assert_eq!(
        client.delete_group(RG, "web").await.unwrap(),
        Deletion::Absent
    );
}

#[tokio::test]
async fn a_list_has_every_group_of_every_page_and_no_instance_view() {
    let emulator = emulator(|config| config.page_size = 2).await;
    let client = client(&emulator);
    for i in 0..5 {
        client
            .put_group(RG, &format!("g{i}"), &group())
            .await
            .unwrap();
    }
    let groups = client.list_groups(RG, Some).await.unwrap();
    let mut names: Vec<_> = groups
        .iter()
        .filter_map(|group| group.name.as_deref())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["g0", "g1", "g2", "g3", "g4"]);
    assert!(
        groups
            .iter()
            .all(|group| group.properties.instance_view.is_none())
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let emulator = emulator(|_| {}).await;
    let client = client(&emulator);
    assert_eq!(
        client.resource_group(RG).await.unwrap().unwrap().location,
        "eastus"
    );
    assert_eq!(client.resource_group("nowhere").await.unwrap(), None);
    let error = client.get_group("nowhere", "web").await.unwrap_err();
    assert_eq!(error.class, ErrorClass::ResourceGroupNotFound, "{error}");
    let error = client
        .put_group("nowhere", "web", &group())
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::ResourceGroupNotFound, "{error}");

    let provider = client.provider().await.unwrap();
    assert!(provider.is_registered() && provider.serves("East US") && !provider.serves("moonbase"));
    emulator.control().set_provider_state("NotRegistered");
    assert!(!client.provider().await.unwrap().is_registered());
    let error = client.put_group(RG, "web", &group()).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::ProviderNotRegistered, "{error}");
}

#[tokio::test]
async fn credentials_fail_heal_and_renew() {
    let emulator = emulator(|_| {}).await;
    let client = client_with(&emulator, "wrong");
    let error = client.get_group(RG, "web").await.unwrap_err();
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::BadCredentials, "AADSTS7000215")
    );
    client
        .replace_credential(credential(&Config::default().client_secret))
        .unwrap();
    client.put_group(RG, "web", &group()).await.unwrap();
    // A token is revoked long before it expires: renewed without the caller noticing.
    emulator.control().revoke_tokens();
    assert!(client.get_group(RG, "web").await.unwrap().is_some());
}

#[tokio::test]
async fn a_put_that_failed_after_its_effect_is_found_by_a_look() {
    let emulator = emulator(|_| {}).await;
    let client = client(&emulator);
    client.check_token().await.unwrap();
    let put = Some("PUT".to_owned());
    let late = Fault {
        method: put.clone(),
        status: 503,
        code: "ServerTimeout".to_owned(),
        after_effect: true,
        ..Fault::default()
    };
    let cut = Fault {
        method: put,
        after_effect: true,
        drop_connection: true,
        ..Fault::default()
    };
    for (name, fault) in [("late", late), ("cut", cut)] {
        emulator.control().inject(fault);
        let error = client.put_group(RG, name, &group()).await.unwrap_err();
        assert!(
            error.may_have_taken_effect() && error.is_retryable(),
            "{name}: {error}"
        );
        assert!(
            client.get_group(RG, name).await.unwrap().is_some(),
            "{name}"
        );
    }
    let puts = emulator
        .control()
        .requests()
        .iter()
        .filter(|request| request.method == "PUT")
        .count();
    assert_eq!(puts, 2, "no PUT is sent twice");
}

#[tokio::test]
async fn a_delete_may_take_its_time() {
    let emulator = emulator(|_| {}).await;
    let client = client(&emulator);
    client.put_group(RG, "web", &group()).await.unwrap();
    provisioned(&client, "web").await;
    emulator
        .control()
        .change_settings(|settings| settings.delete_delay = Duration::from_millis(50));
    assert_eq!(
        client.delete_group(RG, "web").await.unwrap(),
        Deletion::Accepted
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.get_group(RG, "web").await.unwrap().is_some() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_hundred_pods_at_once_are_not_held_back_and_never_throttled() {
    let emulator = emulator(|config| {
        (config.provider_requests_5m, config.provider_requests_1h) = (900, 1800);
        (config.quota_groups, config.quota_cores) = (1000, 1000.0);
    })
    .await;
    let client = client(&emulator);
    let started = Instant::now();
    let names: Vec<String> = (0..100).map(|i| format!("g{i}")).collect();
    let wanted = group();
    let life = names.iter().map(|name| async {
        client.put_group(RG, name, &wanted).await.unwrap();
        client.get_group(RG, name).await.unwrap().unwrap();
    });
    futures::future::join_all(life).await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(emulator.control().group_count(), 100);
    assert_eq!(emulator.control().counts().by_status.get(&429), None);
}

#[tokio::test]
async fn our_own_budget_keeps_us_below_arms() {
    let emulator = emulator(|_| {}).await;
    let client = client(&emulator);
    let looks = (0..260).map(|_| client.get_group(RG, "web"));
    let looks = futures::future::join_all(looks).await;
    assert!(looks.into_iter().all(|look| look.unwrap().is_none()));
    assert_eq!(emulator.control().counts().by_status.get(&429), None);
}
