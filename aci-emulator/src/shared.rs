//! What every part of a running emulator shares.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    arm::world::{Key, World},
    clock::{Clock, Time},
    config::{Config, Settings},
    due::Due,
    exec::Sessions,
    faults::Faults,
    record::Record,
    registry::Registry,
    run::Runner,
    throttle::Throttle,
    token::Entra,
};

/// State of one emulator. No lock is ever held across an await.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// `https://127.0.0.1:PORT`.
    pub(crate) url: String,
    pub(crate) clock: Clock,
    settings: RwLock<Settings>,
    pub(crate) entra: Mutex<Entra>,
    pub(crate) throttle: Mutex<Throttle>,
    pub(crate) faults: Faults,
    pub(crate) record: Mutex<Record>,
    pub(crate) world: Mutex<World>,
    /// What serves pages, if that is wanted.
    pub(crate) pages: Option<Arc<Due>>,
    pub(crate) sessions: Sessions,
    pub(crate) registry: Mutex<Registry>,
    /// What runs Linux groups; without it the clock makes them live.
    pub(crate) runner: Option<Arc<Runner>>,
    /// Cancelled by stop: every task ends.
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn new(config: Config, url: String, runner: Option<Arc<Runner>>) -> Self {
        Self {
            url,
            clock: Clock::new(),
            settings: RwLock::new(Settings::from(&config)),
            entra: Mutex::new(Entra::new(&config)),
            throttle: Mutex::default(),
            faults: Faults::default(),
            record: Mutex::default(),
            world: Mutex::new(World::new(&config)),
            pages: config.serve_pages.then(Arc::default),
            sessions: Sessions::default(),
            registry: Mutex::new(Registry::new(&config.images)),
            runner,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        }
    }

    /// A group has changed, or is gone: whoever serves or runs it looks at it.
    pub(crate) fn check(&self, key: &Key, at: Time) {
        for due in self.due() {
            due.check(key.clone(), at);
        }
    }

    /// Any group may have changed, or be gone.
    pub(crate) fn check_all(&self) {
        self.due().for_each(Due::check_all);
    }

    fn due(&self) -> impl Iterator<Item = &Due> {
        let runner = self.runner.as_ref().map(|runner| &runner.due);
        runner.into_iter().chain(self.pages.as_deref())
    }

    /// A copy of the knobs as they are now.
    pub(crate) fn settings(&self) -> Settings {
        self.settings.read().clone()
    }

    /// Turns a knob.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings.write());
    }
}
