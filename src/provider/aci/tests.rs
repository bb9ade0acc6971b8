use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::exec::{Attached, Command, Streams};
use super::super::{Containers as _, LogPart};
use super::*;
use crate::api::Os;
use crate::azure::model::{RegistryCredential, SecretBytes};
use crate::azure::throttle::{Observed, PermitRequest};
use crate::azure::{Credential, Endpoints, Limiters};
use crate::translate::testing::defaults;
use crate::translate::{Image, Object, Service};

/// A cluster with one pull secret, and a registry that opens to it only; how often each was asked for.
#[derive(Default)]
struct World {
    objects: AtomicU32,
    images: AtomicU32,
    tokens: AtomicU32,
    rounds: AtomicU32,
}

#[async_trait]
impl References for World {
    async fn resolve(
        &self,
        _: &Pod,
        references: &[Reference],
        resolved: &mut Resolved,
    ) -> Result<(), Failure> {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        if references.iter().any(Reference::is_token) {
            self.tokens.fetch_add(1, Ordering::Relaxed);
        }
        if !references.iter().all(Reference::is_token) {
            self.objects.fetch_add(1, Ordering::Relaxed);
        }
        let config = json!({"auths": {"r.io": {"username": "u", "password": "p"}}}).to_string();
        let data = [(
            ".dockerconfigjson".to_owned(),
            SecretBytes::new(config.into_bytes()),
        )];
        let secret = Arc::new(Object {
            data: data.into(),
            ..Object::default()
        });
        resolved.services = Some(Arc::from([]));
        resolved.kubernetes = Some(None);
        for reference in references {
            if matches!(reference, Reference::Secret(_)) {
                let secret = Some(secret.clone());
                resolved.objects.insert(reference.clone(), secret);
            }
            if reference.is_token() {
                let token = SecretBytes::new(b"t".to_vec());
                let data = [(Reference::TOKEN.to_owned(), token)].into();
                let token = Object {
                    data,
                    ..Object::default()
                };
                resolved
                    .objects
                    .insert(reference.clone(), Some(Arc::new(token)));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Images for World {
    async fn resolve(
        &self,
        _: &Pod,
        os: Os,
        images: &[&str],
        credentials: &[RegistryCredential],
        resolved: &mut Resolved,
    ) -> Result<(), Failure> {
        self.images.fetch_add(1, Ordering::Relaxed);
        assert_eq!(os, Os::Linux);
        let user = credentials.iter().find(|it| it.server == "r.io");
        if user.is_none() {
            return Err(Failure::transient("Closed", "no pull secret".to_owned()));
        }
        for image in images {
            let said = Arc::new(Image {
                entry_point: vec!["/entry".to_owned()],
                ..Image::default()
            });
            resolved.images.insert((*image).to_owned(), said);
        }
        Ok(())
    }
}

/// A provider that calls nobody.
fn provider(world: &Arc<World>) -> Aci {
    let credential = ["t", "c", "s"].map(str::to_owned);
    provider_at(
        Endpoints::public(),
        "s",
        credential,
        &Limiters::new(),
        world,
    )
}

fn provider_at(
    endpoints: Endpoints,
    subscription: &str,
    [tenant_id, client_id, secret]: [String; 3],
    limiters: &Limiters,
    world: &Arc<World>,
) -> Aci {
    // It may be there already.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let credential = Credential::ServicePrincipalSecret {
        tenant_id,
        client_id,
        secret: crate::azure::model::SecretText::new(secret),
    };
    let arm = ArmClient::new(
        endpoints,
        subscription.to_owned(),
        credential,
        limiters,
        Arc::new(()),
    );
    let scope = GroupOwner {
        resource_group: "aci-rg".to_owned(),
        cluster_uid: "c1".to_owned(),
        connector_uid: "k1".to_owned(),
        node: "n".to_owned(),
        node_ip: [10, 0, 0, 1].into(),
        tenure: None,
    };
    Aci::new(
        Arc::new(arm.unwrap()),
        world.clone(),
        world.clone(),
        scope,
        defaults(Os::Linux),
    )
}

async fn translate(world: &Arc<World>, spec: &Value) -> Result<Translation, Failure> {
    translate_with(world, defaults(Os::Linux), spec).await
}

async fn translate_with(
    world: &Arc<World>,
    defaults: GroupDefaults,
    spec: &Value,
) -> Result<Translation, Failure> {
    let provider = provider(world);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "d", "uid": "u"},
        "spec": spec,
    }))
    .unwrap();
    let owner = provider.scope.ownership(PodKey::of(&pod).unwrap(), 0);
    provider
        .translate("g", &Arc::new(pod), &Arc::new(defaults), owner, &())
        .await
}

fn asked(world: &World) -> (u32, u32) {
    (
        world.objects.load(Ordering::Relaxed),
        world.images.load(Ordering::Relaxed),
    )
}

#[tokio::test]
async fn images_are_read_last_with_the_pull_secrets() {
    let world = Arc::new(World::default());
    let container = json!({"name": "c", "image": "r.io/a", "args": ["x"]});
    let spec = json!({
        "containers": [container],
        "imagePullSecrets": [{"name": "pull"}],
    });
    let made = translate(&world, &spec).await.unwrap();
    let container = &made.group.properties.containers[0].properties;
    assert_eq!(container.command, ["/entry", "x"]);
    assert_eq!(made.group.properties.image_registry_credentials.len(), 1);
    assert_eq!(asked(&world), (1, 1));
}

#[tokio::test]
async fn an_api_server_that_the_connector_names_is_told_and_not_asked_for() {
    let world = Arc::new(World::default());
    let mut told = defaults(Os::Linux);
    told.api_server = Some(Arc::new(Service::kubernetes("api.example.com", 6443)));
    let spec = json!({
        "containers": [{"name": "c", "image": "r.io/a", "command": ["x"]}],
        "enableServiceLinks": false,
    });
    let made = translate_with(&world, told, &spec).await.unwrap();
    let variables = json!(
        made.group.properties.containers[0]
            .properties
            .environment_variables
    );
    for (name, value) in [
        ("KUBERNETES_SERVICE_HOST", "api.example.com"),
        ("KUBERNETES_SERVICE_PORT", "6443"),
    ] {
        let variable = json!({"name": name, "value": value});
        assert!(
            variables.as_array().unwrap().contains(&variable),
            "{variables}"
        );
    }
    assert_eq!(asked(&world), (0, 0));
}

#[tokio::test]
async fn a_pod_that_cannot_run_costs_no_look() {
    let world = Arc::new(World::default());
    let container = json!({"name": "c", "image": "r.io/a", "args": ["x"]});
    let spec = json!({
        "containers": [container],
        "imagePullSecrets": [{"name": "pull"}],
        "hostNetwork": true,
    });
    let failure = translate(&world, &spec).await.unwrap_err();
    assert_eq!(failure.kind, super::super::FailureKind::Refused);
    assert_eq!(asked(&world), (0, 0));
}

/// A container with as many variables as a small pod does not have.
fn large() -> Value {
    let env: Value = (0..1_000)
        .map(|n| json!({"name": format!("A{n}")}))
        .collect();
    json!({"name": "c", "image": "r.io/a", "args": ["x"], "env": env})
}

/// Held by those of the tests below: they count what runs in the whole process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(start_paused = true)]
async fn a_large_pod_is_translated_apart_and_a_small_one_does_not_wait_for_it() {
    let _alone = ALONE.lock().await;
    let world = Arc::new(World::default());
    let spec = json!({"containers": [large()], "imagePullSecrets": [{"name": "pull"}]});
    let made = translate(&world, &spec).await.unwrap();
    let container = &made.group.properties.containers[0].properties;
    assert_eq!(container.environment_variables.len(), 1_001, "and HOSTNAME");
    let held = LARGE.acquire_many(2).await.unwrap();
    let waits = translate(&world, &spec);
    let waited = tokio::time::timeout(Duration::from_secs(60), waits).await;
    assert!(waited.is_err(), "in line behind two others");
    let small = json!({"containers": [{"name": "c", "image": "r.io/a"}]});
    translate(&world, &small).await.unwrap();
    drop(held);
    translate(&world, &spec).await.unwrap();
    assert_eq!(LARGE.available_permits(), 2);
}

#[tokio::test]
async fn what_nobody_waits_for_counts_until_it_ends() {
    let _alone = ALONE.lock().await;
    let (end, ends) = std::sync::mpsc::channel::<()>();
    let work = apart(move || ends.recv().is_ok());
    let left = tokio::time::timeout(Duration::from_millis(50), work).await;
    assert!(left.is_err());
    assert_eq!(LARGE.available_permits(), 1);
    end.send(()).unwrap();
    while LARGE.available_permits() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_translation_that_breaks_off_is_tried_again() {
    let _alone = ALONE.lock().await;
    let failure = apart(|| assert!(LARGE.available_permits() > 2, "hush"))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, super::super::FailureKind::Transient);
    assert!(!failure.message.contains("hush"), "{failure}");
    assert_eq!(LARGE.available_permits(), 2);
}

#[tokio::test]
async fn a_bomb_is_refused_before_anything_is_looked_up() {
    let _alone = ALONE.lock().await;
    let world = Arc::new(World::default());
    let double = |n: i32| {
        let before = format!("$(A{})", n - 1);
        json!({"name": format!("A{n}"), "value": format!("{before}{before}")})
    };
    let first = json!({"name": "A0", "value": "0123456789abcdef"});
    let env: Value = std::iter::once(first).chain((1..40).map(double)).collect();
    let spec = json!({"containers": [{"name": "c", "image": "r.io/a", "env": env}]});
    let failure = translate(&world, &spec).await.unwrap_err();
    assert_eq!(failure.kind, super::super::FailureKind::Refused);
    assert_eq!(failure.reason, "ExceedsAciLimits");
    assert!(failure.message.contains("over 4 MB"), "{failure}");
    assert_eq!(asked(&world), (0, 0));
}

/// A provider of an Azure that answers, whose calls wait for their turns in `limiters`.
async fn emulated(limiters: &Limiters, world: &Arc<World>) -> (Aci, aci_emulator::Emulator) {
    // Before the emulator, which needs it.
    provider(world);
    let config = aci_emulator::Config::default();
    let credential = [
        config.tenant_id.clone(),
        config.client_id.clone(),
        config.client_secret.clone(),
    ];
    let subscription = config.subscription_id.clone();
    let emulator = aci_emulator::Emulator::start(config).await.unwrap();
    let ca = STANDARD.encode(emulator.ca_pem());
    let endpoints = Endpoints::custom(emulator.url(), emulator.url(), None, Some(&ca)).unwrap();
    let aci = provider_at(endpoints, &subscription, credential, limiters, world);
    (aci, emulator)
}

#[tokio::test]
async fn a_create_that_waits_for_its_turn_costs_no_token() {
    let world = Arc::new(World::default());
    let limiters = Limiters::new();
    let (aci, _emulator) = emulated(&limiters, &world).await;
    let config = aci_emulator::Config::default();
    let principal = format!("sp/{}/{}", config.tenant_id, config.client_id);
    let limiter = limiters.get(&config.subscription_id, &principal);
    let ask = async |class, group: &str| {
        let request = PermitRequest {
            class,
            tenant: u64::MAX,
            priority: CallPriority::default(),
            asked_by: None,
            group,
        };
        limiter.acquire(request, Instant::now()).await
    };
    for n in 0..90 {
        drop(ask(Class::Create, &n.to_string()).await.unwrap());
    }
    let token = json!({"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}});
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "d", "uid": "u"},
        "spec": {
            "containers": [{
                "name": "c",
                "image": "r.io/a",
                "volumeMounts": [{"name": "token", "mountPath": "/token"}],
            }],
            "volumes": [{"name": "token", "projected": {"sources": [token]}}],
        },
    }))
    .unwrap();
    let pod = Arc::new(pod);
    let tokens = || world.tokens.load(Ordering::Relaxed);

    for _ in 0..3 {
        let waits = aci.ensure("g", &pod, false, 0, &()).await.unwrap_err();
        assert_eq!(waits.kind, FailureKind::Queued, "{waits}");
        assert_eq!(aci.queue_position("g").unwrap().kind, FailureKind::Queued);
        assert_eq!(tokens(), 0);
    }
    let more = Observed {
        remaining_5m: Some(800),
        remaining_1h: Some(1700),
        ..Observed::default()
    };
    ask(Class::Delete, "another").await.unwrap().observe(&more);
    assert_eq!(aci.queue_position("g"), None);
    let rounds = world.rounds.load(Ordering::Relaxed);
    aci.ensure("g", &pod, false, 0, &()).await.unwrap();
    assert_eq!(tokens(), 1);
    let more = world.rounds.load(Ordering::Relaxed) - rounds;
    assert_eq!(more, 1, "all at once when its turn is there");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_left_out_and_the_group_is_read_all_the_same() {
    let world = Arc::new(World::default());
    let (aci, _emulator) = emulated(&Limiters::new(), &world).await;
    let end = crate::translate::ContainerEnd {
        by_log: true,
        container: "c".to_owned(),
        id: "aci://1".to_owned(),
    };
    let read = aci.read_logs("gone", &[end]).await.unwrap();
    assert_eq!((read.logs, read.group), (Vec::new(), None));
}

#[tokio::test]
async fn sessions_in_a_container_with_the_shim_begin_with_it() {
    let world = Arc::new(World::default());
    let (aci, _emulator) = emulated(&Limiters::new(), &world).await;
    let key = PodKey {
        namespace: "d".to_owned(),
        name: "p".to_owned(),
        uid: "u".to_owned(),
    };
    let name = aci.group_name(&key);
    // Nobody has said anything of it, and there is none.
    assert_eq!(aci.shell(&key, "c").await.unwrap(), "/bin/sh");
    let container = |name: &str, command: Value| {
        let resources = json!({"requests": {"cpu": 1.0, "memoryInGB": 1.0}});
        let properties = json!({"image": "i", "command": command, "resources": resources});
        json!({"name": name, "properties": properties})
    };
    let with = container("c", json!(["/.vkc/bin/vkc-shim", "run", "--", "x"]));
    let group = json!({"location": "eastus", "properties": {
        "osType": "Linux",
        "containers": [with, container("other", json!(["x"]))],
    }});
    let group: ContainerGroup = serde_json::from_value(group).unwrap();
    let put = aci.arm.put_group(&aci.scope.resource_group, &name, &group);
    put.await.unwrap();
    // As after a restart of this process: it looks, once.
    assert_eq!(aci.shell(&key, "c").await.unwrap(), "/.vkc/bin/sh");
    assert_eq!(aci.shell(&key, "other").await.unwrap(), "/bin/sh");
    assert_eq!(aci.shims.with(&name).unwrap()[..], ["c"]);
    aci.delete(&name).await.unwrap();
    assert_eq!(aci.shims.with(&name), None);
}

#[tokio::test]
async fn whoever_misses_a_container_raises_a_doubt() {
    let world = Arc::new(World::default());
    let (aci, _emulator) = emulated(&Limiters::new(), &world).await;
    let pod = |name: &str| PodKey {
        namespace: "d".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
    };
    let streams = || Streams {
        stdin: None,
        output: tokio::sync::mpsc::channel(8).0,
        resize: None,
        gone: CancellationToken::new(),
    };
    let command = Command {
        argv: vec!["ls".to_owned()],
        tty: false,
    };

    aci.logs(&pod("a"), "c", LogPart::default())
        .await
        .unwrap_err();
    let run = aci.exec(&pod("b"), "c", &command, streams()).await;
    let container = Attached {
        name: "c",
        tty: false,
        has_own: false,
    };
    let shown = aci.attach(&pod("c"), &container, streams()).await;
    assert!(run.is_err() && shown.is_err(), "there is no such group");
    let refreshes = aci.refreshes();
    for name in ["a", "b", "c"] {
        let doubt = tokio::time::timeout(Duration::from_secs(10), refreshes.next()).await;
        assert_eq!(doubt.unwrap(), pod(name));
    }
}
