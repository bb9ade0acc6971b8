//! The table as a `ValidatingAdmissionPolicy`: whoever applies what ACI refuses hears of it from kubectl, before a pod waits for ever.
//!
//! Made of the rows that a pod's own text decides: a field that is refused wherever it stands, or with one of a few values. What
//! depends on the connector, on other objects or on an image is said by the pod's status only.

use std::fmt::Write as _;

use super::{Row, Verdict, rows};
use crate::api::{DEFAULT_TAINT_KEY, Os};

/// How the policy is called, and what else differs between `config/` and the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For kustomize: with fixed names.
    Config,
    /// A template of the chart.
    Chart,
}

const ABOUT: &str = "\
# Generated from src/translate/support by `cargo xtask crds`; do not edit.
#
# What a pod asks for and Azure Container Instances cannot do, said when the pod or its template is applied: for templates that select
# virtual nodes or tolerate their taint, and for pods that name one. The operator refuses such pods in any case; docs/pod-support.md has
# each field. Here are those that the text of a pod decides, whatever its connector, its volumes and its images are.
";

/// The policy and its binding as YAML.
pub fn policy(form: Form) -> String {
    let (name, labels, action) = match form {
        Form::Config => (
            "vkc-unsupported",
            "    app.kubernetes.io/name: vkc\n    app.kubernetes.io/part-of: virtual-kubelet-connector\n",
            "Warn",
        ),
        Form::Chart => (
            "{{ include \"vkc.fullname\" $ }}-unsupported",
            "    {{- include \"vkc.labels\" $ | nindent 4 }}\n",
            "{{ . }}",
        ),
    };
    let mut text = String::new();
    if form == Form::Chart {
        text.push_str("{{- if semverCompare \">=1.30-0\" .Capabilities.KubeVersion.Version }}\n");
        text.push_str("{{- with .Values.policies.unsupported }}\n{{- if ne . \"Off\" }}\n");
    }
    text.push_str(ABOUT);
    let head = |kind: &str| {
        format!(
            "apiVersion: admissionregistration.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  labels:\n{labels}spec:\n"
        )
    };
    text.push_str(&head("ValidatingAdmissionPolicy"));
    text.push_str(&matches());
    text.push_str("  validations:\n");
    for rule in rules() {
        let _ = writeln!(
            text,
            "  - reason: Invalid\n    message: {}\n    expression: {}",
            quoted(&rule.message),
            quoted(&rule.expression)
        );
    }
    text.push_str("---\n");
    text.push_str(&head("ValidatingAdmissionPolicyBinding"));
    let _ = writeln!(
        text,
        "  policyName: {name}\n  validationActions: [{action}]"
    );
    if form == Form::Chart {
        text.push_str("{{- end }}\n{{- end }}\n{{- end }}\n");
    }
    text
}

/// A string of YAML on one line: JSON's are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The pod's spec, wherever an object has it. `dyn`: the API server checks the types of expressions for each kind, and each has
/// it elsewhere.
fn pod_of(object: &str) -> String {
    format!(
        "({object}.kind == 'Pod' ? dyn({object}.spec) : {object}.kind == 'CronJob' ? \
         dyn({object}).spec.jobTemplate.spec.template.spec : dyn({object}).spec.template.spec)"
    )
}

/// Which objects are looked at, and the variables of the rules.
fn matches() -> String {
    let pod = pod_of("object");
    let headed = format!(
        "[{pod}].exists(pod, pod.?nodeSelector[?'type'].orValue('') == 'virtual-kubelet' || \
         pod.?nodeSelector[?'virtual-kubelet.io/connector'].hasValue() || \
         pod.?nodeName.orValue('').startsWith('virtual-kubelet-') || \
         pod.?tolerations.orValue([]).exists(it, it.?key.orValue('') == '{DEFAULT_TAINT_KEY}') || \
         pod.?affinity.?nodeAffinity.?requiredDuringSchedulingIgnoredDuringExecution.?nodeSelectorTerms.orValue([]).exists(term, \
         term.?matchExpressions.orValue([]).exists(it, it.operator in ['In', 'Exists'] && \
         (it.key == 'virtual-kubelet.io/connector' || (it.key == 'type' && 'virtual-kubelet' in it.?values.orValue([]))))))"
    );
    let changed = format!("oldObject == null || {pod} != {}", pod_of("oldObject"));
    let windows = "['kubernetes.io/os', 'beta.kubernetes.io/os'].exists(it, \
                   variables.pod.?nodeSelector[?it].orValue('') == 'windows') || variables.pod.?os.?name.orValue('') == 'windows'";
    let mounted = "variables.pod.?volumes.orValue([]).filter(it, !it.name.startsWith('kube-api-access-') && \
                   variables.all.exists(by, by.?volumeMounts.orValue([]).exists(mount, mount.name == it.name)))";
    let mut text = String::from(
        "  # It only says earlier what the operator says anyway.\n  failurePolicy: Ignore\n  matchConstraints:\n    resourceRules:\n",
    );
    for (group, operations, resources) in [
        ("\"\"", "CREATE", "pods"),
        ("\"\"", "CREATE, UPDATE", "replicationcontrollers"),
        // A ReplicaSet is made by a Deployment.
        (
            "apps",
            "CREATE, UPDATE",
            "daemonsets, deployments, statefulsets",
        ),
        ("batch", "CREATE, UPDATE", "cronjobs, jobs"),
    ] {
        let _ = writeln!(
            text,
            "    - apiGroups: [{group}]\n      apiVersions: [v1]\n      operations: [{operations}]\n      resources: [{resources}]"
        );
    }
    text.push_str("  matchConditions:\n");
    for (name, expression) in [
        ("headed-for-a-virtual-node", headed.as_str()),
        // Else nothing of an older object could be changed any more, its finalizers included.
        ("the-template-is-new", changed.as_str()),
    ] {
        let _ = writeln!(
            text,
            "  - name: {name}\n    expression: {}",
            quoted(expression)
        );
    }
    text.push_str("  variables:\n");
    for (name, expression) in [
        ("pod", pod.as_str()),
        ("windows", windows),
        ("containers", "variables.pod.containers"),
        (
            "initContainers",
            "variables.pod.?initContainers.orValue([]).filter(it, it.?restartPolicy.orValue('') != 'Always')",
        ),
        (
            "all",
            "variables.containers + variables.pod.?initContainers.orValue([])",
        ),
        // One that no container mounts is not attached. The API server adds that of the service account.
        ("volumes", mounted),
    ] {
        let _ = writeln!(
            text,
            "  - name: {name}\n    expression: {}",
            quoted(expression)
        );
    }
    text
}

/// One validation: true when there is nothing to say.
struct Rule {
    message: String,
    expression: String,
}

fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for row in rows() {
        let Some(test) = test(row) else { continue };
        let refused = |os| refusal(row, os).filter(|_| !is_within_a_refused_one(row, os));
        match (refused(Os::Linux), refused(Os::Windows)) {
            (Some(linux), Some(windows)) if linux == windows => {
                rules.push(rule(row, "", linux, &test));
            }
            (linux, windows) => {
                let linux = linux.map(|why| rule(row, "variables.windows || ", why, &test));
                let windows = windows.map(|why| rule(row, "!variables.windows || ", why, &test));
                rules.extend(linux.into_iter().chain(windows));
            }
        }
    }
    rules
}

fn rule(row: &Row, unless: &str, why: &str, test: &str) -> Rule {
    Rule {
        message: format!("{} is refused on virtual nodes: {why}", row.field),
        expression: format!("{unless}!({test})"),
    }
}

fn refusal(row: &Row, os: Os) -> Option<&'static str> {
    let verdict = match os {
        Os::Linux => row.linux,
        Os::Windows => row.windows,
    };
    match verdict {
        Verdict::Refused(why) => Some(why),
        _ => None,
    }
}

/// Whether a field that `row`'s is a part of is refused as a whole.
fn is_within_a_refused_one(row: &Row, os: Os) -> bool {
    let (path, _) = split(row.field);
    rows().any(|other| {
        other.field != row.field
            && refusal(other, os).is_some()
            && is_within(path, other.field, row.field != path)
    })
}

/// Whether `path` is a part of `of`, or the same where `or_same`.
fn is_within(path: &str, of: &str, or_same: bool) -> bool {
    path.strip_prefix(of)
        .is_some_and(|rest| rest.starts_with(['.', '[']) || (or_same && rest.is_empty()))
}

/// Path and values of a row.
fn split(field: &str) -> (&str, Option<&str>) {
    field
        .split_once(": ")
        .map_or((field, None), |(path, values)| (path, Some(values)))
}

/// The expression that is true when a pod has what the row is about; `None` when its text does not tell.
fn test(row: &Row) -> Option<String> {
    let (path, values) = split(row.field);
    let values = match values {
        None => None,
        Some(values) => Some(literals(values)?),
    };
    let rest = path.strip_prefix("spec.")?;
    let (list, rest) = if let Some(rest) = rest.strip_prefix("containers[].") {
        // What an init container may have differs where it has a row of its own.
        let own = rows().any(|other| {
            let (other, _) = split(other.field);
            other
                .strip_prefix("spec.initContainers[].")
                .is_some_and(|other| is_within(rest, other, true))
        });
        (if own { "containers" } else { "all" }, rest)
    } else if let Some(rest) = rest.strip_prefix("initContainers[].") {
        ("initContainers", rest)
    } else if let Some(rest) = rest.strip_prefix("volumes[].") {
        ("volumes", rest)
    } else {
        return of("variables.pod", rest, values.as_deref(), 0);
    };
    let probes = ["livenessProbe", "readinessProbe", "startupProbe"];
    let each = match rest.strip_prefix("*Probe") {
        Some(rest) => probes
            .iter()
            .map(|probe| of("it", &format!("{probe}{rest}"), values.as_deref(), 0))
            .collect::<Option<Vec<_>>>()?
            .join(" || "),
        None => of("it", rest, values.as_deref(), 0)?,
    };
    Some(format!("variables.{list}.exists(it, {each})"))
}

/// Values that a row names one by one: `true`, `Never`, `status.podIP or status.podIPs`. What is said in words is none.
fn literals(values: &str) -> Option<Vec<String>> {
    let literal = |value: &str| match value {
        "true" | "false" => Some(value.to_owned()),
        _ => {
            let is_name =
                value.starts_with(|c: char| c.is_ascii_uppercase()) || value.contains('.');
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
            (is_name && value.chars().all(plain)).then(|| format!("'{value}'"))
        }
    };
    values.split(" or ").map(literal).collect()
}

/// Of the object `base`: whether it has `path`, or whether it has one of `values` there.
fn of(base: &str, path: &str, values: Option<&[String]>, depth: usize) -> Option<String> {
    if path.contains('*') {
        return None;
    }
    if let Some((list, rest)) = path.split_once("[].") {
        let each = format!("each{depth}");
        let inner = of(&each, rest, values, depth + 1)?;
        return Some(format!(
            "{}.orValue([]).exists({each}, {inner})",
            optional(base, list)
        ));
    }
    let path = match (path.rsplit('.').next(), values) {
        // Rows name the kind of these by the whole.
        (Some("seccompProfile" | "appArmorProfile"), Some(_)) => format!("{path}.type"),
        (Some("fieldRef"), Some(_)) => format!("{path}.fieldPath"),
        _ => path.to_owned(),
    };
    Some(match values {
        None => format!("{}.hasValue()", optional(base, &path)),
        Some([only]) if only == "true" => format!("{}.orValue(false)", optional(base, &path)),
        Some([only]) if only == "false" => format!("!{}.orValue(true)", optional(base, &path)),
        Some(values) => format!(
            "{}.orValue('') in [{}]",
            optional(base, &path),
            values.join(", ")
        ),
    })
}

/// `base.?a.?b`, which is there when each of them is.
fn optional(base: &str, path: &str) -> String {
    path.split('.').fold(base.to_owned(), |mut text, part| {
        text.push_str(".?");
        text.push_str(part);
        text
    })
}

#[cfg(test)]
mod tests;
