//! Somebody else with an ordinary pod.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::{sleep, timeout};

use crate::bench::pods::seconds;
use crate::bench::rig::Rig;
use crate::bench::sockets::Cluster;

const PAUSE: Duration = Duration::from_millis(500);
/// No step of his takes so long, or it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What he saw: seconds of each step that came to its end.
#[derive(Default)]
pub(super) struct Neighbour {
    pub(super) created: Vec<f64>,
    pub(super) deleted: Vec<f64>,
    pub(super) logs: Vec<f64>,
    pub(super) commands: Vec<f64>,
    /// Steps that did not.
    pub(super) failures: usize,
}

impl Neighbour {
    /// Lets him do so for a while.
    ///
    /// # Errors
    /// One of the processes has ended, or the API server refuses him.
    pub(super) async fn of(rig: &mut Rig, prefix: &str, span: Duration) -> Result<Self> {
        let cluster = Cluster::of(&rig.plane).await?;
        let pods = Api::<Pod>::namespaced(rig.client.clone(), "default");
        let (mut seen, begin) = (Self::default(), Instant::now());
        for n in 0.. {
            if begin.elapsed() >= span {
                break;
            }
            rig.check()?;
            let name = format!("{prefix}-{n:04}");
            let sent = rig.create(std::slice::from_ref(&name), "Always").await?;
            let sent = sent.get(&name).copied().unwrap_or_default();
            let running = rig
                .pods
                .time(&name, "Running", PATIENCE, |it| it.running)
                .await;
            let runs = running.is_ok();
            seen.note(|it| &mut it.created, running.map(|at| seconds(sent, at)));
            if runs {
                let logs =
                    took(async { Ok(pods.logs(&name, &LogParams::default()).await.map(drop)?) });
                seen.note(|it| &mut it.logs, logs.await);
                let command = took(async {
                    let code = cluster.exit_code(&name, &["sh", "-c", "exit 7"]).await?;
                    ensure!(code == 7, "exit 7 ended with {code}");
                    Ok(())
                });
                seen.note(|it| &mut it.commands, Box::pin(command).await);
            }
            let sent = rig.delete(&name).await?;
            let gone = rig.pods.time(&name, "gone", PATIENCE, |it| it.gone).await;
            seen.note(|it| &mut it.deleted, gone.map(|at| seconds(sent, at)));
            sleep(PAUSE).await;
        }
        Ok(seen)
    }

    fn note(&mut self, of: impl Fn(&mut Self) -> &mut Vec<f64>, took: Result<f64>) {
        match took {
            Ok(seconds) => of(self).push(seconds),
            Err(error) => {
                println!("    the neighbour failed: {error:#}");
                self.failures += 1;
            }
        }
    }
}

async fn took(step: impl Future<Output = Result<()>>) -> Result<f64> {
    let begin = Instant::now();
    timeout(PATIENCE, step).await??;
    Ok(begin.elapsed().as_secs_f64())
}
