use super::{Form, literals, policy, rules};

fn rule(of: &str) -> Vec<String> {
    let start = format!("{of} is refused on virtual nodes: ");
    rules()
        .into_iter()
        .filter(|rule| rule.message.starts_with(&start))
        .map(|rule| rule.expression)
        .collect()
}

#[test]
fn expressions_of_rows() {
    for (field, expected) in [
        (
            "spec.hostNetwork",
            &["!(variables.pod.?hostNetwork.hasValue())"][..],
        ),
        (
            "spec.shareProcessNamespace: true",
            &["!(variables.pod.?shareProcessNamespace.orValue(false))"],
        ),
        (
            "spec.initContainers",
            &["!variables.windows || !(variables.pod.?initContainers.hasValue())"],
        ),
        (
            "spec.containers[].ports[].hostIP",
            &[
                "!(variables.containers.exists(it, it.?ports.orValue([]).exists(each0, each0.?hostIP.hasValue())))",
            ],
        ),
        (
            "spec.containers[].imagePullPolicy: Never",
            &["!(variables.all.exists(it, it.?imagePullPolicy.orValue('') in ['Never']))"],
        ),
        (
            "spec.containers[].securityContext.allowPrivilegeEscalation: false",
            &[
                "!variables.windows || !(variables.all.exists(it, !it.?securityContext.?allowPrivilegeEscalation.orValue(true)))",
            ],
        ),
        (
            "spec.containers[].volumeMounts[].mountPropagation: Bidirectional or HostToContainer",
            &[
                "!(variables.all.exists(it, it.?volumeMounts.orValue([]).exists(each0, \
                 each0.?mountPropagation.orValue('') in ['Bidirectional', 'HostToContainer'])))",
            ],
        ),
        (
            "spec.volumes[].hostPath",
            &["!(variables.volumes.exists(it, it.?hostPath.hasValue()))"],
        ),
        (
            "spec.volumes[].emptyDir",
            &["!variables.windows || !(variables.volumes.exists(it, it.?emptyDir.hasValue()))"],
        ),
    ] {
        assert_eq!(rule(field), expected, "{field}");
    }
}

#[test]
fn what_the_text_of_a_pod_does_not_decide_has_no_rule() {
    for field in [
        "spec.dnsConfig: without a subnet",
        "spec.containers[].image: missing",
        "spec.containers[].volumeMounts[].subPath: a single file",
        "spec.volumes[].csi.driver: another than file.csi.azure.com",
        // Said by the whole.
        "spec.volumes[].configMap.items",
    ] {
        assert_eq!(rule(field), [""; 0], "{field}");
    }
    assert!(rules().len() > 60, "{}", rules().len());
}

#[test]
fn values_that_are_named_one_by_one() {
    let some = |values: &[&str]| Some(values.iter().map(|&it| it.to_owned()).collect());
    assert_eq!(literals("true"), some(&["true"]));
    assert_eq!(literals("SCTP"), some(&["'SCTP'"]));
    assert_eq!(
        literals("status.podIP or status.podIPs"),
        some(&["'status.podIP'", "'status.podIPs'"])
    );
    for words in [
        "missing",
        "a single file",
        "None without a subnet",
        "mountOptions",
    ] {
        assert_eq!(literals(words), None, "{words}");
    }
}

#[test]
fn the_chart_differs_in_names_and_in_what_is_done() {
    let (config, chart) = (policy(Form::Config), policy(Form::Chart));
    let rules = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.contains("message:") || line.contains("expression:"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(rules(&config), rules(&chart));
    let templated = |line: &&str| line.contains("{{");
    assert_eq!(config.lines().find(templated), None);
    assert_eq!(chart.lines().filter(templated).count(), 12);
}
