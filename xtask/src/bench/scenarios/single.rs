//! One pod at a time.

use anyhow::{Context as _, Result};

use super::STEP;
use crate::bench::Bench;
use crate::bench::pods::seconds;
use crate::bench::rig::{Rig, Setup, names};
use crate::bench::stats::Row;

pub(super) const CREATE: &str = "20 pods one after another; a group runs at once, ARM answers at once. From the sending \
    of the create to the watch event that shows the phase Running.";

pub(super) const DELETE: &str = "10 Running pods, deleted one after another with the default grace period of 30 s; a \
    group is gone when ARM has answered the DELETE. From the sending of the delete to the watch event that says that \
    the object is gone.";

pub(super) async fn create(bench: &Bench) -> Result<Vec<Row>> {
    let mut rig = Rig::start(bench, "one-pod", &Setup::default()).await?;
    let (mut total, mut scheduled) = (Vec::new(), Vec::new());
    for name in names("one", 20) {
        let sent = rig.create(std::slice::from_ref(&name), "Always").await?;
        let sent = *sent.get(&name).context("no pod was created")?;
        let running = rig.pods.time(&name, "Running", STEP, |p| p.running).await?;
        let bound = rig.pods.time(&name, "bound", STEP, |p| p.bound).await?;
        total.push(seconds(sent, running));
        scheduled.push(seconds(sent, bound));
        rig.delete(&name).await?;
        rig.pods.time(&name, "gone", STEP, |p| p.gone).await?;
    }
    rig.stop().await?;
    Ok(vec![
        Row::new("create → Running visible", "s", total)
            .aim(0.3)
            .peer("4.4"),
        Row::new("of it: create → bound (scheduler)", "s", scheduled),
    ])
}

pub(super) async fn delete(bench: &Bench) -> Result<Vec<Row>> {
    let mut rig = Rig::start(bench, "delete-one", &Setup::default()).await?;
    let names = names("gone", 10);
    rig.create(&names, "Always").await?;
    rig.pods.all_running(&names, STEP).await?;
    let mut total = Vec::new();
    for name in &names {
        let sent = rig.delete(name).await?;
        let gone = rig.pods.time(name, "gone", STEP, |p| p.gone).await?;
        total.push(seconds(sent, gone));
    }
    rig.stop().await?;
    Ok(vec![
        Row::new("delete → object gone", "s", total)
            .aim(2.0)
            .peer("30.1"),
    ])
}
