//! Containers: names, environment, probes, resources.

use std::collections::HashSet;

use serde_json::Value;

use super::{Check, Group, items, label, refuse, text};
use crate::config::Settings;

impl Group<'_> {
    pub(super) fn containers(&self) -> Check {
        let (count, inits) = (
            items(self.properties, "containers").len(),
            items(self.properties, "initContainers").len(),
        );
        if count == 0 || count > 60 || inits > 59 {
            return refuse(
                "InvalidContainerCount",
                format!(
                    "The container group '{}' must have 1 to 60 containers and at most 59 init containers.",
                    self.name
                ),
            );
        }
        let mut names = HashSet::new();
        for (name, properties, _) in self.all() {
            if !label(name, 1) {
                return refuse(
                    "InvalidContainerName",
                    format!(
                        "The container name '{name}' in container group '{}' is invalid. It must match '[a-z0-9]([-a-z0-9]*[a-z0-9])?' and have at most 63 characters.",
                        self.name
                    ),
                );
            }
            if !names.insert(name) {
                return refuse(
                    "DuplicateContainerName",
                    format!(
                        "The container name '{name}' in container group '{}' is used more than once.",
                        self.name
                    ),
                );
            }
            if text(properties, "image").is_some_and(str::is_empty) {
                return refuse(
                    "InvalidImage",
                    format!(
                        "The image of container '{name}' in container group '{}' is empty.",
                        self.name
                    ),
                );
            }
            self.environment(name, properties)?;
            self.probes(name, properties)?;
        }
        Ok(())
    }

    pub(super) fn environment(&self, container: &str, properties: &Value) -> Check {
        let mut seen = HashSet::new();
        for variable in items(properties, "environmentVariables") {
            let name = text(variable, "name").unwrap_or_default();
            if !env_name(name) {
                return refuse(
                    "InvalidEnvironmentVariableName",
                    format!(
                        "The environment variable name '{name}' in container '{container}' of container group '{}' is invalid.",
                        self.name
                    ),
                );
            }
            if !seen.insert(name) {
                return refuse(
                    "DuplicateEnvironmentVariable",
                    format!(
                        "The environment variable '{name}' in container '{container}' of container group '{}' is given more than once.",
                        self.name
                    ),
                );
            }
            let sources = ["value", "secureValue", "secureValueReference"];
            if sources
                .iter()
                .filter(|member| text(variable, member).is_some())
                .count()
                != 1
            {
                return refuse(
                    "InvalidEnvironmentVariable",
                    format!(
                        "The environment variable '{name}' in container '{container}' of container group '{}' must have exactly one of 'value' and 'secureValue'.",
                        self.name
                    ),
                );
            }
        }
        Ok(())
    }

    pub(super) fn probes(&self, container: &str, properties: &Value) -> Check {
        for member in ["livenessProbe", "readinessProbe"] {
            let Some(probe) = properties.get(member).filter(|probe| !probe.is_null()) else {
                continue;
            };
            if ["exec", "httpGet"]
                .iter()
                .filter(|handler| probe.get(handler).is_some_and(|given| !given.is_null()))
                .count()
                != 1
            {
                return refuse(
                    "InvalidProbe",
                    format!(
                        "The '{member}' of container '{container}' in container group '{}' must have exactly one of 'exec' and 'httpGet'.",
                        self.name
                    ),
                );
            }
        }
        Ok(())
    }

    pub(super) fn resources(&self, settings: &Settings) -> Check {
        let group = self.name;
        let amount = |properties: &Value, what: &str, member: &str| {
            properties
                .pointer(&format!("/resources/{what}/{member}"))
                .and_then(Value::as_f64)
        };
        let (mut cpu_sum, mut memory_sum) = (0.0, 0.0);
        for (name, properties, init) in self.all() {
            if init {
                continue;
            }
            let (Some(cpu), Some(memory)) = (
                amount(properties, "requests", "cpu"),
                amount(properties, "requests", "memoryInGB"),
            ) else {
                return refuse(
                    "ResourceRequestsNotSpecified",
                    format!(
                        "The resource requests are not specified in container '{name}' of contain group '{group}'. Both memory and CPU requests are required since API version '2017-07-01-preview'."
                    ),
                );
            };
            if properties.pointer("/resources/requests/gpu").is_some() {
                return refuse(
                    "GpuNotSupported",
                    format!(
                        "GPU resources of container '{name}' in container group '{group}' are retired."
                    ),
                );
            }
            if !step(cpu, 0.01) || !step(memory, 0.1) {
                return refuse(
                    "InvalidResourceRequests",
                    format!(
                        "The resource requests of container '{name}' in container group '{group}' must be multiples of 0.01 CPU and 0.1 GB."
                    ),
                );
            }
            cpu_sum += cpu;
            memory_sum += memory;
        }
        for (name, properties, _) in self.all() {
            for (what, member, sum) in [
                ("Cpu", "cpu", cpu_sum),
                ("Memory", "memoryInGB", memory_sum),
            ] {
                let Some(limit) = amount(properties, "limits", member) else {
                    continue;
                };
                if limit > sum + 1e-6 {
                    return refuse(
                        "ContainerLimitGreaterThanContainerGroupTotalRequest",
                        format!(
                            "The '{what}' limit '{limit}' in container '{name}' is greater than the total request '{sum}' of container group '{group}'."
                        ),
                    );
                }
                if amount(properties, "requests", member)
                    .is_some_and(|request| limit + 1e-6 < request)
                {
                    return refuse(
                        "ContainerLimitLessThanRequest",
                        format!(
                            "The '{what}' limit '{limit}' in container '{name}' of container group '{group}' is less than its request."
                        ),
                    );
                }
            }
        }
        let (min_cpu, min_memory) = (settings.min_group_cpu, settings.min_group_memory);
        if cpu_sum + 1e-6 < min_cpu
            || memory_sum + 1e-6 < min_memory
            || cpu_sum > 31.0 + 1e-6
            || memory_sum > 240.0 + 1e-6
        {
            return refuse(
                "InvalidResourceRequests",
                format!(
                    "The total resource requests '{cpu_sum}' CPU and '{memory_sum}' GB of container group '{group}' must be between '{min_cpu}' and '31' CPU and '{min_memory}' and '240' GB."
                ),
            );
        }
        Ok(())
    }
}

fn env_name(name: &str) -> bool {
    // The service's own message: "must start with alphabetic character or '_', followed by …".
    let first = name.bytes().next();
    name.len() <= 63
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && first.is_some_and(|first| !first.is_ascii_digit())
}

fn step(amount: f64, step: f64) -> bool {
    let steps = amount / step;
    (steps - steps.round()).abs() < 1e-6
}
