use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Kinds, Probes, probe, probes};
use crate::api::Os;
use crate::translate::group::container_group;
use crate::translate::group::review::Review;
use crate::translate::testing::owner;
use crate::translate::{GroupDefaults, Resolved};

const BOTH: [Os; 2] = [Os::Linux, Os::Windows];

/// The probe as ARM gets it, or the first refusal.
fn arm(given: &Value, os: Os) -> Result<Value, (String, String)> {
    let ports = json!([{"containerPort": 8080, "name": "web"}, {"containerPort": 9090}]);
    let ports: Vec<_> = serde_json::from_value(ports).unwrap();
    let given = serde_json::from_value(given.clone()).unwrap();
    let resolved = Resolved::default();
    let mut review = Review::new(os, &resolved);
    let probe = probe(&given, "livenessProbe", (2, false), &ports, &mut review);
    match review.finish() {
        Ok((notes, _)) => {
            assert_eq!(notes, []);
            Ok(serde_json::to_value(probe.unwrap()).unwrap())
        }
        Err(refusals) => {
            assert_eq!(probe, None);
            let first = refusals.0.into_iter().next().unwrap();
            Err((first.field, first.message))
        }
    }
}

fn with_timing(mut handler: Value, timing: [i32; 5]) -> Value {
    let members = [
        "initialDelaySeconds",
        "periodSeconds",
        "failureThreshold",
        "successThreshold",
        "timeoutSeconds",
    ];
    for (member, value) in members.into_iter().zip(timing) {
        handler[member] = json!(value);
    }
    handler
}

const DEFAULTS: [i32; 5] = [0, 10, 3, 1, 1];

#[test]
fn handlers_that_aci_has() {
    let headers = json!([{"name": "Host", "value": "a"}, {"name": "X", "value": ""}]);
    let table = [
        (
            json!({"exec": {"command": ["cat", "$(X)"]}}),
            json!({"exec": {"command": ["cat", "$(X)"]}}),
        ),
        (
            json!({"httpGet": {"port": 80}}),
            json!({"httpGet": {"path": "/", "port": 80, "scheme": "http"}}),
        ),
        (
            json!({"httpGet": {"port": "web", "path": "/up?x=1", "scheme": "HTTPS", "host": "", "httpHeaders": headers}}),
            json!({"httpGet": {"path": "/up?x=1", "port": 8080, "scheme": "https", "httpHeaders": headers}}),
        ),
        (
            json!({"httpGet": {"port": "81", "path": "", "scheme": "HTTP"}}),
            json!({"httpGet": {"path": "/", "port": 81, "scheme": "http"}}),
        ),
    ];
    for os in BOTH {
        for (given, expected) in &table {
            let expected = with_timing(expected.clone(), DEFAULTS);
            assert_eq!(arm(given, os), Ok(expected), "{given}");
        }
    }
}

#[test]
fn times_are_sent_as_they_are() {
    for timing in [[0, 1, 1, 1, 1], [3_600, 86_400, 100, 50, 7_200]] {
        let given = with_timing(json!({"exec": {"command": ["true"]}}), timing);
        assert_eq!(arm(&given, Os::Linux), Ok(given));
    }
    let mut graceful = with_timing(json!({"exec": {"command": ["true"]}}), DEFAULTS);
    let expected = graceful.clone();
    graceful["terminationGracePeriodSeconds"] = json!(5);
    assert_eq!(arm(&graceful, Os::Linux), Ok(expected));
}

#[test]
fn what_aci_has_not_is_refused_by_name() {
    let table = [
        (
            json!({"httpGet": {"port": 80, "host": "example.com"}}),
            ".httpGet.host",
            "header",
        ),
        (
            json!({"httpGet": {"port": "metrics"}}),
            ".httpGet.port",
            "metrics",
        ),
        (json!({"httpGet": {"port": ""}}), ".httpGet.port", "name"),
        (json!({"httpGet": {"port": 0}}), ".httpGet.port", "0"),
        (
            json!({"httpGet": {"port": 65_536}}),
            ".httpGet.port",
            "65536",
        ),
        (
            json!({"httpGet": {"port": "65536"}}),
            ".httpGet.port",
            "65536",
        ),
        (
            json!({"httpGet": {"port": 80, "scheme": "ftp"}}),
            ".httpGet.scheme",
            "ftp",
        ),
        (json!({"exec": {}}), ".exec", "command"),
        (json!({}), "", "httpGet"),
    ];
    for os in BOTH {
        for (given, field, word) in &table {
            let (at, why) = arm(given, os).unwrap_err();
            assert_eq!(
                at,
                format!("spec.containers[2].livenessProbe{field}"),
                "{given}"
            );
            assert!(why.contains(word), "{given}: {why}");
        }
    }
}

/// The delay of the liveness probe beside this startup probe, and the reasons of what is told.
fn delayed(startup: &Value, liveness: &Value) -> (i64, Vec<&'static str>) {
    let given: Vec<_> = [startup, liveness]
        .map(|probe| serde_json::from_value(probe.clone()).unwrap())
        .into();
    let probes_of = Probes {
        startup: given.first(),
        liveness: given.get(1),
        readiness: given.get(1),
        run: Kinds::default(),
    };
    let resolved = Resolved::default();
    let mut review = Review::new(Os::Linux, &resolved);
    let (arm, readiness) = probes(&probes_of, 0, &[], &mut review);
    let (notes, _) = review.finish().unwrap();
    let arm = serde_json::to_value(arm.unwrap()).unwrap();
    // Readiness decides itself.
    let given = liveness["initialDelaySeconds"].as_i64().unwrap_or(0);
    let readiness = readiness.unwrap().initial_delay_seconds;
    assert_eq!(readiness.map(i64::from), Some(given));
    assert_eq!(arm["exec"], liveness["exec"]);
    let delay = arm["initialDelaySeconds"].as_i64().unwrap();
    let notes = notes
        .into_iter()
        .filter(|note| note.field.contains("startup"));
    (delay, notes.map(|note| note.reason).collect())
}

#[test]
fn a_startup_probe_holds_the_liveness_probe_back() {
    let exec = |timing: Value| {
        let mut probe = timing;
        probe["exec"] = json!({"command": ["true"]});
        probe
    };
    let slow = |delay: i32, period: i32, failures: i32, timeout: i32| {
        json!({"initialDelaySeconds": delay, "periodSeconds": period, "failureThreshold": failures,
               "timeoutSeconds": timeout, "httpGet": {"port": 80}})
    };
    let table = [
        // Kubernetes' defaults: 10 s, three times.
        (json!({"httpGet": {"port": 80}}), json!({}), 30),
        (slow(5, 2, 30, 1), json!({}), 65),
        (slow(0, 1, 3, 20), json!({}), 60),
        // It waits already.
        (slow(0, 1, 3, 1), json!({"initialDelaySeconds": 90}), 90),
        (
            slow(i32::MAX, i32::MAX, i32::MAX, 1),
            json!({}),
            i64::from(i32::MAX),
        ),
        // It is not run, so that ACI need not have its handler.
        (json!({"tcpSocket": {"port": 80}}), json!({}), 30),
        (json!({"grpc": {"port": 80}}), json!({}), 30),
    ];
    for (startup, liveness, expected) in table {
        let got = delayed(&startup, &exec(liveness));
        assert_eq!(got, (expected, vec!["ApproximatedOnAci"]), "{startup}");
    }
}

/// What ARM gets of the probes of a pod of a connector in a subnet, or without an address, and the fields that are told.
fn in_network(subnet: bool, container: &Value) -> (Value, Vec<String>) {
    let mut pod = json!({
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let given = container.as_object().unwrap().clone();
    let first = pod["spec"]["containers"][0].as_object_mut().unwrap();
    first.extend(given);
    let mut defaults = GroupDefaults::new(Os::Linux, "eastus".to_owned());
    let network =
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/a";
    defaults.subnet_id = subnet.then(|| network.to_owned());
    let pod: Pod = serde_json::from_value(pod).unwrap();
    let group = container_group(&pod, &defaults, &owner(&pod), &Resolved::default()).unwrap();
    let notes = group.notes.into_iter().map(|note| note.field);
    let notes = notes.filter(|field| field.contains("robe")).collect();
    (serde_json::to_value(group.group).unwrap(), notes)
}

#[test]
fn what_the_operator_runs_needs_nothing_of_aci_and_nothing_is_told() {
    let (tcp, grpc) = (
        json!({"tcpSocket": {"port": 80}}),
        json!({"grpc": {"port": 81}}),
    );
    let http = json!({"httpGet": {"port": 82}});
    let container = json!({"livenessProbe": tcp, "readinessProbe": grpc, "startupProbe": http});
    let (group, notes) = in_network(true, &container);
    assert_eq!(notes, Vec::<String>::new());
    let main = &group["properties"]["containers"][0]["properties"];
    assert_eq!(main["livenessProbe"], json!(null));
    assert_eq!(main["readinessProbe"], json!(null));
    // Without a port it would have no address to be dialled at.
    assert_eq!(group["properties"]["ipAddress"]["ports"][0]["port"], 82);
    let (group, notes) = in_network(false, &container);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(group["properties"]["ipAddress"], json!(null));
    // ACI goes on with what it has, and the operator tells what comes of it.
    let (group, notes) = in_network(
        true,
        &json!({"readinessProbe": http, "startupProbe": tcp, "livenessProbe": http}),
    );
    assert_eq!(notes, Vec::<String>::new());
    let main = &group["properties"]["containers"][0]["properties"];
    assert_eq!(main["livenessProbe"]["initialDelaySeconds"], 30);
    assert_eq!(main["readinessProbe"]["httpGet"]["port"], 82);
    let (_, notes) = in_network(false, &json!({"readinessProbe": http}));
    assert_eq!(notes, ["spec.containers[0].readinessProbe"]);
}
