//! Waiting for the components of a plane by their health endpoints.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::pki::Pki;
use crate::process::{POLL, Process};

/// One health question.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest pause between two questions.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Asks health endpoints with the administrator's certificate.
pub(super) struct Probe(reqwest::Client);

impl Probe {
    pub(super) fn new(pki: &Pki) -> Result<Self> {
        let mut identity = fs::read(&pki.admin.key)?;
        identity.extend(fs::read(&pki.admin.cert)?);
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(pki.ca_pem().as_bytes())?])
            .identity(reqwest::Identity::from_pem(&identity)?)
            .timeout(PROBE_TIMEOUT)
            .no_proxy()
            .build()
            .context("cannot make a client for health checks")?;
        Ok(Self(client))
    }

    pub(super) async fn healthy(&self, url: &str) -> bool {
        self.0
            .get(url)
            .send()
            .await
            .is_ok_and(|response| response.status().is_success())
    }

    pub(super) async fn wait(
        &self,
        url: &str,
        deadline: Instant,
        processes: &mut [&mut Process],
    ) -> Result<()> {
        let mut pause = POLL;
        while !self.healthy(url).await {
            for process in processes.iter_mut() {
                process.check()?;
            }
            ensure!(Instant::now() < deadline, "{url} is not healthy in time");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }
}
