//! The page `docs/azure-failures.md`, from the table of `provider` and the waits of the index.

use std::fmt::Write;

use super::*;
use crate::azure::ErrorClass;
use crate::pods::engine::cadence;
use crate::provider::{Row, follows};
use crate::translate::testing::is_written;

const HEAD: &str = "\
# When Azure fails

<!-- Generated; VKC_UPDATE=1 cargo test --lib azure_failures_page rewrites it. -->

The operator never gives up on a pod because of an Azure error: the pod waits, says why, and goes on by itself once the cause
is gone. `kubectl describe pod` shows the reason and Azure's own words: as what the containers wait for while the pod has
no container group yet, and as a Warning Event. A trouble that lasts is told again every 50 minutes, because Events are
kept for an hour. What concerns the whole connector also stands in its conditions (`kubectl describe vkc`).

Each failure counts in `vkc_pod_failures_total{operation,reason}`: `reason` is the one below, `operation` is `create`,
`look` (a GET), `delete`, `stop`, `logs`, `list` or `provision` (Azure took the container group and failed to provision it later).
`vkc_arm_requests_total{operation,code}` has every call with its HTTP status.

Codes and classes of answers that are not listed are treated by their HTTP status.

## What Azure answers

The second column is the reason of the Event and of the metric; a waiting container shows the same, but for images, where
it shows `ErrImagePull` and `ImagePullBackOff` as on any node. The third is the rule by which the pod is tried again, see
[below](#how-it-is-tried-again).

| what has happened | reason | tried again | what to do |
|---|---|---|---|
";

/// What is no answer to a call: what happened, the pod's reason, what follows, what to do.
const SILENT: &[[&str; 4]] = &[
    [
        "Azure took the container group, and the region turns out to have no capacity: `provisioningState` is `Failed`, with \
         the event `InsufficientCapacity`",
        "`AciCapacity`",
        "The failed group is deleted, because Azure would go on trying and bill a late start. Then it is made again after \
         {provision}",
        "Wait, lower the pod's requests, or use a connector in another region",
    ],
    [
        "Azure took the container group and failed to provision it for another reason",
        "The name of Azure's last event, for instance `FailedMount`; `ProvisioningFailed` without one (in the metric always)",
        "As above",
        "Correct what the message names",
    ],
    [
        "The same, and Azure starts the group all the same while it is being deleted: its answer to the delete says so",
        "`ProvisioningFailed`; under `restartPolicy: Never` and `OnFailure` the pod is `Failed`",
        "What has run under these policies is not run again: a Deployment or Job replaces the pod. Under `Always` another group \
         is made",
        "",
    ],
    [
        "Provisioning does not end",
        "`AciProvisioningSlow`, after 10 minutes, with the time since when and Azure's `provisioningState`",
        "The group is looked at every 15 s, after half an hour once a minute. Azure itself gives up after 30 minutes; that is \
         the row above. A long init container is not meant",
        "Delete the pod to try at once; ask Azure support when it happens again",
    ],
    [
        "The answer to a create got lost, or came as a 5xx after the work was done",
        "`AzureUnavailable`, briefly",
        "The group is looked for first, and adopted when it is there: a second PUT would restart its containers",
        "",
    ],
    [
        "The container group of a pod vanished: somebody deleted it",
        "`ContainerGroupDeleted`; under `restartPolicy: Never` and `OnFailure` the pod is `Failed`",
        "Under `Always` another group is made, after {provision}, and counted as a restart. What has run under another policy is \
         not run again: a Deployment or Job replaces the pod",
        "",
    ],
    [
        "The container group was stopped by somebody",
        "`Stopped`, the pod is `Failed`",
        "Never by us; a Deployment or Job replaces the pod",
        "",
    ],
    [
        "A delete fails",
        "That of its answer, as above, as an Event; of what passes by itself only after five tries. The pod stays `Terminating`",
        "As above",
        "As above",
    ],
    [
        "A delete was taken and does not end",
        "`AciDeleteSlow`, after about two and a half minutes, as an Event",
        "Looked at once a minute, asked for again after 8, 16, 32, … looks: each delete counts in Azure's limit",
        "Ask Azure support when it lasts for hours",
    ],
    [
        "A stop fails, for instance with 409. It is asked for only when a pod has ended and Azure runs something of it all the \
         same",
        "That of its answer, as above, as an Event",
        "As above",
        "",
    ],
    [
        "Looks at a running pod fail",
        "The pod's status stays as it was; an Event has the reason when it lasts",
        "As above",
        "As above",
    ],
    [
        "More pods start and end than Azure allows: 100 creates and deletes in five minutes, 300 in an hour. Nothing is sent",
        "`WaitingForAzureLimit`, with the place in the line and the time; not counted as a failure",
        "When its turn comes, see [azure-limits.md](azure-limits.md)",
        "Ask Microsoft for a higher limit",
    ],
    [
        "A `Retry-After` that is absurd: an hour, a date in the past, no number",
        "`AzureThrottled`",
        "At most 5 minutes and at least 2 s are believed; what cannot be read is not there",
        "",
    ],
];

const RULES: &str = "
## Retry rules

Each wait is spread by a tenth either way. A longer `Retry-After` of Azure's counts, up to 5 minutes. A change of the pod
(`kubectl set image`) is tried at once.

| rule | waits | remarks |
|---|---|---|
";

const RULE_ROWS: &[(FailureKind, &str, &str)] = &[
    (
        FailureKind::Transient,
        "soon",
        "When the call may have taken effect, after a look",
    ),
    (FailureKind::Transitioning, "in ten seconds", "After a look"),
    (
        FailureKind::Slow,
        "slowly",
        "When a container group goes or is created after all, two other pods that wait for the same are tried at once, and so on",
    ),
    (FailureKind::Image, "slowly (images)", "As above"),
    (
        FailureKind::Shared,
        "each minute",
        "It concerns all: as soon as one pod gets through, all others that wait for the same are tried",
    ),
    (
        FailureKind::Invalid,
        "rarely",
        "The same request will hardly be taken later",
    ),
];

const CROWD: &str = "
Of many pods that are refused for one reason one is tried every 5 s, each of them after half an hour at last: a create that
Azure refuses counts in its limit of 100 creates and deletes in five minutes, and the pods that could be created need it.
";

fn rule(kind: FailureKind) -> &'static str {
    let row = RULE_ROWS.iter().find(|(of, _, _)| *of == kind);
    row.map(|(_, name, _)| *name).unwrap()
}

/// The waits of `next` until they are always the same.
fn waits(next: impl Fn(u32) -> Duration) -> String {
    let mut all: Vec<(f64, usize)> = Vec::new();
    for wait in (1..40).map(|n| next(n).as_secs_f64()) {
        match all.last_mut() {
            Some((last, times)) if (*last - wait).abs() < 1e-9 => *times += 1,
            _ => all.push((wait, 1)),
        }
    }
    let last = all.len() - 1;
    let word = |(at, (seconds, times)): (usize, &(f64, usize))| match times {
        2.. if at < last => format!("{seconds} s ({times} times)"),
        _ => format!("{seconds} s"),
    };
    let mut words: Vec<String> = all.iter().enumerate().map(word).collect();
    // What grows in between can be guessed.
    if last > 5 {
        words.splice(4..last, ["…".to_owned()]);
    }
    words.join(", ")
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for class in ErrorClass::ALL {
        let Row {
            what,
            reason,
            kind,
            least,
            remedy,
        } = follows(class);
        let mut again = rule(kind).to_owned();
        if !least.is_zero() {
            let _ = write!(again, ", not before {} s", least.as_secs());
        }
        let _ = writeln!(page, "| {what} | `{reason}` | {again} | {remedy} |");
    }
    page.push_str("\n## Failures without an error response\n\n| what has happened | reason | what follows | what to do |\n|---|---|---|---|\n");
    let provision = waits(cadence::provision);
    for row in SILENT {
        let row = row.join(" | ").replace("{provision}", &provision);
        let _ = writeln!(page, "| {row} |");
    }
    page.push_str(RULES);
    for (kind, name, remarks) in RULE_ROWS {
        let failure = failure(*kind);
        let waits = waits(|attempt| cadence::after_refusal(&failure, attempt, 1));
        let _ = writeln!(page, "| {name} | {waits} | {remarks} |");
    }
    page.push_str(CROWD);
    page
}

#[test]
fn azure_failures_page() {
    is_written("azure-failures.md", &page(), "azure_failures_page");
}
