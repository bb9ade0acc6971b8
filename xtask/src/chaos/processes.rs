//! Operators, API server and etcd end, sleep and come back.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::sleep;

use super::operators;
use super::plan::{Act, End};
use super::rig::Rig;

/// Of the API server and etcd after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

fn number(replica: u64) -> Result<usize> {
    Ok(usize::try_from(replica)?)
}

/// Ends one replica; its supervisor does not hold the lock while that takes its time.
async fn end(rig: &Rig, replica: usize, how: End) -> Result<()> {
    if how == End::Kill {
        return rig.operators.lock().await.kill(replica);
    }
    let taken = rig.operators.lock().await.take(replica)?;
    if let Some(operator) = taken
        && let Some(problem) = operators::stop(operator).await
        // Without an API server there is nobody to hand over to, and an end that says so is none that is wrong.
        && (problem.late || api_server_answers(rig).await)
    {
        let problem = problem.text;
        rig.operators.lock().await.note(replica, problem)?;
    }
    Ok(())
}

async fn api_server_answers(rig: &Rig) -> bool {
    let asked = tokio::time::timeout(
        Duration::from_secs(1),
        super::collect::connector(&rig.client),
    );
    matches!(asked.await, Ok(Ok(_)))
}

pub(super) async fn operators(rig: &Rig, act: &Act) -> Result<String> {
    let wait = |millis: u64| sleep(Duration::from_millis(millis));
    match *act {
        Act::KillOperator { replica, away } => {
            let replica = number(replica)?;
            end(rig, replica, End::Kill).await?;
            wait(away).await;
            rig.operators.lock().await.start(replica)?;
            Ok(format!("vkc-{replica} killed, back after {away} ms"))
        }
        Act::StopOperator { replica, away } => {
            let replica = number(replica)?;
            end(rig, replica, End::Term).await?;
            wait(away).await;
            rig.operators.lock().await.start(replica)?;
            Ok(format!("vkc-{replica} stopped, back after {away} ms"))
        }
        Act::PauseOperator { replica, away } => {
            let replica = number(replica)?;
            rig.operators.lock().await.signal(replica, "STOP")?;
            wait(away).await;
            rig.operators.lock().await.signal(replica, "CONT")?;
            Ok(format!("vkc-{replica} slept for {away} ms"))
        }
        Act::DoubleOperator { away, end: how } => {
            let replica = rig.operators.lock().await.add()?;
            wait(away).await;
            end(rig, replica, how).await?;
            rig.operators.lock().await.remove_last();
            Ok(format!("vkc-{replica} was there for {away} ms"))
        }
        Act::AllOperatorsDown { away, end: how } => {
            let all = rig.operators.lock().await.numbers();
            for replica in all.clone() {
                end(rig, replica, how).await?;
            }
            wait(away).await;
            for replica in all {
                rig.operators.lock().await.start(replica)?;
            }
            Ok(format!("none for {away} ms"))
        }
        _ => bail!("not an act about operators"),
    }
}

pub(super) async fn plane(rig: &Rig, act: &Act) -> Result<String> {
    let grace = |how: End| (how == End::Term).then_some(GRACE);
    let plane = &rig.plane;
    match *act {
        Act::RestartApiServer { end, away } => {
            plane.stop_api_server(grace(end)).await?;
            sleep(Duration::from_millis(away)).await;
            plane.start_api_server().await?;
        }
        Act::PauseApiServer { away } => {
            plane.pause_api_server()?;
            sleep(Duration::from_millis(away)).await;
            plane.resume_api_server()?;
        }
        Act::RestartEtcd { end, away } => {
            plane.stop_etcd(grace(end)).await?;
            sleep(Duration::from_millis(away)).await;
            plane.start_etcd().await?;
        }
        Act::CompactEtcd => plane.compact_etcd().await?,
        _ => bail!("not an act about the control plane"),
    }
    Ok("back".to_owned())
}
