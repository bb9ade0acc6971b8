//! What the body of a PUT asks to be run. Pure; the body has passed the rules of the service.

use base64::Engine as _;
use serde_json::Value;

use crate::arm::rules::{items, text};

/// A gigabyte as the service counts it.
const GIGABYTE: f64 = 1e9;
const NONE: Value = Value::Null;

/// A group. No `Debug`: it holds secrets.
pub(super) struct GroupPlan {
    pub(super) inits: Vec<ContainerPlan>,
    pub(super) containers: Vec<ContainerPlan>,
    pub(super) volumes: Vec<Volume>,
    /// What `/etc/resolv.conf` says, when the group has its own.
    pub(super) resolver: Option<String>,
}

pub(super) struct ContainerPlan {
    pub(super) name: String,
    pub(super) image: String,
    /// In place of the image's ENTRYPOINT and CMD; empty: those.
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) mounts: Vec<Mount>,
    pub(super) security: Security,
    pub(super) memory: Option<u64>,
    pub(super) cpu: Option<f64>,
    pub(super) liveness: Option<Probe>,
    pub(super) readiness: Option<Probe>,
}

pub(super) struct Mount {
    pub(super) volume: String,
    pub(super) path: String,
    pub(super) read_only: bool,
}

pub(super) struct Volume {
    pub(super) name: String,
    pub(super) source: Source,
}

pub(super) enum Source {
    EmptyDir,
    /// Names of files and what is in them.
    Secret(Vec<(String, Vec<u8>)>),
    AzureFile {
        account: String,
        share: String,
        read_only: bool,
    },
    Git,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Security {
    pub(super) privileged: bool,
    pub(super) allow_privilege_escalation: bool,
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
    pub(super) add: Vec<String>,
    pub(super) drop: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Handler {
    Exec(Vec<String>),
    Http {
        port: u16,
        path: String,
        https: bool,
        headers: Vec<(String, String)>,
    },
}

/// A probe with the defaults of Kubernetes, which the service has taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) handler: Handler,
    pub(super) delay: u64,
    pub(super) period: u64,
    pub(super) timeout: u64,
    pub(super) failures: u64,
    pub(super) successes: u64,
}

impl GroupPlan {
    pub(super) fn of(body: &Value) -> Self {
        let properties = body.get("properties").unwrap_or(&NONE);
        let all = |member| {
            items(properties, member)
                .iter()
                .map(ContainerPlan::of)
                .collect()
        };
        Self {
            inits: all("initContainers"),
            containers: all("containers"),
            volumes: items(properties, "volumes")
                .iter()
                .map(Volume::of)
                .collect(),
            resolver: properties
                .get("dnsConfig")
                .filter(|dns| dns.is_object())
                .map(resolver),
        }
    }
}

/// `resolv.conf` of a `dnsConfig`.
fn resolver(dns: &Value) -> String {
    let mut lines: Vec<String> = strings(dns.get("nameServers"))
        .iter()
        .map(|server| format!("nameserver {}", one_line(server)))
        .collect();
    for (member, word) in [("searchDomains", "search"), ("options", "options")] {
        if let Some(value) = text(dns, member).filter(|value| !value.trim().is_empty()) {
            lines.push(format!("{word} {}", one_line(value)));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn one_line(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl ContainerPlan {
    fn of(container: &Value) -> Self {
        let of = container.get("properties").unwrap_or(&NONE);
        let amount = |member: &str| {
            ["limits", "requests"].iter().find_map(|kind| {
                of.pointer(&format!("/resources/{kind}/{member}"))
                    .and_then(Value::as_f64)
                    .filter(|amount| *amount > 0.0)
            })
        };
        Self {
            name: text(container, "name").unwrap_or_default().to_owned(),
            image: text(of, "image").unwrap_or_default().to_owned(),
            command: strings(of.get("command")),
            environment: items(of, "environmentVariables")
                .iter()
                .filter_map(|variable| {
                    let value = text(variable, "value").or_else(|| text(variable, "secureValue"));
                    Some((
                        text(variable, "name")?.to_owned(),
                        value.unwrap_or_default().to_owned(),
                    ))
                })
                .collect(),
            mounts: items(of, "volumeMounts")
                .iter()
                .filter_map(|mount| {
                    Some(Mount {
                        volume: text(mount, "name")?.to_owned(),
                        path: text(mount, "mountPath")?.to_owned(),
                        read_only: flag(mount, "readOnly").unwrap_or(false),
                    })
                })
                .collect(),
            security: Security::of(of.get("securityContext").unwrap_or(&NONE)),
            memory: amount("memoryInGB").map(bytes),
            cpu: amount("cpu"),
            liveness: of.get("livenessProbe").and_then(Probe::of),
            readiness: of.get("readinessProbe").and_then(Probe::of),
        }
    }
}

/// Whole bytes; a float's cast stays within the range.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn bytes(gigabytes: f64) -> u64 {
    (gigabytes * GIGABYTE) as u64
}

impl Volume {
    fn of(volume: &Value) -> Self {
        let secret = volume.get("secret").and_then(Value::as_object);
        let share = volume.get("azureFile").filter(|share| share.is_object());
        let source = if let Some(files) = secret {
            let decode = |value: &Value| {
                let text = value.as_str().unwrap_or_default();
                base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .unwrap_or_default()
            };
            Source::Secret(
                files
                    .iter()
                    .map(|(name, value)| (name.clone(), decode(value)))
                    .collect(),
            )
        } else if let Some(share) = share {
            let word = |member| text(share, member).unwrap_or_default().to_owned();
            Source::AzureFile {
                account: word("storageAccountName"),
                share: word("shareName"),
                read_only: flag(share, "readOnly").unwrap_or(false),
            }
        } else if volume.get("gitRepo").is_some_and(Value::is_object) {
            Source::Git
        } else {
            Source::EmptyDir
        };
        Self {
            name: text(volume, "name").unwrap_or_default().to_owned(),
            source,
        }
    }
}

impl Security {
    fn of(context: &Value) -> Self {
        let id = |member| {
            context
                .get(member)
                .and_then(Value::as_u64)
                .and_then(|id| u32::try_from(id).ok())
        };
        let capabilities = context.get("capabilities").unwrap_or(&NONE);
        Self {
            privileged: flag(context, "privileged").unwrap_or(false),
            allow_privilege_escalation: flag(context, "allowPrivilegeEscalation").unwrap_or(true),
            user: id("runAsUser"),
            group: id("runAsGroup"),
            add: strings(capabilities.get("add")),
            drop: strings(capabilities.get("drop")),
        }
    }
}

impl Probe {
    fn of(probe: &Value) -> Option<Self> {
        let number = |member, default| {
            let given = probe.get(member).and_then(Value::as_u64);
            given.unwrap_or(default)
        };
        let http = probe.get("httpGet").filter(|http| http.is_object());
        let handler = match http {
            Some(http) => Handler::Http {
                port: http
                    .get("port")
                    .and_then(Value::as_u64)
                    .and_then(|port| u16::try_from(port).ok())?,
                path: text(http, "path").unwrap_or("/").to_owned(),
                https: text(http, "scheme")
                    .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
                headers: items(http, "httpHeaders")
                    .iter()
                    .filter_map(|header| {
                        Some((
                            text(header, "name")?.to_owned(),
                            text(header, "value").unwrap_or_default().to_owned(),
                        ))
                    })
                    .collect(),
            },
            None => Handler::Exec(strings(probe.pointer("/exec/command"))),
        };
        Some(Self {
            handler,
            delay: number("initialDelaySeconds", 0),
            period: number("periodSeconds", 10).max(1),
            timeout: number("timeoutSeconds", 1).max(1),
            failures: number("failureThreshold", 3).max(1),
            successes: number("successThreshold", 1).max(1),
        })
        .filter(|probe| probe.handler != Handler::Exec(Vec::new()))
    }
}

fn flag(object: &Value, member: &str) -> Option<bool> {
    object.get(member).and_then(Value::as_bool)
}

fn strings(array: Option<&Value>) -> Vec<String> {
    array
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_becomes_a_plan() {
        let plan = GroupPlan::of(&json!({"properties": {
            "dnsConfig": {"nameServers": ["10.0.0.10", "1.1.1.1"], "searchDomains": "a.local  b.local", "options": "ndots:5"},
            "initContainers": [{"name": "first", "properties": {"image": "i"}}],
            "containers": [{"name": "c", "properties": {
                "image": "busybox", "command": ["sh", "-c", "x"],
                "environmentVariables": [{"name": "A", "value": "1"}, {"name": "B", "secureValue": "s"}, {"name": "E"}],
                "resources": {"requests": {"cpu": 1, "memoryInGB": 1.5}, "limits": {"memoryInGB": 0.5}},
                "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}, {"name": "s", "mountPath": "/s"}],
                "securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "livenessProbe": {"httpGet": {"port": 80, "path": "/x", "scheme": "HTTPS"}, "periodSeconds": 2},
                "readinessProbe": {"exec": {"command": ["true"]}},
            }}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"k": "aGk="}},
                {"name": "f", "azureFile": {"shareName": "sh", "storageAccountName": "ac", "readOnly": true}}],
        }}));
        let [container] = plan.containers.as_slice() else {
            panic!("one container")
        };
        assert_eq!(
            plan.inits.first().map(|init| init.name.as_str()),
            Some("first")
        );
        assert_eq!(
            plan.resolver.as_deref(),
            Some(
                "nameserver 10.0.0.10\nnameserver 1.1.1.1\nsearch a.local b.local\noptions ndots:5\n"
            )
        );
        let environment: Vec<(&str, &str)> = container
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(environment, [("A", "1"), ("B", "s"), ("E", "")]);
        assert_eq!(
            (container.memory, container.cpu),
            (Some(500_000_000), Some(1.0))
        );
        assert_eq!(container.security.user, Some(7));
        assert!(!container.security.allow_privilege_escalation);
        let liveness = container.liveness.as_ref().unwrap();
        assert_eq!(
            (liveness.period, liveness.timeout, liveness.failures),
            (2, 1, 3)
        );
        assert!(
            matches!(&liveness.handler, Handler::Http { port: 80, https: true, path, .. } if path == "/x")
        );
        assert!(container.readiness.is_some());
        assert!(matches!(
            plan.volumes.as_slice(),
            [Volume { source: Source::EmptyDir, .. }, Volume { source: Source::Secret(files), .. }, Volume { source: Source::AzureFile { read_only: true, .. }, .. }]
                if files.as_slice() == [("k".to_owned(), b"hi".to_vec())]
        ));
    }

    #[test]
    fn a_probe_without_a_command_is_none() {
        assert_eq!(Probe::of(&json!({"periodSeconds": 1})), None);
        assert_eq!(Probe::of(&json!({"exec": {"command": []}})), None);
    }
}
