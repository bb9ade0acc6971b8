//! Every class of Azure's failures of a create: what the pod says, and that it goes on by itself.

use std::collections::BTreeMap;

use aci_emulator::Fault;
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, PATIENCE, is_running, text, waiting};
use crate::support::site::{Runs, run, shared};

/// As long as nobody clears it.
const ALWAYS: u32 = 1_000_000;

/// A failing create: name of the pod, Azure's code, what its container waits for, a part of the message.
type Row = (&'static str, &'static str, &'static str, &'static str);

const OF_THE_POD: &[Row] = &[
    (
        "image",
        "InaccessibleImage",
        "ErrImagePull ImagePullBackOff",
        "is not accessible",
    ),
    (
        "system",
        "ImageOsTypeNotMatchContainerGroup",
        "ErrImagePull ImagePullBackOff",
        "doesn't support specified OS",
    ),
    (
        "windows-build",
        "OsVersionNotSupported",
        "ErrImagePull ImagePullBackOff",
        "OS version",
    ),
    (
        "registry",
        "RegistryErrorResponse",
        "ErrImagePull ImagePullBackOff",
        "index.docker.io",
    ),
    (
        "quota",
        "ContainerGroupQuotaReached",
        "AciQuotaExceeded",
        "Ask Microsoft for a higher quota",
    ),
    (
        "no-room",
        "ServiceUnavailable",
        "AciCapacity",
        "another region",
    ),
    (
        "no-capacity",
        "InsufficientCapacity",
        "AciCapacity",
        "not available in the location",
    ),
    (
        "busy",
        "ContainerGroupTransitioning",
        "AciTransitioning",
        "still transitioning",
    ),
    (
        "throttled-arm",
        "SubscriptionRequestsThrottled",
        "AzureThrottled",
        "exceeded",
    ),
    (
        "throttled-rp",
        "TooManyRequests",
        "AzureThrottled",
        "throttled",
    ),
    (
        "invalid",
        "ContainerLimitGreaterThanContainerGroupTotalRequest",
        "AciRefused",
        "Change the pod",
    ),
];

const OF_THE_CONNECTOR: &[Row] = &[
    (
        "policy",
        "RequestDisallowedByPolicy",
        "AzurePolicy",
        "No container groups",
    ),
    ("locked", "ScopeLocked", "AzureLocked", "az lock delete"),
    (
        "role",
        "AuthorizationFailed",
        "AzureForbidden",
        "containerGroups/write",
    ),
    (
        "linked",
        "LinkedAuthorizationFailed",
        "AzureForbidden",
        "subnets/join/action",
    ),
    (
        "token",
        "InvalidAuthenticationToken",
        "AzureCredentials",
        "access token is invalid",
    ),
    (
        "group-gone",
        "ResourceGroupNotFound",
        "ResourceGroupNotFound",
        "az group create",
    ),
    (
        "group-going",
        "ResourceGroupBeingDeleted",
        "ResourceGroupBeingDeleted",
        "deprovisioning",
    ),
    (
        "disabled",
        "ReadOnlyDisabledSubscription",
        "SubscriptionDisabled",
        "marked as read only",
    ),
    (
        "no-sub",
        "SubscriptionNotFound",
        "SubscriptionNotFound",
        "could not be found",
    ),
    (
        "unregistered",
        "MissingSubscriptionRegistration",
        "ProviderNotRegistered",
        "az provider register",
    ),
    (
        "region",
        "LocationNotAvailableForResourceType",
        "AciRegionNotAvailable",
        "another region",
    ),
    (
        "subnet",
        "SubnetMissingRequiredDelegation",
        "AciSubnet",
        "delegation",
    ),
];

pub(crate) fn create_fault(name: &str, code: &str) -> Fault {
    Fault {
        times: ALWAYS,
        method: Some("PUT".to_owned()),
        path_contains: Some(format!("/containerGroups/{name}-")),
        ..Fault::recorded(code).unwrap_or_else(|| panic!("{code} is not on record"))
    }
}

/// Creates that fail in a way of their own, with what the pod waits for and a part of the message.
fn odd_creates() -> Vec<(Row, Fault)> {
    let page = |name, status| {
        let row = (name, "", "AzureUnavailable", "not JSON (text/html)");
        let fault = Fault {
            status,
            body: Some("<html>a proxy's page, nothing of Azure's</html>".to_owned()),
            ..create_fault(name, "ServerTimeout")
        };
        (row, fault)
    };
    let quota = |name, status| {
        let row = (name, "", "AciQuotaExceeded", "Ask Microsoft");
        let fault = create_fault(name, "ContainerGroupQuotaReached").with_status(status);
        (row, fault)
    };
    let hostile = Fault {
        headers: [("retry-after".to_owned(), "-1, soon; 1e99".to_owned())].into(),
        ..create_fault("hostile", "TooManyRequests")
    };
    let cut = Fault {
        drop_connection: true,
        ..create_fault("cut", "ServerTimeout")
    };
    vec![
        quota("quota-403", 403),
        quota("quota-409", 409),
        page("page-502", 502),
        page("page-404", 404),
        page("page-400", 400),
        (("hostile", "", "AzureThrottled", "throttled"), hostile),
        (("cut", "", "AzureUnavailable", ""), cut),
        (
            ("server", "", "AzureUnavailable", "timed out"),
            create_fault("server", "ServerTimeout"),
        ),
    ]
}

fn recorded(rows: &[Row]) -> Vec<(Row, Fault)> {
    rows.iter()
        .map(|row| (*row, create_fault(row.0, row.1)))
        .collect()
}

pub(crate) trait WithStatus {
    fn with_status(self, status: u16) -> Self;
}

impl WithStatus for Fault {
    fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

fn message(pod: &Value) -> &str {
    text(&pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"])
}

/// Counters of failures by operation and reason.
async fn failures(url: &str) -> BTreeMap<String, f64> {
    let text = reqwest::get(format!("{url}/metrics")).await.unwrap();
    let text = text.text().await.unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("vkc_pod_failures_total"));
    let number = |line: &str| {
        let (labels, value) = line.rsplit_once(' ').unwrap();
        (labels.to_owned(), value.parse().unwrap())
    };
    lines.map(number).collect()
}

/// Creates one pod for each row, waits until each says why it has no group, lets Azure be well again, and waits until each
/// runs without anybody's help.
async fn refused_and_healed(fixture: &Fixture, rows: &[(Row, Fault)]) {
    for (_, fault) in rows {
        fixture.control.inject(fault.clone());
    }
    for ((name, ..), _) in rows {
        fixture.create_pod(name, "example.com/web", json!({})).await;
    }
    for ((name, _, reason, part), _) in rows {
        let pod = fixture
            .pod_until(name, reason, PATIENCE, |pod| {
                let waits_for = waiting(pod);
                !waits_for.is_empty() && reason.split(' ').any(|reason| reason == waits_for)
            })
            .await;
        assert_eq!(pod["status"]["phase"], "Pending", "{name}");
        assert!(message(&pod).contains(part), "{name}: {}", message(&pod));
        assert!(!message(&pod).contains('<'), "{name}: {}", message(&pod));
        let event = if reason.starts_with("Err") {
            "Failed"
        } else {
            reason
        };
        assert_eq!(
            fixture.event(&pod, event).await["type"],
            "Warning",
            "{name}"
        );
    }
    fixture.control.clear_faults();
    for ((name, ..), _) in rows {
        let pod = fixture.pod_until(name, "it runs", 70, is_running).await;
        assert_eq!(fixture.groups_of(&pod).len(), 1, "{name}");
        let restarts = &pod["status"]["containerStatuses"][0]["restartCount"];
        assert_eq!(*restarts, 0, "{name}");
    }
}

#[test]
fn creates_that_are_refused_for_the_pod() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "refused-pods", "Linux").await;
        refused_and_healed(&fixture, &recorded(OF_THE_POD)).await;
        // What is refused is not asked for again and again.
        for name in ["invalid", "quota", "image"] {
            let puts = fixture.count("PUT", &format!("{name}-"));
            assert!(puts <= 12, "{name}: {puts} PUTs");
        }
        let counted = failures(&operator.metrics_url()).await;
        for reason in ["AciQuotaExceeded", "AciCapacity", "Failed", "AciRefused"] {
            let labels =
                format!("vkc_pod_failures_total{{operation=\"create\",reason=\"{reason}\"}}");
            assert!(
                counted.get(&labels).is_some_and(|n| *n >= 1.0),
                "{labels}: {counted:?}"
            );
        }
        fixture.finish().await;
    });
}

#[test]
fn creates_that_are_refused_to_the_connector() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "refused-all", "Linux").await;
        // A token that expires in the middle is nobody's business.
        fixture.control.inject(Fault {
            times: 1,
            ..create_fault("expired", "ExpiredAuthenticationToken")
        });
        let expired = fixture.run_pod("expired").await;
        assert!(
            fixture
                .events(&expired, "AzureCredentials")
                .await
                .is_empty()
        );
        assert_eq!(fixture.count("PUT", "expired-"), 2);
        refused_and_healed(&fixture, &recorded(OF_THE_CONNECTOR)).await;
        fixture.finish().await;
    });
}

#[test]
fn creates_that_fail_in_odd_ways() {
    run(async {
        let operator = shared().await;
        let fixture = Fixture::start(&operator, "odd", "Linux").await;
        refused_and_healed(&fixture, &odd_creates()).await;
        // Where a group might have been, it was looked for before the next PUT.
        for name in ["server", "cut", "page-502"] {
            let calls = fixture.calls(&format!("{name}-"));
            let refused = |pair: &&[(String, u16)]| pair[0].0 == "PUT" && pair[0].1 != 201;
            for pair in calls.windows(2).filter(refused) {
                assert_eq!(pair[1].0, "GET", "{name}: {calls:?}");
            }
        }
        fixture.finish().await;
    });
}
