//! How often things ran.

use std::time::Duration;

use super::story;
use crate::chaos::world::{Change, Workload, World};

/// After an outage of the API server the watch that saw the phases is begun anew only so much later.
const WATCH_LAG: Duration = Duration::from_secs(5);

/// One life of a group: made, and how it ended.
struct Life<'a> {
    /// Whether a container of it was started.
    ran: bool,
    /// The change that ended it; `None` while it is there.
    end: Option<&'a Change>,
}

/// The lives of all groups that a pod ever had.
fn lives<'a>(world: &'a World, uid: &str) -> Vec<Life<'a>> {
    let mut lives: Vec<Life<'a>> = Vec::new();
    for change in world
        .changes
        .iter()
        .filter(|change| change.uid() == Some(uid))
    {
        let ends = ["replaced", "deleted", "vanished"].contains(&change.kind.as_str());
        if let Some(life) = lives.last_mut().filter(|life| ends && life.end.is_none()) {
            life.ran |= change.ran;
            life.end = Some(change);
        }
        if ["created", "replaced"].contains(&change.kind.as_str()) {
            lives.push(Life {
                ran: false,
                end: None,
            });
        }
    }
    let there = world
        .groups
        .iter()
        .find(|group| group.uid.as_deref() == Some(uid));
    if let (Some(group), Some(life)) = (there, lives.last_mut().filter(|life| life.end.is_none())) {
        life.ran |= group.has_run();
    }
    lives
}

/// What vanished before the API server knew it to run may be made again: nobody of ours can know that it ran.
fn unknown(world: &World, uid: &str, life: &Life<'_>) -> bool {
    let known = world
        .history
        .get(uid)
        .and_then(|pod| pod.first(&["Running", "Succeeded", "Failed"]));
    life.end
        .is_some_and(|end| end.kind == "vanished" && known.is_none_or(|known| known > end.at))
}

pub(super) fn once(world: &World) -> Vec<String> {
    let pods = world
        .history
        .iter()
        .filter(|(_, pod)| pod.policy != "Always");
    pods.filter_map(|(uid, pod)| {
        let lives = lives(world, uid);
        let ran = lives
            .iter()
            .filter(|life| life.ran && !unknown(world, uid, life));
        let ran = ran.count();
        (ran > 1).then(|| {
            format!(
                "ran {ran} times under restartPolicy {}; {}",
                pod.policy,
                story(world, uid)
            )
        })
    })
    .collect()
}

/// A group that Azure had given up may start in the moment in which it is deleted. What ran then is lost, and its pod must say so.
fn cut_short(world: &World, uid: &str, life: &Life<'_>) -> bool {
    let failed = world
        .history
        .get(uid)
        .and_then(|pod| pod.first(&["Failed"]));
    let end = life
        .end
        .filter(|end| end.kind == "deleted" && end.no_capacity);
    end.is_some_and(|end| failed.is_some_and(|failed| failed >= end.at))
}

/// A Job that nobody touched, and how often its pods ran. A pod that was made and never ran does not count: it may have
/// been refused, or deleted with its Job.
struct Ran<'a> {
    job: &'a Workload,
    times: i64,
    stories: String,
}

fn jobs_ran(world: &World) -> Vec<Ran<'_>> {
    let jobs = world.workloads.iter();
    let untouched = jobs.filter(|job| job.kind == "Job" && job.untouched);
    let ran = untouched.filter_map(|job| {
        let (_, name) = job.name.split_once('/')?;
        let pods = world.history.iter();
        let pods = pods.filter(|(_, pod)| pod.untouched && pod.job.as_deref() == Some(name));
        let uids: Vec<&String> = pods.map(|(uid, _)| uid).collect();
        let times: usize = uids
            .iter()
            .map(|uid| {
                let lives = lives(world, uid);
                let ran = lives.iter();
                let ran = ran.filter(|life| life.ran && !cut_short(world, uid, life));
                ran.count()
            })
            .sum();
        let stories: Vec<String> = uids.iter().map(|uid| story(world, uid)).collect();
        Some(Ran {
            job,
            times: i64::try_from(times).unwrap_or(i64::MAX),
            stories: stories.join("; "),
        })
    });
    ran.collect()
}

pub(super) fn jobs(world: &World) -> Vec<String> {
    let open = jobs_ran(world).into_iter().filter(|ran| {
        let job = ran.job;
        !job.complete || job.there != job.wanted || ran.times < job.wanted
    });
    open.map(|ran| {
        format!(
            "Job {} ran {} times for {} completions, {} succeeded, complete: {}; {}",
            ran.job.name, ran.times, ran.job.wanted, ran.job.there, ran.job.complete, ran.stories
        )
    })
    .collect()
}

pub(super) fn jobs_once(world: &World) -> Vec<String> {
    let more = jobs_ran(world)
        .into_iter()
        .filter(|ran| ran.times > ran.job.wanted);
    more.map(|ran| {
        format!(
            "Job {} ran {} times for {} completions; {}",
            ran.job.name, ran.times, ran.job.wanted, ran.stories
        )
    })
    .collect()
}

pub(super) fn put_once(world: &World) -> Vec<String> {
    let changes = world.changes.iter().filter(|change| change.token.is_some());
    changes
        .filter_map(|change| {
            let uid = change.uid()?;
            let wrong = match change.kind.as_str() {
                "replaced" => change.ran,
                "started" | "restarted" => true,
                // A group whose provisioning has failed is deleted and may start late: it is stopped when that has to wait.
                "stopped" if change.no_capacity => false,
                // A group of a pod that has ended may be stopped, and of one that is gone.
                "stopped" => {
                    let pod = world.history.get(uid)?;
                    let ended = pod.first(&["Succeeded", "Failed"]);
                    let over = ended.is_some_and(|at| at <= change.at + WATCH_LAG);
                    // When its deletion began is not known when a list has shown that it is gone.
                    let lived_on = pod.last_alive.is_some_and(|alive| alive > change.at);
                    !over && (pod.going.is_none() || lived_on)
                }
                _ => false,
            };
            wrong.then(|| {
                format!(
                    "group {} was {}; {}",
                    change.group,
                    change.kind,
                    story(world, uid)
                )
            })
        })
        .collect()
}

pub(super) fn workloads(world: &World) -> Vec<String> {
    let all = world.workloads.iter();
    all.filter(|it| it.kind != "Job" && it.there != it.wanted)
        .map(|it| {
            format!(
                "{} {} has {} of {} pods ready",
                it.kind, it.name, it.there, it.wanted
            )
        })
        .collect()
}
