//! Ends and new starts of single components, on the same ports with the same data.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::flags::{self, Layout};
use super::super::health::Probe;
use super::{ControlPlane, START_DEADLINE, locked, spawn};
use crate::process::{POLL, Process};

impl ControlPlane {
    /// Kills the API server and starts it again on the same port with the same data; returns when it is ready.
    ///
    /// # Errors
    /// It did not come back.
    pub async fn restart_api_server(&self) -> Result<()> {
        self.stop_api_server(None).await?;
        self.start_api_server().await
    }

    /// Ends the API server: with SIGKILL, or with SIGTERM and this much time.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub async fn stop_api_server(&self, grace: Option<Duration>) -> Result<()> {
        end(&self.api_server, grace).await
    }

    /// Starts the API server after [`ControlPlane::stop_api_server`]; returns when it is ready.
    ///
    /// # Errors
    /// It did not come back.
    pub async fn start_api_server(&self) -> Result<()> {
        self.start_again(&self.api_server, "kube-apiserver", |layout| {
            flags::api_server(layout, &self.options)
        })?;
        self.api_server_ready().await
    }

    /// Ends etcd: with SIGKILL, or with SIGTERM and this much time. Its data outlives both.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub async fn stop_etcd(&self, grace: Option<Duration>) -> Result<()> {
        end(&self.etcd, grace).await
    }

    /// Starts etcd after [`ControlPlane::stop_etcd`]; returns when the API server is ready again.
    ///
    /// # Errors
    /// It did not come back.
    pub async fn start_etcd(&self) -> Result<()> {
        self.start_again(&self.etcd, "etcd", flags::etcd)?;
        self.api_server_ready().await
    }

    /// Starts kube-controller-manager and kube-scheduler again if they have ended, as a kubelet would: both end by
    /// themselves when what they know contradicts itself after an outage. Gives the names of those that had.
    ///
    /// # Errors
    /// One of them cannot be started.
    pub fn revive(&self) -> Result<Vec<&'static str>> {
        let mut revived = Vec::new();
        if locked(&self.controller_manager).exited().is_some() {
            let config = self.dir().join("kube-controller-manager.kubeconfig");
            let name = "kube-controller-manager";
            self.start_again(&self.controller_manager, name, |layout| {
                flags::controller_manager(layout, &config)
            })?;
            revived.push(name);
        }
        if locked(&self.scheduler).exited().is_some() {
            let config = self.dir().join("kube-scheduler.kubeconfig");
            let name = "kube-scheduler";
            self.start_again(&self.scheduler, name, |layout| {
                flags::scheduler(layout, &config)
            })?;
            revived.push(name);
        }
        Ok(revived)
    }

    /// Kills kube-controller-manager and kube-scheduler and starts them again: what they have missed of an outage is seen
    /// by their new lists.
    ///
    /// # Errors
    /// One of them cannot be started.
    pub fn restart_controllers(&self) -> Result<()> {
        locked(&self.controller_manager).kill();
        locked(&self.scheduler).kill();
        self.revive().map(drop)
    }

    fn start_again(
        &self,
        process: &Mutex<Process>,
        name: &str,
        flags: impl FnOnce(&Layout<'_>) -> Vec<String>,
    ) -> Result<()> {
        let layout = Layout {
            dir: self.dir(),
            pki: &self.pki,
            ports: &self.ports,
        };
        let started = spawn(&self.assets, self.dir(), name, flags(&layout))?;
        *locked(process) = started;
        Ok(())
    }

    async fn api_server_ready(&self) -> Result<()> {
        let probe = Probe::new(&self.pki)?;
        let deadline = Instant::now() + START_DEADLINE;
        let url = format!("{}/readyz", self.url());
        while !probe.healthy(&url).await {
            locked(&self.api_server).check()?;
            ensure!(
                Instant::now() < deadline,
                "the API server did not come back"
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

async fn end(process: &Mutex<Process>, grace: Option<Duration>) -> Result<()> {
    if let Some(grace) = grace {
        locked(process).signal("TERM")?;
        let deadline = Instant::now() + grace;
        while Instant::now() < deadline {
            if locked(process).exited().is_some() {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    locked(process).kill();
    Ok(())
}
