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

async fn started(fake: Arc<Fake>) -> (Supervisor, mpsc::Receiver<String>) {
    let (sender, changed) = mpsc::channel(8);
    let supervisor = Supervisor::new(fake, sender);
    for os in [Os::Linux, Os::Windows] {
        supervisor.start(agent(os), arm(), 1).await.unwrap();
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
    let (sender, _changed) = mpsc::channel(8);
    let supervisor = Supervisor::new(fake, sender);
    let error = supervisor
        .start(agent(Os::Linux), arm(), 1)
        .await
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
