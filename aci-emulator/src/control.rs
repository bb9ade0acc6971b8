//! Every knob and every look, in process. The admin endpoint is made of the same calls.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    arm::{
        clusters::ManagedCluster,
        lifecycle::{Outcome, Plan, Repair},
        monitor::Usage,
        network::Subnet,
        view::{Look, render},
        world::{Group, Key, World},
    },
    clock::{Time, plus},
    config::Settings,
    faults::Fault,
    journal::{Change, Kind},
    record::{Counts, Request},
    registry::Image,
    shared::Shared,
    token::Exchange,
};

/// Why a knob could not be turned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No container group of that name in any resource group.
    #[error("no container group '{0}'")]
    NoGroup(String),
    /// No such container in the group.
    #[error("no container '{0}' in the group")]
    NoContainer(String),
    /// The container does not run.
    #[error("container '{0}' is not running")]
    NotRunning(String),
    /// Its containers really run, and end when their processes do.
    #[error("group '{0}' really runs: end its processes, with exec or a command of theirs")]
    Runs(String),
    /// The settings are not understood.
    #[error("settings: {0}")]
    Settings(String),
}

/// A handle on a running emulator; clones share it. Groups are named by their name alone: the
/// first one in the order of resource groups is meant.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// All settings that can be changed.
    pub fn settings(&self) -> Settings {
        self.shared.settings()
    }

    /// Changes settings in place.
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        self.shared.change(change);
    }

    /// Changes the settings named in a JSON object; unknown names are refused.
    pub fn merge_settings(&self, patch: &Map<String, Value>) -> Result<Settings, ControlError> {
        let refuse = |error: serde_json::Error| ControlError::Settings(error.to_string());
        let mut merged = serde_json::to_value(self.settings()).map_err(refuse)?;
        if let Some(map) = merged.as_object_mut() {
            map.extend(patch.clone());
        }
        let settings: Settings = serde_json::from_value(merged).map_err(refuse)?;
        self.shared.change(|current| *current = settings.clone());
        Ok(settings)
    }

    /// Sets what is added to every ARM call.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.change(|settings| settings.latency = latency);
    }

    /// Sets the time from PUT to running containers, for groups put from now on.
    pub fn set_start_delay(&self, delay: Duration) {
        self.shared.change(|settings| settings.start_delay = delay);
    }

    /// Sets the lifetime of tokens issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.shared
            .change(|settings| settings.token_lifetime = lifetime);
    }

    /// Switches throttling on or off.
    pub fn set_throttle(&self, on: bool) {
        self.shared.change(|settings| settings.throttle = on);
    }

    /// Sets `registrationState` of the provider.
    pub fn set_provider_state(&self, state: &str) {
        let mut world = self.shared.world.lock();
        state.clone_into(&mut world.provider.state);
        world.provider.registered_at = None;
    }

    /// Adds a resource group.
    pub fn add_resource_group(&self, name: &str, location: &str) {
        self.shared
            .world
            .lock()
            .add_resource_group(name, location, Map::new());
    }

    /// Adds a subnet and its virtual network, or changes one; its ARM ID.
    pub fn set_subnet(&self, subnet: Subnet) -> String {
        let id = subnet.id(&self.shared.config.subscription_id);
        let mut world = self.shared.world.lock();
        if world.resource_group(&subnet.resource_group).is_err() {
            world.add_resource_group(&subnet.resource_group, &subnet.location, Map::new());
        }
        world.subnets.insert(id.to_lowercase(), subnet);
        id
    }

    /// Adds a managed cluster of AKS, or changes one.
    pub fn set_managed_cluster(&self, cluster: ManagedCluster) {
        let mut world = self.shared.world.lock();
        if world.resource_group(&cluster.resource_group).is_err() {
            world.add_resource_group(&cluster.resource_group, &cluster.location, Map::new());
        }
        world.managed_clusters.insert(cluster.key(), cluster);
    }

    /// Removes the subnet with this ARM ID; false when there is none.
    pub fn remove_subnet(&self, id: &str) -> bool {
        let mut world = self.shared.world.lock();
        world.subnets.remove(&id.to_lowercase()).is_some()
    }

    /// Removes a resource group with everything in it; false when there is none.
    pub fn remove_resource_group(&self, name: &str) -> bool {
        let removed = {
            let now = self.shared.clock.now();
            self.shared.world.lock().remove_resource_group(name, now)
        };
        self.shared.check_all();
        removed
    }

    /// Changes the secret of the configured client; tokens it has stay valid until they expire.
    pub fn set_client_secret(&self, secret: &str) {
        self.shared
            .entra
            .lock()
            .set_client(&self.shared.config.client_id, secret);
    }

    /// Adds another client (or changes its secret); it is throttled on its own.
    pub fn add_client(&self, client_id: &str, secret: &str) {
        self.shared.entra.lock().set_client(client_id, secret);
    }

    /// Lets a client prove itself with one of the certificates in `pem`, and no other; false when there is none. Adds the
    /// client if need be.
    pub fn set_certificates(&self, client_id: &str, pem: &str) -> bool {
        self.shared.entra.lock().set_certificates(client_id, pem)
    }

    /// Sets the managed identities of the machine whose metadata service this is, by client ID. At the start it is the
    /// configured client, user-assigned.
    pub fn assign_identities(&self, system: Option<&str>, user: &[&str]) {
        self.shared.entra.lock().assign(system, user);
    }

    /// The last 10,000 tokens that were issued, oldest first.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.shared.entra.lock().exchanges()
    }

    /// The bodies of the last 10,000 requests to the token endpoint exactly as they were sent, secrets included. In
    /// process only: no HTTP answer has them.
    pub fn token_bodies(&self) -> Vec<String> {
        self.shared.entra.lock().bodies()
    }

    /// Makes every token issued so far invalid.
    pub fn revoke_tokens(&self) {
        self.shared.entra.lock().revoke();
    }

    /// Breaks every open socket of exec and attach, without a close.
    pub fn break_sockets(&self) {
        self.shared.sessions.break_open();
    }

    /// Adds a fault behind those that wait.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults.inject(fault);
    }

    /// Removes all waiting faults.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Faults still waiting.
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.faults.list()
    }

    /// Adds an image to the registry, or gives its name to another one; the digest of its manifest or index.
    pub fn push_image(&self, image: &Image) -> String {
        self.shared.registry.lock().push(image)
    }

    /// Names of the images in the registry.
    pub fn images(&self) -> Vec<String> {
        self.shared.registry.lock().names()
    }

    /// All groups as GET shows them.
    pub fn groups(&self) -> Vec<Value> {
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        world.advance_all(now);
        world
            .groups
            .values()
            .map(|group| render(group, Look::Full, now))
            .collect()
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        world.advance_all(now);
        world.groups.len()
    }

    /// One group as GET shows it.
    pub fn group(&self, name: &str) -> Option<Value> {
        self.with(name, |group, now| render(group, Look::Full, now))
            .ok()
    }

    /// The body of the last PUT of a group exactly as it was sent, secrets included. In process
    /// only: no HTTP answer has it.
    pub fn last_put(&self, name: &str) -> Option<Value> {
        self.with(name, |group, _| Value::clone(&group.body)).ok()
    }

    /// Ends a running container; what follows is up to the restart policy.
    pub fn finish_container(
        &self,
        group: &str,
        container: &str,
        exit_code: i32,
    ) -> Result<(), ControlError> {
        self.played(group, |group, now| {
            match group.life.finish(container, exit_code, now) {
                None => Err(ControlError::NoContainer(container.to_owned())),
                Some(false) => Err(ControlError::NotRunning(container.to_owned())),
                Some(true) => Ok(()),
            }
        })?
    }

    /// Ends a running container and every later run of it at once: a crash loop where the restart
    /// policy restarts.
    pub fn crash_container(
        &self,
        group: &str,
        container: &str,
        exit_code: i32,
    ) -> Result<(), ControlError> {
        self.finish_container(group, container, exit_code)?;
        self.set_plan(
            group,
            container,
            Some(Plan {
                after: Duration::ZERO,
                code: exit_code,
            }),
        )
    }

    /// Ends a crash loop: the next run stays up.
    pub fn heal_container(&self, group: &str, container: &str) -> Result<(), ControlError> {
        self.set_plan(group, container, None)
    }

    fn set_plan(
        &self,
        group: &str,
        container: &str,
        plan: Option<Plan>,
    ) -> Result<(), ControlError> {
        self.played(group, |group, _| {
            let life = group
                .life
                .containers
                .iter_mut()
                .find(|life| life.name == container);
            life.map(|life| life.plan = plan)
                .ok_or_else(|| ControlError::NoContainer(container.to_owned()))
        })?
    }

    /// What a container does when it gets SIGTERM: it ends after so long with this exit code, or goes on.
    pub fn on_sigterm(
        &self,
        group: &str,
        container: &str,
        end: Option<(Duration, i32)>,
    ) -> Result<(), ControlError> {
        self.played(group, |group, _| {
            let mut lives = group.life.containers.iter_mut();
            let life = lives.find(|life| life.name == container);
            let plan = end.map(|(after, code)| Plan { after, code });
            life.map(|life| life.on_sigterm = plan)
                .ok_or_else(|| ControlError::NoContainer(container.to_owned()))
        })?
    }

    /// How often a container got SIGTERM since its group's last PUT.
    pub fn sigterms(&self, group: &str, container: &str) -> Result<u32, ControlError> {
        self.with(group, |group, _| {
            let mut lives = group.life.containers.iter();
            let life = lives.find(|life| life.name == container);
            life.map(|life| life.sigterms)
                .ok_or_else(|| ControlError::NoContainer(container.to_owned()))
        })?
    }

    /// Appends lines to a container's log.
    pub fn append_log(&self, group: &str, container: &str, text: &str) -> Result<(), ControlError> {
        self.with(group, |group, now| {
            let life = group
                .life
                .containers
                .iter_mut()
                .find(|life| life.name == container);
            life.map(|life| life.log.append(now, text))
                .ok_or_else(|| ControlError::NoContainer(container.to_owned()))
        })?
    }

    /// The page of a group answers with this HTTP status from now on; its gRPC health is SERVING with 200 only.
    pub fn set_page_status(&self, group: &str, status: u16) -> Result<(), ControlError> {
        self.with(group, |group, _| group.page_status = status)
    }

    /// Sets what a container uses while it runs, in millicores and bytes; `None`: Azure Monitor has no figures of it.
    pub fn set_usage(
        &self,
        group: &str,
        container: &str,
        usage: Option<(f64, f64)>,
    ) -> Result<(), ControlError> {
        self.played(group, |group, _| {
            let life = group
                .life
                .containers
                .iter_mut()
                .find(|life| life.name == container);
            life.map(|life| {
                life.usage = usage.map(|(millicores, bytes)| Usage { millicores, bytes });
            })
            .ok_or_else(|| ControlError::NoContainer(container.to_owned()))
        })?
    }

    /// The platform restarts every container with exit code 7147, whatever the restart policy.
    pub fn platform_restart(&self, group: &str) -> Result<(), ControlError> {
        self.played(group, |group, now| group.life.platform_restart(now))
    }

    /// Moves a group to another node: `Unhealthy`, `Repairing`, then a new address and a restart
    /// of its containers, over the start delay.
    pub fn repair(&self, group: &str) -> Result<(), ControlError> {
        let delay = self.settings().start_delay;
        let ip: Ipv4Addr = self.shared.world.lock().allocate_ip();
        self.played(group, |group, now| {
            group.life.repair = Some(Repair {
                since: now,
                until: plus(now, delay),
                ip,
            });
        })
    }

    /// Stops a group as its stop action does.
    pub fn stop_group(&self, group: &str) -> Result<(), ControlError> {
        self.with(group, |group, _| group.life.stop())
    }

    /// Removes a group as if somebody else had deleted it.
    pub fn delete_group(&self, group: &str) -> Result<(), ControlError> {
        let key = self.with(group, |group, _| {
            Key::new(&group.resource_group, &group.name)
        })?;
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        if let Some(group) = world.groups.remove(&key) {
            world.journal.note(now, Kind::Vanished, &group, None);
        }
        drop(world);
        self.shared.check(&key, now);
        Ok(())
    }

    /// The next `count` PUTs are accepted and fail for lack of capacity; with `late_start` the
    /// group starts all the same, that much after it failed.
    pub fn fail_next_puts(&self, count: usize, late_start: Option<Duration>) {
        self.shared
            .world
            .lock()
            .no_capacity
            .extend(std::iter::repeat_n(late_start, count));
    }

    /// Takes back what [`Control::fail_next_puts`] has announced.
    pub fn fail_no_puts(&self) {
        self.shared.world.lock().no_capacity.clear();
    }

    /// Lets an existing group's last operation have failed for lack of capacity.
    pub fn fail_group(
        &self,
        group: &str,
        late_start: Option<Duration>,
    ) -> Result<(), ControlError> {
        self.played(group, |group, now| {
            group.life.run_again(now, Duration::ZERO);
            group.life.outcome = Outcome::NoCapacity { late_start };
        })
    }

    /// Forces `provisioningState`, or lets it go free again.
    pub fn set_provisioning_state(
        &self,
        group: &str,
        state: Option<&str>,
    ) -> Result<(), ControlError> {
        self.with(group, |group, _| {
            group.life.forced_provisioning = state.map(str::to_owned);
        })
    }

    /// Forces the group's `instanceView.state`, or lets it go free again.
    pub fn set_state(&self, group: &str, state: Option<&str>) -> Result<(), ControlError> {
        self.with(group, |group, _| {
            group.life.forced_state = state.map(str::to_owned);
        })
    }

    /// The last 50,000 requests, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.record.lock().requests()
    }

    /// The last 100,000 changes of container groups that took effect, oldest first.
    pub fn changes(&self) -> Vec<Change> {
        self.shared.world.lock().journal.changes()
    }

    /// Counts of all requests.
    pub fn counts(&self) -> Counts {
        self.shared.record.lock().counts()
    }

    /// Forgets requests and counts.
    pub fn reset_requests(&self) {
        self.shared.record.lock().reset();
    }

    /// The same for a group that the clock makes live.
    fn played<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Group, Time) -> T,
    ) -> Result<T, ControlError> {
        self.with(name, |group, now| {
            if group.life.driver.is_real() {
                return Err(ControlError::Runs(name.to_owned()));
            }
            Ok(act(group, now))
        })?
    }

    fn with<T>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Group, Time) -> T,
    ) -> Result<T, ControlError> {
        let now = self.shared.clock.now();
        let mut world = self.shared.world.lock();
        let key = find(&world, name).ok_or_else(|| ControlError::NoGroup(name.to_owned()))?;
        let group = world
            .group(&key, now)
            .ok_or_else(|| ControlError::NoGroup(name.to_owned()))?;
        let result = act(group, now);
        drop(world);
        self.shared.check(&key, now);
        Ok(result)
    }
}

fn find(world: &World, name: &str) -> Option<Key> {
    let lower = name.to_lowercase();
    world.groups.keys().find(|key| key.name == lower).cloned()
}
