//! Azure misbehaves, and its credentials change.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::plan::{Act, Answer};
use super::rig::{FOREIGN, NAMESPACE, Rig, SECRET};
use super::world::GroupSeen;

/// What tokens and groups take when nothing is wrong.
const LIFETIME: u64 = 3_600;
const START_DELAY: f64 = 1.0;

pub(super) async fn act(rig: &Rig, act: &Act) -> Result<String> {
    let emulator = &rig.emulator;
    match *act {
        Act::Arm {
            answer,
            method,
            times,
            seconds,
        } => {
            let fault = fault(answer, method, times, seconds);
            emulator.tell("faults", &fault).await?;
            return Ok(fault.to_string());
        }
        Act::RevokeTokens => emulator.remove("tokens").await?,
        Act::TokenEndpoint { status, times } => {
            let mut fault = json!({
                "pathContains": "/oauth2/", "times": times, "status": status, "code": "server_error",
                "message": "AADSTS90033: A transient error has occurred. Please try again.",
            });
            if status == 0 {
                fault = json!({"pathContains": "/oauth2/", "times": times, "dropConnection": true});
            }
            // Without this nobody would ask for a token for an hour.
            emulator.remove("tokens").await?;
            emulator.tell("faults", &fault).await?;
        }
        Act::ShortTokens { lifetime, away } => {
            emulator.remove("tokens").await?;
            let short = json!({"tokenLifetime": lifetime});
            emulator.tell("settings", &short).await?;
            sleep(Duration::from_millis(away)).await;
            let long = json!({"tokenLifetime": LIFETIME});
            emulator.tell("settings", &long).await?;
        }
        Act::Vanish { pick } => {
            let group = pick_group(rig, pick, |_| true).await?;
            emulator.remove(&format!("groups/{}", group.name)).await?;
            return Ok(format!("{} of {:?}", group.name, group.uid));
        }
        Act::ProvisioningFails { count, late_start } => {
            let fails = json!({"count": count, "lateStart": late_start});
            emulator.tell("failNextPuts", &fails).await?;
        }
        Act::PlatformRestart { pick } => {
            let group = pick_group(rig, pick, all_run).await?;
            let path = format!("groups/{}/platformRestart", group.name);
            emulator.tell(&path, &json!({})).await?;
            return Ok(format!("{} of {:?}", group.name, group.uid));
        }
        Act::ContainerExit { pick, code } => {
            let group = pick_group(rig, pick, all_run).await?;
            let path = format!("groups/{}/containers/main/exit", group.name);
            emulator.tell(&path, &json!({"exitCode": code})).await?;
            return Ok(format!("{} of {:?} with {code}", group.name, group.uid));
        }
        Act::MoveGroup { pick } => {
            let group = pick_group(rig, pick, all_run).await?;
            let path = format!("groups/{}/repair", group.name);
            emulator.tell(&path, &json!({})).await?;
            return Ok(format!("{} of {:?}", group.name, group.uid));
        }
        Act::SlowDelete { delay } => set(rig, "deleteDelay", delay).await?,
        Act::SlowStart { delay } => set(rig, "startDelay", delay).await?,
        Act::RotateSecret {
            number,
            cluster_first,
            after,
        } => rotate(rig, number, cluster_first, after).await?,
        _ => bail!("not an act of Azure"),
    }
    Ok("done".to_owned())
}

/// Everything is as it should be again.
pub(super) async fn heal(rig: &Rig) -> Result<()> {
    let emulator = &rig.emulator;
    emulator.remove("faults").await?;
    emulator.remove("failNextPuts").await?;
    let settings =
        json!({"tokenLifetime": LIFETIME, "deleteDelay": 0.0, "startDelay": START_DELAY});
    emulator.tell("settings", &settings).await?;
    // A change of the Secret that was given up half-way.
    let mut principal = emulator.principal().clone();
    principal.client_secret = super::canaries(rig).client_secret();
    let client = json!({"secret": principal.client_secret});
    emulator.tell("clients", &client).await?;
    rig.apply(&principal.secret(NAMESPACE, SECRET)).await
}

async fn set(rig: &Rig, name: &str, millis: u64) -> Result<()> {
    let seconds = Duration::from_millis(millis).as_secs_f64();
    rig.emulator.tell("settings", &json!({name: seconds})).await
}

fn fault(answer: Answer, method: Option<&str>, times: u64, seconds: u64) -> Value {
    let (path, more) = match answer {
        Answer::NotFound => (
            // Single groups only, and each once: the second look is to show the truth.
            "/containerGroups/",
            json!({"status": 404, "code": "ResourceNotFound", "message": "The Resource was not found.", "oncePerPath": true}),
        ),
        Answer::NoResourceGroup => (
            "/containerGroups/",
            json!({"status": 404, "code": "ResourceGroupNotFound", "message": "Resource group 'aci-rg' could not be found."}),
        ),
        Answer::Conflict => (
            "/containerGroups/",
            json!({
                "status": 409, "code": "ContainerGroupTransitioning",
                "message": "The container group is still transitioning, please retry later.",
            }),
        ),
        Answer::TooMany => (
            "/subscriptions/",
            json!({"status": 429, "code": "TooManyRequests", "message": "Slow down.", "retryAfter": seconds}),
        ),
        Answer::Broken => ("/subscriptions/", json!({})),
        Answer::UnavailableAfter => (
            "/containerGroups/",
            json!({"status": 503, "code": "ServerTimeout", "message": "The request timed out.", "afterEffect": true}),
        ),
        Answer::Reset => ("/subscriptions/", json!({"dropConnection": true})),
        Answer::ResetAfter => (
            "/containerGroups/",
            json!({"dropConnection": true, "afterEffect": true}),
        ),
        Answer::Delay => (
            "/subscriptions/",
            json!({"status": 0, "hang": seconds, "afterEffect": true}),
        ),
    };
    let mut fault = json!({"pathContains": path, "times": times, "method": method});
    if let (Some(fault), Some(more)) = (fault.as_object_mut(), more.as_object()) {
        fault.extend(more.clone());
    }
    fault
}

fn all_run(group: &GroupSeen) -> bool {
    group
        .containers
        .iter()
        .all(|it| it.state == super::world::State::Running)
}

/// One of our groups, but for those of Jobs that nobody is to touch.
async fn pick_group(
    rig: &Rig,
    pick: u64,
    wanted: impl Fn(&GroupSeen) -> bool,
) -> Result<GroupSeen> {
    let state = rig.emulator.ask("state").await?;
    let groups = state
        .get("groups")
        .and_then(Value::as_array)
        .context("no groups")?;
    let groups: Vec<GroupSeen> = groups
        .iter()
        .filter(|group| {
            let pod = group.pointer("/tags/vkc-pod").and_then(Value::as_str);
            !pod.unwrap_or_default().starts_with("job-")
        })
        .map(GroupSeen::of)
        .filter(|group| !FOREIGN.contains(&group.name.as_str()) && wanted(group))
        .collect();
    let count = u64::try_from(groups.len())?.max(1);
    let group = groups.into_iter().nth(usize::try_from(pick % count)?);
    group.context("no group to do it to")
}

/// A new client secret, in Azure and in the cluster, one of them some time after the other.
async fn rotate(rig: &Rig, number: u64, cluster_first: bool, after: u64) -> Result<()> {
    let secret = super::canaries(rig).rotate(number);
    let mut principal = rig.emulator.principal().clone();
    principal.client_secret.clone_from(&secret);
    let manifest = principal.secret(NAMESPACE, SECRET);
    let client = json!({"secret": secret});
    if !cluster_first {
        rig.emulator.tell("clients", &client).await?;
        sleep(Duration::from_millis(after)).await;
    }
    // The API server may be away.
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = rig.apply(&manifest).await {
        if Instant::now() > deadline {
            return Err(error);
        }
        sleep(Duration::from_millis(500)).await;
    }
    if cluster_first {
        sleep(Duration::from_millis(after)).await;
        rig.emulator.tell("clients", &client).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_what_their_names_say() {
        let not_found = fault(Answer::NotFound, Some("GET"), 3, 1);
        assert_eq!(not_found["oncePerPath"], true);
        assert_eq!(
            (&not_found["status"], &not_found["times"]),
            (&json!(404), &json!(3))
        );
        let slow = fault(Answer::Delay, None, 1, 7);
        assert_eq!((&slow["status"], &slow["hang"]), (&json!(0), &json!(7)));
        assert_eq!(fault(Answer::TooMany, None, 1, 7)["retryAfter"], 7);
        assert_eq!(fault(Answer::ResetAfter, None, 1, 7)["afterEffect"], true);
    }
}
