use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::time::Instant;

use super::*;
use crate::agent::{AgentSpec, AgentStatus};
use crate::api::Os;
use crate::azure::model::SecretText;
use crate::azure::{ArmClient, Credential, Endpoints, Limiters};
use crate::connector::plan::agent_spec;
use crate::connector::plan::tests::identity;
use crate::connector::supervisor::{AgentFactory, RunningAgent, StartError, Supervisor};
use crate::connector::validate::tests::spec;
use crate::connector::{ARRIVAL, Context, PreflightIntervals};
use crate::fence::Target;
use crate::kube::events::Events;

/// Agents that take some time to end, and count how they end.
#[derive(Default)]
struct Agents {
    stopping: Duration,
    stopped: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

struct Agent {
    stopping: Duration,
    stopped: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    status: watch::Sender<AgentStatus>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl AgentFactory for Agents {
    async fn start(
        &self,
        _: AgentSpec,
        _: Arc<ArmClient>,
    ) -> Result<Box<dyn RunningAgent>, StartError> {
        Ok(Box::new(Agent {
            stopping: self.stopping,
            stopped: self.stopped.clone(),
            dropped: self.dropped.clone(),
            status: watch::channel(AgentStatus::default()).0,
        }))
    }
}

#[async_trait]
impl RunningAgent for Agent {
    fn status(&self) -> watch::Receiver<AgentStatus> {
        self.status.subscribe()
    }

    fn update(&self, _: AgentSpec) {}

    async fn stop(self: Box<Self>) {
        tokio::time::sleep(self.stopping).await;
        self.stopped.fetch_add(1, Ordering::Relaxed);
    }
}

struct Case {
    reconciler: Reconciler,
    ownership: Ownership,
    connector: VirtualKubeletConnector,
    stopped: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    _triggers: mpsc::Receiver<String>,
}

impl Case {
    /// A connector with one agent that takes so long to end. Nobody listens where the API server should be.
    async fn with_agent(stopping: Duration) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let clients = Clients::new(config, Arc::new(())).unwrap();
        let agents = Agents {
            stopping,
            ..Agents::default()
        };
        let (stopped, dropped) = (agents.stopped.clone(), agents.dropped.clone());
        let ownership = Ownership::scripted();
        let agents: Arc<dyn AgentFactory> = Arc::new(agents);
        let (trigger, triggers) = mpsc::channel(8);
        let (events, _) = Events::spawn(clients.operator_no_retry(), "test".to_owned());
        let context = Context {
            clients,
            namespace: "vkc-system".to_owned(),
            environment: crate::connector::identity::Environment::default(),
            cluster_dns: crate::translate::ClusterDns::default(),
            ownership: ownership.clone(),
            agents: agents.clone(),
            limiters: Limiters::new(),
            pace: PreflightIntervals::default(),
            arrival: ARRIVAL,
            arm_observer: Arc::new(()),
            observer: Arc::new(()),
            instance: "test".to_owned(),
            ready: Arc::new(|| {}),
        };
        let reconciler = Reconciler {
            supervisor: Arc::new(Supervisor::new(agents, trigger.clone())),
            context,
            events,
            trigger,
            states: Mutex::default(),
            cluster_uid: OnceCell::new(),
            held: Held::default(),
        };
        let mut connector = VirtualKubeletConnector::new(&identity().name, spec(&json!({})));
        connector.metadata.uid = Some(identity().uid);
        let case = Self {
            reconciler,
            ownership,
            connector,
            stopped,
            dropped,
            _triggers: triggers,
        };
        case.start_agent().await;
        case
    }

    fn name(&self) -> String {
        self.connector.name_any()
    }

    async fn start_agent(&self) {
        let credential = Credential::ServicePrincipalSecret {
            tenant_id: "t".to_owned(),
            client_id: "c".to_owned(),
            secret: SecretText::new("s".to_owned()),
        };
        let arm = ArmClient::new(
            Endpoints::public(),
            "sub".to_owned(),
            credential,
            &Limiters::new(),
            Arc::new(()),
        );
        let spec = agent_spec(&identity(), &self.connector.spec, Os::Linux, false);
        self.reconciler
            .supervisor
            .begin(spec, Arc::new(arm.unwrap()), 1);
        while self.agents() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let uid = identity().uid;
        self.reconciler.states.lock().entry(uid).or_default();
    }

    fn agents(&self) -> usize {
        self.reconciler.supervisor.views(&identity().uid).len()
    }

    fn remembers(&self) -> bool {
        self.reconciler.states.lock().contains_key(&identity().uid)
    }

    fn ended(&self) -> (usize, usize) {
        (
            self.stopped.load(Ordering::Relaxed),
            self.dropped.load(Ordering::Relaxed),
        )
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_hold_a_connector_does_nothing_and_keeps_nothing_of_it() {
    let case = Case::with_agent(Duration::from_secs(5)).await;
    let begun = Instant::now();
    assert!(!case.reconciler.admit(&case.connector).await);
    assert!(begun.elapsed() < Duration::from_millis(1), "at once");
    assert_eq!((case.agents(), case.remembers()), (0, false));
    assert_eq!(case.ended(), (0, 1), "cancelled, not asked to flush");
    let fence = case.reconciler.fence(&case.name());
    assert!(fence.allow(Target::Azure).is_err());
}

#[tokio::test(start_paused = true)]
async fn who_holds_it_works_and_writes() {
    let case = Case::with_agent(Duration::ZERO).await;
    let claim = case.ownership.wins(&case.name());
    for _ in 0..2 {
        assert!(case.reconciler.admit(&case.connector).await);
    }
    assert_eq!((case.agents(), case.remembers()), (1, true));
    let fence = case.reconciler.fence(&case.name());
    assert!(fence.allow(Target::Azure).is_ok());
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(fence.allow(Target::Azure).is_err(), "it has lapsed");
    assert!(claim.check().is_err());
    assert_eq!(case.agents(), 1, "agents may still read");
}

#[tokio::test(start_paused = true)]
async fn who_lost_it_and_won_it_again_starts_from_nothing() {
    let case = Case::with_agent(Duration::ZERO).await;
    case.ownership.wins(&case.name());
    assert!(case.reconciler.admit(&case.connector).await);
    let old = case.reconciler.fence(&case.name());
    case.ownership.loses(&case.name());
    case.ownership.wins(&case.name());
    assert!(case.reconciler.admit(&case.connector).await);
    assert_eq!((case.agents(), case.remembers()), (0, false));
    assert!(old.allow(Target::Azure).is_err(), "for ever");
    assert!(
        case.reconciler
            .fence(&case.name())
            .allow(Target::Azure)
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_connector_is_given_away_once_its_agents_have_ended() {
    let case = Case::with_agent(Duration::from_secs(2)).await;
    case.ownership.wins(&case.name());
    assert!(case.reconciler.admit(&case.connector).await);
    case.ownership.is_to_leave(&case.name());
    let begun = Instant::now();
    assert!(!case.reconciler.admit(&case.connector).await);
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert_eq!((case.agents(), case.remembers()), (0, false));
    assert_eq!(case.ended(), (1, 1), "it has flushed its statuses");
    assert_eq!(case.ownership.told_stopped(), [case.name()]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_end_holds_no_hand_over_up() {
    let case = Case::with_agent(Duration::from_secs(60)).await;
    case.ownership.wins(&case.name());
    case.ownership.is_to_leave(&case.name());
    let begun = Instant::now();
    assert!(!case.reconciler.admit(&case.connector).await);
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(case.ended(), (0, 1));
    assert_eq!(case.ownership.told_stopped(), [case.name()]);
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_process_a_peer_waits_shorter_than_nobody() {
    for (peer, most) in [(true, 4), (false, 9)] {
        let case = Case::with_agent(Duration::from_secs(60)).await;
        case.ownership.wins(&case.name());
        if peer {
            case.ownership.has_peer();
        }
        let begun = Instant::now();
        case.reconciler.hand_over_all().await;
        let took = begun.elapsed().as_secs();
        assert!((most - 1..=most).contains(&took), "{took} s");
        assert_eq!(case.ownership.told_stopped(), [case.name()]);
    }
}

#[tokio::test(start_paused = true)]
async fn agents_of_lost_connectors_are_cancelled_and_others_are_not() {
    let case = Case::with_agent(Duration::ZERO).await;
    case.ownership.wins(&case.name());
    case.reconciler.abandon_lost();
    assert_eq!(case.agents(), 1);
    case.ownership.loses(&case.name());
    case.reconciler.abandon_lost();
    assert_eq!(case.agents(), 0);
    assert_eq!(case.ended(), (0, 1));
}
