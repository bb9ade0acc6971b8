//! CPU and memory of the containers, in whole hundredths of a core and tenths of a gigabyte.
//!
//! ACI counts cores in steps of 0.01 and memory in steps of 0.1 GB, takes a gigabyte as 10^9 bytes, wants one core and one
//! gigabyte for each group, and has no overcommit: a limit above the sum of the group's requests is refused. So a
//! container asks for its limit when it has one, else its request, else the connector's default, rounded up; and limits
//! are sent only where they differ from ACI's default (the request), which is in groups of several containers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::review::Review;
use crate::azure::model::{ResourceAmounts, Resources};
use crate::translate::defaults::{GroupDefaults, Largest};

/// Smallest group, in hundredths of a core and tenths of a gigabyte.
const GROUP_MIN: Amounts = Amounts {
    cpu: 100,
    memory: 10,
};

/// The largest group of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ceiling {
    kind: &'static str,
    most: Amounts,
}

impl Ceiling {
    /// 31 cores, 240 GB.
    pub(super) const STANDARD: Self = Self::new("container group", 31, 240);
    /// 31 cores, 180 GB.
    pub(super) const CONFIDENTIAL: Self = Self::new("confidential container group", 31, 180);
    /// 4 cores, 16 GB.
    pub(super) const SPOT: Self = Self::new("Spot container group", 4, 16);

    const fn new(kind: &'static str, cores: u64, gigabytes: u64) -> Self {
        let most = Amounts {
            cpu: cores * 100,
            memory: gigabytes * 10,
        };
        Self { kind, most }
    }

    /// The same where a region takes no larger groups than `largest`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast saturates, and ACI's amounts are small and positive"
    )]
    pub(super) fn within(self, largest: Option<Largest>) -> Self {
        let Some(largest) = largest else { return self };
        let region = Amounts {
            cpu: (largest.cpu * 100.0).round() as u64,
            memory: (largest.memory_gb * 10.0).round() as u64,
        };
        if region.cpu >= self.most.cpu && region.memory >= self.most.memory {
            return self;
        }
        Self {
            kind: "container group of this region",
            most: self.most.min(region),
        }
    }
}

/// Hundredths of a core and tenths of a gigabyte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) cpu: u64,
    pub(super) memory: u64,
}

impl Amounts {
    /// The larger of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.max(other.cpu),
            memory: self.memory.max(other.memory),
        }
    }

    /// The smaller of each.
    fn min(self, other: Self) -> Self {
        Self {
            cpu: self.cpu.min(other.cpu),
            memory: self.memory.min(other.memory),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "far below 2^52; one correctly rounded division has no decimal dust"
    )]
    fn arm(self) -> ResourceAmounts {
        ResourceAmounts {
            cpu: self.cpu as f64 / 100.0,
            memory_in_gb: self.memory as f64 / 10.0,
        }
    }
}

/// What one container needs, and whether the pod says and bounds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "two facts of each of two amounts"
)]
pub(super) struct Need {
    amounts: Amounts,
    cpu_said: bool,
    cpu_limited: bool,
    memory_said: bool,
    memory_limited: bool,
    /// Bytes of local storage.
    disk: u128,
}

/// What the pod says of its containers together (KEP-2837).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Whole {
    cpu: Option<u64>,
    memory: Option<u64>,
}

/// Reads the resources of the pod as a whole.
pub(super) fn of_pod(resources: Option<&ResourceRequirements>, review: &mut Review) -> Whole {
    let empty = ResourceRequirements::default();
    let given = resources.unwrap_or(&empty);
    let present = !names(given).is_empty() || given.claims.iter().flatten().next().is_some();
    if !review.field("spec.resources", present, &[]) {
        return Whole::default();
    }
    for (kind, name) in names(given) {
        if !matches!(name, "cpu" | "memory") {
            let row = "spec.resources: other than cpu and memory";
            review.at(row, format!("spec.resources.{kind}[{name}]"));
        }
    }
    let mut read = |name, step| read(given, name, step, "spec.resources", review).0;
    Whole {
        cpu: read("cpu", CPU_STEP),
        memory: read("memory", MEMORY_STEP),
    }
}

/// Gives what the pod says of all `needs` together and no container says for itself to those that say nothing, in equal
/// parts; when all say something, to the first.
pub(super) fn share(whole: Whole, needs: &mut [Need]) {
    if let Some(cpu) = whole.cpu {
        let parts = needs.iter_mut();
        divide(cpu, parts.map(|it| (it.cpu_said, &mut it.amounts.cpu)));
    }
    if let Some(memory) = whole.memory {
        let parts = needs.iter_mut();
        let parts = parts.map(|it| (it.memory_said, &mut it.amounts.memory));
        divide(memory, parts);
    }
}

fn divide<'n>(whole: u64, parts: impl Iterator<Item = (bool, &'n mut u64)>) {
    let (said, mut silent): (Vec<_>, Vec<_>) = parts.partition(|(said, _)| *said);
    let taken = said
        .iter()
        .fold(0_u64, |sum, (_, part)| sum.saturating_add(**part));
    let rest = whole.saturating_sub(taken);
    let count = silent.len() as u64;
    for (_, part) in &mut silent {
        **part = (rest / count).max(1);
    }
    let left = rest.checked_rem(count).unwrap_or(rest);
    if let Some((_, first)) = silent.into_iter().chain(said).next() {
        *first = first.saturating_add(left);
    }
}

/// Refuses more local storage than a group has.
pub(super) fn check_disk(needs: &[Need], place: &str, review: &mut Review) {
    let asked = needs
        .iter()
        .fold(0_u128, |sum, it| sum.saturating_add(it.disk));
    if asked > DISK {
        review.exceeds(
            place.to_owned(),
            format!(
                "{} GB of ephemeral-storage are requested; a container group has 50 GB",
                asked.div_ceil(1_000_000_000)
            ),
        );
    }
}

/// Reads the needs of container `index`, reviewing every resource it names.
pub(super) fn need(
    resources: Option<&ResourceRequirements>,
    index: usize,
    defaults: &GroupDefaults,
    review: &mut Review,
) -> Need {
    let empty = ResourceRequirements::default();
    let given = resources.unwrap_or(&empty);
    let ResourceRequirements {
        claims,
        limits: _,
        requests,
    } = given;
    review.field(
        "spec.containers[].resources.claims",
        claims.iter().flatten().next().is_some(),
        &[index],
    );
    let place = format!("spec.containers[{index}].resources");
    for (kind, name) in names(given) {
        let row = match name {
            "cpu" | "memory" => continue,
            "ephemeral-storage" => "spec.containers[].resources: ephemeral-storage",
            _ => "spec.containers[].resources: any other resource",
        };
        review.at(row, format!("{place}.{kind}[{name}]"));
    }
    let (cpu, cpu_limited) = read(given, "cpu", CPU_STEP, &place, review);
    let (memory, memory_limited) = read(given, "memory", MEMORY_STEP, &place, review);
    // The limit is no more than a bound: nothing is taken by it.
    let disk = requests
        .as_ref()
        .and_then(|map| map.get("ephemeral-storage"));
    let disk = disk.and_then(|quantity| nano(&quantity.0)).unwrap_or(0) / NANO;
    let amounts = Amounts {
        cpu: cpu
            .unwrap_or_else(|| steps(defaults.default_cpu, 100.0))
            .max(1),
        memory: memory
            .unwrap_or_else(|| steps(defaults.default_memory_gb, 10.0))
            .max(1),
    };
    Need {
        amounts,
        cpu_said: cpu.is_some(),
        cpu_limited,
        memory_said: memory.is_some(),
        memory_limited,
        disk,
    }
}

/// The names of the resources of which not nothing is asked, each with `limits` or `requests`.
fn names(resources: &ResourceRequirements) -> Vec<(&'static str, &str)> {
    let all = [
        ("limits", &resources.limits),
        ("requests", &resources.requests),
    ];
    let named = all.into_iter().flat_map(|(kind, map)| {
        let map = map.iter().flatten();
        let some = map.filter(|(_, amount)| nano(&amount.0) != Some(0));
        some.map(move |(name, _)| (kind, name.as_str()))
    });
    named.collect()
}

/// The limit of `name`, else its request, in whole steps, and whether there is a limit. What cannot be read is refused.
fn read(
    resources: &ResourceRequirements,
    name: &str,
    step: u128,
    place: &str,
    review: &mut Review,
) -> (Option<u64>, bool) {
    let mut of = |kind: &str, map: &Option<BTreeMap<String, Quantity>>| {
        let quantity = map.as_ref()?.get(name)?;
        let steps = nano(&quantity.0).and_then(|nano| u64::try_from(nano.div_ceil(step)).ok());
        if steps.is_none() {
            let message = format!(
                "the quantity {:?} cannot be read; write it as a plain number",
                quantity.0
            );
            review.refuse(format!("{place}.{kind}[{name}]"), message);
        }
        steps
    };
    let limit = of("limits", &resources.limits);
    let request = of("requests", &resources.requests);
    (limit.or(request), limit.is_some())
}

/// What an init container requests, nothing by default; what cannot be read is refused by [`need`].
pub(super) fn requested(resources: Option<&ResourceRequirements>) -> Amounts {
    let read = |name: &str, step: u128| {
        let resources = resources?;
        let of = |map: &Option<BTreeMap<String, Quantity>>| map.as_ref()?.get(name).cloned();
        let quantity = of(&resources.requests).or_else(|| of(&resources.limits))?;
        u64::try_from(nano(&quantity.0)?.div_ceil(step)).ok()
    };
    Amounts {
        cpu: read("cpu", CPU_STEP).unwrap_or(0),
        memory: read("memory", MEMORY_STEP).unwrap_or(0),
    }
}

/// The resources of every container of a group, from the needs of each; the first container is padded when the group would
/// be too small for ACI, or smaller than `least`. More than `ceiling` is refused.
pub(super) fn size(
    needs: &[Need],
    least: Amounts,
    ceiling: Ceiling,
    review: &mut Review,
) -> Vec<Resources> {
    let mut amounts: Vec<Amounts> = needs.iter().map(|need| need.amounts).collect();
    let mut total = sum(&amounts);
    let wanted = total.max(least);
    if wanted.cpu > ceiling.most.cpu || wanted.memory > ceiling.most.memory {
        let most = ceiling.most.arm();
        let asked = wanted.arm();
        review.exceeds(
            "spec.containers".to_owned(),
            format!(
                "the containers ask for {} cores and {} GB together; a {} has at most {} cores and {} GB",
                asked.cpu, asked.memory_in_gb, ceiling.kind, most.cpu, most.memory_in_gb
            ),
        );
    }
    if let Some(first) = amounts.first_mut() {
        let least = least.max(GROUP_MIN);
        first.cpu += least.cpu.saturating_sub(total.cpu);
        first.memory += least.memory.saturating_sub(total.memory);
        total = sum(&amounts);
    }
    let several = needs.len() > 1;
    needs
        .iter()
        .zip(amounts)
        .map(|(need, request)| {
            let limits = several.then_some(Amounts {
                cpu: if need.cpu_limited {
                    request.cpu
                } else {
                    total.cpu
                },
                memory: if need.memory_limited {
                    request.memory
                } else {
                    total.memory
                },
            });
            Resources {
                requests: request.arm(),
                limits: limits.map(Amounts::arm),
            }
        })
        .collect()
}

fn sum(amounts: &[Amounts]) -> Amounts {
    amounts
        .iter()
        .fold(Amounts { cpu: 0, memory: 0 }, |sum, next| Amounts {
            cpu: sum.cpu.saturating_add(next.cpu),
            memory: sum.memory.saturating_add(next.memory),
        })
}

/// `value` in whole steps of `1 / per`, rounded up; what is less than a thousandth of a step is noise of the fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to a small positive range"
)]
fn steps(value: f64, per: f64) -> u64 {
    if value.is_finite() {
        (value * per - 0.001).ceil().clamp(1.0, 1e9) as u64
    } else {
        1
    }
}

/// Bytes of local storage of a group (Azure Container Instances, frequently asked questions).
pub(super) const DISK: u128 = 50_000_000_000;
pub(super) const NANO: u128 = 1_000_000_000;
/// 0.01 cores and 0.1 GB, in billionths.
const CPU_STEP: u128 = 10_000_000;
const MEMORY_STEP: u128 = 100_000_000 * NANO;

/// A Kubernetes quantity in billionths, rounded up; `None` when it is negative, malformed or absurdly large.
pub(super) fn nano(text: &str) -> Option<u128> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let (multiplier, exponent) = scale(suffix)?;
    let mut digits: u128 = 0;
    for digit in whole.chars().chain(fraction.chars()) {
        digits = digits
            .checked_mul(10)?
            .checked_add(u128::from(digit.to_digit(10)?))?;
    }
    let scaled = digits.checked_mul(multiplier)?;
    let power = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let factor = 10_u128.checked_pow(power.unsigned_abs());
    if power >= 0 {
        scaled.checked_mul(factor?)
    } else {
        Some(factor.map_or(u128::from(scaled > 0), |factor| scaled.div_ceil(factor)))
    }
}

/// A quantity's suffix as a multiplier and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => (
            1,
            suffix
                .strip_prefix(['e', 'E'])?
                .parse()
                .ok()
                .filter(|power: &i32| power.abs() <= 30)?,
        ),
    })
}

#[cfg(test)]
mod tests;
