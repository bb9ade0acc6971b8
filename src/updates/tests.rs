use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::pods::snapshot::{NodePods, RunningContainer, RunningPod};
use crate::translate::VolumeSources;

/// What volumes are made of, and what was done.
#[derive(Default)]
struct Fake {
    /// The version that an update finds; none when it fails.
    version: Mutex<Option<String>>,
    followed: Mutex<HashMap<String, mpsc::Sender<ObjectName>>>,
    updates: Mutex<Vec<Option<String>>>,
    recorded: Mutex<Vec<String>>,
    not_recorded: Mutex<bool>,
    /// Told when the next update begins, which then waits for nothing.
    begun: Mutex<Vec<oneshot::Sender<()>>>,
}

#[async_trait]
impl Calls for Fake {
    fn made(&self, _: &PodKey) -> MadeWith {
        MadeWith::With("v1".into())
    }

    async fn update(&self, _: &PodKey, wanted: &UpdateWanted) -> Result<VolumesBrought, Failure> {
        let known = wanted.known.as_deref().map(str::to_owned);
        self.updates.lock().push(known.clone());
        for waits in self.begun.lock().drain(..) {
            let _ = waits.send(());
        }
        let Some(version) = self.version.lock().clone() else {
            return Err(Failure::transient("Test", "no way in".to_owned()));
        };
        Ok(if known.as_ref() == Some(&version) {
            VolumesBrought::Unchanged(version.into())
        } else {
            VolumesBrought::Written(version.into())
        })
    }

    async fn record(&self, _: &PodKey, version: &str, _: Timestamp) -> Result<(), KubeError> {
        if *self.not_recorded.lock() {
            return Err(KubeError::Timeout { op: "test" });
        }
        self.recorded.lock().push(version.to_owned());
        Ok(())
    }

    async fn follow(&self, object: ObjectName, changes: mpsc::Sender<ObjectName>) {
        self.followed.lock().insert(object.name.clone(), changes);
        std::future::pending::<()>().await;
    }
}

struct Stage {
    fake: Arc<Fake>,
    pods: snapshot::Sender,
    events: Arc<Mutex<Vec<Event>>>,
    cancel: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Stage {
    fn new(version: Option<&str>) -> Self {
        let fake = Arc::new(Fake::default());
        *fake.version.lock() = version.map(str::to_owned);
        let (pods, receiver) = snapshot::channel();
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let told = Arc::clone(&events);
        let emit = Box::new(move |event| told.lock().push(event));
        let cancel = CancellationToken::new();
        let updates = Updates::new(Arc::clone(&fake), emit);
        let task = tokio::spawn(updates.run(receiver, cancel.clone()));
        Self {
            fake,
            pods,
            events,
            cancel,
            task: AbortOnDropHandle::new(task),
        }
    }

    fn pod_runs(&self) {
        let sources = VolumeSources {
            config_maps: BTreeSet::from(["settings".into()]),
            ..VolumeSources::default()
        };
        let pod = RunningPod {
            key: PodKey {
                namespace: "ns".to_owned(),
                name: "a".to_owned(),
                uid: "u".to_owned(),
            },
            created: None,
            started: None,
            containers: [RunningContainer {
                name: "c".into(),
                image: "i".into(),
                init: false,
                since: Timestamp::UNIX_EPOCH,
            }]
            .into(),
            volumes: Some(Arc::new(sources)),
        };
        let running = vec![Arc::new(pod)];
        self.pods.send_replace(Arc::new(NodePods { running }));
    }

    /// Returns when the next update has begun.
    async fn next_update(&self) {
        let (begun, waits) = oneshot::channel();
        self.fake.begun.lock().push(begun);
        waits.await.unwrap();
    }

    /// Lets everything happen that happens by itself within this time.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn change(&self) {
        let changes = self.fake.followed.lock()["settings"].clone();
        let object = ObjectName {
            kind: plan::Kind::ConfigMap,
            namespace: "ns".to_owned(),
            name: "settings".to_owned(),
        };
        changes.send(object).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_an_object_is_written_and_recorded_once() {
    let stage = Stage::new(Some("v1"));
    stage.pod_runs();
    stage.next_update().await;
    stage.pass(Duration::from_secs(1)).await;
    assert!(stage.fake.recorded.lock().is_empty());

    *stage.fake.version.lock() = Some("v2".to_owned());
    stage.change().await;
    stage.change().await;
    stage.next_update().await;
    stage.pass(Duration::from_mins(10)).await;
    assert_eq!(*stage.fake.recorded.lock(), ["v2"]);
    let known = [Some("v1".to_owned()), Some("v1".to_owned())];
    assert_eq!(*stage.fake.updates.lock(), known);
    assert!(stage.events.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_and_tried_again() {
    let stage = Stage::new(None);
    stage.pod_runs();
    stage.next_update().await;
    stage.pass(Duration::from_millis(1)).await;
    let told = stage.events.lock().clone();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].reason, "VolumesNotUpdated");
    assert!(told[0].note.contains("no way in"), "{}", told[0].note);
    assert_eq!(told[0].regarding.uid.as_deref(), Some("u"));
    *stage.fake.version.lock() = Some("v2".to_owned());
    stage.next_update().await;
    stage.pass(Duration::from_millis(1)).await;
    assert_eq!(*stage.fake.recorded.lock(), ["v2"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_recorded_is_not_written_twice() {
    let stage = Stage::new(Some("v2"));
    *stage.fake.not_recorded.lock() = true;
    stage.pod_runs();
    stage.next_update().await;
    stage.pass(Duration::from_mins(10)).await;
    assert_eq!(stage.fake.updates.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn objects_are_followed_while_a_pod_needs_them() {
    let stage = Stage::new(Some("v1"));
    stage.pod_runs();
    stage.next_update().await;
    let changes = stage.fake.followed.lock()["settings"].downgrade();
    stage.fake.followed.lock().clear();
    stage.pods.send_replace(Arc::default());
    stage.pass(Duration::from_secs(1)).await;
    // Only the loop's own sender is left.
    assert!(changes.upgrade().is_some_and(|it| it.strong_count() == 2));
    stage.cancel.cancel();
    stage.task.await.unwrap();
    assert!(changes.upgrade().is_none());
}
