//! How 1,000 Running pods come to be, for all scenarios that begin with them.

use std::time::Duration;

use anyhow::Result;

use crate::bench::rig::{Rig, Setup, names};

pub(super) const PODS: usize = 1000;
/// ARM takes 200 creates at once and then 10 a second.
const CREATE_LIMIT: Duration = Duration::from_mins(8);

/// One connector of whose nodes one has room for all of them.
pub(super) fn setup() -> Setup {
    Setup {
        capacity: PODS + 100,
        start_delay: 1.0,
        ..Setup::default()
    }
}

/// Creates them at once and waits until all have been seen Running. Their names.
pub(super) async fn running(rig: &mut Rig, prefix: &str) -> Result<Vec<String>> {
    let names = names(prefix, PODS);
    rig.create(&names, "Always").await?;
    rig.pods.all_running(&names, CREATE_LIMIT).await?;
    Ok(names)
}
