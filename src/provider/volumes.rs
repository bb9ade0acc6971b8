//! Brings the files of a running pod's volumes up to date: the shim in a container writes them, over ACI's exec.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::aci::{Aci, translated, unknown, unsettled};
use super::exec::ExecError;
use super::{Failure, FailureKind, MadeWith};
use crate::translate::{
    PodKey, Reference, Resolved, Translation, VolumeUpdates, volume_updates, volumes_of,
};
use vkc_shim::session::Task;

/// Steps from a pod to what its volumes are made of.
const ROUNDS: usize = 4;
/// A session in which files are written ends by then.
const SESSION: Duration = Duration::from_mins(2);

/// What is wanted of a pod's volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateWanted {
    /// The containers that run.
    pub running: Vec<String>,
    /// What is in the volumes, as far as that is known.
    pub known: Option<Box<str>>,
    /// A token in them is to be made anew.
    pub tokens: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumesBrought {
    /// They are as they should be; this is in them.
    Unchanged(Box<str>),
    /// They have been written; this is in them now.
    Written(Box<str>),
    /// The pod has no volumes that can be brought up to date.
    Nothing,
}

impl Aci {
    /// What was in the volumes of the group of `key` when it was made.
    pub fn volumes_made_with(&self, key: &PodKey) -> MadeWith {
        self.shims.volumes(&self.group_name(key))
    }

    /// Writes what is in the volumes of `pod` now, unless that is known to be in them.
    ///
    /// # Errors
    /// What they are made of cannot be read, is not there any more, or no container takes it.
    pub async fn bring_volumes_up_to_date(
        &self,
        key: &PodKey,
        pod: &Arc<Pod>,
        wanted: &UpdateWanted,
    ) -> Result<VolumesBrought, Failure> {
        let (mut translation, resolved) = self.look_at_volumes(key, pod).await?;
        let Some(version) = volumes_of(&translation.group.tags).map(Box::from) else {
            return Ok(VolumesBrought::Nothing);
        };
        if wanted.known.as_ref() == Some(&version) && !wanted.tokens {
            return Ok(VolumesBrought::Unchanged(version));
        }
        let missing = unknown(&translation, &resolved);
        let tokens: Vec<Reference> = missing.filter(|it| it.is_token()).cloned().collect();
        let mut all = resolved;
        if !tokens.is_empty() {
            self.references.resolve(pod, &tokens, &mut all).await?;
            (translation, all) = self.translated_for(key, pod, all).await?;
        }
        let Some(updates) = volume_updates(&translation.group) else {
            return Ok(VolumesBrought::Nothing);
        };
        self.write_volumes(key, &updates, &wanted.running).await?;
        drop(all);
        Ok(VolumesBrought::Written(version))
    }

    /// The translation of `pod` with all but images and tokens, and what it was made from.
    async fn look_at_volumes(
        &self,
        key: &PodKey,
        pod: &Arc<Pod>,
    ) -> Result<(Translation, Resolved), Failure> {
        let mut resolved = self.known(&self.defaults.read());
        for _ in 0..ROUNDS {
            let (translation, known) = self.translated_for(key, pod, resolved).await?;
            let objects: Vec<Reference> = unknown(&translation, &known)
                .filter(|it| it.image().is_none() && !it.is_token())
                .cloned()
                .collect();
            if objects.is_empty() {
                return Ok((translation, known));
            }
            resolved = known;
            let resolve = self.references.resolve(pod, &objects, &mut resolved);
            resolve.await?;
        }
        Err(unsettled(ROUNDS))
    }

    async fn translated_for(
        &self,
        key: &PodKey,
        pod: &Arc<Pod>,
        resolved: Resolved,
    ) -> Result<(Translation, Resolved), Failure> {
        let defaults = self.defaults.read().clone();
        let owner = Arc::new(self.scope.ownership(key.clone(), 0));
        let (translation, known) = translated(pod, &defaults, &owner, resolved).await?;
        Ok((translation?, known))
    }

    /// Has the `running` containers write what they can, one after the other, until all is written.
    async fn write_volumes(
        &self,
        key: &PodKey,
        updates: &VolumeUpdates,
        running: &[String],
    ) -> Result<(), Failure> {
        let mut left = updates.names();
        let mut why = "no container that mounts it runs".to_owned();
        for writer in &updates.by {
            let names: BTreeSet<String> = left.intersection(&writer.volumes).cloned().collect();
            if names.is_empty() || !running.contains(&writer.container) {
                continue;
            }
            match self.write_in(key, &writer.container, updates, &names).await {
                Ok(()) => left.retain(|name| !names.contains(name)),
                Err(said) => why = format!("container {}: {said}", writer.container),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        Err(Failure {
            kind: FailureKind::Slow,
            reason: "VolumesNotUpdated",
            message: why,
            retry_after: None,
            faults: None,
        })
    }

    async fn write_in(
        &self,
        key: &PodKey,
        container: &str,
        updates: &VolumeUpdates,
        names: &BTreeSet<String>,
    ) -> Result<(), String> {
        let orders = updates.orders(names).map_err(|error| error.to_string())?;
        let session = self.have_shim_do(key, container, Task::Update, Some(&orders));
        let late = Err(ExecError::Silent(SESSION.as_secs()));
        let ended = tokio::time::timeout(SESSION, session).await;
        ended.unwrap_or(late).map_err(|error| error.to_string())
    }
}
