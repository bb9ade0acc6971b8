//! What is measured. Each scenario is one function from a fresh rig to its rows.

mod burst;
mod exec;
mod fleet;
mod forward;
mod handover;
mod hostile;
mod logs;
mod memory;
mod probes;
mod restart;
mod restart_thousand;
mod rolling;
mod scrape;
mod single;
mod steady;
mod thousand;
mod throttled;
mod translate;
mod window;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::future::LocalBoxFuture;

use super::Bench;
use super::stats::Row;

/// Long enough for any step that works, even on a busy machine.
const STEP: Duration = Duration::from_mins(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Create one pod, until it is Running
    OnePod,
    /// 100 pods at once
    #[value(name = "burst-100")]
    Burst100,
    /// Delete one running pod
    DeleteOne,
    /// 100 running pods that change rarely
    #[value(name = "steady-100")]
    Steady100,
    /// One 429 with Retry-After
    Throttled,
    /// Memory of the operator
    Rss,
    /// kill -9 in the middle of a burst
    Restart,
    /// Translations per second, and allocations of each
    Translate,
    /// 100 followed logs at once
    #[value(name = "logs-100")]
    Logs100,
    /// 50 exec sessions at once
    #[value(name = "exec-50")]
    Exec50,
    /// Throughput of a forwarded port
    PortForward,
    /// 1,000 running pods of 10 connectors
    #[value(name = "fleet-1000")]
    Fleet1000,
    /// 300 creates at 100 in five minutes
    CreateWindow,
    /// A replica ends, dies or stands still; 40 connectors over three replicas
    Handover,
    /// kill -9 with 1,000 running pods on one node
    #[value(name = "restart-1000")]
    Restart1000,
    /// The kubelet API of a node with 1,000 running pods is scraped
    #[value(name = "scrape-1000")]
    Scrape1000,
    /// 1,000 pods with a readiness probe every 10 s
    #[value(name = "probes-1000")]
    Probes1000,
    /// A rollout under load with containers that really run (root and runc); only when it is asked for
    RollingUpdate,
    /// What a tenant or a neighbour in the network does to the pods of another
    Hostile,
    /// What becomes of the pods of rendered charts; by itself, and only when it is asked for
    Charts,
}

impl Scenario {
    pub(super) const ALL: [Self; 18] = [
        Self::OnePod,
        Self::Burst100,
        Self::DeleteOne,
        Self::Steady100,
        Self::Throttled,
        Self::Rss,
        Self::Restart,
        Self::Translate,
        Self::Logs100,
        Self::Exec50,
        Self::PortForward,
        Self::Fleet1000,
        Self::CreateWindow,
        Self::Handover,
        Self::Restart1000,
        Self::Scrape1000,
        Self::Probes1000,
        Self::Hostile,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OnePod => "one-pod",
            Self::Burst100 => "burst-100",
            Self::DeleteOne => "delete-one",
            Self::Steady100 => "steady-100",
            Self::Throttled => "throttled",
            Self::Rss => "rss",
            Self::Restart => "restart",
            Self::Translate => "translate",
            Self::Logs100 => "logs-100",
            Self::Exec50 => "exec-50",
            Self::PortForward => "port-forward",
            Self::Fleet1000 => "fleet-1000",
            Self::CreateWindow => "create-window",
            Self::Handover => "handover",
            Self::Restart1000 => "restart-1000",
            Self::Scrape1000 => "scrape-1000",
            Self::Probes1000 => "probes-1000",
            Self::RollingUpdate => "rolling-update",
            Self::Hostile => "hostile",
            Self::Charts => "charts",
        }
    }

    /// How it is measured.
    pub(super) fn method(self) -> &'static str {
        match self {
            Self::OnePod => single::CREATE,
            Self::Burst100 => burst::METHOD,
            Self::DeleteOne => single::DELETE,
            Self::Steady100 => steady::METHOD,
            Self::Throttled => throttled::METHOD,
            Self::Rss => memory::METHOD,
            Self::Restart => restart::METHOD,
            Self::Translate => translate::METHOD,
            Self::Logs100 => logs::METHOD,
            Self::Exec50 => exec::METHOD,
            Self::PortForward => forward::METHOD,
            Self::Fleet1000 => fleet::METHOD,
            Self::CreateWindow => window::METHOD,
            Self::Handover => handover::METHOD,
            Self::Restart1000 => restart_thousand::METHOD,
            Self::Scrape1000 => scrape::METHOD,
            Self::Probes1000 => probes::METHOD,
            Self::RollingUpdate => rolling::METHOD,
            Self::Hostile => hostile::METHOD,
            Self::Charts => "Counted, not measured: docs/charts.md.",
        }
    }

    /// More than it takes on a busy machine.
    fn deadline(self) -> Duration {
        Duration::from_mins(match self {
            Self::OnePod
            | Self::Burst100
            | Self::DeleteOne
            | Self::Restart
            | Self::Translate
            | Self::Charts => 8,
            Self::Throttled | Self::Logs100 | Self::Exec50 | Self::PortForward => 12,
            Self::Steady100
            | Self::Rss
            | Self::Restart1000
            | Self::Scrape1000
            | Self::Probes1000 => 20,
            Self::Fleet1000 | Self::CreateWindow | Self::Handover | Self::RollingUpdate => 25,
            Self::Hostile => 60,
        })
    }

    /// Measures it once.
    ///
    /// # Errors
    /// It could not be measured: a step failed, or all of it took longer than its deadline.
    pub(super) async fn measure(self, bench: &Bench) -> Result<Vec<Row>> {
        // Boxed, because a rig is large and its futures are.
        let run: LocalBoxFuture<'_, Result<Vec<Row>>> = match self {
            Self::OnePod => Box::pin(single::create(bench)),
            Self::Burst100 => Box::pin(burst::run(bench)),
            Self::DeleteOne => Box::pin(single::delete(bench)),
            Self::Steady100 => Box::pin(steady::run(bench)),
            Self::Throttled => Box::pin(throttled::run(bench)),
            Self::Rss => Box::pin(memory::run(bench)),
            Self::Restart => Box::pin(restart::run(bench)),
            Self::Translate => Box::pin(translate::run(bench)),
            Self::Logs100 => Box::pin(logs::run(bench)),
            Self::Exec50 => Box::pin(exec::run(bench)),
            Self::PortForward => Box::pin(forward::run(bench)),
            Self::Fleet1000 => Box::pin(fleet::run(bench)),
            Self::CreateWindow => Box::pin(window::run(bench)),
            Self::Handover => Box::pin(handover::run(bench)),
            Self::Restart1000 => Box::pin(restart_thousand::run(bench)),
            Self::Scrape1000 => Box::pin(scrape::run(bench)),
            Self::Probes1000 => Box::pin(probes::run(bench)),
            Self::RollingUpdate => Box::pin(rolling::run(bench)),
            Self::Hostile => Box::pin(hostile::run(bench)),
            Self::Charts => bail!("charts are counted by themselves"),
        };
        let limit = self.deadline();
        tokio::time::timeout(limit, run)
            .await
            .with_context(|| format!("not done in {} s", limit.as_secs()))?
    }
}

/// Numbers from 0 to 1 that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `SplitMix64` (Steele, Lea, Flood 2014).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        f64::from(u32::try_from(z >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}
