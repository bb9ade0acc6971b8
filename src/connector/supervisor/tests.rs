use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::azure::model::SecretText;
use crate::azure::{Credential, Endpoints, Limiters};
use crate::connector::plan::agent_spec;
use crate::connector::plan::tests::identity;
use crate::connector::validate::tests::spec;

/// Agents that do what the test says.
#[derive(Default)]
struct Fake {
    /// How long an agent takes to stop.
    stopping: Duration,
    /// How long one takes to start.
    starting: Duration,
    stopped: Arc<AtomicUsize>,
    statuses: Mutex<Vec<watch::Sender<AgentStatus>>>,
}

struct FakeAgent {
    stopping: Duration,
    stopped: Arc<AtomicUsize>,
    status: watch::Receiver<AgentStatus>,
}

#[async_trait]
impl AgentFactory for Fake {
    async fn start(
        &self,
        _: AgentSpec,
        _: Arc<ArmClient>,
    ) -> Result<Box<dyn RunningAgent>, StartError> {
        tokio::time::sleep(self.starting).await;
        let (sender, status) = watch::channel(AgentStatus::default());
        self.statuses.lock().push(sender);
        Ok(Box::new(FakeAgent {
            stopping: self.stopping,
            stopped: self.stopped.clone(),
            status,
        }))
    }
}

#[async_trait]
impl RunningAgent for FakeAgent {
    fn status(&self) -> watch::Receiver<AgentStatus> {
        self.status.clone()
    }

    fn update(&self, _: AgentSpec) {}

    async fn stop(self: Box<Self>) {
        tokio::time::sleep(self.stopping).await;
        self.stopped.fetch_add(1, Ordering::Relaxed);
    }
}

fn arm() -> Arc<ArmClient> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let credential = Credential::ServicePrincipalSecret {
        tenant_id: "t".to_owned(),
        client_id: "c".to_owned(),
        secret: SecretText::new("s".to_owned()),
    };
    let client = ArmClient::new(
        Endpoints::public(),
        "sub".to_owned(),
        credential,
        &Limiters::new(),
        Arc::new(()),
    );
    Arc::new(client.unwrap())
}

fn agent(os: Os) -> AgentSpec {
    agent_spec(&identity(), &spec(&json!({})), os, false)
}

async fn started(fake: Arc<Fake>) -> (Arc<Supervisor>, mpsc::Receiver<String>) {
    let (sender, mut changed) = mpsc::channel(8);
    let supervisor = Arc::new(Supervisor::new(fake, sender));
    for os in [Os::Linux, Os::Windows] {
        supervisor.begin(agent(os), arm(), 1);
        changed.recv().await.unwrap();
        supervisor.snapshot("uid-1").started[&os].clone().unwrap();
    }
    (supervisor, changed)
}

#[tokio::test(start_paused = true)]
async fn all_agents_stop_together_and_a_stuck_one_is_cut_off() {
    let fake = Arc::new(Fake {
        stopping: Duration::from_secs(5),
        ..Fake::default()
    });
    let (supervisor, _changed) = started(fake.clone()).await;
    let start = Instant::now();
    supervisor.stop_all().await;
    assert_eq!(
        (start.elapsed(), fake.stopped.load(Ordering::Relaxed)),
        (Duration::from_secs(5), 2)
    );

    let fake = Arc::new(Fake {
        stopping: Duration::from_hours(1),
        ..Fake::default()
    });
    let (supervisor, _changed) = started(fake.clone()).await;
    let start = Instant::now();
    supervisor.stop_all().await;
    assert_eq!(
        (start.elapsed(), fake.stopped.load(Ordering::Relaxed)),
        (STOP_TIMEOUT, 0)
    );
    assert!(supervisor.connectors().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_start_is_an_error() {
    let fake = Arc::new(Fake {
        starting: Duration::from_hours(1),
        ..Fake::default()
    });
    let (sender, mut changed) = mpsc::channel(8);
    let supervisor = Arc::new(Supervisor::new(fake, sender));
    supervisor.begin(agent(Os::Linux), arm(), 1);
    assert_eq!(changed.recv().await.unwrap(), "vk");
    let error = supervisor.snapshot("uid-1").started[&Os::Linux]
        .clone()
        .unwrap_err();
    assert!(error.to_string().contains("did not start in time"));
    assert!(supervisor.views("uid-1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn news_come_at_once_and_then_at_most_once_a_second() {
    let fake = Arc::new(Fake::default());
    let (_supervisor, mut changed) = started(fake.clone()).await;
    let start = Instant::now();
    let pods = |count| fake.statuses.lock()[0].send_modify(|status| status.pods = count);
    pods(1);
    assert_eq!(changed.recv().await.unwrap(), "vk");
    assert_eq!(start.elapsed(), Duration::ZERO);
    for count in 2..50 {
        pods(count);
    }
    assert_eq!(changed.recv().await.unwrap(), "vk");
    assert_eq!(start.elapsed(), COALESCE);
    assert!(
        timeout(Duration::from_secs(9), changed.recv())
            .await
            .is_err(),
        "nothing new, no news"
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_agent_is_noticed() {
    let fake = Arc::new(Fake::default());
    let (supervisor, mut changed) = started(fake.clone()).await;
    assert!(supervisor.views("uid-1")[&Os::Linux].seen.alive);
    fake.statuses.lock().remove(0);
    assert_eq!(changed.recv().await.unwrap(), "vk");
    let views = supervisor.views("uid-1");
    assert_eq!(
        (views[&Os::Linux].seen.alive, views[&Os::Windows].seen.alive),
        (false, true)
    );
    assert!(supervisor.views("somebody else").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_holds_up_nobody_and_is_told_once() {
    let fake = Arc::new(Fake {
        starting: Duration::from_secs(30),
        ..Fake::default()
    });
    let (sender, mut changed) = mpsc::channel(8);
    let supervisor = Arc::new(Supervisor::new(fake.clone(), sender));
    let begun = Instant::now();
    supervisor.begin(agent(Os::Linux), arm(), 1);
    supervisor.begin(agent(Os::Linux), arm(), 2);
    let snapshot = supervisor.snapshot("uid-1");
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(snapshot.running.is_empty() && snapshot.starting.contains(&Os::Linux));
    assert_eq!(supervisor.connectors(), ["uid-1"]);
    assert_eq!(changed.recv().await.unwrap(), "vk");
    assert_eq!(begun.elapsed(), Duration::from_secs(30));
    let snapshot = supervisor.snapshot("uid-1");
    assert!(snapshot.starting.is_empty() && snapshot.started[&Os::Linux].is_ok());
    assert_eq!(
        snapshot.running[&Os::Linux].seen.arm,
        1,
        "the second was one too many"
    );
    assert!(supervisor.snapshot("uid-1").started.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_restart_stops_the_old_agent_first() {
    let fake = Arc::new(Fake {
        stopping: Duration::from_secs(3),
        ..Fake::default()
    });
    let (supervisor, mut changed) = started(fake.clone()).await;
    let begun = Instant::now();
    supervisor.begin(agent(Os::Linux), arm(), 2);
    while supervisor.snapshot("uid-1").started.is_empty() {
        changed.recv().await.unwrap();
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    assert_eq!(fake.stopped.load(Ordering::Relaxed), 1);
    assert_eq!(supervisor.views("uid-1")[&Os::Linux].seen.arm, 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_being_started_is_stopped_like_one_that_runs() {
    let fake = Arc::new(Fake {
        starting: Duration::from_secs(30),
        ..Fake::default()
    });
    let (sender, mut changed) = mpsc::channel(8);
    let supervisor = Arc::new(Supervisor::new(fake.clone(), sender));
    supervisor.begin(agent(Os::Linux), arm(), 1);
    supervisor.stop_connector("uid-1").await;
    supervisor.begin(agent(Os::Windows), arm(), 1);
    supervisor.stop_all().await;
    supervisor.begin(agent(Os::Linux), arm(), 1);
    assert!(
        supervisor.connectors().is_empty(),
        "nothing is started after the end"
    );
    assert!(
        timeout(Duration::from_mins(2), changed.recv())
            .await
            .is_err()
    );
    assert!(fake.statuses.lock().is_empty());
}
