//! The conditions that a node writes, with a kubelet's types, reasons, rules and sentences: other tools match them.

use k8s_openapi::api::core::v1::PodCondition;
use k8s_openapi::jiff::Timestamp;

use super::container::Seen;
use super::{Lives, Ready};
use crate::translate::status::facts::{EndStep, PodFacts};
use crate::translate::time;

/// The types that are ours; every other condition belongs to somebody else.
pub(super) const OWNED: [&str; 5] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    EndStep::CONDITION,
];

/// Outcome of a condition: `Ok` is true, `Err` false with reason and message.
type Outcome = Result<Option<&'static str>, (&'static str, Option<String>)>;

/// The conditions of a pod in this state.
pub(super) fn conditions(facts: &PodFacts, lives: &Lives<'_>, now: Timestamp) -> Vec<PodCondition> {
    let ended = matches!(lives.phase, "Succeeded" | "Failed");
    let started = lives
        .seen
        .init
        .iter()
        .chain(&lives.seen.containers)
        .any(Seen::has_started);
    let sandbox = if started && !ended {
        Ok(None)
    } else {
        Err(("", None))
    };
    let containers = containers_ready(lives);
    let ready = match &containers {
        Ok(_) => gates(facts),
        Err(why) => Err(why.clone()),
    };
    let ending = facts
        .ending
        .map(|step| (EndStep::CONDITION, Ok(Some(step.reason()))));
    [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized(lives)),
        ("Ready", ready),
        ("ContainersReady", containers),
    ]
    .into_iter()
    .chain(ending)
    .map(|(kind, outcome)| condition(facts, kind, outcome, now))
    .collect()
}

fn condition(facts: &PodFacts, kind: &str, outcome: Outcome, now: Timestamp) -> PodCondition {
    let (status, reason, message) = match outcome {
        Ok(reason) => ("True", reason.unwrap_or_default(), None),
        Err((reason, message)) => ("False", reason, message),
    };
    let since = facts
        .condition(kind)
        .filter(|last| &*last.status == status)
        .and_then(|last| last.last_transition)
        .unwrap_or(now);
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: (!reason.is_empty()).then(|| reason.to_owned()),
        message,
        last_transition_time: Some(time::whole(since)),
        observed_generation: facts.generation,
        ..PodCondition::default()
    }
}

fn initialized(lives: &Lives<'_>) -> Outcome {
    if lives.phase == "Succeeded" {
        return Ok(Some("PodCompleted"));
    }
    let begun = lives.seen.containers.iter().any(Seen::has_started);
    if begun || lives.seen.init.is_empty() {
        return Ok(None);
    }
    let waiting: Vec<&str> = lives
        .seen
        .init
        .iter()
        .filter(|init| {
            if init.is_sidecar() {
                !init.has_started()
            } else {
                !init.succeeded()
            }
        })
        .map(Seen::name)
        .collect();
    if waiting.is_empty() {
        return Ok(None);
    }
    Err((
        "ContainersNotInitialized",
        Some(format!(
            "containers with incomplete status: [{}]",
            waiting.join(" ")
        )),
    ))
}

fn containers_ready(lives: &Lives<'_>) -> Outcome {
    match lives.phase {
        "Succeeded" => return Err(("PodCompleted", None)),
        "Failed" => return Err(("PodFailed", None)),
        _ => {}
    }
    if let Ready::Not(why) = lives.ready {
        return Err(("ContainersNotReady", Some(why.to_owned())));
    }
    let sidecars = lives.seen.init.iter().filter(|init| init.is_sidecar());
    let unready: Vec<&str> = sidecars
        .chain(&lives.seen.containers)
        .filter(|it| !it.ready)
        .map(Seen::name)
        .collect();
    if unready.is_empty() {
        return Ok(None);
    }
    Err((
        "ContainersNotReady",
        Some(format!(
            "containers with unready status: [{}]",
            unready.join(" ")
        )),
    ))
}

fn gates(facts: &PodFacts) -> Outcome {
    let closed: Vec<String> = facts
        .readiness_gates
        .iter()
        .filter_map(|gate| match facts.condition(gate) {
            None => Some(format!(
                "corresponding condition of pod readiness gate \"{gate}\" does not exist."
            )),
            Some(condition) if &*condition.status != "True" => Some(format!(
                "the status of pod readiness gate \"{gate}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => None,
        })
        .collect();
    if closed.is_empty() {
        return Ok(None);
    }
    Err(("ReadinessGatesNotReady", Some(closed.join(", "))))
}
