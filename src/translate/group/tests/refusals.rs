//! What is refused, what is told, and what passes.

use serde_json::{Value, json};

use super::{Refusals, Translation, c0, container_group, refused, translate};
use crate::api::{DaemonSets, Os};
use crate::translate::GroupDefaults;
use crate::translate::support::{Verdict, rows};
use crate::translate::testing::{HELLO, IIS, defaults, owner, pod, resolved};

/// What a change of the Linux fixture is refused for.
#[expect(clippy::too_many_lines, reason = "a table")]
fn refusals_of_linux() -> Vec<(String, Value, &'static str)> {
    let spec = [
        (
            "dnsConfig",
            json!({"nameservers": ["1.1.1.1"]}),
            "spec.dnsConfig",
        ),
        ("dnsPolicy", json!("None"), "spec.dnsPolicy"),
        (
            "containers",
            json!([{"name": "c", "image": "i", "command": ["x", "a$(S)"], "env": [
                {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "PASS"}}},
            ]}]),
            "spec.containers[0].command",
        ),
        (
            "hostAliases",
            json!([{"ip": "10.0.0.1", "hostnames": ["a"]}]),
            "spec.hostAliases",
        ),
        ("hostIPC", json!(true), "spec.hostIPC"),
        ("hostNetwork", json!(true), "spec.hostNetwork"),
        ("hostPID", json!(true), "spec.hostPID"),
        ("hostnameOverride", json!("a"), "spec.hostnameOverride"),
        ("os", json!({"name": "windows"}), "spec.os"),
        (
            "resourceClaims",
            json!([{"name": "gpu"}]),
            "spec.resourceClaims",
        ),
        (
            "resources",
            json!({"limits": {"cpu": "1", "hugepages-2Mi": "2Mi"}}),
            "spec.resources.limits[hugepages-2Mi]",
        ),
        ("runtimeClassName", json!("kata"), "spec.runtimeClassName"),
        ("setHostnameAsFQDN", json!(true), "spec.setHostnameAsFQDN"),
        (
            "shareProcessNamespace",
            json!(true),
            "spec.shareProcessNamespace",
        ),
        (
            "securityContext",
            json!({"runAsNonRoot": true, "runAsUser": 0}),
            "spec.securityContext.runAsNonRoot",
        ),
        (
            "securityContext",
            json!({"seccompProfile": {"type": "Localhost"}}),
            "spec.securityContext.seccompProfile",
        ),
        (
            "securityContext",
            json!({"sysctls": [{"name": "net/ipv4/tcp_rmem", "value": "1"}]}),
            "spec.securityContext.sysctls",
        ),
        (
            "securityContext",
            json!({"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
            "spec.securityContext.sysctls",
        ),
    ];
    let container = [
        ("env", json!([{"name": "a.b", "value": "x"}]), "env[0].name"),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]),
            "env[0].valueFrom.fieldRef",
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.hugepages-2Mi"}}}]),
            "env[0].valueFrom.resourceFieldRef",
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "K"}}}]),
            "env[0].valueFrom.fileKeyRef",
        ),
        (
            "env",
            json!([{"name": "A", "valueFrom": {}}]),
            "env[0].valueFrom",
        ),
        ("envFrom", json!([{"prefix": "A"}]), "envFrom[0]"),
        ("image", json!(""), "image"),
        ("imagePullPolicy", json!("Never"), "imagePullPolicy"),
        (
            "livenessProbe",
            json!({"httpGet": {"port": 80, "host": "h"}}),
            "livenessProbe.httpGet.host",
        ),
        (
            "ports",
            json!([{"containerPort": 80, "hostPort": 80}]),
            "ports[0].hostPort",
        ),
        (
            "ports",
            json!([{"containerPort": 80, "hostIP": "127.0.0.1"}]),
            "ports[0].hostIP",
        ),
        (
            "ports",
            json!([{"containerPort": 80, "protocol": "SCTP"}]),
            "ports[0].protocol",
        ),
        (
            "resources",
            json!({"limits": {"nvidia.com/gpu": "1"}}),
            "resources.limits[nvidia.com/gpu]",
        ),
        (
            "resources",
            json!({"limits": {"cpu": "lots"}}),
            "resources.limits[cpu]",
        ),
        (
            "resources",
            json!({"claims": [{"name": "c"}]}),
            "resources.claims",
        ),
        ("restartPolicy", json!("Always"), "restartPolicy"),
        (
            "restartPolicyRules",
            json!([{"action": "Restart"}]),
            "restartPolicyRules",
        ),
        (
            "securityContext",
            json!({"procMount": "Unmasked"}),
            "securityContext.procMount",
        ),
        (
            "securityContext",
            json!({"runAsNonRoot": true, "runAsUser": 0}),
            "securityContext.runAsNonRoot",
        ),
        (
            "securityContext",
            json!({"seccompProfile": {"type": "Localhost"}}),
            "securityContext.seccompProfile",
        ),
        ("stdin", json!(true), "stdin"),
        ("tty", json!(true), "tty"),
        (
            "volumeDevices",
            json!([{"name": "d", "devicePath": "/dev/d"}]),
            "volumeDevices",
        ),
    ];
    let mount = |member: &str, value: Value| {
        let mut mount = json!({"name": "kube-api-access-q9wzc", "mountPath": "/m"});
        mount[member] = value;
        json!([mount])
    };
    let mounts = [
        ("mountPath", json!("/a:b"), "volumeMounts[0].mountPath"),
        (
            "mountPropagation",
            json!("HostToContainer"),
            "volumeMounts[0].mountPropagation",
        ),
        ("subPath", json!("x"), "volumeMounts[0].subPath"),
        ("subPathExpr", json!("$(X)"), "volumeMounts[0].subPathExpr"),
    ];
    let in_container =
        |field: &str| -> &'static str { format!("spec.containers[0].{field}").leak() };
    let spec = spec
        .into_iter()
        .map(|(member, value, field)| (format!("/spec/{member}"), value, field));
    let container = container
        .into_iter()
        .map(|(member, value, field)| (c0(member), value, in_container(field)));
    let mounts = mounts.into_iter().map(|(member, value, field)| {
        (
            c0("volumeMounts"),
            mount(member, value),
            in_container(field),
        )
    });
    spec.chain(container).chain(mounts).collect()
}

#[test]
fn what_aci_cannot_do_is_refused_by_name() {
    for (pointer, value, field) in refusals_of_linux() {
        let fields: Vec<String> = refused(HELLO, &[(&pointer, value.clone())], Os::Linux)
            .into_iter()
            .map(|(field, _)| field)
            .collect();
        assert_eq!(fields, [field], "{pointer} = {value}");
    }
}

/// The first container mounts `volume`, which is called `v`.
fn mounted(volume: Value) -> [(&'static str, Value); 2] {
    let mount = json!({"name": "v", "mountPath": "/v"});
    [
        ("/spec/volumes/-", volume),
        ("/spec/containers/0/volumeMounts", json!([mount])),
    ]
}

#[test]
fn volumes_that_aci_does_not_have_are_refused_by_name() {
    let sources = [
        ("hostPath", json!({"path": "/"})),
        ("nfs", json!({"server": "s", "path": "/"})),
        ("csi.driver", json!({"driver": "d"})),
        ("emptyDir.medium", json!({"medium": "HugePages"})),
        (
            "gitRepo.repository",
            json!({"repository": "git@example.com:a"}),
        ),
    ];
    for (source, value) in sources {
        let kind = source.split_once('.').map_or(source, |(kind, _)| kind);
        let volume = json!({"name": "v", kind: value});
        let unmounted = refused(HELLO, &[("/spec/volumes/-", volume.clone())], Os::Linux);
        assert_eq!(unmounted, [], "{source}");
        let got = refused(HELLO, &mounted(volume), Os::Linux);
        assert_eq!(
            got,
            [(format!("spec.volumes[1].{source}"), "NotSupportedOnAci")]
        );
    }
    let empty = [("/spec/volumes/-", json!({"name": "v", "emptyDir": {}}))];
    assert_eq!(refused(HELLO, &empty, Os::Linux), []);
    for (source, value) in [
        ("emptyDir", json!({})),
        ("secret", json!({"secretName": "s"})),
        ("configMap", json!({"name": "c"})),
        ("downwardAPI", json!({})),
        ("projected", json!({"sources": []})),
        ("persistentVolumeClaim", json!({"claimName": "c"})),
        ("ephemeral", json!({})),
        ("csi", json!({"driver": "file.csi.azure.com"})),
        ("azureFile", json!({"secretName": "s", "shareName": "n"})),
        ("gitRepo", json!({"repository": "https://example.com/a"})),
    ] {
        let volume = json!({"name": "v", source: value});
        let got = refused(IIS, &mounted(volume.clone()), Os::Windows);
        let field = format!("spec.volumes[1].{source}");
        assert_eq!(got, [(field, "NotSupportedOnAci")]);
        let got = refused(HELLO, &[("/spec/volumes/-", volume)], Os::Linux);
        assert_eq!(got, []);
    }
}

#[test]
fn what_cannot_be_honoured_exactly_is_told() {
    let table = [
        ("/spec/hostname", json!("web-0"), "spec.hostname"),
        ("/spec/subdomain", json!("web"), "spec.subdomain"),
        ("/spec/hostUsers", json!(false), "spec.hostUsers"),
        (
            "/spec/containers/0/readinessProbe",
            json!({"exec": {"command": ["true"]}}),
            "spec.containers[0].readinessProbe",
        ),
        (
            "/spec/securityContext",
            json!({"seccompProfile": {"type": "RuntimeDefault"}}),
            "spec.securityContext.seccompProfile",
        ),
    ];
    for (pointer, value, field) in table {
        let notes = translate(&pod(HELLO, &[(pointer, value)]), Os::Linux)
            .unwrap()
            .notes;
        assert_eq!(notes.len(), 1, "{pointer}");
        assert_eq!(
            (notes[0].field.as_str(), notes[0].reason),
            (field, "ApproximatedOnAci")
        );
    }
}

#[test]
fn what_the_api_server_defaults_or_the_scheduler_uses_passes_in_silence() {
    let table = [
        ("/spec/dnsPolicy", json!("Default")),
        ("/spec/dnsPolicy", json!("ClusterFirstWithHostNet")),
        ("/spec/hostNetwork", json!(false)),
        ("/spec/hostUsers", json!(true)),
        ("/spec/shareProcessNamespace", json!(false)),
        ("/spec/setHostnameAsFQDN", json!(false)),
        ("/spec/dnsConfig", json!({})),
        ("/spec/initContainers", json!([])),
        ("/spec/imagePullSecrets", json!([])),
        ("/spec/os", json!({"name": "linux"})),
        ("/spec/affinity", json!({"nodeAffinity": {}})),
        ("/spec/priorityClassName", json!("high")),
        ("/spec/overhead", json!({"cpu": "1"})),
        ("/spec/readinessGates", json!([{"conditionType": "a/b"}])),
        ("/spec/topologySpreadConstraints", json!([])),
        (
            "/spec/securityContext",
            json!({"runAsNonRoot": false, "seccompProfile": {"type": "Unconfined"}}),
        ),
        ("/spec/containers/0/securityContext", json!({})),
        (
            "/spec/containers/0/securityContext",
            json!({"seLinuxOptions": {}, "windowsOptions": {}, "appArmorProfile": {"type": "Unconfined"}}),
        ),
        (
            "/spec/securityContext",
            json!({"seLinuxOptions": {"level": ""}, "windowsOptions": {"runAsUserName": "a"}, "supplementalGroups": []}),
        ),
        // The only volume is its service account's.
        ("/spec/securityContext", json!({"fsGroup": 2000})),
        ("/spec/dnsConfig", json!({"options": [], "nameservers": []})),
        ("/spec/resources", json!({"limits": {}})),
        (
            "/spec/volumes/-",
            json!({"name": "v", "hostPath": {"path": "/"}}),
        ),
        (
            "/spec/containers/0/resources",
            json!({"requests": {"ephemeral-storage": "0", "nvidia.com/gpu": "0"}}),
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"privileged": false, "allowPrivilegeEscalation": true}),
        ),
        (
            "/spec/containers/0/securityContext",
            json!({"capabilities": {}, "procMount": "Default"}),
        ),
        ("/spec/containers/0/imagePullPolicy", json!("IfNotPresent")),
        (
            "/spec/containers/0/resizePolicy",
            json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]),
        ),
        ("/spec/containers/0/stdin", json!(false)),
        ("/spec/containers/0/lifecycle", json!({})),
        (
            "/spec/containers/0/livenessProbe",
            json!({"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "terminationGracePeriodSeconds": 3}),
        ),
    ];
    for (pointer, value) in table {
        let result = translate(&pod(HELLO, &[(pointer, value)]), Os::Linux);
        assert_eq!(
            result.map(|translation| translation.notes),
            Ok(Vec::new()),
            "{pointer}"
        );
    }
}

#[test]
fn an_image_that_must_not_be_pulled_is_never_there() {
    let never = ("/spec/containers/0/imagePullPolicy", json!("Never"));
    let refusals = translate(&pod(HELLO, &[never]), Os::Linux).unwrap_err();
    let refusal = refusals.as_kubelet().unwrap();
    assert_eq!(refusals.reason(), "ErrImageNeverPull");
    assert_eq!(
        refusal.message,
        "Container image \"microsoft/aci-helloworld\" is not present with pull policy of Never"
    );
    assert!(!refusals.is_retryable(), "another image is another pod");
    assert_eq!(refusals.faults().len(), 1);
}

#[test]
fn root_that_must_not_be_root_is_a_kubelet_s_refusal() {
    let own = json!({"runAsNonRoot": true, "runAsUser": 0});
    let own = ("/spec/containers/0/securityContext", own);
    let refusals = translate(&pod(HELLO, &[own]), Os::Linux).unwrap_err();
    let refusal = refusals.as_kubelet().unwrap();
    assert_eq!(refusals.reason(), "CreateContainerConfigError");
    assert!(
        refusal
            .message
            .starts_with("container's runAsUser breaks non-root policy"),
        "{}",
        refusal.message
    );
    assert!(!refusals.is_retryable());
    assert_eq!(refusals.faults().len(), 1);
}

#[test]
fn all_refusals_are_collected_and_the_text_stays_short() {
    let changes: Vec<(String, Value)> = [
        "hostPID",
        "hostIPC",
        "hostNetwork",
        "shareProcessNamespace",
        "setHostnameAsFQDN",
    ]
    .iter()
    .map(|member| (format!("/spec/{member}"), json!(true)))
    .collect();
    let changes: Vec<(&str, Value)> = changes
        .iter()
        .map(|(pointer, value)| (pointer.as_str(), value.clone()))
        .collect();
    let refusals = translate(&pod(HELLO, &changes), Os::Linux).unwrap_err();
    assert_eq!(refusals.0.len(), 5);
    assert_eq!(refusals.reason(), "NotSupportedOnAci");
    let text = refusals.to_string();
    assert!(
        text.starts_with("spec.hostIPC: ") && text.ends_with("; and 1 more"),
        "{text}"
    );
}

/// Rows of the table that no change of a fixture above reaches would be rows that the code does not obey.
#[test]
fn every_refused_row_on_linux_is_reached() {
    let tried: Vec<String> = refusals_of_linux()
        .into_iter()
        .map(|(_, _, field)| {
            field
                .replace("[0]", "[]")
                .replace("livenessProbe.", "*Probe.")
                .replace("readinessProbe.", "*Probe.")
                .split("[]")
                .collect::<Vec<_>>()
                .join("[]")
        })
        .collect();
    for row in rows() {
        let (field, _) = row.field.split_once(": ").unwrap_or((row.field, ""));
        let elsewhere = field.starts_with("spec.volumes[]")
            || field.starts_with("spec.dnsConfig.")
            || field.starts_with("spec.initContainers[]")
            || field == "spec.containers[].resources"
            || field == "spec.resources"
            // Refused where the image is read.
            || field == "spec.containers[].args";
        if matches!(row.linux, Verdict::Refused(_)) && !elsewhere {
            assert!(tried.iter().any(|tried| tried == field), "{}", row.field);
        }
    }
}

fn daemon(
    os: &str,
    spec: &[(&str, Value)],
    daemon_sets: DaemonSets,
) -> Result<Translation, Refusals> {
    let owner_reference = json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]);
    let mut changes = vec![
        ("/metadata/ownerReferences", owner_reference),
        ("/spec/os", json!({"name": os})),
    ];
    changes.extend_from_slice(spec);
    let pod = pod(HELLO, &changes);
    let defaults = GroupDefaults {
        daemon_sets,
        ..defaults(Os::Linux)
    };
    container_group(&pod, &defaults, &owner(&pod), &resolved())
}

#[test]
fn a_pod_of_a_daemon_set_is_refused_with_all_that_keeps_it_off_unless_the_connector_runs_them() {
    let network = [("/spec/hostNetwork", json!(true))];
    let refusals = daemon("linux", &network, DaemonSets::Refuse).unwrap_err();
    assert_eq!(refusals.reason(), "DaemonSetNotAllowed");
    assert!(!refusals.is_retryable() && !refusals.is_rejection());
    let fields: Vec<_> = refusals.0.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["metadata.ownerReferences", "spec.hostNetwork"]);
    assert!(daemon("linux", &[], DaemonSets::Run).is_ok());
    let refusals = daemon("linux", &network, DaemonSets::Run).unwrap_err();
    assert_eq!(refusals.reason(), "NotSupportedOnAci");
}

#[test]
fn what_no_kubelet_admits_fails_but_for_a_daemon_set_that_would_make_it_again() {
    let sysctl = |name: &str| json!({"sysctls": [{"name": name, "value": "1"}]});
    let table = [
        ("windows", json!({}), "PodOSNotSupported", true),
        ("linux", sysctl("kernel.msgmax"), "SysctlForbidden", true),
        (
            "linux",
            sysctl("net.ipv4.tcp_syncookies"),
            "NotSupportedOnAci",
            false,
        ),
    ];
    for (os, context, reason, rejected) in table {
        // What is refused besides does not keep it pending.
        let changes = [
            ("/spec/hostNetwork", json!(true)),
            ("/spec/securityContext", context),
        ];
        let refusals = daemon(os, &changes, DaemonSets::Run).unwrap_err();
        assert_eq!(
            (refusals.reason(), refusals.is_rejection()),
            (reason, rejected)
        );
        let refusals = daemon(os, &changes, DaemonSets::Refuse).unwrap_err();
        assert_eq!(
            (refusals.reason(), refusals.is_rejection()),
            ("DaemonSetNotAllowed", false)
        );
    }
}
